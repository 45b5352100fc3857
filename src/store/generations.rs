//! Generations: the physical indices that the state knows of, and the steps of a rebuild.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::error::Result;
use crate::store::Store;
use crate::store::batches;
use crate::store::failure::Attempt;
use crate::store::full_load::{self, Purpose};
use crate::store::memory::Memory;
use crate::store::verify;

/// What a resync begins anew.
const TABLES_OF_A_LOAD: [&str; 4] = ["open_ranges", "full_loads", "checkpoints", "feed_states"];

/// All that is kept of a generation besides.
const OTHER_TABLES: [&str; 4] = ["stale_keys", "delayed_stale_keys", "in_flight_batches", "dead_letters"];

/// A generation as the state knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationRecord {
    /// The physical index.
    pub name: String,
    /// The alias under which it is searched.
    pub index_alias: String,
    /// The private alias under which it is written.
    pub write_alias: String,
    /// The hash of the definition that its documents are made by.
    pub definition_hash: String,
}

impl Store {
    /// The generation that is fed for this alias; none before the first was made.
    pub fn current_generation(&self, index_alias: &str) -> Result<Option<GenerationRecord>> {
        self.read("read the generation", |connection| {
            let mut select = connection.prepare_cached(
                "select name, index_alias, write_alias, definition_hash
                   from generations
                  where index_alias = ?1 and is_current = 1",
            )?;
            let found = select.query_row([index_alias], |row| {
                Ok(GenerationRecord {
                    name: row.get(0)?,
                    index_alias: row.get(1)?,
                    write_alias: row.get(2)?,
                    definition_hash: row.get(3)?,
                })
            });
            Ok(found.optional()?)
        })
    }

    /// Makes a generation the current one of its alias and begins a full load into it; outlives a power cut.
    ///
    /// One transaction: before it everything is as it was; after it there are no checkpoints, the full load is at its
    /// start, and what was in flight is stale. Stale keys, dead letters and the version stay. Other generations of the
    /// alias are forgotten: nothing writes to them any more. The checkpoints are stamped anew before the first range is
    /// read.
    pub fn begin_generation(
        &self,
        record: &GenerationRecord,
        purpose: Purpose,
        extras_pending: bool,
        now: i64,
    ) -> Result<()> {
        self.write_durably("begin a full load", |transaction, memory| {
            let id = memory.generation(transaction, &record.name)?.id;
            forget_others(transaction, &record.index_alias, id)?;
            transaction.execute(
                "update generations
                    set index_alias = ?2,
                        write_alias = ?3,
                        definition_hash = ?4,
                        created_at = coalesce(created_at, ?5),
                        is_current = 1
                  where id = ?1",
                params![id, record.index_alias, record.write_alias, record.definition_hash, now],
            )?;
            batches::put_all_back(transaction, memory, id, now)?;
            clear(transaction, &TABLES_OF_A_LOAD, id)?;
            verify::begin_anew(transaction, id)?;
            full_load::begin(transaction, id, purpose, extras_pending, now)?;
            // What was forgotten is counted no more.
            *memory = Memory::load(transaction)?;
            Ok(())
        })
    }
}

