//! The definition: which tables make which document of which index.
//!
//! A definition is a TOML file, described in `docs/definition.md`, with a mapping file in JSON beside it. [`parse`]
//! checks all that can be checked without a server; whether the tables and columns exist is seen when they are read.

mod choice;
mod document;
mod hash;
mod mapping;
mod model;
mod name;
mod parse;
mod relation;
mod repeat;
mod section;
mod tombstone;
mod value;

use std::path::Path;

use crate::error::{Error, Result};

pub use model::*;
pub use parse::parse;

/// The JSON Schema (2020-12) of the format, for editors.
pub const SCHEMA: &str = include_str!("../../definitions/definition.schema.json");

/// Reads a table's name as a definition writes it, or says what would be right.
///
/// # Errors
/// What is wrong with it, in words.
pub fn table_name(text: &str) -> std::result::Result<TableName, String> {
    name::parse_table(text)
}

/// Reads and checks a definition file; its mapping file lies relative to it.
///
/// # Errors
/// If the file cannot be read, or as [`parse`] says.
pub fn load(path: &Path) -> Result<Definition> {
    if path.is_dir() {
        // What an editor or a packager leaves there must not become an index, nor a file that is gone end one.
        return Err(Error::wrong(format!("cannot read {}: it is a directory", path.display()))
            .hint("DEFINITION names definition files, several of them separated by commas"));
    }
    let text = read(path).map_err(|error| {
        error.hint("DEFINITION names definition files in UTF-8; unset, the built-in movies are synced")
    })?;
    let directory = path.parent().unwrap_or(Path::new(""));
    parse(&text, &path.display().to_string(), &|mapping| read(&directory.join(mapping)))
}

/// The definition of the movies index, which is built in.
///
/// # Errors
/// None, as long as the files that the program was built with are right.
pub fn built_in() -> Result<Definition> {
    let text = include_str!("../../definitions/movies.toml");
    parse(text, "built in", &|_| Ok(include_str!("../../es_index.json").to_owned()))
}

impl Definition {
    /// Takes another alias of the index, and the hash with it.
    #[must_use]
    pub fn with_index(mut self, index: impl Into<String>) -> Self {
        self.index = index.into();
        self.hash = hash::hash(&self);
        self
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::wrong(format!("cannot read {}", path.display())).because(error))
}

#[cfg(test)]
mod field_tests;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
