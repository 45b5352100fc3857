//! The pass from rows to documents: missing and different.

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use crate::clock::now_micros;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::postgres::Source;
use crate::store::{Difference, VerifyPass, VerifyProgress};
use crate::verify::observe::{RangeReader, ReadRange, look_at_rendered};
use crate::verify::verifier::Verifier;

/// How much work is done again at most after a restart: each save costs the pipeline beside it a look at the state.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Candidates that wait for one look together.
const CANDIDATES_MAX: u64 = 10_000;

/// The pass, as far as it is.
#[derive(Debug)]
pub(super) struct DocumentsPass {
    pub(super) progress: VerifyProgress,
    unsaved: Vec<Difference>,
    pub(super) candidate_count: u64,
    saved: Instant,
}

impl DocumentsPass {
    /// Goes on from what was kept.
    pub(super) fn resume(verifier: &Verifier<'_>, progress: VerifyProgress) -> Result<Self> {
        let kept = verifier.store.difference_count(
            verifier.generation,
            verifier.caller,
            VerifyPass::Documents,
            false,
        )?;
        Ok(Self { progress, unsaved: Vec::new(), candidate_count: kept, saved: Instant::now() })
    }

    /// What reads on from where it is.
    pub(super) fn reader(&self, verifier: &Verifier<'_>) -> RangeReader {
        let low = self.progress.position.clone().map(Key::from_encoded);
        RangeReader::new(low, self.progress.is_read, verifier.limits.chunk_size, verifier.render_limits())
    }

    /// Compares a range with the index.
    pub(super) fn take(
        &mut self,
        verifier: &Verifier<'_>,
        source: &mut Source,
        range: ReadRange,
    ) -> Result<()> {
        verifier.must_go_on()?;
        let found = look_at_rendered(verifier, source, &range.rendered)?;
        self.progress.looked_at += (range.rendered.actions.len() + range.rendered.refused.len()) as u64;
        self.progress.refused += range.rendered.refused.len() as u64;
        self.progress.is_read = range.high.is_none();
        self.progress.position = range.high.map(|key| key.as_str().to_owned());
        self.candidate_count += found.len() as u64;
        self.unsaved.extend(found);
        crate::faults::point("range_verified");
        if self.saved.elapsed() >= SAVE_INTERVAL {
            self.save(verifier)?;
        }
        if self.candidate_count >= CANDIDATES_MAX {
            self.confirm(verifier, source)?;
        }
        Ok(())
    }

    /// Decides on the candidates seen so far.
    pub(super) fn confirm(&mut self, verifier: &Verifier<'_>, source: &mut Source) -> Result<()> {
        self.save(verifier)?;
        verifier.confirm(source, VerifyPass::Documents, &mut self.progress, verifier.for_documents())?;
        self.candidate_count = 0;
        Ok(())
    }

    /// Decides on what is left after the last range and marks the pass as complete.
    pub(super) fn finish(&mut self, verifier: &Verifier<'_>, source: &mut Source) -> Result<()> {
        self.confirm(verifier, source)?;
        verifier.finish(VerifyPass::Documents, &mut self.progress)
    }

    pub(super) fn save(&mut self, verifier: &Verifier<'_>) -> Result<()> {
        self.progress.saved_at = now_micros();
        self.progress.error = None;
        verifier.store.save_verify(
            verifier.generation,
            verifier.caller,
            VerifyPass::Documents,
            &self.progress,
            &self.unsaved,
        )?;
        self.unsaved.clear();
        self.saved = Instant::now();
        Ok(())
    }
}

impl Verifier<'_> {
    /// Reads all ranges that are left, each while the one before it is compared.
    pub(super) fn verify_documents(&self) -> Result<()> {
        let mut pass = DocumentsPass::resume(self, self.progress(VerifyPass::Documents)?)?;
        let mut reader = pass.reader(self);
        let (sender, ranges) = bounded::<Result<ReadRange>>(1);
        thread::scope(|scope| {
            // Dropped at the end of this closure, which ends the reader before the scope waits for it.
            let ranges = ranges;
            let connect = self.connect;
            thread::Builder::new()
                .name("verify reader".to_owned())
                .spawn_scoped(scope, move || {
                    let mut read = || -> Result<()> {
                        let mut source = connect()?;
                        while let Some(range) = reader.next(&mut source)? {
                            if sender.send(Ok(range)).is_err() {
                                break;
                            }
                        }
                        Ok(())
                    };
                    if let Err(error) = read() {
                        let _ = sender.send(Err(error));
                    }
                })
                .map_err(|error| Error::unreachable("cannot start a thread").because(error))?;
            let mut source = (self.connect)()?;
            for range in &ranges {
                pass.take(self, &mut source, range?)?;
            }
            if !pass.progress.is_read {
                return Err(Error::unreachable("the reader of verify failed unexpectedly"));
            }
            pass.finish(self, &mut source)
        })
    }
}
