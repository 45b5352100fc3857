//! Rows of related tables in bounded memory: what a full load would otherwise read once for every row that refers to
//! them.
//!
//! The rows lie in segments of a fixed size, one behind the other; when the limit is reached the oldest segment goes
//! with all its rows. A table of places finds a row by the hash of its relation and key, so that no key is held twice.
//!
//! There are far more rows than a processor's cache holds, so a look-up waits for memory. Who looks up many asks for the
//! [candidates](RelatedCache::candidate) of all first and [touches](RelatedCache::touch) them, so that the processor waits
//! for many at once.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::key_hash::{KeyHash, KeyHasher};
use crate::postgres::framed::{Cells, push_cell};

/// Bytes of a segment. A row that does not fit into one is not kept.
const SEGMENT_BYTES: usize = 1 << SEGMENT_BITS;

/// A place is the number of its segment and 20 bits of offset.
const SEGMENT_BITS: u32 = 20;

/// Segments are numbered in a circle, which a place of 32 bits has room for.
const SEGMENT_NUMBERS: u32 = 1 << (32 - SEGMENT_BITS);

/// Bytes before a row's cells: the length of all of it, its relation, the length of its key.
const HEAD_BYTES: usize = 8;

/// Where a row lies.
pub(super) type Place = u32;

/// A row in the table of places.
#[derive(Clone, Copy)]
struct Entry {
    hash: KeyHash,
    place: Place,
}

/// Rows of related tables, found by relation and key.
pub(super) struct RelatedCache {
    byte_limit: usize,
    segments: VecDeque<Vec<u8>>,
    /// The number of the first segment.
    first: u32,
    places: HashTable<Entry>,
    hasher: KeyHasher,
    /// A row while it is put together.
    row: Vec<u8>,
}

impl RelatedCache {
    /// Makes an empty one that takes up to about `byte_limit` bytes.
    pub(super) fn new(byte_limit: usize) -> Self {
        Self {
            // Fewer segments than numbers, so that no two have the same.
            byte_limit: byte_limit.min((SEGMENT_NUMBERS as usize - 2) * SEGMENT_BYTES),
            segments: VecDeque::new(),
            first: 0,
            places: HashTable::new(),
            hasher: KeyHasher::default(),
            row: Vec::new(),
        }
    }

    /// Bytes that may still be taken before the oldest rows go.
    pub(super) fn bytes_left(&self) -> usize {
        self.byte_limit.saturating_sub(self.byte_count())
    }

    fn byte_count(&self) -> usize {
        self.segments.len() * SEGMENT_BYTES + self.places.allocation_size()
    }

    /// The hash of a relation's key, a number of framed cells.
    pub(super) fn hash(&self, relation: u16, key: &[u8]) -> KeyHash {
        self.hasher.of_value((relation, key))
    }

    /// A row whose key most likely has this hash; none if no row's has.
    pub(super) fn candidate(&self, hash: KeyHash) -> Option<Place> {
        self.places.find(hash.spread(), |entry| entry.hash == hash).map(|entry| entry.place)
    }

    /// Has a row's beginning brought near the processor; the value says nothing, but has to be used.
    pub(super) fn touch(&self, place: Place) -> u8 {
        let (segment, start) = self.locate(place);
        segment[start]
    }

