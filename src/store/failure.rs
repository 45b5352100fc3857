//! What a failure of SQLite means.
//!
//! Waiting helps where something outside ends by itself or by someone's hand while we go on trying: a busy file, a
//! full disk (the usual night-time fault, over as soon as space is made), a read or write that failed (a network or
//! virtual disk that comes back). Nothing is lost meanwhile, since a failed transaction changed nothing. Rights, a
//! read-only file system and damage stay until someone acts.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::{Error, Kind};

/// Why an attempt on the state failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite's own failure.
    Sqlite(rusqlite::Error),
    /// What is stored cannot be what we wrote.
    Damaged(&'static str),
    /// What was asked for does not fit the state.
    Refused(Error),
}

/// The result of work inside a transaction.
pub(super) type Attempt<T> = Result<T, Failure>;

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<rusqlite::types::FromSqlError> for Failure {
    fn from(error: rusqlite::types::FromSqlError) -> Self {
        Self::Sqlite(error.into())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    /// Makes the crate's error of it; `attempt` reads on after "cannot".
    pub(super) fn explain(self, attempt: &str, path: &Path) -> Error {
        let error = match self {
            Self::Refused(error) => return error,
            Self::Damaged(what) => return damaged(path).because(what),
            Self::Sqlite(error) => error,
        };
        let (kind, hint) = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                return damaged(path).because(error);
            }
            Some(ErrorCode::DiskFull) => (Kind::Unreachable, "free space on its disk"),
            Some(ErrorCode::SystemIoFailure) => (Kind::Unreachable, "look at its disk and the system's log"),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                (Kind::Unreachable, "another process is writing to it")
            }
            Some(ErrorCode::OutOfMemory) => (Kind::Unreachable, "the system is out of memory"),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                (Kind::Wrong, "this user needs to read and write the file and its folder")
            }
            _ => (Kind::Wrong, MOVE_AWAY),
        };
        Error::new(kind, format!("cannot {attempt} in {}", path.display())).because(error).hint(hint)
    }
}

/// The error for a file that cannot be trusted.
fn damaged(path: &Path) -> Error {
    Error::wrong(format!("{} is damaged or no state of pgsluice", path.display())).hint(MOVE_AWAY)
}

/// The cure for a state that cannot be used.
pub(super) const MOVE_AWAY: &str = "move it away: pgsluice makes a new one and runs a full load";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{GENERATION, keys, state};

    #[test]
    fn a_full_disk_is_waited_for_and_loses_nothing() {
        let (dir, store) = state();
        store.record_stale(GENERATION, &keys(0..10), 0, 1).unwrap();
        store.pragma("max_page_count", 1);
        let error = store.record_stale(GENERATION, &keys(10..20_000), 0, 2).unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert!(
            error.story().contains("pgsluice.sqlite3") && error.story().contains("free space"),
            "{error:?}"
        );
        assert_eq!(store.stale_count(GENERATION).unwrap(), 10);
        store.pragma("max_page_count", 1_000_000);
        store.record_stale(GENERATION, &keys(10..20_000), 0, 3).unwrap();
        assert_eq!(store.stale_count(GENERATION).unwrap(), 20_000);
        drop(dir);
    }

    #[test]
    fn a_state_that_cannot_be_written_stops() {
        let (_dir, store) = state();
        store.pragma("query_only", 1);
        let error = store.set_meta("a", "b").unwrap_err();
        assert_eq!(error.kind(), Kind::Wrong, "{error:?}");
    }
}
