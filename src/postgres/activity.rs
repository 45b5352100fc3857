//! Steps 1, 2 and 4 of the cursor feed: the server's clock, the running transactions, the prepared ones.
//!
//! Read in autocommit and in this order: inside a transaction `pg_stat_activity` is cached, and a transaction that is
//! prepared between the two reads must be seen in at least one of them.

use std::time::{Duration, Instant};

use postgres::types::Type;

use crate::checkpoint::ServerTime;
use crate::error::{Error, Result};
use crate::postgres::Source;
use crate::postgres::connect::classify;
use crate::postgres::source::raw_cell;

/// A transaction that was running.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Running {
    /// The backend.
    pub pid: i32,
    /// When it began, as far as it can be seen.
    pub start: ServerTime,
    /// Its transaction id, once it has one: two transactions of one message share their start.
    pub xid: Option<String>,
}

/// What was seen of the server's transactions at one moment.
#[derive(Clone, Debug)]
pub struct Activity {
    /// This process's clock, read before the server's.
    pub monotonic: Instant,
    /// The server's clock, read before the transactions.
    pub now: ServerTime,
    /// The transactions that were running.
    pub running: Vec<Running>,
    /// The ids of prepared transactions of this database.
    pub prepared: Vec<String>,
    /// Whether some transactions could not be seen.
    pub is_blind: bool,
}

/// How long a session may be idle in a transaction before it is worth a warning: it holds the checkpoints back.
pub fn forgotten_after() -> Duration {
    crate::faults::time("PGSLUICE_FORGOTTEN_AFTER_MS", Duration::from_secs(300))
}

impl Source {
    /// Observes the server's clock and transactions.
    pub fn activity(&mut self) -> Result<Activity> {
        let failed =
            |error: postgres::Error| classify(&error, "cannot read the running transactions".to_owned());
        let monotonic = Instant::now();
        let is_standby = self.identity.is_standby;
        // A standby shows none of the primary's transactions: only the time of the last replayed commit is of use. It
        // has none right after its start; what it shows then is as old as the checkpoint that it started from.
        let clock = if is_standby {
            "select coalesce(pg_last_xact_replay_timestamp(), c.checkpoint_time), pg_is_in_recovery()
               from pg_control_checkpoint() c"
        } else {
            "select now(), false"
        };
        let row = self.client.query_typed_one(clock, &[]).map_err(failed)?;
        if is_standby && !row.get::<_, bool>(1) {
            return Err(Error::unreachable("the standby that is read from was promoted"));
        }
        let now = server_time(raw_cell(&row, 0)).unwrap_or(ServerTime::MINUS_INFINITY);
        if is_standby {
            return Ok(Activity {
                monotonic,
                now,
                running: Vec::new(),
                prepared: Vec::new(),
                is_blind: true,
            });
        }
        let rows = self
            .client
            .query_typed(
                "select pid, coalesce(xact_start, query_start), backend_xid::text,
                        (query = '<insufficient privilege>' or state = 'disabled') is true
                   from pg_stat_activity
                  where datname = current_database()
                    and pid <> pg_backend_pid()
                    and coalesce(backend_type, '') not in ('parallel worker', 'autovacuum worker', 'walsender')
                    and (xact_start is not null
                         or state in ('active', 'fastpath function call', 'disabled')
                         or query = '<insufficient privilege>')",
                &[],
            )
            .map_err(failed)?;
        let mut running = Vec::new();
        let mut is_blind = false;
        for row in &rows {
            is_blind |= row.get::<_, bool>(3);
            if let Some(start) = server_time(raw_cell(row, 1)) {
                running.push(Running { pid: row.get(0), start, xid: row.get(2) });
            }
        }
        let prepared = self
            .client
            .query_typed(
                "select transaction::text from pg_prepared_xacts where database = current_database()",
                &[],
            )
            .map_err(failed)?
            .iter()
            .map(|row| row.get(0))
            .collect();
        Ok(Activity { monotonic, now, running, prepared, is_blind })
    }

    /// The session that has been idle in a transaction for longest, with its start, if that was before `before`.
    pub fn oldest_idle_transaction(&mut self, before: ServerTime) -> Result<Option<(i32, ServerTime)>> {
        let before = before.to_string();
        let rows = self
            .client
            .query_typed(
                "select pid, xact_start
                   from pg_stat_activity
                  where datname = current_database()
                    and state = 'idle in transaction'
                    and xact_start < $1::text::timestamptz and pid <> pg_backend_pid()
                  order by xact_start
                  limit 1",
                &[(&before, Type::TEXT)],
            )
            .map_err(|error| classify(&error, "cannot look for forgotten transactions".to_owned()))?;
        Ok(rows.first().and_then(|row| Some((row.get(0), server_time(raw_cell(row, 1))?))))
    }
}

/// Reads a `timestamptz` in binary form.
pub(super) fn server_time(bytes: Option<&[u8]>) -> Option<ServerTime> {
    Some(ServerTime(i64::from_be_bytes(bytes?.try_into().ok()?)))
}
