//! Verify by itself: which pass is due, and how fast it goes.
//!
//! Without a reason to hurry the pass for documents spreads its ranges over the interval, and the pass for extra
//! documents is made once in it. When rows were deleted, the pass that heals that is made at once, with rests, so that
//! the servers keep most of their time; the more often there is a reason, the longer it waits after the last one.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::clock::now_micros;
use crate::definition::Definition;
use crate::elastic::refresh;
use crate::error::{Kind, Result};
use crate::postgres::Source;
use crate::store::{VerifyCaller, VerifyPass, VerifyProgress};
use crate::verify::activity::{VerifyActivity, note_activity};
use crate::verify::documents::DocumentsPass;
use crate::verify::extras::{ExtrasPass, ExtrasStep};
use crate::verify::observe::RangeReader;
use crate::verify::verifier::Verifier;

/// Between two looks at the tables' statistics, which the server itself brings up to date about once a second.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The longest wait in one piece.
const SLICE: Duration = Duration::from_millis(200);

/// Candidates are decided on this soon, so that a difference does not wait for the end of a long pass.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(5);

/// A pass that something made due begins no sooner after the last one than this many times as long as that one took.
const PAUSE_FACTOR: i64 = 3;

/// And no sooner than this.
const PAUSE_MIN: i64 = 2_000_000;

/// How long a pass rests after a step, as a share of the step: ids are cheap to look up, documents are built.
const EXTRAS_REST: f64 = 0.33;
const DOCUMENTS_REST: f64 = 1.0;

/// Verifies what is due.
pub struct Schedule<'a> {
    verifier: &'a Verifier<'a>,
    definition: &'a Definition,
    interval: Duration,
    source: Option<Source>,
    documents: Option<(DocumentsPass, RangeReader)>,
    extras: Option<ExtrasPass>,
    activity: VerifyActivity,
    looked: Option<Instant>,
    confirmed: Instant,
}

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Turn {
    /// Nothing is due.
    Idle,
    /// A step, after which it rests.
    Step { rest: Duration },
}

impl<'a> Schedule<'a> {
    /// Verifies all of the index about once in `interval`.
    pub fn new(verifier: &'a Verifier<'a>, definition: &'a Definition, interval: Duration) -> Self {
        debug_assert!(verifier.caller == VerifyCaller::Schedule);
        Self {
            verifier,
            definition,
            interval,
            source: None,
            documents: None,
            extras: None,
            activity: VerifyActivity::default(),
            looked: None,
            confirmed: Instant::now(),
        }
    }

    /// Works until the end is asked for; what fails is tried again, for whatever reason it failed: it is for the
    /// pipeline to decide what ends the process.
    pub fn keep_verifying(&mut self) {
        let end = self.verifier.end;
        let mut backoff = Backoff::new(None);
        while !end.is_requested() {
            let wait = match self.turn() {
                Ok(Turn::Idle) => SLICE,
                Ok(Turn::Step { rest }) => {
                    backoff.succeeded();
                    rest
                }
                Err(error) if error.kind() == Kind::Interrupted => break,
                Err(error) => {
                    if let Err(error) = self.give_up(&error) {
                        log::warn!("{}", error.story());
                    }
                    let error = error.while_doing("verify").into_retryable();
                    if backoff.wait_after(error, None, end).is_err() {
                        break;
                    }
                    continue;
                }
            };
            end.wait(wait);
        }
        if let Err(error) = self.save() {
            log::warn!("{}", error.story());
        }
    }

