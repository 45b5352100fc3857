//! Random sequences of operations, kills and foreign writers against a model of three sets.
//!
//! Tried against mutations, each of which [`no_key_is_lost_and_none_is_in_flight_twice`] noticed:
//! - a batch takes the number of the one before it: the take fails, or two batches of the model become one;
//! - an acknowledgement also removes what went stale again while the batch was in flight: the stale keys differ;
//! - every other in-flight batch is not put back at a start: the stale keys differ;
//! - after a start nothing counts as in flight: the keys in flight differ;
//! - of two later entries of a key the earlier one stays: the delayed keys differ.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tempfile::TempDir;

use crate::batch::BatchNumber;
use crate::key::Key;
use crate::store::testing::{GENERATION, acknowledgement, after_a_kill, key, keys, keys_of, letter, state};
use crate::store::{Acknowledgement, DeadLetter, InFlightCount, Store};

const KEY_COUNT: u32 = 10;

/// Numbers that name keys or batches are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Record(Vec<u32>),
    RecordByAnother(Vec<u32>),
    RecordDelayed(Vec<u32>, i64),
    Take(usize),
    /// The outcome of each key of some batch: applied, refused, superseded, unknown, applied and unknown, unnamed.
    Acknowledge(usize, Vec<u8>),
    Release(usize, Vec<u32>),
    PutBack(usize),
    KillAndPutBack,
    Kill,
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some_keys = || prop::collection::vec(0..KEY_COUNT, 0..6);
    let step = prop_oneof![
        4 => some_keys().prop_map(Step::Record),
        1 => some_keys().prop_map(Step::RecordByAnother),
        1 => (some_keys(), 1i64..20).prop_map(|(keys, after)| Step::RecordDelayed(keys, after)),
        5 => (0usize..5).prop_map(Step::Take),
        4 => (any::<usize>(), prop::collection::vec(0u8..6, 5)).prop_map(|(batch, fates)| Step::Acknowledge(batch, fates)),
        1 => (any::<usize>(), some_keys()).prop_map(|(batch, keys)| Step::Release(batch, keys)),
        1 => any::<usize>().prop_map(Step::PutBack),
        1 => Just(Step::KillAndPutBack),
        1 => Just(Step::Kill),
        2 => (1i64..10).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}

#[derive(Debug, Default)]
struct Model {
    now: i64,
    stale: BTreeSet<Key>,
    delayed: BTreeMap<Key, i64>,
    in_flight: BTreeMap<BatchNumber, Vec<Key>>,
    letters: BTreeSet<Key>,
}

impl Model {
    fn is_in_flight(&self, key: &Key) -> bool {
        self.in_flight.values().flatten().any(|other| other == key)
    }

    fn batch(&self, choice: usize) -> Option<BatchNumber> {
        self.in_flight.keys().nth(choice % self.in_flight.len().max(1)).copied()
    }

    fn delay(&mut self, key: &Key, due_at: i64) {
        let kept = self.delayed.entry(key.clone()).or_insert(due_at);
        *kept = due_at.max(*kept);
    }

    /// Makes delayed keys stale that the store has woken: all that are due, or the earliest `limit`.
    fn wake(&mut self, limit: usize) {
        let mut due: Vec<(i64, Key)> = self
            .delayed
            .iter()
            .filter(|(_, due_at)| **due_at <= self.now)
            .map(|(key, due_at)| (*due_at, key.clone()))
            .collect();
        due.sort();
        // The store may choose among those of one instant; the model avoids that by never cutting inside one.
        if due.len() > limit {
            let last = due[limit - 1].0;
            assert!(due[limit].0 != last, "an instant with more keys than the limit");
            due.truncate(limit);
        }
        for (_, key) in due {
            self.delayed.remove(&key);
            self.stale.insert(key);
        }
    }

    fn put_back(&mut self, number: BatchNumber) {
        self.stale.extend(self.in_flight.remove(&number).unwrap());
    }

    fn acknowledge(&mut self, store: &Store, number: BatchNumber, fates: &[u8]) {
        let (mut applied, mut refused, mut superseded, mut unknown) = (vec![], vec![], vec![], vec![]);
        let due_at = self.now + 7;
        for (key, fate) in self.in_flight.remove(&number).unwrap().into_iter().zip(fates.iter().cycle()) {
            match fate {
                0 => applied.push(key),
                1 => refused.push(DeadLetter { key, ..letter(0, "bad") }),
                2 => superseded.push(key),
                3 => unknown.push(key),
                4 => {
                    applied.push(key.clone());
                    unknown.push(key);
                }
                _ => {
                    self.stale.insert(key);
                }
            }
        }
        let outcome = Acknowledgement {
            applied: &applied,
            refused: &refused,
            superseded: &superseded,
            unknown: &unknown,
            unknown_due_at: due_at,
            ..acknowledgement()
        };
        store.acknowledge(number, &outcome, self.now).unwrap();
        for key in &applied {
            self.letters.remove(key);
        }
        self.letters.extend(refused.into_iter().map(|letter| letter.key));
        self.stale.extend(superseded);
        for key in &unknown {
            self.delay(key, due_at);
        }
    }

