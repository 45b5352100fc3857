//! The wish to end, shared by all threads, with waits that it interrupts; and what is in hand, which is to be finished
//! first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A flag that is raised once and wakes every waiting thread. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_raised: Mutex<bool>,
    raised: Condvar,
    /// Flags that are raised with this one.
    children: Mutex<Vec<Weak<Shared>>>,
    in_hand: AtomicU64,
}

impl Shutdown {
    /// Makes a flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag and wakes all who wait.
    pub fn request(&self) {
        self.shared.raise();
    }

    /// Makes a flag that is raised with this one, and can also be raised without it.
    #[must_use]
    pub fn child(&self) -> Self {
        let child = Self::new();
        // A list that a thread that panicked has at worst not added to.
        let mut children = self.shared.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain(|other| other.strong_count() > 0);
        children.push(Arc::downgrade(&child.shared));
        drop(children);
        // Whoever raised it in between may not have seen the child.
        if self.is_requested() {
            child.request();
        }
        child
    }

    /// A batch was read and waits to be delivered.
    pub fn took_in_hand(&self) {
        self.shared.in_hand.fetch_add(1, Ordering::Relaxed);
    }

    /// A batch is settled.
    pub fn settled(&self) {
        // Never below zero, though what is in hand can be forgotten in between.
        let _ = self
            .shared
            .in_hand
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
    }

    /// What was in hand went back to the state.
    pub fn gave_back(&self) {
        self.shared.in_hand.store(0, Ordering::Relaxed);
    }

    /// Whether batches wait to be delivered.
    pub fn has_work_in_hand(&self) -> bool {
        self.shared.in_hand.load(Ordering::Relaxed) > 0
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
            raised = self.shared.raised.wait_timeout(raised, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // A bool cannot be left half-written by a thread that panicked.
        self.shared.is_raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn raise(&self) {
        *self.is_raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.raised.notify_all();
        let children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        for child in children.iter().filter_map(Weak::upgrade) {
            child.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_raised_with_its_parent_and_without_it() {
        let parent = Shutdown::new();
        let (first, second) = (parent.child(), parent.child());
        first.request();
        assert!(first.is_requested() && !parent.is_requested() && !second.is_requested());
        parent.request();
        assert!(second.is_requested() && parent.child().is_requested());
    }

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
