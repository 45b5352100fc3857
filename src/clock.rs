//! This process's clock. It orders nothing but versions, which never go back whatever it does.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970; zero if the clock is set before that.
pub fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
