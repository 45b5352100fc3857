//! Rows of related tables in bounded memory: what a full load would otherwise read once for every row that refers to
//! them.
//!
//! The rows lie in segments of a fixed size, one behind the other; when the limit is reached the oldest segment goes
//! with all its rows. A table of places finds a row by the hash of its relation and key, so that no key is held twice.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Bytes of a segment. A row that does not fit into one is not kept.
const SEGMENT_BYTES: usize = 1 << SEGMENT_BITS;

/// A place is the number of its segment and 20 bits of offset.
const SEGMENT_BITS: u32 = 20;

/// Segments are numbered in a circle, which a place of 32 bits has room for.
const SEGMENT_NUMBERS: u32 = 1 << (32 - SEGMENT_BITS);

/// Bytes before a row's key: the length of all of it, its relation, the length of its key.
const HEAD_BYTES: usize = 8;

/// Where a row lies.
pub(super) type Place = u32;

/// Rows of related tables, found by relation and key.
pub(super) struct RelatedCache {
    byte_limit: usize,
    segments: VecDeque<Vec<u8>>,
    /// The number of the first segment.
    first: u32,
    places: HashTable<Place>,
    hasher: DefaultHashBuilder,
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
            hasher: DefaultHashBuilder::default(),
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

    /// Finds a row of a relation by its key.
    pub(super) fn find(&self, relation: u16, key: &[u8]) -> Option<Place> {
        self.places.find(self.hash(relation, key), |place| self.is_at(*place, relation, key)).copied()
    }

    /// The cells of a row, in the order in which they were put in.
    pub(super) fn cells(&self, place: Place) -> Cells<'_> {
        let (_, key_end, row) = self.parts(place);
        Cells { rest: &row[key_end..] }
    }

    /// Puts a row in, in place of one with the same key.
    pub(super) fn insert<'a>(
        &mut self,
        relation: u16,
        key: &[u8],
        cells: impl Iterator<Item = Option<&'a [u8]>>,
    ) {
        let Ok(key_length) = u16::try_from(key.len()) else { return };
        let mut row = std::mem::take(&mut self.row);
        row.clear();
        row.extend_from_slice(&[0; 4]);
        row.extend_from_slice(&relation.to_le_bytes());
        row.extend_from_slice(&key_length.to_le_bytes());
        row.extend_from_slice(key);
        for cell in cells {
            // NULL is 0, other cells are one more than their length.
            write_length(&mut row, cell.map_or(0, |cell| cell.len() + 1));
            row.extend_from_slice(cell.unwrap_or_default());
        }
        if row.len() <= SEGMENT_BYTES {
            let length = row.len() as u32;
            row[..4].copy_from_slice(&length.to_le_bytes());
            self.forget(relation, key);
            self.keep(&row, relation, key);
        }
        self.row = row;
    }

    fn keep(&mut self, row: &[u8], relation: u16, key: &[u8]) {
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
        let place = number << SEGMENT_BITS | offset;
        let Self { segments, first, places, hasher, .. } = self;
        places.insert_unique(hash(hasher, relation, key), place, |place| {
            let (relation, key_end, row) = parts(segments, *first, *place);
            hash(hasher, relation, &row[HEAD_BYTES..key_end])
        });
    }

    /// Drops a row.
    pub(super) fn forget(&mut self, relation: u16, key: &[u8]) {
        let hash = self.hash(relation, key);
        let Self { segments, first, places, .. } = self;
        let found = places.find_entry(hash, |place| {
            let (of, key_end, row) = parts(segments, *first, *place);
            of == relation && &row[HEAD_BYTES..key_end] == key
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
            if let Ok(entry) = self.places.find_entry(hash, |known| *known == place) {
                entry.remove();
            }
        }
        self.segments.pop_front();
        self.first = (self.first + 1) % SEGMENT_NUMBERS;
    }

    fn is_at(&self, place: Place, relation: u16, key: &[u8]) -> bool {
        let (of, key_end, row) = self.parts(place);
        of == relation && &row[HEAD_BYTES..key_end] == key
    }

    fn parts(&self, place: Place) -> (u16, usize, &[u8]) {
        parts(&self.segments, self.first, place)
    }

    fn hash(&self, relation: u16, key: &[u8]) -> u64 {
        hash(&self.hasher, relation, key)
    }
}

