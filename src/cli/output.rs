//! Writes to stdout; a reader that has gone away (`pgsluice status | head`) is no failure.

use std::io::{ErrorKind, Write};

use crate::error::{Error, Result};

/// Writes one line.
pub(super) fn line(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::wrong("cannot write to the standard output").because(error))
        }
        _ => Ok(()),
    }
}

/// Writes a value as JSON over several lines.
pub(super) fn json(value: &serde_json::Value) -> Result<()> {
    line(&format!("{value:#}"))
}
