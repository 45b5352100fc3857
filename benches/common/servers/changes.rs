//! Films that change at a steady rate, and when each of them had arrived in the index.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::films::Films;
use super::sink::{Sink, ids};
use super::table::sorted;

/// When each key was changed and when its document was acknowledged; a key is changed once.
#[derive(Default)]
pub struct Changes {
    written: Mutex<HashMap<String, Instant>>,
    acknowledged: Mutex<HashMap<String, Instant>>,
}

impl Changes {
    /// Notes from now on what the sink has answered.
    pub fn watched_by(sink: &Sink) -> Arc<Self> {
        let changes = Arc::new(Self::default());
        let noted = Arc::clone(&changes);
        sink.listen(move |body| {
            let now = Instant::now();
            let mut acknowledged = noted.acknowledged.lock().unwrap();
            for id in ids(body) {
                acknowledged.entry(id.to_owned()).or_insert(now);
            }
        });
        changes
    }

    /// Changes all keys at the given rate, so many in a transaction of its own each; returns the rate that came out.
    ///
    /// What is late, because the machine is busy, is caught up with: the rate is kept over the whole, as writers would.
    pub fn write(&self, films: &Films, keys: &[String], per_second: u64, per_transaction: usize) -> f64 {
        let mut client = films.connect();
        // Also of what documents show: others pass over an update that changes none of it.
        let update = client
            .prepare(
                "update content.film_work
                    set title = title || '!',
                        modified = now()
                  where id = any($1::text[]::uuid[])",
            )
            .unwrap();
        let pause = Duration::from_secs_f64(per_transaction as f64 / per_second as f64);
        let began = Instant::now();
        let mut due = began;
        for keys in keys.chunks(per_transaction) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due += pause;
            // Before the statement that also commits: the time of the commit itself counts as ours.
            let now = Instant::now();
            self.written.lock().unwrap().extend(keys.iter().map(|key| (key.clone(), now)));
            let count = client.execute(&update, &[&keys]).unwrap();
            assert_eq!(count as usize, keys.len(), "films that were changed");
        }
        keys.len() as f64 / began.elapsed().as_secs_f64()
    }

    /// How many have not arrived yet.
    pub fn pending(&self) -> usize {
        let written = self.written.lock().unwrap();
        let acknowledged = self.acknowledged.lock().unwrap();
        written.keys().filter(|key| !acknowledged.contains_key(*key)).count()
    }

    /// Milliseconds from change to acknowledgement of these keys, sorted.
    pub fn milliseconds(&self, keys: &[String]) -> Vec<f64> {
        let written = self.written.lock().unwrap();
        let acknowledged = self.acknowledged.lock().unwrap();
        let passed = |key: &String| Some(acknowledged.get(key)?.duration_since(*written.get(key)?));
        sorted(keys.iter().filter_map(passed).map(|passed| passed.as_secs_f64() * 1e3).collect())
    }
}
