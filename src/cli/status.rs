//! `status`: how far the index is, from the state alone and, where it answers, from the index.

use std::time::Duration;

use serde_json::{Value, json};

use crate::checkpoint::ServerTime;
use crate::cli::target::instant;
use crate::cli::verify_status::VerifyStatus;
use crate::cli::{output, target};
use crate::elastic::{Client, document_count};
use crate::error::Result;
use crate::feed::{CursorFeed, ForgottenSession};
use crate::pipeline::now_micros;
use crate::settings::{ElasticSettings, Settings};
use crate::store::{Run, Status, Store};

/// How many runs are shown.
const SHOWN_RUNS: u32 = 5;

/// How long the index may take to say how many documents it has.
const INDEX_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn status(settings: &Settings, as_json: bool) -> Result<u8> {
    let definition = target::definition(settings)?;
    let Some(store) = Store::open_read_only(&settings.storage_dir)? else {
        let place = settings.storage_dir.display().to_string();
        if as_json {
            output::json(&json!({ "index": definition.index, "state": null }))?;
        } else {
            output::line(&format!(
                "{}: nothing was loaded yet, there is no state in {place}",
                definition.index
            ))?;
        }
        return Ok(0);
    };
    let generation = store.current_generation(&definition.index)?;
    let name = generation.as_ref().map(|generation| generation.name.as_str());
    let state = store.status(name.unwrap_or_default())?;
    let verify = VerifyStatus::read(&store, name.unwrap_or_default())?;
    let forgotten = CursorFeed::forgotten_session(&store, name.unwrap_or_default())?;
    let runs = store.last_runs(SHOWN_RUNS)?;
    let documents = match name {
        Some(name) => {
            Client::new(&impatient(&settings.elastic)).and_then(|client| document_count(&client, name))
        }
        None => Ok(0),
    };
    let report = Report {
        index: &definition.index,
        generation: name,
        state,
        verify,
        forgotten,
        runs,
        documents,
        now: now_micros(),
    };
    if as_json {
        output::json(&report.as_json())?;
    } else {
        report.print()?;
    }
    Ok(0)
}

/// The settings of the index server, with a wait that suits someone who looks on.
fn impatient(settings: &ElasticSettings) -> ElasticSettings {
    ElasticSettings { request_timeout: settings.request_timeout.min(INDEX_TIMEOUT), ..settings.clone() }
}

struct Report<'a> {
    index: &'a str,
    generation: Option<&'a str>,
    state: Status,
    verify: VerifyStatus,
    forgotten: Option<ForgottenSession>,
    runs: Vec<Run>,
    documents: Result<u64>,
    now: i64,
}

impl Report<'_> {
    fn print(&self) -> Result<()> {
        output::line(&format!(
            "index        {} ({})",
            self.index,
            self.generation.unwrap_or("not made yet")
        ))?;
        output::line(&match &self.documents {
            Ok(count) => format!("documents    {count}"),
            Err(error) => format!("documents    unknown: {}", error.story()),
        })?;
        output::line(&format!("full load    {}", self.full_load_text()))?;
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
        for run in &self.runs {
            let ended = match (&run.ended_at, &run.outcome) {
                (Some(ended_at), Some(outcome)) => format!("ended {}: {outcome}", instant(*ended_at)),
                _ => "runs, or was killed".to_owned(),
            };
            output::line(&format!("{} began {}, {ended}", run.command, instant(run.started_at)))?;
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
            "status": if self.verify.paused_extra().is_some() { "red" } else { "green" },
            "verify": self.verify.as_json(),
            "documents": self.documents.as_ref().ok(),
            "documents_error": self.documents.as_ref().err().map(crate::error::Error::story),
            "full_load": state.full_load.as_ref().map(|load| json!({
                "finished": load.finished,
                "extras_pending": load.extras_pending,
                "documents": load.document_count,
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
            "runs": self.runs.iter().map(|run| json!({
                "command": run.command,
                "started_at": instant(run.started_at),
                "ended_at": run.ended_at.map(instant),
                "outcome": run.outcome,
                "counts": run.counts.as_deref().and_then(|counts| serde_json::from_str::<Value>(counts).ok()),
            })).collect::<Vec<_>>(),
        })
    }
}
