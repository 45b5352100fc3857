//! Pages of changed rows of a watched table, and the root keys that they reach.

use postgres::Row;
use serde::{Deserialize, Serialize};

use crate::cell::CellFormat;
use crate::checkpoint::{ServerTime, write_date, write_timestamp};
use crate::error::Result;
use crate::key::Key;
use crate::plan::PlannedColumn;
use crate::postgres::Source;
use crate::postgres::connect::classify;
use crate::postgres::framed::push_framed;
use crate::postgres::select::CursorKind;
use crate::postgres::source::{raw_cell, stream};
use crate::postgres::sql::{Parameters, literal, row_of, rows_of_texts};
use crate::postgres::watched::{Path, PollColumns, WatchedTable};

/// A row that a poll delivered.
#[derive(Clone, Debug)]
pub struct PolledRow {
    /// Its identity in its table.
    pub key: Key,
    /// Its cursor's binary value, for order alone.
    pub cursor: i64,
    /// Its cursor as the server's text.
    pub cursor_text: String,
    /// Its version: `xmin`, or the cursor where there is none.
    pub row_version: String,
    /// Root keys that stand in the row itself.
    pub direct: Vec<Key>,
    /// Texts in the row itself that may be root keys, see [`Source::resolve_named`].
    pub named: Vec<Key>,
}

/// The last row of a page, after which the next begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollPosition {
    /// Its cursor as the server's text.
    pub cursor: String,
    /// Its key, as [`Key::as_str`].
    pub key: String,
}

impl Source {
    /// Reads the next page of rows whose cursor is at or after `lower`, in the order of (cursor, key).
    ///
    /// There is no upper limit; a page shorter than `page_size` is the last.
    pub fn poll_page(
        &mut self,
        table: &WatchedTable,
        lower: ServerTime,
        after: Option<&PollPosition>,
        page_size: usize,
    ) -> Result<Vec<PolledRow>> {
        let columns = table.poll_columns();
        let mut parameters = Parameters::default();
        let condition = match after {
            None => {
                parameters.text(Some(lower.to_string()));
                format!("{} >= {}", table.cursor, lower_bound(table.cursor_kind, "$1", &self.timezone))
            }
            Some(position) => {
                parameters.text(Some(position.cursor.clone()));
                let cursor_type = match table.cursor_kind {
                    CursorKind::Timestamptz => "timestamptz",
                    CursorKind::Timestamp => "timestamp",
                    CursorKind::Date => "date",
                };
                let mut left = vec![table.cursor.clone()];
                let mut right = vec![format!("$1::text::{cursor_type}")];
                let texts =
                    Key::from_encoded(position.key.as_str()).columns(table.key.len()).unwrap_or_default();
                for (place, (column, text)) in table.key.iter().zip(texts).enumerate() {
                    left.push(column.expression.clone());
                    right.push(format!("${}::text::{}", place + 2, column.type_name));
                    parameters.text(Some(text));
                }
                format!("{} > {}", row_of(&left), row_of(&right))
            }
        };
        let order: Vec<&str> = table.key.iter().map(|column| column.expression.as_str()).collect();
        let xmin = if table.has_xmin { "t0.xmin::text" } else { "null::text" };
        let statement = format!(
            "select {}, {}, {xmin} from {} as t0 where {condition} order by {}, {} limit {page_size}",
            columns.select.sql(),
            table.cursor,
            table.table,
            table.cursor,
            order.join(", "),
        );
        self.begin()?;
        let mut rows = Vec::new();
        let mut raw_keys = Vec::new();
        let keeps_rows = self.kept.is_some();
        let what = format!("changed rows of {}", table.name);
        let kind = table.cursor_kind;
        stream(&mut self.client, &statement, parameters, columns.select.formats(), &what, &mut |row| {
            rows.push(polled_row(row, &columns, kind));
            if keeps_rows {
                let mut key = Vec::new();
                for column in &columns.key {
                    push_framed(&mut key, raw_cell(row, column.position).unwrap_or_default());
                }
                raw_keys.push(key);
            }
            Ok(true)
        })?;
        self.commit()?;
        self.drop_polled(table, &raw_keys);
        Ok(rows)
    }

