//! From when on a poll must read, decided from what two polls saw of the server's transactions.
//!
//! A plain `modified > last` loses rows: a transaction that began before `last` may commit after it. A poll therefore
//! reads from the smallest of: the server's clock at the previous poll, the clock now less the time passed here (a
//! clock that was set back), and the start of every transaction that the previous poll listed and this one does not.
//! Nothing here waits or talks to anyone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::checkpoint::ServerTime;
use crate::postgres::{Activity, Running};

/// A transaction that a poll listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Listed {
    Running(Running),
    Prepared(String),
}

/// What the last complete poll saw, and the two distances that a poll looks back by.
#[derive(Debug)]
pub(super) struct Window {
    skew: Duration,
    lookback: Duration,
    previous: Option<Previous>,
}

#[derive(Clone, Debug)]
struct Previous {
    now: ServerTime,
    monotonic: Instant,
    /// Each listed transaction with its start, or for a prepared one a bound on it.
    listed: BTreeMap<Listed, ServerTime>,
    is_blind: bool,
}

/// What one poll has to read, and what becomes of the checkpoints once it is complete.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    /// Read rows with a cursor at or after this; none: from each table's own checkpoint.
    pub(super) lower: Option<ServerTime>,
    /// The checkpoint of every table when all its rows are recorded.
    pub(super) checkpoint: ServerTime,
    /// Whether transactions could not be seen, so that a fixed look-back took their place.
    pub(super) is_blind: bool,
    /// The server's clock.
    pub(super) now: ServerTime,
    /// The start of the oldest transaction still listed.
    pub(super) oldest_listed: Option<ServerTime>,
    next: Previous,
}

impl Window {
    pub(super) fn new(skew: Duration, lookback: Duration) -> Self {
        Self { skew, lookback, previous: None }
    }

    /// Forgets the previous poll: the next one reads from the kept checkpoints.
    pub(super) fn forget(&mut self) {
        self.previous = None;
    }

    /// Decides what to read. `kept_checkpoint` is the lowest checkpoint of all tables.
    pub(super) fn observe(&self, activity: &Activity, kept_checkpoint: ServerTime) -> Observation {
        let now = activity.now;
        let is_blind = activity.is_blind || self.previous.as_ref().is_some_and(|previous| previous.is_blind);
        // After a restart the bound is the kept checkpoint + skew.
        let bound = match &self.previous {
            None => ServerTime(kept_checkpoint.0.saturating_add(micros(self.skew))),
            Some(previous) => {
                let passed = activity.monotonic.saturating_duration_since(previous.monotonic);
                previous
                    .listed
                    .iter()
                    .filter(|(listed, _)| !is_still_listed(listed, activity))
                    .map(|(_, start)| *start)
                    .fold(previous.now.min(now.minus(passed)), ServerTime::min)
            }
        };
        let mut listed = BTreeMap::new();
        for running in &activity.running {
            listed.insert(Listed::Running(running.clone()), running.start);
        }
        let earliest_running = activity.running.iter().map(|running| running.start).min();
        for xid in &activity.prepared {
            // `prepared` is the time of PREPARE, not of the start. The bound of the first poll that saw it is not
            // enough either: it may have been listed as running an instant before.
            let start = self
                .known_start(xid)
                .unwrap_or_else(|| earliest_running.map_or(bound, |start| bound.min(start)));
            listed.insert(Listed::Prepared(xid.clone()), start);
        }
        let oldest_listed = listed.values().min().copied();
        let (lower, checkpoint) = if is_blind {
            let lower = self.previous.as_ref().map(|_| bound.minus(self.lookback).minus(self.skew));
            (lower, now.minus(self.lookback).minus(self.skew))
        } else {
            let lower = self.previous.as_ref().map(|_| bound.minus(self.skew));
            (lower, oldest_listed.map_or(now, |oldest| oldest.min(now)).minus(self.skew))
        };
        Observation {
            lower,
            checkpoint,
            is_blind: activity.is_blind,
            now,
            oldest_listed,
            next: Previous { now, monotonic: activity.monotonic, listed, is_blind: activity.is_blind },
        }
    }

    /// The poll of this observation is complete: it becomes the previous poll.
    pub(super) fn complete(&mut self, observation: &Observation) {
        self.previous = Some(observation.next.clone());
    }

