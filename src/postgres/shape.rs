//! The columns that a plan was made for, and whether they are still the same.
//!
//! A statement that was written for other types need not fail: `numeric` and `text` both have a text, and PostgreSQL
//! compares a `timestamp` with a `timestamptz` by the session's zone, which would move a poll's window by hours. So
//! after rows were read, and before anything is concluded from them, the catalogue is asked whether the columns are
//! those of the plan. A column that is not used may come, go and change as it likes.

use std::collections::BTreeMap;

use postgres::SimpleQueryMessage;

use crate::definition::TableName;
use crate::error::{Error, Result};
use crate::postgres::Source;
use crate::postgres::connect::classify;
use crate::postgres::sql::literal;

/// What is known of each column that a plan uses: its number, type, and collation.
#[derive(Debug, Default)]
pub(super) struct UsedColumns(BTreeMap<(TableName, String), String>);

impl UsedColumns {
    /// Notes that a column is used.
    pub(super) fn note(&mut self, table: &TableName, column: &str, shape: &str) {
        self.0.entry((table.clone(), column.to_owned())).or_insert_with(|| shape.to_owned());
    }

    /// What they are like, and the statement that asks for it.
    pub(super) fn into_shape(self) -> Shape {
        let names: Vec<String> = self
            .0
            .keys()
            .enumerate()
            .map(|(place, (table, column))| {
                format!(
                    "({place}, {}, {}, {})",
                    literal(&table.schema),
                    literal(&table.name),
                    literal(column)
                )
            })
            .collect();
        let expected = self.0.values().map(String::as_str).collect::<Vec<_>>().join(" ");
        let mut columns: BTreeMap<TableName, Vec<String>> = BTreeMap::new();
        for (table, column) in self.0.into_keys() {
            columns.entry(table).or_default().push(column);
        }
        let statement = format!(
            "select string_agg(coalesce({SHAPE}, '-'), ' ' order by u.place)
               from (values {}) as u (place, schema_name, table_name, column_name)
               left join pg_catalog.pg_namespace n on n.nspname = u.schema_name
               left join pg_catalog.pg_class c
                 on c.relnamespace = n.oid and c.relname = u.table_name and c.relkind in ('r', 'p', 'v', 'm', 'f')
               left join pg_catalog.pg_attribute a
                 on a.attrelid = c.oid and a.attname = u.column_name and not a.attisdropped",
            names.join(", ")
        );
        Shape { statement, expected, columns }
    }
}

/// A column's shape, of `pg_attribute` as `a`.
pub(super) const SHAPE: &str = "a.attnum || '/' || a.atttypid || '/' || a.atttypmod || '/' || a.attcollation";

/// The shape of all columns that a plan uses.
#[derive(Debug, Default)]
pub struct Shape {
    statement: String,
    expected: String,
    columns: BTreeMap<TableName, Vec<String>>,
}

impl Shape {
    /// All of it, to be compared.
    pub fn as_str(&self) -> &str {
        &self.expected
    }

    /// Which of a table's columns are used.
    pub(super) fn columns_of(&self, table: &TableName) -> Vec<String> {
        self.columns.get(table).cloned().unwrap_or_default()
    }
}

impl Source {
    /// Fails if the columns are not those of the plan any more; to be asked after the rows were read.
    ///
    /// A retry makes a new plan.
    pub fn must_be_of_plan(&mut self) -> Result<()> {
        let statement = self.plan.shape.statement.clone();
        self.compare_shape(&statement)
    }

    /// Closes the snapshot; what was read in it holds only if the columns were those of the plan.
    pub(super) fn commit_of_plan(&mut self) -> Result<()> {
        // One message, one way to the server: what is behind the `commit` sees the present catalogue.
        let statement = format!("commit; {}", self.plan.shape.statement);
        self.compare_shape(&statement)
    }

    fn compare_shape(&mut self, statement: &str) -> Result<()> {
        let answers = self
            .client
            .simple_query(statement)
            .map_err(|error| classify(&error, "cannot look whether tables were changed".to_owned()))?;
        let found = answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        if found == Some(self.plan.shape.expected.as_str()) {
            return Ok(());
        }
        Err(Error::unreachable("columns of the definition's tables were changed while they were read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_asked_for_once_and_in_the_order_of_what_is_expected() {
        let film = TableName { schema: "content".into(), name: "it's".into() };
        let link = TableName { schema: "a".into(), name: "link".into() };
        let mut used = UsedColumns::default();
        used.note(&film, "title", "2/25/-1/100");
        used.note(&film, "title", "2/25/-1/100");
        used.note(&film, "id", "1/2950/-1/0");
        used.note(&link, "id", "1/20/-1/0");
        let shape = used.into_shape();
        assert_eq!(shape.as_str(), "1/20/-1/0 1/2950/-1/0 2/25/-1/100");
        assert_eq!(shape.columns_of(&film), ["id", "title"]);
        assert!(
            shape.statement.contains(
                "(0, 'a', 'link', 'id'), (1, 'content', 'it''s', 'id'), (2, 'content', 'it''s', 'title')"
            ),
            "{}",
            shape.statement
        );
    }
}
