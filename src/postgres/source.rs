//! A connection to the source with the plan that was made on it.

use std::sync::Arc;
use std::time::Duration;

use postgres::Row;
use tokio_postgres::RowStream;

use crate::cell::CellFormat;
use crate::definition::Definition;
use crate::error::{Error, Result};
use crate::postgres::client::{Client, Sent};
use crate::postgres::connect::{begin_snapshot_sql, classify, classify_written, connect};
use crate::postgres::cut::Cut;
use crate::postgres::plan::{SourcePlan, plan};
use crate::postgres::related_read::KeptRows;
use crate::postgres::row_limit::RowLimit;
use crate::postgres::select::is_readable;
use crate::postgres::sql::{Parameters, literal, table};
use crate::postgres::written::{WrittenForms, try_conditions};
use crate::postgres::{SourceIdentity, catalog, indexes};
use crate::settings::SourceSettings;

/// Limits on what is read at a time.
#[derive(Clone, Copy, Debug)]
pub struct SourceLimits {
    /// The most rows of a batch.
    pub chunk_size: usize,
    /// The most bytes of a batch's rows, unless a single document needs more.
    pub batch_bytes: usize,
    /// The most bytes of the rows of one document.
    pub document_max_bytes: usize,
    /// The most bytes of rows of related tables that a full load keeps in memory.
    pub related_cache_bytes: usize,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// The first load takes root rows whose cursor is at or after this instant (microseconds since 1970).
    pub initial_timestamp: Option<i64>,
}

/// A connection to the source, and how the definition's tables are read on it.
///
/// Made anew after every error: the plan is of the tables as they are then.
pub struct Source {
    pub(super) client: Client,
    pub(super) plan: Arc<SourcePlan>,
    pub(super) limits: SourceLimits,
    pub(super) identity: SourceIdentity,
    /// The zone of cursor columns that have none.
    pub(super) timezone: String,
    pub(super) begin_snapshot: String,
    pub(super) row_limit: RowLimit,
    /// Rows of related tables, while a full load is under way.
    pub(super) kept: Option<KeptRows>,
    /// Where the next range ends, if that was asked for with the range before it.
    pub(super) next_cut: Option<Cut>,
}

impl Source {
    /// Connects, reads the catalogue and makes the plan.
    pub fn connect(settings: &SourceSettings, definition: &Definition, limits: SourceLimits) -> Result<Self> {
        let mut client = connect(settings)?;
        if !limits.statement_timeout.is_zero() {
            client.limit_silence(limits.statement_timeout + SILENCE_MARGIN);
        }
        let identity = SourceIdentity::read(&mut client)?;
        let timezone = match &definition.timezone {
            Some(timezone) => timezone.clone(),
            // Read outside any transaction of ours, which would set it to UTC.
            None => client
                .query_typed("select current_setting('TimeZone')", &[])
                .map_err(|error| classify(&error, "cannot read the server's time zone".to_owned()))?
                .first()
                .map_or_else(|| "UTC".to_owned(), |row| row.get(0)),
        };
        let catalog = catalog::read(&mut client, definition)?;
        if catalog.is_empty() {
            must_have_tables(&mut client)?;
        }
        let begin_snapshot = begin_snapshot_sql(limits.statement_timeout);
        let written = WrittenForms::read(&mut client, &begin_snapshot, definition, &catalog)?;
        let plan = Arc::new(plan(definition, &catalog, &written)?);
        let mut source = Self {
            client,
            plan,
            limits,
            identity,
            timezone,
            begin_snapshot,
            row_limit: RowLimit::new(limits.chunk_size, limits.batch_bytes),
            kept: None,
            next_cut: None,
        };
        source.try_written_sql(definition)?;
        Ok(source)
    }

