//! The loader: delivers rendered batches to the index and acknowledges them in the state.

use crossbeam_channel::Receiver;

use crate::clock::now_micros;
use crate::document::RenderedBatch;
use crate::elastic::{AliasWatch, Delivery, story_without_values};
use crate::error::{Kind, Result};
use crate::key::Key;
use crate::metrics::Counters;
use crate::pipeline::progress::Progress;
use crate::shutdown::Shutdown;
use crate::store::{Acknowledgement, DeadLetter, Store};

/// How long after an unknown outcome its keys are built again: Elasticsearch forgets a deletion's version after
/// `index.gc_deletes` (10 minutes in indices that we create), so a request that comes late could bring a deleted
/// document back until then. One minute more covers clocks that run apart.
const UNKNOWN_DUE_AFTER_MICROS: i64 = 11 * 60 * 1_000_000;

pub(super) struct Loader<'a> {
    pub(super) delivery: Delivery,
    pub(super) aliases: AliasWatch,
    pub(super) index: &'a str,
    pub(super) generation: &'a str,
    pub(super) store: &'a Store,
    pub(super) counters: &'a Counters,
    pub(super) dead_letter_max: usize,
    pub(super) has_warned_of_dropped: bool,
    pub(super) progress: &'a Progress,
    pub(super) shutdown: &'a Shutdown,
}

impl Loader<'_> {
    /// Delivers every batch that comes until there are no more.
    pub(super) fn run(mut self, batches: &Receiver<RenderedBatch>) -> Result<()> {
        for batch in batches {
            match self.deliver(&batch) {
                Ok(()) => self.shutdown.settled(),
                // What is not acknowledged stays in the state: shutdown does not wait for a server that is away.
                Err(error) => {
                    self.keep_unresolved()?;
                    if error.kind() == Kind::Interrupted {
                        return Ok(());
                    }
                    return Err(error.while_doing(format!("cannot deliver batch {}", batch.number)));
                }
            }
        }
        Ok(())
    }

    /// The batch goes back and is delivered anew; a copy of what was sent may come in after that.
    fn keep_unresolved(&mut self) -> Result<()> {
        let now = now_micros();
        let keys = self.delivery.take_unresolved();
        self.store.record_stale(self.generation, &keys, now + UNKNOWN_DUE_AFTER_MICROS, now)?;
        // Some of these are dead letters of batches acknowledged before it was clear that nothing is taken.
        self.store.record_stale(self.generation, &self.delivery.take_refused_by_all(), 0, now)
    }

    /// Once in a run: it goes on so while there are more refusals.
    fn warn_of_dropped(&mut self, dropped_count: u64) {
        if dropped_count > 0 && !std::mem::replace(&mut self.has_warned_of_dropped, true) {
            log::warn!(
                "{}: there are more dead letters than DEAD_LETTER_MAX = {}: the oldest lose the document as it was \
                 sent, and keep key and reason",
                self.index,
                self.dead_letter_max
            );
        }
    }

    fn deliver(&mut self, batch: &RenderedBatch) -> Result<()> {
        self.aliases.look()?;
        crate::faults::point("before_send");
        let slowdowns_before = self.delivery.slowdown_count();
        let delivered = self.delivery.deliver(batch);
        self.counters.slowdowns.add(self.delivery.slowdown_count() - slowdowns_before);
        self.counters.body_max_bytes.set(self.delivery.body_max_bytes() as u64);
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
