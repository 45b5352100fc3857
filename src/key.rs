//! Keys of rows, and the document ids made of them.
//!
//! A key is held as PostgreSQL's own text of its columns and is only ever *compared* in PostgreSQL: no order of ours
//! can equal a column's collation. Equality of the text is enough to say that two keys are the same row.

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};

/// The longest `_id` in bytes that Elasticsearch and OpenSearch accept.
pub const ID_MAX_BYTES: usize = 512;

/// What stands in front of the hash in the id of a key that is too long or empty.
pub const HASHED_ID_PREFIX: &str = "sha256:";

const SEPARATOR: char = '|';
const ESCAPE: char = '\\';

/// The key of one row: the text of its columns, as one string.
///
/// One column is held as it is. Several are joined with `|`, and `|` and `\` inside a column are written `\|` and
/// `\\`, so that different keys never become the same string.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<str>);

impl Key {
    /// Makes the key of the given column texts.
    ///
    /// # Panics
    /// In debug builds, if there is no column.
    pub fn from_columns<S: AsRef<str>>(columns: &[S]) -> Self {
        debug_assert!(!columns.is_empty(), "a key has at least one column");
        if let [only] = columns {
            return Self(only.as_ref().into());
        }
        let mut joined = String::new();
        for (position, column) in columns.iter().enumerate() {
            if position > 0 {
                joined.push(SEPARATOR);
            }
            for character in column.as_ref().chars() {
                if character == SEPARATOR || character == ESCAPE {
                    joined.push(ESCAPE);
                }
                joined.push(character);
            }
        }
        Self(joined.into())
    }

    /// Takes back a key that was written by [`Key::as_str`].
    pub fn from_encoded(encoded: impl Into<Box<str>>) -> Self {
        Self(encoded.into())
    }

    /// The whole key as one string, for storage.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the texts of the `column_count` columns, or nothing if this is not a key of so many columns.
    pub fn columns(&self, column_count: usize) -> Option<Vec<String>> {
        if column_count == 1 {
            return Some(vec![self.0.to_string()]);
        }
        let mut columns = vec![String::new()];
        let mut characters = self.0.chars();
        while let Some(character) = characters.next() {
            match character {
                ESCAPE => columns.last_mut()?.push(characters.next()?),
                SEPARATOR => columns.push(String::new()),
                other => columns.last_mut()?.push(other),
            }
        }
        (columns.len() == column_count).then_some(columns)
    }

    /// Whether the `_id` is a hash, so that the key cannot be read from it.
    pub fn is_hashed(&self) -> bool {
        self.0.len() > ID_MAX_BYTES || self.0.is_empty()
    }

    /// The `_id` of this key's document: the key itself, or a hash of it where that is too long or empty.
    pub fn document_id(&self) -> Cow<'_, str> {
        if !self.is_hashed() {
            return Cow::Borrowed(&self.0);
        }
        let mut id = String::from(HASHED_ID_PREFIX);
        for byte in Sha256::digest(self.0.as_bytes()) {
            id.push_str(&format!("{byte:02x}"));
        }
        Cow::Owned(id)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_composite_keys_never_share_a_text() {
        let pairs =
            [["a-b", "c"], ["a", "b-c"], ["a|b", "c"], ["a", "b|c"], ["a\\", "|c"], ["a\\|", "c"], ["", "a"]];
        for (position, one) in pairs.iter().enumerate() {
            let key = Key::from_columns(one);
            assert_eq!(key.columns(2).unwrap(), one);
            for other in &pairs[position + 1..] {
                assert_ne!(key, Key::from_columns(other));
            }
        }
    }

    #[test]
    fn a_single_column_is_the_id_as_it_is() {
        assert_eq!(Key::from_columns(&["a|b\\"]).document_id(), "a|b\\");
        assert_eq!(Key::from_columns(&["a|b\\"]).columns(1).unwrap(), ["a|b\\"]);
    }

    #[test]
    fn an_over_long_or_empty_key_gets_a_stable_hash() {
        let long = Key::from_columns(&["x".repeat(600)]);
        assert_eq!(long.document_id(), long.document_id());
        assert!(long.document_id().len() <= ID_MAX_BYTES && long.document_id().starts_with("sha256:"));
        assert_eq!(Key::from_columns(&[""]).document_id().len(), 71);
    }
}
