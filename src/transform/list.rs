//! The order of a list: what the definition says, then the items' values, then the rows' key.
//!
//! The order is total as far as the documents can show it, so that the same data always gives the same bytes.

use std::cmp::Ordering;

use crate::plan::{PlannedColumn, PlannedItem, PlannedRelation};
use crate::rows::Rows;

/// Sorts row numbers; keeps its scratch memory from list to list.
#[derive(Debug, Default)]
pub(super) struct ListOrder {
    columns: Vec<(PlannedColumn, bool)>,
}

impl ListOrder {
    /// Sorts `chosen`, numbers of rows in `rows`.
    pub(super) fn sort(
        &mut self,
        chosen: &mut [u32],
        rows: &Rows,
        related: &PlannedRelation,
        relation_key: &[PlannedColumn],
    ) {
        self.columns.clear();
        self.columns.extend_from_slice(&related.order);
        match &related.item {
            PlannedItem::Value(column) => self.columns.push((*column, false)),
            PlannedItem::Object(fields) => {
                for field in fields {
                    self.columns.extend(field.source.columns().map(|column| (column, false)));
                }
            }
        }
        self.columns.extend(relation_key.iter().map(|column| (*column, false)));
        chosen.sort_by(|left, right| self.compare(rows, *left as usize, *right as usize));
    }

    fn compare(&self, rows: &Rows, left: usize, right: usize) -> Ordering {
        for (column, descending) in &self.columns {
            // NULLs come last in either direction.
            let ordering = match (rows.cell(left, column.position), rows.cell(right, column.position)) {
                (Some(left), Some(right)) => {
                    let ordering = column.format.compare(left, right);
                    if *descending { ordering.reverse() } else { ordering }
                }
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
            };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        // Equal values may be written in several ways: 1.5 and 1.50.
        let cells = |row| self.columns.iter().map(move |(column, _)| rows.cell(row, column.position));
        cells(left).cmp(cells(right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::CellFormat;

    #[test]
    fn the_stated_order_comes_first_and_nulls_last() {
        let mut rows = Rows::new(2);
        for (name, year) in [("b", Some(1)), ("a", None), ("c", Some(3)), ("a", Some(1))] {
            assert!(rows.push_cell(Some(name.as_bytes())));
            assert!(rows.push_cell(year.map(i32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice)));
        }
        let name = PlannedColumn { position: 0, format: CellFormat::Text };
        let year = PlannedColumn { position: 1, format: CellFormat::Int4 };
        let related = PlannedRelation {
            relation: 0,
            filter: None,
            order: vec![(year, true)],
            limit: None,
            item: PlannedItem::Value(name),
        };
        let mut chosen = [0, 1, 2, 3];
        ListOrder::default().sort(&mut chosen, &rows, &related, &[]);
        assert_eq!(chosen, [2, 3, 0, 1]);
    }
}
