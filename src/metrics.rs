//! What the stages count from the start; read by progress, summaries and `status`.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

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

    /// Sets the present value and returns the one before.
    pub fn replace(&self, value: u64) -> u64 {
        self.0.swap(value, Ordering::Relaxed)
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
    /// How many bulk requests may be under way at once at present; zero before the first.
    pub lanes: Gauge,
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
    /// All counters as one JSON object.
    pub fn to_json(&self) -> serde_json::Map<String, Value> {
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
            lanes,
            requests,
            bytes,
            polls,
            stale_keys,
        } = self;
        [
            ("batches", batches),
            ("indexed", indexed),
            ("deleted", deleted),
            ("refused", refused),
            ("superseded", superseded),
            ("retried", retried),
            ("slowdowns", slowdowns),
            ("requests", requests),
            ("bytes", bytes),
            ("polls", polls),
            ("stale_keys", stale_keys),
        ]
        .map(|(name, counter)| (name.to_owned(), counter.get().into()))
        .into_iter()
        .chain([
            ("body_max_bytes".to_owned(), body_max_bytes.get().into()),
            ("lanes".to_owned(), lanes.get().into()),
        ])
        .collect()
    }
}

/// What a run counted, for the state's list of runs: the sums and, of several indices, what each counted.
pub fn counts_of_run(indices: &[(&str, &Counters)]) -> Value {
    if let [(_, only)] = indices {
        return only.to_json().into();
    }
    let mut sums = Counters::default().to_json();
    let mut each = serde_json::Map::new();
    for (index, counters) in indices {
        let counted = counters.to_json();
        for (name, sum) in &mut sums {
            let count = counted.get(name).and_then(Value::as_u64).unwrap_or(0);
            let so_far = sum.as_u64().unwrap_or(0);
            // The one that is no count: what bodies may have at present.
            *sum = if name == "body_max_bytes" { so_far.max(count) } else { so_far.saturating_add(count) }
                .into();
        }
        each.insert((*index).to_owned(), counted.into());
    }
    sums.insert("indices".to_owned(), each.into());
    sums.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_several_indices_are_summed_and_listed() {
        let (movies, genres) = (Counters::default(), Counters::default());
        movies.indexed.add(2);
        genres.indexed.add(3);
        movies.lanes.set(2);
        genres.lanes.set(1);
        movies.body_max_bytes.set(9);
        genres.body_max_bytes.set(7);
        assert_eq!(counts_of_run(&[("movies", &movies)])["indexed"], 2);
        let counts = counts_of_run(&[("movies", &movies), ("genres", &genres)]);
        assert_eq!((&counts["indexed"], &counts["deleted"]), (&5.into(), &0.into()));
        assert_eq!((&counts["lanes"], &counts["body_max_bytes"]), (&3.into(), &9.into()));
        assert_eq!(counts["indices"]["genres"]["indexed"], 3);
    }
}
