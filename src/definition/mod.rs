//! The definition: which tables make which document of which index.

mod model;

pub use model::*;
