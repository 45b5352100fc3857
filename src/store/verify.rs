//! How far the passes of verify are.
//!
//! The place of a pass and the candidates seen up to it are one transaction: whatever ends the process, the pass goes on
//! without having lost a difference or counted one twice.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::store::Store;
use crate::store::differences::{self, Difference};
use crate::store::failure::Attempt;

/// Who verifies: each has a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyCaller {
    /// `run` and `once`, by themselves.
    Schedule,
    /// `pgsluice verify`.
    Command,
}

/// Which of the two passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyPass {
    /// From the database's rows to the index: missing and different documents.
    Documents,
    /// From the index's ids to the database: extra documents.
    Extras,
}

/// How far a pass is; its counts are those of the pass under way, or else of the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VerifyProgress {
    /// Where it goes on; none at its start.
    pub position: Option<String>,
    /// Whether it is under way.
    pub is_under_way: bool,
    /// Whether everything was looked at, and only candidates are left to be decided on.
    pub is_read: bool,
    /// When it began.
    pub started_at: i64,
    /// When it was saved last.
    pub saved_at: i64,
    /// When the last complete one ended.
    pub finished_at: Option<i64>,
    /// How long was worked on it, in microseconds.
    pub duration: i64,
    /// Whether it is made at once, since something happened.
    pub is_hurried: bool,
    /// How many such passes went before it without a long pause.
    pub hurried_before: u32,
    /// Whether differences are recorded as stale keys.
    pub repairs: bool,
    /// Whether extra documents are only counted, since there are too many of them.
    pub is_only_counted: bool,
    /// About how many documents it has to look at.
    pub expected: u64,
    /// How many it has looked at.
    pub looked_at: u64,
    /// Documents that were missing.
    pub missing: u64,
    /// Documents that were different.
    pub different: u64,
    /// Documents without a row.
    pub extra: u64,
    /// Documents that the index has refused: they have a dead letter and are no differences.
    pub refused: u64,
    /// Differences that were recorded as stale keys.
    pub recorded: u64,
    /// How many documents seemed extra when deletions were paused; none if they were not.
    pub paused_extra: Option<u64>,
    /// What ended the last attempt.
    pub error: Option<String>,
}

impl VerifyCaller {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Command => "command",
        }
    }
}

impl VerifyPass {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::Extras => "extras",
        }
    }
}

impl Store {
    /// How far a pass is; as if it had never begun, if it has not.
    pub fn verify_progress(
        &self,
        generation: &str,
        caller: VerifyCaller,
        pass: VerifyPass,
    ) -> Result<VerifyProgress> {
        self.read("read how far verify is", |connection| progress(connection, generation, caller, pass))
    }

    /// Keeps how far a pass is, with the candidates seen up to there.
    pub fn save_verify(
        &self,
        generation: &str,
        caller: VerifyCaller,
        pass: VerifyPass,
        progress: &VerifyProgress,
        candidates: &[Difference],
    ) -> Result<()> {
        self.write("keep how far verify is", |transaction, memory| {
            let id = memory.generation(transaction, generation)?.id;
            save(transaction, id, caller, pass, progress)?;
            for candidate in candidates {
                differences::keep(transaction, id, caller, pass, candidate, false)?;
            }
            Ok(())
        })
    }

    /// When each feed's last complete poll was recorded.
    pub fn last_polls(&self, generation: &str) -> Result<Vec<(String, Option<i64>)>> {
        self.read("read when was polled", |connection| {
            let mut select = connection.prepare_cached(
                "select s.feed, s.polled_at
                   from feed_states s
                   join generations g on g.id = s.generation
                  where g.name = ?1
                  order by s.feed",
            )?;
            Ok(select
                .query_map([generation], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<std::result::Result<_, _>>()?)
        })
    }
}

/// Forgets all that verify knows of a generation: its documents are about to be written anew.
pub(super) fn begin_anew(transaction: &Transaction<'_>, generation: i64) -> Attempt<()> {
    for caller in [VerifyCaller::Schedule, VerifyCaller::Command] {
        differences::forget(transaction, generation, caller, None)?;
    }
    transaction.prepare_cached("delete from verify_progress where generation = ?1")?.execute([generation])?;
    Ok(())
}

pub(super) fn progress(
    connection: &Connection,
    generation: &str,
    caller: VerifyCaller,
    pass: VerifyPass,
) -> Attempt<VerifyProgress> {
    let mut select = connection.prepare_cached(
        "select p.state
           from verify_progress p
           join generations g on g.id = p.generation
          where g.name = ?1 and p.caller = ?2 and p.pass = ?3",
    )?;
    let kept: Option<String> =
        select.query_row([generation, caller.name(), pass.name()], |row| row.get(0)).optional()?;
    // What cannot be read is a pass that begins anew.
    Ok(kept.and_then(|kept| serde_json::from_str(&kept).ok()).unwrap_or_default())
}

pub(super) fn save(
    transaction: &Transaction<'_>,
    generation: i64,
    caller: VerifyCaller,
    pass: VerifyPass,
    progress: &VerifyProgress,
) -> Attempt<()> {
    let state = serde_json::to_string(progress)
        .map_err(|error| crate::error::Error::wrong("cannot encode how far verify is").because(error))?;
    let mut upsert = transaction.prepare_cached(
        "insert into verify_progress (generation, caller, pass, state)
         values (?1, ?2, ?3, ?4)
         on conflict (generation, caller, pass) do update set state = excluded.state",
    )?;
    upsert.execute(params![generation, caller.name(), pass.name(), state])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{GENERATION, after_a_kill, difference, key, state};
    use crate::store::{GenerationRecord, Purpose};

    const ME: VerifyCaller = VerifyCaller::Command;
    const PASS: VerifyPass = VerifyPass::Extras;

    #[test]
    fn a_place_and_the_candidates_up_to_it_outlive_the_process() {
        let (dir, store) = state();
        assert_eq!(store.verify_progress(GENERATION, ME, PASS).unwrap(), VerifyProgress::default());
        let progress = VerifyProgress { position: Some("p".to_owned()), looked_at: 7, ..Default::default() };
        store.save_verify(GENERATION, ME, PASS, &progress, &[difference(1), difference(2)]).unwrap();
        let (_copy, store) = after_a_kill(dir.path());
        assert_eq!(store.verify_progress(GENERATION, ME, PASS).unwrap(), progress);
        let found = store.differences(GENERATION, ME, PASS, false, None, 10).unwrap();
        assert_eq!(found, [difference(1), difference(2)]);
        assert_eq!(
            store.differences(GENERATION, ME, PASS, false, Some(&key(1)), 10).unwrap(),
            [difference(2)]
        );
        assert_eq!(store.differences(GENERATION, VerifyCaller::Schedule, PASS, false, None, 10).unwrap(), []);
    }

    #[test]
    fn a_load_begins_verify_anew() {
        let (_dir, store) = state();
        let progress = VerifyProgress { looked_at: 7, ..Default::default() };
        store.save_verify(GENERATION, ME, PASS, &progress, &[difference(1)]).unwrap();
        let record = GenerationRecord {
            name: GENERATION.to_owned(),
            index_alias: "movies".to_owned(),
            write_alias: "w".to_owned(),
            definition_hash: "h".to_owned(),
        };
        store.begin_generation(&record, Purpose::Resync, true, 1).unwrap();
        assert_eq!(store.verify_progress(GENERATION, ME, PASS).unwrap(), VerifyProgress::default());
        assert_eq!(store.differences(GENERATION, ME, PASS, false, None, 10).unwrap(), []);
    }
}
