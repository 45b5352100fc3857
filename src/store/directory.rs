//! The folder of the state and the files in it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

const DATABASE: &str = "pgsluice.sqlite3";
const LOCK: &str = "pgsluice.lock";

/// Keys, and documents that were refused, are nobody else's business.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Where the database of the state in `dir` lies.
pub(super) fn database_path(dir: &Path) -> PathBuf {
    dir.join(DATABASE)
}

/// Makes the folder and an empty database file if they are missing; returns the file's path.
///
/// SQLite gives its side files (`-wal`, `-shm`) the mode of the database itself, so the file is made before SQLite
/// could make it with the mode of the umask.
pub(super) fn prepare_database(dir: &Path) -> Result<PathBuf> {
    let path = database_path(dir);
    open_or_create(dir, &path)?;
    Ok(path)
}

/// Opens the lock file, which is made with its folder if it is missing; its content stays.
pub(super) fn open_lock_file(dir: &Path) -> Result<(File, PathBuf)> {
    let path = dir.join(LOCK);
    Ok((open_or_create(dir, &path)?, path))
}

fn open_or_create(dir: &Path, path: &Path) -> Result<File> {
    let hint = "the folder named by STORAGE_SUBDIR must be writable for this user";
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(dir).map_err(|error| {
        Error::wrong(format!("cannot make the folder {}", dir.display())).because(error).hint(hint)
    })?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
        .map_err(|error| Error::wrong(format!("cannot open {}", path.display())).because(error).hint(hint))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::Store;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn nobody_else_can_read_the_state() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("deep").join("state");
        let store = Store::open(&dir).unwrap();
        store.set_meta("a", "b").unwrap();
        assert_eq!(mode(&dir), 0o700);
        for file in ["pgsluice.sqlite3", "pgsluice.sqlite3-wal", "pgsluice.sqlite3-shm"] {
            assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
        }
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("state");
        std::fs::write(&file, "x").unwrap();
        let error = Store::open(&file).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.story().contains("state") && error.story().contains("STORAGE_SUBDIR"), "{error:?}");
    }
}