    /// Works off what is due, for about `slice`.
    pub fn work_off(&mut self, slice: Duration) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < slice && !self.verifier.end.is_requested() {
            match self.turn() {
                Ok(Turn::Idle) => break,
                Ok(Turn::Step { .. }) => {}
                Err(error) => {
                    self.give_up(&error)?;
                    return Err(error);
                }
            }
        }
        self.save()
    }

    fn turn(&mut self) -> Result<Turn> {
        let verifier = self.verifier;
        // While everything is loaded, what is missing is on its way; extra documents are looked for at its end.
        let is_loaded = verifier
            .store
            .full_load(verifier.generation)?
            .is_some_and(|load| load.finished && !load.extras_pending);
        if !is_loaded {
            return Ok(Turn::Idle);
        }
        self.look()?;
        let began = Instant::now();
        if self.is_extras_due()? {
            self.step_extras()?;
            return Ok(Turn::Step { rest: began.elapsed().mul_f64(EXTRAS_REST) });
        }
        if let Some(is_hurried) = self.documents_due()? {
            self.step_documents(is_hurried)?;
            return Ok(Turn::Step { rest: began.elapsed().mul_f64(DOCUMENTS_REST) });
        }
        Ok(Turn::Idle)
    }

    fn look(&mut self) -> Result<()> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_INTERVAL) {
            return Ok(());
        }
        let verifier = self.verifier;
        let source = connected(verifier, &mut self.source)?;
        self.activity = note_activity(source, verifier.store, self.definition, verifier.generation)?;
        self.looked = Some(Instant::now());
        Ok(())
    }

    fn is_extras_due(&mut self) -> Result<bool> {
        if self.extras.is_some() {
            return Ok(true);
        }
        let progress = self.first_progress(VerifyPass::Extras)?;
        Ok(progress.is_under_way
            || is_due_soon(self.activity.extras_due, &progress, now_micros())
            || now_micros() - progress.started_at >= micros(self.interval))
    }

    /// Whether a range is due, and whether the others are to follow at once.
    fn documents_due(&mut self) -> Result<Option<bool>> {
        let progress = match &self.documents {
            Some((pass, _)) => pass.progress.clone(),
            None => self.first_progress(VerifyPass::Documents)?,
        };
        if progress.is_under_way && progress.is_hurried {
            return Ok(Some(true));
        }
        let now = now_micros();
        if is_due_soon(self.activity.documents_due, &progress, now) {
            if progress.is_under_way {
                // What it has compared was right then, and may be wrong now: the next one sees all of it.
                self.documents = None;
                let verifier = self.verifier;
                let ended = VerifyProgress { is_under_way: false, ..progress };
                verifier.store.save_verify(
                    verifier.generation,
                    verifier.caller,
                    VerifyPass::Documents,
                    &ended,
                    &[],
                )?;
            }
            return Ok(Some(true));
        }
        let interval = micros(self.interval);
        let is_due = is_range_due(&progress, now, interval, self.verifier.limits.chunk_size as u64);
        Ok(is_due.then_some(false))
    }

    /// A pass that never was begins its first interval now: the load that just ended was as good.
    fn first_progress(&self, pass: VerifyPass) -> Result<VerifyProgress> {
        let verifier = self.verifier;
        let progress = verifier.progress(pass)?;
        if progress.started_at != 0 {
            return Ok(progress);
        }
        let begun = VerifyProgress { started_at: now_micros(), ..progress };
        verifier.store.save_verify(verifier.generation, verifier.caller, pass, &begun, &[])?;
        // What became due before is not forgotten by it.
        Ok(begun)
    }

    fn step_extras(&mut self) -> Result<()> {
        let verifier = self.verifier;
        let source = connected(verifier, &mut self.source)?;
        let began = Instant::now();
        let pass = match &mut self.extras {
            Some(pass) => pass,
            None => {
                let kept = verifier.progress(VerifyPass::Extras)?;
                let progress = if kept.is_under_way {
                    kept
                } else {
                    refresh(verifier.client, verifier.generation)?;
                    verifier.begin(VerifyPass::Extras, &kept)?
                };
                self.extras.insert(ExtrasPass::resume(verifier, progress)?)
            }
        };
        let step = pass.step(verifier, source)?;
        pass.progress.duration += micros(began.elapsed());
        if step == ExtrasStep::Complete {
            // With the time of the last step.
            pass.save(verifier)?;
            let VerifyProgress { looked_at, recorded, .. } = pass.progress;
            report(
                verifier,
                &format!("{looked_at} ids looked up, {recorded} documents without a row"),
                recorded,
            );
            self.extras = None;
        }
        Ok(())
    }

    fn step_documents(&mut self, is_hurried: bool) -> Result<()> {
        let verifier = self.verifier;
        let source = connected(verifier, &mut self.source)?;
        let began = Instant::now();
        let (pass, reader) = match &mut self.documents {
            Some(open) => open,
            None => {
                let kept = verifier.progress(VerifyPass::Documents)?;
                let progress = if kept.is_under_way {
                    kept
                } else {
                    let begun = verifier.begin(VerifyPass::Documents, &kept)?;
                    VerifyProgress { is_hurried, ..begun }
                };
                let pass = DocumentsPass::resume(verifier, progress)?;
                let reader = pass.reader(verifier);
                self.documents.insert((pass, reader))
            }
        };
        match reader.next(source)? {
            Some(range) => {
                pass.take(verifier, source, range)?;
                pass.progress.duration += micros(began.elapsed());
                let is_time = !is_hurried || self.confirmed.elapsed() >= CONFIRM_INTERVAL;
                if pass.candidate_count > 0 && is_time {
                    pass.confirm(verifier, source)?;
                    self.confirmed = Instant::now();
                }
                if !is_hurried {
                    // The next range may be long in coming.
                    pass.save(verifier)?;
                }
            }
            None => {
                pass.finish(verifier, source)?;
                let VerifyProgress { looked_at, recorded, .. } = pass.progress;
                report(verifier, &format!("{looked_at} documents compared, {recorded} differ"), recorded);
                self.documents = None;
            }
        }
        Ok(())
    }

    /// Keeps how far it is.
    fn save(&mut self) -> Result<()> {
        if let Some((pass, _)) = &mut self.documents {
            pass.save(self.verifier)?;
        }
        if let Some(pass) = &mut self.extras {
            pass.save(self.verifier)?;
        }
        Ok(())
    }

    /// Ends the pass at hand; it goes on from where it was kept, on a new connection.
    fn give_up(&mut self, error: &crate::error::Error) -> Result<()> {
        let verifier = self.verifier;
        let pass = if self.extras.is_some() { VerifyPass::Extras } else { VerifyPass::Documents };
        (self.source, self.documents, self.extras, self.looked) = (None, None, None, None);
        let progress = VerifyProgress { error: Some(error.story()), ..verifier.progress(pass)? };
        verifier.store.save_verify(verifier.generation, verifier.caller, pass, &progress, &[])
    }
}

