//! How far each change feed is, per watched table, and what a feed keeps beside that.

use rusqlite::OptionalExtension;
use rusqlite::{Transaction, params};

use crate::error::{Error, Result};
use crate::key::Key;
use crate::store::Store;
use crate::store::failure::Attempt;
use crate::store::stale_keys::{self, Place};

/// How far a feed is in one watched table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The watched table.
    pub table: String,
    /// Every change up to here is recorded; the server's own text.
    pub last_modified: String,
    /// Where an unfinished poll goes on, in the feed's own words.
    pub position: Option<String>,
}

impl Store {
    /// The checkpoints of a feed, by table.
    pub fn checkpoints(&self, generation: &str, feed: &str) -> Result<Vec<Checkpoint>> {
        self.read("read the checkpoints", |connection| {
            let mut select = connection.prepare_cached(
                "select table_name, last_modified, position
                   from checkpoints
                  where generation = (select id from generations where name = ?1) and feed = ?2
                  order by table_name",
            )?;
            let checkpoints = select.query_map(params![generation, feed], |row| {
                Ok(Checkpoint { table: row.get(0)?, last_modified: row.get(1)?, position: row.get(2)? })
            })?;
            Ok(checkpoints.collect::<Result<_, _>>()?)
        })
    }

    /// What the feed keeps beside its checkpoints.
    pub fn feed_state(&self, generation: &str, feed: &str) -> Result<Option<String>> {
        self.read("read the feed's state", |connection| {
            let mut select = connection.prepare_cached(
                "select state
                   from feed_states
                  where generation = (select id from generations where name = ?1) and feed = ?2",
            )?;
            Ok(select.query_row(params![generation, feed], |row| row.get(0)).optional()?)
        })
    }

    /// Sets the first checkpoints (table and time) of a feed; outlives a power cut.
    ///
    /// A checkpoint that is there already stays: moved forward without a poll it would lose changes.
    pub fn stamp_checkpoints(
        &self,
        generation: &str,
        feed: &str,
        checkpoints: &[(String, String)],
        state: &str,
    ) -> Result<()> {
        self.write_durably("set the first checkpoints", |transaction, memory| {
            let id = memory.generation(transaction, generation)?.id;
            let mut insert = transaction.prepare_cached(
                "insert into checkpoints (generation, feed, table_name, last_modified)
                 values (?1, ?2, ?3, ?4)
                 on conflict (generation, feed, table_name) do nothing",
            )?;
            for (table, last_modified) in checkpoints {
                insert.execute(params![id, feed, table, last_modified])?;
            }
            keep_state(transaction, id, feed, state, None)
        })
    }

    /// Records a page of a poll: its stale keys and the position behind it, in one transaction.
    pub fn record_page(
        &self,
        generation: &str,
        feed: &str,
        table: &str,
        position: Option<&str>,
        keys: &[Key],
        now: i64,
    ) -> Result<()> {
        self.write("record a page of a poll", |transaction, memory| {
            let known = memory.generation(transaction, generation)?;
            let mut update = transaction.prepare_cached(
                "update checkpoints
                    set position = ?4
                  where generation = ?1 and feed = ?2 and table_name = ?3",
            )?;
            if update.execute(params![known.id, feed, table, position])? == 0 {
                return Err(no_checkpoint(table).into());
            }
            stale_keys::insert(transaction, known, keys, 0, Place::Back, now)
        })
    }

    /// Records that a poll is complete: every checkpoint (table and time) moves and positions are cleared, in one
    /// transaction.
    pub fn finish_poll(
        &self,
        generation: &str,
        feed: &str,
        checkpoints: &[(String, String)],
        state: &str,
        now: i64,
    ) -> Result<()> {
        self.write("record a complete poll", |transaction, memory| {
            let id = memory.generation(transaction, generation)?.id;
            let mut update = transaction.prepare_cached(
                "update checkpoints
                    set last_modified = ?4,
                        position = null
                  where generation = ?1 and feed = ?2 and table_name = ?3",
            )?;
            for (table, last_modified) in checkpoints {
                if update.execute(params![id, feed, table, last_modified])? == 0 {
                    return Err(no_checkpoint(table).into());
                }
            }
            keep_state(transaction, id, feed, state, Some(now))
        })
    }
}

