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
use crate::verify::due::{hurried_before, is_due_soon, is_pass_due, is_range_due, micros};
use crate::verify::extras::{ExtrasPass, ExtrasStep};
use crate::verify::observe::RangeReader;
use crate::verify::verifier::Verifier;

/// Between two looks at the tables' statistics, which the server itself brings up to date about once a second.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The longest wait in one piece.
const SLICE: Duration = Duration::from_millis(200);

/// Candidates are decided on this soon, so that a difference does not wait for the end of a long pass.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(5);

/// How long a pass rests after a step, as a share of the step: ids are cheap to look up, documents are built.
const EXTRAS_REST: f64 = 0.1;
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
    /// Whether the last step was one of the pass for extra documents: two passes without hurry take turns.
    took_extras: bool,
    /// Passes that were completed and are not to be begun again.
    completed: Option<Vec<VerifyPass>>,
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
            took_extras: false,
            completed: None,
        }
    }

    /// Works until the end is asked for; what fails is tried again, for whatever reason it failed: it is for the
    /// pipeline to decide what ends the process.
    pub fn keep_verifying(&mut self) {
        let end = self.verifier.end;
        let mut backoff = Backoff::new(None).named(self.verifier.generation);
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

    /// Works off what is due, each pass once, for about `slice`.
    pub fn work_off(&mut self, slice: Duration) -> Result<()> {
        self.completed = Some(Vec::new());
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
        let (extras, documents) = (self.extras_due()?, self.documents_due()?);
        let is_turn_of_extras = match (extras, documents) {
            (None, _) => false,
            (Some(_), None) | (Some(true), _) => true,
            (Some(false), Some(_)) => !self.took_extras,
        };
        self.took_extras = is_turn_of_extras;
        if is_turn_of_extras {
            self.step_extras(extras == Some(true))?;
            return Ok(Turn::Step { rest: began.elapsed().mul_f64(EXTRAS_REST) });
        }
        let Some(is_hurried) = documents else { return Ok(Turn::Idle) };
        self.step_documents(is_hurried)?;
        Ok(Turn::Step { rest: began.elapsed().mul_f64(DOCUMENTS_REST) })
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

    fn is_completed(&self, pass: VerifyPass) -> bool {
        self.completed.as_ref().is_some_and(|completed| completed.contains(&pass))
    }

    fn complete(&mut self, pass: VerifyPass) {
        self.completed.iter_mut().for_each(|completed| completed.push(pass));
    }

    /// Whether a page of ids is due, and whether it comes before everything else.
    fn extras_due(&mut self) -> Result<Option<bool>> {
        if self.is_completed(VerifyPass::Extras) {
            return Ok(None);
        }
        let progress = match &self.extras {
            Some(pass) => pass.progress.clone(),
            None => self.first_progress(VerifyPass::Extras)?,
        };
        if progress.is_under_way {
            return Ok(Some(progress.is_hurried));
        }
        let now = now_micros();
        if is_due_soon(self.activity.extras_due, &progress, now) {
            return Ok(Some(true));
        }
        Ok(is_pass_due(&progress, now, micros(self.interval)).then_some(false))
    }

    /// Whether a range is due, and whether the others are to follow at once.
    fn documents_due(&mut self) -> Result<Option<bool>> {
        if self.is_completed(VerifyPass::Documents) {
            return Ok(None);
        }
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

    fn step_extras(&mut self, is_hurried: bool) -> Result<()> {
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
                    begin(verifier, VerifyPass::Extras, &kept, is_hurried)?
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
            self.complete(VerifyPass::Extras);
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
                    begin(verifier, VerifyPass::Documents, &kept, is_hurried)?
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
                if pass.candidate_count > 0 && self.confirmed.elapsed() >= CONFIRM_INTERVAL {
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
                self.complete(VerifyPass::Documents);
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

/// Begins a pass, and keeps that it is to hurry: an error in its first step must not turn it into one that takes a day.
fn begin(
    verifier: &Verifier<'_>,
    pass: VerifyPass,
    kept: &VerifyProgress,
    is_hurried: bool,
) -> Result<VerifyProgress> {
    let begun = verifier.begin(pass, kept)?;
    let progress =
        VerifyProgress { is_hurried, hurried_before: hurried_before(kept, begun.started_at), ..begun };
    verifier.store.save_verify(verifier.generation, verifier.caller, pass, &progress, &[])?;
    Ok(progress)
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
