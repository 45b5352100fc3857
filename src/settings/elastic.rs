//! Settings of the index server.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How the index server is reached.
#[derive(Clone, Debug)]
pub struct ElasticSettings {
    /// Base URLs of the nodes, without a trailing slash and without user and password.
    pub nodes: Vec<String>,
    /// How we say who we are.
    pub credentials: Credentials,
    /// A file of certificates (PEM) to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// How long one request may take.
    pub request_timeout: Duration,
}

/// How we say who we are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Not at all.
    None,
    /// With a user and a password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// With an API key, encoded as the server gave it out.
    ApiKey(Secret),
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}
