//! The program against real servers: one binary, a module for each theme.

#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "clippy.toml allows them in tests, but the harness is no test to it"
)]

mod harness;

mod full_load;
mod incremental;
mod late_commits;
mod outages;
mod restarts;
mod verify;
