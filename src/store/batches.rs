//! In-flight batches: what is taken, given back in part, and put back as a whole.
//!
//! Ranges do not exclude keys, nor keys ranges: which keys lie in a range only PostgreSQL could say. Order does it
//! instead: batches are read in the order of their taking, each from a later snapshot, and those that share a key are sent
//! in that order.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::batch::{Batch, BatchNumber, KeyRange, Work};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::store::Store;
use crate::store::failure::{Attempt, Failure};
use crate::store::key_buffer;
use crate::store::memory::{InFlight, Memory, signed};
use crate::store::stale_keys::{self, Place};

/// How much is in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlightCount {
    /// Batches of both kinds.
    pub batches: u64,
    /// Keys in batches of keys.
    pub keys: u64,
}

impl Store {
    /// Moves up to `limit` due stale keys into an in-flight batch, the first recorded first.
    ///
    /// Keys that are in flight already stay stale: they are taken when their batch is acknowledged.
    pub fn take(&self, generation: &str, limit: usize, now: i64) -> Result<Option<Batch>> {
        // Looking costs nothing; an idle pipeline should not keep others from writing.
        if limit == 0 || !self.has_work(generation, now)? {
            return Ok(None);
        }
        self.write("take a batch of stale keys", |transaction, memory| {
            let batch = memory.next_batch();
            let known = memory.generation(transaction, generation)?;
            stale_keys::wake_delayed(transaction, known, limit, now)?;
            let mut select = transaction.prepare_cached(
                "select number, key, attempts
                   from stale_keys
                  where generation = ?1
                  order by number",
            )?;
            let mut keys = Vec::new();
            let mut attempt_count = 0;
            let mut boarding = known.in_flight.board(batch);
            let mut taken = Vec::new();
            // Runs of neighbours are deleted at once.
            let mut runs: Vec<(i64, i64)> = Vec::new();
            let mut is_neighbour = false;
            let mut rows = select.query([known.id])?;
            while keys.len() < limit
                && let Some(row) = rows.next()?
            {
                let number: i64 = row.get(0)?;
                let key = row.get_ref(1)?.as_str()?;
                let hash = known.hasher.of_text(key);
                if !boarding.add(hash, key) {
                    is_neighbour = false;
                    continue;
                }
                keys.push(Key::from_encoded(key));
                taken.push((hash, number));
                attempt_count = attempt_count.max(row.get(2)?);
                match runs.last_mut() {
                    Some(run) if is_neighbour => run.1 = number,
                    _ => runs.push((number, number)),
                }
                is_neighbour = true;
            }
            drop(rows);
            if keys.is_empty() {
                return Ok(None);
            }
            // One after the other without anything in between: the processor then waits for several of them at once.
            for (hash, number) in taken {
                known.stale_index.remove(hash, number);
            }
            let mut delete = transaction.prepare_cached(
                "delete from stale_keys where generation = ?1 and number between ?2 and ?3",
            )?;
            for (first, last) in runs {
                delete.execute(params![known.id, first, last])?;
            }
            let mut insert = transaction.prepare_cached(
                "insert into in_flight_batches (number, generation, kind, keys, key_count, attempts, taken_at)
                 values (?1, ?2, 'keys', ?3, ?4, ?5, ?6)",
            )?;
            let key_count = keys.len() as u64;
            insert.execute(params![
                signed(batch.0),
                known.id,
                boarding.buffer(),
                signed(key_count),
                attempt_count,
                now
            ])?;
            boarding.close();
            known.stale_count -= key_count;
            let in_flight = InFlight { generation: known.id, key_count: Some(key_count) };
            memory.batches.insert(batch, in_flight);
            memory.last_batch = batch;
            Ok(Some(Batch { number: batch, work: Work::Keys(keys), attempt_count }))
        })
    }

