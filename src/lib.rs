//! pgsluice keeps Elasticsearch and OpenSearch documents equal to what PostgreSQL says.
//!
//! The words used here (definition, root table, stale key, checkpoint, batch, version, …) are explained in
//! `docs/architecture.md`. Modules import one way, from the top of this list to the bottom.

pub mod error;

pub(crate) mod alias;
pub(crate) mod suggestion;

pub mod backoff;
pub mod batch;
pub mod cell;
pub mod checkpoint;
pub mod document;
pub mod finding;
pub mod key;
pub mod plan;
pub mod rows;
pub mod shutdown;

pub mod settings;

pub mod definition;

pub mod postgres;

pub mod transform;
