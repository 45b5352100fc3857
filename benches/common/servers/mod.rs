//! What the benchmarks on real servers share: where the servers are, the films, the null sink, the meter, the table.

#![allow(dead_code, reason = "each benchmark uses what it needs")]

pub mod bodies;
pub mod changes;
pub mod films;
pub mod index;
pub mod loads;
pub mod meter;
pub mod program;
pub mod report;
pub mod settings;
pub mod sink;
pub mod table;
