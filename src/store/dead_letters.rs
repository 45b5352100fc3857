//! Dead letters: documents that were refused for good, kept with the reason until they are applied or dropped.
//!
//! There is one for a key at most. Their documents are kept for the newest only; the keys and reasons are never
//! dropped by themselves, since a refused document that nobody knows of would be lost.

use std::collections::HashSet;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::error::Result;
use crate::key::Key;
use crate::store::Store;
use crate::store::failure::Attempt;
use crate::store::memory::{Memory, signed, unsigned};
use crate::store::stale_keys::{self, Place};

/// How many dead letters one transaction retries or drops, so that a running pipeline never waits long for the file.
const PAGE: u32 = 1_000;

pub(super) const COLUMNS: &str = "
select l.id, g.name, l.key, l.error_type, l.reason, length(cast(l.document as blob)), l.attempts, l.first_at, l.last_at
  from dead_letters l
  join generations g on g.id = l.generation";

/// A document that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The root key.
    pub key: Key,
    /// The kind of error, in Elasticsearch's words.
    pub error_type: String,
    /// What was wrong with it.
    pub reason: String,
    /// The document as it was sent, unless it was refused before it was built.
    pub document: Option<String>,
}

/// A dead letter as it is kept, without its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptDeadLetter {
    /// Its number, by which it is shown, retried and dropped.
    pub id: i64,
    /// The generation whose index refused it.
    pub generation: String,
    /// The root key.
    pub key: Key,
    /// The kind of error.
    pub error_type: String,
    /// What was wrong with it.
    pub reason: String,
    /// The size of the document in bytes, if it is kept.
    pub document_bytes: Option<u64>,
    /// How often it was refused.
    pub attempt_count: u32,
    /// When it was refused first.
    pub first_at: i64,
    /// When it was refused last.
    pub last_at: i64,
}

/// Where a listing goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterPosition {
    last_at: i64,
    id: i64,
}

impl KeptDeadLetter {
    /// Where a listing goes on behind this letter.
    pub fn position(&self) -> DeadLetterPosition {
        DeadLetterPosition { last_at: self.last_at, id: self.id }
    }

    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            generation: row.get(1)?,
            key: Key::from_encoded(row.get::<_, String>(2)?),
            error_type: row.get(3)?,
            reason: row.get(4)?,
            document_bytes: row.get::<_, Option<i64>>(5)?.map(unsigned),
            attempt_count: row.get(6)?,
            first_at: row.get(7)?,
            last_at: row.get(8)?,
        })
    }
}

impl Store {
    /// How many dead letters there are, of all generations; costs no reading.
    pub fn dead_letter_count(&self) -> Result<u64> {
        self.recall("count the dead letters", |memory| memory.dead_letter_count)
    }

    /// Lists up to `limit` dead letters, the one refused last first, going on behind `after`; those of one index's
    /// current generation, if its alias is given.
    pub fn dead_letters(
        &self,
        index_alias: Option<&str>,
        after: Option<DeadLetterPosition>,
        limit: u32,
    ) -> Result<Vec<KeptDeadLetter>> {
        let after = after.unwrap_or(DeadLetterPosition { last_at: i64::MAX, id: i64::MAX });
        self.read("list the dead letters", |connection| {
            let mut select = connection.prepare_cached(&format!(
                "{COLUMNS}
                  where (l.last_at, l.id) < (?1, ?2)
                    and (?4 is null or (g.index_alias = ?4 and g.is_current = 1))
                  order by l.last_at desc, l.id desc
                  limit ?3"
            ))?;
            let letters = select
                .query_map(params![after.last_at, after.id, limit, index_alias], KeptDeadLetter::from_row)?;
            Ok(letters.collect::<Result<_, _>>()?)
        })
    }

