//! The state: one SQLite file in a folder of its own, which holds everything that must outlive the process.
//!
//! What holds at every instant, also after `kill -9`:
//!
//! - A key that was recorded stale is in `stale_keys`, in `delayed_stale_keys` or in an in-flight batch until it was
//!   acknowledged. Every move between them is one transaction.
//! - A key is in at most one in-flight batch of its generation. Stale again while in flight, it waits.
//! - Every root row up to a full load's frontier is acknowledged, or lies in an open or in-flight range.
//! - A version is given once, and never below one that was given before, over power cuts too.
//! - A page of a poll, its position and its stale keys are one transaction.
//!
//! In-flight batches hold keys, not documents: what is sent after a restart is read afresh, and one buffer of a
//! thousand keys costs a hundredth of what writing the documents would.
//!
//! `synchronous = NORMAL`: a killed process loses nothing; a power cut may take the last transactions, all tables
//! together, and they are derived again. The steps of a rebuild and the reservation of versions are written with FULL.
//! An older copy of the file is always safe, only slower.
//!
//! One process runs the pipeline ([`PipelineLock`]); others may read and record stale keys beside it. Instants are
//! microseconds since 1970, given by the caller. Keys are compared for equality only.

mod acknowledge;
mod batches;
mod checkpoints;
mod dead_letters;
mod differences;
mod directory;
mod failure;
mod full_load;
mod generations;
mod in_flight_keys;
mod key_buffer;
mod key_state;
mod lock;
mod memory;
mod meta;
#[cfg(test)]
mod model;
mod open;
mod runs;
mod schema;
#[cfg(test)]
mod speed;
mod stale_index;
mod stale_keys;
mod stale_rows;
mod status;
#[cfg(test)]
mod testing;
mod transaction;
mod verify;
mod versions;

pub use acknowledge::Acknowledgement;
pub use batches::InFlightCount;
pub use checkpoints::Checkpoint;
pub use dead_letters::{DeadLetter, DeadLetterPosition, KeptDeadLetter};
pub use differences::{Difference, DifferenceKind, SettledCandidates};
pub use full_load::{FullLoad, Purpose};
pub use generations::GenerationRecord;
pub use key_state::KeyState;
pub use lock::PipelineLock;
pub use open::Store;
pub use runs::{Run, RunNumber};
pub use status::{FeedStatus, Status};
pub use verify::{VerifyCaller, VerifyPass, VerifyProgress};
