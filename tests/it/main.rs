//! The program against real servers: one binary, a module for each theme.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod harness;

mod full_load;
mod incremental;
mod late_commits;
mod outages;
mod restarts;
