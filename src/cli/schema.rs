//! `schema`: the JSON Schema of the definition format, for editors.

use crate::cli::output;
use crate::definition;
use crate::error::Result;

pub(super) fn schema() -> Result<u8> {
    output::line(definition::SCHEMA.trim_end())?;
    Ok(0)
}
