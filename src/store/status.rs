//! A snapshot of the state for `status`.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::Result;
use crate::store::failure::Attempt;
use crate::store::full_load;
use crate::store::memory::unsigned;
use crate::store::{Checkpoint, FullLoad, InFlightCount, Store};

/// Where a generation stands, all as of one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Keys that are stale now.
    pub stale_count: u64,
    /// When the key that waits at the front of them was recorded.
    pub stale_since: Option<i64>,
    /// Keys that are to be built again at a later time.
    pub delayed_count: u64,
    /// What is in flight.
    pub in_flight: InFlightCount,
    /// When the oldest batch in flight was taken.
    pub in_flight_since: Option<i64>,
    /// Dead letters of the generation.
    pub dead_letter_count: u64,
    /// Its full load, if it ever had one.
    pub full_load: Option<FullLoad>,
    /// Its change feeds.
    pub feeds: Vec<FeedStatus>,
}

/// Where a change feed stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedStatus {
    /// The feed's name.
    pub feed: String,
    /// When its last complete poll was recorded.
    pub polled_at: Option<i64>,
    /// Its checkpoints, by table.
    pub checkpoints: Vec<Checkpoint>,
}

impl Store {
    /// Returns where a generation stands; all is zero for one that the state does not know.
    pub fn status(&self, generation: &str) -> Result<Status> {
        self.read("read the status", |connection| {
            let id: Option<i64> = connection
                .prepare_cached("select id from generations where name = ?1")?
                .query_row([generation], |row| row.get(0))
                .optional()?;
            // No row has this number.
            let id = id.unwrap_or(0);
            let counts = connection
                .prepare_cached(
                    "select (select count(*) from stale_keys where generation = ?1),
                            (select recorded_at from stale_keys where generation = ?1 order by number limit 1),
                            (select count(*) from delayed_stale_keys where generation = ?1),
                            (select count(*) from in_flight_batches where generation = ?1),
                            (select coalesce(sum(key_count), 0) from in_flight_batches where generation = ?1),
                            (select min(taken_at) from in_flight_batches where generation = ?1),
                            (select count(*) from dead_letters where generation = ?1)",
                )?
                .query_row([id], |row| {
                    Ok(Status {
                        stale_count: unsigned(row.get(0)?),
                        stale_since: row.get(1)?,
                        delayed_count: unsigned(row.get(2)?),
                        in_flight: InFlightCount { batches: unsigned(row.get(3)?), keys: unsigned(row.get(4)?) },
                        in_flight_since: row.get(5)?,
                        dead_letter_count: unsigned(row.get(6)?),
                        full_load: None,
                        feeds: Vec::new(),
                    })
                })?;
            Ok(Status { full_load: full_load::load(connection, generation)?, feeds: feeds(connection, id)?, ..counts })
        })
    }
}

fn feeds(connection: &Connection, generation: i64) -> Attempt<Vec<FeedStatus>> {
    let mut select = connection.prepare_cached(
        "select f.feed, f.polled_at, c.table_name, c.last_modified, c.position
           from feed_states f
           join checkpoints c on c.generation = f.generation and c.feed = f.feed
          where f.generation = ?1
          order by f.feed, c.table_name",
    )?;
    let mut feeds: Vec<FeedStatus> = Vec::new();
    let mut rows = select.query(params![generation])?;
    while let Some(row) = rows.next()? {
        let feed: String = row.get(0)?;
        let checkpoint = Checkpoint { table: row.get(2)?, last_modified: row.get(3)?, position: row.get(4)? };
        match feeds.last_mut() {
            Some(last) if last.feed == feed => last.checkpoints.push(checkpoint),
            _ => feeds.push(FeedStatus { feed, polled_at: row.get(1)?, checkpoints: vec![checkpoint] }),
        }
    }
    Ok(feeds)
}

#[cfg(test)]
mod tests {
    use crate::store::testing::{GENERATION, acknowledgement, keys, letter, state};
    use crate::store::{Acknowledgement, InFlightCount, Purpose, Store};

    #[test]
    fn status_is_read_beside_a_running_pipeline() {
        let (dir, store) = state();
        let tables = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
        store.stamp_checkpoints(GENERATION, "cursor", &tables, "{}").unwrap();
        store.finish_poll(GENERATION, "cursor", &tables, "{}", 4).unwrap();
        store.begin_full_load(GENERATION, Purpose::First, false, 1).unwrap();
        store.record_stale(GENERATION, &keys(0..10), 0, 5).unwrap();
        let batch = store.take(GENERATION, 3, 6).unwrap().unwrap();
        let outcome = Acknowledgement {
            applied: &keys([0, 1]),
            refused: &[letter(2, "bad")],
            unknown: &keys([0]),
            unknown_due_at: 99,
            ..acknowledgement()
        };
        store.acknowledge(batch.number, &outcome, 7).unwrap();
        store.take(GENERATION, 3, 8).unwrap().unwrap();
        let reader = Store::open_read_only(dir.path()).unwrap().unwrap();
        let status = reader.status(GENERATION).unwrap();
        assert_eq!((status.stale_count, status.stale_since, status.delayed_count), (4, Some(5), 1));
        assert_eq!(
            (status.in_flight, status.in_flight_since),
            (InFlightCount { batches: 1, keys: 3 }, Some(8))
        );
        assert_eq!(status.dead_letter_count, 1);
        assert!(status.full_load.is_some());
        assert_eq!(status.feeds.len(), 1);
        assert_eq!((status.feeds[0].polled_at, status.feeds[0].checkpoints.len()), (Some(4), 2));
        let unknown = reader.status("unknown").unwrap();
        assert!(unknown.stale_count == 0 && unknown.feeds.is_empty() && unknown.full_load.is_none());
    }
}
