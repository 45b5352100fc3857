//! The acknowledgement of a batch: what became of each of its documents.

use rusqlite::{Transaction, params};

use crate::batch::BatchNumber;
use crate::error::Result;
use crate::key::Key;
use crate::store::Store;
use crate::store::batches::{self, StoredBatch, not_in_flight};
use crate::store::dead_letters::{self, DeadLetter};
use crate::store::failure::Attempt;
use crate::store::memory::{InFlight, Memory, signed};
use crate::store::stale_keys::{self, Place};

/// What became of the documents of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledgement<'a> {
    /// Written or deleted, or found as they should be.
    pub applied: &'a [Key],
    /// Refused for good.
    pub refused: &'a [DeadLetter],
    /// The index holds a higher version: to be built again now.
    pub superseded: &'a [Key],
    /// An outcome stayed unknown (besides what became of them later): to be built once more at `unknown_due_at`.
    pub unknown: &'a [Key],
    /// When a request of unknown outcome can do no more harm.
    pub unknown_due_at: i64,
    /// How many dead letters keep their document.
    pub dead_letter_max: usize,
}

impl Store {
    /// Removes a batch and records what became of its documents, all in one transaction.
    ///
    /// Before it the batch is in flight as a whole, after it none of it is. A key of the batch that is named nowhere
    /// goes back to stale: what was not accounted for is done again.
    ///
    /// Returns how many older dead letters lost their document for these.
    pub fn acknowledge(&self, number: BatchNumber, outcome: &Acknowledgement<'_>, now: i64) -> Result<u64> {
        self.write("acknowledge a batch", |transaction, memory| {
            let Some(batch) = memory.batches.get(&number).copied() else { return Err(not_in_flight(number)) };
            match batch.key_count {
                Some(key_count) => settle_keys(transaction, memory, number, batch, key_count, outcome, now)?,
                None => {
                    let mut count = transaction.prepare_cached(
                        "update full_loads
                            set document_count = document_count + ?2
                          where generation = ?1",
                    )?;
                    count.execute(params![batch.generation, signed(outcome.applied.len() as u64)])?;
                }
            }
            batches::forget(transaction, memory, number)?;
            dead_letters::clear(transaction, memory, batch.generation, outcome.applied)?;
            let dropped_count = dead_letters::keep(
                transaction,
                memory,
                batch.generation,
                outcome.refused,
                outcome.dead_letter_max,
                now,
            )?;
            let known = memory.generation_of_id(batch.generation)?;
            stale_keys::insert(transaction, known, outcome.superseded, 0, Place::Back, now)?;
            if !outcome.unknown.is_empty() {
                stale_keys::delay(transaction, known, outcome.unknown, outcome.unknown_due_at)?;
            }
            crate::faults::point("before_acknowledged");
            Ok(dropped_count)
        })
    }
}

/// Ends the flight of a batch's keys.
fn settle_keys(
    transaction: &Transaction<'_>,
    memory: &mut Memory,
    number: BatchNumber,
    batch: InFlight,
    key_count: u64,
    outcome: &Acknowledgement<'_>,
    now: i64,
) -> Attempt<()> {
    let known = memory.generation_of_id(batch.generation)?;
    let refused = outcome.refused.iter().map(|letter| &letter.key);
    let named = outcome.applied.iter().chain(refused).chain(outcome.superseded).chain(outcome.unknown);
    let named = named.map(|key| (known.hasher.of(key), key));
    let settled_count = known.in_flight.remove(number, named);
    if settled_count == key_count {
        return Ok(());
    }
    let stored = StoredBatch::load(transaction, number)?;
    let mut forgotten = stored.keys()?;
    forgotten.retain(|key| known.in_flight.remove(number, [(known.hasher.of(key), key)]) > 0);
    stale_keys::insert(
        transaction,
        known,
        &forgotten,
        stored.attempt_count.saturating_add(1),
        Place::Back,
        now,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{
        GENERATION, acknowledge_all, acknowledgement, after_a_kill, keys, keys_of, letter, state,
    };

    #[test]
    fn every_outcome_goes_its_way_in_one_step() {
        let (dir, store) = state();
        store.record_stale(GENERATION, &keys(0..6), 0, 1).unwrap();
        let batch = store.take(GENERATION, 6, 1).unwrap().unwrap();
        let outcome = Acknowledgement {
            applied: &keys([0, 1, 4]),
            refused: &[letter(2, "no number")],
            superseded: &keys([3]),
            unknown: &keys([4, 5]),
            unknown_due_at: 100,
            ..acknowledgement()
        };
        store.acknowledge(batch.number, &outcome, 2).unwrap();
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.in_flight_count(GENERATION).unwrap().batches, 0);
        assert_eq!(store.dead_letter_count().unwrap(), 1);
        assert_eq!(keys_of(&store.take(GENERATION, 9, 99).unwrap().unwrap()), keys([3]));
        assert_eq!(keys_of(&store.take(GENERATION, 9, 100).unwrap().unwrap()), keys([4, 5]));
    }

    #[test]
    fn a_key_that_was_named_nowhere_is_done_again() {
        let (_dir, store) = state();
        store.record_stale(GENERATION, &keys(0..4), 0, 1).unwrap();
        let batch = store.take(GENERATION, 4, 1).unwrap().unwrap();
        // A key of another batch and one named twice settle nothing of this one.
        let outcome = Acknowledgement { applied: &keys([0, 0, 9, 2]), ..acknowledgement() };
        store.acknowledge(batch.number, &outcome, 2).unwrap();
        let again = store.take(GENERATION, 9, 2).unwrap().unwrap();
        assert_eq!((keys_of(&again), again.attempt_count), (keys([1, 3]), 1));
    }

    #[test]
    fn killed_before_the_acknowledgement_everything_is_done_again() {
        let (dir, store) = state();
        store.record_stale(GENERATION, &keys(0..3), 0, 1).unwrap();
        let batch = store.take(GENERATION, 3, 1).unwrap().unwrap();
        let (_copy, restarted) = after_a_kill(dir.path());
        acknowledge_all(&store, &batch, 2);
        let (_copy, restarted_later) = after_a_kill(dir.path());
        restarted.return_in_flight(GENERATION, 3).unwrap();
        assert_eq!(restarted.stale_count(GENERATION).unwrap(), 3);
        restarted_later.return_in_flight(GENERATION, 3).unwrap();
        assert_eq!(restarted_later.stale_count(GENERATION).unwrap(), 0);
    }

    #[test]
    fn a_batch_is_acknowledged_once() {
        let (_dir, store) = state();
        store.record_stale(GENERATION, &keys(0..3), 0, 1).unwrap();
        let batch = store.take(GENERATION, 3, 1).unwrap().unwrap();
        acknowledge_all(&store, &batch, 2);
        let error = store.acknowledge(batch.number, &acknowledgement(), 3).unwrap_err();
        assert!(error.story().contains("not in flight"), "{error:?}");
        assert_eq!(store.stale_count(GENERATION).unwrap(), 0);
    }
}
