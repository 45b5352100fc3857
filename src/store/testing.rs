//! What the tests of the state share.

use std::path::Path;

use tempfile::TempDir;

use crate::batch::{Batch, Work};
use crate::key::Key;
use crate::store::{Acknowledgement, DeadLetter, Difference, DifferenceKind, Store};

pub(super) const GENERATION: &str = "movies-1";

pub(super) fn state() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

pub(super) fn key(number: u32) -> Key {
    Key::from_encoded(format!("{number:08}-film"))
}

pub(super) fn keys(numbers: impl IntoIterator<Item = u32>) -> Vec<Key> {
    numbers.into_iter().map(key).collect()
}

pub(super) fn keys_of(batch: &Batch) -> Vec<Key> {
    match &batch.work {
        Work::Keys(keys) => keys.clone(),
        Work::Range(range) => panic!("a range: {range:?}"),
    }
}

pub(super) fn acknowledgement() -> Acknowledgement<'static> {
    Acknowledgement {
        applied: &[],
        refused: &[],
        superseded: &[],
        unknown: &[],
        unknown_due_at: 0,
        dead_letter_max: 100,
    }
}

pub(super) fn acknowledge_all(store: &Store, batch: &Batch, now: i64) {
    let applied = match &batch.work {
        Work::Keys(keys) => keys.clone(),
        Work::Range(_) => Vec::new(),
    };
    store
        .acknowledge(batch.number, &Acknowledgement { applied: &applied, ..acknowledgement() }, now)
        .unwrap();
}

pub(super) fn letter(number: u32, reason: &str) -> DeadLetter {
    DeadLetter {
        key: key(number),
        error_type: "mapper_parsing_exception".to_owned(),
        reason: reason.to_owned(),
        document: Some(format!("{{\"id\":{number}}}")),
    }
}

pub(super) fn difference(number: u32) -> Difference {
    Difference {
        key: key(number),
        kind: DifferenceKind::Extra,
        fields: vec!["a\"b".to_owned()],
        seen: "x".to_owned(),
    }
}

/// Opens what `kill -9` at this instant would leave: a copy of the files of a state that is still open.
pub(super) fn after_a_kill(dir: &Path) -> (TempDir, Store) {
    let copy = tempfile::tempdir().unwrap();
    for file in ["pgsluice.sqlite3", "pgsluice.sqlite3-wal"] {
        if dir.join(file).exists() {
            std::fs::copy(dir.join(file), copy.path().join(file)).unwrap();
        }
    }
    let store = Store::open(copy.path()).unwrap();
    (copy, store)
}

impl Store {
    pub(super) fn pragma(&self, name: &str, value: i64) {
        self.lock().connection.pragma_update(None, name, value).unwrap();
    }

    /// The numbers or texts of a query's only column.
    pub(super) fn texts(&self, query: &str) -> Vec<String> {
        let inner = self.lock();
        let mut statement = inner.connection.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }
}
