//! The differences that verify has seen, and what becomes of them.
//!
//! A difference is a candidate until it is confirmed. A confirmation and the stale keys that it leads to are one
//! transaction: whatever ends the process, no difference is lost or counted twice.

use std::collections::HashSet;

use rusqlite::{Transaction, params};

use crate::error::Result;
use crate::key::Key;
use crate::store::Store;
use crate::store::failure::{Attempt, Failure};
use crate::store::memory::{signed, unsigned};
use crate::store::stale_keys::{self, Place};
use crate::store::verify::{self, VerifyCaller, VerifyPass, VerifyProgress};

/// In what way a document differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// There is a row and no document.
    Missing,
    /// The document is not what the row makes.
    Different,
    /// There is a document and no row.
    Extra,
}

/// A document that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The root key.
    pub key: Key,
    /// In what way.
    pub kind: DifferenceKind,
    /// The fields that differ, if it is different.
    pub fields: Vec<String>,
    /// What was seen of both sides, to tell whether it is still the same difference.
    pub seen: String,
}

/// What becomes of candidates.
#[derive(Clone, Copy, Debug)]
pub struct SettledCandidates<'a> {
    /// The pass as it is then.
    pub progress: &'a VerifyProgress,
    /// To be forgotten.
    pub dropped: &'a [Key],
    /// Confirmed, and kept.
    pub kept: &'a [Difference],
    /// Recorded as stale.
    pub stale: &'a [Key],
}

impl DifferenceKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Different => "different",
            Self::Extra => "extra",
        }
    }

    fn of_name(name: &str) -> Attempt<Self> {
        match name {
            "missing" => Ok(Self::Missing),
            "different" => Ok(Self::Different),
            "extra" => Ok(Self::Extra),
            _ => Err(Failure::Damaged("a difference of no known kind")),
        }
    }
}

impl Store {
    /// Up to `limit` differences of a pass, confirmed ones or candidates, after the key `after`.
    pub fn differences(
        &self,
        generation: &str,
        caller: VerifyCaller,
        pass: VerifyPass,
        is_confirmed: bool,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Difference>> {
        self.read("read the differences", |connection| {
            let mut select = connection.prepare_cached(
                "select d.key, d.kind, d.fields, d.seen
                   from verify_differences d
                   join generations g on g.id = d.generation
                  where g.name = ?1 and d.caller = ?2 and d.pass = ?3 and d.is_confirmed = ?4
                    and (?5 is null or d.key > ?5)
                  order by d.key
                  limit ?6",
            )?;
            let mut rows = select.query(params![
                generation,
                caller.name(),
                pass.name(),
                is_confirmed,
                after.map(Key::as_str),
                signed(limit as u64)
            ])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let fields: String = row.get(2)?;
                found.push(Difference {
                    key: Key::from_encoded(row.get::<_, String>(0)?),
                    kind: DifferenceKind::of_name(row.get_ref(1)?.as_str()?)?,
                    fields: serde_json::from_str(&fields).unwrap_or_default(),
                    seen: row.get(3)?,
                });
            }
            Ok(found)
        })
    }

    /// How many differences of a pass are kept, confirmed ones or candidates.
    pub fn difference_count(
        &self,
        generation: &str,
        caller: VerifyCaller,
        pass: VerifyPass,
        is_confirmed: bool,
    ) -> Result<u64> {
        self.read("count the differences", |connection| {
            let mut select = connection.prepare_cached(
                "select count(*)
                   from verify_differences d
                   join generations g on g.id = d.generation
                  where g.name = ?1 and d.caller = ?2 and d.pass = ?3 and d.is_confirmed = ?4",
            )?;
            let count = select
                .query_row(params![generation, caller.name(), pass.name(), is_confirmed], |row| row.get(0))?;
            Ok(unsigned(count))
        })
    }

