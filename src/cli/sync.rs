//! `run`, `once` and `resync`: the commands that run the pipelines, one for each definition, side by side.
//!
//! They share the state, the index server's client and the wish to end. What is refused or fails for one index is no
//! matter of the others, but `run` ends as a whole: a supervisor sees its exit code, and would not see a pipeline that
//! has stopped inside a process that goes on.

use std::thread;
use std::time::{Duration, Instant};

use crate::cli::arguments::IndexOptions;
use crate::cli::{exit_code, logging, signals, target};
use crate::elastic::Client;
use crate::error::{Error, Kind, Result};
use crate::metrics::{Counters, counts_of_run};
use crate::pipeline::{Mode, Pipeline, Progress, Start, Target, now_micros};
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::store::{PipelineLock, Store};

/// The exit code of a run in which documents were refused.
const DOCUMENTS_REFUSED: u8 = 1;

/// Keeps the indices in sync until a signal.
pub(super) fn run(settings: &Settings, only: Option<&str>, index: IndexOptions) -> Result<u8> {
    sync(settings, only, &Sync { command: "run", mode: Mode::Run, index, resync: false })
}

/// Brings the indices up to the present.
pub(super) fn once(settings: &Settings, only: Option<&str>, index: IndexOptions) -> Result<u8> {
    sync(settings, only, &Sync { command: "once", mode: Mode::Once, index, resync: false })
}

/// Loads everything again into the indices that exist.
pub(super) fn resync(settings: &Settings, only: Option<&str>, index: IndexOptions) -> Result<u8> {
    sync(settings, only, &Sync { command: "resync", mode: Mode::Once, index, resync: true })
}

/// So that two programs of which one deletes what the other makes do not keep both servers busy.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

struct Sync {
    command: &'static str,
    mode: Mode,
    index: IndexOptions,
    resync: bool,
}

fn sync(settings: &Settings, only: Option<&str>, sync: &Sync) -> Result<u8> {
    let definitions = target::definitions(settings, only)?;
    let pipeline_settings = target::pipeline_settings(settings);
    let client = Client::new(&settings.elastic)?;
    let _lock = PipelineLock::acquire(&settings.storage_dir, sync.command)?;
    let store = Store::open(&settings.storage_dir)?;
    let shutdown = Shutdown::new();
    signals::listen(&shutdown)?;
    let run = store.start_run(sync.command, now_micros())?;
    let is_one_of_several = definitions.len() > 1;
    let members: Vec<Member<'_>> = definitions
        .iter()
        .map(|definition| Member {
            start: Start {
                settings: &pipeline_settings,
                definition,
                store: &store,
                client: &client,
                mode: sync.mode,
                shutdown: &shutdown,
                adopt: sync.index.adopt,
                fresh: sync.index.fresh,
                resync: sync.resync,
                recreate: settings.rebuild_missing_index,
            },
            is_one_of_several,
            counters: Counters::default(),
        })
        .collect();
    let ended = side_by_side(&members);
    let counts: Vec<(&str, &Counters)> =
        members.iter().map(|member| (member.index(), &member.counters)).collect();
    let recorded =
        store.finish_run(run, &outcome(&members, &ended), &counts_of_run(&counts).to_string(), now_micros());
    let refused = members.iter().any(|member| member.counters.refused.get() > 0);
    let failures: Vec<u8> =
        ended.iter().filter_map(|ended| ended.as_ref().err()).map(Error::exit_code).collect();
    if failures.is_empty() {
        recorded?;
    }
    Ok(exit_code::worst(failures.into_iter().chain(refused.then_some(DOCUMENTS_REFUSED))))
}

