//! `explain`: why a document is as it is: its source rows, the checkpoints, what the state knows of its key, what the
//! index holds, and whether that is what would be built now. Reads alone.

use serde_json::{Value, json};

use crate::batch::{Batch, BatchNumber, Version, Work};
use crate::cli::preview::must_be_possible;
use crate::cli::target::instant;
use crate::cli::{output, target};
use crate::document::{ActionKind, DocumentAddress};
use crate::elastic::{Client, Inspected, RawDocument, get_documents, inspect};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::postgres::{Origin, Source};
use crate::settings::Settings;
use crate::store::{Checkpoint, KeyState, Status, Store};
use crate::transform::{RenderLimits, render};
use crate::verify::Comparer;

/// How many rows of each table are shown.
const SHOWN_ROWS: usize = 5;

/// Everything that was found out about one key.
struct Report<'a> {
    key: &'a Key,
    generation: Option<String>,
    /// What would be built now; none if there is no row, or it does not meet the definition's `where`.
    built: Option<&'a [u8]>,
    comparer: Comparer,
    refusal: Option<String>,
    found: Option<RawDocument>,
    state: KeyState,
    status: Option<Status>,
    origins: Vec<Origin>,
    unwatched: Vec<String>,
}

pub(super) fn explain(settings: &Settings, only: Option<&str>, key: &str, as_json: bool) -> Result<u8> {
    let definitions = target::definitions(settings, only)?;
    let [definition] = definitions.as_slice() else {
        let indices: Vec<&str> = definitions.iter().map(|definition| definition.index.as_str()).collect();
        return Err(Error::wrong("a key is that of one index, and DEFINITION gives several")
            .hint(format!("name it with --index: {}", indices.join(", "))));
    };
    let key = Key::from_encoded(key);
    let mut source = Source::connect(&settings.source, definition, target::source_limits(settings))?;
    must_be_possible(&mut source, definition, std::slice::from_ref(&key))?;
    let store = Store::open_read_only(&settings.storage_dir)?;
    let generation = match &store {
        Some(store) => store.current_generation(&definition.index)?.map(|generation| generation.name),
        None => None,
    };
    let (state, status) = match (&store, &generation) {
        (Some(store), Some(name)) => (store.key_state(name, &key)?, Some(store.status(name)?)),
        _ => (KeyState::default(), None),
    };
    let checkpoints: Vec<&Checkpoint> =
        status.iter().flat_map(|status| &status.feeds).flat_map(|feed| &feed.checkpoints).collect();
    let origins = source.origins(&key, SHOWN_ROWS, &|table| {
        checkpoints.iter().find(|known| known.table == table).map(|known| known.last_modified.clone())
    })?;
    let unwatched = definition
        .tables()
        .iter()
        .map(ToString::to_string)
        .filter(|table| !origins.iter().any(|origin| origin.table == *table))
        .collect();
    let client = Client::new(&settings.elastic)?;
    let index = generation.clone().unwrap_or_else(|| definition.index.clone());
    let found = match inspect(&client, &definition.index)? {
        Inspected::Missing => None,
        _ => {
            let routing = source.plan().document.routing_of(&key);
            let address = DocumentAddress { id: key.document_id().into_owned(), routing };
            get_documents(&client, &index, &[address])?.pop().flatten()
        }
    };
    // The rows are read after the document, so that a document of now is not called outdated.
    let work = Work::Keys(vec![key.clone()]);
    let read = source.read(Batch { number: BatchNumber(0), work, attempt_count: 0 }, Version(0))?;
    let rendered = render(read.extracted, RenderLimits { document_max_bytes: settings.document_max_bytes });
    let refusal =
        rendered.refused.first().map(|refusal| format!("{}: {}", refusal.error_type, refusal.reason));
    let built = rendered
        .actions
        .iter()
        .find(|action| action.kind == ActionKind::Index)
        .map(|action| &rendered.body[action.document.clone()]);
    let comparer = Comparer::of(definition);
    let report =
        Report { key: &key, generation, built, comparer, refusal, found, state, status, origins, unwatched };
    if as_json {
        output::json(&report.as_json())?;
    } else {
        report.print()?;
    }
    Ok(0)
}

