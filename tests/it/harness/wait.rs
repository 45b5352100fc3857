//! Waiting for a state, never for a length of time.

use std::time::{Duration, Instant};

/// Tries `is_so` until it holds; panics with `what` after `limit`.
pub fn wait_until(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < limit, "not so after {} s: {what}", limit.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}
