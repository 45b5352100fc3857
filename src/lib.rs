//! pgsluice keeps Elasticsearch and OpenSearch documents equal to what PostgreSQL says.
//!
//! The words used here (definition, root table, stale key, checkpoint, batch, version, …) are explained in
//! `docs/architecture.md`. Modules import one way, from the top of this list to the bottom.

pub mod error;

pub mod backoff;
pub mod batch;
pub mod cell;
pub mod checkpoint;
pub mod document;
pub mod key;
pub mod plan;
pub mod rows;
pub mod shutdown;

pub mod definition;

pub mod store;

pub mod transform;
