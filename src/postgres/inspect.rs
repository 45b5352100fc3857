//! What `check` finds in the source beyond what the plan itself demands; nothing here is needed to sync.

use postgres::types::Type;

use crate::batch::{Batch, BatchNumber, KeyRange, Version, Work};
use crate::checkpoint::ServerTime;
use crate::error::Result;
use crate::finding::{Finding, Level};
use crate::postgres::activity::forgotten_after;
use crate::postgres::connect::classify;
use crate::postgres::sql::literal;
use crate::postgres::watched::Path;
use crate::postgres::{CursorKind, Source, WatchedTable};

/// Rows are counted up to here: whether there are ten or a million of a kind makes no difference to what is said.
const COUNT_LIMIT: i64 = 1_000;

/// Tombstones of other types than the key's that are tried.
const NAMED_LOOKED_AT: usize = 1_000;

/// Rows of a larger table are counted only by an index on the cursor; that one is missing is said elsewhere.
const COUNTED_BYTES: i64 = 256 << 20;

/// A row this far ahead of the server's clock is worth a warning; less is the clock of an application server.
const AHEAD: &str = "interval '5 minutes'";

impl Source {
    /// Looks at the server and at every watched table; reads one row of each to try rights and statements.
    pub fn inspect(&mut self) -> Result<Vec<Finding>> {
        let mut findings = vec![self.inspect_server()?];
        for warning in &self.plan.warnings.clone() {
            findings.push(
                Finding::new(Level::Warning, "definition", warning.clone()).cure(
                    "name a cursor for it, or count on full loads: polling cannot see what changes there",
                ),
            );
        }
        self.check_root_key()?;
        self.try_statements()?;
        let root = self.plan.root.name.to_string();
        findings.push(Finding::new(
            Level::Good,
            root,
            "its key identifies its rows, every table can be read",
        ));
        findings.push(self.inspect_activity()?);
        findings.extend(self.inspect_forgotten()?);
        findings.extend(self.inspect_statistics_settings()?);
        let plan = std::sync::Arc::clone(&self.plan);
        for watched in &plan.watched {
            findings.extend(self.inspect_watched(watched)?);
        }
        Ok(findings)
    }

    fn inspect_server(&mut self) -> Result<Finding> {
        let row = self
            .client
            .query_typed_one(
                "select current_setting('server_version'), current_database()::text, current_user::text",
                &[],
            )
            .map_err(|error| classify(&error, "cannot read the server's version".to_owned()))?;
        let (version, database, role): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let subject = "PostgreSQL";
        let message = format!("{version}, database {database}, role {role}");
        if self.identity.is_standby {
            return Ok(Finding::new(Level::Warning, subject, format!("{message}, a standby")).cure(
                "the primary's transactions cannot be seen here, so every poll looks back LOOKBACK seconds: poll \
                 the primary for an exact feed",
            ));
        }
        Ok(Finding::new(Level::Good, subject, message))
    }

    /// Reads one document and one row of each watched table: what cannot be read is known before anything is made.
    pub fn try_statements(&mut self) -> Result<()> {
        let high = self.cut_range(None, 1)?;
        let batch = Batch {
            number: BatchNumber(0),
            work: Work::Range(KeyRange { low: None, high }),
            attempt_count: 0,
        };
        self.read(batch, Version(0))?;
        let plan = std::sync::Arc::clone(&self.plan);
        for watched in &plan.watched {
            let rows = self.poll_page(watched, ServerTime::MINUS_INFINITY, None, 1)?;
            let keys: Vec<_> = rows.into_iter().map(|row| row.key).collect();
            for path in 0..watched.paths.len() {
                self.fan_out(watched, path, &keys, None, 1, &mut |_| Ok(()))?;
            }
        }
        Ok(())
    }

