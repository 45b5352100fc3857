//! How large the bodies of bulk requests are, and how long to wait between them, as the server's load allows.
//!
//! A server that refuses for load (429, 503) is asked for less at once: where it refuses everything, the limit of a body
//! is halved and the pause doubled; where it refuses a share, they change by that share, since one full queue among
//! many is no reason to crawl. Each request that is taken whole raises the limit by a sixteenth of the ceiling and
//! halves the pause. This "additive increase, multiplicative decrease" is what lets many clients of one server find
//! their part of it (Chiu and Jain, 1989; by the share refused: Alizadeh and others, DCTCP, 2010). A body whose answer
//! was lost may have been too large for something on the way, so from the second such in a row on it counts like a
//! refusal. Nothing here waits or talks to anyone.

use std::time::Duration;

/// The smallest limit is this part of the ceiling. A server or proxy that cannot take in a body in time, or hangs up
/// on it instead of answering 413, may take a 64th of it; and a server whose memory for writing is smaller than the
/// body answers 429 for ever (`indexing_pressure.memory.limit`, a tenth of the heap).
const SMALLEST_PART: usize = 64;

/// So many requests that are taken bring the limit from nothing back to the ceiling: about half a second of work on a
/// server that keeps up.
const STEPS_TO_CEILING: usize = 16;

/// The first pause, about what a server needs for a request.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: with the smallest bodies it leaves a server alone for most of the time. Where nothing is taken
/// any more the waits of [`crate::backoff`] grow further.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The size of bodies and the pauses between them.
#[derive(Debug)]
pub(crate) struct Pace {
    /// What BULK_BYTES allows, or less as learned from 413s.
    ceiling: usize,
    limit: usize,
    pause: Duration,
    lost_in_a_row: u32,
    slowdown_count: u64,
    /// Whether the limit fell below half of the ceiling and has not been back since: what an operator should know of.
    is_slow: bool,
}

impl Pace {
    /// Begins with bodies of up to `ceiling` bytes and without pauses.
    pub(crate) fn new(ceiling: usize) -> Self {
        let ceiling = ceiling.max(1);
        Self {
            ceiling,
            limit: ceiling,
            pause: Duration::ZERO,
            lost_in_a_row: 0,
            slowdown_count: 0,
            is_slow: false,
        }
    }

    /// The most bytes of the next body.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether bodies may be as large as they ever were.
    pub(crate) fn is_at_full_size(&self) -> bool {
        self.limit == self.ceiling
    }

    /// How long to wait at least before anything is sent again.
    pub(crate) fn pause(&self) -> Duration {
        self.pause
    }

    /// How often the server was asked for less.
    pub(crate) fn slowdown_count(&self) -> u64 {
        self.slowdown_count
    }

    /// A request was taken whole; returns whether that ends a slow time.
    pub(crate) fn taken(&mut self) -> bool {
        self.lost_in_a_row = 0;
        self.pause = if self.pause > FIRST_PAUSE { self.pause / 2 } else { Duration::ZERO };
        let step = self.ceiling.div_ceil(STEPS_TO_CEILING);
        self.limit = self.limit.saturating_add(step).min(self.ceiling);
        self.limit == self.ceiling && std::mem::take(&mut self.is_slow)
    }

    /// The server refused for load `refused` of the `sent` actions of a request; returns whether that begins a slow
    /// time.
    pub(crate) fn overloaded(&mut self, refused: usize, sent: usize) -> bool {
        debug_assert!(refused > 0 && refused <= sent, "{refused} of {sent} actions were refused");
        self.lost_in_a_row = 0;
        let share = refused as f64 / sent.max(1) as f64;
        // Doubled where all is refused, and no longer than before where a third is.
        self.pause = self.pause.mul_f64(0.5 + 1.5 * share.min(1.0)).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.lower(share)
    }

    /// The answer to a request was lost; returns whether that begins a slow time.
    pub(crate) fn lost(&mut self) -> bool {
        self.lost_in_a_row = self.lost_in_a_row.saturating_add(1);
        self.lost_in_a_row > 1 && self.lower(1.0)
    }

