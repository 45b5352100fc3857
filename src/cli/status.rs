//! `status`: how far the index is, from the state alone and, where it answers, from the index.

use std::time::Duration;

use serde_json::{Value, json};

use crate::checkpoint::ServerTime;
use crate::cli::target::instant;
use crate::cli::verify_status::VerifyStatus;
use crate::cli::{output, target};
use crate::definition::Definition;
use crate::elastic::{Client, document_count};
use crate::error::Result;
use crate::feed::{CursorFeed, ForgottenSession};
use crate::pipeline::{has_settings_of_first_load, now_micros};
use crate::settings::{ElasticSettings, Settings};
use crate::store::{Run, Status, Store};

/// How many runs are shown.
const SHOWN_RUNS: u32 = 5;

/// How long the index may take to say how many documents it has.
const INDEX_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn status(settings: &Settings, only: Option<&str>, as_json: bool) -> Result<u8> {
    let definitions = target::definitions(settings, only)?;
    let Some(store) = Store::open_read_only(&settings.storage_dir)? else {
        nothing_loaded(settings, &definitions, as_json)?;
        return Ok(0);
    };
    let mut counter = DocumentCounter::new(&settings.elastic);
    let mut reports = Vec::new();
    for definition in &definitions {
        reports.push(Report::read(&store, &mut counter, definition)?);
    }
    let runs = store.last_runs(SHOWN_RUNS)?;
    if as_json {
        output::json(&as_json_of(&reports, &runs))?;
        return Ok(0);
    }
    for (position, report) in reports.iter().enumerate() {
        if position > 0 {
            output::line("")?;
        }
        report.print()?;
    }
    if reports.len() > 1 {
        output::line("")?;
    }
    for run in &runs {
        output::line(&run_text(run))?;
    }
    Ok(0)
}

fn nothing_loaded(settings: &Settings, definitions: &[Definition], as_json: bool) -> Result<()> {
    if as_json {
        let mut indices: Vec<Value> = definitions
            .iter()
            .map(|definition| json!({ "index": definition.index, "state": null }))
            .collect();
        return match indices.len() {
            1 => output::json(&indices.remove(0)),
            _ => output::json(&json!({ "state": null, "indices": indices })),
        };
    }
    let place = settings.storage_dir.display();
    for definition in definitions {
        output::line(&format!("{}: nothing was loaded yet, there is no state in {place}", definition.index))?;
    }
    Ok(())
}

/// One index as an object of its own; several as the list of such objects beside what they share.
fn as_json_of(reports: &[Report<'_>], runs: &[Run]) -> Value {
    let runs: Value = runs.iter().map(run_as_json).collect();
    let mut indices: Vec<Value> = reports.iter().map(Report::as_json).collect();
    if let [only] = indices.as_mut_slice() {
        only["runs"] = runs;
        return only.take();
    }
    let is_red = reports.iter().any(Report::is_red);
    json!({ "status": if is_red { "red" } else { "green" }, "indices": indices, "runs": runs })
}

fn run_text(run: &Run) -> String {
    let ended = match (&run.ended_at, &run.outcome) {
        (Some(ended_at), Some(outcome)) => format!("ended {}: {outcome}", instant(*ended_at)),
        _ => "runs, or was killed".to_owned(),
    };
    format!("{} began {}, {ended}", run.command, instant(run.started_at))
}

fn run_as_json(run: &Run) -> Value {
    json!({
        "command": run.command,
        "started_at": instant(run.started_at),
        "ended_at": run.ended_at.map(instant),
        "outcome": run.outcome,
        "counts": run.counts.as_deref().and_then(|counts| serde_json::from_str::<Value>(counts).ok()),
    })
}

/// Asks the index server how many documents an index has; one that is away is waited for once, whatever the number of
/// indices.
struct DocumentCounter {
    /// Or why it cannot be asked.
    client: Result<Client, String>,
}

impl DocumentCounter {
    fn new(settings: &ElasticSettings) -> Self {
        Self { client: Client::new(&impatient(settings)).map_err(|error| error.story()) }
    }

    /// The count, or why it is not known.
    fn count(&mut self, index: &str) -> Result<u64, String> {
        let counted = document_count(self.client.as_ref().map_err(String::clone)?, index);
        counted.map_err(|error| {
            let story = error.story();
            if error.is_retryable() {
                self.client = Err(story.clone());
            }
            story
        })
    }
}

/// The settings of the index server, with a wait that suits someone who looks on.
fn impatient(settings: &ElasticSettings) -> ElasticSettings {
    ElasticSettings { request_timeout: settings.request_timeout.min(INDEX_TIMEOUT), ..settings.clone() }
}

struct Report<'a> {
    index: &'a str,
    generation: Option<String>,
    state: Status,
    verify: VerifyStatus,
    forgotten: Option<ForgottenSession>,
    /// Whether the index has the settings of a first load.
    is_first_load: bool,
    /// How many there are, or why that is not known.
    documents: Result<u64, String>,
    now: i64,
}

