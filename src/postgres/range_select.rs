//! The columns of a relation's rows as a range of root keys selects them.
//!
//! They stand in the order in which an index that covers a link table has them: the root's key, the key of the related
//! row, the rest. PostgreSQL then sends what it finds in the index as it is, and need not put each row together anew,
//! which takes a twentieth of the statement's processor time.

use crate::cell::CellFormat;
use crate::plan::PlannedColumn;
use crate::postgres::select::{GROUP_NUMBER, SelectList};

/// What is selected for a range, and where the columns of the relation's rows are in it.
#[derive(Debug, Default)]
pub struct RangeSelect {
    select: SelectList,
    key: Vec<PlannedColumn>,
    /// By the column of the relation's rows; no statement for a range gives the number of the group.
    places: Vec<Option<usize>>,
}

impl RangeSelect {
    /// The columns of `of` but the number of the group, behind `key`; those that are `first` before the others.
    pub(super) fn new(of: &SelectList, key: Vec<(String, CellFormat)>, first: &[PlannedColumn]) -> Self {
        let mut select = SelectList::default();
        let key = key.into_iter().map(|selected| select.add(selected)).collect();
        let is_first = |position: usize| first.iter().any(|column| column.position == position);
        let mut columns: Vec<_> = of.columns().enumerate().collect();
        columns.sort_by_key(|(position, _)| !is_first(*position));
        let mut places = vec![None; columns.len()];
        for (position, (column, format)) in columns {
            if column.expression != GROUP_NUMBER {
                let selected = (column.expression.clone(), format);
                places[position] = Some(select.add_of(column.side, selected).position);
            }
        }
        Self { select, key, places }
    }

    /// What is selected.
    pub(super) fn select(&self) -> &SelectList {
        &self.select
    }

    /// Where the root's key is.
    pub(super) fn key(&self) -> &[PlannedColumn] {
        &self.key
    }

    /// Where a column of the relation's rows is.
    pub(super) fn place_of(&self, column: usize) -> Option<usize> {
        self.places.get(column).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::select::Side;

    #[test]
    fn keys_come_first_and_every_column_is_found_again() {
        let mut rows = SelectList::default();
        rows.add((GROUP_NUMBER.to_owned(), CellFormat::Int8));
        let text = |name: &str| (name.to_owned(), CellFormat::Text);
        let role = rows.add_of(Side::Link, text("through.role"));
        let person = rows.add_of(Side::Link, text("through.person_id"));
        let film = rows.add_of(Side::Link, text("through.film_id"));
        let range = RangeSelect::new(&rows, vec![text("through.film_id")], &[person]);
        assert_eq!(range.select().sql(), "through.film_id, through.person_id, through.role");
        assert_eq!(range.key().iter().map(|column| column.position).collect::<Vec<_>>(), [0]);
        let places = [0, role.position, person.position, film.position].map(|column| range.place_of(column));
        assert_eq!(places, [None, Some(2), Some(1), Some(0)]);
        assert_eq!(range.place_of(9), None);
    }
}
