//! The source rows behind one document: those of every watched table that reach its root row, with their cursors.

use crate::cell::CellFormat;
use crate::error::Result;
use crate::key::Key;
use crate::plan::PlannedColumn;
use crate::postgres::Source;
use crate::postgres::poll::{lower_bound, row_key};
use crate::postgres::source::{raw_cell, stream};
use crate::postgres::sql::Parameters;
use crate::postgres::watched::{Path, WatchedTable};

/// How many rows of a table are counted.
const COUNT_LIMIT: usize = 1_000;

/// What a watched table has to do with a document.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The table.
    pub table: String,
    /// The rows written last, newest first; up to as many as were asked for.
    pub rows: Vec<OriginRow>,
    /// How many rows there are; of more than a thousand, a thousand.
    pub row_count: usize,
    /// Whether there are more than were counted.
    pub has_more: bool,
}

/// A row that reaches the document.
#[derive(Clone, Debug)]
pub struct OriginRow {
    /// Its identity in its table.
    pub key: Key,
    /// Its cursor as the server's text; none for NULL.
    pub cursor: Option<String>,
    /// Whether its cursor is at or after the checkpoint, so that the next poll reads it; unknown without a checkpoint.
    pub is_after_checkpoint: Option<bool>,
}

impl Source {
    /// Reads, for each watched table, the rows that the document of `key` is reached by, up to `shown` of them.
    ///
    /// `checkpoint` gives the server's own text of a table's checkpoint.
    pub fn origins(
        &mut self,
        key: &Key,
        shown: usize,
        checkpoint: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<Origin>> {
        let plan = std::sync::Arc::clone(&self.plan);
        let mut origins = Vec::new();
        for watched in &plan.watched {
            let table = watched.name.to_string();
            let checkpoint = checkpoint(&table);
            let mut origin = Origin { rows: Vec::new(), row_count: 0, has_more: false, table };
            let mut rows: Vec<OriginRow> = Vec::new();
            for path in 0..watched.paths.len() {
                for row in self.rows_by_path(watched, path, key, checkpoint.as_deref())? {
                    if !rows.iter().any(|known| known.key == row.key) {
                        rows.push(row);
                    }
                }
            }
            origin.has_more = rows.len() > COUNT_LIMIT;
            rows.truncate(COUNT_LIMIT);
            origin.row_count = rows.len();
            origin.rows = rows.into_iter().take(shown).collect();
            origins.push(origin);
        }
        Ok(origins)
    }

    /// The rows of one way to the root, newest first.
    fn rows_by_path(
        &mut self,
        watched: &WatchedTable,
        path: usize,
        key: &Key,
        checkpoint: Option<&str>,
    ) -> Result<Vec<OriginRow>> {
        let plan = std::sync::Arc::clone(&self.plan);
        let types = plan.root.key_types();
        let (joins, expressions): (&str, Vec<&str>) = match &watched.paths[path] {
            Path::Direct(columns) | Path::Named(columns) => {
                ("", columns.iter().map(|(expression, _)| expression.as_str()).collect())
            }
            Path::Joined { joins, key, .. } => (joins, key.iter().map(String::as_str).collect()),
        };
        let mut parameters = Parameters::default();
        let mut conditions = Vec::new();
        for (place, (text, expression)) in
            key.columns(types.len()).unwrap_or_default().into_iter().zip(expressions).enumerate()
        {
            parameters.text(Some(text));
            let number = place + 1;
            // What names a key in a column of another type is text that may be no key at all.
            if matches!(watched.paths[path], Path::Named(_)) {
                conditions.push(format!("{expression} = ${number}::text"));
                continue;
            }
            // A column that is selected as text is compared as what it is.
            let expression = expression.strip_suffix("::text").unwrap_or(expression);
            conditions.push(format!("{expression} = ${number}::text::{}", types[place]));
        }
        let is_after = match checkpoint {
            Some(checkpoint) => {
                parameters.text(Some(checkpoint.to_owned()));
                let parameter = format!("${}", types.len() + 1);
                format!(
                    "{} >= {}",
                    watched.cursor,
                    lower_bound(watched.cursor_kind, &parameter, &self.timezone)
                )
            }
            None => "null::bool".to_owned(),
        };
        let columns = watched.poll_columns();
        let column_count = columns.select.formats().len();
        let statement = format!(
            "select {}, {}::text, {is_after} from {} as t0{joins} where {} order by {} desc nulls last limit {}",
            columns.select.sql(),
            watched.cursor,
            watched.table,
            conditions.join(" and "),
            watched.cursor,
            COUNT_LIMIT + 1,
        );
        let what = format!("the rows of {} behind a document", watched.name);
        let mut formats = columns.select.formats().to_vec();
        formats.push(CellFormat::Text);
        let cursor = PlannedColumn { position: column_count, format: CellFormat::Text };
        let mut rows = Vec::new();
        self.begin()?;
        stream(&mut self.client, &statement, parameters, &formats, &what, &mut |row| {
            rows.push(OriginRow {
                key: row_key(row, &columns.key).unwrap_or_else(|| Key::from_encoded("")),
                cursor: raw_cell(row, cursor.position).map(|bytes| cursor.format.text(bytes)),
                is_after_checkpoint: raw_cell(row, column_count + 1).map(|bytes| bytes == [1]),
            });
            Ok(true)
        })?;
        self.commit()?;
        Ok(rows)
    }
}