/// A row's relation, where its key ends, and its bytes.
fn parts(segments: &VecDeque<Vec<u8>>, first: u32, place: Place) -> (u16, usize, &[u8]) {
    let number = (place >> SEGMENT_BITS).wrapping_sub(first) % SEGMENT_NUMBERS;
    let start = place as usize & (SEGMENT_BYTES - 1);
    let row = &segments[number as usize][start..];
    let length = u32::from_le_bytes([row[0], row[1], row[2], row[3]]) as usize;
    let relation = u16::from_le_bytes([row[4], row[5]]);
    let key_length = u16::from_le_bytes([row[6], row[7]]);
    (relation, HEAD_BYTES + usize::from(key_length), &row[..length])
}

fn hash(hasher: &DefaultHashBuilder, relation: u16, key: &[u8]) -> u64 {
    hasher.hash_one((relation, key))
}

/// The cells of a row, one after the other; NULL is none.
pub(super) struct Cells<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Cells<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let length = read_length(&mut self.rest);
        let Some(length) = length.checked_sub(1) else { return Some(None) };
        let (cell, rest) = self.rest.split_at(length);
        self.rest = rest;
        Some(Some(cell))
    }
}

/// Seven bits a byte, the lowest first (LEB128).
fn write_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn read_length(rest: &mut &[u8]) -> usize {
    let mut length = 0;
    let mut shift = 0;
    while let Some((byte, behind)) = rest.split_first() {
        *rest = behind;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        shift += 7;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(cache: &RelatedCache, relation: u16, key: &str) -> Option<Vec<Option<String>>> {
        let place = cache.find(relation, key.as_bytes())?;
        let text = |cell: Option<&[u8]>| cell.map(|cell| String::from_utf8(cell.to_vec()).unwrap());
        Some(cache.cells(place).map(text).collect())
    }

    #[test]
    fn a_row_comes_back_as_it_went_in_and_the_later_one_counts() {
        let mut cache = RelatedCache::new(8 << 20);
        let long = "x".repeat(70_000);
        cache.insert(1, b"a", [Some(&b"one"[..]), None, Some(b""), Some(long.as_bytes())].into_iter());
        cache.insert(2, b"a", [Some(&b"two"[..])].into_iter());
        let expected = [Some("one".to_owned()), None, Some(String::new()), Some(long)];
        assert_eq!(texts(&cache, 1, "a").unwrap(), expected);
        assert_eq!(texts(&cache, 2, "a").unwrap(), [Some("two".to_owned())]);
        cache.insert(2, b"a", [Some(&b"three"[..])].into_iter());
        assert_eq!(texts(&cache, 2, "a").unwrap(), [Some("three".to_owned())]);
        cache.forget(2, b"a");
        assert_eq!((texts(&cache, 2, "a"), texts(&cache, 1, "b")), (None, None));
        cache.clear();
        assert_eq!(texts(&cache, 1, "a"), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_rows_go() {
        let limit = 4 << 20;
        let mut cache = RelatedCache::new(limit);
        // Enough to go around the circle of segment numbers.
        let count = 4_200 * 9;
        let cell = vec![b'x'; 110_000];
        for number in 0..count {
            cache.insert(0, format!("{number}").as_bytes(), [Some(&cell[..])].into_iter());
            assert!(cache.byte_count() <= limit);
            if number % 3 == 0 {
                cache.forget(0, format!("{number}").as_bytes());
            }
        }
        let found = |number: usize| texts(&cache, 0, &format!("{number}")).is_some();
        assert!(found(count - 1) && found(count - 5) && !found(count - 60) && !found(0));
        assert!(cache.places.len() < 40);
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let mut cache = RelatedCache::new(4 << 20);
        cache.insert(0, b"a", [Some(&vec![0; SEGMENT_BYTES][..])].into_iter());
        assert!(cache.find(0, b"a").is_none());
        cache.insert(0, &vec![0; 70_000], [Some(&b""[..])].into_iter());
        assert!(cache.find(0, &vec![0; 70_000]).is_none());
        let mut none = RelatedCache::new(0);
        none.insert(0, b"a", [Some(&b"x"[..])].into_iter());
        assert!(none.find(0, b"a").is_none());
    }
}
