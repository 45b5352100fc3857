//! From rows to documents: groups the rows of a batch by root and renders the bulk body.
//!
//! Nothing here waits or talks to anyone; the same rows always give the same bytes.

mod build;
mod flatten;
mod list;
mod nesting;
mod repeats;

pub use build::{RenderLimits, render};