/// Runs every pipeline in a thread of its own until all have ended; each says by itself how it ended.
fn side_by_side(members: &[Member<'_>]) -> Vec<Result<()>> {
    thread::scope(|scope| {
        let started: Vec<_> = members
            .iter()
            .map(|member| {
                thread::Builder::new()
                    .name("pipeline".to_owned())
                    .spawn_scoped(scope, || member.run())
                    .map_err(|error| {
                        member.end_others();
                        member.report(Error::unreachable("cannot start a thread").because(error))
                    })
            })
            .collect();
        started
            .into_iter()
            .zip(members)
            .map(|(thread, member)| {
                thread?.join().unwrap_or_else(|_| {
                    Err(member.report(Error::unreachable("the pipeline failed unexpectedly")))
                })
            })
            .collect()
    })
}

/// How the run ended, for the state's list of runs.
fn outcome(members: &[Member<'_>], ended: &[Result<()>]) -> String {
    let failures: Vec<String> = members
        .iter()
        .zip(ended)
        .filter_map(|(member, ended)| Some(format!("{}{}", member.prefix(), ended.as_ref().err()?.story())))
        .collect();
    if failures.is_empty() { "done".to_owned() } else { failures.join("; ") }
}

/// The pipeline of one definition, among those of the others.
struct Member<'a> {
    start: Start<'a>,
    is_one_of_several: bool,
    counters: Counters,
}

impl Member<'_> {
    fn index(&self) -> &str {
        &self.start.definition.index
    }

    /// What stands in front of its errors: of several, one has to be named.
    fn prefix(&self) -> String {
        if self.is_one_of_several { format!("{}: ", self.index()) } else { String::new() }
    }

    /// Runs to its end, and logs how that was.
    fn run(&self) -> Result<()> {
        // Also after a panic: the others would run on in a process that looks as if all were well.
        let _end = EndOthersOnDrop(self);
        let began = Instant::now();
        let ended = match self.follow_while_recreated() {
            // Being asked to end is no failure.
            Err(error) if error.kind() == Kind::Interrupted => Ok(()),
            other => other,
        };
        ended.map_err(|error| self.report(error))?;
        let counters = &self.counters;
        log::info!(
            "{}: {} documents written, {} deleted, {} refused, {} sent again; {} requests with {:.1} MB in {:.1} s",
            self.index(),
            counters.indexed.get(),
            counters.deleted.get(),
            counters.refused.get(),
            counters.retried.get(),
            counters.requests.get(),
            counters.bytes.get() as f64 / 1e6,
            began.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// Logs an error at the moment at which it happened: the others may take a while to end.
    fn report(&self, error: Error) -> Error {
        log::error!("{}{}", self.prefix(), error.story());
        error
    }

    /// In `run`, lets the other pipelines finish what is under way and end.
    fn end_others(&self) {
        if self.start.mode == Mode::Run && !self.start.shutdown.is_requested() {
            if self.is_one_of_several {
                log::info!(
                    "{}: its pipeline has ended, so the others finish what is under way and end",
                    self.index()
                );
            }
            self.start.shutdown.request();
        }
    }

    fn follow_while_recreated(&self) -> Result<()> {
        let start = &self.start;
        loop {
            let ended = start.prepare().and_then(|target| self.follow(&target));
            match ended {
                Err(error) if error.kind() == Kind::IndexMissing && start.recreate => {
                    log::warn!(
                        "{}{}; ON_INDEX_MISSING=rebuild: it is made anew and loaded in full",
                        self.prefix(),
                        error.story()
                    );
                    if start.shutdown.wait(REBUILD_PAUSE) {
                        return Ok(());
                    }
                }
                other => return other,
            }
        }
    }

    /// Runs a pipeline with what was prepared.
    fn follow(&self, target: &Target) -> Result<()> {
        let start = &self.start;
        let progress = Progress::new(self.index(), target.expected, logging::bars());
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
            counters: &self.counters,
            progress: &progress,
        };
        let mut ended = pipeline.run();
        if ended.is_ok() && start.mode == Mode::Once && !start.resync {
            ended = pipeline.verify_what_is_due();
        }
        progress.caught_up();
        ended
    }
}

struct EndOthersOnDrop<'a>(&'a Member<'a>);

impl Drop for EndOthersOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end_others();
    }
}
