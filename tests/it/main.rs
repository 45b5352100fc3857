//! The program against real servers: one binary, a module for each theme.

#![cfg_attr(
    not(feature = "faults"),
    allow(
        dead_code,
        unused_imports,
        reason = "what only tests of named points need is there without them too"
    )
)]
#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "clippy.toml allows them in tests, but the harness is no test to it"
)]

mod background_writers;
mod bad_definition;
mod bad_input;
mod bad_settings;
mod bad_state;
mod breaker;
mod broken_answers;
#[cfg(feature = "faults")]
mod clocks;
mod commands;
mod crash_points;
mod dead_letters;
mod disk_full;
mod explain;
mod fan_out;
mod film_rental;
#[cfg(feature = "faults")]
mod fresh;
mod full_load;
mod generated;
mod harness;
#[cfg(feature = "faults")]
mod held_back;
mod incremental;
mod index_ownership;
mod init;
mod kept_rows;
#[cfg(feature = "faults")]
mod lanes;
mod large_rows;
mod late_commits;
mod long_transactions;
mod memory;
mod missing_indexes;
mod nesting;
mod odd_tables;
mod outages;
mod overload;
mod poison;
mod postgres_tls;
mod refusals;
mod restarts;
mod restored_source;
mod routing;
mod schema;
mod schema_changes;
mod secured;
mod servers;
mod several;
mod shapes;
mod shapes_fields;
mod shapes_shop;
mod shapes_trees;
mod shipped;
mod signals;
mod soak;
mod source_faults;
mod standby;
mod state_in_use;
mod ties;
mod tombstones;
mod too_old;
mod type_cases;
mod typed_keys;
mod types;
mod types_in_mapping;
mod verify;
mod verify_beside;
