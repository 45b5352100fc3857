//! Full loads: every root row once, in ranges of the key, going on after a restart where they were.
//!
//! The frontier is the last key at which a range was cut. Every row up to it is acknowledged, or lies in an in-flight
//! batch or an open range (one that was cut and put back): nothing else has to be kept, and there are never more of
//! these than can be in flight. Keys are compared for equality only: the range that ends at the frontier is the last
//! one that was cut.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::batch::{Batch, BatchNumber, KeyRange};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::store::Store;
use crate::store::batches::{self, StoredBatch, not_in_flight, optional_key, text};
use crate::store::failure::Attempt;
use crate::store::memory::{signed, unsigned};

/// Why everything is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The index is new to us.
    First,
    /// It was asked for.
    Resync,
}

/// How far a full load is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullLoad {
    /// Why it runs.
    pub purpose: Purpose,
    /// The last key of the last range that was cut; the next range begins after it. None at the start.
    pub frontier: Option<Key>,
    /// Whether the last range was cut.
    pub reached_end: bool,
    /// Whether every range is acknowledged.
    pub finished: bool,
    /// Whether the pass for extra documents is still to be done.
    pub extras_pending: bool,
    /// Documents of acknowledged ranges.
    pub document_count: u64,
    /// When it began.
    pub started_at: i64,
    /// When its last range was acknowledged.
    pub finished_at: Option<i64>,
}

impl Store {
    /// Begins a full load unless the generation has one, finished or not; returns whether it was begun.
    #[cfg(test)]
    pub(super) fn begin_full_load(
        &self,
        generation: &str,
        purpose: Purpose,
        extras_pending: bool,
        now: i64,
    ) -> Result<bool> {
        self.write_durably("begin the full load", |transaction, memory| {
            let id = memory.generation(transaction, generation)?.id;
            begin(transaction, id, purpose, extras_pending, now)
        })
    }

    /// How far the generation's full load is; none if it never had one.
    pub fn full_load(&self, generation: &str) -> Result<Option<FullLoad>> {
        self.read("read the full load", |connection| load(connection, generation))
    }

    /// Takes the range from the frontier to `high` (to the end if none) and moves the frontier there.
    pub fn take_range(&self, generation: &str, high: Option<Key>, now: i64) -> Result<Batch> {
        self.write("take a range", |transaction, memory| {
            let Some(load) = load(transaction, generation)? else {
                return Err(Error::wrong(format!("the state has no full load of {generation}")).into());
            };
            if load.reached_end {
                return Err(Error::wrong(format!("the full load of {generation} has no more ranges")).into());
            }
            let id = memory.generation(transaction, generation)?.id;
            let mut update = transaction.prepare_cached(
                "update full_loads
                    set frontier = coalesce(?2, frontier),
                        reached_end = ?2 is null
                  where generation = ?1",
            )?;
            update.execute(params![id, text(high.as_ref())])?;
            batches::insert_range(transaction, memory, id, KeyRange { low: load.frontier, high }, 0, now)
        })
    }

    /// Takes a range that was cut before and put back; none if there is none.
    pub fn take_open_range(&self, generation: &str, now: i64) -> Result<Option<Batch>> {
        let has_open =
            self.read("look for open ranges", |connection| first_open_range(connection, generation))?;
        if has_open.is_none() {
            return Ok(None);
        }
        self.write("take an open range", |transaction, memory| {
            let Some((row, range, attempt_count)) = first_open_range(transaction, generation)? else {
                return Ok(None);
            };
            let id = memory.generation(transaction, generation)?.id;
            transaction.prepare_cached("delete from open_ranges where number = ?1")?.execute([row])?;
            batches::insert_range(transaction, memory, id, range, attempt_count, now).map(Some)
        })
    }

    /// Lets an in-flight range end at `high`, up to which it was read; the rest is taken later.
    ///
    /// If it was the last one cut, the frontier moves back, so that the next range is whole again; else the rest
    /// becomes an open range.
    pub fn shrink_range(&self, number: BatchNumber, high: &Key) -> Result<()> {
        self.write("shrink a range", |transaction, _| {
            let stored = StoredBatch::load(transaction, number)?;
            if !stored.is_range() {
                return Err(not_in_flight(number));
            }
            let former_high = stored.range.high;
            if former_high.as_ref() == Some(high) {
                return Ok(());
            }
            let mut update =
                transaction.prepare_cached("update in_flight_batches set high = ?2 where number = ?1")?;
            update.execute(params![signed(number.0), high.as_str()])?;
            let mut move_back = transaction.prepare_cached(
                "update full_loads
                    set frontier = ?2,
                        reached_end = 0
                  where generation = ?1
                    and (?3 is null or (reached_end = 0 and frontier = ?3))",
            )?;
            let former = text(former_high.as_ref());
            let was_last = move_back.execute(params![stored.generation, high.as_str(), former])? > 0;
            if !was_last {
                let rest = KeyRange { low: Some(high.clone()), high: former_high };
                batches::insert_open_range(transaction, stored.generation, &rest, stored.attempt_count)?;
            }
            Ok(())
        })
    }

