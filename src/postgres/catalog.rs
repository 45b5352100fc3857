//! What PostgreSQL's catalogue says of the tables of a definition.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Row;
use postgres::types::Type;

use crate::definition::{Definition, TableName};
use crate::error::{Error, Result};
use crate::form::Form;
use crate::postgres::client::Client;
use crate::postgres::connect::{classify, read_catalog};
use crate::postgres::shape::SHAPE;
use crate::postgres::type_form::TypeForms;

/// A column as the catalogue describes it.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Its name.
    pub name: String,
    /// The object id of its type; of the underlying type for a domain.
    pub type_oid: u32,
    /// The name of its type as it can be written in SQL.
    pub type_name: String,
    /// Whether NULL is forbidden.
    pub not_null: bool,
    /// Whether equal values have equal bytes as far as the collation decides it.
    pub deterministic: bool,
    /// What changes when the column does: see [`SHAPE`].
    pub shape: String,
    /// What its values become in a document.
    pub form: &'static Form,
}

/// A table as the catalogue describes it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// `pg_class.relkind`: `r` table, `p` partitioned, `v` view, `m` materialized view, `f` foreign table.
    pub kind: char,
    /// Its columns in order.
    pub columns: Vec<Column>,
    /// The columns of its primary key; empty if it has none.
    pub primary_key: Vec<String>,
    /// The columns of its unique indexes without condition or expression, all of whose columns forbid NULL.
    pub unique_keys: Vec<Vec<String>>,
    /// What the role lacks to read it: the right to grant, as it is written behind `grant`.
    pub missing_right: Option<String>,
    /// The planner's guess of its rows; negative when never analysed.
    pub row_estimate: f32,
}

impl Table {
    /// Returns the column of that name.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether rows carry `xmin` (not so in views and foreign tables).
    pub(super) fn has_system_columns(&self) -> bool {
        matches!(self.kind, 'r' | 'p' | 'm')
    }

    /// Whether it is partitioned: then indexes are made on it without `concurrently`.
    pub(super) fn is_partitioned(&self) -> bool {
        self.kind == 'p'
    }

    /// Whether the columns are known to hold no NULL and no duplicates.
    pub(super) fn is_known_unique(&self, columns: &[String]) -> bool {
        let covers = |key: &Vec<String>| !key.is_empty() && key.iter().all(|column| columns.contains(column));
        let not_null = columns.iter().all(|name| self.column(name).is_some_and(|column| column.not_null));
        not_null && (covers(&self.primary_key) || self.unique_keys.iter().any(covers))
    }
}

/// The tables of a definition that exist.
pub(super) type Catalog = BTreeMap<TableName, Table>;

/// Reads the description of every table that the definition names; a table that does not exist is left out.
pub(super) fn read(client: &mut Client, definition: &Definition) -> Result<Catalog> {
    read_catalog(client, |client| {
        let mut all = Vec::new();
        for table in definition.tables() {
            all.extend(find(client, table)?);
        }
        // The statement that follows types is the most expensive by far, so it is made once.
        let types: BTreeSet<u32> = all.iter().flat_map(Found::types).collect();
        let types = TypeForms::read(client, &Vec::from_iter(types))?;
        all.into_iter().map(|found| describe(client, found, &types)).collect()
    })
}

/// A table, and its columns as the catalogue has them.
struct Found {
    name: TableName,
    table: Row,
    columns: Vec<Row>,
}

impl Found {
    fn types(&self) -> impl Iterator<Item = u32> {
        self.columns.iter().map(|row| row.get(6))
    }
}

fn failed(table: &TableName) -> impl Fn(postgres::Error) -> Error {
    move |error| classify(&error, format!("cannot read the description of {table}"))
}

/// Nothing if there is no such table.
fn find(client: &mut Client, table: TableName) -> Result<Option<Found>> {
    let found = client
        .query_typed(
            "select c.oid, c.relkind::text, c.reltuples,
                    case when not pg_catalog.has_schema_privilege(n.oid, 'usage')
                         then 'usage on schema ' || pg_catalog.quote_ident(n.nspname)
                         when not pg_catalog.has_any_column_privilege(c.oid, 'select')
                         then 'select on ' || pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
                    end
               from pg_catalog.pg_class c
               join pg_catalog.pg_namespace n on n.oid = c.relnamespace
              where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p', 'v', 'm', 'f')",
            &[(&table.schema, Type::TEXT), (&table.name, Type::TEXT)],
        )
        .map_err(failed(&table))?;
    let Some(row) = found.into_iter().next() else { return Ok(None) };
    let oid: u32 = row.get(0);
    let columns = client
        .query_typed(
            &format!(
                "with recursive base as (
               select t.oid as origin, t.oid, t.typtype, t.typbasetype
                 from pg_catalog.pg_type t
                where t.oid in (select atttypid from pg_catalog.pg_attribute where attrelid = $1)
               union all
               select base.origin, t.oid, t.typtype, t.typbasetype
                 from base
                 join pg_catalog.pg_type t on t.oid = base.typbasetype
                where base.typtype = 'd'
             )
             select a.attname::text, base.oid, pg_catalog.format_type(a.atttypid, -1), a.attnotnull,
                    coalesce(l.collisdeterministic, true), {SHAPE}, a.atttypid, a.atttypmod
               from pg_catalog.pg_attribute a
               join base on base.origin = a.atttypid and base.typtype <> 'd'
               left join pg_catalog.pg_collation l on l.oid = a.attcollation
              where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
              order by a.attnum"
            ),
            &[(&oid, Type::OID)],
        )
        .map_err(failed(&table))?;
    Ok(Some(Found { name: table, table: row, columns }))
}

fn describe(client: &mut Client, found: Found, types: &TypeForms) -> Result<(TableName, Table)> {
    let Found { name, table: row, columns } = found;
    let oid: u32 = row.get(0);
    let kind: String = row.get(1);
    let columns = columns
        .iter()
        .map(|row| Column {
            name: row.get(0),
            type_oid: row.get(1),
            type_name: row.get(2),
            not_null: row.get(3),
            deterministic: row.get(4),
            shape: row.get(5),
            form: types.form(row.get(6), row.get(7)).kept(),
        })
        .collect();
    let mut description = Table {
        kind: kind.chars().next().unwrap_or('r'),
        columns,
        primary_key: Vec::new(),
        unique_keys: Vec::new(),
        missing_right: row.get(3),
        row_estimate: row.get(2),
    };
    let indexes = client
        .query_typed(
            "select i.indisprimary,
                    array(select a.attname::text
                            from unnest(i.indkey::int2[]) with ordinality as k(number, place)
                            join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
                           where k.place <= i.indnkeyatts
                           order by k.place)
               from pg_catalog.pg_index i
              where i.indrelid = $1 and i.indisunique and i.indpred is null and i.indexprs is null and i.indisvalid
              order by i.indisprimary desc, i.indnkeyatts, i.indexrelid",
            &[(&oid, Type::OID)],
        )
        .map_err(failed(&name))?;
    for row in &indexes {
        let columns: Vec<String> = row.get(1);
        if row.get(0) {
            description.primary_key.clone_from(&columns);
        }
        if columns.iter().all(|name| description.column(name).is_some_and(|column| column.not_null)) {
            description.unique_keys.push(columns);
        }
    }
    Ok((name, description))
}
