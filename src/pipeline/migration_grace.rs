//! For how long tables that do not fit the definition any more are waited for.
//!
//! A migration may take several transactions: a column is dropped in one and comes back in the next, a table is swapped
//! for another, a right is revoked and granted again. What is in between ends nothing; what stays is an error.

use std::time::{Duration, Instant};

use crate::error::{Error, Kind};

/// How long it is waited for them: longer than the statements of a migration, shorter than anyone waits for an alarm.
const GRACE: Duration = Duration::from_secs(10);

/// After so long without one, a mismatch is another one than the last.
const QUIET: Duration = Duration::from_secs(60);

/// When tables that do not fit the definition were met.
#[derive(Debug, Default)]
pub(super) struct MigrationGrace {
    since: Option<Instant>,
    last: Option<Instant>,
}

impl MigrationGrace {
    /// Makes a mismatch one that may pass by itself, while it is not there for long.
    pub(super) fn excuse(&mut self, error: Error, now: Instant) -> Error {
        if error.kind() != Kind::Mismatch {
            return error;
        }
        if self.last.is_none_or(|last| now.saturating_duration_since(last) > QUIET) {
            self.since = None;
        }
        self.last = Some(now);
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < GRACE { error.into_retryable() } else { error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_is_excused_for_a_while_and_each_anew() {
        let began = Instant::now();
        let mut grace = MigrationGrace::default();
        let mut is_excused = |seconds: u64, kind: Kind| {
            grace.excuse(Error::new(kind, "no column"), began + Duration::from_secs(seconds)).is_retryable()
        };
        assert!(is_excused(0, Kind::Mismatch));
        assert!(is_excused(9, Kind::Mismatch));
        assert!(!is_excused(10, Kind::Mismatch));
        // Ending is tried again and again by whoever starts it: without a pause it is the same one.
        assert!(!is_excused(60, Kind::Mismatch));
        assert!(is_excused(200, Kind::Mismatch));
        assert!(!is_excused(200, Kind::Wrong));
    }
}