    fn inspect_activity(&mut self) -> Result<Finding> {
        let subject = "running transactions";
        // A role without the right is blind only while another role has a session: sooner or later it is.
        let may_see = self
            .client
            .query_typed_one("select pg_has_role('pg_read_all_stats', 'usage')", &[])
            .map_err(|error| classify(&error, "cannot read the role's rights".to_owned()))?
            .get::<_, bool>(0);
        if self.activity()?.is_blind || !may_see {
            return Ok(Finding::new(
                Level::Warning,
                subject,
                "some cannot be seen, so every poll looks back LOOKBACK seconds and a longer transaction is missed",
            )
            .cure("grant pg_monitor to the role (inherited), leave track_activities on, and poll the primary"));
        }
        Ok(Finding::new(Level::Good, subject, "can be seen, so late commits are found"))
    }

    /// A transaction that nobody ends holds the checkpoints back.
    fn inspect_forgotten(&mut self) -> Result<Option<Finding>> {
        if self.identity.is_standby {
            return Ok(None);
        }
        let now = self.activity()?.now;
        let Some((pid, start)) = self.oldest_idle_transaction(now.minus(forgotten_after()))? else {
            return Ok(None);
        };
        let age = now.since(start).as_secs();
        Ok(Some(
            Finding::new(
                Level::Warning,
                "running transactions",
                format!("the session with pid {pid} has been idle in a transaction for {age} s"),
            )
            .cure(
                "end it (pg_terminate_backend), unless it is at work: until then a restart reads everything since its start again",
            ),
        ))
    }

    /// Verify learns of deletions from the server's statistics.
    fn inspect_statistics_settings(&mut self) -> Result<Option<Finding>> {
        let row = self
            .client
            .query_typed_one("select current_setting('track_counts')", &[])
            .map_err(|error| classify(&error, "cannot read the server's settings".to_owned()))?;
        if row.get::<_, String>(0) == "on" {
            return Ok(None);
        }
        let finding = Finding::new(
            Level::Warning,
            "PostgreSQL",
            "track_counts is off, so deleted rows are not counted",
        );
        Ok(Some(finding.cure("switch track_counts on, or choose a shorter VERIFY_INTERVAL")))
    }

    fn inspect_watched(&mut self, watched: &WatchedTable) -> Result<Vec<Finding>> {
        let subject = watched.name.to_string();
        let mut findings = Vec::new();
        if !watched.has_xmin {
            findings.push(
                Finding::new(
                    Level::Warning,
                    subject.clone(),
                    "is a view or foreign table: a change that leaves key and cursor alone cannot be told apart",
                )
                .cure("watch the tables behind it where that matters"),
            );
        }
        if watched.cursor_kind != CursorKind::Timestamptz {
            findings.push(
                Finding::new(
                    Level::Warning,
                    subject.clone(),
                    format!("its cursor has no time zone and is taken to be in {}", self.timezone),
                )
                .cure(
                    "set `timezone` in the definition if the writers use another one, or make it timestamptz",
                ),
            );
        }
        findings.extend(self.inspect_cursor_values(watched, &subject)?);
        findings.extend(self.inspect_subscription(watched, &subject)?);
        findings.extend(self.inspect_named(watched, &subject)?);
        if findings.is_empty() {
            let how = if watched.is_tombstone {
                "names deleted rows, by its cursor"
            } else {
                "is watched by its cursor"
            };
            findings.push(Finding::new(Level::Good, subject, how));
        }
        Ok(findings)
    }

    /// Of another type than the root's key, tombstones may name anything.
    fn inspect_named(&mut self, watched: &WatchedTable, subject: &str) -> Result<Option<Finding>> {
        if !watched.paths.iter().any(|path| matches!(path, Path::Named(_))) {
            return Ok(None);
        }
        let mut rows = self.poll_page(watched, ServerTime::MINUS_INFINITY, None, NAMED_LOOKED_AT)?;
        let row_count = rows.len();
        let strange_count = self.resolve_named(&mut rows)?;
        Ok((strange_count > 0).then(|| {
            let key = self.root_key_description();
            Finding::new(
                Level::Warning,
                subject,
                format!("{strange_count} of its first {row_count} rows name what cannot be a key of the root table ({key})"),
            )
            .cure("they are passed over; a `where` in the tombstone leaves out rows that are about something else")
        }))
    }