    /// Returns a dead letter and its document, if that is kept.
    pub fn dead_letter(&self, id: i64) -> Result<Option<(KeptDeadLetter, Option<String>)>> {
        self.read("read a dead letter", |connection| {
            let mut select = connection.prepare_cached(&format!("{COLUMNS} where l.id = ?1"))?;
            let Some(letter) = select.query_row([id], KeptDeadLetter::from_row).optional()? else {
                return Ok(None);
            };
            let mut select = connection.prepare_cached("select document from dead_letters where id = ?1")?;
            Ok(Some((letter, select.query_row([id], |row| row.get(0))?)))
        })
    }

    /// Records the key of a dead letter as stale; the letter stays until its document is applied.
    ///
    /// Returns whether there is such a letter.
    pub fn retry_dead_letter(&self, id: i64, now: i64) -> Result<bool> {
        self.write("retry a dead letter", |transaction, memory| {
            let mut select =
                transaction.prepare_cached("select generation, key from dead_letters where id = ?1")?;
            let found = select.query_row([id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)));
            let Some((generation, key)) = found.optional()? else { return Ok(false) };
            let known = memory.generation_of_id(generation)?;
            stale_keys::insert(transaction, known, [&Key::from_encoded(key)], 0, Place::Back, now)?;
            Ok(true)
        })
    }

    /// Records the keys of all dead letters of a generation as stale; returns how many.
    pub fn retry_dead_letters(&self, generation: &str, now: i64) -> Result<u64> {
        let mut retried_count = 0;
        let mut last_id = i64::MIN;
        loop {
            let page = self.write("retry the dead letters", |transaction, memory| {
                let known = memory.generation(transaction, generation)?;
                let mut select = transaction.prepare_cached(
                    "select id, key
                       from dead_letters
                      where generation = ?1 and id > ?2
                      order by id
                      limit ?3",
                )?;
                let page = select.query_map(params![known.id, last_id, PAGE], |row| {
                    Ok((row.get(0)?, Key::from_encoded(row.get::<_, String>(1)?)))
                })?;
                let page: Vec<(i64, Key)> = page.collect::<Result<_, _>>()?;
                stale_keys::insert(transaction, known, page.iter().map(|(_, key)| key), 0, Place::Back, now)?;
                Ok(page)
            })?;
            let Some((last, _)) = page.last() else { return Ok(retried_count) };
            last_id = *last;
            retried_count += page.len() as u64;
        }
    }

    /// Forgets a dead letter; returns whether there was one. The index keeps the document that it has.
    pub fn drop_dead_letter(&self, id: i64) -> Result<bool> {
        self.write("drop a dead letter", |transaction, memory| {
            let mut delete = transaction
                .prepare_cached("delete from dead_letters where id = ?1 returning document is not null")?;
            let dropped: Option<bool> = delete.query_row([id], |row| row.get(0)).optional()?;
            count_removed(memory, dropped);
            Ok(dropped.is_some())
        })
    }

    /// Forgets all dead letters of a generation; returns how many there were.
    pub fn drop_dead_letters(&self, generation: &str) -> Result<u64> {
        let mut dropped_count = 0;
        loop {
            let page = self.write("drop the dead letters", |transaction, memory| {
                let id = memory.generation(transaction, generation)?.id;
                let mut delete = transaction.prepare_cached(
                    "delete from dead_letters
                      where id in (select id from dead_letters where generation = ?1 limit ?2)
                     returning document is not null",
                )?;
                let page: Vec<bool> =
                    delete.query_map(params![id, PAGE], |row| row.get(0))?.collect::<Result<_, _>>()?;
                for had_document in &page {
                    count_removed(memory, Some(*had_document));
                }
                Ok(page.len() as u64)
            })?;
            if page == 0 {
                return Ok(dropped_count);
            }
            dropped_count += page;
        }
    }
}

