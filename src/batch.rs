//! The batch: what travels the pipeline together.

use std::fmt;

use crate::key::Key;

/// The number of an in-flight batch in the state; grows by one with each batch taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchNumber(pub u64);

impl fmt::Display for BatchNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The external version that every action of a batch carries.
///
/// It only grows, and is drawn before the snapshot from which the batch is read is opened, so a higher version never
/// has older content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The highest: the servers keep versions as signed 64-bit numbers.
    pub const HIGHEST: Self = Self(i64::MAX as u64);

    /// From here on a version that someone else gave cannot be outdone: what is left above it, 142 years of
    /// microseconds, is for the versions that follow.
    pub const OUT_OF_REACH: Self = Self(Self::HIGHEST.0 - (1 << 52));
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A range of root keys in PostgreSQL's order: after `low` (from the start if none), up to and with `high` (to the
/// end if none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The last key before the range.
    pub low: Option<Key>,
    /// The last key of the range.
    pub high: Option<Key>,
}

/// What a batch covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Stale keys, each once.
    Keys(Vec<Key>),
    /// A range of a full load.
    Range(KeyRange),
}

/// A batch that is buffered in the state until Elasticsearch has acknowledged all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its number in the state.
    pub number: BatchNumber,
    /// What it covers.
    pub work: Work,
    /// How often it was taken before (over restarts).
    pub attempt_count: u32,
}
