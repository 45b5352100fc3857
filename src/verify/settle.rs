//! Waits for polls of a pipeline that runs beside.

use crate::error::Result;
use crate::store::Store;

/// Returns true when a poll that began after the call is complete, and false when `is_over` says so first.
///
/// The state says when a poll was recorded, not when it began. The first that is recorded from now on may have begun
/// before; the second began after the first was recorded. Instants are compared for equality only, so that no clock
/// matters.
pub fn wait_for_poll(
    store: &Store,
    generation: &str,
    is_over: &mut dyn FnMut() -> Result<bool>,
) -> Result<bool> {
    let mut last = store.last_polls(generation)?;
    let mut counts = vec![0; last.len()];
    loop {
        let now = store.last_polls(generation)?;
        if now.len() != last.len() {
            counts = vec![0; now.len()];
        } else {
            for ((count, before), now) in counts.iter_mut().zip(&last).zip(&now) {
                *count += i32::from(before != now);
            }
        }
        last = now;
        if !counts.is_empty() && counts.iter().all(|count| *count >= 2) {
            return Ok(true);
        }
        if is_over()? {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_poll_recorded_is_the_first_that_surely_began_later() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.stamp_checkpoints("m", "cursor", &[], "{}").unwrap();
        let mut polls = 0;
        let settled = wait_for_poll(&store, "m", &mut || {
            polls += 1;
            store.finish_poll("m", "cursor", &[], "{}", polls)?;
            Ok(false)
        });
        assert!(settled.unwrap());
        assert_eq!(polls, 2);
        assert!(!wait_for_poll(&store, "m", &mut || Ok(true)).unwrap());
    }
}
