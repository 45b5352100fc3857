//! A survey of a whole database for a draft: its tables with their columns and keys, and the foreign keys between them.
//!
//! A handful of statements whatever the number of tables. Partitions are left out: they are read through the table that
//! they are part of.

use std::collections::BTreeMap;

use crate::definition::TableName;
use crate::error::Result;
use crate::form::Form;
use crate::postgres::client::Client;
use crate::postgres::connect::{classify, connect, read_catalog};
use crate::postgres::type_form::TypeForms;
use crate::settings::SourceSettings;

/// Tables of these schemas are the server's own.
const FOREIGN_SCHEMAS: &str =
    "n.nspname <> 'information_schema' and n.nspname !~ '^pg_' and not c.relispartition";

/// A database as its catalogue describes it.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The name of the database.
    pub database: String,
    /// Every table and view.
    pub tables: BTreeMap<TableName, SurveyedTable>,
    /// Every foreign key between them, in the order of table and columns; each pair of columns once.
    pub foreign_keys: Vec<ForeignKey>,
}

/// A table or view.
#[derive(Clone, Debug, Default)]
pub struct SurveyedTable {
    /// Whether rows have keys and foreign keys of their own: false for views and foreign tables.
    pub is_view: bool,
    /// Whether the role may read it.
    pub is_readable: bool,
    /// Its columns in order.
    pub columns: Vec<SurveyedColumn>,
    /// The columns of its primary key; empty if it has none.
    pub primary_key: Vec<String>,
    /// The columns of its other unique indexes that have no condition and no expression.
    pub unique_keys: Vec<Vec<String>>,
    /// The planner's guess of its rows; none when never analysed.
    pub row_estimate: Option<f64>,
}

/// A column.
#[derive(Clone, Debug)]
pub struct SurveyedColumn {
    /// Its name.
    pub name: String,
    /// The name of its type, for messages.
    pub type_name: String,
    /// What its values become in a document.
    pub form: &'static Form,
    /// Whether NULL is forbidden.
    pub not_null: bool,
    /// The planner's guess how many rows share the value that most rows have; none when never analysed.
    pub most_rows_of_a_value: Option<f64>,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignKey {
    /// The table that refers.
    pub table: TableName,
    /// Its columns.
    pub columns: Vec<String>,
    /// The table that is referred to.
    pub target: TableName,
    /// The columns there, in the order of `columns`.
    pub target_columns: Vec<String>,
}

impl SurveyedTable {
    /// Returns the column of that name.
    pub fn column(&self, name: &str) -> Option<&SurveyedColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The primary key and the other unique keys.
    pub fn keys(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.primary_key).filter(|key| !key.is_empty()).chain(&self.unique_keys)
    }
}

/// Surveys the database that the settings lead to.
pub fn survey(settings: &SourceSettings) -> Result<Survey> {
    let mut client = connect(settings)?;
    let mut survey = Survey { database: database(&mut client)?, ..Survey::default() };
    read_catalog(&mut client, |client| {
        read_tables(client, &mut survey)?;
        read_columns(client, &mut survey)?;
        read_keys(client, &mut survey)?;
        read_foreign_keys(client, &mut survey)
    })?;
    Ok(survey)
}

fn database(client: &mut Client) -> Result<String> {
    let row = client
        .query_typed_one("select current_database()::text", &[])
        .map_err(|error| classify(&error, "cannot read the name of the database".to_owned()))?;
    Ok(row.get(0))
}

fn read_tables(client: &mut Client, survey: &mut Survey) -> Result<()> {
    // A partitioned table knows no number of its own before version 14, and none of the others ever analysed it.
    let statement = format!(
        "select n.nspname::text, c.relname::text, c.relkind::text,
                pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select'),
                case when c.relkind <> 'p' or c.reltuples > 0 then c.reltuples::float8
                     else (with recursive parts (oid) as (
                             select c.oid
                             union
                             select i.inhrelid from pg_catalog.pg_inherits i join parts p on p.oid = i.inhparent
                           )
                           select sum(greatest(l.reltuples, 0))::float8
                             from parts p join pg_catalog.pg_class l on l.oid = p.oid)
                end
           from pg_catalog.pg_class c
           join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where c.relkind in ('r', 'p', 'v', 'm', 'f') and {FOREIGN_SCHEMAS}"
    );
    let rows = client
        .query_typed(&statement, &[])
        .map_err(|error| classify(&error, "cannot read the tables of the database".to_owned()))?;
    for row in &rows {
        let kind: String = row.get(2);
        let estimate: Option<f64> = row.get(4);
        let is_view = matches!(kind.as_str(), "v" | "m" | "f");
        let table = SurveyedTable {
            is_view,
            is_readable: row.get(3),
            // Of a table never analysed the server says -1, before version 14 it says 0.
            row_estimate: estimate.filter(|rows| *rows > 0.0 && kind != "v"),
            ..SurveyedTable::default()
        };
        survey.tables.insert(TableName { schema: row.get(0), name: row.get(1) }, table);
    }
    Ok(())
}

