//! What every test needs: servers, a database and an index of its own, the program, and the oracle.
//!
//! The servers are those of `dev/services`; the environment says where they are. Without them a test fails: a run
//! that tried nothing must not look like a success.

#[cfg(feature = "faults")]
mod clock;
mod cluster;
mod database;
mod disk;
mod evidence;
mod index;
mod oracle;
mod places;
mod pooler;
mod program;
mod proxy;
mod settled;
mod several;
mod shape;
mod slow;
mod statements;
mod things;
mod wait;

#[cfg(feature = "faults")]
pub use clock::Clock;
pub use cluster::Cluster;
pub use database::{Database, film_schema, shared_movies};
pub use disk::SmallDisk;
pub use evidence::Evidence;
pub use index::{Alone, Index, Server};
pub use oracle::{Documents, assert_same, classic_documents, documents, is_same, movies_documents};
pub use places::{PLACES, after_changes_of_places};
pub use pooler::Pooler;
pub use program::{Finished, Program, Running};
pub use proxy::{Deed, Gate, Proxy, actions, dead_node};
pub use settled::{assert_settled, assert_settled_beside};
pub use several::Several;
pub use shape::Shape;
pub use slow::read_slowly;
pub use statements::{Statements, action_count};
pub use things::{
    hiding_program, shown_documents, things_database, things_database_in, things_documents, things_mapping,
    things_program,
};
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
