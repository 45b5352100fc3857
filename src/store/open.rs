//! Opening the state.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Result};
use crate::store::directory;
use crate::store::failure::{Attempt, Failure, MOVE_AWAY};
use crate::store::memory::Memory;
use crate::store::schema::{self, Found};
use crate::store::versions::Versions;

/// How long a transaction waits for another process's: theirs are as short as ours, a few milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Files up to this size are checked as a whole at the start (about 0.2 s); in larger ones damage is found when it is
/// met. A start every minute from cron must not read gigabytes.
const CHECKED_MAX_BYTES: u64 = 64 << 20;

/// The page cache in KiB: the upper pages of the stale keys' two trees for some millions of keys.
const CACHE_KIB: u32 = 8 << 10;

/// Pages in the write-ahead log before it is copied into the file (SQLite's own default, 4 MB): a copy costs two
/// syncs, so it should be rare, and a start after a crash reads the log once, so it should be short.
const CHECKPOINT_PAGES: u32 = 1_000;

/// What the write-ahead log is cut back to after a long reader let it grow.
const WAL_MAX_BYTES: u32 = 16 << 20;

/// How a database of SQLite begins, and the smallest page it can have (section 1.3 of
/// <https://www.sqlite.org/fileformat2.html>).
const MAGIC: &[u8] = b"SQLite format 3\0";
const PAGE_MIN_BYTES: u64 = 512;

/// More than the statements that we have.
const STATEMENT_CACHE: usize = 128;

/// The state of pgsluice, for all threads of a process.
#[derive(Debug)]
pub struct Store {
    pub(super) path: PathBuf,
    pub(super) inner: Mutex<Inner>,
    /// The file that was opened.
    opened: FileMark,
}

/// Which file it is, whatever its name is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileMark {
    device: u64,
    number: u64,
}

impl FileMark {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), number: metadata.ino() })
    }
}

/// What one thread at a time works with.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) connection: Connection,
    /// None when what was remembered may differ from the file.
    pub(super) memory: Option<Memory>,
    pub(super) versions: Versions,
}

impl Store {
    /// Opens the state in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// A file that is damaged, another program's, or a newer pgsluice's is refused and left as it is.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = directory::prepare_database(dir)?;
        let opened = FileMark::of(&path).map_err(|error| gone(&path).because(error))?;
        match open_for_writing(&path) {
            Ok(inner) => Ok(Self { path, inner: Mutex::new(inner), opened }),
            Err(failure) => Err(failure.explain("open the state", &path)),
        }
    }

    /// Fails if the file of that name is another one by now, or none: SQLite would go on writing to the one it has open,
    /// and everything written would be lost with the process. A look costs a microsecond.
    pub(super) fn must_be_in_place(&self) -> Result<()> {
        match FileMark::of(&self.path) {
            Ok(found) if found == self.opened => Ok(()),
            Ok(_) => Err(gone(&self.path)),
            Err(error) => Err(gone(&self.path).because(error)),
        }
    }

    /// Opens the state in `dir` for reading beside a running pipeline; none if there is no state yet.
    pub fn open_read_only(dir: &Path) -> Result<Option<Self>> {
        let path = directory::database_path(dir);
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Error::wrong(format!("cannot read {}", path.display()))
                    .because(error)
                    .hint("STORAGE_SUBDIR names a folder that this user may read"));
            }
            Ok(metadata) if !metadata.is_file() => {
                return Err(Error::wrong(format!("{} is no file", path.display())).hint(MOVE_AWAY));
            }
            Ok(_) => {}
        }
        let opened = FileMark::of(&path).map_err(|error| gone(&path).because(error))?;
        match open_for_reading(&path) {
            Ok(inner) => Ok(inner.map(|inner| Self { path, inner: Mutex::new(inner), opened })),
            Err(failure) => Err(failure.explain("open the state", &path)),
        }
    }

    /// Where the database lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn gone(path: &Path) -> Error {
    Error::wrong(format!("{} was removed or replaced while it was in use", path.display())).hint(
        "start again: pgsluice goes on from the state that is there now, or loads everything if there is none",
    )
}

/// Refuses content that SQLite would take for an empty database and write over: it does so below one page.
fn must_be_empty_or_a_database(path: &Path) -> Attempt<()> {
    let unreadable = |error: io::Error| {
        Error::wrong(format!("cannot read {}", path.display()))
            .because(error)
            .hint("check its owner and its rights")
    };
    let mut header = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(PAGE_MIN_BYTES).read_to_end(&mut header).map_err(unreadable)?;
    let is_database = header.len() as u64 == PAGE_MIN_BYTES && header.starts_with(MAGIC);
    if header.is_empty() || is_database {
        Ok(())
    } else {
        Err(Failure::Damaged("it does not begin as a database"))
    }
}

