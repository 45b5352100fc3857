//! The keys of a batch as one buffer: for each its length in bytes (LEB128) and its text.

use crate::key::Key;
use crate::store::failure::{Attempt, Failure};

const MORE: u8 = 0x80;

/// Writes the keys one after the other.
pub(super) fn encode<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Vec<u8> {
    let mut buffer = Vec::new();
    for key in keys {
        push(&mut buffer, key.as_str());
    }
    buffer
}

/// Writes one more key.
pub(super) fn push(buffer: &mut Vec<u8>, key: &str) {
    let mut length = key.len();
    while length >= usize::from(MORE) {
        buffer.push((length & 0x7f) as u8 | MORE);
        length >>= 7;
    }
    buffer.push(length as u8);
    buffer.extend_from_slice(key.as_bytes());
}

/// Whether the key that begins at `offset` is this one.
pub(super) fn is_at(buffer: &[u8], offset: usize, key: &str) -> bool {
    buffer.get(offset..).and_then(first_text).is_some_and(|(text, _)| text == key.as_bytes())
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

fn first_key(buffer: &[u8]) -> Option<(Key, &[u8])> {
    let (text, rest) = first_text(buffer)?;
    Some((Key::from_encoded(std::str::from_utf8(text).ok()?), rest))
}

fn first_text(mut buffer: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0usize;
    for shift in (0..usize::BITS - 7).step_by(7) {
        let (byte, rest) = buffer.split_first()?;
        buffer = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & MORE == 0 {
            return buffer.split_at_checked(length);
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
            let buffer = encode(&keys);
            prop_assert_eq!(&decode(&buffer).unwrap(), &keys);
            let mut offset = 0;
            for key in &keys {
                prop_assert!(is_at(&buffer, offset, key.as_str()));
                let longer = key.as_str().to_owned() + "x";
                prop_assert!(!is_at(&buffer, offset, &longer));
                offset += encode([key]).len();
            }
        }

        #[test]
        fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            let _ = decode(&bytes);
            let _ = is_at(&bytes, 3, "x");
        }
    }

    #[test]
    fn a_cut_buffer_is_damaged() {
        let buffer = encode(&[Key::from_encoded("abc")]);
        assert!(decode(&buffer[..3]).is_err());
        assert!(decode(&[0xff; 12]).is_err());
    }
}