    /// What the previous poll knew of the start of a transaction that is now prepared.
    fn known_start(&self, xid: &str) -> Option<ServerTime> {
        let previous = self.previous.as_ref()?;
        previous
            .listed
            .iter()
            .filter(|(listed, _)| match listed {
                Listed::Prepared(known) => known == xid,
                Listed::Running(running) => running.xid.as_deref() == Some(xid),
            })
            .map(|(_, start)| *start)
            .min()
    }
}

fn is_still_listed(listed: &Listed, activity: &Activity) -> bool {
    match listed {
        Listed::Prepared(xid) => activity.prepared.contains(xid),
        Listed::Running(running) => {
            activity.running.contains(running)
                || running.xid.as_ref().is_some_and(|xid| activity.prepared.contains(xid))
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKEW: Duration = Duration::from_micros(10);
    const LOOKBACK: Duration = Duration::from_micros(900);

    fn running(pid: i32, start: i64, xid: Option<&str>) -> Running {
        Running { pid, start: ServerTime(start), xid: xid.map(str::to_owned) }
    }

    fn activity(began: Instant, now: i64, running: Vec<Running>, prepared: &[&str]) -> Activity {
        Activity {
            monotonic: began + Duration::from_micros(u64::try_from(now).unwrap()),
            now: ServerTime(now),
            running,
            prepared: prepared.iter().map(|xid| (*xid).to_owned()).collect(),
            is_blind: false,
        }
    }

    fn window() -> Window {
        Window::new(SKEW, LOOKBACK)
    }

    /// Runs the polls one after the other and returns each one's lower bound and checkpoint.
    fn polls(activities: &[Activity]) -> Vec<(Option<i64>, i64)> {
        let mut window = window();
        let mut results = Vec::new();
        for activity in activities {
            let observation = window.observe(activity, ServerTime(0));
            results.push((observation.lower.map(|lower| lower.0), observation.checkpoint.0));
            window.complete(&observation);
        }
        results
    }

    #[test]
    fn a_transaction_that_ended_since_the_previous_poll_is_read_from_its_start() {
        let began = Instant::now();
        let long = running(1, 100, Some("7"));
        let results = polls(&[
            activity(began, 1000, vec![long.clone()], &[]),
            activity(began, 2000, vec![long], &[]),
            activity(began, 3000, vec![], &[]),
            activity(began, 4000, vec![], &[]),
        ]);
        assert_eq!(results, [(None, 90), (Some(990), 90), (Some(90), 2990), (Some(2990), 3990)]);
    }

    #[test]
    fn a_transaction_prepared_between_polls_keeps_its_start() {
        let began = Instant::now();
        let results = polls(&[
            activity(began, 1000, vec![running(1, 100, Some("7"))], &[]),
            activity(began, 2000, vec![], &["7"]),
            activity(began, 3000, vec![], &[]),
        ]);
        assert_eq!(results, [(None, 90), (Some(990), 90), (Some(90), 2990)]);
    }

    #[test]
    fn a_transaction_prepared_between_the_two_reads_of_one_poll_keeps_its_start() {
        let began = Instant::now();
        let results = polls(&[
            activity(began, 1000, vec![], &[]),
            activity(began, 2000, vec![running(1, 950, Some("7"))], &["7"]),
            activity(began, 3000, vec![], &["7"]),
            activity(began, 4000, vec![], &[]),
        ]);
        assert_eq!(results[3].0, Some(940));
    }

    #[test]
    fn a_clock_set_back_moves_the_bound_back() {
        let began = Instant::now();
        let mut second = activity(began, 500, vec![], &[]);
        second.monotonic = began + Duration::from_micros(1100);
        let results = polls(&[activity(began, 1000, vec![], &[]), second]);
        assert_eq!(results[1].0, Some(500 - 100 - 10));
    }

    #[test]
    fn hidden_transactions_turn_on_the_look_back_in_this_poll_and_the_next() {
        let began = Instant::now();
        let mut blind = activity(began, 2000, vec![], &[]);
        blind.is_blind = true;
        let results = polls(&[
            activity(began, 1000, vec![], &[]),
            blind,
            activity(began, 3000, vec![], &[]),
            activity(began, 4000, vec![], &[]),
        ]);
        assert_eq!(results, [(None, 990), (Some(90), 1090), (Some(1090), 2090), (Some(2990), 3990)]);
    }

    #[test]
    fn two_transactions_with_one_start_are_told_apart_by_their_ids() {
        let began = Instant::now();
        let results = polls(&[
            activity(began, 1000, vec![running(1, 100, Some("7"))], &[]),
            activity(began, 2000, vec![running(1, 100, Some("8"))], &[]),
        ]);
        assert_eq!(results[1].0, Some(90));
    }
}
