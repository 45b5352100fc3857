//! Starts the three workers, joins them, and starts them again when one failed for a passing reason.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::backoff::Backoff;
use crate::clock::now_micros;
use crate::definition::Definition;
use crate::document::RenderedBatch;
use crate::elastic::{AliasWatch, Client, Delivery, DeliverySettings};
use crate::error::{Error, Kind, Result};
use crate::metrics::Counters;
use crate::pipeline::extractor::Extractor;
use crate::pipeline::extras::look_for_extras;
use crate::pipeline::first_load::{self, has_settings_of_first_load};
use crate::pipeline::in_hand::InHand;
use crate::pipeline::loader::Loader;
use crate::pipeline::migration_grace::MigrationGrace;
use crate::pipeline::progress::Progress;
use crate::plan::ExtractedBatch;
use crate::postgres::SourceLimits;
use crate::settings::SourceSettings;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::transform::{RenderLimits, render};

/// When a pipeline ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// When it has caught up.
    Once,
    /// When it is told to.
    Run,
}

/// What a pipeline needs to know of the settings.
#[derive(Clone, Debug)]
pub struct PipelineSettings {
    /// The source.
    pub source: SourceSettings,
    /// Limits on reading.
    pub source_limits: SourceLimits,
    /// Between the beginnings of two rounds of polling.
    pub request_interval: Duration,
    /// See [`crate::feed::FeedLimits`].
    pub cursor_skew: Duration,
    /// See [`crate::feed::FeedLimits`].
    pub lookback: Duration,
    /// See [`crate::feed::FeedLimits`].
    pub seen_max: usize,
    /// See [`crate::feed::FeedLimits`].
    pub stale_keys_max: u64,
    /// Batches that wait before each stage.
    pub channel_capacity: usize,
    /// The most bytes of a bulk request.
    pub bulk_bytes: usize,
    /// The most bulk requests at once.
    pub loaders: usize,
    /// How long `once` waits for a server that is away.
    pub retry_deadline: Duration,
    /// The most dead letters kept with their documents.
    pub dead_letter_max: usize,
    /// How many refusals in a row stop the pipeline.
    pub dead_letter_stop: u64,
    /// In which all of the index is compared with the database; zero: never.
    pub verify_interval: Duration,
    /// How long `once` verifies what is due.
    pub verify_slice: Duration,
    /// More documents without a row than this share of the index are not deleted.
    pub verify_max_delete_percent: u32,
}

impl PipelineSettings {
    /// How long to wait for a server that is away: for ever in `run`.
    pub fn retry_deadline(&self, mode: Mode) -> Option<Duration> {
        (mode == Mode::Once).then_some(self.retry_deadline)
    }
}

/// A pipeline for one definition and generation.
pub struct Pipeline<'a> {
    /// What it needs of the settings.
    pub settings: &'a PipelineSettings,
    /// What documents are made of.
    pub definition: &'a Definition,
    /// The physical index.
    pub generation: &'a str,
    /// The alias that is written to.
    pub write_alias: &'a str,
    /// The state.
    pub store: &'a Store,
    /// The index server.
    pub client: &'a Client,
    /// When it ends.
    pub mode: Mode,
    /// Ends it.
    pub shutdown: &'a Shutdown,
    /// What it counts.
    pub counters: &'a Counters,
    /// Shows how far it is.
    pub progress: &'a Progress,
}

