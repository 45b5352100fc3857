//! Stops the delivery when everything is refused.
//!
//! One poison document harms only itself, but a wrong mapping refuses them all, and must not turn a whole
//! table into dead letters.

use std::collections::VecDeque;

/// The window is so many times the limit.
const WINDOW_IN_LIMITS: usize = 10;

/// What was judged of so many documents in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    judged: u64,
    refused: u64,
}

/// Counts refusals, in a row and among the last documents judged.
///
/// It trips at `limit` refusals in a row, and when half of the last 10 × `limit` documents were refused
/// (counted in stretches of `limit`, so the window is between 9 and 10 limits long, and memory does not grow
/// with the limit). Deletes are not counted: the index takes them under any mapping.
#[derive(Debug)]
pub(crate) struct Breaker {
    limit: u64,
    refused_in_a_row: u64,
    stretches: VecDeque<Stretch>,
}

impl Breaker {
    /// Makes a breaker; a `limit` of zero never trips.
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, refused_in_a_row: 0, stretches: VecDeque::new() }
    }

    /// Counts a document that was written.
    pub(crate) fn applied(&mut self) {
        self.refused_in_a_row = 0;
        self.stretch().judged += 1;
    }

    /// Counts a document that was refused; returns whether the breaker trips.
    pub(crate) fn refused(&mut self) -> bool {
        self.refused_in_a_row += 1;
        let stretch = self.stretch();
        stretch.judged += 1;
        stretch.refused += 1;
        let refused: u64 = self.stretches.iter().map(|stretch| stretch.refused).sum();
        let half_of_window = self.limit.saturating_mul(WINDOW_IN_LIMITS as u64 / 2);
        self.limit > 0 && (self.refused_in_a_row >= self.limit || refused >= half_of_window)
    }

    fn stretch(&mut self) -> &mut Stretch {
        if self.stretches.back().is_none_or(|last| last.judged >= self.limit) {
            if self.stretches.len() >= WINDOW_IN_LIMITS {
                self.stretches.pop_front();
            }
            self.stretches.push_back(Stretch::default());
        }
        let last = self.stretches.len() - 1;
        &mut self.stretches[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_trips_at_the_limit_in_a_row() {
        let mut breaker = Breaker::new(3);
        assert!(!breaker.refused() && !breaker.refused());
        breaker.applied();
        assert!(!breaker.refused() && !breaker.refused());
        assert!(breaker.refused());
    }

    #[test]
    fn it_trips_at_half_of_the_window() {
        let mut breaker = Breaker::new(4);
        let mut judged = 0;
        loop {
            judged += 2;
            breaker.applied();
            if breaker.refused() {
                break;
            }
        }
        assert_eq!(judged, 40);
    }

    #[test]
    fn now_and_then_a_refusal_is_life() {
        let mut breaker = Breaker::new(2);
        for _ in 0..10_000 {
            breaker.applied();
            breaker.applied();
            assert!(!breaker.refused());
        }
        assert!(breaker.stretches.len() <= WINDOW_IN_LIMITS);
    }

    #[test]
    fn zero_never_trips() {
        let mut breaker = Breaker::new(0);
        assert!((0..100).all(|_| !breaker.refused()));
    }
}