    /// Whether every range of the generation's full load was cut and acknowledged.
    pub fn full_load_is_complete(&self, generation: &str) -> Result<bool> {
        self.read("look whether the full load is complete", |connection| is_complete(connection, generation))
    }

    /// Marks the full load as finished; returns whether it is complete and was not marked before.
    pub fn finish_full_load(&self, generation: &str, now: i64) -> Result<bool> {
        self.write("finish the full load", |transaction, memory| {
            if !is_complete(transaction, generation)? {
                return Ok(false);
            }
            let id = memory.generation(transaction, generation)?.id;
            let mut update = transaction.prepare_cached(
                "update full_loads
                    set finished_at = ?2
                  where generation = ?1 and finished_at is null",
            )?;
            Ok(update.execute(params![id, now])? > 0)
        })
    }

    /// Records that the pass for extra documents is done.
    pub fn finish_extras(&self, generation: &str) -> Result<()> {
        self.write("finish the pass for extra documents", |transaction, memory| {
            let id = memory.generation(transaction, generation)?.id;
            transaction
                .prepare_cached("update full_loads set extras_pending = 0 where generation = ?1")?
                .execute([id])?;
            Ok(())
        })
    }
}

/// Begins a full load unless there is one; returns whether it was begun.
pub(super) fn begin(
    transaction: &Transaction<'_>,
    generation: i64,
    purpose: Purpose,
    extras_pending: bool,
    now: i64,
) -> Attempt<bool> {
    let purpose = match purpose {
        Purpose::First => "first",
        Purpose::Resync => "resync",
    };
    let mut insert = transaction.prepare_cached(
        "insert into full_loads (generation, purpose, extras_pending, started_at)
         values (?1, ?2, ?3, ?4)
         on conflict (generation) do nothing",
    )?;
    Ok(insert.execute(params![generation, purpose, extras_pending, now])? > 0)
}

/// Reads the full load of the generation of that name.
pub(super) fn load(connection: &Connection, generation: &str) -> Attempt<Option<FullLoad>> {
    let mut select = connection.prepare_cached(
        "select f.purpose, f.frontier, f.reached_end, f.extras_pending, f.document_count, f.started_at, f.finished_at
           from full_loads f
           join generations g on g.id = f.generation
          where g.name = ?1",
    )?;
    let load = select.query_row([generation], |row| {
        let finished_at: Option<i64> = row.get(6)?;
        Ok(FullLoad {
            purpose: if row.get_ref(0)?.as_str()? == "first" { Purpose::First } else { Purpose::Resync },
            frontier: optional_key(row.get(1)?),
            reached_end: row.get(2)?,
            finished: finished_at.is_some(),
            extras_pending: row.get(3)?,
            document_count: unsigned(row.get(4)?),
            started_at: row.get(5)?,
            finished_at,
        })
    });
    Ok(load.optional()?)
}

fn first_open_range(connection: &Connection, generation: &str) -> Attempt<Option<(i64, KeyRange, u32)>> {
    let mut select = connection.prepare_cached(
        "select r.number, r.low, r.high, r.attempts
           from open_ranges r
          where r.generation = (select id from generations where name = ?1)
          order by r.number
          limit 1",
    )?;
    let first = select.query_row([generation], |row| {
        let range = KeyRange { low: optional_key(row.get(1)?), high: optional_key(row.get(2)?) };
        Ok((row.get(0)?, range, row.get(3)?))
    });
    Ok(first.optional()?)
}

