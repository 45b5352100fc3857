//! The cursor feed: polls every watched table in rounds and records the root keys that changed rows reach.
//!
//! A round observes the server's transactions once, then reads each table from the bound that follows from it, page by
//! page. A page's stale keys and its position are one transaction of the state; the checkpoints move only when every
//! page of every table is recorded. A round that fails changes nothing but what it already recorded, and is begun
//! again from there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::ServerTime;
use crate::error::{Error, Result};
use crate::feed::forgotten::{ForgottenSession, ForgottenWarning};
use crate::feed::seen::Seen;
use crate::feed::window::{Observation, Window};
use crate::key::Key;
use crate::postgres::{CursorKind, PollPosition, PolledRow, Source};
use crate::store::Store;

/// The feed's name in the state.
pub(super) const FEED: &str = "cursor";

/// Stale keys of a fan-out are recorded in pieces of this many, so that memory does not grow with the fan-out.
pub(super) const FAN_OUT_PIECE: usize = 5_000;

/// Limits and distances of a cursor feed.
#[derive(Clone, Copy, Debug)]
pub struct FeedLimits {
    /// Rows of a page.
    pub page_size: usize,
    /// How much earlier than its transaction's start a row's cursor may be.
    pub skew: Duration,
    /// The fixed window where transactions cannot be seen.
    pub lookback: Duration,
    /// The most remembered row versions of a table.
    pub seen_max: usize,
    /// The most stale keys; the feed pauses at its recorded position when there are as many.
    pub stale_keys_max: u64,
}

/// What one step of a round did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A page was recorded; there is more to read.
    Working,
    /// There are as many stale keys as allowed: nothing was read.
    Paused,
    /// The round is complete and the checkpoints have moved.
    Complete,
}

/// What the feed keeps beside the checkpoints.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct FeedState {
    /// Transactions prepared before the first stamp, whose start is not known.
    pub(super) unknown_start: Vec<String>,
    /// A session that the last complete poll found idle in a transaction for long.
    #[serde(default)]
    pub(super) forgotten: Option<ForgottenSession>,
}

/// The position of an unfinished round, as it is kept in the state.
#[derive(Debug, Serialize, Deserialize)]
struct KeptPosition {
    /// The checkpoint that the table gets when the round is complete.
    target: String,
    position: PollPosition,
    /// What the columns were like: the position is in their types and order.
    #[serde(default)]
    shape: String,
}

/// The state of one watched table.
#[derive(Debug)]
struct TableState {
    name: String,
    checkpoint: ServerTime,
    seen: Seen,
    /// Whether the table must be read from its own checkpoint rather than from the window's bound.
    is_behind: bool,
    /// Where an unfinished round is to go on, and the checkpoint that it ends with.
    resume: Option<(PollPosition, ServerTime)>,
    has_warned_of_no_keys: bool,
}

/// A round under way.
#[derive(Debug)]
struct Round {
    observation: Observation,
    table: usize,
    position: Option<PollPosition>,
    fan_out: Option<FanOut>,
}

/// A page whose rows reach more keys than there was room for.
#[derive(Debug)]
struct FanOut {
    rows: Vec<PolledRow>,
    is_last_page: bool,
    path: usize,
    after: Option<Key>,
}

/// The cursor feed of one generation.
#[derive(Debug)]
pub struct CursorFeed {
    pub(super) generation: String,
    pub(super) limits: FeedLimits,
    window: Window,
    tables: Vec<TableState>,
    pub(super) state: FeedState,
    round: Option<Round>,
    was_blind: bool,
    pub(super) warning: ForgottenWarning,
}

impl CursorFeed {
    /// Sets every watched table's checkpoint before any row is loaded, unless that was done before.
    pub fn stamp(source: &mut Source, store: &Store, generation: &str, limits: &FeedLimits) -> Result<()> {
        let known = store.checkpoints(generation, FEED)?;
        let plan = std::sync::Arc::clone(source.plan());
        let names: Vec<String> = plan.watched.iter().map(|table| table.name.to_string()).collect();
        if names.iter().all(|name| known.iter().any(|checkpoint| checkpoint.table == *name)) {
            return Ok(());
        }
        let activity = source.activity()?;
        let observation = Window::new(limits.skew, limits.lookback).observe(&activity, activity.now);
        // What is prepared already has no known start: each gets one sweep when it has ended.
        let running_start = activity.running.iter().map(|running| running.start).min();
        let mut checkpoint =
            running_start.map_or(activity.now, |start| start.min(activity.now)).minus(limits.skew);
        if activity.is_blind {
            checkpoint = observation.checkpoint;
        }
        let state = FeedState { unknown_start: activity.prepared, forgotten: None };
        let stamps: Vec<(String, String)> =
            names.into_iter().map(|name| (name, checkpoint.to_string())).collect();
        store.stamp_checkpoints(generation, FEED, &stamps, &encode(&state)?)?;
        for (name, checkpoint) in &stamps {
            log::info!("{generation}: {name}: checkpoint {checkpoint}, set before the first row is loaded");
        }
        Ok(())
    }

