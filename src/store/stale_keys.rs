//! Stale keys: recorded once each, taken in the order of their recording.
//!
//! A key can be stale now and, besides, once more at a later time: the later entry is kept apart until it is due, so
//! that an entry for now never swallows it. Of two later entries the later one stays: it serves both.

use rusqlite::{CachedStatement, OptionalExtension, Transaction, params};

use crate::error::Result;
use crate::key::Key;
use crate::store::Store;
use crate::store::failure::Attempt;
use crate::store::memory::GenerationMemory;
use crate::store::stale_rows;

/// Nothing is put off for longer, in microseconds: fifteen minutes. What is due later than that was recorded before the
/// clock was set back.
const LONGEST_DELAY: i64 = 15 * 60 * 1_000_000;

/// Where keys queue up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Taken next.
    Front,
    /// Taken when everything that waits has been.
    Back,
}

impl Store {
    /// Records keys as stale, due at `due_at`; a time that is not after `now` means now.
    ///
    /// A key that is stale already keeps its place. A key in flight is recorded again and waits for its batch.
    pub fn record_stale(&self, generation: &str, keys: &[Key], due_at: i64, now: i64) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        self.write("record stale keys", |transaction, memory| {
            let generation = memory.generation(transaction, generation)?;
            if due_at > now {
                delay(transaction, generation, keys, due_at)
            } else {
                insert(transaction, generation, keys, 0, Place::Back, now)
            }
        })
    }

    /// How many stale keys wait, those that are due later included; costs no reading.
    pub fn stale_count(&self, generation: &str) -> Result<u64> {
        self.recall("count stale keys", |memory| {
            memory.known(generation).map_or(0, |known| known.stale_count + known.delayed_count)
        })
    }

    /// Whether a stale key is due at `now`, also one that still waits for its in-flight batch; costs no reading.
    pub fn has_due(&self, generation: &str, now: i64) -> Result<bool> {
        self.recall("look for stale keys", |memory| {
            memory.known(generation).is_some_and(|known| known.has_due(now))
        })
    }
}

impl Store {
    /// Whether a key is due, or the clock was set back and keys are to be brought forward.
    pub(super) fn has_work(&self, generation: &str, now: i64) -> Result<bool> {
        self.recall("look for stale keys", |memory| {
            memory.known(generation).is_some_and(|known| {
                known.has_due(now) || known.earliest_due_at.is_some_and(|due_at| due_at > latest_due_at(now))
            })
        })
    }
}

fn latest_due_at(now: i64) -> i64 {
    now.saturating_add(LONGEST_DELAY)
}

/// Inserts keys as stale now; `attempt_count` is how often they were taken before.
pub(super) fn insert<'a>(
    transaction: &Transaction<'_>,
    generation: &mut GenerationMemory,
    keys: impl IntoIterator<Item = &'a Key>,
    attempt_count: u32,
    place: Place,
    now: i64,
) -> Attempt<()> {
    // First into the memory, then into the file: a look at the memory of many keys is a miss of the processor's caches,
    // and it waits for several of them at once where nothing else is done in between.
    let mut new: Vec<(i64, &Key)> = Vec::new();
    let mut rows = KnownRows::of(transaction, generation.id)?;
    for key in keys {
        let hash = generation.hasher.of(key);
        let mut is_waiting = false;
        for candidate in generation.stale_index.candidates(hash) {
            is_waiting =
                is_waiting || is_among(&new, candidate, key) || rows.is_of(candidate, key, attempt_count)?;
        }
        if is_waiting {
            continue;
        }
        let number = match place {
            Place::Front => generation.first_number - 1,
            Place::Back => generation.next_number,
        };
        match place {
            Place::Front => generation.first_number = number,
            Place::Back => generation.next_number = number + 1,
        }
        generation.stale_index.insert(hash, number);
        new.push((number, key));
    }
    generation.stale_count += new.len() as u64;
    if place == Place::Front {
        new.reverse();
    }
    stale_rows::insert(transaction, generation.id, &new, attempt_count, now)
}

/// Whether the row of that number is one of those that are about to be inserted, and this key's.
fn is_among(new: &[(i64, &Key)], number: i64, key: &Key) -> bool {
    let Some((first, _)) = new.first() else { return false };
    usize::try_from(number.abs_diff(*first)).is_ok_and(|place| new.get(place) == Some(&(number, key)))
}

/// The rows in the file.
struct KnownRows<'a> {
    transaction: &'a Transaction<'a>,
    generation: i64,
    select: CachedStatement<'a>,
}

impl<'a> KnownRows<'a> {
    fn of(transaction: &'a Transaction<'_>, generation: i64) -> Attempt<Self> {
        let select = transaction.prepare_cached(
            "select key = ?3, attempts from stale_keys where generation = ?1 and number = ?2",
        )?;
        Ok(Self { transaction, generation, select })
    }