/// Removes the dead letters of documents that were applied; costs nothing while there are none.
pub(super) fn clear(
    transaction: &Transaction<'_>,
    memory: &mut Memory,
    generation: i64,
    applied: &[Key],
) -> Attempt<()> {
    if memory.dead_letter_count == 0 {
        return Ok(());
    }
    // A few letters are read and looked up; only where there are more of them than documents is each asked for
    // (a hundred times dearer for a batch of 1,000 and one letter).
    let mut few: Option<HashSet<Key>> = None;
    if memory.dead_letter_count <= applied.len() as u64 {
        let mut select = transaction.prepare_cached("select key from dead_letters where generation = ?1")?;
        let letters =
            select.query_map([generation], |row| Ok(Key::from_encoded(row.get::<_, String>(0)?)))?;
        few = Some(letters.collect::<Result<_, _>>()?);
    }
    let mut delete = transaction.prepare_cached(
        "delete from dead_letters
          where generation = ?1 and key = ?2
         returning document is not null",
    )?;
    for key in applied {
        if few.as_ref().is_some_and(|letters| !letters.contains(key)) {
            continue;
        }
        let cleared = delete.query_row(params![generation, key.as_str()], |row| row.get(0)).optional()?;
        count_removed(memory, cleared);
    }
    Ok(())
}

/// Keeps refused documents, and the documents of the newest `document_max` dead letters; returns how many lost theirs.
pub(super) fn keep(
    transaction: &Transaction<'_>,
    memory: &mut Memory,
    generation: i64,
    refused: &[DeadLetter],
    document_max: usize,
    now: i64,
) -> Attempt<u64> {
    if refused.is_empty() {
        return Ok(0);
    }
    let mut select = transaction
        .prepare_cached("select document is not null from dead_letters where generation = ?1 and key = ?2")?;
    let mut upsert = transaction.prepare_cached(
        "insert into dead_letters (generation, key, error_type, reason, document, attempts, first_at, last_at)
         values (?1, ?2, ?3, ?4, ?5, 1, ?6, ?6)
         on conflict (generation, key) do update
            set error_type = excluded.error_type,
                reason = excluded.reason,
                document = excluded.document,
                attempts = attempts + 1,
                last_at = excluded.last_at",
    )?;
    for letter in refused {
        let key = letter.key.as_str();
        let replaced = select.query_row(params![generation, key], |row| row.get(0)).optional()?;
        count_removed(memory, replaced);
        upsert.execute(params![generation, key, letter.error_type, letter.reason, letter.document, now])?;
        memory.dead_letter_count += 1;
        memory.kept_document_count += u64::from(letter.document.is_some());
    }
    let excess = memory.kept_document_count.saturating_sub(document_max as u64);
    if excess > 0 {
        let mut drop_oldest = transaction.prepare_cached(
            "update dead_letters
                set document = null
              where id in (select id
                             from dead_letters
                            where document is not null
                            order by last_at, id
                            limit ?1)",
        )?;
        drop_oldest.execute([signed(excess)])?;
        memory.kept_document_count -= excess;
    }
    Ok(excess)
}