    fn must_equal(&self, store: &Store) {
        let texts = |keys: &BTreeSet<Key>| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(store.texts("select key from stale_keys order by key"), texts(&self.stale));
        let delayed: Vec<String> =
            self.delayed.iter().map(|(key, due_at)| format!("{key} {due_at}")).collect();
        assert_eq!(store.texts("select key || ' ' || due_at from delayed_stale_keys order by key"), delayed);
        assert_eq!(store.texts("select key from dead_letters order by key"), texts(&self.letters));
        assert_eq!(store.dead_letter_count().unwrap(), self.letters.len() as u64);
        assert_eq!(store.stale_count(GENERATION).unwrap(), (self.stale.len() + self.delayed.len()) as u64);
        let is_due = !self.stale.is_empty() || self.delayed.values().any(|due_at| *due_at <= self.now);
        assert_eq!(store.has_due(GENERATION, self.now).unwrap(), is_due);
        let keys = self.in_flight.values().map(Vec::len).sum::<usize>() as u64;
        let count = InFlightCount { batches: self.in_flight.len() as u64, keys };
        assert_eq!(store.in_flight_count(GENERATION).unwrap(), count);
        let status = store.status(GENERATION).unwrap();
        assert_eq!((status.in_flight, status.delayed_count), (count, self.delayed.len() as u64));
    }
}

fn follow(steps: Vec<Step>) {
    let (mut dir, mut store): (TempDir, Store) = state();
    let mut another = Store::open(dir.path()).unwrap();
    let mut model = Model { now: 1, ..Model::default() };
    for step in steps {
        match step {
            Step::Record(numbers) => {
                store.record_stale(GENERATION, &keys(numbers.clone()), 0, model.now).unwrap();
                model.stale.extend(keys(numbers));
            }
            Step::RecordByAnother(numbers) => {
                another.record_stale(GENERATION, &keys(numbers.clone()), 0, model.now).unwrap();
                model.stale.extend(keys(numbers));
            }
            Step::RecordDelayed(numbers, after) => {
                let due_at = model.now + after;
                store.record_stale(GENERATION, &keys(numbers.clone()), due_at, model.now).unwrap();
                for number in numbers {
                    model.delay(&key(number), due_at);
                }
            }
            Step::Take(limit) => {
                // Large enough that no instant is cut in two.
                let limit = if limit == 0 {
                    0
                } else {
                    limit + KEY_COUNT as usize * usize::from(!model.delayed.is_empty())
                };
                let batch = store.take(GENERATION, limit, model.now).unwrap();
                if limit > 0 {
                    model.wake(limit);
                }
                let free = model.stale.iter().filter(|key| !model.is_in_flight(key)).count();
                let Some(batch) = batch else {
                    assert!(limit == 0 || free == 0);
                    continue;
                };
                let taken = keys_of(&batch);
                assert_eq!(taken.len(), free.min(limit));
                for key in &taken {
                    assert!(!model.is_in_flight(key), "{key} in flight twice");
                    assert!(model.stale.remove(key), "{key} was not stale, or is in the batch twice");
                }
                let former = model.in_flight.insert(batch.number, taken);
                assert_eq!(former, None);
            }
            Step::Acknowledge(choice, fates) => {
                if let Some(number) = model.batch(choice) {
                    model.acknowledge(&store, number, &fates);
                }
            }
            Step::Release(choice, numbers) => {
                if let Some(number) = model.batch(choice) {
                    let released = keys(numbers);
                    store.release_keys(number, &released, model.now).unwrap();
                    let batch = model.in_flight.get_mut(&number).unwrap();
                    model.stale.extend(batch.iter().filter(|key| released.contains(key)).cloned());
                    batch.retain(|key| !released.contains(key));
                }
            }
            Step::PutBack(choice) => {
                if let Some(number) = model.batch(choice) {
                    store.return_batch(number, model.now).unwrap();
                    model.put_back(number);
                }
            }
            Step::KillAndPutBack | Step::Kill => {
                let is_restart = matches!(step, Step::KillAndPutBack);
                let (copy, killed) = after_a_kill(dir.path());
                (dir, store) = (copy, killed);
                another = Store::open(dir.path()).unwrap();
                if is_restart {
                    store.return_in_flight(GENERATION, model.now).unwrap();
                    let numbers: Vec<BatchNumber> = model.in_flight.keys().copied().collect();
                    for number in numbers {
                        model.put_back(number);
                    }
                }
            }
            Step::Wait(time) => model.now += time,
        }
        model.must_equal(&store);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_key_is_lost_and_none_is_in_flight_twice(steps in steps()) {
        follow(steps);
    }
}
