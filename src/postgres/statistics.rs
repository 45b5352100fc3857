//! What PostgreSQL counts of the tables of a definition: whether rows were deleted, or changed where no cursor tells.

use postgres::types::Type;

use crate::definition::Definition;
use crate::error::Result;
use crate::postgres::Source;
use crate::postgres::connect::classify;
use crate::postgres::shape::SHAPE;

/// What was counted of a table with all its partitions; of a view, of the tables it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStatistics {
    /// The table.
    pub name: String,
    /// Whether its rows are documents.
    pub is_root: bool,
    /// Whether its rows are part of documents.
    pub is_related: bool,
    /// Whether polls see its changes.
    pub has_cursor: bool,
    /// Rows deleted, and the table's files: TRUNCATE counts no rows, but makes a new file.
    pub deleted: String,
    /// Rows inserted and updated.
    pub changed: String,
    /// What its columns that documents are made of are like: another type is another value in every row.
    pub columns: String,
}

impl Source {
    /// Reads the statistics of every table of the definition; every role may.
    pub fn statistics(&mut self, definition: &Definition) -> Result<Vec<TableStatistics>> {
        let mut statistics = Vec::new();
        for table in definition.tables() {
            let rows = self
                .client
                .query_typed(
                    &format!(
                        "with recursive parts (oid) as (
                       select c.oid
                         from pg_catalog.pg_class c
                         join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                        where n.nspname = $1 and c.relname = $2
                       union
                       select next.oid
                         from parts
                         join lateral (
                           select i.inhrelid as oid
                             from pg_catalog.pg_inherits i
                            where i.inhparent = parts.oid
                           union all
                           select d.refobjid
                             from pg_catalog.pg_rewrite r
                             join pg_catalog.pg_depend d
                               on d.classid = 'pg_catalog.pg_rewrite'::regclass
                              and d.objid = r.oid
                              and d.refclassid = 'pg_catalog.pg_class'::regclass
                            where r.ev_class = parts.oid
                         ) as next on true
                     )
                     select coalesce(sum(pg_stat_get_tuples_deleted(oid)), 0)::text || '/' || count(*) || '/'
                              || coalesce(sum(pg_relation_filenode(oid)::bigint), 0)::text,
                            coalesce(sum(pg_stat_get_tuples_inserted(oid)), 0)::text || '/'
                              || coalesce(sum(pg_stat_get_tuples_updated(oid)), 0)::text,
                            (select coalesce(string_agg(a.attname || ' ' || {SHAPE}, ', ' order by a.attname), '')
                               from pg_catalog.pg_attribute a
                               join pg_catalog.pg_class c on c.oid = a.attrelid
                               join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                              where n.nspname = $1 and c.relname = $2 and not a.attisdropped
                                and a.attname = any ($3))
                       from parts"
                    ),
                    &[
                        (&table.schema, Type::TEXT),
                        (&table.name, Type::TEXT),
                        (&self.plan.shape.columns_of(&table), Type::TEXT_ARRAY),
                    ],
                )
                .map_err(|error| classify(&error, format!("cannot read the statistics of {table}")))?;
            let Some(row) = rows.first() else { continue };
            let name = table.to_string();
            statistics.push(TableStatistics {
                is_root: table == definition.root.table,
                is_related: definition.relations.iter().any(|relation| {
                    relation.table == table
                        || relation.through.as_ref().is_some_and(|through| through.table == table)
                }),
                has_cursor: self.plan.watched.iter().any(|watched| watched.name == table),
                name,
                columns: row.get(2),
                deleted: row.get(0),
                changed: row.get(1),
            });
        }
        Ok(statistics)
    }
}
