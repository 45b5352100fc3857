//! Proof that a command which failed changed nothing.

use std::collections::BTreeMap;
use std::path::Path;

use postgres::SimpleQueryMessage;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::{Database, Index, Program};

/// Database, index and state as they were at a moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Each table's rows, as their places and the transactions that wrote them.
    database: BTreeMap<String, String>,
    /// The indices under the alias, with their mappings, settings and number of documents.
    index: Value,
    documents: u64,
    /// Each table's rows; the record of runs is not part of it, since it tells of failures too.
    state: BTreeMap<String, Vec<String>>,
}

impl Evidence {
    /// Looks at everything that the program could change.
    pub fn of(database: &Database, index: &Index, program: &Program) -> Self {
        let (_, found) = index.call("GET", &format!("{}*", index.alias), &Value::Null);
        Self {
            database: rows_of(database),
            index: if found["error"].is_null() { found } else { Value::Null },
            documents: index.count(),
            state: state_in(&program.state()),
        }
    }

    /// Whether there is neither an index nor anything in the state.
    pub fn is_nothing_made(&self) -> bool {
        self.is_no_index() && self.state.is_empty()
    }

    /// Whether database and index are the same; what the state remembers of an attempt may differ.
    pub fn is_same_outside(&self, other: &Self) -> bool {
        self.database == other.database && self.index == other.index && self.documents == other.documents
    }

    /// Whether there is no index under the alias.
    pub fn is_no_index(&self) -> bool {
        self.index.as_object().is_none_or(serde_json::Map::is_empty)
    }
}

fn rows_of(database: &Database) -> BTreeMap<String, String> {
    let mut client = database.connect();
    let tables = client
        .query(
            "select format('%I.%I', n.nspname, c.relname)
               from pg_class c join pg_namespace n on n.oid = c.relnamespace
              where c.relkind = 'r' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'",
            &[],
        )
        .unwrap();
    let mut rows = BTreeMap::new();
    for table in tables {
        let table: String = table.get(0);
        let statement =
            format!("select md5(string_agg(ctid::text || xmin::text, ' ' order by ctid)) from {table}");
        let answer = client.simple_query(&statement).unwrap();
        let Some(SimpleQueryMessage::Row(row)) =
            answer.iter().find(|message| matches!(message, SimpleQueryMessage::Row(_)))
        else {
            panic!("no answer for {table}");
        };
        rows.insert(table, row.get(0).unwrap_or_default().to_owned());
    }
    rows
}

/// The rows of every table of the state but `runs`; what is no database is taken as its bytes.
fn state_in(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let path = folder.join("pgsluice.sqlite3");
    if !path.is_file() {
        return BTreeMap::new();
    }
    rows_in(&path).unwrap_or_else(|_| {
        let bytes = std::fs::read(&path).unwrap();
        BTreeMap::from([("no database".to_owned(), vec![format!("{bytes:?}")])])
    })
}

fn rows_in(path: &Path) -> rusqlite::Result<BTreeMap<String, Vec<String>>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let tables: Vec<String> = connection
        .prepare(
            "select name from sqlite_master where type = 'table' and name not in ('runs', 'sqlite_sequence')",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut found = BTreeMap::new();
    for table in tables {
        let mut statement = connection.prepare(&format!("select * from {table}"))?;
        let column_count = statement.column_count();
        let rows: Vec<String> = statement
            .query_map([], |row| {
                let mut texts = Vec::new();
                for column in 0..column_count {
                    texts.push(format!("{:?}", row.get::<_, rusqlite::types::Value>(column)?));
                }
                Ok(texts.join(" | "))
            })?
            .collect::<rusqlite::Result<_>>()?;
        if !rows.is_empty() {
            found.insert(table, rows);
        }
    }
    Ok(found)
}
