//! The one error type of the crate.
//!
//! An [`Error`] says what was being attempted, keeps its cause as `source()`, and carries a [`Kind`] that answers
//! the only question a caller has: try again, refuse this item, or stop. Secrets and cell values never enter it.

use std::error::Error as StdError;
use std::fmt;

/// The result of anything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What has to happen after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A server cannot be reached or is not ready: the same attempt may succeed later.
    Unreachable,
    /// Settings, the definition, the command line, the state or a server's answer are wrong until someone acts.
    Wrong,
    /// Definition and database do not fit each other: wrong as well, unless the tables are just being changed.
    Mismatch,
    /// The index is gone: wrong as well, unless `ON_INDEX_MISSING` says to make it again.
    IndexMissing,
    /// Another process runs the pipeline on this state.
    Locked,
    /// We were asked to end; not a failure.
    Interrupted,
}

/// An error: what was attempted, why it failed, and what the operator can do.
pub struct Error {
    kind: Kind,
    attempt: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error of `kind`; `attempt` says what was attempted, in lower case, without a full stop.
    pub fn new(kind: Kind, attempt: impl Into<String>) -> Self {
        Self { kind, attempt: attempt.into(), hint: None, source: None }
    }

    /// Something is wrong until someone acts.
    pub fn wrong(attempt: impl Into<String>) -> Self {
        Self::new(Kind::Wrong, attempt)
    }

    /// A server cannot be reached at the moment.
    pub fn unreachable(attempt: impl Into<String>) -> Self {
        Self::new(Kind::Unreachable, attempt)
    }

    /// Shutdown was asked for while waiting.
    pub fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted by shutdown")
    }

    /// Adds what the operator can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts what the caller was doing in front: `cannot read content.genre: <the rest>`.
    #[must_use]
    pub fn while_doing(mut self, context: impl fmt::Display) -> Self {
        self.attempt = format!("{context}: {}", self.attempt);
        self
    }

    /// Makes it one that may pass by itself, for work that goes on whatever is wrong.
    #[must_use]
    pub fn into_retryable(mut self) -> Self {
        self.kind = Kind::Unreachable;
        self
    }

    /// What has to happen now.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the same attempt may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.kind == Kind::Unreachable
    }

    /// What the operator can do, if anything is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The process exit code for a command that ended with this error.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Interrupted => 0,
            Kind::Wrong | Kind::Mismatch | Kind::IndexMissing => 2,
            Kind::Unreachable => 3,
            Kind::Locked => 4,
        }
    }

    /// Returns the whole story in one line: the attempt, every cause, the hint.
    pub fn story(&self) -> String {
        let mut story = self.attempt.clone();
        let mut cause: Option<&(dyn StdError + 'static)> = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some libraries paste their cause into their own message: do not say it twice.
            if !story.ends_with(&text) {
                story.push_str(": ");
                story.push_str(&text);
            }
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            story.push_str(" (");
            story.push_str(hint);
            story.push(')');
        }
        story
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.attempt)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.kind, self.story())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn story_names_attempt_causes_and_hint_once() {
        let io = std::io::Error::new(std::io::ErrorKind::PermissionDenied, "permission denied");
        let error = Error::wrong("cannot open state/pgsluice.sqlite3").because(io).hint("check its owner");
        assert_eq!(error.story(), "cannot open state/pgsluice.sqlite3: permission denied (check its owner)");
        assert_eq!(error.exit_code(), 2);
    }
}
