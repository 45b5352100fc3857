//! Elasticsearch and OpenSearch: the client, the delivery of rendered batches, and the index itself.
//!
//! What a server's answer means is decided by functions of bytes (`response`, `judge`, `failure`,
//! `inspection::decide`, `mapping`, `index_settings`); what waits for a server is in `client`, `delivery`,
//! `index`, `documents` and `ids`. Nothing here knows PostgreSQL or the state. Statements about the
//! servers were tried on Elasticsearch and OpenSearch, see `tests/elastic_facts`.

mod breaker;
mod bulk;
mod client;
mod delivered;
mod delivery;
mod documents;
mod failure;
mod fresh;
mod gzip;
mod ids;
mod index;
mod index_settings;
mod ingest;
mod inspection;
mod judge;
mod lanes;
mod mapping;
mod node;
mod pace;
mod refusals;
mod response;
#[cfg(test)]
mod scripted;
mod server;
mod throttle;
mod tls;

pub use client::Client;
pub use delivered::{Delivered, Refused};
pub use delivery::{Delivery, DeliverySettings};
pub(crate) use documents::get_versions;
pub use documents::{RawDocument, document_count, get_documents, refresh};
pub use fresh::{OwnSettings, begin_first_load, end_first_load};
pub use ids::{IdPosition, next_ids, random_ids};
pub use index::{Ensured, ensure_generation, generation_name, put_mapping_additions, put_mark};
pub use index_settings::GC_DELETES;
pub use ingest::must_have_pipeline;
pub use inspection::{AliasWatch, EnsureRequest, FoundIndex, Inspected, Step, decide, inspect};
pub use mapping::{MARK_FORMAT, OwnershipMark};
pub(crate) use response::story_without_values;
pub use server::{Flavour, ServerInfo};
