//! What statements a server was asked, by `pg_stat_statements`.

use super::Database;
use super::proxy::Asked;

/// The statements of one database on a server that was made with [`Statements::SETTINGS`].
pub struct Statements<'a> {
    database: &'a Database,
}

/// How often statements ran, and how many rows they returned.
#[derive(Clone, Copy, Debug)]
pub struct Total {
    pub calls: i64,
    pub rows: i64,
}

impl<'a> Statements<'a> {
    /// What the server needs.
    pub const SETTINGS: &'static [&'static str] = &["shared_preload_libraries = 'pg_stat_statements'"];

    /// Begins to look.
    pub fn of(database: &'a Database) -> Self {
        database.execute("create extension pg_stat_statements");
        Self { database }
    }

    /// Forgets what there was.
    pub fn reset(&self) {
        self.database.execute("select pg_stat_statements_reset()");
    }

    /// The statements whose text is like this.
    pub fn like(&self, pattern: &str) -> Total {
        let row = self
            .database
            .connect()
            .query_one(
                "select coalesce(sum(calls), 0)::bigint, coalesce(sum(rows), 0)::bigint
                   from pg_stat_statements
                  where query like $1 and dbid = (select oid from pg_database where datname = current_database())",
                &[&pattern],
            )
            .unwrap();
        Total { calls: row.get(0), rows: row.get(1) }
    }
}

/// The number of actions in a bulk request.
pub fn action_count(asked: &Asked) -> u64 {
    let is_action =
        |line: &&str| line.starts_with("{\"index\":{\"_id\"") || line.starts_with("{\"delete\":{\"_id\"");
    asked.body.lines().filter(is_action).count() as u64
}
