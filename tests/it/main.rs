//! The program against real servers: one binary, a module for each theme.

#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "clippy.toml allows them in tests, but the harness is no test to it"
)]

mod harness;

mod breaker;
mod dead_letters;
mod disk_full;
mod full_load;
mod incremental;
mod index_ownership;
mod late_commits;
mod outages;
mod refusals;
mod restarts;
mod servers;