    /// Lets the server judge what the definition says in its words: conditions and the time zone. In a
    /// statement of ours, its message would not say whose mistake it is.
    fn try_written_sql(&mut self, definition: &Definition) -> Result<()> {
        let mut attempts = Vec::new();
        if let Some(condition) = &definition.root.condition {
            // The line break ends a comment at the end of the condition.
            let statement =
                format!("select 1 from {} as t where ({condition}\n) limit 0", self.plan.root.table);
            attempts.push((statement, "root.where", CONDITION_CURE));
        }
        for tombstone in &definition.tombstones {
            if let Some(condition) = &tombstone.condition {
                let table = table(&tombstone.table);
                let statement = format!("select 1 from {table} as t where ({condition}\n) limit 0");
                attempts.push((statement, "tombstone.where", CONDITION_CURE));
            }
        }
        if let Some(timezone) = &definition.timezone {
            let statement = format!("select now() at time zone {}", literal(timezone));
            attempts.push((
                statement,
                "timezone",
                "write a name of pg_timezone_names, such as Europe/Moscow",
            ));
        }
        for (statement, place, cure) in attempts {
            self.begin()?;
            self.client
                .query_typed(&statement, &[])
                .map_err(|error| classify_written(&error, place, cure))?;
            self.commit()?;
        }
        let plan = Arc::clone(&self.plan);
        try_conditions(&mut self.client, &self.begin_snapshot, definition, &plan.conditions)
    }

    /// What the statements and documents are made by.
    pub fn plan(&self) -> &Arc<SourcePlan> {
        &self.plan
    }

    /// The most root rows that a batch should have: `CHUNK_SIZE`, or fewer where rows are large.
    pub fn row_limit(&self) -> usize {
        self.row_limit.rows()
    }

    /// Which database this is.
    pub fn identity(&self) -> &SourceIdentity {
        &self.identity
    }

    /// Reads the identity anew: how far the write-ahead log has come.
    pub fn refresh_identity(&mut self) -> Result<SourceIdentity> {
        self.identity = SourceIdentity::read(&mut self.client)?;
        Ok(self.identity.clone())
    }

    /// The zone that cursor columns without one are taken to be in.
    pub fn timezone(&self) -> &str {
        &self.timezone
    }

    /// Makes sure that the root's key holds no NULL and no duplicates, by a scan where the catalogue cannot say so.
    pub fn check_root_key(&mut self) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        if plan.root.is_key_unique {
            return Ok(());
        }
        let key: Vec<String> = plan.root.key.iter().map(|key| key.quoted.clone()).collect();
        let nulls: Vec<String> = key.iter().map(|column| format!("{column} is null")).collect();
        let statement = format!(
            "select (select count(*) from {table} as t where {}),
                    (select count(*) from (select 1 from {table} as t group by {} having count(*) > 1) as d)",
            nulls.join(" or "),
            key.join(", "),
            table = plan.root.table
        );
        let row =
            self.in_snapshot("check the root's key", |client| client.query_typed_one(&statement, &[]))?;
        let (null_count, duplicate_count): (i64, i64) = (row.get(0), row.get(1));
        if null_count == 0 && duplicate_count == 0 {
            return Ok(());
        }
        Err(Error::wrong(format!(
            "the key of the root table {} is no key: rows with a NULL in it: {null_count}, values that stand more than once: {duplicate_count}",
            plan.root.name
        ))
        .hint("name columns in root.key that identify a row, best with a unique index and not null"))
    }

    /// Opens the one snapshot from which a batch or page is read.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.client
            .batch_execute(&self.begin_snapshot)
            .map_err(|error| classify(&error, "cannot begin a transaction".to_owned()))
    }

    /// Closes the snapshot.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.client
            .batch_execute("commit")
            .map_err(|error| classify(&error, "cannot end a transaction".to_owned()))
    }

    /// Runs one piece of reading in a snapshot of its own.
    pub(super) fn in_snapshot<T>(
        &mut self,
        attempt: &str,
        read: impl FnOnce(&mut Client) -> std::result::Result<T, postgres::Error>,
    ) -> Result<T> {
        self.begin()?;
        let read = read(&mut self.client).map_err(|error| classify(&error, format!("cannot {attempt}")))?;
        self.commit()?;
        Ok(read)
    }
}