fn keep_state(
    transaction: &Transaction<'_>,
    generation: i64,
    feed: &str,
    state: &str,
    polled_at: Option<i64>,
) -> Attempt<()> {
    let mut upsert = transaction.prepare_cached(
        "insert into feed_states (generation, feed, state, polled_at)
         values (?1, ?2, ?3, ?4)
         on conflict (generation, feed) do update
            set state = excluded.state,
                polled_at = coalesce(excluded.polled_at, polled_at)",
    )?;
    upsert.execute(params![generation, feed, state, polled_at])?;
    Ok(())
}

fn no_checkpoint(table: &str) -> Error {
    Error::wrong(format!("the state has no checkpoint of {table}")).hint("run `pgsluice resync`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{GENERATION, after_a_kill, keys, state};

    const FEED: &str = "cursor";

    fn pairs(time: &str) -> Vec<(String, String)> {
        ["content.film_work", "content.genre"]
            .into_iter()
            .map(|table| (table.to_owned(), time.to_owned()))
            .collect()
    }

    fn times(store: &Store) -> Vec<(String, Option<String>)> {
        let checkpoints = store.checkpoints(GENERATION, FEED).unwrap();
        checkpoints.into_iter().map(|checkpoint| (checkpoint.last_modified, checkpoint.position)).collect()
    }

    #[test]
    fn a_first_stamp_never_moves_a_checkpoint() {
        let (_dir, store) = state();
        store.stamp_checkpoints(GENERATION, FEED, &pairs("1")[..1], "a").unwrap();
        store.stamp_checkpoints(GENERATION, FEED, &pairs("2"), "b").unwrap();
        assert_eq!(times(&store), [("1".to_owned(), None), ("2".to_owned(), None)]);
        assert_eq!(store.feed_state(GENERATION, FEED).unwrap().as_deref(), Some("b"));
        assert!(store.checkpoints(GENERATION, "other").unwrap().is_empty());
        assert_eq!(store.feed_state("other", FEED).unwrap(), None);
    }

    #[test]
    fn a_page_its_position_and_its_keys_are_there_together() {
        let (dir, store) = state();
        store.stamp_checkpoints(GENERATION, FEED, &pairs("1"), "a").unwrap();
        store.record_page(GENERATION, FEED, "content.genre", Some("p"), &keys(0..3), 1).unwrap();
        let (_copy, restarted) = after_a_kill(dir.path());
        assert_eq!(times(&restarted)[1], ("1".to_owned(), Some("p".to_owned())));
        assert_eq!(restarted.stale_count(GENERATION).unwrap(), 3);
        restarted.finish_poll(GENERATION, FEED, &pairs("2"), "b", 2).unwrap();
        assert_eq!(times(&restarted), [("2".to_owned(), None), ("2".to_owned(), None)]);
    }

    #[test]
    fn a_poll_of_an_unknown_table_changes_nothing() {
        let (_dir, store) = state();
        store.stamp_checkpoints(GENERATION, FEED, &pairs("1"), "a").unwrap();
        assert!(store.record_page(GENERATION, FEED, "content.person", None, &keys(0..3), 1).is_err());
        assert_eq!(store.stale_count(GENERATION).unwrap(), 0);
        let mut three = pairs("2");
        three.push(("content.person".to_owned(), "2".to_owned()));
        assert!(store.finish_poll(GENERATION, FEED, &three, "b", 2).is_err());
        assert_eq!(times(&store)[0].0, "1");
        assert_eq!(store.feed_state(GENERATION, FEED).unwrap().as_deref(), Some("a"));
    }
}
