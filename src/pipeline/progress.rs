//! How far the pipeline is, shown to whoever watches: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::metrics::Counter;

/// Between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Counts acknowledged documents and shows them.
#[derive(Debug)]
pub struct Progress {
    index: String,
    bar: Option<ProgressBar>,
    documents: Counter,
    last_line: Mutex<(Instant, u64)>,
}

impl Progress {
    /// Makes the progress of a load of about `expected` documents, shown among `bars`.
    pub fn new(index: &str, expected: Option<u64>, bars: &MultiProgress) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let (bar, template) = match expected {
                Some(expected) => (
                    ProgressBar::new(expected),
                    "{prefix} {wide_bar} {human_pos} of about {human_len} documents, {per_sec}, {eta} left",
                ),
                None => (ProgressBar::new_spinner(), "{spinner} {prefix} {human_pos} documents, {per_sec}"),
            };
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bars.add(bar.with_style(style).with_prefix(index.to_owned()))
        });
        Self {
            index: index.to_owned(),
            bar,
            documents: Counter::default(),
            last_line: Mutex::new((Instant::now(), 0)),
        }
    }

    /// Notes that `count` more documents were acknowledged.
    pub fn advanced(&self, count: u64) {
        self.documents.add(count);
        let total = self.documents.get();
        if let Some(bar) = &self.bar {
            if bar.length().is_some_and(|length| length < total) {
                // The expectation is the planner's guess: a bar that is full too early misleads.
                bar.set_length(total);
            }
            bar.set_position(total);
            return;
        }
        // A time and a number cannot be left half-written by a thread that panicked.
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = last.0.elapsed();
        if elapsed >= LINE_INTERVAL {
            let rate = (total - last.1) as f64 / elapsed.as_secs_f64();
            log::info!("{}: {total} documents so far, {rate:.0} a second", self.index);
            *last = (Instant::now(), total);
        }
    }

    /// Takes the bar away: what follows is steady work.
    pub fn caught_up(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
