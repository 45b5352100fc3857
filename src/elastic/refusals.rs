//! What was refused in a row over all batches, and whether it is too much.

use crate::elastic::breaker::Breaker;
use crate::key::Key;

/// How many refusals in a row are remembered, so that memory stays bounded whatever DEAD_LETTER_STOP says.
const REMEMBERED_REFUSALS: usize = 100_000;

/// The refusals of one delivery.
#[derive(Debug)]
pub(crate) struct Refusals {
    is_watching: bool,
    breaker: Breaker,
    in_a_row: Vec<Key>,
    has_tripped: bool,
}

impl Refusals {
    /// `limit` refusals in a row are too many; zero: never.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            is_watching: limit > 0,
            breaker: Breaker::new(limit),
            in_a_row: Vec::new(),
            has_tripped: false,
        }
    }

    /// A document was written.
    pub(crate) fn applied(&mut self) {
        self.breaker.applied();
        self.in_a_row.clear();
    }

    /// The document of `key` was refused; returns whether that is one too many.
    pub(crate) fn refused(&mut self, key: &Key) -> bool {
        if self.is_watching && self.in_a_row.len() < REMEMBERED_REFUSALS {
            self.in_a_row.push(key.clone());
        }
        self.has_tripped |= self.breaker.refused();
        self.has_tripped
    }

    /// The keys refused in a row, once there were too many.
    pub(crate) fn take_if_tripped(&mut self) -> Vec<Key> {
        if self.has_tripped { std::mem::take(&mut self.in_a_row) } else { Vec::new() }
    }
}
