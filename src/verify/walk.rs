//! Goes through the ids of the index and finds those without a row.

use std::collections::HashSet;
use std::thread;

use crate::elastic::{Client, IdPosition, next_ids};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::postgres::{Source, is_hashed_id};

/// Ids looked up at a time: half of what a search returns at most by default (`index.max_result_window`).
const PAGE: usize = 5_000;

/// Hashed ids that are looked up at once: each look reads the whole table, and this many have 5 MB.
const HASHED_MAX: usize = 50_000;

/// A walk through the ids of one index.
#[derive(Debug)]
pub struct IdWalk {
    /// Up to where every id was looked up.
    settled: IdPosition,
    /// The next ids, and where they end; read while those before them were looked up.
    ahead: Option<(Vec<String>, IdPosition)>,
    /// Where the ids that were looked up last end.
    position: IdPosition,
    hashed: HashSet<String>,
}

/// One step of a walk.
#[derive(Debug)]
pub struct IdPage {
    /// How many ids were read.
    pub id_count: usize,
    /// Those that were looked up and have no row.
    pub without_row: Vec<Key>,
    /// Whether it was the last.
    pub is_last: bool,
}

impl IdWalk {
    /// A walk from the beginning, or from a place that [`IdWalk::place`] returned.
    pub fn new(place: Option<&str>) -> Result<Self> {
        let position = match place {
            None => IdPosition::start(),
            Some(place) => serde_json::from_str(place).map_err(|error| {
                Error::wrong("the place of verify in the state cannot be read").because(error)
            })?,
        };
        Ok(Self { settled: position.clone(), ahead: None, position, hashed: HashSet::new() })
    }

    /// Where a walk goes on after a restart.
    pub fn place(&self) -> Result<String> {
        serde_json::to_string(&self.settled)
            .map_err(|error| Error::wrong("cannot encode the place of verify").because(error))
    }

    /// Reads the next ids and looks them up.
    pub fn step(&mut self, client: &Client, index: &str, source: &mut Source) -> Result<IdPage> {
        let (ids, position) = match self.ahead.take() {
            Some(ahead) => ahead,
            None => read_ids(client, index, &self.position)?,
        };
        let id_count = ids.len();
        let is_last = id_count == 0;
        let (hashed, plain): (Vec<String>, Vec<String>) = ids.into_iter().partition(|id| is_hashed_id(id));
        let keys: Vec<Key> = plain.into_iter().map(Key::from_encoded).collect();
        let mut without_row = Vec::new();
        if !is_last {
            // Each server works while the other one does.
            let (existing, ahead) = thread::scope(|scope| {
                let reader = thread::Builder::new()
                    .name("ids".to_owned())
                    .spawn_scoped(scope, || read_ids(client, index, &position));
                let existing = source.existing_keys(&keys);
                let failed = || Error::unreachable("cannot read ids on a thread of their own");
                let ahead = match reader {
                    Ok(reader) => reader.join().unwrap_or_else(|_| Err(failed())),
                    Err(error) => Err(failed().because(error)),
                };
                (existing, ahead)
            });
            let existing = existing?;
            self.ahead = Some(ahead?);
            without_row.extend(keys.into_iter().filter(|key| !existing.contains(key)));
        }
        self.position = position;
        self.hashed.extend(hashed);
        if self.hashed.len() >= HASHED_MAX || is_last {
            let with_row = source.hashed_ids_with_row(&self.hashed)?;
            // The id itself stands for the key that is not known: its own id is the same.
            without_row
                .extend(self.hashed.drain().filter(|id| !with_row.contains(id)).map(Key::from_encoded));
        }
        if self.hashed.is_empty() {
            self.settled.clone_from(&self.position);
        }
        Ok(IdPage { id_count, without_row, is_last })
    }
}

fn read_ids(client: &Client, index: &str, from: &IdPosition) -> Result<(Vec<String>, IdPosition)> {
    let mut position = from.clone();
    let ids = next_ids(client, index, &mut position, PAGE)?;
    Ok((ids, position))
}
