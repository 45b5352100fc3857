//! Finds a stale key among those that wait, without an index in the file.
//!
//! An index over random keys would touch a page of the file for every key: with 300,000 keys waiting, recording and
//! taking a thousand more cost 54 ms instead of a few. So the rows lie in the file in the order of their recording
//! alone, and from a key's hash to its row leads this map in memory: 10 to 21 bytes a waiting key.

use hashbrown::HashTable;

use crate::key_hash::KeyHash;

/// A map of this many keys is given back when it is empty.
const KEPT_CAPACITY: usize = 10_000;

/// From a key's hash to the number of its row.
///
/// What is found is a candidate whose key the caller compares, since keys can share a hash. A row is not found any more
/// when four thousand million were recorded behind it; its key may then wait twice, which costs a document and loses
/// nothing.
#[derive(Debug, Default)]
pub(super) struct StaleIndex {
    rows: HashTable<Row>,
    /// The highest number so far.
    newest: i64,
}

/// Small, since a look at it is a miss of the processor's caches where many keys wait.
#[derive(Debug)]
struct Row {
    hash: KeyHash,
    /// The lower half of the number: the whole one is the nearest that is not above the newest.
    number: u32,
}

impl StaleIndex {
    /// The rows that may be those of a key with this hash; one at most, but for keys that share it.
    pub(super) fn candidates(&self, hash: KeyHash) -> impl Iterator<Item = i64> {
        let newest = self.newest;
        self.rows.iter_hash(hash.spread()).filter(move |row| row.hash == hash).map(move |row| {
            let distance = (newest as u32).wrapping_sub(row.number);
            newest.wrapping_sub(i64::from(distance))
        })
    }

    pub(super) fn insert(&mut self, hash: KeyHash, number: i64) {
        self.newest = self.newest.max(number);
        let row = Row { hash, number: number as u32 };
        self.rows.insert_unique(hash.spread(), row, |row| row.hash.spread());
    }

    pub(super) fn remove(&mut self, hash: KeyHash, number: i64) {
        let number = number as u32;
        if let Ok(row) = self.rows.find_entry(hash.spread(), |row| row.hash == hash && row.number == number) {
            row.remove();
        }
        if self.rows.is_empty() && self.rows.capacity() > KEPT_CAPACITY {
            self.rows.shrink_to(KEPT_CAPACITY, |row| row.hash.spread());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_hash::KeyHasher;
    use crate::store::testing::{GENERATION, acknowledge_all, keys, keys_of, state};

    #[test]
    fn a_key_that_shares_a_hash_is_never_lost_nor_in_flight_twice() {
        let (_dir, store) = state();
        store.record_stale(GENERATION, &keys([1]), 0, 1).unwrap();
        let confusion = store.write("confuse", |transaction, memory| {
            let known = memory.generation(transaction, GENERATION)?;
            let hash = known.hasher.of(&keys([2])[0]);
            known.stale_index.insert(hash, 0);
            Ok(())
        });
        confusion.unwrap();
        store.record_stale(GENERATION, &keys([2, 2]), 0, 1).unwrap();
        store.record_stale(GENERATION, &keys([2, 1]), 0, 1).unwrap();
        assert_eq!(store.stale_count(GENERATION).unwrap(), 2);
        let batch = store.take(GENERATION, 9, 1).unwrap().unwrap();
        assert_eq!(keys_of(&batch), keys([1, 2]));
        store.record_stale(GENERATION, &keys([2]), 0, 1).unwrap();
        assert!(store.take(GENERATION, 9, 1).unwrap().is_none());
        acknowledge_all(&store, &batch, 2);
        assert_eq!(keys_of(&store.take(GENERATION, 9, 2).unwrap().unwrap()), keys([2]));
        assert_eq!(store.stale_count(GENERATION).unwrap(), 0);
    }

    #[test]
    fn a_row_is_found_by_its_number_wherever_the_numbers_are() {
        let hasher = KeyHasher::default();
        let many = keys(0..1_000);
        for start in [-500, 0, i64::from(u32::MAX) - 500, 1 << 40] {
            let mut index = StaleIndex::default();
            for (number, key) in (start..).zip(&many) {
                index.insert(hasher.of(key), number);
            }
            // In front of all, as keys that were given back are.
            index.insert(hasher.of(&many[0]), start - 1);
            for (number, key) in (start..).zip(&many) {
                assert!(index.candidates(hasher.of(key)).any(|candidate| candidate == number));
            }
            assert!(index.candidates(hasher.of(&many[0])).any(|candidate| candidate == start - 1));
            index.remove(hasher.of(&many[0]), start - 1);
            for (number, key) in (start..).zip(&many) {
                index.remove(hasher.of(key), number);
                assert!(index.candidates(hasher.of(key)).all(|candidate| candidate != number));
            }
            assert!(index.rows.is_empty());
        }
    }

    #[test]
    fn of_rows_whose_keys_share_a_hash_each_is_removed_as_itself() {
        let hash = KeyHasher::default().of(&keys([1])[0]);
        for removed in 0..3 {
            let mut index = StaleIndex::default();
            for number in 0..3 {
                index.insert(hash, number);
            }
            index.remove(hash, removed);
            let mut left: Vec<i64> = index.candidates(hash).collect();
            left.sort_unstable();
            assert_eq!(left, (0..3).filter(|number| *number != removed).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_row_too_far_behind_is_found_as_one_that_is_not_there() {
        let hash = KeyHasher::default().of(&keys([1])[0]);
        let mut index = StaleIndex::default();
        index.insert(hash, 7);
        index.insert(hash, (1 << 32) + 9);
        // No row has that number by now: it does not go back so far.
        assert!(index.candidates(hash).any(|candidate| candidate == (1 << 32) + 7));
        index.remove(hash, 7);
        assert_eq!(index.candidates(hash).collect::<Vec<_>>(), [(1 << 32) + 9]);
    }

    #[test]
    fn the_map_of_a_backlog_is_given_back() {
        let hasher = KeyHasher::default();
        let mut index = StaleIndex::default();
        let many = keys(0..100_000);
        for (number, key) in (0..).zip(&many) {
            index.insert(hasher.of(key), number);
        }
        assert!(index.rows.allocation_size() < 21 * many.len(), "{}", index.rows.allocation_size());
        for (number, key) in (0..).zip(&many) {
            index.remove(hasher.of(key), number);
        }
        assert!(index.rows.capacity() < 2 * KEPT_CAPACITY);
    }
}
