//! What Elasticsearch and OpenSearch really do, where the code rests on it.
//!
//! Runs against the servers of `ELASTIC_URL` and `OPENSEARCH_URL`; one that is not set is left out, and that
//! is printed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test says what it leaves out, and fails by panic"
)]

mod indices;
mod requests;
mod server;
