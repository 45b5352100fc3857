//! `run`, `once` and `resync`: the commands that run the pipeline.

use std::time::{Duration, Instant};

use crate::cli::{logging, signals, target};
use crate::elastic::Client;
use crate::error::{Kind, Result};
use crate::metrics::Counters;
use crate::pipeline::{Mode, Pipeline, Progress, Start, Target, now_micros};
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::store::{PipelineLock, Store};

/// The exit code of a run in which documents were refused.
const DOCUMENTS_REFUSED: u8 = 1;

/// Keeps the index in sync until a signal.
pub(super) fn run(settings: &Settings, adopt: bool) -> Result<u8> {
    sync(settings, &Sync { command: "run", mode: Mode::Run, adopt, resync: false })
}

/// Brings the index up to the present.
pub(super) fn once(settings: &Settings, adopt: bool) -> Result<u8> {
    sync(settings, &Sync { command: "once", mode: Mode::Once, adopt, resync: false })
}

/// Loads everything again into the index that exists.
pub(super) fn resync(settings: &Settings, adopt: bool) -> Result<u8> {
    sync(settings, &Sync { command: "resync", mode: Mode::Once, adopt, resync: true })
}

/// So that two programs of which one deletes what the other makes do not keep both servers busy.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

struct Sync {
    command: &'static str,
    mode: Mode,
    adopt: bool,
    resync: bool,
}

fn sync(settings: &Settings, sync: &Sync) -> Result<u8> {
    let definition = target::definition(settings)?;
    let pipeline_settings = target::pipeline_settings(settings);
    let client = Client::new(&settings.elastic)?;
    let _lock = PipelineLock::acquire(&settings.storage_dir, sync.command)?;
    let store = Store::open(&settings.storage_dir)?;
    let shutdown = Shutdown::new();
    signals::listen(&shutdown)?;
    let began = Instant::now();
    let counters = Counters::default();
    let run = store.start_run(sync.command, now_micros())?;
    let start = Start {
        settings: &pipeline_settings,
        definition: &definition,
        store: &store,
        client: &client,
        mode: sync.mode,
        shutdown: &shutdown,
        adopt: sync.adopt,
        resync: sync.resync,
        recreate: settings.rebuild_missing_index,
    };
    let ended = loop {
        let ended = start.prepare().and_then(|target| follow(&start, &target, &counters));
        match ended {
            Err(error) if error.kind() == Kind::IndexMissing && start.recreate => {
                log::warn!("{}; ON_INDEX_MISSING=rebuild: it is made anew and loaded in full", error.story());
                if shutdown.wait(REBUILD_PAUSE) {
                    break Ok(());
                }
            }
            other => break other,
        }
    };
    // Being asked to end is no failure.
    let ended = match ended {
        Err(error) if error.kind() == Kind::Interrupted => Ok(()),
        other => other,
    };
    let outcome = match &ended {
        Ok(()) => "done".to_owned(),
        Err(error) => error.story(),
    };
    let recorded = store.finish_run(run, &outcome, &counters.to_json(), now_micros());
    // The end that is to be recorded says more than that it could not be.
    ended?;
    recorded?;
    log::info!(
        "{}: {} documents written, {} deleted, {} refused, {} sent again; {} requests with {:.1} MB in {:.1} s",
        definition.index,
        counters.indexed.get(),
        counters.deleted.get(),
        counters.refused.get(),
        counters.retried.get(),
        counters.requests.get(),
        counters.bytes.get() as f64 / 1e6,
        began.elapsed().as_secs_f64()
    );
    Ok(if counters.refused.get() > 0 { DOCUMENTS_REFUSED } else { 0 })
}

/// Runs a pipeline with what was prepared.
fn follow(start: &Start<'_>, target: &Target, counters: &Counters) -> Result<()> {
    let progress = Progress::new(&start.definition.index, target.expected, logging::bars());
    let mut settings = start.settings.clone();
    settings.source_limits.initial_timestamp = target.initial_timestamp;
    let pipeline = Pipeline {
        settings: &settings,
        definition: start.definition,
        generation: &target.generation,
        write_alias: &target.write_alias,
        store: start.store,
        client: start.client,
        mode: start.mode,
        shutdown: start.shutdown,
        counters,
        progress: &progress,
    };
    let mut ended = pipeline.run();
    if ended.is_ok() && start.mode == Mode::Once && !start.resync {
        ended = pipeline.verify_what_is_due();
    }
    progress.caught_up();
    ended
}
