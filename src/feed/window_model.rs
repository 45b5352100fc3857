//! The window against a model of a server: transactions begin, write, are prepared, end in any order between any two
//! steps of a poll, and polls fail and the process restarts in between.
//!
//! Two things hold. When all have ended and two more polls are complete, every committed row was read at least once;
//! and no checkpoint ever passes what an open transaction may still write.
//!
//! Tried against mutations, each of which one of the two noticed within seconds:
//! - ended transactions are forgotten (the bound is the previous poll's time alone): "never read";
//! - the checkpoint is the time of the poll, whatever is open: "the checkpoint … passes";
//! - the skew is left out of the lower bound: "never read";
//! - a transaction that was prepared between two polls takes the bound of the poll that saw it prepared instead of the
//!   start that it was seen running with: "the checkpoint … passes";
//! - rows are read with `>` instead of `>=`: "never read".
//!
//! One was not: that a prepared transaction's start is no later than any start listed beside it. In the model a
//! transaction is listed from the instant it starts; the rule is for a backend that shows its start late.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::checkpoint::ServerTime;
use crate::feed::window::{Observation, Window};
use crate::postgres::{Activity, Running};

const SKEW: i64 = 10;

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(i64),
    Begin,
    /// Some transaction writes a row: with its start, the present, or as early as the premise allows.
    Write(usize, u8),
    Commit(usize),
    Rollback(usize),
    Prepare(usize),
    /// The poll under way, or a new one, does its next step.
    Poll,
    /// All that is left of a poll, at once.
    PollToTheEnd,
    /// The poll under way fails.
    Fail,
    /// The connection is lost, and the poll with it.
    Reconnect,
    /// The process is killed and starts again.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1i64..40).prop_map(Step::Pass),
        3 => Just(Step::Begin),
        4 => (any::<usize>(), 0u8..3).prop_map(|(choice, cursor)| Step::Write(choice, cursor)),
        3 => any::<usize>().prop_map(Step::Commit),
        1 => any::<usize>().prop_map(Step::Rollback),
        2 => any::<usize>().prop_map(Step::Prepare),
        6 => Just(Step::Poll),
        2 => Just(Step::PollToTheEnd),
        1 => Just(Step::Fail),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..90)
}

#[derive(Clone, Debug)]
struct Transaction {
    pid: i32,
    start: i64,
    xid: Option<String>,
    is_prepared: bool,
    /// Cursor and number.
    rows: Vec<(i64, usize)>,
}

/// The server, and what the feed has of it.
struct World {
    began: Instant,
    time: i64,
    row_count: usize,
    xid_count: u32,
    open: Vec<Transaction>,
    committed: Vec<(i64, usize)>,
    window: Window,
    checkpoint: i64,
    poll: Poll,
    read: BTreeSet<usize>,
}

/// How far a poll is.
enum Poll {
    None,
    Clock { monotonic: Instant, now: i64 },
    Transactions { monotonic: Instant, now: i64, running: Vec<Running> },
    Observed(Observation),
    Read(Observation),
}

fn new_window() -> Window {
    Window::new(Duration::from_micros(SKEW.unsigned_abs()), Duration::from_secs(900))
}

impl World {
    /// The first stamp is made with nothing open: a transaction prepared before it has a rule of its own.
    fn new() -> Self {
        let time = 1_000;
        Self {
            began: Instant::now(),
            time,
            row_count: 0,
            xid_count: 0,
            open: Vec::new(),
            committed: Vec::new(),
            window: new_window(),
            checkpoint: time - SKEW,
            poll: Poll::None,
            read: BTreeSet::new(),
        }
    }

    fn monotonic(&self) -> Instant {
        self.began + Duration::from_micros(self.time.unsigned_abs())
    }

    /// The place of some transaction that may still do something.
    fn choose(&self, choice: usize, may_be_prepared: bool) -> Option<usize> {
        let places: Vec<usize> =
            (0..self.open.len()).filter(|place| may_be_prepared || !self.open[*place].is_prepared).collect();
        (!places.is_empty()).then(|| places[choice % places.len()])
    }

