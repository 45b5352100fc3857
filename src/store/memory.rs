//! What a process remembers of the file, so that counting and looking for keys in flight costs no reading.
//!
//! It equals the file at every commit: it changes inside a transaction, is thrown away when that fails, and is built
//! anew when another process has written (`pragma data_version` tells). Building takes 0.3 s for a million stale keys,
//! which only a `verify --repair` or `dead-letters retry` beside a pipeline with such a backlog causes.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction};

use crate::batch::BatchNumber;
use crate::key::Key;
use crate::key_hash::KeyHasher;
use crate::store::failure::{Attempt, Failure};
use crate::store::in_flight_keys::InFlightKeys;
use crate::store::key_buffer;
use crate::store::stale_index::StaleIndex;

#[derive(Debug)]
pub(super) struct Memory {
    data_version: i64,
    ids: HashMap<String, i64>,
    generations: HashMap<i64, GenerationMemory>,
    pub(super) batches: HashMap<BatchNumber, InFlight>,
    /// The number of the batch taken last; never given again.
    pub(super) last_batch: BatchNumber,
    pub(super) dead_letter_count: u64,
    /// Dead letters that still have their document.
    pub(super) kept_document_count: u64,
}

/// What is remembered of a generation.
#[derive(Debug, Default)]
pub(super) struct GenerationMemory {
    pub(super) id: i64,
    pub(super) stale_count: u64,
    /// Not after the number of any stale key.
    pub(super) first_number: i64,
    /// After the number of every stale key.
    pub(super) next_number: i64,
    pub(super) hasher: KeyHasher,
    pub(super) stale_index: StaleIndex,
    pub(super) delayed_count: u64,
    pub(super) earliest_due_at: Option<i64>,
    pub(super) in_flight: InFlightKeys,
}

/// What is remembered of an in-flight batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) generation: i64,
    /// None for a range.
    pub(super) key_count: Option<u64>,
}

impl Memory {
    /// Returns `kept` if it still equals the file, else what the file holds; inside a transaction.
    pub(super) fn brought_up_to_date(kept: Option<Self>, connection: &Connection) -> Attempt<Self> {
        let data_version = data_version(connection)?;
        match kept {
            Some(kept) if kept.data_version == data_version => Ok(kept),
            _ => Self::load(connection),
        }
    }

    /// Builds it from the file.
    pub(super) fn load(connection: &Connection) -> Attempt<Self> {
        let mut memory = Self {
            data_version: data_version(connection)?,
            ids: HashMap::new(),
            generations: HashMap::new(),
            batches: HashMap::new(),
            last_batch: last_batch(connection)?,
            dead_letter_count: 0,
            kept_document_count: 0,
        };
        let mut names = connection.prepare_cached("select id, name from generations")?;
        let mut rows = names.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            memory.ids.insert(row.get(1)?, id);
            memory.generations.insert(id, GenerationMemory::load(connection, id)?);
        }
        let mut batches =
            connection.prepare_cached("select number, generation, kind, keys from in_flight_batches")?;
        let mut rows = batches.query([])?;
        while let Some(row) = rows.next()? {
            let number = BatchNumber(unsigned(row.get(0)?));
            let generation: i64 = row.get(1)?;
            let remembered = memory
                .generations
                .get_mut(&generation)
                .ok_or(Failure::Damaged("a batch of no generation"))?;
            let mut key_count = None;
            if row.get_ref(2)?.as_str()? == "keys" {
                let keys = key_buffer::decode(row.get_ref(3)?.as_blob()?)?;
                key_count = Some(keys.len() as u64);
                let mut boarding = remembered.in_flight.board(number);
                for key in &keys {
                    boarding.add(remembered.hasher.of(key), key.as_str());
                }
                boarding.close();
            }
            memory.batches.insert(number, InFlight { generation, key_count });
        }
        let (letters, documents) =
            connection.query_row("select count(*), count(document) from dead_letters", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        memory.dead_letter_count = unsigned(letters);
        memory.kept_document_count = unsigned(documents);
        Ok(memory)
    }

    /// The generation of that name, which becomes known by being named.
    pub(super) fn generation(
        &mut self,
        transaction: &Transaction<'_>,
        name: &str,
    ) -> Attempt<&mut GenerationMemory> {
        let id = match self.ids.get(name) {
            Some(id) => *id,
            None => {
                transaction.prepare_cached("insert into generations (name) values (?1)")?.execute([name])?;
                let id = transaction.last_insert_rowid();
                self.ids.insert(name.to_owned(), id);
                id
            }
        };
        Ok(self
            .generations
            .entry(id)
            .or_insert_with(|| GenerationMemory { id, ..GenerationMemory::default() }))
    }

    /// The generation of that name, if it is known.
    pub(super) fn known(&self, name: &str) -> Option<&GenerationMemory> {
        self.generations.get(self.ids.get(name)?)
    }

    /// The number of the next batch.
    pub(super) fn next_batch(&self) -> BatchNumber {
        BatchNumber(self.last_batch.0 + 1)
    }

    /// The generation of that number.
    pub(super) fn generation_of_id(&mut self, id: i64) -> Attempt<&mut GenerationMemory> {
        self.generations.get_mut(&id).ok_or(Failure::Damaged("a row of no generation"))
    }
}

impl GenerationMemory {
    fn load(connection: &Connection, id: i64) -> Attempt<Self> {
        let mut generation = Self { id, ..Self::default() };
        let mut stale = connection.prepare_cached(
            "select number, key
               from stale_keys
              where generation = ?1
              order by number",
        )?;
        let mut rows = stale.query([id])?;
        while let Some(row) = rows.next()? {
            let number = row.get(0)?;
            if generation.stale_count == 0 {
                generation.first_number = number;
            }
            generation.next_number = number + 1;
            generation.stale_count += 1;
            let hash = generation.hasher.of_text(row.get_ref(1)?.as_str()?);
            generation.stale_index.insert(hash, number);
        }
        let mut delayed = connection
            .prepare_cached("select count(*), min(due_at) from delayed_stale_keys where generation = ?1")?;
        let (count, earliest): (i64, Option<i64>) =
            delayed.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        generation.delayed_count = unsigned(count);
        generation.earliest_due_at = earliest;
        Ok(generation)
    }

    /// Whether a key is stale now or in flight; also said of a few keys that share their hash with one that is stale.
    pub(super) fn may_be_pending(&self, key: &Key) -> bool {
        let hash = self.hasher.of(key);
        self.stale_index.candidates(hash).next().is_some() || self.in_flight.contains(hash, key)
    }

    /// Whether there is a stale key that may be taken at `now`.
    pub(super) fn has_due(&self, now: i64) -> bool {
        self.stale_count > 0 || self.earliest_due_at.is_some_and(|due_at| due_at <= now)
    }
}

fn last_batch(connection: &Connection) -> Attempt<BatchNumber> {
    let mut select = connection.prepare_cached(
        "select coalesce(max(seq), 0) from sqlite_sequence where name = 'in_flight_batches'",
    )?;
    Ok(BatchNumber(unsigned(select.query_row([], |row| row.get(0))?)))
}

fn data_version(connection: &Connection) -> Attempt<i64> {
    Ok(connection.prepare_cached("pragma data_version")?.query_row([], |row| row.get(0))?)
}

/// A count or number as SQLite keeps it.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A count or number that SQLite kept; ours are never negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