    /// Takes candidates away and keeps, records as stale, or only counts (in `progress`) those that were confirmed.
    pub fn settle_candidates(
        &self,
        generation: &str,
        caller: VerifyCaller,
        pass: VerifyPass,
        settled: &SettledCandidates<'_>,
        now: i64,
    ) -> Result<()> {
        self.write("settle differences", |transaction, memory| {
            let known = memory.generation(transaction, generation)?;
            verify::save(transaction, known.id, caller, pass, settled.progress)?;
            let mut delete = transaction.prepare_cached(
                "delete from verify_differences
                  where generation = ?1 and caller = ?2 and pass = ?3 and key = ?4",
            )?;
            for key in settled.dropped {
                delete.execute(params![known.id, caller.name(), pass.name(), key.as_str()])?;
            }
            for difference in settled.kept {
                keep(transaction, known.id, caller, pass, difference, true)?;
            }
            stale_keys::insert(transaction, known, settled.stale, 0, Place::Back, now)
        })
    }

    /// Records the keys of a pass's confirmed differences as stale, all in one transaction; they are kept if
    /// `are_kept`. Returns how many there were.
    pub fn record_confirmed(
        &self,
        generation: &str,
        caller: VerifyCaller,
        pass: VerifyPass,
        are_kept: bool,
        progress: &VerifyProgress,
        now: i64,
    ) -> Result<u64> {
        self.write("record differences as stale keys", |transaction, memory| {
            let known = memory.generation(transaction, generation)?;
            let names = params![known.id, caller.name(), pass.name()];
            let mut select = transaction.prepare_cached(
                "select key
                   from verify_differences
                  where generation = ?1 and caller = ?2 and pass = ?3 and is_confirmed = 1",
            )?;
            let keys: Vec<Key> = select
                .query_map(names, |row| Ok(Key::from_encoded(row.get::<_, String>(0)?)))?
                .collect::<std::result::Result<_, _>>()?;
            stale_keys::insert(transaction, known, &keys, 0, Place::Back, now)?;
            let count = keys.len() as u64;
            let progress = VerifyProgress { recorded: progress.recorded + count, ..progress.clone() };
            verify::save(transaction, known.id, caller, pass, &progress)?;
            if !are_kept {
                forget(transaction, known.id, caller, Some(pass))?;
            }
            Ok(count)
        })
    }

    /// Forgets the differences of a pass.
    pub fn forget_differences(&self, generation: &str, caller: VerifyCaller, pass: VerifyPass) -> Result<()> {
        self.write("forget differences", |transaction, memory| {
            let id = memory.generation(transaction, generation)?.id;
            forget(transaction, id, caller, Some(pass))
        })
    }

    /// Which of the keys are stale now or in flight.
    ///
    /// A key that is due later besides has been dealt with as far as anyone knows: what is wrong with its document is
    /// wrong until then.
    pub fn pending_among(&self, generation: &str, keys: &[Key]) -> Result<HashSet<Key>> {
        self.write("look for pending keys", |transaction, memory| {
            let known = memory.generation(transaction, generation)?;
            let mut pending = HashSet::new();
            for key in keys {
                // Another key of the same hash is passed over, which costs one more look at this one.
                if known.may_be_pending(key) {
                    pending.insert(key.clone());
                }
            }
            Ok(pending)
        })
    }

    /// Which of the keys are stale now or in flight: what the pipeline has still to do with them.
    pub fn unfinished_among(&self, generation: &str, keys: &[Key]) -> Result<usize> {
        self.write("look for unfinished keys", |transaction, memory| {
            let known = memory.generation(transaction, generation)?;
            Ok(keys.iter().filter(|key| known.may_be_pending(key)).count())
        })
    }

    /// Which of the keys have a dead letter.
    pub fn refused_among(&self, generation: &str, keys: &[Key]) -> Result<HashSet<Key>> {
        self.read("look for dead letters", |connection| {
            let mut select = connection.prepare_cached(
                "select 1
                   from dead_letters l
                   join generations g on g.id = l.generation
                  where g.name = ?1 and l.key = ?2",
            )?;
            let mut refused = HashSet::new();
            for key in keys {
                if select.exists(params![generation, key.as_str()])? {
                    refused.insert(key.clone());
                }
            }
            Ok(refused)
        })
    }
}