impl Pipeline<'_> {
    /// Runs until the end of its mode; a worker that fails for a passing reason ends and restarts the whole pipeline.
    pub fn run(&self) -> Result<()> {
        let mut backoff = Backoff::new(self.settings.retry_deadline(self.mode)).named(&self.definition.index);
        let mut grace = MigrationGrace::default();
        loop {
            let applied_before = self.counters.indexed.get() + self.counters.deleted.get();
            // A state that cannot be written, as on a full disk, is waited for like a server that is away.
            let returned = self.store.return_in_flight(self.generation, now_micros());
            match returned.and_then(|_| self.run_workers()) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    if self.counters.indexed.get() + self.counters.deleted.get() > applied_before {
                        backoff.succeeded();
                    }
                    let error = grace.excuse(error, Instant::now());
                    match backoff.wait_after(error, None, self.shutdown) {
                        Err(error) if error.kind() == Kind::Interrupted => return Ok(()),
                        other => other?,
                    }
                }
            }
        }
    }

    /// Looks for extra documents.
    fn look_for_extras(&self, end: &Shutdown) -> Result<()> {
        look_for_extras(self.settings, self.definition, self.generation, self.store, self.client, end)
    }

    /// Gives the index its own settings back when its first load is complete.
    fn end_first_load(&self, pending: &AtomicBool, end: &Shutdown) -> Result<()> {
        first_load::end(self.client, self.store, &self.definition.index, self.generation, pending, end)
    }

    fn run_workers(&self) -> Result<()> {
        let (extracted_sender, extracted) = bounded::<ExtractedBatch>(self.settings.channel_capacity);
        let (rendered_sender, rendered) = bounded::<RenderedBatch>(self.settings.channel_capacity);
        let is_downstream_gone = AtomicBool::new(false);
        let is_first_load = AtomicBool::new(has_settings_of_first_load(self.store, self.generation)?);
        let end_of_extractor = Shutdown::new();
        let extractor = Extractor {
            settings: self.settings,
            definition: self.definition,
            generation: self.generation,
            store: self.store,
            mode: self.mode,
            shutdown: self.shutdown,
            is_downstream_gone: &is_downstream_gone,
            has_settings_of_first_load: &is_first_load,
            sender: extracted_sender,
            counters: self.counters,
            progress: self.progress,
        };
        let end_of_waits = self.shutdown.child();
        let deliveries = Delivery::lanes(DeliverySettings {
            client: self.client.clone(),
            write_alias: self.write_alias.to_owned(),
            pipeline: self.definition.pipeline.clone(),
            bulk_bytes: self.settings.bulk_bytes,
            loaders: self.settings.loaders,
            retry_deadline: self.settings.retry_deadline(self.mode),
            refusal_limit: self.settings.dead_letter_stop,
            shutdown: end_of_waits.clone(),
        });
        let loader = Loader {
            aliases: Mutex::new(AliasWatch::new(
                self.client.clone(),
                &self.definition.index,
                self.generation,
            )),
            index: &self.definition.index,
            generation: self.generation,
            store: self.store,
            counters: self.counters,
            dead_letter_max: self.settings.dead_letter_max,
            has_warned_of_dropped: AtomicBool::new(false),
            shutdown: self.shutdown,
            progress: self.progress,
            is_downstream_gone: &is_downstream_gone,
            end_of_waits: &end_of_waits,
            in_hand: InHand::default(),
        };
        let limits = RenderLimits { document_max_bytes: self.settings.source_limits.document_max_bytes };
        let gone = &is_downstream_gone;
        let extractor_end = &end_of_extractor;
        let is_first_load = &is_first_load;
        let mut results: Vec<Result<()>> = Vec::new();
        thread::scope(|scope| {
            let mut workers = Vec::new();
            let started = [
                spawn(scope, "extractor", move || {
                    let _end = RequestOnDrop(extractor_end);
                    extractor.run()
                }),
                spawn(scope, "transformer", move || {
                    let _gone = RaiseOnDrop(gone);
                    transform(&extracted, &rendered_sender, limits);
                    Ok(())
                }),
                spawn(scope, "loader", move || {
                    let _gone = RaiseOnDrop(gone);
                    let ended = loader.run(deliveries, &rendered);
                    self.shutdown.gave_back();
                    ended
                }),
                spawn(scope, "extras", move || awaited(self.look_for_extras(extractor_end), gone)),
                spawn(scope, "first-load", move || {
                    awaited(self.end_first_load(is_first_load, extractor_end), gone)
                }),
                spawn(scope, "verify", move || self.keep_verifying(extractor_end)),
            ];
            for worker in started {
                match worker {
                    Ok(worker) => workers.push(worker),
                    Err(error) => {
                        gone.store(true, Ordering::Relaxed);
                        results.push(Err(Error::unreachable("cannot start a worker thread").because(error)));
                    }
                }
            }
            for worker in workers {
                let name = worker.thread().name().unwrap_or("a worker").to_owned();
                results.push(
                    worker
                        .join()
                        .unwrap_or_else(|_| Err(Error::unreachable(format!("{name} failed unexpectedly")))),
                );
            }
        });
        // What is wrong for good is the cause; what could be tried again may be its consequence.
        let mut first: Option<Error> = None;
        for result in results {
            if let Err(error) = result
                && first.as_ref().is_none_or(|first| first.is_retryable() && !error.is_retryable())
            {
                first = Some(error);
            }
        }
        first.map_or(Ok(()), Err)
    }
}

fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> Result<()> + Send + 'scope,
) -> std::io::Result<ScopedJoinHandle<'scope, Result<()>>> {
    thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work)
}

/// The end of a worker that others wait for: when it fails, the pipeline ends.
fn awaited(ended: Result<()>, gone: &AtomicBool) -> Result<()> {
    match ended {
        Err(error) if error.kind() == Kind::Interrupted => Ok(()),
        Err(error) => {
            gone.store(true, Ordering::Relaxed);
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

/// Raises a flag when a worker ends, also by a panic.
struct RaiseOnDrop<'a>(&'a AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Ends what depends on a worker when it ends, also by a panic.
struct RequestOnDrop<'a>(&'a Shutdown);

impl Drop for RequestOnDrop<'_> {
    fn drop(&mut self) {
        self.0.request();
    }
}

fn transform(extracted: &Receiver<ExtractedBatch>, rendered: &Sender<RenderedBatch>, limits: RenderLimits) {
    for batch in extracted {
        if rendered.send(render(batch, limits)).is_err() {
            return;
        }
    }
}