    /// Takes the feed up from the state.
    pub fn load(source: &Source, store: &Store, generation: &str, limits: FeedLimits) -> Result<Self> {
        let mut feed = Self {
            generation: generation.to_owned(),
            limits,
            window: Window::new(limits.skew, limits.lookback),
            tables: Vec::new(),
            state: FeedState::default(),
            round: None,
            was_blind: false,
            warning: ForgottenWarning::default(),
        };
        feed.reload(source, store, false)?;
        Ok(feed)
    }

    /// Begins anew on a new connection: what was only in memory is forgotten, reading goes on from the checkpoints.
    ///
    /// After a restart or failover of the server its clock may have jumped and committed rows may be gone: reading
    /// then begins `lookback` earlier and from no kept position.
    pub fn reload(&mut self, source: &Source, store: &Store, server_restarted: bool) -> Result<()> {
        self.window.forget();
        self.round = None;
        self.state = match store.feed_state(&self.generation, FEED)? {
            Some(text) => decode(&text, "the feed's state")?,
            None => FeedState::default(),
        };
        let kept = store.checkpoints(&self.generation, FEED)?;
        self.tables.clear();
        for table in &source.plan().watched {
            let name = table.name.to_string();
            let Some(checkpoint) = kept.iter().find(|checkpoint| checkpoint.table == name) else {
                return Err(Error::wrong(format!("the state has no checkpoint of {name}"))
                    .hint("run `pgsluice resync`"));
            };
            let mut last_modified = server_time(&checkpoint.last_modified, &name)?;
            let mut resume = None;
            if server_restarted {
                last_modified = last_modified.minus(self.limits.lookback);
            } else if let Some(position) = &checkpoint.position {
                let kept: KeptPosition = decode(position, &name)?;
                if kept.shape == source.plan().shape.as_str() {
                    resume = Some((kept.position, server_time(&kept.target, &name)?));
                }
            }
            self.tables.push(TableState {
                name,
                checkpoint: last_modified,
                seen: Seen::new(self.limits.seen_max),
                is_behind: true,
                resume,
                has_warned_of_no_keys: false,
            });
        }
        Ok(())
    }

    /// Does one step of the present round, or begins a new one; `now` is this process's clock in Unix microseconds.
    pub fn step(&mut self, source: &mut Source, store: &Store, now: i64) -> Result<Step> {
        if store.stale_count(&self.generation)? >= self.limits.stale_keys_max {
            return Ok(Step::Paused);
        }
        let mut round = match self.round.take() {
            Some(round) => round,
            None => self.begin_round(source)?,
        };
        if round.table == self.tables.len() {
            self.finish_round(source, store, &round, now)?;
            return Ok(Step::Complete);
        }
        self.page(&mut round, source, store, now)?;
        self.round = Some(round);
        Ok(Step::Working)
    }

    fn begin_round(&mut self, source: &mut Source) -> Result<Round> {
        let activity = source.activity()?;
        let kept = self.tables.iter().map(|table| table.checkpoint).min().unwrap_or(activity.now);
        let observation = self.window.observe(&activity, kept);
        if observation.is_blind && !self.was_blind {
            log::warn!(
                "{}: running transactions cannot be seen: every poll looks back {} s, and what a longer one wrote is found by verify alone (grant pg_monitor to the role, or poll the primary)",
                self.generation,
                self.limits.lookback.as_secs()
            );
        }
        self.was_blind = observation.is_blind;
        self.look_for_forgotten(source, &observation)?;
        let mut round = Round { observation, table: 0, position: None, fan_out: None };
        self.open_table(&mut round);
        Ok(round)
    }

    /// Takes up the table's kept position, if it has one.
    fn open_table(&mut self, round: &mut Round) {
        round.position = self
            .tables
            .get(round.table)
            .and_then(|table| table.resume.as_ref())
            .map(|(position, _)| position.clone());
    }

