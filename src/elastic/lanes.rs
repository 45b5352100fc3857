//! How many bulk requests may be under way at once, as the server's load and speed allow.
//!
//! It begins with two: while a server works on one request, it can take in the next. Now and then one more is tried, or
//! one less, and kept only if that pays: if the server takes at least a tenth more bytes in the same time with the
//! larger number. What a server of many nodes and cores answers as quickly beside others is gained by every lane; one
//! that is busy already answers each of them later, and then the smaller number stays. Trials that change nothing
//! become rare. A server that refuses for load (429, 503) is left with fewer at once, by half of the share that it
//! refuses, and what was known of its speed is forgotten; they come back one by one, when bodies are back at their
//! size. Nothing here waits or talks to anyone.

use std::time::Duration;

/// With ready bodies a single node on two processors took 1.4 to 1.7 times as many from two connections as from one, and
/// little more from four.
const FIRST: usize = 2;

/// So many requests tell what a number of lanes achieves: their median is not moved by three that were slow by chance.
const WINDOW: usize = 8;

/// A larger number of lanes has to take so much more: less is noise, and costs a connection, memory and a place in the
/// server's queue.
const WORTHWHILE: f64 = 1.1;

/// Trials are at most so many windows apart: some minutes of a large load.
const LONGEST_PATIENCE: u32 = 64;

/// What a request costs besides its bytes, as bytes: so small bodies do not look slow.
const BYTES_OF_A_REQUEST: usize = 64 << 10;

/// A number of lanes that is tried, and what is known of the one before it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Trial {
    /// The number of lanes before.
    usual: usize,
    /// What a byte cost then.
    cost: f64,
}

/// How many lanes are in use.
#[derive(Debug)]
pub(crate) struct Lanes {
    most: usize,
    /// Not whole while the server is overloaded: shares add up.
    level: f64,
    /// What a byte cost in the requests since the number last changed, at most [`WINDOW`] of them.
    costs: Vec<f64>,
    trial: Option<Trial>,
    /// How many windows are to pass before the next trial, and how many have.
    patience: u32,
    passed: u32,
    /// Whether the next trial is of a smaller number.
    tries_fewer: bool,
}

