//! From candidates to differences: what is still the same after a complete poll counts.

use std::collections::HashSet;

use crate::clock::now_micros;
use crate::elastic::refresh;
use crate::error::Result;
use crate::key::Key;
use crate::postgres::Source;
use crate::store::{Difference, DifferenceKind, SettledCandidates, VerifyPass, VerifyProgress};
use crate::verify::observe::{look_at_keys, split_by_change};
use crate::verify::verifier::{LISTED_MAX, Repair, Verifier};

/// Candidates looked at together; a few megabytes.
const GROUP: usize = 5_000;

/// A row that is written all the time differs in another way at each look; polls see it, so it is let go after these.
const LOOKS: usize = 3;

/// What becomes of confirmed differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmed {
    /// Counted, and listed as far as there is room.
    Reported,
    /// Recorded as stale now.
    Recorded,
    /// Kept, to be recorded all together later.
    Kept,
}

/// What is left of some candidates.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// Differences that count.
    pub(super) confirmed: Vec<Difference>,
    /// Keys of documents that the index refuses.
    pub(super) refused: Vec<Key>,
}

impl Verifier<'_> {
    /// Decides on every candidate of a pass that was kept.
    pub(super) fn confirm(
        &self,
        source: &mut Source,
        pass: VerifyPass,
        progress: &mut VerifyProgress,
        confirmed: Confirmed,
    ) -> Result<()> {
        let mut is_first = true;
        loop {
            let candidates =
                self.store.differences(self.generation, self.caller, pass, false, None, GROUP)?;
            if candidates.is_empty() {
                return Ok(());
            }
            // One poll serves all that were seen before it.
            if is_first {
                (self.settle)()?;
                is_first = false;
            }
            let all: Vec<Key> = candidates.iter().map(|candidate| candidate.key.clone()).collect();
            let looked = self.look_again(source, candidates)?;
            self.settle_group(pass, progress, &all, &looked, confirmed)?;
        }
    }

    /// Looks at candidates again; a poll that began after they were seen must be complete.
    pub(super) fn look_again(&self, source: &mut Source, candidates: Vec<Difference>) -> Result<Looked> {
        let mut looked = Looked::default();
        let mut left = candidates;
        for look in 0..LOOKS {
            self.must_go_on()?;
            if look > 0 {
                (self.settle)()?;
            }
            let keys: Vec<Key> = left.iter().map(|candidate| candidate.key.clone()).collect();
            // Before the look: what goes stale after it is seen by its new content.
            let pending = self.store.pending_among(self.generation, &keys)?;
            left.retain(|candidate| !pending.contains(&candidate.key));
            self.pass_over(pending);
            if left.is_empty() {
                break;
            }
            refresh(self.client, self.generation)?;
            let keys: Vec<Key> = left.iter().map(|candidate| candidate.key.clone()).collect();
            let now = look_at_keys(self, source, &keys)?;
            let (same, changed) = split_by_change(left, now);
            looked.confirmed.extend(same);
            left = changed;
            if left.is_empty() {
                break;
            }
        }
        let keys: Vec<Key> = looked.confirmed.iter().map(|difference| difference.key.clone()).collect();
        let refused = self.store.refused_among(self.generation, &keys)?;
        looked.confirmed.retain(|difference| !refused.contains(&difference.key));
        looked.refused = refused.into_iter().collect();
        Ok(looked)
    }

    fn pass_over(&self, pending: HashSet<Key>) {
        let mut passed_over = self.passed_over.borrow_mut();
        let room = usize::try_from(LISTED_MAX).unwrap_or(usize::MAX).saturating_sub(passed_over.len());
        passed_over.extend(pending.into_iter().take(room));
    }

    fn settle_group(
        &self,
        pass: VerifyPass,
        progress: &mut VerifyProgress,
        all: &[Key],
        looked: &Looked,
        confirmed: Confirmed,
    ) -> Result<()> {
        let found_before = progress.missing + progress.different + progress.extra;
        for difference in &looked.confirmed {
            match difference.kind {
                DifferenceKind::Missing => progress.missing += 1,
                DifferenceKind::Different => progress.different += 1,
                DifferenceKind::Extra => progress.extra += 1,
            }
        }
        progress.refused += looked.refused.len() as u64;
        let room = match confirmed {
            Confirmed::Kept => usize::MAX,
            _ if self.caller == crate::store::VerifyCaller::Command => {
                usize::try_from(LISTED_MAX.saturating_sub(found_before)).unwrap_or(usize::MAX)
            }
            _ => 0,
        };
        let listed = &looked.confirmed[..looked.confirmed.len().min(room)];
        let mut stale: Vec<Key> = Vec::new();
        if confirmed == Confirmed::Recorded {
            stale.extend(looked.confirmed.iter().map(|difference| difference.key.clone()));
            progress.recorded += stale.len() as u64;
        }
        self.store.settle_candidates(
            self.generation,
            self.caller,
            pass,
            &SettledCandidates { progress, dropped: all, kept: listed, stale: &stale },
            now_micros(),
        )
    }

    /// What becomes of confirmed differences that delete nothing.
    pub(super) fn for_documents(&self) -> Confirmed {
        if self.repair == Repair::No { Confirmed::Reported } else { Confirmed::Recorded }
    }
}