    /// The cells of the row at `place`, key first, if it is the relation's row of that key.
    pub(super) fn cells_if(&self, place: Place, relation: u16, key: &[u8]) -> Option<Cells<'_>> {
        let (of, key_end, row) = self.parts(place);
        (of == relation && &row[HEAD_BYTES..key_end] == key).then(|| Cells::new(&row[HEAD_BYTES..]))
    }

    /// The cells of a relation's row, key first.
    pub(super) fn find(&self, hash: KeyHash, relation: u16, key: &[u8]) -> Option<Cells<'_>> {
        let is_it = |entry: &Entry| entry.hash == hash && self.cells_if(entry.place, relation, key).is_some();
        let entry = self.places.find(hash.spread(), is_it)?;
        self.cells_if(entry.place, relation, key)
    }

    /// Puts a row in, in place of one with the same key: its first `key_width` cells.
    pub(super) fn insert<'a>(
        &mut self,
        relation: u16,
        key_width: usize,
        cells: impl Iterator<Item = Option<&'a [u8]>>,
    ) {
        let mut row = std::mem::take(&mut self.row);
        row.clear();
        row.extend_from_slice(&[0; HEAD_BYTES]);
        let mut key_end = HEAD_BYTES;
        for (position, cell) in cells.enumerate() {
            push_cell(&mut row, cell);
            if position + 1 == key_width {
                key_end = row.len();
            }
        }
        if let Ok(key_length) = u16::try_from(key_end - HEAD_BYTES)
            && row.len() <= SEGMENT_BYTES
        {
            let length = row.len() as u32;
            row[..4].copy_from_slice(&length.to_le_bytes());
            row[4..6].copy_from_slice(&relation.to_le_bytes());
            row[6..8].copy_from_slice(&key_length.to_le_bytes());
            let hash = self.hash(relation, &row[HEAD_BYTES..key_end]);
            self.forget(relation, &row[HEAD_BYTES..key_end]);
            self.keep(&row, hash);
        }
        self.row = row;
    }

    fn keep(&mut self, row: &[u8], hash: KeyHash) {
        let has_room = self.segments.back().is_some_and(|last| last.len() + row.len() <= SEGMENT_BYTES);
        if !has_room {
            while !self.segments.is_empty() && self.bytes_left() < SEGMENT_BYTES {
                self.drop_oldest();
            }
            if self.bytes_left() < SEGMENT_BYTES {
                return;
            }
            self.segments.push_back(Vec::with_capacity(SEGMENT_BYTES));
        }
        let Some(segment) = self.segments.back_mut() else { return };
        let offset = segment.len() as u32;
        segment.extend_from_slice(row);
        let number = (self.first + self.segments.len() as u32 - 1) % SEGMENT_NUMBERS;
        let entry = Entry { hash, place: number << SEGMENT_BITS | offset };
        self.places.insert_unique(hash.spread(), entry, |entry| entry.hash.spread());
    }

    /// Drops a row.
    pub(super) fn forget(&mut self, relation: u16, key: &[u8]) {
        let hash = self.hash(relation, key);
        let Self { segments, first, places, .. } = self;
        let found = places.find_entry(hash.spread(), |entry| {
            let (of, key_end, row) = parts(segments, *first, entry.place);
            entry.hash == hash && of == relation && &row[HEAD_BYTES..key_end] == key
        });
        if let Ok(entry) = found {
            entry.remove();
        }
    }

    /// Drops all rows.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.segments.clear();
        self.first = 0;
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.segments.front() else { return };
        let mut offset = 0;
        let mut rows = Vec::new();
        while offset < oldest.len() {
            let place = self.first << SEGMENT_BITS | offset as u32;
            let (relation, key_end, row) = self.parts(place);
            rows.push((place, self.hash(relation, &row[HEAD_BYTES..key_end])));
            offset += row.len();
        }
        for (place, hash) in rows {
            if let Ok(entry) = self.places.find_entry(hash.spread(), |known| known.place == place) {
                entry.remove();
            }
        }
        self.segments.pop_front();
        self.first = (self.first + 1) % SEGMENT_NUMBERS;
    }

    fn locate(&self, place: Place) -> (&[u8], usize) {
        locate(&self.segments, self.first, place)
    }

    fn parts(&self, place: Place) -> (u16, usize, &[u8]) {
        parts(&self.segments, self.first, place)
    }
}

/// The segment of a place, and where it is in it.
fn locate(segments: &VecDeque<Vec<u8>>, first: u32, place: Place) -> (&[u8], usize) {
    let number = (place >> SEGMENT_BITS).wrapping_sub(first) % SEGMENT_NUMBERS;
    (&segments[number as usize], place as usize & (SEGMENT_BYTES - 1))
}

