//! Which keys are in flight, and with which batch.
//!
//! The text of a key is kept once, in the buffer of its batch; the map leads into the buffers.

use std::collections::HashMap;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::batch::BatchNumber;
use crate::key::Key;
use crate::key_hash::KeyHash;
use crate::store::key_buffer;

/// The keys of all in-flight batches of a generation; each is in one of them.
#[derive(Debug, Default)]
pub(super) struct InFlightKeys {
    places: HashTable<Place>,
    /// What each batch was taken with, also those of its keys that were given back since.
    buffers: HashMap<BatchNumber, Vec<u8>>,
}

/// Where the text of a key is.
#[derive(Debug)]
struct Place {
    hash: KeyHash,
    batch: BatchNumber,
    offset: usize,
}

/// A batch that is being filled.
pub(super) struct Boarding<'a> {
    places: &'a mut HashTable<Place>,
    buffers: &'a mut HashMap<BatchNumber, Vec<u8>>,
    batch: BatchNumber,
    buffer: Vec<u8>,
}

impl InFlightKeys {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn contains(&self, hash: KeyHash, key: &Key) -> bool {
        let is_key = |place: &Place| {
            let buffer = self.buffers.get(&place.batch).map_or(&[][..], Vec::as_slice);
            place.hash == hash && key_buffer::is_at(buffer, place.offset, key.as_str())
        };
        self.places.find(hash.spread(), is_key).is_some()
    }

    /// Begins a batch; it is in flight when it is [`Boarding::closed`].
    pub(super) fn board(&mut self, batch: BatchNumber) -> Boarding<'_> {
        Boarding { places: &mut self.places, buffers: &mut self.buffers, batch, buffer: Vec::new() }
    }

    /// Ends the flight of those of the keys that are in flight with this batch; returns how many were.
    pub(super) fn remove<'k>(
        &mut self,
        batch: BatchNumber,
        keys: impl IntoIterator<Item = (KeyHash, &'k Key)>,
    ) -> u64 {
        let Some(buffer) = self.buffers.get(&batch) else { return 0 };
        let mut removed_count = 0;
        for (hash, key) in keys {
            let is_key = |place: &Place| {
                place.hash == hash
                    && place.batch == batch
                    && key_buffer::is_at(buffer, place.offset, key.as_str())
            };
            if let Ok(place) = self.places.find_entry(hash.spread(), is_key) {
                place.remove();
                removed_count += 1;
            }
        }
        removed_count
    }

    /// Forgets a batch none of whose keys is in flight any more.
    pub(super) fn forget(&mut self, batch: BatchNumber) {
        debug_assert!(self.places.iter().all(|place| place.batch != batch));
        self.buffers.remove(&batch);
    }
}

impl Boarding<'_> {
    /// Adds a key unless it is in flight already, with this batch or another; returns whether it was added.
    pub(super) fn add(&mut self, hash: KeyHash, key: &str) -> bool {
        let is_key = |place: &Place| {
            if place.hash != hash {
                return false;
            }
            // The buffer of this batch is not among them yet.
            let buffer = self.buffers.get(&place.batch).unwrap_or(&self.buffer);
            key_buffer::is_at(buffer, place.offset, key)
        };
        let Entry::Vacant(vacant) = self.places.entry(hash.spread(), is_key, |place| place.hash.spread())
        else {
            return false;
        };
        vacant.insert(Place { hash, batch: self.batch, offset: self.buffer.len() });
        key_buffer::push(&mut self.buffer, key);
        true
    }

    /// The keys added so far, as they are kept in the file.
    pub(super) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Closes the batch: all that was added is in flight.
    pub(super) fn close(self) {
        self.buffers.insert(self.batch, self.buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_hash::KeyHasher;
    use crate::store::testing::{key, keys};

    fn board(in_flight: &mut InFlightKeys, number: u64, hash: KeyHash, keys: &[Key]) -> usize {
        let mut boarding = in_flight.board(BatchNumber(number));
        let added_count = keys.iter().filter(|key| boarding.add(hash, key.as_str())).count();
        assert_eq!(key_buffer::decode(boarding.buffer()).unwrap().len(), added_count);
        boarding.close();
        added_count
    }

    #[test]
    fn keys_that_share_a_hash_are_told_apart() {
        let hash = KeyHasher::default().of(&key(1));
        let mut in_flight = InFlightKeys::default();
        assert_eq!(board(&mut in_flight, 1, hash, &keys([1, 2, 1, 3])), 3);
        assert_eq!(board(&mut in_flight, 2, hash, &keys([3, 4, 5, 4, 1])), 2);
        assert_eq!(in_flight.len(), 5);
        assert!(keys(1..6).iter().all(|key| in_flight.contains(hash, key)));
        assert!(!in_flight.contains(hash, &key(6)));
        let mut remove = |batch, numbers: &[u32]| {
            let named = keys(numbers.iter().copied());
            in_flight.remove(BatchNumber(batch), named.iter().map(|key| (hash, key)))
        };
        assert_eq!(remove(1, &[1, 1, 4, 6]), 1);
        assert_eq!(remove(3, &[2]), 0);
        assert_eq!(remove(2, &[2, 5, 4]), 2);
        in_flight.forget(BatchNumber(2));
        let left = keys(1..7).into_iter().filter(|key| in_flight.contains(hash, key)).collect::<Vec<_>>();
        assert_eq!(left, keys([2, 3]));
    }

    #[test]
    fn every_key_of_many_batches_is_found_again() {
        let hasher = KeyHasher::default();
        let mut in_flight = InFlightKeys::default();
        let many = keys(0..2_000);
        for (number, keys) in (0..).zip(many.chunks(100)) {
            let mut boarding = in_flight.board(BatchNumber(number));
            assert!(keys.iter().all(|key| boarding.add(hasher.of(key), key.as_str())));
            boarding.close();
        }
        for (number, keys) in (0..).zip(many.chunks(100)) {
            let named = keys.iter().map(|key| (hasher.of(key), key));
            assert_eq!(in_flight.remove(BatchNumber(number), named), 100);
            in_flight.forget(BatchNumber(number));
        }
        assert_eq!((in_flight.len(), in_flight.buffers.len()), (0, 0));
    }
}
