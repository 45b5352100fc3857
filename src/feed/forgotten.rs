//! Sessions that somebody left in a transaction: they lose nothing, but a restart reads everything since their start
//! again, and PostgreSQL cannot clean up.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::feed::cursor_feed::{CursorFeed, FEED, FeedState, decode};
use crate::feed::window::Observation;
use crate::postgres::{Source, forgotten_after};
use crate::store::Store;

/// The same session is warned of again after this long.
const REPEAT_AFTER: Duration = Duration::from_secs(3_600);

/// A session that has been idle in a transaction for long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenSession {
    /// Its backend.
    pub pid: i32,
    /// When its transaction began, as the server's text.
    pub since: String,
}

/// What was warned of, and when.
#[derive(Debug, Default)]
pub(super) struct ForgottenWarning {
    last: Option<(ForgottenSession, Instant)>,
}

impl ForgottenWarning {
    /// Whether this session is to be warned of now: when it is another one, or once in an hour.
    fn is_due(&mut self, session: &ForgottenSession, now: Instant) -> bool {
        let is_due = self
            .last
            .as_ref()
            .is_none_or(|(known, at)| known != session || now.saturating_duration_since(*at) >= REPEAT_AFTER);
        if is_due {
            self.last = Some((session.clone(), now));
        }
        is_due
    }
}

impl CursorFeed {
    /// The session that the last complete poll found idle in a transaction for long.
    pub fn forgotten_session(store: &Store, generation: &str) -> Result<Option<ForgottenSession>> {
        let Some(text) = store.feed_state(generation, FEED)? else { return Ok(None) };
        Ok(decode::<FeedState>(&text, "the feed's state")?.forgotten)
    }

    /// Notes a session that is idle in a transaction for long, and warns of it.
    pub(super) fn look_for_forgotten(
        &mut self,
        source: &mut Source,
        observation: &Observation,
    ) -> Result<()> {
        let limit = forgotten_after();
        self.state.forgotten = None;
        if observation.oldest_listed.is_none_or(|oldest| observation.now.since(oldest) < limit) {
            return Ok(());
        }
        let Some((pid, start)) = source.oldest_idle_transaction(observation.now.minus(limit))? else {
            return Ok(());
        };
        let session = ForgottenSession { pid, since: start.to_string() };
        if self.warning.is_due(&session, Instant::now()) {
            log::warn!(
                "the session with pid {pid} has been idle in a transaction for {} s: until it ends, a restart reads everything since its start again",
                observation.now.since(start).as_secs()
            );
        }
        self.state.forgotten = Some(session);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_is_warned_of_once_in_an_hour() {
        let began = Instant::now();
        let session = |pid| ForgottenSession { pid, since: "2024-01-01 00:00:00+00".to_owned() };
        let mut warning = ForgottenWarning::default();
        assert!(warning.is_due(&session(1), began));
        assert!(!warning.is_due(&session(1), began + Duration::from_secs(3_599)));
        assert!(warning.is_due(&session(1), began + Duration::from_secs(3_600)));
        assert!(warning.is_due(&session(2), began + Duration::from_secs(3_601)));
    }
}