    /// Whether the row of that number is this key's; its attempts are then raised to `attempt_count`.
    fn is_of(&mut self, number: i64, key: &Key, attempt_count: u32) -> Attempt<bool> {
        let found = self
            .select
            .query_row(params![self.generation, number, key.as_str()], |row| {
                Ok((row.get::<_, bool>(0)?, row.get::<_, u32>(1)?))
            })
            .optional()?;
        let Some((true, attempts)) = found else { return Ok(false) };
        if attempts < attempt_count {
            let mut raise = self.transaction.prepare_cached(
                "update stale_keys set attempts = ?3 where generation = ?1 and number = ?2",
            )?;
            raise.execute(params![self.generation, number, attempt_count])?;
        }
        Ok(true)
    }
}

/// Records keys as stale at a later time.
pub(super) fn delay(
    transaction: &Transaction<'_>,
    generation: &mut GenerationMemory,
    keys: &[Key],
    due_at: i64,
) -> Attempt<()> {
    let mut insert = transaction.prepare_cached(
        "insert into delayed_stale_keys (generation, key, due_at)
         values (?1, ?2, ?3)
         on conflict (generation, key) do nothing",
    )?;
    let mut postpone = transaction.prepare_cached(
        "update delayed_stale_keys
            set due_at = ?3
          where generation = ?1 and key = ?2 and due_at < ?3",
    )?;
    for key in keys {
        let is_new = insert.execute(params![generation.id, key.as_str(), due_at])? > 0;
        if is_new {
            generation.delayed_count += 1;
        } else {
            postpone.execute(params![generation.id, key.as_str(), due_at])?;
        }
    }
    generation.earliest_due_at = earliest_due_at(transaction, generation.id)?;
    Ok(())
}

