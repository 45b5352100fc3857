//! The source's identity as the state keeps it: for each index, since one that is loaded anew from a restored database
//! says nothing of the others.
//!
//! What is kept has to be read *before* the identity that is compared with it: a pipeline beside keeps how far the log
//! has come, and a database must not look as if it had gone back for that.

use crate::error::{Error, Result};
use crate::postgres::SourceIdentity;
use crate::store::Store;

/// Where it was kept when a state had one index.
const FORMER_PLACE: &str = "source_identity";

/// Keeps the identity of the source that `index` is filled from, and how far its log had come.
pub(super) fn keep_identity(store: &Store, index: &str, identity: &SourceIdentity) -> Result<()> {
    let text = serde_json::to_string(identity)
        .map_err(|error| Error::wrong("cannot encode the identity of the source").because(error))?;
    store.set_meta(&place(index), &text)
}

/// The identity of the source that `index` was filled from; none before its first load.
pub fn kept_identity(store: &Store, index: &str) -> Result<Option<SourceIdentity>> {
    let mut text = store.meta(&place(index))?;
    if text.is_none() && store.current_generation(index)?.is_some() {
        text = store.meta(FORMER_PLACE)?;
    }
    let Some(text) = text else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Error::wrong("the identity of the source in the state cannot be read")
            .because(error)
            .hint("run `pgsluice resync`")
    })
}

fn place(index: &str) -> String {
    format!("{FORMER_PLACE}/{index}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{GenerationRecord, Purpose};

    fn identity(wal_position: u64) -> SourceIdentity {
        SourceIdentity {
            system_identifier: "7".to_owned(),
            database_oid: 5,
            timeline: 1,
            wal_position,
            postmaster_start: "a".to_owned(),
            is_standby: false,
        }
    }

    #[test]
    fn each_index_has_its_own_and_a_known_one_the_former() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.set_meta(FORMER_PLACE, &serde_json::to_string(&identity(1)).unwrap()).unwrap();
        let record = GenerationRecord {
            name: "movies-1".to_owned(),
            index_alias: "movies".to_owned(),
            write_alias: "movies-1-write".to_owned(),
            definition_hash: "h".to_owned(),
        };
        store.begin_generation(&record, Purpose::First, false, 1).unwrap();
        assert_eq!(kept_identity(&store, "movies").unwrap(), Some(identity(1)));
        assert_eq!(kept_identity(&store, "genres").unwrap(), None);
        keep_identity(&store, "genres", &identity(2)).unwrap();
        keep_identity(&store, "movies", &identity(3)).unwrap();
        assert_eq!(kept_identity(&store, "genres").unwrap(), Some(identity(2)));
        assert_eq!(kept_identity(&store, "movies").unwrap(), Some(identity(3)));
    }
}