    /// Reads and records one page, or goes on with the fan-out of one.
    fn page(&mut self, round: &mut Round, source: &mut Source, store: &Store, now: i64) -> Result<()> {
        let plan = std::sync::Arc::clone(source.plan());
        let Some(watched) = plan.watched.get(round.table) else {
            return Err(Error::unreachable("the watched tables changed during a poll"));
        };
        let table = &self.tables[round.table];
        let mut fan_out = match round.fan_out.take() {
            Some(fan_out) => fan_out,
            None => {
                let lower = match round.observation.lower {
                    Some(lower) if !table.is_behind => lower,
                    _ => table.checkpoint,
                };
                let rows =
                    source.poll_page(watched, lower, round.position.as_ref(), self.limits.page_size)?;
                let is_last_page = rows.len() < self.limits.page_size;
                if let Some(last) = rows.last() {
                    round.position = Some(PollPosition {
                        cursor: last.cursor_text.clone(),
                        key: last.key.as_str().to_owned(),
                    });
                }
                let is_new =
                    |row: &PolledRow| !table.seen.contains(row.cursor, row.key.as_str(), &row.row_version);
                let mut rows: Vec<PolledRow> = rows.into_iter().filter(is_new).collect();
                let strange_count = source.resolve_named(&mut rows)?;
                if strange_count > 0 {
                    self.warn_of_no_keys(round.table, strange_count);
                }
                FanOut { rows, is_last_page, path: 0, after: None }
            }
        };
        let table = &self.tables[round.table];
        let mut keys: Vec<Key> = Vec::new();
        let mut key_count = 0u64;
        if !fan_out.rows.is_empty() {
            if fan_out.path == 0 && fan_out.after.is_none() {
                keys.extend(fan_out.rows.iter().flat_map(|row| row.direct.iter().cloned()));
            }
            let row_keys: Vec<Key> = fan_out.rows.iter().map(|row| row.key.clone()).collect();
            while fan_out.path < watched.paths.len() {
                let room = self.limits.stale_keys_max.saturating_sub(store.stale_count(&self.generation)?);
                let limit = usize::try_from(room).unwrap_or(usize::MAX).max(FAN_OUT_PIECE);
                let after = fan_out.after.take();
                let generation = &self.generation;
                let mut record = |key: Key| {
                    keys.push(key);
                    if keys.len() >= FAN_OUT_PIECE {
                        store.record_stale(generation, &keys, 0, now)?;
                        key_count += keys.len() as u64;
                        keys.clear();
                        crate::faults::point("fan_out_piece_recorded");
                    }
                    Ok(())
                };
                if let Some(last) =
                    source.fan_out(watched, fan_out.path, &row_keys, after.as_ref(), limit, &mut record)?
                {
                    store.record_stale(generation, &keys, 0, now)?;
                    fan_out.after = Some(last);
                    round.fan_out = Some(fan_out);
                    return Ok(());
                }
                fan_out.path += 1;
            }
        }
        key_count += keys.len() as u64;
        let target = table.resume.as_ref().map_or(round.observation.checkpoint, |(_, target)| *target);
        let position = match &round.position {
            Some(position) => Some(encode(&KeptPosition {
                target: target.to_string(),
                position: position.clone(),
                shape: plan.shape.as_str().to_owned(),
            })?),
            None => None,
        };
        if !fan_out.rows.is_empty() {
            crate::faults::point("before_stale_keys");
            store.record_page(&self.generation, FEED, &table.name, position.as_deref(), &keys, now)?;
            crate::faults::point("stale_keys_recorded");
            log::info!(
                "{}: {}: {} changed rows, {key_count} stale keys recorded",
                self.generation,
                table.name,
                fan_out.rows.len()
            );
        }
        let table = &mut self.tables[round.table];
        for row in &fan_out.rows {
            table.seen.insert(row.cursor, row.key.as_str(), &row.row_version);
        }
        if fan_out.is_last_page {
            round.table += 1;
            self.open_table(round);
        }
        Ok(())
    }

    fn warn_of_no_keys(&mut self, table: usize, count: usize) {
        let table = &mut self.tables[table];
        if !std::mem::replace(&mut table.has_warned_of_no_keys, true) {
            log::warn!(
                "{}: {}: {count} tombstones name what cannot be a key of the root table; such ones are passed over",
                self.generation,
                table.name
            );
        }
    }

    fn finish_round(&mut self, source: &mut Source, store: &Store, round: &Round, now: i64) -> Result<()> {
        self.sweep_ended(source, store, now)?;
        // A column of another type than that of the plan may have hidden rows from the round.
        source.must_be_of_plan()?;
        let mut checkpoints = Vec::with_capacity(self.tables.len());
        for table in &mut self.tables {
            let resumed = table.resume.take();
            table.is_behind = resumed.is_some();
            table.checkpoint = resumed.map_or(round.observation.checkpoint, |(_, target)| target);
            checkpoints.push((table.name.clone(), table.checkpoint.to_string()));
        }
        crate::faults::point("before_checkpoints");
        store.finish_poll(&self.generation, FEED, &checkpoints, &encode(&self.state)?, now)?;
        crate::faults::point("checkpoints_recorded");
        self.window.complete(&round.observation);
        for (table, watched) in self.tables.iter_mut().zip(&source.plan().watched) {
            // Only the cursor kind whose binary value is an instant of UTC can be compared with one.
            if watched.cursor_kind == CursorKind::Timestamptz {
                table.seen.forget_before(table.checkpoint.0);
            }
        }
        Ok(())
    }
}

fn server_time(text: &str, table: &str) -> Result<ServerTime> {
    ServerTime::parse(text).ok_or_else(|| {
        Error::wrong(format!("the checkpoint of {table} in the state is no time: {text}"))
            .hint("run `pgsluice resync`")
    })
}

fn encode(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::wrong("cannot encode the feed's state").because(error))
}

pub(super) fn decode<'a, T: Deserialize<'a>>(text: &'a str, what: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Error::wrong(format!("the state's position of {what} cannot be read"))
            .because(error)
            .hint("run `pgsluice resync`")
    })
}
