//! The extractor: polls the change feed, takes batches from the state, reads their rows.
//!
//! It waits on a full channel in slices and goes on polling between them, so the feed never stands still because
//! Elasticsearch does. A connection that fails is made anew, with growing waits; nothing but the state is kept over it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{SendTimeoutError, Sender};

use crate::backoff::Backoff;
use crate::batch::{Batch, Work};
use crate::clock::now_micros;
use crate::definition::Definition;
use crate::error::Result;
use crate::feed::{CursorFeed, FeedLimits, Step};
use crate::metrics::Counters;
use crate::pipeline::identity::{keep_identity, kept_identity};
use crate::pipeline::progress::Progress;
use crate::pipeline::run::{Mode, PipelineSettings};
use crate::pipeline::start::must_keep_key_order;
use crate::plan::ExtractedBatch;
use crate::postgres::Source;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::verify::note_first_activity;

/// The longest wait of the extractor in one piece: how late it can notice that something ended.
const SLICE: Duration = Duration::from_millis(20);

pub(super) struct Extractor<'a> {
    pub(super) settings: &'a PipelineSettings,
    pub(super) definition: &'a Definition,
    pub(super) generation: &'a str,
    pub(super) store: &'a Store,
    pub(super) mode: Mode,
    pub(super) shutdown: &'a Shutdown,
    /// Raised when a later stage has ended before it was told to.
    pub(super) is_downstream_gone: &'a AtomicBool,
    /// Whether the index has the settings of a first load: the load is not complete before it has its own again.
    pub(super) has_settings_of_first_load: &'a AtomicBool,
    pub(super) sender: Sender<ExtractedBatch>,
    pub(super) counters: &'a Counters,
    pub(super) progress: &'a Progress,
}

/// What lives as long as one connection.
struct Connected {
    source: Source,
    feed: CursorFeed,
}

/// Where the extractor is with its rounds of polling.
struct Rounds {
    next_poll_at: Instant,
    is_polling: bool,
    /// Whether a round that began after our start is complete.
    has_polled: bool,
    /// A batch that was read while the channel was full.
    waiting: Option<ExtractedBatch>,
    /// Whether the last batch was a range of the full load: ranges and stale keys take turns.
    took_range: bool,
    has_announced: bool,
    last_wal_kept: Instant,
}

impl Rounds {
    /// Whether no round is to be begun any more.
    fn are_over(&self, mode: Mode) -> bool {
        mode == Mode::Once && self.has_polled
    }

    /// How long to wait when there is nothing to do: until the next round, unless it is not time that is waited for.
    fn rest(&self, mode: Mode, now: Instant) -> Duration {
        if self.is_polling || self.are_over(mode) {
            return SLICE;
        }
        self.next_poll_at.saturating_duration_since(now).min(SLICE)
    }
}

