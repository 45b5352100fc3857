//! The settings of an index for its first load (`--fresh`): who gets them, and when they end.
//!
//! The index itself says that it has them, see [`crate::elastic::begin_first_load`]; the state repeats it for the
//! workers and for `status`. The load counts as complete only when the index has its own settings back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::elastic::{Client, Ensured, OwnershipMark, begin_first_load, end_first_load};
use crate::error::{Error, Result};
use crate::shutdown::Shutdown;
use crate::store::Store;

/// Between two looks whether the load is complete.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Whether the index of a generation has the settings of a first load.
pub fn has_settings_of_first_load(store: &Store, generation: &str) -> Result<bool> {
    Ok(store.meta(&place(generation))?.is_some_and(|kept| !kept.is_empty()))
}

/// An index that is ready to be written to, and whether it is to have the settings of a first load.
pub(super) struct Wish<'a> {
    pub(super) client: &'a Client,
    pub(super) store: &'a Store,
    pub(super) ensured: &'a Ensured,
    /// The mark that it carries or is to carry, without a note.
    pub(super) mark: &'a OwnershipMark,
    pub(super) is_wanted: bool,
    /// Whether all of it is loaded from here on.
    pub(super) begins_load: bool,
    /// Whether a load of it is under way, or begins.
    pub(super) is_loading: bool,
}

/// Gives an index that is new and empty the settings of a first load, if that is wanted, and notes in the state whether
/// it has them.
pub(super) fn prepare(wish: &Wish<'_>) -> Result<()> {
    let Wish { client, store, ensured, mark, is_wanted, begins_load, is_loading } = *wish;
    let generation = &ensured.generation;
    let found = ensured.mark.as_ref().and_then(|mark| mark.first_load.clone());
    let is_ours = ensured.created || ensured.mark.is_some();
    let is_new = begins_load && is_ours && ensured.document_count == 0;
    if is_wanted && is_new {
        begin_first_load(client, generation, &OwnershipMark { first_load: found.clone(), ..mark.clone() })?;
        log::info!("{generation}: no refreshes and no replicas until its load is complete");
    } else if found.is_some() {
        log::info!("{generation}: has no refreshes and no replicas until its load is complete");
    } else if is_wanted && is_loading {
        log::warn!("{generation} is not new and empty, so --fresh is without effect: it keeps its settings");
    }
    let has_them = found.is_some() || (is_wanted && is_new);
    if has_them != has_settings_of_first_load(store, generation)? {
        store.set_meta(&place(generation), if has_them { "yes" } else { "" })?;
    }
    Ok(())
}

/// Waits until every range of the load is acknowledged and gives the index its own settings back; until then `pending`
/// is raised.
pub(super) fn end(
    client: &Client,
    store: &Store,
    index: &str,
    generation: &str,
    pending: &AtomicBool,
    end: &Shutdown,
) -> Result<()> {
    if !pending.load(Ordering::Relaxed) {
        return Ok(());
    }
    while !store.full_load_is_complete(generation)? {
        if end.wait(LOOK_INTERVAL) {
            return Err(Error::interrupted());
        }
    }
    if let Some(story) = end_first_load(client, generation, end)? {
        log::info!("{index}: {story}");
    }
    store.set_meta(&place(generation), "")?;
    crate::faults::point("first_load_over");
    pending.store(false, Ordering::Relaxed);
    Ok(())
}

fn place(generation: &str) -> String {
    format!("first_load/{generation}")
}