/// Makes up to `limit` of the delayed keys that have become due stale now.
pub(super) fn wake_delayed(
    transaction: &Transaction<'_>,
    generation: &mut GenerationMemory,
    limit: usize,
    now: i64,
) -> Attempt<()> {
    let latest = latest_due_at(now);
    if generation.earliest_due_at.is_some_and(|due_at| due_at > latest) {
        let mut bring_forward = transaction.prepare_cached(
            "update delayed_stale_keys
                set due_at = ?2
              where generation = ?1 and due_at > ?2",
        )?;
        bring_forward.execute(params![generation.id, latest])?;
        generation.earliest_due_at = Some(latest);
    }
    if generation.earliest_due_at.is_none_or(|due_at| due_at > now) {
        return Ok(());
    }
    let mut select = transaction.prepare_cached(
        "select key
           from delayed_stale_keys
          where generation = ?1 and due_at <= ?2
          order by due_at
          limit ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let keys: Vec<Key> = select
        .query_map(params![generation.id, now, limit], |row| Ok(Key::from_encoded(row.get::<_, String>(0)?)))?
        .collect::<Result<_, _>>()?;
    let mut delete =
        transaction.prepare_cached("delete from delayed_stale_keys where generation = ?1 and key = ?2")?;
    for key in &keys {
        delete.execute(params![generation.id, key.as_str()])?;
    }
    generation.delayed_count -= keys.len() as u64;
    generation.earliest_due_at = earliest_due_at(transaction, generation.id)?;
    insert(transaction, generation, &keys, 0, Place::Back, now)
}

fn earliest_due_at(transaction: &Transaction<'_>, generation: i64) -> Attempt<Option<i64>> {
    let mut select =
        transaction.prepare_cached("select min(due_at) from delayed_stale_keys where generation = ?1")?;
    Ok(select.query_row([generation], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{GENERATION, acknowledge_all, keys, keys_of, state};

    #[test]
    fn a_clock_set_back_by_years_does_not_put_keys_off_for_years() {
        let (_dir, store) = state();
        let year = 365 * 24 * 3600 * 1_000_000;
        store.record_stale(GENERATION, &keys([1, 2]), year + LONGEST_DELAY, year).unwrap();
        assert!(store.take(GENERATION, 5, 7).unwrap().is_none());
        store.record_stale(GENERATION, &keys([3]), 20, 10).unwrap();
        assert_eq!(keys_of(&store.take(GENERATION, 5, 20).unwrap().unwrap()), keys([3]));
        let due_at = 7 + LONGEST_DELAY;
        assert!(store.take(GENERATION, 5, due_at - 1).unwrap().is_none());
        assert_eq!(keys_of(&store.take(GENERATION, 5, due_at).unwrap().unwrap()), keys([1, 2]));
    }

    #[test]
    fn keys_are_taken_once_each_in_the_order_of_their_recording() {
        let (_dir, store) = state();
        store.record_stale(GENERATION, &keys([5, 1, 9]), 0, 1).unwrap();
        store.record_stale(GENERATION, &keys([1, 2, 5]), 0, 2).unwrap();
        assert_eq!(store.stale_count(GENERATION).unwrap(), 4);
        let first = store.take(GENERATION, 3, 3).unwrap().unwrap();
        assert_eq!(keys_of(&first), keys([5, 1, 9]));
        let second = store.take(GENERATION, 3, 3).unwrap().unwrap();
        assert_eq!(keys_of(&second), keys([2]));
        assert!(store.take(GENERATION, 3, 3).unwrap().is_none());
        assert!(!store.has_due(GENERATION, i64::MAX).unwrap());
    }

    #[test]
    fn many_keys_and_few_are_each_recorded_once_and_keep_their_order() {
        for count in [1, 7, 8, 9, 63, 64, 65, 71, 72, 73, 200] {
            let (dir, store) = state();
            store.record_stale(GENERATION, &keys([1_000, 5]), 0, 1).unwrap();
            // Each twice in one call, among them one that waits already.
            let twice: Vec<Key> = keys(0..count).into_iter().flat_map(|key| [key.clone(), key]).collect();
            store.record_stale(GENERATION, &twice, 0, 2).unwrap();
            store.record_stale(GENERATION, &twice, 0, 3).unwrap();
            let mut expected = keys([1_000, 5]);
            expected.extend(keys((0..count).filter(|number| *number != 5)));
            assert_eq!(store.texts("select key from stale_keys order by number"), texts(&expected));
            let batch = store.take(GENERATION, 1_000, 4).unwrap().unwrap();
            assert_eq!(keys_of(&batch), expected);
            let given_back = [&expected[1..], &expected[1..]].concat();
            store.release_keys(batch.number, &given_back, 5).unwrap();
            let reopened = Store::open(dir.path()).unwrap();
            assert_eq!(keys_of(&reopened.take(GENERATION, 1_000, 6).unwrap().unwrap()), expected[1..]);
            assert_eq!(store.stale_count(GENERATION).unwrap(), 0);
        }
    }

    fn texts(keys: &[Key]) -> Vec<String> {
        keys.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn generations_do_not_see_each_others_keys() {
        let (_dir, store) = state();
        store.record_stale(GENERATION, &keys([1]), 0, 1).unwrap();
        assert_eq!(store.stale_count("other").unwrap(), 0);
        assert!(store.take("other", 10, 1).unwrap().is_none());
        store.record_stale("other", &keys([1]), 0, 1).unwrap();
        assert!(store.take(GENERATION, 10, 1).unwrap().is_some());
        assert!(store.take("other", 10, 1).unwrap().is_some());
    }

    #[test]
    fn a_delayed_entry_outlives_an_entry_for_now() {
        let (_dir, store) = state();
        store.record_stale(GENERATION, &keys([1]), 100, 1).unwrap();
        assert!(!store.has_due(GENERATION, 99).unwrap());
        assert!(store.take(GENERATION, 10, 99).unwrap().is_none());
        store.record_stale(GENERATION, &keys([1]), 0, 2).unwrap();
        let batch = store.take(GENERATION, 10, 3).unwrap().unwrap();
        acknowledge_all(&store, &batch, 4);
        assert_eq!(store.stale_count(GENERATION).unwrap(), 1);
        assert!(store.has_due(GENERATION, 100).unwrap());
        assert_eq!(keys_of(&store.take(GENERATION, 10, 100).unwrap().unwrap()), keys([1]));
        assert_eq!(store.stale_count(GENERATION).unwrap(), 0);
    }

    #[test]
    fn of_two_delayed_entries_the_later_stays() {
        let (_dir, store) = state();
        store.record_stale(GENERATION, &keys([1]), 100, 1).unwrap();
        store.record_stale(GENERATION, &keys([1]), 200, 1).unwrap();
        store.record_stale(GENERATION, &keys([1]), 150, 1).unwrap();
        assert!(store.take(GENERATION, 10, 199).unwrap().is_none());
        assert!(store.take(GENERATION, 10, 200).unwrap().is_some());
    }

    #[test]
    fn what_another_process_recorded_is_seen_at_once() {
        let (dir, store) = state();
        assert_eq!(store.stale_count(GENERATION).unwrap(), 0);
        let other = Store::open(dir.path()).unwrap();
        other.record_stale(GENERATION, &keys([1, 2]), 0, 1).unwrap();
        assert_eq!(store.stale_count(GENERATION).unwrap(), 2);
        store.record_stale(GENERATION, &keys([3]), 0, 1).unwrap();
        other.record_stale(GENERATION, &keys([4]), 0, 1).unwrap();
        assert_eq!(keys_of(&store.take(GENERATION, 10, 1).unwrap().unwrap()), keys([1, 2, 3, 4]));
    }
}