fn is_complete(connection: &Connection, generation: &str) -> Attempt<bool> {
    let mut select = connection.prepare_cached(
        "select f.reached_end
                and not exists (select 1 from open_ranges r where r.generation = f.generation)
                and not exists (select 1 from in_flight_batches b where b.generation = f.generation and b.kind = 'range')
           from full_loads f
           join generations g on g.id = f.generation
          where g.name = ?1",
    )?;
    Ok(select.query_row([generation], |row| row.get(0)).optional()?.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Work;
    use crate::store::testing::{GENERATION, acknowledge_all, after_a_kill, key, state};

    fn range(low: Option<u32>, high: Option<u32>) -> Work {
        Work::Range(KeyRange { low: low.map(key), high: high.map(key) })
    }

    fn begun() -> (tempfile::TempDir, Store) {
        let (dir, store) = state();
        assert!(store.begin_full_load(GENERATION, Purpose::First, true, 1).unwrap());
        (dir, store)
    }

    fn frontier(store: &Store) -> (Option<Key>, bool) {
        let load = store.full_load(GENERATION).unwrap().unwrap();
        (load.frontier, load.reached_end)
    }

    #[test]
    fn ranges_follow_one_another_to_the_end() {
        let (_dir, store) = begun();
        let first = store.take_range(GENERATION, Some(key(10)), 1).unwrap();
        let second = store.take_range(GENERATION, Some(key(20)), 1).unwrap();
        let third = store.take_range(GENERATION, None, 1).unwrap();
        assert_eq!(first.work, range(None, Some(10)));
        assert_eq!(second.work, range(Some(10), Some(20)));
        assert_eq!(third.work, range(Some(20), None));
        assert!(store.take_range(GENERATION, None, 1).is_err());
        // In whatever order they are acknowledged, it is complete with the last.
        for batch in [&third, &first, &second] {
            assert!(!store.full_load_is_complete(GENERATION).unwrap());
            assert!(!store.finish_full_load(GENERATION, 2).unwrap());
            acknowledge_all(&store, batch, 2);
        }
        assert!(store.full_load_is_complete(GENERATION).unwrap());
        assert!(store.finish_full_load(GENERATION, 3).unwrap());
        assert!(!store.finish_full_load(GENERATION, 4).unwrap());
        let load = store.full_load(GENERATION).unwrap().unwrap();
        assert!(load.finished && load.extras_pending && load.finished_at == Some(3));
        store.finish_extras(GENERATION).unwrap();
        assert!(!store.full_load(GENERATION).unwrap().unwrap().extras_pending);
    }

    #[test]
    fn killed_it_goes_on_where_it_was_and_never_begins_again() {
        let (dir, store) = begun();
        let ranges: Vec<Batch> = [10, 20, 30]
            .into_iter()
            .map(|high| store.take_range(GENERATION, Some(key(high)), 1).unwrap())
            .collect();
        acknowledge_all(&store, &ranges[1], 2);
        let (_copy, restarted) = after_a_kill(dir.path());
        assert!(!restarted.begin_full_load(GENERATION, Purpose::First, true, 5).unwrap());
        restarted.return_in_flight(GENERATION, 5).unwrap();
        assert_eq!(frontier(&restarted), (Some(key(30)), false));
        let again = restarted.take_open_range(GENERATION, 5).unwrap().unwrap();
        assert_eq!((&again.work, again.attempt_count), (&range(None, Some(10)), 1));
        assert_eq!(
            restarted.take_open_range(GENERATION, 5).unwrap().unwrap().work,
            range(Some(20), Some(30))
        );
        assert!(restarted.take_open_range(GENERATION, 5).unwrap().is_none());
        assert_eq!(restarted.take_range(GENERATION, None, 5).unwrap().work, range(Some(30), None));
    }

    #[test]
    fn the_last_range_gives_its_rest_back_to_the_frontier() {
        let (_dir, store) = begun();
        let first = store.take_range(GENERATION, Some(key(10)), 1).unwrap();
        store.shrink_range(first.number, &key(4)).unwrap();
        assert_eq!(frontier(&store), (Some(key(4)), false));
        let last = store.take_range(GENERATION, None, 1).unwrap();
        assert_eq!(last.work, range(Some(4), None));
        store.shrink_range(last.number, &key(7)).unwrap();
        assert_eq!(frontier(&store), (Some(key(7)), false));
        acknowledge_all(&store, &first, 2);
        acknowledge_all(&store, &last, 2);
        assert!(!store.full_load_is_complete(GENERATION).unwrap());
        assert!(store.take_open_range(GENERATION, 1).unwrap().is_none());
    }

    #[test]
    fn an_earlier_range_leaves_its_rest_open() {
        let (_dir, store) = begun();
        let first = store.take_range(GENERATION, Some(key(10)), 1).unwrap();
        // The range to the end does not move the frontier's key, and is nevertheless the last one.
        let last = store.take_range(GENERATION, None, 1).unwrap();
        store.shrink_range(first.number, &key(4)).unwrap();
        assert_eq!(frontier(&store), (Some(key(10)), true));
        acknowledge_all(&store, &first, 2);
        acknowledge_all(&store, &last, 2);
        assert!(!store.full_load_is_complete(GENERATION).unwrap());
        let rest = store.take_open_range(GENERATION, 2).unwrap().unwrap();
        assert_eq!(rest.work, range(Some(4), Some(10)));
        acknowledge_all(&store, &rest, 3);
        assert!(store.full_load_is_complete(GENERATION).unwrap());
    }

    #[test]
    fn a_range_that_was_put_back_after_shrinking_keeps_its_new_end() {
        let (_dir, store) = begun();
        let first = store.take_range(GENERATION, Some(key(10)), 1).unwrap();
        store.shrink_range(first.number, &key(4)).unwrap();
        store.return_batch(first.number, 2).unwrap();
        assert_eq!(store.take_open_range(GENERATION, 2).unwrap().unwrap().work, range(None, Some(4)));
        assert_eq!(frontier(&store), (Some(key(4)), false));
    }
}
