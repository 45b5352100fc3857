//! Verify as a part of the pipeline: beside it in `run`, after it in `once`.

use std::cell::RefCell;
use std::time::Duration;

use crate::clock::now_micros;
use crate::definition::Definition;
use crate::error::{Error, Kind, Result};
use crate::pipeline::identity::kept_identity;
use crate::pipeline::run::{Mode, Pipeline, PipelineSettings};
use crate::postgres::{Source, SourceLimits};
use crate::shutdown::Shutdown;
use crate::store::{Store, VerifyCaller};
use crate::verify::{Comparer, Repair, Schedule, Verifier, VerifyLimits, wait_for_poll};

/// Rows of a range in memory: several copies of its documents are held at a time, and more gains nothing.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Between two looks at the state for a poll.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Connects to the source for verify, if it is the one that the state was read from.
pub fn connect_to_verify(
    settings: &PipelineSettings,
    definition: &Definition,
    store: &Store,
) -> Result<Source> {
    let limits = SourceLimits {
        batch_bytes: settings.source_limits.batch_bytes.min(BATCH_BYTES_MAX),
        // Older rows have a document if something changed since, and that must be right too.
        initial_timestamp: None,
        ..settings.source_limits
    };
    // Before the source's: a pipeline beside us moves it on, and its log must not seem to have gone back.
    let kept = kept_identity(store, &definition.index)?;
    let source = Source::connect(&settings.source, definition, limits)?;
    if let Some(kept) = kept {
        source.identity().must_continue(&kept)?;
    }
    Ok(source)
}

/// The limits of a verify.
pub fn verify_limits(settings: &PipelineSettings, initial_timestamp: Option<i64>) -> VerifyLimits {
    VerifyLimits {
        chunk_size: settings.source_limits.chunk_size,
        document_max_bytes: settings.source_limits.document_max_bytes,
        max_delete_percent: settings.verify_max_delete_percent,
        initial_timestamp,
    }
}

impl Pipeline<'_> {
    /// Verifies by itself until the end is asked for; only in `run`.
    pub(super) fn keep_verifying(&self, end: &Shutdown) -> Result<()> {
        if self.mode != Mode::Run {
            return Ok(());
        }
        let settle = || {
            let mut is_over = || Ok(end.wait(LOOK_INTERVAL));
            if wait_for_poll(self.store, self.generation, &mut is_over)? {
                Ok(())
            } else {
                Err(Error::interrupted())
            }
        };
        self.with_schedule(end, &settle, |schedule| {
            schedule.keep_verifying();
            Ok(())
        })
    }

    /// Verifies what is due for a while, and works off what it found; for `once`, after it has caught up.
    pub fn verify_what_is_due(&self) -> Result<()> {
        if self.shutdown.is_requested() {
            return Ok(());
        }
        let settle = || self.run();
        let verified = self
            .with_schedule(self.shutdown, &settle, |schedule| schedule.work_off(self.settings.verify_slice));
        match verified {
            Err(error) if error.kind() == Kind::Interrupted => return Ok(()),
            // What `once` was called for is done.
            Err(error) => {
                log::warn!("{}: {}", self.definition.index, error.while_doing("verify").story());
            }
            Ok(()) => {}
        }
        if self.store.has_due(self.generation, now_micros())? && !self.shutdown.is_requested() {
            return self.run();
        }
        Ok(())
    }

    fn with_schedule(
        &self,
        end: &Shutdown,
        settle: &dyn Fn() -> Result<()>,
        work: impl FnOnce(&mut Schedule<'_>) -> Result<()>,
    ) -> Result<()> {
        if self.settings.verify_interval.is_zero() {
            return Ok(());
        }
        let comparer = Comparer::of(self.definition);
        let connect = || connect_to_verify(self.settings, self.definition, self.store);
        let verifier = Verifier {
            generation: self.generation,
            comparer: &comparer,
            store: self.store,
            client: self.client,
            limits: verify_limits(self.settings, self.settings.source_limits.initial_timestamp),
            connect: &connect,
            settle,
            end,
            caller: VerifyCaller::Schedule,
            repair: Repair::Guarded,
            passed_over: RefCell::default(),
        };
        work(&mut Schedule::new(&verifier, self.definition, self.settings.verify_interval))
    }
}