fn open_for_writing(path: &Path) -> Attempt<Inner> {
    must_be_empty_or_a_database(path)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Before the first change: another program's file stays as it is.
    schema::inspect(&connection, &path.display().to_string())?;
    let is_small = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() <= CHECKED_MAX_BYTES);
    if is_small {
        let verdict: String = connection.query_row("pragma quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Failure::Damaged("SQLite's quick_check fails"));
        }
    }
    let mode: String = connection.query_row("pragma journal_mode = wal", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::wrong(format!("{} is on a file system without shared memory", path.display()))
            .hint("put STORAGE_SUBDIR on a local disk")
            .into());
    }
    connection.execute_batch(&format!(
        "pragma synchronous = normal;
         pragma wal_autocheckpoint = {CHECKPOINT_PAGES};
         pragma journal_size_limit = {WAL_MAX_BYTES};"
    ))?;
    schema::migrate(&mut connection)?;
    let versions = Versions::load(&connection)?;
    Ok(Inner { connection, memory: None, versions })
}

fn open_for_reading(path: &Path) -> Attempt<Option<Inner>> {
    must_be_empty_or_a_database(path)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let found = schema::inspect(&connection, &path.display().to_string())?;
    if found == Found::Nothing {
        return Ok(None);
    }
    if !schema::is_current(found) {
        return Err(Error::wrong(format!("{} was written by an older pgsluice", path.display()))
            .hint("run the pipeline once with this pgsluice: it brings the state up to date")
            .into());
    }
    let versions = Versions::load(&connection)?;
    Ok(Some(Inner { connection, memory: None, versions }))
}

fn connect(path: &Path, access: OpenFlags) -> Attempt<Connection> {
    // No mutex of SQLite's: ours is around the connection.
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    connection.execute_batch(&format!("pragma cache_size = -{CACHE_KIB}; pragma temp_store = memory;"))?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::store::testing::{GENERATION, keys, state};

    fn refused(dir: &Path) -> String {
        let error = Store::open(dir).unwrap_err();
        assert_eq!(error.kind(), Kind::Wrong, "{error:?}");
        let story = error.story();
        assert!(story.contains("pgsluice.sqlite3") && story.contains("move it away"), "{story}");
        let error = Store::open_read_only(dir).unwrap_err();
        assert_eq!(error.kind(), Kind::Wrong, "{error:?}");
        story
    }

    /// A closed state with some pages, all of them in the file itself.
    fn closed_state() -> (tempfile::TempDir, PathBuf) {
        let (dir, store) = state();
        store.record_stale(GENERATION, &keys(0..5_000), 0, 1).unwrap();
        drop(store);
        let path = directory::database_path(dir.path());
        assert!(!dir.path().join("pgsluice.sqlite3-wal").exists());
        (dir, path)
    }

    #[test]
    fn text_in_the_place_of_the_file_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = directory::database_path(dir.path());
        for content in ["x".to_owned(), "no database\n".repeat(1_000)] {
            std::fs::write(&path, &content).unwrap();
            refused(dir.path());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let (dir, path) = closed_state();
        let bytes = std::fs::read(&path).unwrap();
        for length in [50, 4096, 8192, bytes.len() / 2, bytes.len() - 4096] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            refused(dir.path());
        }
    }

    #[test]
    fn a_damaged_page_is_refused() {
        let (dir, path) = closed_state();
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 4096;
        bytes[last..].fill(0xa5);
        std::fs::write(&path, &bytes).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(error.story().contains("move it away"), "{error:?}");
    }

    #[test]
    fn a_newer_version_and_another_programs_file_are_refused() {
        let (dir, path) = closed_state();
        Connection::open(&path).unwrap().execute_batch("pragma user_version = 99").unwrap();
        assert!(refused(dir.path()).contains("version 99"));
        Connection::open(&path)
            .unwrap()
            .execute_batch("pragma user_version = 1; pragma application_id = 7")
            .unwrap();
        assert!(refused(dir.path()).contains("another program"));
    }

    #[test]
    fn there_is_nothing_to_read_before_the_first_start() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Store::open_read_only(&dir.path().join("none")).unwrap().is_none());
        std::fs::write(directory::database_path(dir.path()), "").unwrap();
        assert!(Store::open_read_only(dir.path()).unwrap().is_none());
    }

    #[test]
    fn a_reader_sees_what_the_pipeline_beside_it_wrote_and_changes_nothing() {
        let (dir, store) = state();
        let reader = Store::open_read_only(dir.path()).unwrap().unwrap();
        store.record_stale(GENERATION, &keys(0..3), 0, 1).unwrap();
        assert_eq!(reader.stale_count(GENERATION).unwrap(), 3);
        assert_eq!(reader.record_stale(GENERATION, &keys(3..4), 0, 1).unwrap_err().kind(), Kind::Wrong);
    }

    #[test]
    fn a_thread_that_panics_leaves_the_state_usable() {
        let (_dir, store) = state();
        let ended = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _ = store.write("fail", |transaction, memory| -> Attempt<()> {
                        transaction.execute("insert into meta values ('a', 'b')", [])?;
                        memory.generation(transaction, "half")?;
                        panic!("in the middle")
                    });
                })
                .join()
        });
        assert!(ended.is_err());
        assert_eq!(store.meta("a").unwrap(), None);
        store.record_stale(GENERATION, &keys(0..3), 0, 1).unwrap();
        assert_eq!(store.stale_count(GENERATION).unwrap(), 3);
    }
}
