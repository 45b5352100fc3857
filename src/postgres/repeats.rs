//! How often the documents of a batch show a row: one customer with a long note stands in each of its orders.
//!
//! A row that many documents share is read once and written many times, so its bytes count as often as it is shown.

use crate::plan::RelatedRows;
use crate::rows::Rows;

/// Returns how often each related row is shown; nothing if every one is shown once at most.
///
/// `nearer` says it of the rows nearer to the root; nothing again means once each.
pub(super) fn uses_of_rows(related: &RelatedRows, nearer: Option<&[u64]>) -> Option<Vec<u64>> {
    let group_count = related.starts.len().saturating_sub(1);
    let mut of_group = vec![0u64; group_count];
    for (row, group) in related.group_of_nearer_row.iter().enumerate() {
        let Some(group) = group else { continue };
        let uses = nearer.map_or(1, |nearer| nearer.get(row).copied().unwrap_or(1));
        let of_group = &mut of_group[*group as usize];
        *of_group = of_group.saturating_add(uses);
    }
    if of_group.iter().all(|uses| *uses <= 1) {
        return None;
    }
    let mut uses = vec![0u64; related.order.len()];
    for (group, count) in of_group.into_iter().enumerate() {
        let rows = related.starts[group] as usize..related.starts[group + 1] as usize;
        for row in &related.order[rows] {
            uses[*row as usize] = count;
        }
    }
    Some(uses)
}

/// The bytes that the documents have beyond those of the rows, since some rows are shown more than once.
pub(super) fn repeated_byte_count(rows: &Rows, uses: &[u64]) -> u64 {
    let mut total = 0u64;
    for (row, uses) in uses.iter().enumerate() {
        let again = uses.saturating_sub(1);
        if again > 0 {
            total = total.saturating_add(again.saturating_mul(rows.row_byte_count(row) as u64));
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn related(
        texts: &[&str],
        group_of_nearer_row: &[Option<u32>],
        starts: &[u32],
        order: &[u32],
    ) -> RelatedRows {
        let mut rows = Rows::new(1);
        for text in texts {
            assert!(rows.push_cell(Some(text.as_bytes())));
        }
        RelatedRows {
            rows,
            group_of_nearer_row: group_of_nearer_row.to_vec(),
            starts: starts.to_vec(),
            order: order.to_vec(),
        }
    }

    #[test]
    fn a_row_counts_as_often_as_documents_show_it() {
        // Four roots: two of customer 1, one of customer 0, one of none.
        let customers = related(&["a", "bcd"], &[Some(1), Some(0), Some(1), None], &[0, 1, 2], &[0, 1]);
        let uses = uses_of_rows(&customers, None).unwrap();
        assert_eq!(uses, [1, 2]);
        assert_eq!(repeated_byte_count(&customers.rows, &uses), 3);
        // Each customer's country: the second is shown three times in all.
        let countries = related(&["", "xy"], &[Some(1), Some(1)], &[0, 1, 2], &[0, 1]);
        let uses = uses_of_rows(&countries, Some(&uses)).unwrap();
        assert_eq!(uses, [0, 3]);
        assert_eq!(repeated_byte_count(&countries.rows, &uses), 4);
    }

    #[test]
    fn rows_of_one_document_each_are_not_counted() {
        let lines = related(&["a", "b", "c"], &[Some(0), Some(1)], &[0, 2, 3], &[0, 1, 2]);
        assert_eq!(uses_of_rows(&lines, None), None);
    }
}