    /// Whether rows can be counted by their cursor without reading all of a large table: by an index, or since it is
    /// small. Of a view nobody knows: it is counted.
    fn can_count_by_cursor(&mut self, watched: &WatchedTable) -> Result<bool> {
        let row = self
            .client
            .query_typed_one(
                "select coalesce(pg_catalog.pg_relation_size(c.oid) < $3::text::int8, true)
                        or exists (select 1
                                     from pg_catalog.pg_index i
                                     join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
                                    where i.indrelid = c.oid and i.indisvalid and i.indpred is null and a.attname = $4)
                   from pg_catalog.pg_class c
                   join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                  where n.nspname = $1 and c.relname = $2",
                &[
                    (&watched.name.schema, Type::TEXT),
                    (&watched.name.name, Type::TEXT),
                    (&COUNTED_BYTES.to_string(), Type::TEXT),
                    (&watched.cursor_column, Type::TEXT),
                ],
            )
            .map_err(|error| classify(&error, format!("cannot read the size of {}", watched.name)))?;
        Ok(row.get(0))
    }

    fn inspect_cursor_values(&mut self, watched: &WatchedTable, subject: &str) -> Result<Vec<Finding>> {
        let now = match watched.cursor_kind {
            CursorKind::Timestamptz => "now()".to_owned(),
            CursorKind::Timestamp | CursorKind::Date => {
                format!("(now() at time zone {})", literal(&self.timezone))
            }
        };
        let (table, cursor) = (&watched.table, &watched.cursor);
        if !self.can_count_by_cursor(watched)? {
            return Ok(Vec::new());
        }
        let statement = format!(
            "select (select count(*) from (select 1 from {table} as t0 where {cursor} is null limit {COUNT_LIMIT}) n),
                    (select count(*) from (select 1 from {table} as t0 where {cursor} > {now} + {AHEAD}
                                            limit {COUNT_LIMIT}) a)"
        );
        let row = self.in_snapshot(&format!("count rows of {subject}"), |client| {
            client.query_typed_one(&statement, &[])
        })?;
        let mut findings = Vec::new();
        for (place, what, cure) in [
            (
                0,
                "have no cursor value: they come in with full loads only",
                "fill the column and make it not null",
            ),
            (
                1,
                "have a cursor ahead of now: they are read by every poll until then",
                "correct the writer's clock",
            ),
        ] {
            let count: i64 = row.get(place);
            if count > 0 {
                let many = if count == COUNT_LIMIT { "or more " } else { "" };
                findings.push(
                    Finding::new(Level::Warning, subject, format!("{count} {many}rows {what}")).cure(cure),
                );
            }
        }
        Ok(findings)
    }

    /// Logical replication's apply keeps the origin's cursor values: rows arrive with an old one.
    fn inspect_subscription(&mut self, watched: &WatchedTable, subject: &str) -> Result<Option<Finding>> {
        let found = self
            .client
            .query_typed(
                "select 1
                   from pg_catalog.pg_subscription_rel s
                   join pg_catalog.pg_class c on c.oid = s.srrelid
                   join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                  where n.nspname = $1 and c.relname = $2",
                &[(&watched.name.schema, Type::TEXT), (&watched.name.name, Type::TEXT)],
            )
            .map_err(|error| classify(&error, format!("cannot read the subscriptions of {subject}")))?;
        Ok((!found.is_empty()).then(|| {
            Finding::new(
                Level::Warning,
                subject,
                "is filled by a subscription, which writes rows with the origin's older cursor values",
            )
            .cure("set the cursor in an `enable always` trigger on this side")
        }))
    }
}
