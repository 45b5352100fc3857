//! Watched tables: how their changed rows are polled, and which root keys a changed row reaches.

use crate::definition::{Definition, Relation, RelationId, TableName};
use crate::plan::PlannedColumn;
use crate::postgres::catalog::{Column, Table};
use crate::postgres::plan::{KeyColumn, Planner};
use crate::postgres::select::{CursorKind, SelectList, cursor_kind, for_key, for_key_expression};
use crate::postgres::sql::{name, table};
use crate::postgres::tombstones;

/// A table whose change can make a document stale.
#[derive(Debug)]
pub struct WatchedTable {
    /// Its name.
    pub name: TableName,
    /// The table, quoted.
    pub table: String,
    /// What tells its rows apart, with alias `t0`: columns, or the row's place where it has no key.
    pub key: Vec<RowKeyColumn>,
    /// Its cursor column, with alias `t0`, quoted.
    pub cursor: String,
    /// The cursor column's own name.
    pub cursor_column: String,
    /// The cursor column's kind.
    pub cursor_kind: CursorKind,
    /// Whether rows carry `xmin`.
    pub has_xmin: bool,
    /// Whether it is partitioned.
    pub is_partitioned: bool,
    /// How root keys are reached.
    pub paths: Vec<Path>,
    /// Whether it is there for the root keys that it names alone.
    pub is_tombstone: bool,
}

/// One part of a row's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowKeyColumn {
    /// The expression, quoted, with alias `t0`.
    pub expression: String,
    /// The name of its type.
    pub type_name: String,
    /// How it is selected.
    pub column: RowKeySelect,
}

/// How a part of a row's identity is selected, and in which format.
pub(super) type RowKeySelect = (String, crate::cell::CellFormat);

/// How the root keys of changed rows are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// The row itself holds the root's key: select these.
    Direct(Vec<RowKeySelect>),
    /// The row itself names the root's key in columns of other types than the key's: their text, which may be no key.
    Named(Vec<RowKeySelect>),
    /// By joins from the row, alias `t0`.
    Joined {
        /// The joins behind `t0`.
        joins: String,
        /// The root's key as plain expressions.
        key: Vec<String>,
        /// The same as selected from a subquery `s` whose columns are `k1`, `k2`, ….
        select: Vec<RowKeySelect>,
    },
}

/// The position of the select list of a poll.
#[derive(Debug)]
pub struct PollColumns {
    /// The select list.
    pub select: SelectList,
    /// The row's identity.
    pub key: Vec<PlannedColumn>,
    /// The root's key for each direct path.
    pub direct: Vec<Vec<PlannedColumn>>,
    /// What may be the root's key for each path by name.
    pub named: Vec<Vec<PlannedColumn>>,
}

impl WatchedTable {
    /// What a poll selects beside cursor and `xmin`.
    pub fn poll_columns(&self) -> PollColumns {
        let mut select = SelectList::default();
        let key = self.key.iter().map(|column| select.add(column.column.clone())).collect();
        let (mut direct, mut named) = (Vec::new(), Vec::new());
        for path in &self.paths {
            let (columns, of_kind) = match path {
                Path::Direct(columns) => (columns, &mut direct),
                Path::Named(columns) => (columns, &mut named),
                Path::Joined { .. } => continue,
            };
            of_kind.push(columns.iter().map(|column| select.add(column.clone())).collect());
        }
        PollColumns { select, key, direct, named }
    }
}

/// Every table of the definition that has a cursor, each once, with all its ways to the root.
pub(super) fn watched_tables(planner: &mut Planner<'_>, root_key: &[KeyColumn]) -> Vec<WatchedTable> {
    let definition = planner.definition;
    let mut watched: Vec<WatchedTable> = Vec::new();
    let root = &definition.root;
    let direct = Path::Direct(root_key.iter().map(|key| for_key("t0", &key.column)).collect());
    let stated: Vec<String> = root_key.iter().map(|key| key.column.name.clone()).collect();
    add(planner, &mut watched, &root.table, &stated, root.cursor.as_deref(), "root", direct);
    for (position, relation) in definition.relations.iter().enumerate() {
        if let Some(path) = path_to_root(planner, definition, position, Start::Child, root_key) {
            let place = format!("relation.{}", relation.name);
            add(
                planner,
                &mut watched,
                &relation.table,
                &relation.key,
                relation.cursor.as_deref(),
                &place,
                path,
            );
        }
        let Some(through) = &relation.through else { continue };
        if let Some(path) = path_to_root(planner, definition, position, Start::Link, root_key) {
            let place = format!("relation.{}.through", relation.name);
            add(planner, &mut watched, &through.table, &through.key, through.cursor.as_deref(), &place, path);
        }
    }
    for tombstone in &definition.tombstones {
        if let Some(path) = tombstones::path(planner, tombstone, root_key) {
            let (table, key) = (&tombstone.table, &tombstone.key);
            let known_count = watched.len();
            add(planner, &mut watched, table, key, Some(&tombstone.cursor), "tombstone", path);
            if let Some(added) = watched.get_mut(known_count) {
                added.is_tombstone = true;
            }
        }
    }
    watched
}

