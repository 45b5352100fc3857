//! When a pass of the schedule is due.

use std::time::Duration;

use crate::store::VerifyProgress;

/// How long a pass that something made due waits after the last one, at first.
const PAUSE_MIN: i64 = 2_000_000;

/// And at most, as a multiple of the time that one took: then it is at work a quarter of the time.
const PAUSE_FACTOR: i64 = 3;

/// After so long without one it begins at once again.
const QUIET: i64 = 600_000_000;

/// Whether a pass is due for what has happened since it began, and the last one is long enough ago.
pub(super) fn is_due_soon(due_since: Option<i64>, progress: &VerifyProgress, now: i64) -> bool {
    let longest = progress.duration.saturating_mul(PAUSE_FACTOR).max(PAUSE_MIN);
    let pause = PAUSE_MIN.saturating_mul(1 << progress.hurried_before.min(30)).min(longest);
    let was_begun = progress.is_under_way || progress.finished_at.is_some();
    // A pass that began ahead of now began before the clock was set back: what became due since is due all the same.
    let last_began = if was_begun && progress.started_at <= now { progress.started_at } else { 0 };
    due_since.is_some_and(|since| since > last_began)
        && progress.finished_at.is_none_or(|finished_at| now - finished_at >= pause || now < finished_at)
}

/// How many passes went before one that begins now, since something made it due again.
pub(super) fn hurried_before(last: &VerifyProgress, now: i64) -> u32 {
    let was_long_ago = last.finished_at.is_none_or(|finished_at| now - finished_at >= QUIET);
    if !last.is_hurried || was_long_ago { 0 } else { last.hurried_before.saturating_add(1) }
}

/// Whether a range is due so that the ranges are spread evenly over the interval.
pub(super) fn is_range_due(progress: &VerifyProgress, now: i64, interval: i64, chunk_size: u64) -> bool {
    let elapsed = elapsed(progress.started_at, now).unwrap_or(interval);
    if !progress.is_under_way {
        // The first range of the next pass, or of the first one: a load or pass that ended has just looked at all.
        return elapsed >= interval;
    }
    if elapsed >= interval {
        return true;
    }
    let chunk_size = chunk_size.max(1);
    let range_count = progress.expected.div_ceil(chunk_size).max(1) as f64;
    let due = (range_count * elapsed as f64 / interval.max(1) as f64).floor();
    ((progress.looked_at / chunk_size) as f64) < due
}

/// Whether the next pass over everything is due.
pub(super) fn is_pass_due(progress: &VerifyProgress, now: i64, interval: i64) -> bool {
    elapsed(progress.started_at, now).is_none_or(|elapsed| elapsed >= interval)
}

/// How long ago it was; none if it was before the clock was set back, so that nothing waits for the clock to be there
/// again.
fn elapsed(since: i64, now: i64) -> Option<i64> {
    (now >= since).then(|| now - since)
}

/// As instants of the state are counted.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(started_at: i64, looked_at: u64) -> VerifyProgress {
        VerifyProgress {
            is_under_way: true,
            started_at,
            looked_at,
            expected: 1_000,
            ..VerifyProgress::default()
        }
    }

    #[test]
    fn ranges_are_spread_over_the_interval() {
        // Ten ranges in 1,000 microseconds.
        assert!(!is_range_due(&progress(5_000, 0), 5_050, 1_000, 100));
        assert!(is_range_due(&progress(5_000, 0), 5_100, 1_000, 100));
        assert!(!is_range_due(&progress(5_000, 100), 5_199, 1_000, 100));
        assert!(is_range_due(&progress(5_000, 100), 5_200, 1_000, 100));
        // More rows than expected: what is left is due at the end.
        assert!(is_range_due(&progress(5_000, 9_999), 6_000, 1_000, 100));
        let ended = VerifyProgress { is_under_way: false, ..progress(5_000, 1_000) };
        assert!(!is_range_due(&ended, 5_999, 1_000, 100) && is_range_due(&ended, 6_000, 1_000, 100));
    }

    #[test]
    fn a_clock_that_is_set_back_puts_nothing_off() {
        let began_ahead = VerifyProgress { finished_at: Some(6_000), ..progress(5_000, 0) };
        assert!(is_range_due(&began_ahead, 100, 1_000, 100));
        let ended_ahead = VerifyProgress { is_under_way: false, ..began_ahead };
        assert!(is_range_due(&ended_ahead, 100, 1_000, 100) && is_pass_due(&ended_ahead, 100, 1_000));
        // Rows were deleted after the clock was set back, so at an earlier instant than the last pass began.
        assert!(is_due_soon(Some(100), &ended_ahead, 101));
        assert!(!is_due_soon(None, &ended_ahead, 101));
        assert!(!is_due_soon(Some(100), &ended_ahead, 9_000_000));
    }

    #[test]
    fn what_happens_often_waits_longer() {
        let mut last = VerifyProgress { started_at: 10, ..VerifyProgress::default() };
        assert!(is_due_soon(Some(5), &last, 20) && !is_due_soon(None, &last, 20));
        last.finished_at = Some(1_000_000);
        last.duration = 10_000_000;
        last.is_hurried = true;
        assert!(!is_due_soon(Some(5), &last, 99_000_000));
        // 2 seconds after the first, then 4, 8, 16, and three times as long as it takes.
        for (before, pause) in [(0, 2), (1, 4), (2, 8), (3, 16), (4, 30), (99, 30)] {
            last.hurried_before = before;
            let due_at = 1_000_000 + pause * 1_000_000;
            assert!(
                !is_due_soon(Some(20), &last, due_at - 1) && is_due_soon(Some(20), &last, due_at),
                "{before}"
            );
        }
        assert_eq!((hurried_before(&last, 600_000_000), hurried_before(&last, 601_000_000)), (100, 0));
        last.is_hurried = false;
        assert_eq!(hurried_before(&last, 2_000_000), 0);
    }
}
