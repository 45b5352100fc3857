//! The scan after a transaction has ended that was prepared before the first load: nothing tells its start, so its rows
//! are found by their version.

use std::sync::Arc;

use crate::error::Result;
use crate::feed::cursor_feed::{CursorFeed, FAN_OUT_PIECE};
use crate::key::Key;
use crate::postgres::Source;
use crate::store::Store;

impl CursorFeed {
    /// Sweeps for transactions of unknown start that have ended.
    ///
    /// The ids are forgotten with the round's checkpoints: what ends before that is swept once more.
    pub(super) fn sweep_ended(&mut self, source: &mut Source, store: &Store, now: i64) -> Result<()> {
        if self.state.unknown_start.is_empty() {
            return Ok(());
        }
        let still_prepared = source.activity()?.prepared;
        let (kept, ended): (Vec<String>, Vec<String>) =
            self.state.unknown_start.drain(..).partition(|xid| still_prepared.contains(xid));
        self.state.unknown_start = kept;
        let plan = Arc::clone(source.plan());
        for xid in ended {
            for watched in &plan.watched {
                log::info!(
                    "{}: {}: one sequential scan, since a transaction ended that was prepared before the first load",
                    self.generation,
                    watched.name
                );
                let mut keys: Vec<Key> = Vec::new();
                let row_count = source.sweep(watched, &xid, self.limits.page_size, &mut |key| {
                    keys.push(key);
                    if keys.len() >= FAN_OUT_PIECE {
                        store.record_stale(&self.generation, &keys, 0, now)?;
                        keys.clear();
                        crate::faults::point("sweep_piece_recorded");
                    }
                    Ok(())
                })?;
                store.record_stale(&self.generation, &keys, 0, now)?;
                log::info!("{}: {}: {row_count} rows found by the scan", self.generation, watched.name);
            }
        }
        Ok(())
    }
}