    /// The server takes no body of `bytes`; returns the new ceiling if it is a lower one.
    pub(crate) fn too_large(&mut self, bytes: usize) -> Option<usize> {
        let ceiling = (bytes / 2).max(1);
        if ceiling >= self.ceiling {
            return None;
        }
        self.ceiling = ceiling;
        self.limit = self.limit.min(ceiling);
        Some(ceiling)
    }

    /// Lowers the limit by half of `share`.
    fn lower(&mut self, share: f64) -> bool {
        let lowered = self.limit as f64 * (1.0 - share.min(1.0) / 2.0);
        self.limit = (lowered as usize).max(self.ceiling / SMALLEST_PART).max(1);
        self.slowdown_count += 1;
        self.limit <= self.ceiling / 2 && !std::mem::replace(&mut self.is_slow, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILING: usize = 64_000;

    #[test]
    fn refusals_halve_the_limit_and_double_the_pause_within_bounds() {
        let mut pace = Pace::new(CEILING);
        assert_eq!((pace.limit(), pace.pause()), (CEILING, Duration::ZERO));
        assert!(pace.overloaded(3, 3));
        assert_eq!((pace.limit(), pace.pause()), (CEILING / 2, FIRST_PAUSE));
        assert!(!pace.overloaded(3, 3));
        assert_eq!((pace.limit(), pace.pause()), (CEILING / 4, FIRST_PAUSE * 2));
        for _ in 0..100 {
            pace.overloaded(3, 3);
        }
        assert_eq!((pace.limit(), pace.pause()), (CEILING / SMALLEST_PART, LONGEST_PAUSE));
        assert_eq!(pace.slowdown_count(), 102);
    }

    #[test]
    fn a_share_refused_lowers_by_that_share() {
        let mut pace = Pace::new(CEILING);
        assert!(!pace.overloaded(1, 4));
        assert_eq!((pace.limit(), pace.pause()), (CEILING / 8 * 7, FIRST_PAUSE));
        assert!(!pace.taken() && !pace.taken(), "a little slower is no slow time");
        // However long it lasts, a third refused makes no pause longer.
        for _ in 0..100 {
            pace.overloaded(1, 3);
        }
        assert_eq!(pace.pause(), FIRST_PAUSE);
        pace.overloaded(2, 3);
        assert!(pace.pause() > FIRST_PAUSE);
    }

    #[test]
    fn successes_bring_both_back_step_by_step() {
        let mut pace = Pace::new(CEILING);
        for _ in 0..20 {
            pace.overloaded(3, 3);
        }
        let mut limits = vec![pace.limit()];
        while !pace.taken() {
            limits.push(pace.limit());
        }
        assert_eq!(limits.len(), STEPS_TO_CEILING);
        let mut steps = limits.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(steps.all(|step| step == CEILING / STEPS_TO_CEILING), "{limits:?}");
        assert_eq!((pace.limit(), pace.pause()), (CEILING, Duration::ZERO));
        // It is told once.
        assert!(!pace.taken());
    }

    #[test]
    fn one_lost_answer_is_chance_and_two_in_a_row_are_a_reason() {
        let mut pace = Pace::new(CEILING);
        assert!(!pace.lost());
        pace.taken();
        assert!(!pace.lost());
        assert_eq!(pace.limit(), CEILING);
        assert!(pace.lost());
        assert!(!pace.lost());
        assert_eq!((pace.limit(), pace.slowdown_count()), (CEILING / 4, 2));
    }

    #[test]
    fn a_body_too_large_lowers_the_ceiling_for_good() {
        let mut pace = Pace::new(CEILING);
        assert_eq!(pace.too_large(40_000), Some(20_000));
        assert_eq!(pace.too_large(50_000), None);
        for _ in 0..100 {
            pace.taken();
        }
        assert_eq!(pace.limit(), 20_000);
    }

    #[test]
    fn the_smallest_ceiling_still_lets_actions_through() {
        let mut pace = Pace::new(0);
        pace.overloaded(3, 3);
        assert_eq!(pace.limit(), 1);
        assert_eq!(pace.too_large(1), None);
    }
}
