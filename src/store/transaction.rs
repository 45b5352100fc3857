//! How every operation reaches the file: one thread at a time, one transaction each.

use std::sync::{MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::Result;
use crate::store::Store;
use crate::store::failure::Attempt;
use crate::store::memory::Memory;
use crate::store::open::Inner;

impl Store {
    /// Does `work` in one transaction: all of it or, on an error, nothing.
    pub(super) fn write<T>(
        &self,
        attempt: &str,
        work: impl FnOnce(&Transaction<'_>, &mut Memory) -> Attempt<T>,
    ) -> Result<T> {
        self.must_be_in_place()?;
        self.lock().write(work).map_err(|failure| failure.explain(attempt, &self.path))
    }

    /// Like [`Store::write`], and what was written outlives a power cut.
    pub(super) fn write_durably<T>(
        &self,
        attempt: &str,
        work: impl FnOnce(&Transaction<'_>, &mut Memory) -> Attempt<T>,
    ) -> Result<T> {
        self.must_be_in_place()?;
        self.lock().write_durably(work).map_err(|failure| failure.explain(attempt, &self.path))
    }

    /// Reads in one snapshot.
    pub(super) fn read<T>(&self, attempt: &str, work: impl FnOnce(&Connection) -> Attempt<T>) -> Result<T> {
        self.lock().read(work).map_err(|failure| failure.explain(attempt, &self.path))
    }

    /// Asks the memory, which is first brought up to date with what other processes wrote.
    pub(super) fn recall<T>(&self, attempt: &str, ask: impl FnOnce(&Memory) -> T) -> Result<T> {
        self.lock().recall(ask).map_err(|failure| failure.explain(attempt, &self.path))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panicked in here left the file as it was (its transaction was rolled back), and the memory is
        // only put back after a commit.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Memory) -> Attempt<T>,
    ) -> Attempt<T> {
        // Taken out until the commit: whatever fails in between, the memory is then built anew from the file.
        let kept = self.memory.take();
        // Immediate: a transaction that reads first and writes later could be refused in the middle.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut memory = Memory::brought_up_to_date(kept, &transaction)?;
        let done = work(&transaction, &mut memory)?;
        transaction.commit()?;
        self.memory = Some(memory);
        Ok(done)
    }

    pub(super) fn write_durably<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Memory) -> Attempt<T>,
    ) -> Attempt<T> {
        // The commit syncs the write-ahead log, and with it every transaction before this one.
        self.connection.pragma_update(None, "synchronous", "full")?;
        let done = self.write(work);
        self.connection.pragma_update(None, "synchronous", "normal")?;
        done
    }

    fn read<T>(&mut self, work: impl FnOnce(&Connection) -> Attempt<T>) -> Attempt<T> {
        let transaction = self.connection.transaction()?;
        let done = work(&transaction)?;
        transaction.finish()?;
        Ok(done)
    }

    fn recall<T>(&mut self, ask: impl FnOnce(&Memory) -> T) -> Attempt<T> {
        let kept = self.memory.take();
        let transaction = self.connection.transaction()?;
        let memory = Memory::brought_up_to_date(kept, &transaction)?;
        transaction.finish()?;
        let answer = ask(&memory);
        self.memory = Some(memory);
        Ok(answer)
    }
}
