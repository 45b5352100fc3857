//! The pass for extra documents that ends a load into an index that was not empty.
//!
//! It is verify's, without its guard: such a load was asked for, or the state was lost, and after a change of the
//! database any number of documents may have no row. Nothing is deleted here: the pipeline builds or deletes each such
//! document from the present state of its row.

use std::time::Duration;

use crate::clock::now_micros;
use crate::definition::Definition;
use crate::elastic::{Client, refresh};
use crate::error::Result;
use crate::pipeline::run::PipelineSettings;
use crate::postgres::Source;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::verify::IdWalk;

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
    let mut walk = IdWalk::new(None)?;
    let mut looked_up = 0;
    let mut extra = 0;
    loop {
        if end.is_requested() {
            return Err(crate::error::Error::interrupted());
        }
        let page = walk.step(client, generation, &mut source)?;
        looked_up += page.id_count;
        extra += page.without_row.len();
        store.record_stale(generation, &page.without_row, 0, now_micros())?;
        if page.is_last {
            break;
        }
    }
    store.finish_extras(generation)?;
    log::info!("{}: {looked_up} documents looked up, {extra} without a row", definition.index);
    Ok(())
}
