//! The source's identity as the state keeps it.

use crate::error::{Error, Result};
use crate::postgres::SourceIdentity;
use crate::store::Store;

/// What it is kept under.
const NAME: &str = "source_identity";

/// Keeps the identity of the source, and how far its log had come.
pub(super) fn keep_identity(store: &Store, identity: &SourceIdentity) -> Result<()> {
    let text = serde_json::to_string(identity)
        .map_err(|error| Error::wrong("cannot encode the identity of the source").because(error))?;
    store.set_meta(NAME, &text)
}

/// The identity of the source that the state was read from; none before the first load.
pub fn kept_identity(store: &Store) -> Result<Option<SourceIdentity>> {
    let Some(text) = store.meta(NAME)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Error::wrong("the identity of the source in the state cannot be read")
            .because(error)
            .hint("run `pgsluice resync`")
    })
}
