//! The pipeline: extractor, transformer and loader, three threads joined by bounded channels.
//!
//! A pipeline is made from a definition, a generation and the state, and ends when it is told to, when it has caught
//! up (in `once`), or when a worker fails. Whatever ends it, everything it had not acknowledged is still in the state.

mod extractor;
mod extras;
mod first_load;
mod identity;
mod in_hand;
mod loader;
mod migration_grace;
mod progress;
mod run;
mod start;
mod verify;

pub use crate::clock::now_micros;
pub use first_load::has_settings_of_first_load;
pub use identity::kept_identity;
pub use progress::Progress;
pub use run::{Mode, Pipeline, PipelineSettings};
pub use start::{Start, Target, kept_initial_timestamp};
pub use verify::{connect_to_verify, verify_limits};
