//! `verify`: compares the index with the database, beside a running pipeline or in its place.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::verify_report::Report;
use crate::cli::{exit_code, logging, output, signals, target};
use crate::clock::now_micros;
use crate::definition::Definition;
use crate::elastic::Client;
use crate::error::{Error, Kind, Result};
use crate::key::Key;
use crate::metrics::Counters;
use crate::pipeline::{
    Mode, Pipeline, PipelineSettings, Progress, Start, connect_to_verify, kept_initial_timestamp,
    verify_limits,
};
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::store::{
    Difference, DifferenceKind, GenerationRecord, PipelineLock, Store, VerifyCaller, VerifyPass,
};
use crate::verify::{Comparer, LISTED_MAX, Repair, Verifier, deletion_limit, sample, wait_for_poll};

/// The exit code when there are differences that were not repaired.
const DIFFERENT: u8 = 1;

/// Between two looks at what a pipeline beside does.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Between two tries to take the lock of a pipeline that may have ended.
const LOCK_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct VerifyOptions {
    pub(super) repair: Repair,
    pub(super) sample: Option<u16>,
    pub(super) as_json: bool,
}

/// What the verifications of several indices share.
struct Shared<'a> {
    settings: &'a Settings,
    options: &'a VerifyOptions,
    store: Store,
    client: Client,
    shutdown: Shutdown,
    /// Held when no other process runs the pipeline.
    lock: RefCell<Option<PipelineLock>>,
}

pub(super) fn verify(settings: &Settings, only: Option<&str>, options: &VerifyOptions) -> Result<u8> {
    let definitions = target::definitions(settings, only)?;
    let client = Client::new(&settings.elastic)?;
    let Some(store) = existing_state(settings)? else { return Err(nothing_loaded(&definitions)) };
    let shutdown = Shutdown::new();
    signals::listen(&shutdown)?;
    let lock = RefCell::new(take_lock(settings)?);
    let shared = Shared { settings, options, store, client, shutdown, lock };
    if let [definition] = definitions.as_slice() {
        let (exit_code, found) = verify_definition(&shared, definition)?;
        if options.as_json {
            output::json(&found)?;
        }
        return Ok(exit_code);
    }
    // One after the other: each reads a whole index and a whole database.
    let mut codes = Vec::new();
    let mut indices = Vec::new();
    for definition in &definitions {
        match verify_definition(&shared, definition) {
            Ok((exit_code, found)) => {
                codes.push(exit_code);
                indices.push(found);
            }
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => {
                log::error!("{}: {}", definition.index, error.story());
                codes.push(error.exit_code());
                indices.push(json!({ "index": definition.index, "error": error.story() }));
            }
        }
    }
    if options.as_json {
        output::json(&json!({ "indices": indices }))?;
    }
    Ok(exit_code::worst(codes))
}

/// Verifies one index; prints what was found, or returns it where it is to be printed as JSON.
fn verify_definition(shared: &Shared<'_>, definition: &Definition) -> Result<(u8, Value)> {
    let Shared { settings, options, store, client, shutdown, lock } = shared;
    let mut pipeline_settings = target::pipeline_settings(settings);
    let Some(generation) = store.current_generation(&definition.index)? else {
        return Err(nothing_loaded(std::slice::from_ref(definition)));
    };
    must_be_loaded(store, definition, &generation)?;
    pipeline_settings.source_limits.initial_timestamp = kept_initial_timestamp(store, &generation.name)?;
    let command = Command {
        settings,
        pipeline_settings: &pipeline_settings,
        definition,
        generation: &generation,
        store,
        client,
        shutdown,
        lock,
        is_prepared: Cell::new(false),
    };
    if command.lock.borrow().is_some() {
        // What has changed since the last run is no difference: it is worked off first.
        command.run_pipeline()?;
    }
    let comparer = Comparer::of(definition);
    let connect = || connect_to_verify(&pipeline_settings, definition, store);
    let settle = || command.settle();
    let verifier = Verifier {
        generation: &generation.name,
        comparer: &comparer,
        store,
        client,
        limits: verify_limits(&pipeline_settings, pipeline_settings.source_limits.initial_timestamp),
        connect: &connect,
        settle: &settle,
        end: shutdown,
        caller: VerifyCaller::Command,
        repair: options.repair,
        passed_over: RefCell::default(),
    };
    let began = Instant::now();
    let mut report = Report::new(&definition.index, &generation.name, options);
    match options.sample {
        Some(count) => verify_sample(&command, &verifier, usize::from(count), &mut report)?,
        None => verify_all(&command, &verifier, &mut report)?,
    }
    report.seconds = began.elapsed().as_secs_f64();
    if !options.as_json {
        report.print()?;
    }
    Ok((if report.is_right() { 0 } else { DIFFERENT }, report.as_json()))
}