impl Report<'_> {
    /// Whether the index holds what would be built now.
    fn is_same(&self) -> bool {
        match (&self.built, &self.found) {
            (None, None) => self.refusal.is_none(),
            (Some(built), Some(found)) => {
                self.comparer.differing_fields(built, &found.source).is_ok_and(|fields| fields.is_empty())
            }
            _ => false,
        }
    }

    fn is_pending(&self) -> bool {
        self.state.stale.is_some() || self.state.in_flight.is_some()
    }

    /// The one sentence that answers the question.
    fn verdict(&self) -> String {
        let awaits_poll = self
            .origins
            .iter()
            .find(|origin| origin.rows.iter().any(|row| row.is_after_checkpoint == Some(true)))
            .map(|origin| origin.table.as_str());
        if self.generation.is_none() {
            return "nothing was loaded yet".to_owned();
        }
        if self.is_same() {
            return match (&self.built, self.is_pending()) {
                (Some(_), false) => "the document is what would be built now".to_owned(),
                (Some(_), true) => {
                    "the document is what would be built now, and will be built once more".to_owned()
                }
                (None, _) => {
                    "there is no row, or it does not meet `where`, and there is no document".to_owned()
                }
            };
        }
        if let Some(letter) = &self.state.dead_letter
            && !self.is_pending()
        {
            return format!(
                "the index refused the document, and keeps the last good one: {}; repair the row, or see `pgsluice dead-letters show {}`",
                letter.error_type, letter.id
            );
        }
        if let Some(refusal) = &self.refusal {
            return format!("the document cannot be built: {refusal}");
        }
        let what = match (&self.built, &self.found) {
            (Some(_), None) => "the document is missing",
            (None, Some(_)) => "there is a document without a row",
            _ => "the document differs from what would be built now",
        };
        if self.state.in_flight.is_some() {
            return format!("{what}: it is on its way");
        }
        if self.state.stale.is_some() {
            return format!("{what}: its key is stale and waits its turn");
        }
        if self.state.range_count > 0 || self.is_loading() {
            return format!("{what}: a full load is under way, which may not have come to it");
        }
        if let Some(table) = awaits_poll {
            return format!(
                "{what}: a row of {table} was written after the checkpoint, the next poll sees it"
            );
        }
        if let Some(due_at) = self.state.due_at {
            return format!("{what}: it is due to be built at {}", instant(due_at));
        }
        format!(
            "{what}, and polling does not see why: a row was deleted or moved, or written without its cursor; verify \
             heals it, at once by `pgsluice verify --repair`"
        )
    }

    fn is_loading(&self) -> bool {
        self.status
            .as_ref()
            .and_then(|status| status.full_load.as_ref())
            .is_some_and(|load| load.finished_at.is_none())
    }

    /// What is to be known of the version in the index.
    fn version_text(&self) -> String {
        let Some(found) = &self.found else { return "no document".to_owned() };
        let number = found.version.0;
        let drawn = i64::try_from(number).map_or_else(|_| "?".to_owned(), instant);
        match self.state.version_reserved {
            Some(reserved) if number > reserved => {
                format!("version {number}, which this state never gave: another writer, or a lost state")
            }
            _ => format!("version {number}, of a batch that was read at {drawn} or soon after"),
        }
    }

    fn checkpoint(&self, table: &str) -> Option<&str> {
        let feeds = &self.status.as_ref()?.feeds;
        let mut checkpoints = feeds.iter().flat_map(|feed| &feed.checkpoints);
        checkpoints.find(|known| known.table == table).map(|known| known.last_modified.as_str())
    }

    fn print(&self) -> Result<()> {
        output::line(&format!("key          {}", self.key))?;
        output::line(&format!("verdict      {}", self.verdict()))?;
        output::line(&format!("index        {}", self.generation.as_deref().unwrap_or("not made yet")))?;
        output::line(&format!("document     {}", self.version_text()))?;
        let yes_no = |is_so: bool| if is_so { "yes" } else { "no" };
        output::line(&format!("row          {}", yes_no(self.built.is_some() || self.refusal.is_some())))?;
        let stale = self.state.stale.map(|(since, _)| format!("since {}", instant(since)));
        output::line(&format!("stale        {}", stale.as_deref().unwrap_or("no")))?;
        if let Some(due_at) = self.state.due_at {
            output::line(&format!("due again    {}", instant(due_at)))?;
        }
        let flying =
            self.state.in_flight.map(|(batch, at)| format!("with batch {batch}, taken {}", instant(at)));
        output::line(&format!("in flight    {}", flying.as_deref().unwrap_or("no")))?;
        match &self.state.dead_letter {
            Some(letter) => output::line(&format!(
                "dead letter  {}, refused {} times, last {}: {}: {}",
                letter.id,
                letter.attempt_count,
                instant(letter.last_at),
                letter.error_type,
                letter.reason
            ))?,
            None => output::line("dead letter  no")?,
        }
        for origin in &self.origins {
            let more = if origin.has_more { " or more" } else { "" };
            output::line(&format!(
                "{}  {}{more} rows, checkpoint {}",
                origin.table,
                origin.row_count,
                self.checkpoint(&origin.table).unwrap_or("none yet")
            ))?;
            for row in &origin.rows {
                let after =
                    if row.is_after_checkpoint == Some(true) { ", read by the next poll" } else { "" };
                output::line(&format!(
                    "  {}  cursor {}{after}",
                    row.key,
                    row.cursor.as_deref().unwrap_or("NULL: polling never sees this row")
                ))?;
            }
            if origin.row_count > origin.rows.len() {
                output::line("  …")?;
            }
        }
        for table in &self.unwatched {
            output::line(&format!("{table}  has no cursor, polling does not see its changes"))?;
        }
        Ok(())
    }

    fn as_json(&self) -> Value {
        let origins: Vec<Value> = self
            .origins
            .iter()
            .map(|origin| {
                json!({
                    "table": origin.table,
                    "checkpoint": self.checkpoint(&origin.table),
                    "row_count": origin.row_count,
                    "has_more": origin.has_more,
                    "rows": origin.rows.iter().map(|row| json!({
                        "key": row.key.as_str(), "cursor": row.cursor, "is_after_checkpoint": row.is_after_checkpoint,
                    })).collect::<Vec<_>>(),
                })
            })
            .collect();
        json!({
            "key": self.key.as_str(),
            "id": self.key.document_id(),
            "verdict": self.verdict(),
            "is_same": self.is_same(),
            "index": self.generation,
            "has_row": self.built.is_some() || self.refusal.is_some(),
            "document": self.found.as_ref().map(|found| json!({
                "version": found.version.0,
                "read_at": i64::try_from(found.version.0).ok().map(instant),
                "is_ours": self.state.version_reserved.is_none_or(|reserved| found.version.0 <= reserved),
            })),
            "stale_since": self.state.stale.map(|(since, _)| instant(since)),
            "due_again_at": self.state.due_at.map(instant),
            "in_flight": self.state.in_flight.map(|(batch, at)| json!({ "batch": batch, "taken_at": instant(at) })),
            "dead_letter": self.state.dead_letter.as_ref().map(|letter| json!({
                "id": letter.id, "error_type": letter.error_type, "reason": letter.reason,
                "attempts": letter.attempt_count, "last_at": instant(letter.last_at),
            })),
            "tables": origins,
            "unwatched": self.unwatched,
        })
    }
}
