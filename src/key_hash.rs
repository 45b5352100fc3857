//! The hash of a key, made once for every map that is asked for it.

use std::hash::{BuildHasher, Hash};

use hashbrown::DefaultHashBuilder;

use crate::key::Key;

/// Spreads 32 bits over 64 (the golden ratio, as Fibonacci hashing does it): a table takes its bits from both ends.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash of a key, as small as the entries of a map of a million keys should be.
///
/// Of a million keys some hundreds share theirs with another one, so whoever finds something by it compares the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash(u32);

impl KeyHash {
    /// What a hash table places its entry by.
    pub(crate) fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(SPREAD)
    }
}

/// Makes the hashes; with a seed of its own, so that nobody can choose keys that share theirs.
#[derive(Debug, Default)]
pub(crate) struct KeyHasher(DefaultHashBuilder);

impl KeyHasher {
    pub(crate) fn of(&self, key: &Key) -> KeyHash {
        self.of_text(key.as_str())
    }

    pub(crate) fn of_text(&self, key: &str) -> KeyHash {
        self.of_value(key)
    }

    /// The hash of a key that is no text.
    pub(crate) fn of_value(&self, key: impl Hash) -> KeyHash {
        let hash = self.0.hash_one(key);
        KeyHash((hash ^ (hash >> 32)) as u32)
    }
}
