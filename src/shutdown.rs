//! The wish to end, shared by all threads, with waits that it interrupts.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A flag that is raised once and wakes every waiting thread. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl Shutdown {
    /// Makes a flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag and wakes all who wait.
    pub fn request(&self) {
        *self.lock() = true;
        self.shared.1.notify_all();
    }

    /// Whether the flag is raised.
    pub fn is_requested(&self) -> bool {
        *self.lock()
    }

    /// Waits for `duration` or until the flag is raised; returns whether it is raised.
    pub fn wait(&self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        let mut raised = self.lock();
        while !*raised {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            raised = self.shared.1.wait_timeout(raised, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // A bool cannot be left half-written by a thread that panicked.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_at_once_when_shutdown_is_requested() {
        let shutdown = Shutdown::new();
        let waiting = shutdown.clone();
        let began = Instant::now();
        let thread = std::thread::spawn(move || waiting.wait(Duration::from_secs(30)));
        shutdown.request();
        assert!(thread.join().unwrap());
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
