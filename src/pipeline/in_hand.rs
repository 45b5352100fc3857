//! The batches that the lanes have in hand, and which of them has to wait for which.
//!
//! Two batches of stale keys never share a key, nor do two ranges of a full load; a batch of stale keys and a range can.
//! Sent in the wrong order, a range that holds a document could bring it back after the index has forgotten that a later
//! batch deleted it. So a batch waits for those before it that share a key with it, and for no others: all else may be
//! sent and acknowledged in any order.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::batch::BatchNumber;
use crate::key::Key;

/// The batches in hand, in the order in which they were taken.
#[derive(Debug, Default)]
pub(super) struct InHand {
    held: Mutex<Held>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    batches: Vec<Batch>,
    is_closed: bool,
}

#[derive(Debug)]
struct Batch {
    number: BatchNumber,
    keys: KeyHashes,
}

/// The hashes of a batch's keys, ascending. Two keys with one hash cost a wait that was not needed.
#[derive(Debug)]
struct KeyHashes(Vec<u64>);

impl KeyHashes {
    fn new<'a>(keys: impl Iterator<Item = &'a Key>) -> Self {
        let mut hashes: Vec<u64> = keys
            .map(|key| {
                let mut hasher = DefaultHasher::new();
                key.hash(&mut hasher);
                hasher.finish()
            })
            .collect();
        hashes.sort_unstable();
        Self(hashes)
    }

    fn shares_one_with(&self, other: &Self) -> bool {
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(one), Some(another)) = (left.peek(), right.peek()) {
            match one.cmp(another) {
                std::cmp::Ordering::Less => left.next(),
                std::cmp::Ordering::Greater => right.next(),
                std::cmp::Ordering::Equal => return true,
            };
        }
        false
    }
}

impl InHand {
    /// Notes that a batch with actions for these keys was taken; to be called in the order of taking.
    pub(super) fn took<'a>(&self, number: BatchNumber, keys: impl Iterator<Item = &'a Key>) {
        let keys = KeyHashes::new(keys);
        self.lock().batches.push(Batch { number, keys });
    }

    /// Waits until no batch before this one shares a key with it; returns whether it may be sent, which nothing may once
    /// a lane has failed.
    pub(super) fn wait_for_turn(&self, number: BatchNumber) -> bool {
        let must_wait = |held: &mut Held| !held.is_closed && held.has_to_wait(number);
        let held = self.changed.wait_while(self.lock(), must_wait).unwrap_or_else(PoisonError::into_inner);
        !held.is_closed
    }

    /// A batch is acknowledged.
    pub(super) fn settled(&self, number: BatchNumber) {
        self.lock().batches.retain(|batch| batch.number != number);
        self.changed.notify_all();
    }

    /// A lane has failed: whoever waits is to end.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // A list and a flag: each change is whole before anything can panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn has_to_wait(&self, number: BatchNumber) -> bool {
        let Some(place) = self.batches.iter().position(|batch| batch.number == number) else { return false };
        let keys = &self.batches[place].keys;
        self.batches[..place].iter().any(|before| before.keys.shares_one_with(keys))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn keys(numbers: &[u32]) -> Vec<Key> {
        numbers.iter().map(|number| Key::from_columns(&[number.to_string()])).collect()
    }

    fn take(in_hand: &InHand, number: u64, key_numbers: &[u32]) {
        in_hand.took(BatchNumber(number), keys(key_numbers).iter());
    }

    fn has_to_wait(in_hand: &InHand, number: u64) -> bool {
        in_hand.lock().has_to_wait(BatchNumber(number))
    }

    #[test]
    fn a_batch_waits_for_those_before_it_that_share_a_key_and_for_no_others() {
        let in_hand = InHand::default();
        take(&in_hand, 7, &[1, 2, 3]);
        take(&in_hand, 9, &[4, 5]);
        // Numbers are not the order: a batch may have been taken earlier and read later.
        take(&in_hand, 8, &[3, 6]);
        take(&in_hand, 12, &[6]);
        take(&in_hand, 13, &[]);
        let waiting: Vec<bool> = [7, 9, 8, 12, 13].map(|number| has_to_wait(&in_hand, number)).to_vec();
        assert_eq!(waiting, [false, false, true, true, false]);
        in_hand.settled(BatchNumber(7));
        assert!(!has_to_wait(&in_hand, 8) && has_to_wait(&in_hand, 12));
        in_hand.settled(BatchNumber(8));
        assert!(in_hand.wait_for_turn(BatchNumber(12)));
    }

    #[test]
    fn closed_nobody_waits_and_nothing_may_be_sent() {
        let in_hand = InHand::default();
        take(&in_hand, 1, &[1]);
        take(&in_hand, 2, &[1]);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| in_hand.wait_for_turn(BatchNumber(2)));
            in_hand.close();
            assert!(!waiting.join().unwrap());
        });
        assert!(!in_hand.wait_for_turn(BatchNumber(1)));
    }

    proptest! {
        /// However batches are settled, no two that share a key are sent at once, and what was taken first is sent
        /// first; and one that may be sent is always there.
        #[test]
        fn what_shares_a_key_is_sent_in_the_order_of_taking(
            batches in prop::collection::vec(prop::collection::vec(0u32..12, 0..5), 1..8),
            choices in prop::collection::vec(any::<usize>(), 8),
        ) {
            let in_hand = InHand::default();
            for (number, batch) in batches.iter().enumerate() {
                take(&in_hand, number as u64, batch);
            }
            let mut left: Vec<usize> = (0..batches.len()).collect();
            for choice in choices.into_iter().take(batches.len()) {
                let free: Vec<usize> =
                    left.iter().copied().filter(|number| !has_to_wait(&in_hand, *number as u64)).collect();
                prop_assert!(!free.is_empty());
                for number in &left {
                    let before = left.iter().take_while(|other| *other < number);
                    let shares = before.into_iter().any(|other| {
                        batches[*other].iter().any(|key| batches[*number].contains(key))
                    });
                    prop_assert_eq!(has_to_wait(&in_hand, *number as u64), shares);
                }
                let sent = free[choice % free.len()];
                in_hand.settled(BatchNumber(sent as u64));
                left.retain(|number| *number != sent);
            }
        }
    }
}