pub(super) fn keep(
    transaction: &Transaction<'_>,
    generation: i64,
    caller: VerifyCaller,
    pass: VerifyPass,
    difference: &Difference,
    is_confirmed: bool,
) -> Attempt<()> {
    let fields = serde_json::Value::from(difference.fields.clone()).to_string();
    let mut upsert = transaction.prepare_cached(
        "insert into verify_differences (generation, caller, pass, key, kind, fields, seen, is_confirmed)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         on conflict (generation, caller, pass, key) do update
            set kind = excluded.kind,
                fields = excluded.fields,
                seen = excluded.seen,
                is_confirmed = excluded.is_confirmed",
    )?;
    upsert.execute(params![
        generation,
        caller.name(),
        pass.name(),
        difference.key.as_str(),
        difference.kind.name(),
        fields,
        difference.seen,
        is_confirmed
    ])?;
    Ok(())
}

pub(super) fn forget(
    transaction: &Transaction<'_>,
    generation: i64,
    caller: VerifyCaller,
    pass: Option<VerifyPass>,
) -> Attempt<()> {
    let mut delete = transaction.prepare_cached(
        "delete from verify_differences
          where generation = ?1 and caller = ?2 and (?3 is null or pass = ?3)",
    )?;
    delete.execute(params![generation, caller.name(), pass.map(VerifyPass::name)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{GENERATION, difference, keys, keys_of, letter, state};

    const ME: VerifyCaller = VerifyCaller::Command;
    const PASS: VerifyPass = VerifyPass::Extras;

    #[test]
    fn confirmed_differences_become_stale_keys_all_at_once() {
        let (_dir, store) = state();
        let mut progress = VerifyProgress::default();
        store.save_verify(GENERATION, ME, PASS, &progress, &[1, 2, 3].map(difference)).unwrap();
        progress.extra = 2;
        let settled = SettledCandidates {
            progress: &progress,
            dropped: &keys([3]),
            kept: &[difference(1), difference(2)],
            stale: &[],
        };
        store.settle_candidates(GENERATION, ME, PASS, &settled, 1).unwrap();
        assert_eq!(store.differences(GENERATION, ME, PASS, false, None, 10).unwrap(), []);
        assert_eq!(store.stale_count(GENERATION).unwrap(), 0);
        assert_eq!(store.record_confirmed(GENERATION, ME, PASS, true, &progress, 1).unwrap(), 2);
        assert_eq!(store.verify_progress(GENERATION, ME, PASS).unwrap().recorded, 2);
        assert_eq!(store.differences(GENERATION, ME, PASS, true, None, 10).unwrap().len(), 2);
        assert_eq!(keys_of(&store.take(GENERATION, 10, 1).unwrap().unwrap()), keys([1, 2]));
    }

    #[test]
    fn a_key_is_pending_while_it_is_stale_or_in_flight_but_not_when_due_later() {
        let (dir, store) = state();
        store.record_stale(GENERATION, &keys([1]), 0, 1).unwrap();
        store.take(GENERATION, 10, 1).unwrap().unwrap();
        store.record_stale(GENERATION, &keys([2]), 0, 1).unwrap();
        store.record_stale(GENERATION, &keys([3]), 99, 1).unwrap();
        let other = Store::open(dir.path()).unwrap();
        for store in [&store, &other] {
            let pending = store.pending_among(GENERATION, &keys(1..5)).unwrap();
            assert_eq!(pending, keys(1..3).into_iter().collect());
            assert_eq!(store.unfinished_among(GENERATION, &keys(1..5)).unwrap(), 2);
        }
        let outcome = crate::store::Acknowledgement {
            refused: &[letter(1, "bad")],
            ..crate::store::testing::acknowledgement()
        };
        store.acknowledge(crate::batch::BatchNumber(1), &outcome, 2).unwrap();
        assert_eq!(other.refused_among(GENERATION, &keys(1..5)).unwrap(), keys([1]).into_iter().collect());
        assert_eq!(other.pending_among(GENERATION, &keys([1])).unwrap(), HashSet::new());
    }
}
