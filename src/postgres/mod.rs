//! The source: connections to PostgreSQL, what its catalogue says, and the statements that read it.
//!
//! PostgreSQL is only ever read. Every statement is unnamed and every setting local to its transaction, so that a
//! transaction pooler between is no hindrance.

mod activity;
mod ahead;
mod castable;
mod catalog;
mod client;
mod connect;
mod covering;
mod cut;
mod extract;
mod framed;
mod groups;
mod identity;
mod indexes;
mod inspect;
mod lookup;
mod origin;
mod plan;
mod plan_document;
mod poll;
mod range_select;
mod ranges;
mod related_cache;
mod related_plan;
mod related_read;
mod relations;
mod repeats;
mod row_limit;
mod select;
mod server;
mod shape;
mod source;
mod sql;
mod statistics;
mod survey;
mod tls;
mod tombstones;
mod type_form;
mod watched;
mod written;

pub use activity::{Activity, Running, forgotten_after};
pub use identity::SourceIdentity;
pub use lookup::is_hashed_id;
pub use origin::{Origin, OriginRow};
pub use plan::SourcePlan;
pub use poll::{PollPosition, PolledRow};
pub use select::CursorKind;
pub use source::{Source, SourceLimits};
pub use statistics::TableStatistics;
pub use survey::{ForeignKey, Survey, SurveyedColumn, SurveyedTable, survey};
pub use watched::WatchedTable;
