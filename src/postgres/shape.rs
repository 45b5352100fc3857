//! The columns that a plan was made for, and whether they are still the same.
//!
//! A statement that was written for other types need not fail: `numeric` and `text` both have a text, and PostgreSQL
//! compares a `timestamp` with a `timestamptz` by the session's zone, which would move a poll's window by hours. So
//! after rows were read, and before anything is concluded from them, the catalogue is asked whether the columns are
//! those of the plan. A column that is not used may come, go and change as it likes.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use postgres::SimpleQueryMessage;

use crate::definition::TableName;
use crate::error::{Error, Result};
use crate::postgres::Source;
use crate::postgres::client::Sent;
use crate::postgres::connect::classify;
use crate::postgres::sql::{literal, table};

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
        let expected = self.0.values().map(String::as_str).collect::<Vec<_>>().join(" ");
        let mut tables: BTreeMap<TableName, Vec<UsedColumn>> = BTreeMap::new();
        for ((table, name), shape) in self.0 {
            tables.entry(table).or_default().push(UsedColumn { name, shape });
        }
        let ids: Vec<String> =
            tables.keys().map(|name| format!("pg_catalog.to_regclass({})", literal(&table(name)))).collect();
        let names: BTreeSet<String> = tables.values().flatten().map(|column| literal(&column.name)).collect();
        let names: Vec<String> = names.into_iter().collect();
        let ids = format!("array[{}]::oid[]", ids.join(", "));
        // Asked after every batch and page: each join more would cost more than the rest.
        let statement = format!(
            "select array_position({ids}, a.attrelid), a.attname, {SHAPE}
               from pg_catalog.pg_attribute a
              where a.attrelid = any ({ids}) and a.attname = any (array[{}]::name[]) and not a.attisdropped",
            names.join(", ")
        );
        Shape { statement, expected, tables }
    }
}

/// A column that a plan uses.
#[derive(Debug)]
struct UsedColumn {
    name: String,
    shape: String,
}

/// A column's shape, of `pg_attribute` as `a`.
pub(super) const SHAPE: &str = "a.attnum || '/' || a.atttypid || '/' || a.atttypmod || '/' || a.attcollation";

/// The shape of all columns that a plan uses.
#[derive(Debug, Default)]
pub struct Shape {
    statement: String,
    expected: String,
    tables: BTreeMap<TableName, Vec<UsedColumn>>,
}

impl Shape {
    /// All of it, to be compared.
    pub fn as_str(&self) -> &str {
        &self.expected
    }

    /// Which of a table's columns are used.
    pub(super) fn columns_of(&self, table: &TableName) -> Vec<String> {
        let columns = self.tables.get(table).map(Vec::as_slice).unwrap_or_default();
        columns.iter().map(|column| column.name.clone()).collect()
    }

    /// Whether each of the columns is as it was, by rows of table number (from 1 on), name and shape.
    fn is_among(&self, found: &HashSet<(usize, &str, &str)>) -> bool {
        self.tables.values().enumerate().all(|(place, columns)| {
            columns
                .iter()
                .all(|column| found.contains(&(place + 1, column.name.as_str(), column.shape.as_str())))
        })
    }
}

impl Source {
    /// Fails if the columns are not those of the plan any more; to be asked after the rows were read.
    ///
    /// A retry makes a new plan.
    pub fn must_be_of_plan(&mut self) -> Result<()> {
        let sent = self.client.send_simple(self.plan.shape.statement.clone());
        self.take_shape(sent)
    }

    /// Closes the snapshot; what was read in it holds only if the columns were those of the plan.
    pub(super) fn commit_of_plan(&mut self) -> Result<()> {
        let sent = self.send_commit_of_plan();
        self.take_shape(sent)
    }

    /// Sends what closes the snapshot; the answer is for [`take_shape`](Self::take_shape).
    pub(super) fn send_commit_of_plan(&mut self) -> Sent<Vec<SimpleQueryMessage>> {
        // One message, one way to the server: what is behind the `commit` sees the present catalogue.
        self.client.send_simple(format!("commit; {}", self.plan.shape.statement))
    }

    /// Fails if the columns that the server names are not those of the plan.
    pub(super) fn take_shape(&mut self, sent: Sent<Vec<SimpleQueryMessage>>) -> Result<()> {
        let answers = self
            .client
            .take_simple(sent)
            .map_err(|error| classify(&error, "cannot look whether tables were changed".to_owned()))?;
        let found = answers
            .iter()
            .filter_map(|answer| match answer {
                SimpleQueryMessage::Row(row) => Some((row.get(0)?.parse().ok()?, row.get(1)?, row.get(2)?)),
                _ => None,
            })
            .collect();
        if self.plan.shape.is_among(&found) {
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
        let found = |id: &'static str| {
            HashSet::from([(1, "id", "1/20/-1/0"), (2, "id", id), (2, "title", "2/25/-1/100")])
        };
        assert!(shape.is_among(&found("1/2950/-1/0")));
        assert!(!shape.is_among(&found("1/25/-1/100")));
        assert!(!shape.is_among(&HashSet::from([(1, "id", "1/20/-1/0"), (2, "title", "2/25/-1/100")])));
        assert!(shape.statement.contains("to_regclass('\"content\".\"it''s\"')"), "{}", shape.statement);
    }
}