    /// Gives back keys of a batch that were not read; they are stale again and taken next.
    pub fn release_keys(&self, number: BatchNumber, keys: &[Key], now: i64) -> Result<()> {
        self.write("release keys of a batch", |transaction, memory| {
            let stored = StoredBatch::load(transaction, number)?;
            let known = memory.generation_of_id(stored.generation)?;
            let mut released = Vec::new();
            for key in keys {
                if known.in_flight.remove(number, [(known.hasher.of(key), key)]) > 0 {
                    released.push(key);
                }
            }
            let mut kept = stored.keys()?;
            kept.retain(|key| known.in_flight.contains(known.hasher.of(key), key));
            let mut update = transaction
                .prepare_cached("update in_flight_batches set keys = ?2, key_count = ?3 where number = ?1")?;
            let key_count = kept.len() as u64;
            update.execute(params![signed(number.0), key_buffer::encode(&kept), signed(key_count)])?;
            // From the last to the first, each in front of the one before it: their order stays.
            let backwards = released.into_iter().rev();
            stale_keys::insert(transaction, known, backwards, stored.attempt_count, Place::Front, now)?;
            let in_flight = InFlight { generation: stored.generation, key_count: Some(key_count) };
            memory.batches.insert(number, in_flight);
            Ok(())
        })
    }

    /// Puts a batch back to where it came from: its keys behind all that wait, its range to the open ranges.
    ///
    /// Behind, so that one batch that cannot be read does not keep all others from being read.
    pub fn return_batch(&self, number: BatchNumber, now: i64) -> Result<()> {
        self.write("put a batch back", |transaction, memory| put_back(transaction, memory, number, now))
    }

    /// Puts every in-flight batch of the generation back, before its pipeline starts; returns how many there were.
    pub fn return_in_flight(&self, generation: &str, now: i64) -> Result<u64> {
        self.write("put the in-flight batches back", |transaction, memory| {
            let id = memory.generation(transaction, generation)?.id;
            put_all_back(transaction, memory, id, now)
        })
    }

    /// How much of the generation is in flight; costs no reading.
    pub fn in_flight_count(&self, generation: &str) -> Result<InFlightCount> {
        self.recall("count the in-flight batches", |memory| {
            let Some(known) = memory.known(generation) else { return InFlightCount::default() };
            let batches = memory.batches.values().filter(|batch| batch.generation == known.id).count();
            InFlightCount { batches: batches as u64, keys: known.in_flight.len() as u64 }
        })
    }
}

/// Puts every in-flight batch of a generation back; returns how many there were.
pub(super) fn put_all_back(
    transaction: &Transaction<'_>,
    memory: &mut Memory,
    generation: i64,
    now: i64,
) -> Attempt<u64> {
    let of_generation = memory.batches.iter().filter(|(_, batch)| batch.generation == generation);
    let mut numbers: Vec<BatchNumber> = of_generation.map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    for number in &numbers {
        put_back(transaction, memory, *number, now)?;
    }
    Ok(numbers.len() as u64)
}

fn put_back(
    transaction: &Transaction<'_>,
    memory: &mut Memory,
    number: BatchNumber,
    now: i64,
) -> Attempt<()> {
    let stored = StoredBatch::load(transaction, number)?;
    let attempt_count = stored.attempt_count.saturating_add(1);
    let known = memory.generation_of_id(stored.generation)?;
    if stored.is_range() {
        insert_open_range(transaction, stored.generation, &stored.range, attempt_count)?;
    } else {
        let keys = stored.keys()?;
        known.in_flight.remove(number, keys.iter().map(|key| (known.hasher.of(key), key)));
        stale_keys::insert(transaction, known, &keys, attempt_count, Place::Back, now)?;
    }
    forget(transaction, memory, number)
}