impl Extractor<'_> {
    /// Works until shutdown, until caught up (in `once`), or until something is wrong for good.
    pub(super) fn run(self) -> Result<()> {
        let mut backoff = Backoff::new(self.settings.retry_deadline(self.mode)).named(&self.definition.index);
        let mut connected: Option<Connected> = None;
        let mut rounds = Rounds {
            next_poll_at: Instant::now(),
            is_polling: false,
            has_polled: false,
            waiting: None,
            took_range: false,
            has_announced: false,
            last_wal_kept: Instant::now(),
        };
        loop {
            if self.shutdown.is_requested() || self.is_downstream_gone.load(Ordering::Relaxed) {
                return Ok(());
            }
            match self.work(&mut connected, &mut rounds) {
                Ok(true) => return Ok(()),
                Ok(false) => backoff.succeeded(),
                Err(error) if error.is_retryable() => {
                    // A batch that was being read goes back, to be taken again with a new version.
                    connected = None;
                    rounds.is_polling = false;
                    match backoff.wait_after(error, None, self.shutdown) {
                        Err(error) if error.kind() == crate::error::Kind::Interrupted => return Ok(()),
                        other => other?,
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn connect(&self) -> Result<Connected> {
        let kept = kept_identity(self.store, &self.definition.index)?;
        let mut source =
            Source::connect(&self.settings.source, self.definition, self.settings.source_limits)?;
        let server_restarted = match &kept {
            Some(kept) => {
                source.identity().must_continue(kept)?;
                if source.identity().is_branched_since(kept) {
                    log::warn!(
                        "{}: PostgreSQL is on timeline {} now, as after a failover or a restore: if it lost rows on the \
                         way, `pgsluice resync` takes them out of the index",
                        self.definition.index,
                        source.identity().timeline
                    );
                }
                source.identity().is_restarted_since(kept)
            }
            None => false,
        };
        must_keep_key_order(self.store, self.generation, &source)?;
        note_first_activity(&mut source, self.store, self.definition, self.generation)?;
        let limits = self.feed_limits();
        CursorFeed::stamp(&mut source, self.store, self.generation, &limits)?;
        let mut feed = CursorFeed::load(&source, self.store, self.generation, limits)?;
        if server_restarted {
            log::info!(
                "{}: PostgreSQL was restarted or failed over: reading begins {} s earlier",
                self.definition.index,
                limits.lookback.as_secs()
            );
            feed.reload(&source, self.store, true)?;
        }
        keep_identity(self.store, &self.definition.index, source.identity())?;
        for warning in &source.plan().warnings {
            log::debug!("{warning}");
        }
        Ok(Connected { source, feed })
    }

    fn feed_limits(&self) -> FeedLimits {
        FeedLimits {
            page_size: self.settings.source_limits.chunk_size,
            skew: self.settings.cursor_skew,
            lookback: self.settings.lookback,
            seen_max: self.settings.seen_max,
            stale_keys_max: self.settings.stale_keys_max,
        }
    }

    /// Does the next thing that is due; returns true when there is nothing left to do for ever.
    fn work(&self, connected: &mut Option<Connected>, rounds: &mut Rounds) -> Result<bool> {
        if connected.is_none() {
            *connected = Some(self.connect()?);
        }
        let Some(Connected { source, feed }) = connected else { return Ok(false) };
        let polled = self.poll(source, feed, rounds)?;
        if let Some(batch) = rounds.waiting.take() {
            return self.hand_over(batch, rounds);
        }
        if let Some(batch) = self.next_batch(source, rounds)? {
            return self.read(source, batch, rounds);
        }
        if polled {
            return Ok(false);
        }
        if self.is_caught_up(rounds)? {
            if !rounds.has_announced {
                rounds.has_announced = true;
                self.progress.caught_up();
                log::info!(
                    "{}: caught up, {} documents written, {} deleted, {} refused",
                    self.definition.index,
                    self.counters.indexed.get(),
                    self.counters.deleted.get(),
                    self.counters.refused.get()
                );
            }
            if self.mode == Mode::Once {
                return Ok(true);
            }
        }
        self.keep_wal_position(source, rounds)?;
        self.shutdown.wait(rounds.rest(self.mode, Instant::now()));
        Ok(false)
    }

    /// Does one step of a round that is due or under way; returns whether it read a page.
    fn poll(&self, source: &mut Source, feed: &mut CursorFeed, rounds: &mut Rounds) -> Result<bool> {
        if !rounds.is_polling {
            if rounds.are_over(self.mode) || Instant::now() < rounds.next_poll_at {
                return Ok(false);
            }
            rounds.is_polling = true;
            rounds.next_poll_at = Instant::now() + self.settings.request_interval;
        }
        match feed.step(source, self.store, now_micros())? {
            Step::Working => Ok(true),
            Step::Paused => Ok(false),
            Step::Complete => {
                rounds.is_polling = false;
                rounds.has_polled = true;
                self.counters.polls.add(1);
                Ok(false)
            }
        }
    }

    /// Takes the next batch: stale keys and ranges of a full load in turns.
    fn next_batch(&self, source: &mut Source, rounds: &mut Rounds) -> Result<Option<Batch>> {
        let keys_first = rounds.took_range;
        for attempt in [keys_first, !keys_first] {
            let batch = if attempt {
                self.store.take(self.generation, source.row_limit(), now_micros())?
            } else {
                self.next_range(source)?
            };
            if batch.is_some() {
                rounds.took_range = !attempt;
                crate::faults::point("batch_taken");
                return Ok(batch);
            }
        }
        Ok(None)
    }

    fn next_range(&self, source: &mut Source) -> Result<Option<Batch>> {
        let Some(load) = self.store.full_load(self.generation)? else { return Ok(None) };
        if load.finished {
            return Ok(None);
        }
        source.keep_related_rows();
        if let Some(batch) = self.store.take_open_range(self.generation, now_micros())? {
            return Ok(Some(batch));
        }
        if !load.reached_end {
            let high = source.cut_range(load.frontier.as_ref(), source.row_limit())?;
            return self.store.take_range(self.generation, high, now_micros()).map(Some);
        }
        if self.store.full_load_is_complete(self.generation)?
            && !self.has_settings_of_first_load.load(Ordering::Relaxed)
        {
            self.store.finish_full_load(self.generation, now_micros())?;
            source.release_related_rows();
            log::info!("{}: full load complete", self.definition.index);
        }
        Ok(None)
    }

    /// Reads a batch that was taken; on failure it goes back to where it came from.
    fn read(&self, source: &mut Source, batch: Batch, rounds: &mut Rounds) -> Result<bool> {
        let number = batch.number;
        let version = self.store.next_version(now_micros().unsigned_abs())?;
        let read = match source.read(batch, version) {
            Ok(read) => read,
            Err(error) => {
                self.store.return_batch(number, now_micros())?;
                return Err(error.while_doing(format!("cannot read batch {number}")));
            }
        };
        if !read.unread.is_empty() {
            self.store.release_keys(number, &read.unread, now_micros())?;
        }
        if read.is_range_cut
            && let Work::Range(range) = &read.extracted.batch.work
            && let Some(high) = &range.high
        {
            self.store.shrink_range(number, high)?;
        }
        self.counters.batches.add(1);
        crate::faults::point("rows_read");
        self.hand_over(read.extracted, rounds)
    }

    /// Puts a batch on the channel, or keeps it for the next turn; true when there is no one to take it.
    fn hand_over(&self, batch: ExtractedBatch, rounds: &mut Rounds) -> Result<bool> {
        match self.sender.send_timeout(batch, SLICE) {
            Ok(()) => {
                self.shutdown.took_in_hand();
                Ok(false)
            }
            Err(SendTimeoutError::Timeout(batch)) => {
                rounds.waiting = Some(batch);
                Ok(false)
            }
            Err(SendTimeoutError::Disconnected(_)) => Ok(true),
        }
    }

    /// Whether everything that was known when our first complete poll ended is acknowledged or refused.
    ///
    /// Asked against the stream: what a later question would have to see is made by what an earlier one finds still at
    /// work. The pass for extra documents records stale keys before it ends, and an acknowledgement records those that
    /// were superseded.
    fn is_caught_up(&self, rounds: &Rounds) -> Result<bool> {
        if !rounds.has_polled {
            return Ok(false);
        }
        if let Some(load) = self.store.full_load(self.generation)?
            && (!load.finished || load.extras_pending)
        {
            return Ok(false);
        }
        if self.store.in_flight_count(self.generation)?.batches > 0 {
            return Ok(false);
        }
        Ok(!self.store.has_due(self.generation, now_micros())?)
    }

    /// Keeps how far the source's log had come, now and then: a database that goes back is noticed by it.
    fn keep_wal_position(&self, source: &mut Source, rounds: &mut Rounds) -> Result<()> {
        const INTERVAL: Duration = Duration::from_secs(10);
        let is_due = rounds.last_wal_kept.elapsed() >= INTERVAL;
        if is_due {
            rounds.last_wal_kept = Instant::now();
            keep_identity(self.store, &self.definition.index, &source.refresh_identity()?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_an_acknowledgement_does_not_turn_in_circles() {
        let now = Instant::now();
        let mut rounds = Rounds {
            next_poll_at: now + Duration::from_millis(5),
            is_polling: false,
            has_polled: true,
            waiting: None,
            took_range: false,
            has_announced: false,
            last_wal_kept: now,
        };
        assert_eq!(rounds.rest(Mode::Run, now), Duration::from_millis(5));
        let later = now + Duration::from_secs(1);
        assert_eq!(rounds.rest(Mode::Run, later), Duration::ZERO);
        assert_eq!(rounds.rest(Mode::Once, later), SLICE);
        // A round that is paused for lack of room.
        rounds.is_polling = true;
        assert_eq!(rounds.rest(Mode::Run, later), SLICE);
    }
}