fn connected<'s>(verifier: &Verifier<'_>, source: &'s mut Option<Source>) -> Result<&'s mut Source> {
    match source {
        Some(source) => Ok(source),
        None => Ok(source.insert((verifier.connect)()?)),
    }
}

fn report(verifier: &Verifier<'_>, text: &str, found: u64) {
    if found > 0 {
        log::warn!("{}: verify: {text}: recorded as stale", verifier.generation);
    } else {
        log::info!("{}: verify: {text}", verifier.generation);
    }
}

/// Whether a pass is due for what has happened since it began, and the last one is long enough ago.
fn is_due_soon(due_since: Option<i64>, progress: &VerifyProgress, now: i64) -> bool {
    let pause = progress.duration.saturating_mul(PAUSE_FACTOR).max(PAUSE_MIN);
    let was_begun = progress.is_under_way || progress.finished_at.is_some();
    let last_began = if was_begun { progress.started_at } else { 0 };
    due_since.is_some_and(|since| since > last_began)
        && progress.finished_at.is_none_or(|finished_at| now - finished_at >= pause || now < finished_at)
}

/// Whether a range is due so that the ranges are spread evenly over the interval.
fn is_range_due(progress: &VerifyProgress, now: i64, interval: i64, chunk_size: u64) -> bool {
    let elapsed = now - progress.started_at;
    if !progress.is_under_way {
        // The first range of the next pass, or of the first one: a load or pass that ended has just looked at all.
        return elapsed >= interval;
    }
    if elapsed >= interval {
        return true;
    }
    let chunk_size = chunk_size.max(1);
    let range_count = progress.expected.div_ceil(chunk_size).max(1) as f64;
    let due = (range_count * elapsed.max(0) as f64 / interval.max(1) as f64).floor();
    ((progress.looked_at / chunk_size) as f64) < due
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(started_at: i64, looked_at: u64) -> VerifyProgress {
        VerifyProgress {
            is_under_way: true,
            started_at,
            looked_at,
            expected: 1_000,
            ..VerifyProgress::default()
        }
    }

    #[test]
    fn ranges_are_spread_over_the_interval() {
        // Ten ranges in 1,000 microseconds.
        assert!(!is_range_due(&progress(5_000, 0), 5_050, 1_000, 100));
        assert!(is_range_due(&progress(5_000, 0), 5_100, 1_000, 100));
        assert!(!is_range_due(&progress(5_000, 100), 5_199, 1_000, 100));
        assert!(is_range_due(&progress(5_000, 100), 5_200, 1_000, 100));
        // More rows than expected: what is left is due at the end.
        assert!(is_range_due(&progress(5_000, 9_999), 6_000, 1_000, 100));
        let ended = VerifyProgress { is_under_way: false, ..progress(5_000, 1_000) };
        assert!(!is_range_due(&ended, 5_999, 1_000, 100) && is_range_due(&ended, 6_000, 1_000, 100));
    }

    #[test]
    fn what_happens_often_waits_longer() {
        let mut last = VerifyProgress { started_at: 10, ..VerifyProgress::default() };
        assert!(is_due_soon(Some(5), &last, 20) && !is_due_soon(None, &last, 20));
        last.finished_at = Some(1_000_000);
        last.duration = 10_000_000;
        assert!(!is_due_soon(Some(5), &last, 99_000_000));
        assert!(!is_due_soon(Some(20), &last, 30_000_000) && is_due_soon(Some(20), &last, 31_000_000));
    }
}