fn read_columns(client: &mut Client, survey: &mut Survey) -> Result<()> {
    let statement = format!(
        "select n.nspname::text, c.relname::text, a.attname::text,
                pg_catalog.format_type(a.atttypid, null), a.atttypid, a.atttypmod, a.attnotnull,
                case when c.reltuples > 0 then
                  greatest(s.most_common_freqs[1] * c.reltuples,
                           case when s.n_distinct > 0 then c.reltuples / s.n_distinct
                                when s.n_distinct < 0 then -1 / s.n_distinct end)::float8
                end
           from pg_catalog.pg_class c
           join pg_catalog.pg_namespace n on n.oid = c.relnamespace
           join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
           left join pg_catalog.pg_stats s
             on s.schemaname = n.nspname and s.tablename = c.relname and s.attname = a.attname
            and s.inherited = (c.relkind = 'p')
          where c.relkind in ('r', 'p', 'v', 'm', 'f') and {FOREIGN_SCHEMAS}
          order by n.nspname, c.relname, a.attnum"
    );
    let rows = client
        .query_typed(&statement, &[])
        .map_err(|error| classify(&error, "cannot read the columns of the database".to_owned()))?;
    let mut types: Vec<u32> = rows.iter().map(|row| row.get(4)).collect();
    types.sort_unstable();
    types.dedup();
    let types = TypeForms::read(client, &types)?;
    for row in &rows {
        let table = TableName { schema: row.get(0), name: row.get(1) };
        let Some(table) = survey.tables.get_mut(&table) else { continue };
        table.columns.push(SurveyedColumn {
            name: row.get(2),
            type_name: row.get(3),
            form: types.form(row.get(4), row.get(5)).kept(),
            not_null: row.get(6),
            most_rows_of_a_value: row.get(7),
        });
    }
    Ok(())
}

fn read_keys(client: &mut Client, survey: &mut Survey) -> Result<()> {
    let statement = format!(
        "select n.nspname::text, c.relname::text, i.indisprimary,
                array(select a.attname::text
                        from unnest(i.indkey::int2[]) with ordinality as k(number, place)
                        join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
                       where k.place <= i.indnkeyatts
                       order by k.place)
           from pg_catalog.pg_index i
           join pg_catalog.pg_class c on c.oid = i.indrelid
           join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null and {FOREIGN_SCHEMAS}
          order by i.indnkeyatts, i.indexrelid"
    );
    let rows = client
        .query_typed(&statement, &[])
        .map_err(|error| classify(&error, "cannot read the keys of the database".to_owned()))?;
    for row in &rows {
        let table = TableName { schema: row.get(0), name: row.get(1) };
        let Some(table) = survey.tables.get_mut(&table) else { continue };
        if row.get(2) {
            table.primary_key = row.get(3);
        } else {
            table.unique_keys.push(row.get(3));
        }
    }
    Ok(())
}

fn read_foreign_keys(client: &mut Client, survey: &mut Survey) -> Result<()> {
    // Of a partitioned table the server keeps a further constraint for each partition: those have a parent.
    let statement = "select n.nspname::text, c.relname::text, f.columns, tn.nspname::text, tc.relname::text, f.target_columns
           from pg_catalog.pg_constraint k
           join pg_catalog.pg_class c on c.oid = k.conrelid and not c.relispartition
           join pg_catalog.pg_namespace n on n.oid = c.relnamespace
           join pg_catalog.pg_class tc on tc.oid = k.confrelid and not tc.relispartition
           join pg_catalog.pg_namespace tn on tn.oid = tc.relnamespace
          cross join lateral (
            select array_agg(a.attname::text order by p.place) as columns,
                   array_agg(b.attname::text order by p.place) as target_columns
              from unnest(k.conkey, k.confkey) with ordinality as p(near, far, place)
              join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = p.near
              join pg_catalog.pg_attribute b on b.attrelid = k.confrelid and b.attnum = p.far
          ) as f
          where k.contype = 'f' and k.conparentid = 0
          order by n.nspname, c.relname, k.conkey, tn.nspname, tc.relname";
    let rows = client
        .query_typed(statement, &[])
        .map_err(|error| classify(&error, "cannot read the foreign keys of the database".to_owned()))?;
    for row in &rows {
        let foreign_key = ForeignKey {
            table: TableName { schema: row.get(0), name: row.get(1) },
            columns: row.get(2),
            target: TableName { schema: row.get(3), name: row.get(4) },
            target_columns: row.get(5),
        };
        let is_known = survey.tables.contains_key(&foreign_key.table)
            && survey.tables.contains_key(&foreign_key.target)
            && !survey.foreign_keys.contains(&foreign_key);
        if is_known {
            survey.foreign_keys.push(foreign_key);
        }
    }
    Ok(())
}
