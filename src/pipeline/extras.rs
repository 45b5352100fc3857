//! The pass for extra documents that ends a load into an index that was not empty.
//!
//! Every id of the index is looked up in PostgreSQL; an id without a row is recorded as a stale key. Nothing is
//! deleted here: the pipeline builds or deletes each such document from the present state of its row.

use std::time::Duration;

use crate::definition::Definition;
use crate::elastic::{Client, refresh, scroll_ids};
use crate::error::Result;
use crate::key::Key;
use crate::pipeline::clock::now_micros;
use crate::pipeline::run::PipelineSettings;
use crate::postgres::Source;
use crate::shutdown::Shutdown;
use crate::store::Store;

/// Ids looked up at a time.
const PAGE: usize = 1_000;

/// Waits until the full load is complete and then looks for extra documents, if that is still to be done.
pub(super) fn look_for_extras(
    settings: &PipelineSettings,
    definition: &Definition,
    generation: &str,
    store: &Store,
    client: &Client,
    end: &Shutdown,
) -> Result<()> {
    loop {
        match store.full_load(generation)? {
            Some(load) if load.extras_pending => {
                if load.finished {
                    break;
                }
            }
            _ => return Ok(()),
        }
        if end.wait(Duration::from_millis(50)) {
            return Ok(());
        }
    }
    let mut source = Source::connect(&settings.source, definition, settings.source_limits)?;
    refresh(client, generation)?;
    let mut looked_up = 0;
    let mut extra = 0;
    scroll_ids(client, generation, PAGE, &mut |ids: Vec<String>| {
        if end.is_requested() {
            return Err(crate::error::Error::interrupted());
        }
        // The hash of an over-long key says nothing of its row.
        let keys: Vec<Key> =
            ids.into_iter().filter(|id| !id.starts_with("sha256:")).map(Key::from_encoded).collect();
        looked_up += keys.len();
        let existing = source.existing_keys(&keys)?;
        let missing: Vec<Key> = keys.into_iter().filter(|key| !existing.contains(key)).collect();
        extra += missing.len();
        store.record_stale(generation, &missing, 0, now_micros())
    })?;
    store.finish_extras(generation)?;
    log::info!("{}: {looked_up} documents looked up, {extra} without a row", definition.index);
    Ok(())
}
