//! The program against real servers: one binary, a module for each theme.

#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "clippy.toml allows them in tests, but the harness is no test to it"
)]

mod harness;

mod bad_definition;
mod bad_input;
mod bad_settings;
mod bad_state;
mod breaker;
mod commands;
mod dead_letters;
mod disk_full;
mod full_load;
mod incremental;
mod index_ownership;
mod late_commits;
mod odd_tables;
mod outages;
mod postgres_tls;
mod refusals;
mod restarts;
mod secured;
mod servers;
mod signals;
mod soak;
mod too_old;
mod verify;
