//! The processor time of the calling thread, to the nanosecond.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Instant;

/// Other work on the machine does not count, but for what it takes out of the caches.
pub struct ThreadClock {
    /// None where the kernel counts no nanoseconds; then the time that passes is taken.
    schedstat: Option<File>,
    start: Instant,
}

impl ThreadClock {
    pub fn new() -> Self {
        let schedstat = File::open("/proc/thread-self/schedstat").ok();
        let mut clock = Self { schedstat, start: Instant::now() };
        if clock.ran().is_none_or(|nanos| nanos <= 0.0) {
            clock.schedstat = None;
        }
        clock
    }

    /// What is counted, for the reader of the figures.
    pub fn name(&self) -> &'static str {
        if self.schedstat.is_some() { "processor time" } else { "time that passes" }
    }

    /// Seconds that `work` takes, without those of looking at the clock.
    pub fn seconds_of(&self, work: impl FnOnce()) -> f64 {
        let idle_began = self.nanos();
        let began = self.nanos();
        work();
        let ended = self.nanos();
        let look = began - idle_began;
        ((ended - began) - look).max(0.0) / 1e9
    }

    fn nanos(&self) -> f64 {
        self.ran().unwrap_or_else(|| self.start.elapsed().as_nanos() as f64)
    }

    fn ran(&self) -> Option<f64> {
        let file = self.schedstat.as_ref()?;
        // The kernel brings the count up to date at its ticks, and whenever it chooses which thread runs.
        thread::yield_now();
        let mut text = [0; 64];
        let length = file.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(&text[..length]).ok()?.split(' ').next()?.parse().ok()
    }
}
