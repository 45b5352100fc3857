//! Named points of the pipeline at which a test can stop the process.
//!
//! Without the `faults` feature every point is nothing. With it, `PGSLUICE_CRASH_AT=point:3` aborts the process when
//! `point` is passed for the third time, as `kill -9` would.

/// Passes a named point.
#[cfg(feature = "faults")]
pub fn point(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let Ok(wanted) = std::env::var("PGSLUICE_CRASH_AT") else { return };
    let (wanted, count) = wanted.split_once(':').unwrap_or((wanted.as_str(), "1"));
    if wanted == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == count.parse().unwrap_or(1) {
        log::error!("stopping at {name}");
        std::process::abort();
    }
}

/// A time of the program, shortened for a test by an environment variable in milliseconds.
#[cfg(feature = "faults")]
pub fn time(variable: &str, usual: std::time::Duration) -> std::time::Duration {
    let wanted = std::env::var(variable).ok().and_then(|text| text.parse().ok());
    wanted.map_or(usual, std::time::Duration::from_millis)
}

/// A time of the program.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn time(_variable: &str, usual: std::time::Duration) -> std::time::Duration {
    usual
}

/// Passes a named point.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn point(_name: &str) {}
