//! Named points of the pipeline at which a test can stop the process.
//!
//! Without the `faults` feature every point is nothing. With it, `PGSLUICE_CRASH_AT=point:3` aborts the process when
//! `point` is passed for the third time, as `kill -9` would. `PGSLUICE_CLOCK_OFFSET` names a file with a number of
//! seconds, by which this process's clock is wrong from then on; it is read each time, so that it can change.

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

/// A number of the program, changed for a test by an environment variable.
#[cfg(feature = "faults")]
pub fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A number of the program.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn number(_variable: &str, usual: usize) -> usize {
    usual
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

/// By how much this process's clock is to be wrong, in microseconds.
#[cfg(feature = "faults")]
pub fn clock_offset_micros() -> i64 {
    let seconds: i64 = std::env::var_os("PGSLUICE_CLOCK_OFFSET")
        .and_then(|path| std::fs::read_to_string(path).ok())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or_default();
    seconds.saturating_mul(1_000_000)
}

/// By how much this process's clock is to be wrong, in microseconds.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn clock_offset_micros() -> i64 {
    0
}