/// Forgets every generation of an alias but the one of that number.
fn forget_others(transaction: &Transaction<'_>, index_alias: &str, id: i64) -> Attempt<()> {
    let mut select =
        transaction.prepare_cached("select id from generations where index_alias = ?1 and id <> ?2")?;
    let others: Vec<i64> =
        select.query_map(params![index_alias, id], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for other in others {
        clear(transaction, &TABLES_OF_A_LOAD, other)?;
        clear(transaction, &OTHER_TABLES, other)?;
        verify::begin_anew(transaction, other)?;
        transaction.execute("delete from generations where id = ?1", [other])?;
    }
    Ok(())
}

fn clear(transaction: &Transaction<'_>, tables: &[&str], generation: i64) -> Attempt<()> {
    for table in tables {
        transaction.execute(&format!("delete from {table} where generation = ?1"), [generation])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Version;
    use crate::store::testing::{GENERATION, acknowledgement, after_a_kill, key, keys, letter, state};
    use crate::store::{Acknowledgement, InFlightCount};

    fn record(name: &str) -> GenerationRecord {
        GenerationRecord {
            name: name.to_owned(),
            index_alias: "movies".to_owned(),
            write_alias: format!("{name}-write"),
            definition_hash: "abc".to_owned(),
        }
    }

    /// A generation with something in every table.
    fn fill(store: &Store) {
        store.begin_generation(&record(GENERATION), Purpose::First, false, 1).unwrap();
        store.stamp_checkpoints(GENERATION, "cursor", &[("t".to_owned(), "1".to_owned())], "s").unwrap();
        store.begin_full_load(GENERATION, Purpose::First, false, 1).unwrap();
        let returned = store.take_range(GENERATION, Some(key(5)), 1).unwrap();
        store.return_batch(returned.number, 1).unwrap();
        store.take_range(GENERATION, Some(key(9)), 1).unwrap();
        store.record_stale(GENERATION, &keys(0..6), 0, 1).unwrap();
        let batch = store.take(GENERATION, 2, 1).unwrap().unwrap();
        let outcome = Acknowledgement {
            refused: &[letter(0, "bad")],
            unknown: &keys([1]),
            unknown_due_at: 100,
            ..acknowledgement()
        };
        store.acknowledge(batch.number, &outcome, 2).unwrap();
        store.take(GENERATION, 2, 2).unwrap().unwrap();
        for table in TABLES_OF_A_LOAD.iter().chain(&["stale_keys", "in_flight_batches", "dead_letters"]) {
            assert!(
                !store.texts(&format!("select cast(generation as text) from {table}")).is_empty(),
                "{table}"
            );
        }
    }

    #[test]
    fn the_generation_recorded_last_is_current() {
        let (dir, store) = state();
        assert_eq!(store.current_generation("movies").unwrap(), None);
        store.record_stale("movies-2", &keys([1]), 0, 1).unwrap();
        assert_eq!(store.current_generation("movies").unwrap(), None);
        store.begin_generation(&record(GENERATION), Purpose::First, false, 1).unwrap();
        store.begin_generation(&record("movies-2"), Purpose::First, false, 2).unwrap();
        let changed = GenerationRecord { definition_hash: "def".to_owned(), ..record("movies-2") };
        store.begin_generation(&changed, Purpose::Resync, true, 3).unwrap();
        let (_copy, store) = after_a_kill(dir.path());
        let current = store.current_generation("movies").unwrap().unwrap();
        assert_eq!(current, changed);
    }

    #[test]
    fn another_generation_of_the_alias_takes_the_place_of_the_first() {
        let (dir, store) = state();
        fill(&store);
        store.begin_generation(&record("movies-2"), Purpose::First, false, 9).unwrap();
        assert_eq!(store.dead_letter_count().unwrap(), 0);
        assert_eq!(store.stale_count(GENERATION).unwrap(), 0);
        let (_copy, store) = after_a_kill(dir.path());
        for table in TABLES_OF_A_LOAD.iter().chain(&OTHER_TABLES) {
            let query = format!(
                "select cast(generation as text) from {table} where generation not in (select id from generations)"
            );
            assert!(store.texts(&query).is_empty(), "{table}");
        }
        assert_eq!(store.current_generation("movies").unwrap(), Some(record("movies-2")));
        assert!(!store.full_load("movies-2").unwrap().unwrap().finished);
    }

    #[test]
    fn a_resync_starts_the_load_anew_and_loses_no_key() {
        let (dir, store) = state();
        fill(&store);
        let version = store.next_version(1).unwrap();
        store.begin_generation(&record(GENERATION), Purpose::Resync, true, 9).unwrap();
        let (_copy, store) = after_a_kill(dir.path());
        let load = store.full_load(GENERATION).unwrap().unwrap();
        assert_eq!(
            (load.purpose, load.frontier, load.reached_end, load.extras_pending),
            (Purpose::Resync, None, false, true)
        );
        assert!(store.take_open_range(GENERATION, 9).unwrap().is_none());
        assert!(store.checkpoints(GENERATION, "cursor").unwrap().is_empty());
        assert_eq!(store.feed_state(GENERATION, "cursor").unwrap(), None);
        assert_eq!(store.in_flight_count(GENERATION).unwrap(), InFlightCount::default());
        let mut stale =
            store.texts("select key from stale_keys union all select key from delayed_stale_keys");
        stale.sort();
        assert_eq!(stale, keys(1..6).iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(store.dead_letter_count().unwrap(), 1);
        assert!(store.next_version(1).unwrap() > version);
        assert_ne!(version, Version(0));
        assert!(store.current_generation("movies").unwrap().is_some());
    }
}