/// A row's relation, where its key ends, and its bytes.
fn parts(segments: &VecDeque<Vec<u8>>, first: u32, place: Place) -> (u16, usize, &[u8]) {
    let (segment, start) = locate(segments, first, place);
    let row = &segment[start..];
    let length = u32::from_le_bytes([row[0], row[1], row[2], row[3]]) as usize;
    let relation = u16::from_le_bytes([row[4], row[5]]);
    let key_length = u16::from_le_bytes([row[6], row[7]]);
    (relation, HEAD_BYTES + usize::from(key_length), &row[..length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::framed::push_framed;

    fn framed(key: &[u8]) -> Vec<u8> {
        let mut framed = Vec::new();
        push_framed(&mut framed, key);
        framed
    }

    fn keep(cache: &mut RelatedCache, relation: u16, key: &[u8], cells: &[Option<&[u8]>]) {
        cache.insert(relation, 1, std::iter::once(Some(key)).chain(cells.iter().copied()));
    }

    /// The cells behind the key, found by each of the two ways.
    fn texts(cache: &RelatedCache, relation: u16, key: &[u8]) -> Option<Vec<Option<String>>> {
        let key = framed(key);
        let hash = cache.hash(relation, &key);
        let text = |cell: Option<&[u8]>| cell.map(|cell| String::from_utf8(cell.to_vec()).unwrap());
        let texts = |cells: Cells<'_>| cells.skip(1).map(text).collect::<Vec<_>>();
        let found = cache.find(hash, relation, &key).map(texts);
        let candidate = cache.candidate(hash).and_then(|place| {
            cache.touch(place);
            cache.cells_if(place, relation, &key)
        });
        assert_eq!(candidate.map(texts), found, "no two of so few keys have one hash");
        found
    }

    #[test]
    fn a_row_comes_back_as_it_went_in_and_the_later_one_counts() {
        let mut cache = RelatedCache::new(8 << 20);
        let long = "x".repeat(70_000);
        keep(&mut cache, 1, b"a", &[Some(b"one"), None, Some(b""), Some(long.as_bytes())]);
        keep(&mut cache, 2, b"a", &[Some(b"two")]);
        let expected = [Some("one".to_owned()), None, Some(String::new()), Some(long)];
        assert_eq!(texts(&cache, 1, b"a").unwrap(), expected);
        assert_eq!(texts(&cache, 2, b"a").unwrap(), [Some("two".to_owned())]);
        keep(&mut cache, 2, b"a", &[Some(b"three")]);
        assert_eq!(texts(&cache, 2, b"a").unwrap(), [Some("three".to_owned())]);
        cache.forget(2, &framed(b"a"));
        assert_eq!((texts(&cache, 2, b"a"), texts(&cache, 1, b"b")), (None, None));
        cache.clear();
        assert_eq!(texts(&cache, 1, b"a"), None);
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let mut cache = RelatedCache::new(8 << 20);
        keep(&mut cache, 1, b"a", &[Some(b"one")]);
        let hash = cache.hash(1, &framed(b"a"));
        let place = cache.candidate(hash).unwrap();
        assert!(cache.cells_if(place, 1, &framed(b"b")).is_none());
        assert!(cache.cells_if(place, 2, &framed(b"a")).is_none());
        assert!(cache.find(hash, 1, &framed(b"b")).is_none());
        assert!(cache.find(hash, 1, &framed(b"a")).is_some());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_rows_go() {
        let limit = 4 << 20;
        let mut cache = RelatedCache::new(limit);
        // Enough to go around the circle of segment numbers.
        let count = 4_200 * 9;
        let cell = vec![b'x'; 110_000];
        for number in 0..count {
            let key = format!("{number}").into_bytes();
            keep(&mut cache, 0, &key, &[Some(&cell)]);
            assert!(cache.byte_count() <= limit);
            if number % 3 == 0 {
                cache.forget(0, &framed(&key));
            }
        }
        let found = |number: usize| texts(&cache, 0, format!("{number}").as_bytes()).is_some();
        assert!(found(count - 1) && found(count - 5) && !found(count - 60) && !found(0));
        assert!(cache.places.len() < 40);
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let mut cache = RelatedCache::new(4 << 20);
        keep(&mut cache, 0, b"a", &[Some(&vec![0; SEGMENT_BYTES])]);
        assert!(texts(&cache, 0, b"a").is_none());
        keep(&mut cache, 0, &vec![b'x'; 70_000], &[Some(b"")]);
        assert!(texts(&cache, 0, &vec![b'x'; 70_000]).is_none());
        let mut none = RelatedCache::new(0);
        keep(&mut none, 0, b"a", &[Some(b"x")]);
        assert!(texts(&none, 0, b"a").is_none());
    }
}