/// Counts a letter that is gone: `had_document` is none if there was no letter.
fn count_removed(memory: &mut Memory, had_document: Option<bool>) {
    if let Some(had_document) = had_document {
        memory.dead_letter_count -= 1;
        memory.kept_document_count -= u64::from(had_document);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Acknowledgement;
    use crate::store::testing::{GENERATION, acknowledge_all, acknowledgement, keys, keys_of, letter, state};

    fn refuse(store: &Store, letters: &[DeadLetter], document_max: usize, now: i64) {
        let stale: Vec<Key> = letters.iter().map(|letter| letter.key.clone()).collect();
        store.record_stale(GENERATION, &stale, 0, now).unwrap();
        let batch = store.take(GENERATION, stale.len(), now).unwrap().unwrap();
        let outcome =
            Acknowledgement { refused: letters, dead_letter_max: document_max, ..acknowledgement() };
        store.acknowledge(batch.number, &outcome, now).unwrap();
    }

    #[test]
    fn refused_again_it_keeps_its_number_and_first_time() {
        let (dir, store) = state();
        refuse(&store, &[letter(1, "first")], 10, 5);
        let id = store.dead_letters(None, None, 10).unwrap()[0].id;
        refuse(&store, &[letter(1, "second")], 10, 7);
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.dead_letter_count().unwrap(), 1);
        let (kept, document) = store.dead_letter(id).unwrap().unwrap();
        assert_eq!((kept.first_at, kept.last_at, kept.attempt_count), (5, 7, 2));
        assert_eq!((kept.reason.as_str(), document.as_deref()), ("second", Some("{\"id\":1}")));
        assert_eq!(kept.document_bytes, Some(8));
    }

    #[test]
    fn applied_it_is_cleared() {
        let (_dir, store) = state();
        refuse(&store, &[letter(1, "bad"), letter(2, "bad"), letter(3, "bad"), letter(4, "bad")], 10, 5);
        // More documents than letters, and more letters than documents.
        for (applied, left) in
            [(keys(4..9), keys([3, 2, 1])), (keys([2]), keys([3, 1])), (keys(1..9), vec![])]
        {
            store.record_stale(GENERATION, &applied, 0, 6).unwrap();
            acknowledge_all(&store, &store.take(GENERATION, 9, 6).unwrap().unwrap(), 6);
            let letters = store.dead_letters(None, None, 10).unwrap();
            assert_eq!(letters.into_iter().map(|letter| letter.key).collect::<Vec<_>>(), left);
            assert_eq!(store.dead_letter_count().unwrap(), left.len() as u64);
        }
    }

    #[test]
    fn the_oldest_documents_are_dropped_and_no_key_is() {
        let (dir, store) = state();
        for number in 0..6 {
            refuse(&store, &[letter(number, "bad")], 3, i64::from(number));
        }
        // Refused again: now the newest of all.
        refuse(&store, &[letter(0, "bad")], 3, 10);
        let with_document = |store: &Store| -> Vec<Key> {
            let letters = store.dead_letters(None, None, 10).unwrap();
            assert_eq!(letters.len(), 6);
            letters
                .into_iter()
                .filter(|letter| letter.document_bytes.is_some())
                .map(|letter| letter.key)
                .collect()
        };
        assert_eq!(with_document(&store), keys([0, 5, 4]));
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        refuse(&store, &[letter(1, "bad"), letter(2, "bad")], 3, 11);
        assert_eq!(with_document(&store), keys([2, 1, 0]));
    }

    #[test]
    fn the_list_is_paged_from_the_newest() {
        let (_dir, store) = state();
        let letters: Vec<DeadLetter> = (0..7).map(|number| letter(number, "bad")).collect();
        refuse(&store, &letters, 10, 5);
        refuse(&store, &letters[2..3], 10, 6);
        let mut listed = Vec::new();
        let mut after = None;
        loop {
            let page = store.dead_letters(None, after, 3).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.position());
            listed.extend(page.into_iter().map(|letter| letter.key));
        }
        assert_eq!(listed, keys([2, 6, 5, 4, 3, 1, 0]));
    }

    #[test]
    fn letters_are_retried_and_dropped_one_or_all() {
        let (_dir, store) = state();
        let letters: Vec<DeadLetter> = (0..2_500).map(|number| letter(number, "bad")).collect();
        refuse(&store, &letters, 10, 5);
        let newest = store.dead_letters(None, None, 1).unwrap()[0].id;
        assert!(store.retry_dead_letter(newest, 6).unwrap());
        assert!(!store.retry_dead_letter(newest + 1, 6).unwrap());
        assert_eq!(keys_of(&store.take(GENERATION, 9, 6).unwrap().unwrap()), keys([2_499]));
        assert!(store.drop_dead_letter(newest).unwrap());
        assert!(!store.drop_dead_letter(newest).unwrap());
        assert_eq!(store.retry_dead_letters(GENERATION, 7).unwrap(), 2_499);
        assert_eq!(store.stale_count(GENERATION).unwrap(), 2_499);
        assert_eq!(store.dead_letter_count().unwrap(), 2_499);
        assert_eq!(store.drop_dead_letters(GENERATION).unwrap(), 2_499);
        assert_eq!(store.dead_letter_count().unwrap(), 0);
    }
}