    /// Hands every root key that the rows reach by a joined path to `record`, in PostgreSQL's order, after `after`.
    ///
    /// Stops after `limit` keys and then returns the last of them.
    pub fn fan_out(
        &mut self,
        table: &WatchedTable,
        path: usize,
        rows: &[Key],
        after: Option<&Key>,
        limit: usize,
        record: &mut dyn FnMut(Key) -> Result<()>,
    ) -> Result<Option<Key>> {
        self.begin()?;
        let last = self.fan_out_in_snapshot(table, path, rows, after, limit, record)?;
        self.commit()?;
        Ok(last)
    }

    /// The same within a transaction that is open.
    fn fan_out_in_snapshot(
        &mut self,
        table: &WatchedTable,
        path: usize,
        rows: &[Key],
        after: Option<&Key>,
        limit: usize,
        record: &mut dyn FnMut(Key) -> Result<()>,
    ) -> Result<Option<Key>> {
        let Some(Path::Joined { joins, key, select }) = table.paths.get(path) else { return Ok(None) };
        let plan = std::sync::Arc::clone(&self.plan);
        let key_types = plan.root.key_types();
        let mut parameters = Parameters::default();
        let mut types = Vec::new();
        let mut matches = Vec::new();
        let mut texts: Vec<Vec<String>> = vec![Vec::with_capacity(rows.len()); table.key.len()];
        for row in rows {
            for (column, text) in texts.iter_mut().zip(row.columns(table.key.len()).unwrap_or_default()) {
                column.push(text);
            }
        }
        for (place, (column, texts)) in table.key.iter().zip(texts).enumerate() {
            let number = place + 1;
            types.push(column.type_name.as_str());
            matches.push(format!("{} = r.r{number}", column.expression));
            parameters.texts(texts);
        }
        let outputs: Vec<String> = key
            .iter()
            .enumerate()
            .map(|(place, expression)| format!("{expression} as k{}", place + 1))
            .collect();
        let not_null: Vec<String> =
            key.iter().map(|expression| format!("{expression} is not null")).collect();
        let order: Vec<String> = (1..=key.len()).map(|place| format!("s.k{place}")).collect();
        let selected: Vec<&str> = select.iter().map(|(expression, _)| expression.as_str()).collect();
        let mut later = String::new();
        if let Some(after) = after {
            let mut casts = Vec::new();
            for (text, type_name) in
                after.columns(key_types.len()).unwrap_or_default().into_iter().zip(&key_types)
            {
                parameters.text(Some(text));
                casts.push(format!("${}::text::{type_name}", table.key.len() + casts.len() + 1));
            }
            later = format!("where {} > {}", row_of(&order), row_of(&casts));
        }
        let statement = format!(
            "select {} from (
               select distinct {}
                 from {}
                 join {} as t0 on {}{joins}
                where {}
             ) as s {later} order by {} limit {limit}",
            selected.join(", "),
            outputs.join(", "),
            rows_of_texts(&types, "r", "r", false),
            table.table,
            matches.join(" and "),
            not_null.join(" and "),
            order.join(", "),
        );
        let formats: Vec<CellFormat> = select.iter().map(|(_, format)| *format).collect();
        let columns: Vec<PlannedColumn> = formats
            .iter()
            .enumerate()
            .map(|(position, format)| PlannedColumn { position, format: *format })
            .collect();
        let what = format!("the documents that changed rows of {} reach", table.name);
        let mut key_count = 0;
        let mut last = None;
        stream(&mut self.client, &statement, parameters, &formats, &what, &mut |row| {
            if let Some(key) = row_key(row, &columns) {
                key_count += 1;
                last = Some(key.clone());
                record(key)?;
            }
            Ok(true)
        })?;
        Ok(if key_count == limit { last } else { None })
    }

    /// Hands every root key that rows written by transactions no older than `xid` reach to `record`: the sweep after a
    /// transaction ended whose start was never known.
    ///
    /// One scan, whose rows are fetched `page_size` at a time by a cursor of the server: no more of them are in memory.
    /// Returns how many rows were found.
    pub fn sweep(
        &mut self,
        table: &WatchedTable,
        xid: &str,
        page_size: usize,
        record: &mut dyn FnMut(Key) -> Result<()>,
    ) -> Result<u64> {
        if !table.has_xmin {
            return Ok(0);
        }
        let columns = table.poll_columns();
        let what = format!("recently written rows of {}", table.name);
        let declaration = format!(
            "declare pgsluice_sweep no scroll cursor for
             select {}, {}, t0.xmin::text from {} as t0 where age(t0.xmin) <= age({}::xid)",
            columns.select.sql(),
            table.cursor,
            table.table,
            literal(xid)
        );
        let fetch = format!("fetch forward {page_size} from pgsluice_sweep");
        self.begin()?;
        self.client
            .batch_execute(&declaration)
            .map_err(|error| classify(&error, format!("cannot read {what}")))?;
        let mut row_count = 0;
        // Texts that may be no keys are judged after the scan: one that cannot be cast would end its transaction.
        let mut to_resolve = Vec::new();
        loop {
            let mut keys = Vec::new();
            let formats = columns.select.formats();
            let mut direct = Vec::new();
            stream(&mut self.client, &fetch, Parameters::default(), formats, &what, &mut |row| {
                let mut row = polled_row(row, &columns, table.cursor_kind);
                keys.push(row.key.clone());
                direct.append(&mut row.direct);
                if !row.named.is_empty() {
                    to_resolve.push(row);
                }
                Ok(true)
            })?;
            if keys.is_empty() {
                break;
            }
            row_count += keys.len() as u64;
            for key in direct {
                record(key)?;
            }
            for path in 0..table.paths.len() {
                self.fan_out_in_snapshot(table, path, &keys, None, usize::MAX >> 1, record)?;
            }
        }
        self.commit()?;
        for rows in to_resolve.chunks_mut(page_size) {
            self.resolve_named(rows)?;
            for key in rows.iter_mut().flat_map(|row| row.direct.drain(..)) {
                record(key)?;
            }
        }
        Ok(row_count)
    }
}

