//! The source: connections to PostgreSQL, what its catalogue says, and the statements that read it.
//!
//! PostgreSQL is only ever read. Every statement is unnamed and every setting local to its transaction, so that a
//! transaction pooler between is no hindrance.

mod activity;
mod castable;
mod catalog;
mod connect;
mod extract;
mod identity;
mod inspect;
mod lookup;
mod plan;
mod poll;
mod select;
mod server;
mod source;
mod sql;
mod statistics;
mod tls;
mod watched;

pub use activity::{Activity, Running};
pub use identity::SourceIdentity;
pub use lookup::is_hashed_id;
pub use plan::SourcePlan;
pub use poll::{PollPosition, PolledRow};
pub use select::CursorKind;
pub use source::{Source, SourceLimits};
pub use statistics::TableStatistics;
pub use watched::WatchedTable;