    fn begin(&mut self) {
        // Backends are used again as soon as they are free.
        let is_used = |pid: i32| self.open.iter().any(|open| open.pid == pid && !open.is_prepared);
        let pid = (1..).find(|pid| !is_used(*pid)).unwrap();
        let start = self.time;
        self.open.push(Transaction { pid, start, xid: None, is_prepared: false, rows: Vec::new() });
    }

    fn write(&mut self, place: usize, cursor: u8) {
        let open = &mut self.open[place];
        let cursor = match cursor {
            0 => open.start,
            1 => self.time,
            _ => open.start - SKEW,
        };
        if open.xid.is_none() {
            self.xid_count += 1;
            open.xid = Some(self.xid_count.to_string());
        }
        open.rows.push((cursor, self.row_count));
        self.row_count += 1;
    }

    fn poll(&mut self) {
        self.poll = match std::mem::replace(&mut self.poll, Poll::None) {
            Poll::None => Poll::Clock { monotonic: self.monotonic(), now: self.time },
            Poll::Clock { monotonic, now } => {
                let running = self.open.iter().filter(|open| !open.is_prepared);
                let running = running.map(|open| Running {
                    pid: open.pid,
                    start: ServerTime(open.start),
                    xid: open.xid.clone(),
                });
                Poll::Transactions { monotonic, now, running: running.collect() }
            }
            Poll::Transactions { monotonic, now, running } => {
                let prepared = self.open.iter().filter(|open| open.is_prepared);
                let prepared = prepared.filter_map(|open| open.xid.clone()).collect();
                let activity =
                    Activity { monotonic, now: ServerTime(now), running, prepared, is_blind: false };
                Poll::Observed(self.window.observe(&activity, ServerTime(self.checkpoint)))
            }
            Poll::Observed(observation) => {
                let lower = observation.lower.map_or(self.checkpoint, |lower| lower.0);
                let found = self.committed.iter().filter(|(cursor, _)| *cursor >= lower);
                self.read.extend(found.map(|(_, row)| *row));
                Poll::Read(observation)
            }
            Poll::Read(observation) => {
                self.window.complete(&observation);
                self.checkpoint = observation.checkpoint.0;
                for open in &self.open {
                    assert!(
                        self.checkpoint <= open.start - SKEW,
                        "the checkpoint {} passes what {open:?} may write",
                        self.checkpoint
                    );
                }
                Poll::None
            }
        };
    }

    fn poll_to_the_end(&mut self) {
        self.poll();
        while !matches!(self.poll, Poll::None) {
            self.poll();
        }
    }

    fn follow(&mut self, step: Step) {
        match step {
            Step::Pass(time) => self.time += time,
            Step::Begin => self.begin(),
            Step::Write(choice, cursor) => {
                if let Some(place) = self.choose(choice, false) {
                    self.write(place, cursor);
                }
            }
            Step::Commit(choice) => {
                if let Some(place) = self.choose(choice, true) {
                    let ended = self.open.swap_remove(place);
                    self.committed.extend(ended.rows);
                }
            }
            Step::Rollback(choice) => {
                if let Some(place) = self.choose(choice, true) {
                    self.open.swap_remove(place);
                }
            }
            Step::Prepare(choice) => {
                if let Some(place) = self.choose(choice, false)
                    && self.open[place].xid.is_some()
                {
                    self.open[place].is_prepared = true;
                }
            }
            Step::Poll => self.poll(),
            Step::PollToTheEnd => self.poll_to_the_end(),
            Step::Fail => self.poll = Poll::None,
            Step::Reconnect => {
                self.poll = Poll::None;
                self.window.forget();
            }
            Step::Restart => {
                self.poll = Poll::None;
                self.window = new_window();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_committed_row_is_read_and_no_checkpoint_passes_an_open_transaction(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.follow(step);
        }
        for choice in 0..world.open.len() {
            world.follow(Step::Commit(choice));
        }
        // One that is under way may have begun before the last commits.
        world.poll_to_the_end();
        world.poll_to_the_end();
        for (cursor, row) in &world.committed {
            assert!(world.read.contains(row), "row {row} with cursor {cursor} was never read");
        }
    }
}
