//! How many documents without a row are believed.

/// So few are deleted whatever part of the index they are.
const ALWAYS_ALLOWED: u64 = 100;

/// The most documents of `document_count` that are deleted without being asked for: more look like a table that was
/// emptied or swapped.
pub fn deletion_limit(document_count: u64, max_percent: u32) -> u64 {
    let share = u128::from(document_count) * u128::from(max_percent) / 100;
    u64::try_from(share).unwrap_or(u64::MAX).max(ALWAYS_ALLOWED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_large_index_and_a_hundred_of_a_small_one() {
        assert_eq!(deletion_limit(0, 10), 100);
        assert_eq!(deletion_limit(1_000, 10), 100);
        assert_eq!(deletion_limit(1_000_000, 10), 100_000);
        assert_eq!(deletion_limit(1_000_000, 0), 100);
        assert_eq!(deletion_limit(u64::MAX, 100), u64::MAX);
    }
}
