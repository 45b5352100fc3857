//! What the state knows of one key, for `explain`.

use rusqlite::{OptionalExtension, params};

use crate::error::Result;
use crate::key::Key;
use crate::store::key_buffer::decode;
use crate::store::{KeptDeadLetter, Store};

/// What the state knows of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyState {
    /// When it was recorded stale, and how often it was taken before; none if it is not stale.
    pub stale: Option<(i64, u32)>,
    /// When it is due to be built once more.
    pub due_at: Option<i64>,
    /// The batch that it is in flight with, and when that was taken.
    pub in_flight: Option<(i64, i64)>,
    /// How many ranges of a full load are in flight or put back; the key may lie in one.
    pub range_count: u64,
    /// Its dead letter.
    pub dead_letter: Option<KeptDeadLetter>,
    /// No version of this state is above this one.
    pub version_reserved: Option<u64>,
}

impl Store {
    /// Returns what is known of a key; nothing of a generation that the state does not know.
    pub fn key_state(&self, generation: &str, key: &Key) -> Result<KeyState> {
        self.read("read what is known of a key", |connection| {
            let id: Option<i64> = connection
                .prepare_cached("select id from generations where name = ?1")?
                .query_row([generation], |row| row.get(0))
                .optional()?;
            let Some(id) = id else { return Ok(KeyState::default()) };
            let mut state = KeyState {
                stale: connection
                    .prepare_cached(
                        "select recorded_at, attempts from stale_keys where generation = ?1 and key = ?2 limit 1",
                    )?
                    .query_row(params![id, key.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?,
                due_at: connection
                    .prepare_cached("select due_at from delayed_stale_keys where generation = ?1 and key = ?2")?
                    .query_row(params![id, key.as_str()], |row| row.get(0))
                    .optional()?,
                version_reserved: connection
                    .prepare_cached("select value from meta where key = 'version_reserved'")?
                    .query_row([], |row| row.get::<_, String>(0))
                    .optional()?
                    .and_then(|value| value.parse().ok()),
                ..KeyState::default()
            };
            let mut select = connection.prepare_cached(
                "select number, taken_at, kind, keys from in_flight_batches where generation = ?1 order by number",
            )?;
            let mut rows = select.query([id])?;
            while let Some(row) = rows.next()? {
                if row.get_ref(2)?.as_str()? == "range" {
                    state.range_count += 1;
                } else if let Some(buffer) = row.get_ref(3)?.as_blob_or_null()?
                    && decode(buffer)?.contains(key)
                {
                    state.in_flight = Some((row.get(0)?, row.get(1)?));
                }
            }
            let open: i64 = connection
                .prepare_cached("select count(*) from open_ranges where generation = ?1")?
                .query_row([id], |row| row.get(0))?;
            state.range_count += u64::try_from(open).unwrap_or(0);
            state.dead_letter = dead_letter(connection, id, key)?;
            Ok(state)
        })
    }
}

fn dead_letter(
    connection: &rusqlite::Connection,
    generation: i64,
    key: &Key,
) -> crate::store::failure::Attempt<Option<KeptDeadLetter>> {
    let mut select = connection.prepare_cached(&format!(
        "{} where l.generation = ?1 and l.key = ?2",
        crate::store::dead_letters::COLUMNS
    ))?;
    Ok(select.query_row(params![generation, key.as_str()], KeptDeadLetter::from_row).optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Acknowledgement;
    use crate::store::testing::{GENERATION, acknowledgement, key, keys, letter, state};

    #[test]
    fn a_key_is_found_wherever_it_waits() {
        let (dir, store) = state();
        store.record_stale(GENERATION, &keys([1, 2]), 0, 5).unwrap();
        let batch = store.take(GENERATION, 2, 6).unwrap().unwrap();
        store.record_stale(GENERATION, &keys([2]), 0, 7).unwrap();
        store.record_stale(GENERATION, &keys([3]), 99, 7).unwrap();
        let reader = Store::open_read_only(dir.path()).unwrap().unwrap();
        let state_of = |number| reader.key_state(GENERATION, &key(number)).unwrap();
        assert_eq!(state_of(1).in_flight.map(|(_, taken_at)| taken_at), Some(6));
        assert_eq!(state_of(1).stale, None);
        assert_eq!((state_of(2).stale, state_of(2).in_flight.is_some()), (Some((7, 0)), true));
        assert_eq!((state_of(3).stale, state_of(3).due_at), (None, Some(99)));
        let outcome =
            Acknowledgement { applied: &keys([2]), refused: &[letter(1, "bad")], ..acknowledgement() };
        store.acknowledge(batch.number, &outcome, 8).unwrap();
        let first = state_of(1);
        assert!(
            first.in_flight.is_none() && first.dead_letter.unwrap().error_type == letter(1, "bad").error_type
        );
        assert_eq!(reader.key_state("unknown", &key(1)).unwrap(), KeyState::default());
    }
}