/// The state, which must have been made before.
fn existing_state(settings: &Settings) -> Result<Option<Store>> {
    if let Ok(None) = Store::open_read_only(&settings.storage_dir) {
        return Ok(None);
    }
    Store::open(&settings.storage_dir).map(Some)
}

fn nothing_loaded(definitions: &[Definition]) -> Error {
    let indices: Vec<&str> = definitions.iter().map(|definition| definition.index.as_str()).collect();
    Error::wrong(format!("{}: nothing was loaded yet, so there is nothing to verify", indices.join(", ")))
        .hint("run `pgsluice once` first")
}

/// Without a complete load every row that was not loaded yet would be missing.
fn must_be_loaded(store: &Store, definition: &Definition, generation: &GenerationRecord) -> Result<()> {
    if generation.definition_hash != definition.hash {
        return Err(Error::wrong(format!(
            "the definition of {} is not the one that the state was made with",
            definition.index
        ))
        .hint(
            "run `pgsluice resync` to build every document by the new definition, or set DEFINITION back",
        ));
    }
    match store.full_load(&generation.name)? {
        Some(load) if load.finished && !load.extras_pending => Ok(()),
        _ => Err(Error::wrong(format!("the full load of {} is not complete yet", definition.index))
            .hint("verify when `pgsluice status` says that it is; `pgsluice once` completes it")),
    }
}

