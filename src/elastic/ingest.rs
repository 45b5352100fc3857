//! The ingest pipeline that documents go through on their way into the index.

use serde::de::IgnoredAny;

use crate::elastic::client::{Client, path_segment};
use crate::error::{Error, Kind, Result};

/// Makes sure that the index server has this ingest pipeline: without it, it refuses every document.
///
/// A user that may not read pipelines is taken at their word.
pub fn must_have_pipeline(client: &Client, name: &str) -> Result<()> {
    let attempt = format!("cannot look for the ingest pipeline {name}");
    let path = format!("/_ingest/pipeline/{}?filter_path=*.version", path_segment(name));
    match client.get_if_found::<IgnoredAny>(&path, &attempt) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Error::wrong(format!("the index server has no ingest pipeline {name}"))
            .hint("make it, or correct `pipeline` in the definition")),
        Err(error) if error.kind() == Kind::Wrong => {
            log::debug!("{}", error.story());
            Ok(())
        }
        Err(error) => Err(error),
    }
}
