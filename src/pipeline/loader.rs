//! The loader: delivers rendered batches to the index and acknowledges them in the state.
//!
//! It owns lanes, each with a connection and at most one batch in hand. A lane takes the next batch when it has settled
//! its own, so one that is held up holds up its own batch alone, and those that share a key with it ([`InHand`]). How
//! many of the lanes send at once is the deliveries' matter.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::clock::now_micros;
use crate::document::RenderedBatch;
use crate::elastic::{AliasWatch, Delivery, story_without_values};
use crate::error::{Error, Kind, Result};
use crate::key::Key;
use crate::metrics::Counters;
use crate::pipeline::in_hand::InHand;
use crate::pipeline::progress::Progress;
use crate::shutdown::Shutdown;
use crate::store::{Acknowledgement, DeadLetter, Store};

/// How long after an unknown outcome its keys are built again: Elasticsearch forgets a deletion's version after
/// `index.gc_deletes` (10 minutes in indices that we create), so a request that comes late could bring a deleted
/// document back until then. One minute more covers clocks that run apart.
const UNKNOWN_DUE_AFTER_MICROS: i64 = 11 * 60 * 1_000_000;

/// What the lanes of the loader share.
pub(super) struct Loader<'a> {
    pub(super) aliases: Mutex<AliasWatch>,
    pub(super) index: &'a str,
    pub(super) generation: &'a str,
    pub(super) store: &'a Store,
    pub(super) counters: &'a Counters,
    pub(super) dead_letter_max: usize,
    pub(super) has_warned_of_dropped: AtomicBool,
    pub(super) progress: &'a Progress,
    pub(super) shutdown: &'a Shutdown,
    /// Raised when a lane has failed, so that the stages before it end.
    pub(super) is_downstream_gone: &'a AtomicBool,
    /// Ends the waits of all deliveries.
    pub(super) end_of_waits: &'a Shutdown,
    pub(super) in_hand: InHand,
}

impl Loader<'_> {
    /// Delivers every batch that comes until there are no more, in as many lanes as there are deliveries.
    ///
    /// A lane that fails ends the others: they finish the request that is under way, and acknowledge their batch if that
    /// was all of it. The error is the one that someone has to act on, else the first.
    pub(super) fn run(self, mut deliveries: Vec<Delivery>, batches: &Receiver<RenderedBatch>) -> Result<()> {
        let failures = Mutex::new(Vec::new());
        let (is_alive, failed) = bounded::<()>(0);
        let lanes = Lanes {
            loader: &self,
            source: Mutex::new(()),
            batches,
            failed,
            is_alive: Mutex::new(Some(is_alive)),
            failures: &failures,
        };
        thread::scope(|scope| {
            let mut deliveries = deliveries.iter_mut();
            let own = deliveries.next();
            for (position, delivery) in deliveries.enumerate() {
                let lanes = &lanes;
                let lane = thread::Builder::new()
                    .name(format!("loader-{}", position + 2))
                    .spawn_scoped(scope, move || lanes.follow(delivery));
                if let Err(error) = lane {
                    lanes.fail(Error::unreachable("cannot start a thread for a lane").because(error));
                }
            }
            if let Some(delivery) = own {
                lanes.follow(delivery);
            }
        });
        drop(lanes);
        let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Some(failure) = worst(failures) else { return Ok(()) };
        // What is not acknowledged stays in the state: shutdown does not wait for a server that is away.
        for delivery in &mut deliveries {
            self.keep_unresolved(delivery)?;
        }
        if failure.kind() == Kind::Interrupted { Ok(()) } else { Err(failure) }
    }

    /// The batch goes back and is delivered anew; a copy of what was sent may come in after that.
    fn keep_unresolved(&self, delivery: &mut Delivery) -> Result<()> {
        let now = now_micros();
        let keys = delivery.take_unresolved();
        self.store.record_stale(self.generation, &keys, now + UNKNOWN_DUE_AFTER_MICROS, now)?;
        // Some of these are dead letters of batches acknowledged before it was clear that nothing is taken.
        self.store.record_stale(self.generation, &delivery.take_refused_by_all(), 0, now)
    }

    /// Once in a run: it goes on so while there are more refusals.
    fn warn_of_dropped(&self, dropped_count: u64) {
        if dropped_count > 0 && !self.has_warned_of_dropped.swap(true, Ordering::Relaxed) {
            log::warn!(
                "{}: there are more dead letters than DEAD_LETTER_MAX = {}: the oldest lose the document as it was \
                 sent, and keep key and reason",
                self.index,
                self.dead_letter_max
            );
        }
    }

    fn deliver(&self, batch: &RenderedBatch, delivery: &mut Delivery) -> Result<()> {
        // One lane looks; the others do not wait for it.
        if let Ok(mut aliases) = self.aliases.try_lock() {
            aliases.look()?;
        }
        crate::faults::point("before_send");
        let delivered = delivery.deliver(batch);
        self.counters.slowdowns.add(delivery.take_slowdowns());
        self.counters.body_max_bytes.set(delivery.body_max_bytes() as u64);
        let lane_count = delivery.lanes_in_use();
        if self.counters.lanes.replace(lane_count as u64) != lane_count as u64 {
            let requests = if lane_count == 1 { "request" } else { "requests" };
            log::debug!("{}: {lane_count} bulk {requests} at once", self.index);
        }
        let mut delivered = delivered?;
        crate::faults::point("answer_received");
        let now = now_micros();
        let mut refused: Vec<DeadLetter> = batch
            .refused
            .iter()
            .map(|refusal| DeadLetter {
                key: refusal.key.clone(),
                error_type: refusal.error_type.clone(),
                reason: refusal.reason.clone(),
                document: None,
            })
            .collect();
        refused.extend(delivered.refused.into_iter().map(|refusal| DeadLetter {
            key: refusal.key,
            error_type: refusal.error_type,
            reason: refusal.reason,
            document: refusal.document,
        }));
        // One raise and one warning for all of them: from then on versions lie above the highest.
        if let Some(found) = delivered.superseded.iter().filter_map(|(_, found)| *found).max()
            && self.store.raise_version_above(found)?
        {
            log::warn!(
                "{}: the index holds version {found} of a document, which this state never gave: another writer, a \
                 lost state or a clock; newer versions are given above it",
                self.index
            );
        }
        delivered.applied.extend_from_slice(&batch.settled);
        let superseded: Vec<Key> = delivered.superseded.into_iter().map(|(key, _)| key).collect();
        for letter in refused.iter().take(3) {
            log::warn!(
                "{}: document {} refused: {}, see `pgsluice dead-letters list`",
                self.index,
                letter.key,
                story_without_values(&letter.error_type, &letter.reason)
            );
        }
        if refused.len() > 3 {
            log::warn!(
                "{}: {} documents of batch {} refused, see `pgsluice dead-letters list`",
                self.index,
                refused.len(),
                batch.number
            );
        }
        let dropped_count = self.store.acknowledge(
            batch.number,
            &Acknowledgement {
                applied: &delivered.applied,
                refused: &refused,
                superseded: &superseded,
                unknown: &delivered.unknown,
                unknown_due_at: now + UNKNOWN_DUE_AFTER_MICROS,
                dead_letter_max: self.dead_letter_max,
            },
            now,
        )?;
        crate::faults::point("acknowledged");
        self.warn_of_dropped(dropped_count);
        self.counters.deleted.add(delivered.applied_delete_count);
        self.counters.indexed.add(delivered.applied_index_count);
        self.counters.refused.add(refused.len() as u64);
        self.counters.superseded.add(superseded.len() as u64);
        self.counters.retried.add(delivered.retried_item_count);
        self.counters.requests.add(delivered.request_count);
        self.counters.bytes.add(delivered.byte_count);
        log::debug!(
            "{}: batch {} acknowledged, {} written, {} deleted, {} refused, {} superseded",
            self.index,
            batch.number,
            delivered.applied_index_count,
            delivered.applied_delete_count,
            refused.len(),
            superseded.len()
        );
        self.progress.advanced(delivered.applied_index_count + delivered.applied_delete_count);
        Ok(())
    }
}