impl<'a> Report<'a> {
    fn read(store: &Store, counter: &mut DocumentCounter, definition: &'a Definition) -> Result<Self> {
        let generation = store.current_generation(&definition.index)?.map(|generation| generation.name);
        let name = generation.as_deref().unwrap_or_default();
        Ok(Self {
            index: &definition.index,
            state: store.status(name)?,
            verify: VerifyStatus::read(store, name)?,
            forgotten: CursorFeed::forgotten_session(store, name)?,
            is_first_load: has_settings_of_first_load(store, name)?,
            documents: generation.as_deref().map_or(Ok(0), |name| counter.count(name)),
            generation,
            now: now_micros(),
        })
    }

    fn is_red(&self) -> bool {
        self.verify.paused_extra().is_some()
    }

    fn print(&self) -> Result<()> {
        output::line(&format!(
            "index        {} ({})",
            self.index,
            self.generation.as_deref().unwrap_or("not made yet")
        ))?;
        output::line(&match &self.documents {
            Ok(count) => format!("documents    {count}"),
            Err(story) => format!("documents    unknown: {story}"),
        })?;
        output::line(&format!("full load    {}", self.full_load_text()))?;
        if self.is_first_load {
            output::line("settings     no refreshes and no replicas until the load is complete (--fresh)")?;
        }
        output::line(&format!(
            "stale keys   {} waiting{}, {} due later",
            self.state.stale_count,
            self.state.stale_since.map_or(String::new(), |since| format!(" (since {})", instant(since))),
            self.state.delayed_count
        ))?;
        output::line(&format!(
            "in flight    {} batches with {} keys",
            self.state.in_flight.batches, self.state.in_flight.keys
        ))?;
        output::line(&format!("dead letters {}", self.state.dead_letter_count))?;
        for feed in &self.state.feeds {
            let polled = feed.polled_at.map_or("never".to_owned(), instant);
            output::line(&format!("{} feed  last complete poll {polled}", feed.feed))?;
            for checkpoint in &feed.checkpoints {
                let lag = self.lag_seconds(&checkpoint.last_modified);
                output::line(&format!(
                    "  {}  checkpoint {}{}",
                    checkpoint.table,
                    checkpoint.last_modified,
                    lag.map_or(String::new(), |lag| format!(", {lag:.1} s ago"))
                ))?;
            }
        }
        if let Some(ForgottenSession { pid, since }) = &self.forgotten {
            let age = self.lag_seconds(since).unwrap_or_default();
            output::line(&format!(
                "  the session with pid {pid} has been idle in a transaction for {age:.0} s"
            ))?;
        }
        for line in self.verify.lines() {
            output::line(&line)?;
        }
        Ok(())
    }

    fn full_load_text(&self) -> String {
        match &self.state.full_load {
            None => "none".to_owned(),
            Some(load) if load.finished && load.extras_pending => {
                format!("{} documents, looking for documents without a row", load.document_count)
            }
            Some(load) if load.finished => {
                let at = load.finished_at.map_or(String::new(), |at| format!(" at {}", instant(at)));
                format!("complete{at}, {} documents", load.document_count)
            }
            Some(load) => {
                let frontier =
                    load.frontier.as_ref().map_or("the start".to_owned(), |key| format!("key {key}"));
                format!("under way at {frontier}, {} documents so far", load.document_count)
            }
        }
    }

    /// How long ago a checkpoint is, by this machine's clock.
    fn lag_seconds(&self, checkpoint: &str) -> Option<f64> {
        let checkpoint = ServerTime::parse(checkpoint)?;
        Some(ServerTime::from_unix_micros(self.now).since(checkpoint).as_secs_f64())
    }

    fn as_json(&self) -> Value {
        let state = &self.state;
        json!({
            "index": self.index,
            "generation": self.generation,
            "status": if self.is_red() { "red" } else { "green" },
            "verify": self.verify.as_json(),
            "documents": self.documents.as_ref().ok(),
            "documents_error": self.documents.as_ref().err(),
            "full_load": state.full_load.as_ref().map(|load| json!({
                "finished": load.finished,
                "extras_pending": load.extras_pending,
                "documents": load.document_count,
                "fresh": self.is_first_load,
                "frontier": load.frontier.as_ref().map(super::super::key::Key::as_str),
                "started_at": instant(load.started_at),
                "finished_at": load.finished_at.map(instant),
            })),
            "stale_keys": state.stale_count,
            "stale_since": state.stale_since.map(instant),
            "stale_keys_due_later": state.delayed_count,
            "in_flight_batches": state.in_flight.batches,
            "in_flight_keys": state.in_flight.keys,
            "dead_letters": state.dead_letter_count,
            "feeds": state.feeds.iter().map(|feed| json!({
                "feed": feed.feed,
                "polled_at": feed.polled_at.map(instant),
                "tables": feed.checkpoints.iter().map(|checkpoint| json!({
                    "table": checkpoint.table,
                    "checkpoint": checkpoint.last_modified,
                    "lag_seconds": self.lag_seconds(&checkpoint.last_modified),
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "forgotten_session": self.forgotten.as_ref().map(|session| json!({
                "pid": session.pid,
                "since": session.since,
                "age_seconds": self.lag_seconds(&session.since),
            })),
        })
    }
}