/// The right to run the pipeline; none while another process has it.
fn take_lock(settings: &Settings) -> Result<Option<PipelineLock>> {
    match PipelineLock::acquire(&settings.storage_dir, "verify") {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == Kind::Locked => {
            log::debug!("verify works beside it: {}", error.story());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

struct Command<'a> {
    settings: &'a Settings,
    pipeline_settings: &'a PipelineSettings,
    definition: &'a Definition,
    generation: &'a GenerationRecord,
    store: &'a Store,
    client: &'a Client,
    shutdown: &'a Shutdown,
    /// Held when no other process runs the pipeline.
    lock: &'a RefCell<Option<PipelineLock>>,
    is_prepared: Cell<bool>,
}

impl Command<'_> {
    /// Returns when a poll that began after the call is complete.
    fn settle(&self) -> Result<()> {
        if self.lock.borrow().is_none() {
            let mut tried = Instant::now();
            let is_polled = wait_for_poll(self.store, &self.generation.name, &mut || {
                self.is_alone_after_wait(&mut tried)
            })?;
            if is_polled {
                return Ok(());
            }
        }
        self.run_pipeline()
    }

    /// Waits a moment; returns whether the pipeline beside has ended, so that it is for us to run it.
    fn is_alone_after_wait(&self, tried: &mut Instant) -> Result<bool> {
        if self.shutdown.wait(LOOK_INTERVAL) {
            return Err(Error::interrupted());
        }
        if tried.elapsed() < LOCK_INTERVAL {
            return Ok(false);
        }
        *tried = Instant::now();
        *self.lock.borrow_mut() = take_lock(self.settings)?;
        Ok(self.lock.borrow().is_some())
    }

    /// Polls and works off all stale keys, as `once` does.
    fn run_pipeline(&self) -> Result<()> {
        if !self.is_prepared.get() {
            let start = Start {
                settings: self.pipeline_settings,
                definition: self.definition,
                store: self.store,
                client: self.client,
                mode: Mode::Once,
                shutdown: self.shutdown,
                adopt: false,
                fresh: false,
                resync: false,
                recreate: false,
            };
            let target = start.prepare()?;
            if target.generation != self.generation.name {
                return Err(Error::wrong("the index was made anew while it was verified"));
            }
            self.is_prepared.set(true);
        }
        Pipeline {
            settings: self.pipeline_settings,
            definition: self.definition,
            generation: &self.generation.name,
            write_alias: &self.generation.write_alias,
            store: self.store,
            client: self.client,
            mode: Mode::Once,
            shutdown: self.shutdown,
            counters: &Counters::default(),
            progress: &Progress::new(&self.definition.index, None, logging::bars()),
        }
        .run()?;
        if self.shutdown.is_requested() { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// Returns when the recorded keys are built anew or deleted.
    fn work_off(&self, keys: &[Key], recorded: u64) -> Result<()> {
        let generation = &self.generation.name;
        let mut tried = Instant::now();
        let mut last = (usize::MAX, u64::MAX);
        let mut moved = Instant::now();
        while self.lock.borrow().is_none() {
            let left = (
                self.store.unfinished_among(generation, keys)?,
                // Of more keys than are listed only the number is known.
                if recorded > keys.len() as u64 { self.store.stale_count(generation)? } else { 0 },
            );
            if left.0 == 0 && (left.1 == 0 || !self.store.has_due(generation, now_micros())?) {
                return Ok(());
            }
            if left != last {
                (last, moved) = (left, Instant::now());
            } else if moved.elapsed() >= self.pipeline_settings.retry_deadline {
                return Err(Error::unreachable(
                    "the pipeline beside has not worked off the recorded keys for RETRY_DEADLINE",
                )
                .hint("they stay recorded; see `pgsluice status`"));
            }
            self.is_alone_after_wait(&mut tried)?;
        }
        self.run_pipeline()
    }
}

fn verify_all(command: &Command<'_>, verifier: &Verifier<'_>, report: &mut Report<'_>) -> Result<()> {
    report.is_resumed = verifier.verify_all()?;
    let (store, generation) = (command.store, verifier.generation);
    let documents = verifier.progress(VerifyPass::Documents)?;
    let extras = verifier.progress(VerifyPass::Extras)?;
    report.compared = documents.looked_at;
    report.looked_up = extras.looked_at;
    report.missing = documents.missing;
    report.different = documents.different;
    report.extra = extras.extra;
    report.refused = documents.refused + extras.refused;
    report.recorded = documents.recorded + extras.recorded;
    report.is_paused = extras.repairs && extras.paused_extra.is_some();
    for pass in [VerifyPass::Documents, VerifyPass::Extras] {
        let limit = usize::try_from(LISTED_MAX).unwrap_or(usize::MAX);
        report.differences.extend(store.differences(
            generation,
            VerifyCaller::Command,
            pass,
            true,
            None,
            limit,
        )?);
    }
    if report.recorded > 0 {
        let keys: Vec<Key> = report
            .differences
            .iter()
            .filter(|difference| !report.is_paused || difference.kind != DifferenceKind::Extra)
            .map(|difference| difference.key.clone())
            .collect();
        command.work_off(&keys, report.recorded)?;
        report.left = verifier.still_different(&keys)?;
    }
    // What the pipeline beside was at work on is no difference, and is repaired all the same when this ends.
    let passed_over = verifier.passed_over.take();
    if verifier.repair != Repair::No && !passed_over.is_empty() {
        command.work_off(&passed_over, passed_over.len() as u64)?;
    }
    for pass in [VerifyPass::Documents, VerifyPass::Extras] {
        store.forget_differences(generation, VerifyCaller::Command, pass)?;
    }
    Ok(())
}

fn verify_sample(
    command: &Command<'_>,
    verifier: &Verifier<'_>,
    count: usize,
    report: &mut Report<'_>,
) -> Result<()> {
    let sampled = sample(verifier, count)?;
    let of_kind = |kind: DifferenceKind| {
        sampled.differences.iter().filter(|difference| difference.kind == kind).count() as u64
    };
    report.compared = sampled.looked_at;
    report.looked_up = sampled.looked_at;
    report.missing = of_kind(DifferenceKind::Missing);
    report.different = of_kind(DifferenceKind::Different);
    report.extra = of_kind(DifferenceKind::Extra);
    report.refused = sampled.refused;
    report.is_paused = verifier.repair == Repair::Guarded
        && report.extra > deletion_limit(sampled.looked_at, verifier.limits.max_delete_percent);
    if verifier.repair != Repair::No {
        let may_be_repaired =
            |difference: &&Difference| !report.is_paused || difference.kind != DifferenceKind::Extra;
        let keys: Vec<Key> = sampled
            .differences
            .iter()
            .filter(may_be_repaired)
            .map(|difference| difference.key.clone())
            .collect();
        command.store.record_stale(verifier.generation, &keys, 0, now_micros())?;
        report.recorded = keys.len() as u64;
        if !keys.is_empty() {
            command.work_off(&keys, report.recorded)?;
            report.left = verifier.still_different(&keys)?;
        }
    }
    report.differences = sampled.differences;
    Ok(())
}
