//! Single values of the state.

use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::error::Result;
use crate::store::Store;
use crate::store::failure::Attempt;

impl Store {
    /// The value kept under `key`.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        self.read("read a value", |connection| get(connection, key))
    }

    /// Keeps a value under `key`.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        self.write("keep a value", |transaction, _| set(transaction, key, value))
    }
}

pub(super) fn get(connection: &Connection, key: &str) -> Attempt<Option<String>> {
    let mut select = connection.prepare_cached("select value from meta where key = ?1")?;
    Ok(select.query_row([key], |row| row.get(0)).optional()?)
}

pub(super) fn set(transaction: &Transaction<'_>, key: &str, value: &str) -> Attempt<()> {
    let mut upsert = transaction.prepare_cached(
        "insert into meta (key, value)
         values (?1, ?2)
         on conflict (key) do update
            set value = excluded.value
          where value is not excluded.value",
    )?;
    upsert.execute([key, value])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::store::testing::{after_a_kill, state};

    #[test]
    fn a_value_is_kept_and_replaced() {
        let (dir, store) = state();
        assert_eq!(store.meta("a").unwrap(), None);
        store.set_meta("a", "1").unwrap();
        store.set_meta("a", "2").unwrap();
        let (_copy, store) = after_a_kill(dir.path());
        assert_eq!(store.meta("a").unwrap().as_deref(), Some("2"));
    }
}
