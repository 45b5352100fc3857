//! Change feeds: what tells that rows changed. A feed yields stale keys, never content.
//!
//! The cursor feed polls each watched table by its cursor column. It is complete for every change whose cursor value
//! is not earlier than its transaction's start minus `CURSOR_SKEW`; what that leaves out is in `docs/guarantees.md`.

mod cursor_feed;
mod forgotten;
mod seen;
mod sweep;
mod window;
#[cfg(test)]
mod window_model;

pub use cursor_feed::{CursorFeed, FeedLimits, Step};
pub use forgotten::ForgottenSession;
