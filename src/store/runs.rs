//! The last runs of the program on this state.

use rusqlite::params;

use crate::error::Result;
use crate::store::Store;

/// How many runs are kept: three months of a daily `once`, an hour and a half of one every minute.
const RUNS_MAX: i64 = 100;

/// The number of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunNumber(i64);

/// A run of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command.
    pub command: String,
    /// When it began.
    pub started_at: i64,
    /// When it ended; none while it runs, and for ever if it was killed.
    pub ended_at: Option<i64>,
    /// How it ended.
    pub outcome: Option<String>,
    /// What it counted, as JSON.
    pub counts: Option<String>,
}

impl Store {
    /// Records the start of a run, and forgets all but the newest hundred.
    pub fn start_run(&self, command: &str, now: i64) -> Result<RunNumber> {
        self.write("record the start of this run", |transaction, _| {
            transaction
                .execute("insert into runs (command, started_at) values (?1, ?2)", params![command, now])?;
            let number = transaction.last_insert_rowid();
            transaction.execute("delete from runs where number <= ?1", [number - RUNS_MAX])?;
            Ok(RunNumber(number))
        })
    }

    /// Records the end of a run.
    pub fn finish_run(&self, number: RunNumber, outcome: &str, counts: &str, now: i64) -> Result<()> {
        self.write("record the end of this run", |transaction, _| {
            transaction.execute(
                "update runs
                    set ended_at = ?2,
                        outcome = ?3,
                        counts = ?4
                  where number = ?1",
                params![number.0, now, outcome, counts],
            )?;
            Ok(())
        })
    }

    /// The last `count` runs, the newest first.
    pub fn last_runs(&self, count: u32) -> Result<Vec<Run>> {
        self.read("read the last runs", |connection| {
            let mut select = connection.prepare_cached(
                "select command, started_at, ended_at, outcome, counts
                   from runs
                  order by number desc
                  limit ?1",
            )?;
            let runs = select.query_map([count], |row| {
                Ok(Run {
                    command: row.get(0)?,
                    started_at: row.get(1)?,
                    ended_at: row.get(2)?,
                    outcome: row.get(3)?,
                    counts: row.get(4)?,
                })
            })?;
            Ok(runs.collect::<Result<_, _>>()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::store::testing::state;

    #[test]
    fn the_newest_hundred_are_kept() {
        let (_dir, store) = state();
        for time in 0..130 {
            let number = store.start_run("once", time).unwrap();
            if time < 129 {
                store.finish_run(number, "done", "{}", time + 1).unwrap();
            }
        }
        let runs = store.last_runs(1_000).unwrap();
        assert_eq!(runs.len(), 100);
        assert_eq!((runs[0].started_at, runs[0].ended_at), (129, None));
        assert_eq!((runs[99].started_at, runs[99].outcome.as_deref()), (30, Some("done")));
        assert_eq!(store.last_runs(2).unwrap().len(), 2);
    }
}
