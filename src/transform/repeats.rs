//! Rows that are reached twice: which items of a list say again what one before them has said.

use std::collections::HashMap;
use std::ops::Range;

use crate::cell::CellFormat;
use crate::plan::{PlannedColumn, PlannedItem, PlannedRelation};
use crate::rows::Rows;

/// The items of one list.
pub(super) enum Repeats<'r> {
    /// Rows of one key that make the same item stand beside each other: the last item is enough.
    Together(Option<(u32, Range<usize>)>),
    /// A stated order, as by a column of the link table, can put other rows between them.
    Apart(HashMap<Vec<Option<&'r [u8]>>, Vec<Range<usize>>>),
}

impl<'r> Repeats<'r> {
    pub(super) fn new(related: &PlannedRelation) -> Self {
        let is_exact = related.order.is_empty()
            && match &related.item {
                PlannedItem::Value(column) => is_exact(*column),
                PlannedItem::Object(fields) => {
                    fields.iter().all(|field| field.source.columns().all(is_exact))
                }
            };
        if is_exact { Self::Together(None) } else { Self::Apart(HashMap::new()) }
    }

    /// Whether the item of `row`, just written to `item` in `out`, was written before; keeps it if it was not.
    pub(super) fn has(
        &mut self,
        rows: &'r Rows,
        key: &[PlannedColumn],
        row: u32,
        item: Range<usize>,
        out: &[u8],
    ) -> bool {
        let is_same = |known: &Range<usize>| out[known.clone()] == out[item.clone()];
        match self {
            Self::Together(previous) => {
                let repeats = previous
                    .as_ref()
                    .is_some_and(|(known, range)| have_same_key(rows, key, *known, row) && is_same(range));
                if !repeats {
                    *previous = Some((row, item));
                }
                repeats
            }
            Self::Apart(made) => {
                let cells = key.iter().map(|column| rows.cell(row as usize, column.position)).collect();
                let known = made.entry(cells).or_default();
                let repeats = known.iter().any(is_same);
                if !repeats {
                    known.push(item);
                }
                repeats
            }
        }
    }
}

/// Whether two rows have the same key; without a key none is told from another.
pub(super) fn have_same_key(rows: &Rows, key: &[PlannedColumn], left: u32, right: u32) -> bool {
    key.iter()
        .all(|column| rows.cell(left as usize, column.position) == rows.cell(right as usize, column.position))
}

/// Whether two cells that make the same JSON are the same: not so where several values are null in JSON.
fn is_exact(column: PlannedColumn) -> bool {
    !matches!(
        column.format,
        CellFormat::Float4
            | CellFormat::Float8
            | CellFormat::Timestamptz
            | CellFormat::Timestamp
            | CellFormat::Date
            | CellFormat::Json
            | CellFormat::Jsonb
            | CellFormat::Composed(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeats(order: Vec<(PlannedColumn, bool)>, items: &[(&str, &str)]) -> Vec<bool> {
        let id = PlannedColumn { position: 0, format: CellFormat::Text };
        let mut rows = Rows::new(1);
        for (key, _) in items {
            assert!(rows.push_cell(Some(key.as_bytes())));
        }
        let item = PlannedItem::Value(id);
        let related = PlannedRelation { relation: 0, filter: None, order, limit: None, item };
        let mut repeats = Repeats::new(&related);
        let mut out = Vec::new();
        let mut found = Vec::new();
        for (row, (_, item)) in (0..).zip(items) {
            let start = out.len();
            out.extend_from_slice(item.as_bytes());
            found.push(repeats.has(&rows, &[id], row, start..out.len(), &out));
        }
        found
    }

    #[test]
    fn a_row_is_one_item_however_far_apart_it_is_reached() {
        let weight = PlannedColumn { position: 0, format: CellFormat::Int4 };
        let items = [("1", "a"), ("2", "b"), ("1", "a"), ("2", "c"), ("3", "a"), ("2", "b")];
        assert_eq!(repeats(vec![(weight, false)], &items), [false, false, true, false, false, true]);
    }

    #[test]
    fn rows_that_stand_together_are_compared_with_the_one_before() {
        let items = [("1", "a"), ("1", "a"), ("2", "a"), ("2", "b"), ("2", "b"), ("2", "b")];
        assert_eq!(repeats(Vec::new(), &items), [false, true, false, false, true, true]);
    }
}