impl Lanes {
    /// Begins with two of at most `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            // A test that is about many lanes cannot wait until they have shown what they gain.
            level: crate::faults::number("PGSLUICE_FIRST_LANES", FIRST) as f64,
            costs: Vec::with_capacity(WINDOW),
            trial: None,
            patience: 1,
            passed: 0,
            tries_fewer: false,
        }
    }

    /// How many requests may be under way at once.
    pub(crate) fn in_use(&self) -> usize {
        (self.level as usize).clamp(1, self.most)
    }

    /// A request with `bytes` was taken whole after `took`; `side_by_side` were under way when it began, itself
    /// included. `is_at_full_size` says that bodies are not kept small for the server's load.
    pub(crate) fn taken(&mut self, bytes: usize, took: Duration, side_by_side: usize, is_at_full_size: bool) {
        // A request that had the server to itself says nothing of what more of them achieve.
        if self.most == 1 || side_by_side < self.in_use() {
            return;
        }
        self.costs.push(took.as_secs_f64() / bytes.saturating_add(BYTES_OF_A_REQUEST) as f64);
        if self.costs.len() < WINDOW {
            return;
        }
        let cost = median(&mut self.costs);
        self.costs.clear();
        match self.trial.take() {
            Some(trial) => self.judge(trial, cost),
            None if is_at_full_size => self.begin_trial(cost),
            None => {}
        }
    }

    /// The server refused for load this share of a request.
    pub(crate) fn overloaded(&mut self, share: f64) {
        self.level = (self.level * (1.0 - share.clamp(0.0, 1.0) / 2.0)).max(1.0);
        self.costs.clear();
        self.trial = None;
        self.patience = 1;
        self.passed = 0;
        self.tries_fewer = false;
    }

    fn begin_trial(&mut self, cost: f64) {
        self.passed += 1;
        if self.passed < self.patience {
            return;
        }
        self.passed = 0;
        let usual = self.in_use();
        let tried = if usual == self.most || (self.tries_fewer && usual > 1) { usual - 1 } else { usual + 1 };
        self.tries_fewer = !self.tries_fewer;
        self.trial = Some(Trial { usual, cost });
        self.level = tried as f64;
    }

    fn judge(&mut self, trial: Trial, cost: f64) {
        let tried = self.in_use();
        let (more, cost_of_more, fewer, cost_of_fewer) = if tried > trial.usual {
            (tried, cost, trial.usual, trial.cost)
        } else {
            (trial.usual, trial.cost, tried, cost)
        };
        // Bytes in the same time: lanes / cost of a byte.
        let is_worthwhile = more as f64 * cost_of_fewer >= WORTHWHILE * fewer as f64 * cost_of_more;
        let chosen = if is_worthwhile { more } else { fewer };
        self.level = chosen as f64;
        if chosen == tried {
            // In the same direction again, and soon.
            self.patience = 1;
            self.tries_fewer = tried < trial.usual;
        } else {
            self.patience = (self.patience * 2).min(LONGEST_PATIENCE);
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: usize = 1 << 20;

    /// A server that works on so many requests at once; the others wait.
    fn follow(lanes: &mut Lanes, width: usize, request_count: usize) -> Vec<usize> {
        let mut numbers = vec![lanes.in_use()];
        for _ in 0..request_count {
            let side_by_side = lanes.in_use();
            let took = Duration::from_millis(100).mul_f64((side_by_side as f64 / width as f64).max(1.0));
            lanes.taken(BODY, took, side_by_side, true);
            if numbers.last() != Some(&lanes.in_use()) {
                numbers.push(lanes.in_use());
            }
        }
        numbers
    }

    /// The number of lanes that the most requests of the last half went by.
    fn usual(lanes: &mut Lanes, width: usize) -> usize {
        let mut counts = [0; 20];
        for _ in 0..4_000 {
            follow(lanes, width, 1);
            counts[lanes.in_use()] += 1;
        }
        (0..counts.len()).max_by_key(|number| counts[*number]).unwrap()
    }

    #[test]
    fn they_grow_as_long_as_each_gains() {
        let mut lanes = Lanes::new(4);
        assert_eq!(follow(&mut lanes, 100, 4 * WINDOW), [2, 3, 4]);
        assert_eq!(usual(&mut lanes, 100), 4);
        assert_eq!(usual(&mut Lanes::new(8), 3), 3);
    }

    #[test]
    fn a_server_that_gains_nothing_gets_one_and_is_seldom_tried() {
        let mut lanes = Lanes::new(4);
        let numbers = follow(&mut lanes, 1, 400 * WINDOW);
        assert_eq!(numbers[..4], [2, 3, 2, 1]);
        assert!(numbers[3..].iter().all(|number| *number <= 2));
        assert!(numbers.len() < 40, "{} changes", numbers.len());
        assert_eq!(lanes.in_use(), 1);
    }

    #[test]
    fn a_server_that_becomes_narrower_gets_fewer_without_refusing() {
        let mut lanes = Lanes::new(4);
        follow(&mut lanes, 100, 10 * WINDOW);
        assert_eq!(usual(&mut lanes, 1), 1);
        assert_eq!(usual(&mut lanes, 100), 4);
    }

    #[test]
    fn refusals_lower_them_by_their_share_and_they_come_back() {
        let mut lanes = Lanes::new(4);
        follow(&mut lanes, 100, 6 * WINDOW);
        assert_eq!(lanes.in_use(), 4);
        let mut numbers = Vec::new();
        for _ in 0..8 {
            lanes.overloaded(0.3);
            numbers.push(lanes.in_use());
        }
        assert_eq!(numbers, [3, 2, 2, 2, 1, 1, 1, 1]);
        lanes.overloaded(1.0);
        assert_eq!(lanes.in_use(), 1);
        // While bodies are kept small there are no more.
        for _ in 0..10 * WINDOW {
            lanes.taken(BODY, Duration::from_millis(100), 1, false);
        }
        assert_eq!(lanes.in_use(), 1);
        assert_eq!(follow(&mut lanes, 100, 6 * WINDOW), [1, 2, 3, 4]);
    }

    #[test]
    fn requests_that_were_alone_decide_nothing() {
        let mut lanes = Lanes::new(4);
        follow(&mut lanes, 100, 2 * WINDOW);
        assert_eq!(lanes.in_use(), 3);
        for _ in 0..100 * WINDOW {
            lanes.taken(BODY, Duration::from_millis(1), 1, true);
        }
        assert_eq!(lanes.in_use(), 3);
    }

    #[test]
    fn one_is_one() {
        let mut lanes = Lanes::new(0);
        assert_eq!(follow(&mut lanes, 100, 100 * WINDOW), [1]);
        lanes.overloaded(1.0);
        assert_eq!(lanes.in_use(), 1);
    }
}
