//! What the stages count from the start; read by progress, summaries and `status`.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one run of the pipeline.
#[derive(Debug, Default)]
pub struct Counters {
    /// Batches read from the source.
    pub batches: Counter,
    /// Documents that the index acknowledged as written.
    pub indexed: Counter,
    /// Documents that the index acknowledged as absent.
    pub deleted: Counter,
    /// Documents refused for good.
    pub refused: Counter,
    /// Actions that met a higher version and were recorded stale again.
    pub superseded: Counter,
    /// Items sent more than once.
    pub retried: Counter,
    /// Bulk requests sent.
    pub requests: Counter,
    /// Bytes of bulk bodies sent.
    pub bytes: Counter,
    /// Complete polls of all watched tables.
    pub polls: Counter,
    /// Stale keys recorded by polls.
    pub stale_keys: Counter,
}

impl Counters {
    /// All counters as one JSON object, for the state's list of runs.
    pub fn to_json(&self) -> String {
        // Taken apart as a whole, so that a new counter does not compile until it is listed.
        let Self {
            batches,
            indexed,
            deleted,
            refused,
            superseded,
            retried,
            requests,
            bytes,
            polls,
            stale_keys,
        } = self;
        serde_json::json!({
            "batches": batches.get(),
            "indexed": indexed.get(),
            "deleted": deleted.get(),
            "refused": refused.get(),
            "superseded": superseded.get(),
            "retried": retried.get(),
            "requests": requests.get(),
            "bytes": bytes.get(),
            "polls": polls.get(),
            "stale_keys": stale_keys.get(),
        })
        .to_string()
    }
}
