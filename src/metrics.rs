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

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the present value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
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
    /// How often actions were sent again.
    pub retried: Counter,
    /// How often bulk bodies were made smaller because the index had too much to do.
    pub slowdowns: Counter,
    /// The most bytes of a bulk body at present; zero before the first.
    pub body_max_bytes: Gauge,
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
            slowdowns,
            body_max_bytes,
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
            "slowdowns": slowdowns.get(),
            "body_max_bytes": body_max_bytes.get(),
            "requests": requests.get(),
            "bytes": bytes.get(),
            "polls": polls.get(),
            "stale_keys": stale_keys.get(),
        })
        .to_string()
    }
}