fn add(
    planner: &mut Planner<'_>,
    watched: &mut Vec<WatchedTable>,
    table_name: &TableName,
    stated_key: &[String],
    cursor: Option<&str>,
    place: &str,
    path: Path,
) {
    let Some(cursor) = cursor else {
        planner
            .warnings
            .push(format!("{place}: table {table_name} has no cursor, so polling cannot see its changes"));
        return;
    };
    let Some(column) = planner.column(table_name, cursor, &format!("{place}.cursor")) else { return };
    let Some(kind) = cursor_kind(&column) else {
        planner.problems.push(format!(
            "{place}.cursor: column {cursor} of {table_name} has type {}, a cursor is a timestamp with or without time zone or a date",
            column.type_name
        ));
        return;
    };
    let cursor_column = cursor.to_owned();
    let cursor = format!("t0.{}", name(cursor));
    if let Some(known) = watched.iter_mut().find(|known| known.name == *table_name) {
        // It has one checkpoint.
        if known.cursor != cursor {
            planner.problems.push(format!(
                "{place}.cursor: {table_name} is polled by {} already and cannot be by {cursor_column} too",
                known.cursor_column
            ));
            return;
        }
        if !known.paths.contains(&path) {
            known.paths.push(path);
        }
        return;
    }
    let has_xmin = planner.catalog.get(table_name).is_some_and(Table::has_system_columns);
    let is_partitioned = planner.catalog.get(table_name).is_some_and(Table::is_partitioned);
    let mut key: Vec<RowKeyColumn> =
        planner.row_key(table_name, stated_key, &format!("{place}.key")).iter().map(row_key_column).collect();
    if key.is_empty() && has_xmin {
        // A row's place is enough: a row that moves is a new version, which the next poll sees by its cursor.
        for (system_column, type_name) in [("tableoid", "oid"), ("ctid", "tid")] {
            let expression = format!("t0.{system_column}");
            key.push(RowKeyColumn {
                column: (format!("{expression}::text"), crate::cell::CellFormat::Text),
                expression,
                type_name: type_name.to_owned(),
            });
        }
    }
    if key.is_empty() {
        planner
            .problems
            .push(format!("{place}.key: {table_name} is a view or foreign table, so its key must be named"));
        return;
    }
    watched.push(WatchedTable {
        name: table_name.clone(),
        table: table(table_name),
        key,
        cursor,
        cursor_column,
        cursor_kind: kind,
        has_xmin,
        is_partitioned,
        paths: vec![path],
        is_tombstone: false,
    });
}

fn row_key_column(column: &Column) -> RowKeyColumn {
    RowKeyColumn {
        expression: format!("t0.{}", name(&column.name)),
        type_name: column.type_name.clone(),
        column: for_key("t0", column),
    }
}

/// Where a path begins: at a relation's own table or at its link table.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    Child,
    Link,
}

/// Joins from a changed row, table by table, up to the first one that holds the root's key.
fn path_to_root(
    planner: &Planner<'_>,
    definition: &Definition,
    relation: usize,
    start: Start,
    root_key: &[KeyColumn],
) -> Option<Path> {
    let mut joins = String::new();
    let mut table_count = 0;
    let mut current = relation;
    let mut at_link = start == Start::Link;
    loop {
        let relation: &Relation = &definition.relations[current];
        let mut alias = format!("t{table_count}");
        let mut alias_table = if at_link { &relation.through.as_ref()?.table } else { &relation.table };
        if !at_link && let Some(through) = &relation.through {
            let link = next_alias(&mut table_count);
            let pairs = relation.on.iter().map(|join| (join.nearer.as_str(), join.column.as_str()));
            push_join(&mut joins, &through.table, &link, &alias, pairs);
            alias = link;
            alias_table = &through.table;
        }
        let hop = relation.through.as_ref().map_or(&relation.on, |through| &through.on);
        let Some(RelationId(below)) = relation.below else {
            let key: Vec<String> = if planner.is_root_key(hop, alias_table, root_key) {
                hop.iter().map(|join| format!("{alias}.{}", name(&join.column))).collect()
            } else {
                let root = next_alias(&mut table_count);
                let pairs = hop.iter().map(|join| (join.nearer.as_str(), join.column.as_str()));
                push_join(&mut joins, &definition.root.table, &root, &alias, pairs);
                root_key.iter().map(|key| format!("{root}.{}", name(&key.column.name))).collect()
            };
            if joins.is_empty() {
                let select =
                    key.iter().zip(root_key).map(|(key, root)| for_key_expression(key, &root.column));
                return Some(Path::Direct(select.collect()));
            }
            let select = root_key
                .iter()
                .enumerate()
                .map(|(place, root)| for_key_expression(&format!("s.k{}", place + 1), &root.column))
                .collect();
            return Some(Path::Joined { joins, key, select });
        };
        let nearer = next_alias(&mut table_count);
        let pairs = hop.iter().map(|join| (join.nearer.as_str(), join.column.as_str()));
        push_join(&mut joins, &definition.relations[below].table, &nearer, &alias, pairs);
        current = below;
        at_link = false;
    }
}

fn next_alias(table_count: &mut usize) -> String {
    *table_count += 1;
    format!("t{table_count}")
}

/// Adds ` join next as alias on alias.a = previous.b and …`; `pairs` are (column of next, column of previous).
fn push_join<'a>(
    joins: &mut String,
    next: &TableName,
    alias: &str,
    previous: &str,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) {
    let conditions: Vec<String> = pairs
        .map(|(next, previous_column)| {
            format!("{alias}.{} = {previous}.{}", name(next), name(previous_column))
        })
        .collect();
    joins.push_str(&format!(" join {} as {alias} on {}", table(next), conditions.join(" and ")));
}
