//! A clock that is wrong, as the `faults` feature of the program offers it.

use std::path::PathBuf;

use super::Program;

/// A clock of the program's own.
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// Puts it into a program, right at first.
    pub fn of(program: &mut Program) -> Self {
        let file = program.write("clock", "0");
        program.set("PGSLUICE_CLOCK_OFFSET", file.to_str().unwrap());
        Self { file }
    }

    /// Sets it by so many minutes.
    pub fn set(&self, minutes: i64) {
        // Never seen half written.
        let new = self.file.with_extension("new");
        std::fs::write(&new, (minutes * 60).to_string()).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }
}