/// Removes a batch from the file and the memory of batches.
pub(super) fn forget(transaction: &Transaction<'_>, memory: &mut Memory, number: BatchNumber) -> Attempt<()> {
    transaction
        .prepare_cached("delete from in_flight_batches where number = ?1")?
        .execute([signed(number.0)])?;
    if let Some(batch) = memory.batches.remove(&number)
        && batch.key_count.is_some()
    {
        memory.generation_of_id(batch.generation)?.in_flight.forget(number);
    }
    Ok(())
}

/// Inserts a range as an in-flight batch.
pub(super) fn insert_range(
    transaction: &Transaction<'_>,
    memory: &mut Memory,
    generation: i64,
    range: KeyRange,
    attempt_count: u32,
    now: i64,
) -> Attempt<Batch> {
    let number = memory.next_batch();
    let mut insert = transaction.prepare_cached(
        "insert into in_flight_batches (number, generation, kind, low, high, attempts, taken_at)
         values (?1, ?2, 'range', ?3, ?4, ?5, ?6)",
    )?;
    let (low, high) = (text(range.low.as_ref()), text(range.high.as_ref()));
    insert.execute(params![signed(number.0), generation, low, high, attempt_count, now])?;
    memory.batches.insert(number, InFlight { generation, key_count: None });
    memory.last_batch = number;
    Ok(Batch { number, work: Work::Range(range), attempt_count })
}

/// Inserts a range that is to be taken again.
pub(super) fn insert_open_range(
    transaction: &Transaction<'_>,
    generation: i64,
    range: &KeyRange,
    attempt_count: u32,
) -> Attempt<()> {
    let mut insert = transaction.prepare_cached(
        "insert into open_ranges (generation, low, high, attempts)
         values (?1, ?2, ?3, ?4)",
    )?;
    insert.execute(params![
        generation,
        text(range.low.as_ref()),
        text(range.high.as_ref()),
        attempt_count
    ])?;
    Ok(())
}

/// A batch as it is kept in the file.
pub(super) struct StoredBatch {
    pub(super) generation: i64,
    buffer: Option<Vec<u8>>,
    pub(super) range: KeyRange,
    pub(super) attempt_count: u32,
}

impl StoredBatch {
    pub(super) fn load(transaction: &Transaction<'_>, number: BatchNumber) -> Attempt<Self> {
        let mut select = transaction.prepare_cached(
            "select generation, keys, low, high, attempts
               from in_flight_batches
              where number = ?1",
        )?;
        let stored = select
            .query_row([signed(number.0)], |row| {
                Ok(Self {
                    generation: row.get(0)?,
                    buffer: row.get(1)?,
                    range: KeyRange { low: optional_key(row.get(2)?), high: optional_key(row.get(3)?) },
                    attempt_count: row.get(4)?,
                })
            })
            .optional()?;
        stored.ok_or_else(|| not_in_flight(number))
    }

    pub(super) fn is_range(&self) -> bool {
        self.buffer.is_none()
    }

    pub(super) fn keys(&self) -> Attempt<Vec<Key>> {
        key_buffer::decode(self.buffer.as_deref().unwrap_or_default())
    }
}

/// What is asked of a batch that was acknowledged or put back already.
pub(super) fn not_in_flight(number: BatchNumber) -> Failure {
    Error::wrong(format!("batch {number} is not in flight in the state")).into()
}

/// A key as it is stored, or NULL.
pub(super) fn text(key: Option<&Key>) -> Option<&str> {
    key.map(Key::as_str)
}

