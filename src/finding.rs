//! What `check` finds: good, worth knowing, or in the way.

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// As it should be; something would make it quicker.
    Hint,
    /// Works, but the operator should know.
    Warning,
    /// Nothing can be synced before it is mended.
    Problem,
}

impl Level {
    /// The word that it is printed as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Hint => "hint",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub level: Level,
    /// What it is about: a table, an index, a setting.
    pub subject: String,
    /// What was found.
    pub message: String,
    /// What can be done about it.
    pub cure: Option<String>,
}

impl Finding {
    /// A finding without a cure.
    pub fn new(level: Level, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { level, subject: subject.into(), message: message.into(), cure: None }
    }

    /// Adds the cure.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }
}
