//! What a verify works with, and what it does about a difference.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use crate::clock::now_micros;
use crate::elastic::{Client, document_count, refresh};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::postgres::Source;
use crate::shutdown::Shutdown;
use crate::store::{Store, VerifyCaller, VerifyPass, VerifyProgress};
use crate::transform::RenderLimits;
use crate::verify::compare::Comparer;
use crate::verify::observe::look_at_keys;

/// How many confirmed differences are kept to be listed: more than anyone reads.
pub const LISTED_MAX: u64 = 10_000;

/// A command that was ended goes on where it was if that is not longer ago: what it saw before would be old.
const RESUMED_FOR: Duration = Duration::from_secs(24 * 3600);

/// What is done about differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    No,
    /// Their keys are recorded as stale, unless too many documents are extra.
    Guarded,
    /// Their keys are recorded as stale.
    Forced,
}

/// Limits of a verify.
#[derive(Clone, Copy, Debug)]
pub struct VerifyLimits {
    /// Rows of a range.
    pub chunk_size: usize,
    /// See [`RenderLimits`].
    pub document_max_bytes: usize,
    /// More extra documents than this share of the index pause deletions.
    pub max_delete_percent: u32,
    /// Rows of which the root cursor is older (microseconds since 1970) need no document.
    pub initial_timestamp: Option<i64>,
}

/// What a verify works with.
pub struct Verifier<'a> {
    /// The physical index.
    pub generation: &'a str,
    /// Compares documents.
    pub comparer: &'a Comparer,
    /// The state.
    pub store: &'a Store,
    /// The index server.
    pub client: &'a Client,
    /// Its limits.
    pub limits: VerifyLimits,
    /// Connects to the source and makes sure that it is the one of before.
    pub connect: &'a (dyn Fn() -> Result<Source> + Sync),
    /// Returns when a poll that began after the call is complete.
    pub settle: &'a dyn Fn() -> Result<()>,
    /// Ends it.
    pub end: &'a Shutdown,
    /// Whose place it keeps.
    pub caller: VerifyCaller,
    /// What it does about differences.
    pub repair: Repair,
    /// Keys that differed and had the pipeline at work on them, so that they did not count; at most [`LISTED_MAX`].
    pub passed_over: RefCell<Vec<Key>>,
}

impl Verifier<'_> {
    /// Compares everything: both passes, one after the other.
    ///
    /// An error ends it; called again, it goes on where it was.
    pub fn verify_all(&self) -> Result<bool> {
        let passes = [VerifyPass::Documents, VerifyPass::Extras];
        let mut kept = Vec::new();
        for pass in passes {
            kept.push(self.progress(pass)?);
        }
        let now = now_micros();
        let oldest = now.saturating_sub(i64::try_from(RESUMED_FOR.as_micros()).unwrap_or(i64::MAX));
        let resumable = oldest..=now;
        let is_resumed = kept.iter().any(|kept| kept.is_under_way)
            && kept.iter().all(|kept| {
                resumable.contains(&kept.saved_at) && kept.repairs == (self.repair != Repair::No)
            });
        if !is_resumed {
            refresh(self.client, self.generation)?;
            for (pass, kept) in passes.into_iter().zip(&kept) {
                self.store.forget_differences(self.generation, self.caller, pass)?;
                self.begin(pass, kept)?;
            }
        }
        if self.progress(VerifyPass::Documents)?.is_under_way {
            self.verify_documents()?;
        }
        if self.progress(VerifyPass::Extras)?.is_under_way {
            self.verify_extras()?;
        }
        Ok(is_resumed)
    }

    /// Which of these keys have a document that still differs, or that the index refused.
    pub fn still_different(&self, keys: &[Key]) -> Result<u64> {
        if keys.is_empty() {
            return Ok(0);
        }
        let mut source = (self.connect)()?;
        let mut candidates = look_at_keys(self, &mut source, keys)?;
        let asked: HashSet<&Key> = keys.iter().collect();
        candidates.retain(|candidate| asked.contains(&candidate.key));
        if candidates.is_empty() {
            return Ok(0);
        }
        (self.settle)()?;
        let looked = self.look_again(&mut source, candidates)?;
        Ok((looked.confirmed.len() + looked.refused.len()) as u64)
    }

    /// How far a pass is.
    pub fn progress(&self, pass: VerifyPass) -> Result<VerifyProgress> {
        self.store.verify_progress(self.generation, self.caller, pass)
    }

    /// Begins a pass; `last` is the one before.
    pub(super) fn begin(&self, pass: VerifyPass, last: &VerifyProgress) -> Result<VerifyProgress> {
        let now = now_micros();
        let progress = VerifyProgress {
            is_under_way: true,
            repairs: self.repair != Repair::No,
            started_at: now,
            saved_at: now,
            finished_at: last.finished_at,
            paused_extra: last.paused_extra,
            expected: document_count(self.client, self.generation)?,
            ..VerifyProgress::default()
        };
        self.store.save_verify(self.generation, self.caller, pass, &progress, &[])?;
        Ok(progress)
    }

    /// Marks a pass as complete.
    pub(super) fn finish(&self, pass: VerifyPass, progress: &mut VerifyProgress) -> Result<()> {
        let now = now_micros();
        progress.is_under_way = false;
        progress.is_read = false;
        progress.position = None;
        progress.error = None;
        progress.saved_at = now;
        progress.finished_at = Some(now);
        self.store.save_verify(self.generation, self.caller, pass, progress, &[])
    }

    pub(super) fn render_limits(&self) -> RenderLimits {
        RenderLimits { document_max_bytes: self.limits.document_max_bytes }
    }

    /// Fails if the end was asked for.
    pub(super) fn must_go_on(&self) -> Result<()> {
        if self.end.is_requested() {
            return Err(Error::interrupted());
        }
        Ok(())
    }
}
