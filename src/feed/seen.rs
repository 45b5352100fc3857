//! Row versions that a table's polls delivered already.
//!
//! They only save work: dropping one costs a document built again, never a change. So their number is capped, and the
//! ones with the lowest cursor go first, since a later poll is least likely to read those again.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

/// The delivered (key, row version) pairs of one table, ordered by cursor.
#[derive(Debug)]
pub(super) struct Seen {
    pairs: BTreeSet<(i64, u128)>,
    limit: usize,
    hashers: [RandomState; 2],
}

impl Seen {
    pub(super) fn new(limit: usize) -> Self {
        Self { pairs: BTreeSet::new(), limit, hashers: [RandomState::new(), RandomState::new()] }
    }

    /// Whether this version of the row was delivered.
    pub(super) fn contains(&self, cursor: i64, key: &str, row_version: &str) -> bool {
        self.pairs.contains(&(cursor, self.fingerprint(key, row_version)))
    }

    /// Remembers a delivered version.
    pub(super) fn insert(&mut self, cursor: i64, key: &str, row_version: &str) {
        let fingerprint = self.fingerprint(key, row_version);
        self.pairs.insert((cursor, fingerprint));
        while self.pairs.len() > self.limit {
            self.pairs.pop_first();
        }
    }

    /// Forgets versions whose cursor lies before `cursor`: no later poll reads them.
    pub(super) fn forget_before(&mut self, cursor: i64) {
        self.pairs = self.pairs.split_off(&(cursor, 0));
    }

    /// 128 bits from two keyed hashes: two pairs that share one would hide a change, so 64 are too few.
    fn fingerprint(&self, key: &str, row_version: &str) -> u128 {
        let [high, low] = self.hashers.each_ref().map(|hasher| hasher.hash_one((key, row_version)));
        (u128::from(high) << 64) | u128::from(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_version_is_not_seen_and_the_lowest_cursor_is_dropped_first() {
        let mut seen = Seen::new(2);
        seen.insert(1, "a", "700");
        assert!(seen.contains(1, "a", "700"));
        assert!(!seen.contains(1, "a", "701"));
        seen.insert(3, "b", "700");
        seen.insert(2, "c", "700");
        assert!(!seen.contains(1, "a", "700"));
        seen.forget_before(3);
        assert!(seen.contains(3, "b", "700") && !seen.contains(2, "c", "700"));
    }
}
