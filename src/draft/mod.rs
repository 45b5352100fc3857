//! Drafts a definition and its mapping from what a database says of itself: keys, foreign keys, types, names.
//!
//! Pure but for the survey that it is given: a tree of relations is grown from the root table, then written as TOML
//! and as JSON. What the draft was unsure of is said in its comments and returned as notes. A draft is always one that
//! [`crate::definition::parse`] takes.

mod cursor;
mod mapping;
mod names;
mod root;
mod toml_text;
mod tree;
mod write;

pub use root::{DraftRequest, draft};

/// A drafted definition.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The definition file.
    pub definition: String,
    /// The mapping file.
    pub mapping: String,
    /// How many relations it has.
    pub relation_count: usize,
    /// What it was unsure of, a sentence each.
    pub notes: Vec<String>,
}

/// The name of a database without names that a file cannot have: for the index and the files.
pub fn index_name(table: &str) -> String {
    names::index_name(table)
}
