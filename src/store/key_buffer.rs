//! The keys of a batch as one buffer: for each its length in bytes (LEB128) and its text.

use crate::key::Key;
use crate::store::failure::{Attempt, Failure};

const MORE: u8 = 0x80;

/// Writes the keys one after the other.
pub(super) fn encode<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Vec<u8> {
    let mut buffer = Vec::new();
    for key in keys {
        let bytes = key.as_str().as_bytes();
        let mut length = bytes.len();
        while length >= usize::from(MORE) {
            buffer.push((length & 0x7f) as u8 | MORE);
            length >>= 7;
        }
        buffer.push(length as u8);
        buffer.extend_from_slice(bytes);
    }
    buffer
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(mut buffer: &[u8]) -> Attempt<Vec<Key>> {
    let mut keys = Vec::new();
    while !buffer.is_empty() {
        let (key, rest) = first_key(buffer).ok_or(Failure::Damaged("a buffer of keys cannot be read"))?;
        keys.push(key);
        buffer = rest;
    }
    Ok(keys)
}

fn first_key(mut buffer: &[u8]) -> Option<(Key, &[u8])> {
    let mut length = 0usize;
    for shift in (0..usize::BITS - 7).step_by(7) {
        let (byte, rest) = buffer.split_first()?;
        buffer = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & MORE == 0 {
            let (text, rest) = buffer.split_at_checked(length)?;
            return Some((Key::from_encoded(std::str::from_utf8(text).ok()?), rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_back(texts in prop::collection::vec(any::<String>(), 0..20), long in 0usize..40_000) {
            let mut keys: Vec<Key> = texts.into_iter().map(Key::from_encoded).collect();
            keys.push(Key::from_encoded("x".repeat(long)));
            prop_assert_eq!(decode(&encode(&keys)).unwrap(), keys);
        }

        #[test]
        fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_cut_buffer_is_damaged() {
        let buffer = encode(&[Key::from_encoded("abc")]);
        assert!(decode(&buffer[..3]).is_err());
        assert!(decode(&[0xff; 12]).is_err());
    }
}