/// How much longer than a statement may take the server's silence may last: the server ends a statement that is too slow,
/// and says so.
const SILENCE_MARGIN: Duration = Duration::from_secs(10);

const CONDITION_CURE: &str = "write a condition as it stands behind `where` in SQL";

/// Refuses, for now, a database without any table: one that was just made and is about to be filled.
///
/// Where there are tables and none is the definition's, the definition is wrong, or the database is the wrong one.
fn must_have_tables(client: &mut Client) -> Result<()> {
    let row = client
        .query_typed_one(
            "select current_database()::text,
                    exists (select 1
                              from pg_catalog.pg_class c
                              join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                             where c.relkind in ('r', 'p', 'v', 'm', 'f')
                               and n.nspname <> 'information_schema'
                               and n.nspname !~ '^pg_')",
            &[],
        )
        .map_err(|error| classify(&error, "cannot look for tables".to_owned()))?;
    let (database, has_tables): (String, bool) = (row.get(0), row.get(1));
    if has_tables {
        return Ok(());
    }
    Err(Error::unreachable(format!("the database {database} has no tables yet"))
        .hint("fill it, or correct PG_DSN or PG_DSN__DBNAME"))
}

/// What a statement's rows are handed to; returns whether it wants more.
pub(super) type RowSink<'a> = dyn FnMut(&Row) -> Result<bool> + 'a;

/// Streams the rows of a statement to `sink` and checks that its columns are readable in `formats`.
pub(super) fn stream(
    client: &mut Client,
    statement: &str,
    parameters: Parameters,
    formats: &[CellFormat],
    what: &str,
    sink: &mut RowSink<'_>,
) -> Result<()> {
    if !indexes::explain(client, what, statement, &parameters)? {
        return Ok(());
    }
    let sent = send(client, statement.to_owned(), parameters);
    take_rows(client, sent, formats, what, sink)
}

/// Sends a statement, whose rows are taken later by [`take_rows`].
pub(super) fn send(client: &mut Client, statement: String, parameters: Parameters) -> Sent<RowStream> {
    log::trace!("{statement}");
    client.send(statement, parameters.into_values())
}

/// Streams the rows of a statement that was sent to `sink` and checks that its columns are readable in `formats`.
pub(super) fn take_rows(
    client: &mut Client,
    sent: Sent<RowStream>,
    formats: &[CellFormat],
    what: &str,
    sink: &mut RowSink<'_>,
) -> Result<()> {
    let mut is_checked = false;
    let mut taken = Ok(());
    let mut take = |row: &Row| -> Result<bool> {
        if !is_checked {
            for (column, format) in row.columns().iter().zip(formats) {
                if !is_readable(*format, column.type_().oid()) {
                    // A retry makes a new plan from the catalogue as it is now.
                    return Err(Error::unreachable(format!(
                        "the columns of {what} changed while they were read"
                    )));
                }
            }
            is_checked = true;
        }
        sink(row)
    };
    client
        .take_rows(sent, |row| {
            take(row).unwrap_or_else(|error| {
                taken = Err(error);
                false
            })
        })
        .map_err(|error| classify(&error, format!("cannot read {what}")))?;
    taken
}

/// The bytes of a cell as the server sent them, of any type.
pub(super) struct RawCell<'a>(pub(super) &'a [u8]);

impl<'a> postgres::types::FromSql<'a> for RawCell<'a> {
    fn from_sql(
        _: &postgres::types::Type,
        raw: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &postgres::types::Type) -> bool {
        true
    }
}

/// The bytes of a row's cell, or nothing for NULL.
pub(super) fn raw_cell(row: &Row, column: usize) -> Option<&[u8]> {
    row.try_get::<_, Option<RawCell<'_>>>(column).ok().flatten().map(|cell| cell.0)
}