/// The lower bound in the cursor's own type, from an instant in `parameter`.
///
/// Where clocks go back an hour in autumn, local times repeat: an instant within three hours before such a change is
/// moved to the smallest local time that any later instant can have.
pub(super) fn lower_bound(kind: CursorKind, parameter: &str, timezone: &str) -> String {
    let zone = literal(timezone);
    let instant = format!("{parameter}::text::timestamptz");
    let local = format!(
        "least({instant} at time zone {zone}, (({instant} + interval '3 hours') at time zone {zone}) - interval '3 hours')"
    );
    match kind {
        CursorKind::Timestamptz => instant,
        CursorKind::Timestamp => local,
        // A date may be the day of another zone than ours.
        CursorKind::Date => format!("({local} - interval '1 day')::date"),
    }
}

fn polled_row(row: &Row, columns: &PollColumns, kind: CursorKind) -> PolledRow {
    let column_count = columns.select.formats().len();
    let raw = raw_cell(row, column_count).unwrap_or_default();
    let cursor = match kind {
        CursorKind::Date => raw.try_into().map_or(0, |bytes| i64::from(i32::from_be_bytes(bytes))),
        _ => raw.try_into().map_or(0, i64::from_be_bytes),
    };
    let mut text = Vec::new();
    match kind {
        CursorKind::Timestamptz => write_timestamp(&mut text, cursor, b' ', "+00"),
        CursorKind::Timestamp => write_timestamp(&mut text, cursor, b' ', ""),
        CursorKind::Date => write_date(&mut text, i32::try_from(cursor).unwrap_or(i32::MAX)),
    }
    let cursor_text = String::from_utf8_lossy(&text).into_owned();
    let xmin: Option<&[u8]> = raw_cell(row, column_count + 1);
    PolledRow {
        key: row_key(row, &columns.key).unwrap_or_else(|| Key::from_encoded("")),
        cursor,
        row_version: xmin
            .map_or_else(|| cursor_text.clone(), |xmin| String::from_utf8_lossy(xmin).into_owned()),
        cursor_text,
        direct: columns.direct.iter().filter_map(|columns| row_key(row, columns)).collect(),
        named: columns.named.iter().filter_map(|columns| row_key(row, columns)).collect(),
    }
}

/// The key in the given columns, or nothing if one of them is NULL.
pub(super) fn row_key(row: &Row, columns: &[PlannedColumn]) -> Option<Key> {
    let mut texts = Vec::with_capacity(columns.len());
    for column in columns {
        texts.push(column.format.text(raw_cell(row, column.position)?));
    }
    Some(Key::from_columns(&texts))
}
