//! This process's clock. It orders nothing but versions, which never go back whatever it does; and it says when what
//! was put off is due. It may be set, so an instant that was recorded can lie far ahead of now: whoever waits for one
//! decides what that means.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970; zero if the clock is set before that.
pub fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    now.saturating_add(crate::faults::clock_offset_micros())
}
