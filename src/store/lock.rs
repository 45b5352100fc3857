//! The lock under which one process at a time runs the pipeline on a state.
//!
//! The kernel holds it for the open file, so it is free at the instant the process ends, however it ends. What is
//! written into the file is for people only.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::store::directory;

/// More than what a holder writes about itself.
const HOLDER_MAX_BYTES: u64 = 300;

/// The right to run the pipeline on a state, held until it is dropped.
#[derive(Debug)]
pub struct PipelineLock {
    file: File,
}

impl PipelineLock {
    /// Takes the lock of the state in `dir` for `command`.
    ///
    /// # Errors
    /// Of kind [`Kind::Locked`], saying who holds it, when another process runs the pipeline.
    pub fn acquire(dir: &Path, command: &str) -> Result<Self> {
        let (mut file, path) = directory::open_lock_file(dir)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                return Err(Error::new(
                    Kind::Locked,
                    format!("{holder} runs the pipeline on the state in {}", dir.display()),
                )
                .hint("stop it first, or choose another STORAGE_SUBDIR"));
            }
            Err(TryLockError::Error(error)) => {
                return Err(Error::wrong(format!("cannot lock {}", path.display()))
                    .because(error)
                    .hint("put STORAGE_SUBDIR on a file system with locks"));
            }
        }
        let mut lock = Self { file };
        // The lock holds without it.
        if let Err(error) = lock.write_holder(command) {
            log::debug!("cannot write into {}: {error}", path.display());
        }
        Ok(lock)
    }

    fn write_holder(&mut self, command: &str) -> std::io::Result<()> {
        let since = chrono::Utc::now().format("%Y-%m-%d %H:%M:%S UTC");
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        writeln!(self.file, "`pgsluice {command}` (pid {}, since {since})", std::process::id())
    }
}

impl Drop for PipelineLock {
    fn drop(&mut self) {
        // So that nobody reads of a former holder before the next one has written. Closing the file frees the lock.
        let _ = self.file.set_len(0);
    }
}

/// Who holds the lock, as it says of itself.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(HOLDER_MAX_BYTES).read_to_string(&mut text);
    match (read, text.trim()) {
        (Ok(_), holder) if !holder.is_empty() => holder.to_owned(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    const DIR: &str = "PGSLUICE_TEST_LOCK_DIR";

    #[test]
    fn the_second_is_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let held = PipelineLock::acquire(dir.path(), "run").unwrap();
        let error = PipelineLock::acquire(dir.path(), "once").unwrap_err();
        assert_eq!((error.kind(), error.exit_code()), (Kind::Locked, 4));
        let story = error.story();
        assert!(
            story.contains("`pgsluice run`") && story.contains(&format!("pid {}", std::process::id())),
            "{story}"
        );
        drop(held);
        assert_eq!(std::fs::read_to_string(dir.path().join("pgsluice.lock")).unwrap(), "");
        PipelineLock::acquire(dir.path(), "once").unwrap();
    }

    /// The child of the test below: takes the lock and waits to be killed.
    #[test]
    fn child_holds_the_lock_until_it_is_killed() {
        let Ok(dir) = std::env::var(DIR) else { return };
        let _held = PipelineLock::acquire(Path::new(&dir), "run").unwrap();
        eprintln!("held");
        loop {
            std::thread::park();
        }
    }

    #[test]
    fn the_lock_of_a_killed_process_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::lock::tests::child_holds_the_lock_until_it_is_killed", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.map(std::result::Result::unwrap).any(|line| line == "held"));
        let story = PipelineLock::acquire(dir.path(), "once").unwrap_err().story();
        assert!(story.contains(&format!("pid {}", child.id())), "{story}");
        child.kill().unwrap();
        child.wait().unwrap();
        PipelineLock::acquire(dir.path(), "once").unwrap();
    }
}
