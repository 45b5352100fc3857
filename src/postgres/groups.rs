//! Groups of related rows: which rows of a relation belong to which row of the table nearer to the root.

use std::collections::HashMap;

use hashbrown::DefaultHashBuilder;

use crate::plan::{PlannedColumn, RelatedRows};
use crate::postgres::framed::push_framed;
use crate::postgres::plan::RelationPlan;
use crate::rows::Rows;

/// Numbers by the bytes of a key. The hasher is a fast one with a seed of its own for each map.
pub(super) type NumberByKey = HashMap<Vec<u8>, u32, DefaultHashBuilder>;

/// The distinct values by which a relation's rows are asked for, and which row of the nearer table has which.
#[derive(Default)]
pub(super) struct Groups {
    /// How many there are.
    pub(super) count: usize,
    /// For each join column, the text of each group.
    pub(super) texts: Vec<Vec<String>>,
    /// The group of each row of the nearer table; none where a join column holds a NULL.
    pub(super) of_nearer_row: Vec<Option<u32>>,
}

impl Groups {
    /// Finds the groups of the rows of the nearer table.
    pub(super) fn add_rows(&mut self, nearer: &Rows, relation: &RelationPlan) {
        self.texts = vec![Vec::new(); relation.nearer.len()];
        let mut known: NumberByKey = NumberByKey::default();
        let columns: Vec<PlannedColumn> = relation.nearer.iter().map(|nearer| nearer.column).collect();
        for row in 0..nearer.len() {
            if columns.iter().any(|column| nearer.cell(row, column.position).is_none()) {
                self.of_nearer_row.push(None);
                continue;
            }
            let next = self.count as u32;
            let group = *known.entry(cells(nearer, row, &columns)).or_insert(next);
            if group == next {
                self.count += 1;
                for (texts, column) in self.texts.iter_mut().zip(&columns) {
                    texts.push(column.format.text(nearer.cell(row, column.position).unwrap_or_default()));
                }
            }
            self.of_nearer_row.push(Some(group));
        }
    }
}

/// Sorts row numbers by group (a counting sort: groups are dense numbers).
pub(super) fn attach(
    rows: Rows,
    group_of_row: &[u32],
    group_count: usize,
    group_of_nearer_row: Vec<Option<u32>>,
) -> RelatedRows {
    let mut starts = vec![0u32; group_count + 1];
    for group in group_of_row {
        starts[*group as usize + 1] += 1;
    }
    for group in 0..group_count {
        starts[group + 1] += starts[group];
    }
    let mut next = starts.clone();
    let mut order = vec![0u32; group_of_row.len()];
    for (row, group) in group_of_row.iter().enumerate() {
        let place = &mut next[*group as usize];
        order[*place as usize] = row as u32;
        *place += 1;
    }
    RelatedRows { rows, group_of_nearer_row, starts, order }
}

/// The cells of the columns, each with its length in front, so that different cells never give the same bytes.
pub(super) fn cells(rows: &Rows, row: usize, columns: &[PlannedColumn]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(columns.len() * 20);
    push_cells(&mut bytes, rows, row, columns);
    bytes
}

/// Adds them to `bytes`.
pub(super) fn push_cells(bytes: &mut Vec<u8>, rows: &Rows, row: usize, columns: &[PlannedColumn]) {
    for column in columns {
        push_framed(bytes, rows.cell(row, column.position).unwrap_or_default());
    }
}
