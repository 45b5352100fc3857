//! What every test needs: servers, a database and an index of its own, the program, and the oracle.
//!
//! The servers are those of `dev/services`; the environment says where they are. Without them a test fails: a run
//! that tried nothing must not look like a success.

mod database;
mod evidence;
mod index;
mod oracle;
mod program;
mod proxy;
mod things;
mod wait;

pub use database::{Cluster, Database, film_schema, shared_movies};
pub use evidence::Evidence;
pub use index::{Alone, Index, Server};
pub use oracle::{Documents, assert_same, classic_documents, documents, movies_documents};
pub use program::{Finished, Program, Running};
pub use proxy::{Deed, Proxy, dead_node};
pub use things::{things_database, things_documents, things_mapping, things_program};
pub use wait::wait_until;

use std::sync::atomic::{AtomicU32, Ordering};

/// The value of an environment variable that `dev/services env` prints.
pub fn service(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests with dev/test"))
}

/// Whether the long tests are wanted (`dev/test --full`).
pub fn is_full() -> bool {
    std::env::var("PGSLUICE_TEST_FULL").is_ok_and(|value| value == "1")
}

/// A name that no other test of any run has.
pub fn unique(label: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let micros = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    format!("t_{label}_{micros:x}_{}", NEXT.fetch_add(1, Ordering::SeqCst))
}
