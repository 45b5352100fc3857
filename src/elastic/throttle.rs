//! What the lanes of one loader share on their way to the server: how many requests are under way at once, how large
//! their bodies are, how long to wait between them.
//!
//! A lane that has something to send asks for its turn first. Turns are given in the order of asking, at most as many
//! at once as [`Lanes`] allows. A lane that waits before it sends again has none, so it holds nobody up.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::elastic::lanes::Lanes;
use crate::elastic::pace::Pace;

/// The turns, the pace and the number of lanes.
#[derive(Debug)]
pub(crate) struct Throttle {
    shared: Mutex<Shared>,
    changed: Condvar,
}

#[derive(Debug)]
struct Shared {
    pace: Pace,
    lanes: Lanes,
    under_way: usize,
    /// Who waits for a turn, in the order of asking.
    waiting: VecDeque<u64>,
    last_ticket: u64,
    is_closed: bool,
    told_slowdowns: u64,
}

/// The right to send one request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    throttle: &'a Throttle,
    side_by_side: usize,
    began: Instant,
}

impl Turn<'_> {
    /// Ends the turn: the request is answered, or never will be.
    pub(crate) fn end(self) -> Answered {
        Answered { side_by_side: self.side_by_side, took: self.began.elapsed() }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.throttle.lock().under_way -= 1;
        self.throttle.changed.notify_all();
    }
}

/// How long a request took, and beside how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    side_by_side: usize,
    took: Duration,
}

impl Throttle {
    /// For at most `most_lanes` requests at once with bodies of at most `body_bytes`.
    pub(crate) fn new(body_bytes: usize, most_lanes: usize) -> Self {
        Self {
            shared: Mutex::new(Shared {
                pace: Pace::new(body_bytes),
                lanes: Lanes::new(most_lanes),
                under_way: 0,
                waiting: VecDeque::new(),
                last_ticket: 0,
                is_closed: false,
                told_slowdowns: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits for a turn; nothing once it is closed.
    pub(crate) fn turn(&self) -> Option<Turn<'_>> {
        let mut shared = self.lock();
        shared.last_ticket += 1;
        let ticket = shared.last_ticket;
        shared.waiting.push_back(ticket);
        loop {
            if shared.is_closed {
                shared.waiting.retain(|waiting| *waiting != ticket);
                return None;
            }
            if shared.waiting.front() == Some(&ticket) && shared.under_way < shared.lanes.in_use() {
                shared.waiting.pop_front();
                shared.under_way += 1;
                let side_by_side = shared.under_way;
                drop(shared);
                // The next in the row may have a turn as well.
                self.changed.notify_all();
                return Some(Turn { throttle: self, side_by_side, began: Instant::now() });
            }
            shared = self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends all waiting for turns, for good: a lane has failed, and all are to end.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// A request was taken whole; returns whether that ends a slow time.
    pub(crate) fn taken(&self, bytes: usize, answered: Answered) -> bool {
        let mut shared = self.lock();
        let ends_slow_time = shared.pace.taken();
        let is_at_full_size = shared.pace.is_at_full_size();
        shared.lanes.taken(bytes, answered.took, answered.side_by_side, is_at_full_size);
        drop(shared);
        self.changed.notify_all();
        ends_slow_time
    }

    /// The server refused for load `refused` of the `sent` actions of a request; returns whether that begins a slow
    /// time.
    pub(crate) fn overloaded(&self, refused: usize, sent: usize) -> bool {
        let mut shared = self.lock();
        shared.lanes.overloaded(refused as f64 / sent.max(1) as f64);
        shared.pace.overloaded(refused, sent)
    }

    /// The answer to a request was lost; returns whether that begins a slow time.
    pub(crate) fn lost(&self) -> bool {
        let mut shared = self.lock();
        let slowdowns_before = shared.pace.slowdown_count();
        let begins_slow_time = shared.pace.lost();
        if shared.pace.slowdown_count() > slowdowns_before {
            shared.lanes.overloaded(1.0);
        }
        begins_slow_time
    }

    /// See [`Pace::too_large`].
    pub(crate) fn too_large(&self, bytes: usize) -> Option<usize> {
        self.lock().pace.too_large(bytes)
    }

    /// The most bytes of the next body.
    pub(crate) fn body_max_bytes(&self) -> usize {
        self.lock().pace.limit()
    }

    /// How many requests may be under way at once.
    pub(crate) fn lanes_in_use(&self) -> usize {
        self.lock().lanes.in_use()
    }

    /// How long to wait at least before anything is sent again.
    pub(crate) fn pause(&self) -> Duration {
        self.lock().pace.pause()
    }

    /// How often the server was asked for less since this was last asked, by any lane.
    pub(crate) fn take_slowdowns(&self) -> u64 {
        let mut shared = self.lock();
        let count = shared.pace.slowdown_count();
        count - std::mem::replace(&mut shared.told_slowdowns, count)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Each change is whole before anything can panic.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    /// A throttle on which all lanes are in use.
    fn open(most_lanes: usize) -> Throttle {
        let throttle = Throttle::new(1 << 20, most_lanes);
        while throttle.lanes_in_use() < most_lanes {
            let side_by_side = throttle.lanes_in_use();
            throttle.taken(1 << 20, Answered { side_by_side, took: Duration::from_millis(100) });
        }
        throttle
    }

    #[test]
    fn no_more_are_under_way_than_lanes_are_in_use() {
        let throttle = Arc::new(open(2));
        let first = throttle.turn().unwrap();
        let second = throttle.turn().unwrap();
        let waiting = {
            let throttle = Arc::clone(&throttle);
            thread::spawn(move || throttle.turn().map(Turn::end).map(|answered| answered.side_by_side))
        };
        while throttle.lock().waiting.is_empty() {
            thread::yield_now();
        }
        assert_eq!(throttle.lock().under_way, 2);
        assert_eq!(second.end().side_by_side, 2);
        assert_eq!(waiting.join().unwrap(), Some(2));
        assert_eq!(first.end().side_by_side, 1);
        assert_eq!(throttle.lock().under_way, 0);
    }

    #[test]
    fn an_overloaded_server_has_fewer_at_once_and_the_rest_waits() {
        let throttle = open(3);
        throttle.overloaded(5, 5);
        throttle.overloaded(5, 5);
        assert_eq!(
            (throttle.lanes_in_use(), throttle.take_slowdowns(), throttle.take_slowdowns()),
            (1, 2, 0)
        );
        let only = throttle.turn().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| throttle.turn().is_some());
            while throttle.lock().waiting.is_empty() {
                thread::yield_now();
            }
            drop(only);
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn one_lost_answer_takes_no_lane_and_two_in_a_row_do() {
        let throttle = open(2);
        throttle.lost();
        assert_eq!(throttle.lanes_in_use(), 2);
        throttle.lost();
        assert_eq!(throttle.lanes_in_use(), 1);
    }

    #[test]
    fn closed_it_lets_nobody_wait() {
        let throttle = open(1);
        let only = throttle.turn().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| throttle.turn().is_none());
            while throttle.lock().waiting.is_empty() {
                thread::yield_now();
            }
            throttle.close();
            assert!(waiting.join().unwrap());
        });
        drop(only);
        assert!(throttle.turn().is_none() && throttle.lock().waiting.is_empty());
    }
}
