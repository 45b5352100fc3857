//! Verify: compares the index with the database, document by document, while both are in use.
//!
//! Two passes, each of which goes on after a restart where it was. The first goes from the database's rows, a range of
//! keys at a time, to the index: documents that are missing or different. The second goes from the index's ids to the
//! database: documents without a row.
//!
//! What is seen first may be a change that is still on its way. So it is a candidate only, and counts when it is the
//! same after a poll that began later was complete, the index was refreshed, and its key is neither stale nor in flight.
//!
//! Verify writes nothing but stale keys: the pipeline builds or deletes from what the database says then. Whatever is
//! believed here, a document whose row is there is not deleted.

mod activity;
mod candidates;
mod compare;
mod documents;
mod due;
mod extras;
mod guard;
mod observe;
mod sample;
mod schedule;
mod settle;
mod verifier;
mod walk;

pub use activity::{VerifyActivity, kept_activity, note_activity, note_first_activity};
pub use compare::Comparer;
pub use guard::deletion_limit;
pub use sample::{Sampled, sample};
pub use schedule::Schedule;
pub use settle::wait_for_poll;
pub use verifier::{LISTED_MAX, Repair, Verifier, VerifyLimits};
pub use walk::IdWalk;
