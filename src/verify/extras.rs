//! The pass from ids to rows: extra documents.
//!
//! Nothing is recorded for deletion before the whole index was looked at and every candidate confirmed: an error on the
//! way deletes nothing, and too many of them delete nothing either.

use std::time::{Duration, Instant};

use crate::batch::Version;
use crate::clock::now_micros;
use crate::document::DocumentAddress;
use crate::elastic::get_versions;
use crate::error::Result;
use crate::key::Key;
use crate::postgres::Source;
use crate::store::{Difference, DifferenceKind, VerifyCaller, VerifyPass, VerifyProgress};
use crate::verify::candidates::Confirmed;
use crate::verify::guard::deletion_limit;
use crate::verify::observe::seen_of_extra;
use crate::verify::verifier::{Repair, Verifier};
use crate::verify::walk::IdWalk;

const PASS: VerifyPass = VerifyPass::Extras;

/// See the pass for documents.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Candidates that wait for one look together, where they are only reported.
const CANDIDATES_MAX: u64 = 10_000;

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExtrasStep {
    /// There is more.
    Working,
    /// Every id was looked up, or there are too many extra ones.
    Complete,
}

/// The pass, as far as it is.
#[derive(Debug)]
pub(super) struct ExtrasPass {
    pub(super) progress: VerifyProgress,
    walk: IdWalk,
    unsaved: Vec<Difference>,
    candidate_count: u64,
    saved: Instant,
}

impl ExtrasPass {
    /// Goes on from what was kept.
    pub(super) fn resume(verifier: &Verifier<'_>, progress: VerifyProgress) -> Result<Self> {
        let candidates =
            verifier.store.difference_count(verifier.generation, verifier.caller, PASS, false)?;
        Ok(Self {
            walk: IdWalk::new(progress.position.as_deref())?,
            progress,
            unsaved: Vec::new(),
            candidate_count: candidates,
            saved: Instant::now(),
        })
    }

    /// Looks the next ids up.
    pub(super) fn step(&mut self, verifier: &Verifier<'_>, source: &mut Source) -> Result<ExtrasStep> {
        verifier.must_go_on()?;
        let page = self.walk.step(verifier.client, verifier.generation, source)?;
        self.progress.looked_at += page.id_count as u64;
        self.progress.position = Some(self.walk.place()?);
        let found = with_versions(verifier, source, page.without_row)?;
        self.candidate_count += found.len() as u64;
        self.unsaved.extend(found);
        crate::faults::point("ids_verified");
        if page.is_last {
            self.save(verifier)?;
            return self.finish(verifier, source);
        }
        if self.saved.elapsed() >= SAVE_INTERVAL {
            self.save(verifier)?;
        }
        if self.is_deferred() {
            let limit = self.limit(verifier);
            if self.progress.extra + self.candidate_count > limit {
                // Those that the pipeline is about to delete anyway do not count.
                self.confirm(verifier, source, Confirmed::Kept)?;
                if self.progress.extra > limit {
                    return self.pause(verifier);
                }
            }
        } else if self.candidate_count >= CANDIDATES_MAX {
            self.confirm(verifier, source, Confirmed::Reported)?;
        }
        Ok(ExtrasStep::Working)
    }

    /// Whether what is found is to be deleted, if it is not too much.
    fn is_deferred(&self) -> bool {
        self.progress.repairs && !self.progress.is_only_counted
    }

    fn limit(&self, verifier: &Verifier<'_>) -> u64 {
        match verifier.repair {
            Repair::Forced => u64::MAX,
            _ => deletion_limit(self.progress.expected, verifier.limits.max_delete_percent),
        }
    }

    fn confirm(&mut self, verifier: &Verifier<'_>, source: &mut Source, confirmed: Confirmed) -> Result<()> {
        self.save(verifier)?;
        verifier.confirm(source, PASS, &mut self.progress, confirmed)?;
        self.candidate_count = 0;
        Ok(())
    }