/// A key that was stored, unless it was NULL.
pub(super) fn optional_key(text: Option<String>) -> Option<Key> {
    text.map(Key::from_encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{GENERATION, acknowledge_all, after_a_kill, key, keys, keys_of, state};

    #[test]
    fn a_key_in_flight_is_passed_over_until_its_batch_is_acknowledged() {
        let (_dir, store) = state();
        store.record_stale(GENERATION, &keys(0..4), 0, 1).unwrap();
        let first = store.take(GENERATION, 2, 1).unwrap().unwrap();
        store.record_stale(GENERATION, &keys([0, 7]), 0, 2).unwrap();
        let second = store.take(GENERATION, 10, 2).unwrap().unwrap();
        assert_eq!(keys_of(&second), keys([2, 3, 7]));
        assert!(store.take(GENERATION, 10, 2).unwrap().is_none());
        assert!(store.has_due(GENERATION, 2).unwrap());
        acknowledge_all(&store, &first, 3);
        let third = store.take(GENERATION, 10, 3).unwrap().unwrap();
        assert_eq!(keys_of(&third), keys([0]));
        assert!(third.number > second.number);
    }

    #[test]
    fn keys_around_one_in_flight_are_all_taken_and_removed() {
        let (_dir, store) = state();
        store.record_stale(GENERATION, &keys([5]), 0, 1).unwrap();
        store.take(GENERATION, 1, 1).unwrap().unwrap();
        store.record_stale(GENERATION, &keys([1, 2, 5, 3, 4]), 0, 1).unwrap();
        assert_eq!(keys_of(&store.take(GENERATION, 10, 1).unwrap().unwrap()), keys([1, 2, 3, 4]));
        assert_eq!(store.texts("select key from stale_keys"), [key(5).to_string()]);
    }

    #[test]
    fn after_a_kill_every_key_in_flight_is_stale_again() {
        let (dir, store) = state();
        store.record_stale(GENERATION, &keys(0..5), 0, 1).unwrap();
        let acknowledged = store.take(GENERATION, 2, 1).unwrap().unwrap();
        acknowledge_all(&store, &acknowledged, 2);
        store.take(GENERATION, 2, 2).unwrap().unwrap();
        let (_copy, restarted) = after_a_kill(dir.path());
        assert_eq!(restarted.in_flight_count(GENERATION).unwrap(), InFlightCount { batches: 1, keys: 2 });
        // Still known to be in flight before they are put back.
        restarted.record_stale(GENERATION, &keys([2]), 0, 3).unwrap();
        assert_eq!(restarted.return_in_flight(GENERATION, 3).unwrap(), 1);
        assert_eq!(restarted.in_flight_count(GENERATION).unwrap(), InFlightCount::default());
        let batch = restarted.take(GENERATION, 10, 3).unwrap().unwrap();
        let mut taken = keys_of(&batch);
        taken.sort();
        assert_eq!(taken, keys(2..5));
        assert_eq!(batch.attempt_count, 1);
        assert!(batch.number.0 > 2);
    }

    #[test]
    fn released_keys_are_taken_next_and_in_their_order() {
        let (_dir, store) = state();
        store.record_stale(GENERATION, &keys(0..8), 0, 1).unwrap();
        let batch = store.take(GENERATION, 4, 1).unwrap().unwrap();
        store.release_keys(batch.number, &keys([2, 3, 6]), 2).unwrap();
        assert_eq!(store.in_flight_count(GENERATION).unwrap().keys, 2);
        let next = store.take(GENERATION, 3, 2).unwrap().unwrap();
        assert_eq!(keys_of(&next), keys([2, 3, 4]));
        store.return_batch(batch.number, 3).unwrap();
        assert_eq!(keys_of(&store.take(GENERATION, 9, 3).unwrap().unwrap()), keys([5, 6, 7, 0, 1]));
    }

    #[test]
    fn a_pipeline_puts_back_its_own_batches_only() {
        let (_dir, store) = state();
        store.record_stale(GENERATION, &keys([1]), 0, 1).unwrap();
        store.record_stale("other", &keys([1]), 0, 1).unwrap();
        let own = store.take(GENERATION, 1, 1).unwrap().unwrap();
        let other = store.take("other", 1, 1).unwrap().unwrap();
        assert_eq!(store.return_in_flight(GENERATION, 2).unwrap(), 1);
        acknowledge_all(&store, &other, 2);
        assert!(store.return_batch(own.number, 2).is_err());
    }
}
