//! pgsluice keeps Elasticsearch and OpenSearch documents equal to what PostgreSQL says.
//!
//! The words used here (definition, root table, stale key, checkpoint, batch, version, …) are explained in
//! `docs/architecture.md`. Modules import one way, from the top of this list to the bottom.

pub mod error;
pub(crate) mod suggestion;

pub(crate) mod alias;
pub mod backoff;
pub mod batch;
pub mod cell;
pub mod checkpoint;
pub mod client_certificate;
pub mod clock;
pub mod document;
pub mod faults;
pub mod finding;
pub mod form;
pub(crate) mod json_string;
pub mod key;
pub(crate) mod key_hash;
pub mod metrics;
pub mod plan;
pub mod rows;
pub mod shutdown;

pub mod settings;

pub mod definition;

pub mod elastic;
pub mod postgres;
pub mod store;
pub mod transform;

pub mod feed;

pub mod verify;

pub mod pipeline;

pub mod draft;

pub mod cli;
