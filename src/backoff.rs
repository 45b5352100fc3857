//! Growing, jittered waits between attempts.
//!
//! The wait doubles from [`FIRST_WAIT`] to [`LONGEST_WAIT`], and a random part of it is cut off, so that many
//! clients of a server that comes back do not return in step ("equal jitter": half fixed, half random; see
//! "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). A server's own Retry-After is never undercut.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::shutdown::Shutdown;

/// The first wait: short, since most faults are a single cut connection.
pub const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait: an operator who repaired a server sees traffic within half a minute.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Counts the attempts since the last success and says how long to wait before the next.
#[derive(Debug)]
pub struct Backoff {
    failure_count: u32,
    failing_since: Option<Instant>,
    deadline: Option<Duration>,
    /// Whose attempts these are, in front of what is logged; empty where there is one of their kind.
    name: String,
}

impl Backoff {
    /// Makes a backoff; with a `deadline`, attempts end that long after the first failure in a row.
    pub fn new(deadline: Option<Duration>) -> Self {
        Self { failure_count: 0, failing_since: None, deadline, name: String::new() }
    }

    /// Says in the log whose attempts these are.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = format!("{name}: ");
        self
    }

    /// Forgets the failures: the last attempt worked.
    pub fn succeeded(&mut self) {
        self.failure_count = 0;
        self.failing_since = None;
    }

    /// How many attempts failed since the last success.
    pub fn failure_count(&self) -> u32 {
        self.failure_count
    }

    /// Waits before the next attempt, at least `at_least` (a server's Retry-After).
    ///
    /// Returns `error` itself when it is not retryable or the deadline would pass, and an interruption when
    /// shutdown is asked for during the wait.
    pub fn wait_after(
        &mut self,
        error: Error,
        at_least: Option<Duration>,
        shutdown: &Shutdown,
    ) -> Result<()> {
        if !error.is_retryable() {
            return Err(error);
        }
        let failing_since = *self.failing_since.get_or_insert_with(Instant::now);
        let mut wait = self.next_wait().max(at_least.unwrap_or(Duration::ZERO));
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_sub(failing_since.elapsed());
            if left.is_zero() {
                let gave_up = format!("gave up after {} s, see RETRY_DEADLINE", deadline.as_secs_f64());
                let hint = match error.hint_text() {
                    Some(hint) => format!("{hint}; {gave_up}"),
                    None => gave_up,
                };
                return Err(error.hint(hint));
            }
            wait = wait.min(left);
        }
        let story = format!("{}{}", self.name, error.story());
        if self.failure_count == 1 {
            log::warn!("{story}; trying again in {:.1} s", wait.as_secs_f64());
        } else {
            log::warn!("{story}; attempt {} failed, next in {:.1} s", self.failure_count, wait.as_secs_f64());
        }
        if shutdown.wait(wait) {
            return Err(Error::interrupted());
        }
        Ok(())
    }

    fn next_wait(&mut self) -> Duration {
        let doubled = FIRST_WAIT.saturating_mul(1 << self.failure_count.min(16)).min(LONGEST_WAIT);
        self.failure_count = self.failure_count.saturating_add(1);
        doubled.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_start_again_after_success() {
        let mut backoff = Backoff::new(None);
        let waits: Vec<Duration> = (0..12).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] <= FIRST_WAIT && waits[0] >= FIRST_WAIT / 2);
        assert!(waits[11] <= LONGEST_WAIT && waits[11] >= LONGEST_WAIT / 2);
        backoff.succeeded();
        assert!(backoff.next_wait() <= FIRST_WAIT);
    }

    #[test]
    fn what_is_wrong_for_good_is_not_tried_again() {
        let error = Backoff::new(None).wait_after(Error::wrong("bad"), None, &Shutdown::new()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn the_deadline_ends_the_attempts_with_the_last_error() {
        let mut backoff = Backoff::new(Some(Duration::from_millis(30)));
        let shutdown = Shutdown::new();
        let began = Instant::now();
        let error = loop {
            let down = Error::unreachable("down").hint("start it");
            if let Err(error) = backoff.wait_after(down, None, &shutdown) {
                break error;
            }
        };
        assert!(error.is_retryable());
        assert_eq!(error.hint_text(), Some("start it; gave up after 0.03 s, see RETRY_DEADLINE"));
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
