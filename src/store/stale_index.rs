//! Finds a stale key among those that wait, without an index in the file.
//!
//! An index over random keys would touch a page of the file for every key: with 300,000 keys waiting, recording and
//! taking a thousand more cost 54 ms instead of a few. So the rows lie in the file in the order of their recording
//! alone, and from a key's hash to its row leads this map in memory: about 25 bytes a waiting key.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::key::Key;

/// A map of this many keys is given back when it is empty.
const KEPT_CAPACITY: usize = 10_000;

/// From a key's hash to the number of its row.
///
/// Two keys can share a hash, so what is found is a candidate whose key the caller compares. The second of two such
/// keys is not in the map; it may then wait twice, which costs a document and loses nothing.
#[derive(Debug, Default)]
pub(super) struct StaleIndex {
    hasher: RandomState,
    numbers: HashMap<u64, i64>,
}

impl StaleIndex {
    /// The row that may be this key's.
    pub(super) fn candidate(&self, key: &Key) -> Option<i64> {
        self.numbers.get(&self.hash(key)).copied()
    }

    pub(super) fn insert(&mut self, key: &Key, number: i64) {
        self.numbers.entry(self.hash(key)).or_insert(number);
    }

    pub(super) fn remove(&mut self, key: &Key, number: i64) {
        let hash = self.hash(key);
        if self.numbers.get(&hash) == Some(&number) {
            self.numbers.remove(&hash);
        }
        if self.numbers.is_empty() && self.numbers.capacity() > KEPT_CAPACITY {
            self.numbers.shrink_to(KEPT_CAPACITY);
        }
    }

    fn hash(&self, key: &Key) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Lets `key` find another key's row, as if they shared a hash.
    #[cfg(test)]
    pub(super) fn confuse(&mut self, key: &Key, number: i64) {
        self.numbers.insert(self.hash(key), number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{GENERATION, acknowledge_all, keys, keys_of, state};

    #[test]
    fn a_key_that_shares_a_hash_is_never_lost_nor_in_flight_twice() {
        let (_dir, store) = state();
        store.record_stale(GENERATION, &keys([1]), 0, 1).unwrap();
        let confusion = store.write("confuse", |transaction, memory| {
            memory.generation(transaction, GENERATION)?.stale_index.confuse(&keys([2])[0], 0);
            Ok(())
        });
        confusion.unwrap();
        store.record_stale(GENERATION, &keys([2]), 0, 1).unwrap();
        store.record_stale(GENERATION, &keys([2]), 0, 1).unwrap();
        let batch = store.take(GENERATION, 9, 1).unwrap().unwrap();
        assert_eq!(keys_of(&batch), keys([1, 2]));
        assert!(store.take(GENERATION, 9, 1).unwrap().is_none());
        acknowledge_all(&store, &batch, 2);
        assert_eq!(keys_of(&store.take(GENERATION, 9, 2).unwrap().unwrap()), keys([2]));
        assert_eq!(store.stale_count(GENERATION).unwrap(), 0);
    }

    #[test]
    fn the_map_of_a_backlog_is_given_back() {
        let mut index = StaleIndex::default();
        let many = keys(0..100_000);
        for (number, key) in (0..).zip(&many) {
            index.insert(key, number);
        }
        for (number, key) in (0..).zip(&many) {
            index.remove(key, number);
        }
        assert!(index.numbers.capacity() < 2 * KEPT_CAPACITY);
    }
}