    fn finish(&mut self, verifier: &Verifier<'_>, source: &mut Source) -> Result<ExtrasStep> {
        if !self.is_deferred() {
            self.confirm(verifier, source, Confirmed::Reported)?;
            verifier.finish(PASS, &mut self.progress)?;
            return Ok(ExtrasStep::Complete);
        }
        self.confirm(verifier, source, Confirmed::Kept)?;
        if self.progress.extra > self.limit(verifier) {
            self.pause(verifier)?;
            verifier.finish(PASS, &mut self.progress)?;
            return Ok(ExtrasStep::Complete);
        }
        self.progress.paused_extra = None;
        end_pause_of_others(verifier)?;
        let are_kept = verifier.caller == VerifyCaller::Command;
        self.progress.recorded += verifier.store.record_confirmed(
            verifier.generation,
            verifier.caller,
            PASS,
            are_kept,
            &self.progress,
            now_micros(),
        )?;
        verifier.finish(PASS, &mut self.progress)?;
        Ok(ExtrasStep::Complete)
    }

    /// Gives deletions up: for the command the rest is only counted, the schedule has seen enough.
    fn pause(&mut self, verifier: &Verifier<'_>) -> Result<ExtrasStep> {
        let found = self.progress.extra;
        self.progress.paused_extra = Some(found);
        self.progress.is_only_counted = true;
        log::error!(
            "{}: at least {found} of {} documents have no row, more than VERIFY_MAX_DELETE_PERCENT allows: none of them \
             is deleted; if they are to go, run `pgsluice verify --repair --force`",
            verifier.generation,
            self.progress.expected
        );
        if verifier.caller == VerifyCaller::Schedule {
            verifier.store.forget_differences(verifier.generation, verifier.caller, PASS)?;
            verifier.finish(PASS, &mut self.progress)?;
            return Ok(ExtrasStep::Complete);
        }
        self.save(verifier)?;
        Ok(ExtrasStep::Working)
    }

    pub(super) fn save(&mut self, verifier: &Verifier<'_>) -> Result<()> {
        self.progress.saved_at = now_micros();
        self.progress.error = None;
        verifier.store.save_verify(
            verifier.generation,
            verifier.caller,
            PASS,
            &self.progress,
            &self.unsaved,
        )?;
        self.unsaved.clear();
        self.saved = Instant::now();
        Ok(())
    }
}

impl Verifier<'_> {
    /// Looks up all ids that are left.
    pub(super) fn verify_extras(&self) -> Result<()> {
        let mut source = (self.connect)()?;
        let mut pass = ExtrasPass::resume(self, self.progress(PASS)?)?;
        while pass.step(self, &mut source)? == ExtrasStep::Working {}
        Ok(())
    }
}

/// Deletions that another caller paused are made now.
fn end_pause_of_others(verifier: &Verifier<'_>) -> Result<()> {
    for caller in [VerifyCaller::Schedule, VerifyCaller::Command] {
        let progress = verifier.store.verify_progress(verifier.generation, caller, PASS)?;
        if caller != verifier.caller && progress.paused_extra.is_some() {
            let ended = VerifyProgress { paused_extra: None, ..progress };
            verifier.store.save_verify(verifier.generation, caller, PASS, &ended, &[])?;
        }
    }
    Ok(())
}

/// Documents that are still there, with the version that they have.
fn with_versions(verifier: &Verifier<'_>, source: &Source, keys: Vec<Key>) -> Result<Vec<Difference>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let plan = &source.plan().document;
    let ids: Vec<DocumentAddress> = keys
        .iter()
        .map(|key| DocumentAddress { id: key.document_id().into_owned(), routing: plan.routing_of(key) })
        .collect();
    let versions: Vec<Option<Version>> = get_versions(verifier.client, verifier.generation, &ids)?;
    Ok(keys
        .into_iter()
        .zip(versions)
        .filter_map(|(key, version)| {
            Some(Difference {
                key,
                kind: DifferenceKind::Extra,
                fields: Vec::new(),
                seen: seen_of_extra(version?),
            })
        })
        .collect())
}