/// The lanes at work.
struct Lanes<'a> {
    loader: &'a Loader<'a>,
    /// Held while the next batch is taken and noted, so that batches are noted in the order in which they come.
    source: Mutex<()>,
    batches: &'a Receiver<RenderedBatch>,
    /// Disconnected when a lane has failed.
    failed: Receiver<()>,
    is_alive: Mutex<Option<Sender<()>>>,
    failures: &'a Mutex<Vec<Error>>,
}

impl Lanes<'_> {
    /// Delivers batches until there are no more, or until a lane has failed.
    fn follow(&self, delivery: &mut Delivery) {
        let _end = EndOnPanic(self);
        while let Some(batch) = self.take() {
            let number = batch.number;
            if !self.loader.in_hand.wait_for_turn(number) {
                return;
            }
            if let Err(error) = self.loader.deliver(&batch, delivery) {
                delivery.close();
                self.fail(error.while_doing(format!("cannot deliver batch {number}")));
                return;
            }
            self.loader.in_hand.settled(number);
            self.loader.shutdown.settled();
        }
    }

    fn take(&self) -> Option<RenderedBatch> {
        // The lock guards nothing that a panic could leave half-done.
        let _in_order = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_failed() {
            return None;
        }
        let batch = select! {
            recv(self.batches) -> batch => batch.ok()?,
            recv(self.failed) -> _ => return None,
        };
        self.loader.in_hand.took(batch.number, batch.actions.iter().map(|action| &action.key));
        Some(batch)
    }

    fn has_failed(&self) -> bool {
        self.is_alive.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Ends all lanes and the stages before them.
    fn fail(&self, error: Error) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(error);
        self.loader.is_downstream_gone.store(true, Ordering::Relaxed);
        self.loader.end_of_waits.request();
        self.loader.in_hand.close();
        *self.is_alive.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Ends the other lanes when one ends by a panic.
struct EndOnPanic<'a>(&'a Lanes<'a>);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(Error::unreachable("a lane of the loader failed unexpectedly"));
        }
    }
}

/// Of the errors of all lanes, the one that someone has to act on, else the first. Lanes that were interrupted say
/// nothing, unless there was nothing else.
fn worst(failures: Vec<Error>) -> Option<Error> {
    let rank = |error: &Error| match error.kind() {
        Kind::Interrupted => 0,
        _ if error.is_retryable() => 1,
        _ => 2,
    };
    failures.into_iter().reduce(|worst, next| if rank(&next) > rank(&worst) { next } else { worst })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_errors_the_one_to_act_on_is_told_and_else_the_first() {
        let of = |errors: Vec<Error>| worst(errors).map(|error| error.story());
        let (passing, other) = (|| Error::unreachable("away"), || Error::unreachable("busy"));
        assert_eq!(of(Vec::new()), None);
        assert_eq!(of(vec![Error::interrupted(), passing(), other()]), Some(passing().story()));
        let wrong = || Error::wrong("no right");
        assert_eq!(of(vec![passing(), wrong(), Error::interrupted()]), Some(wrong().story()));
    }
}
