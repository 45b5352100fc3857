//! The program against real servers: one binary, a module for each theme.

mod harness;

mod full_load;
mod incremental;
mod late_commits;
mod outages;
mod restarts;
