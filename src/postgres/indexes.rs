//! Finds indexes whose absence makes pgsluice's own statements read a whole table, by having the server explain them.
//!
//! The statements are run as the pipeline runs them, on a page of keys, and each is explained on its way. A table that
//! is read as a whole counts if it is large, and if no index begins with the columns by which the statement looks for
//! its rows: where there is one, the planner had its reasons. So whoever makes the index hears no more of it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use postgres::Row;
use postgres::types::{ToSql, Type};
use serde_json::Value;

use crate::batch::{Batch, BatchNumber, KeyRange, Version, Work};
use crate::checkpoint::ServerTime;
use crate::definition::{Definition, TableName};
use crate::error::Result;
use crate::finding::{Finding, Level};
use crate::plan::root_key;
use crate::postgres::Source;
use crate::postgres::client::Client;
use crate::postgres::connect::classify;
use crate::postgres::covering::Covering;
use crate::postgres::plan::SourcePlan;
use crate::postgres::source::raw_cell;
use crate::postgres::sql::{Parameters, name, table};

/// Reading less than this as a whole costs a poll a millisecond or two.
const SMALL_TABLE_BYTES: i64 = 1 << 20;

/// How many changed rows are followed to their documents at a time.
const PAGE: usize = 1_000;

/// What happens to a statement that is explained.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// It is run as well, since others need its rows.
    Run,
    /// Its rows are not asked for.
    Leave,
}

/// A statement and what the planner makes of it.
struct Explained {
    what: String,
    statement: String,
    plan: Value,
}

thread_local! {
    /// Set while `check` has the statements of this thread explained; the pipeline never sets it.
    static EXPLAINED: RefCell<Option<(Then, Vec<Explained>)>> = const { RefCell::new(None) };
}

/// Explains a statement if that is asked for; returns whether it is to be run.
pub(super) fn explain(
    client: &mut Client,
    what: &str,
    statement: &str,
    parameters: &Parameters,
) -> Result<bool> {
    let Some(then) = EXPLAINED.with_borrow(|explained| explained.as_ref().map(|(then, _)| *then)) else {
        return Ok(true);
    };
    let rows = client
        .query_typed(&format!("explain (verbose, format json) {statement}"), &parameters.as_values())
        .map_err(|error| classify(&error, format!("cannot explain how {what} is read")))?;
    let plan =
        rows.first().and_then(|row| serde_json::from_slice(raw_cell(row, 0)?).ok()).unwrap_or_default();
    EXPLAINED.with_borrow_mut(|explained| {
        if let Some((_, all)) = explained {
            all.push(Explained { what: what.to_owned(), statement: statement.to_owned(), plan });
        }
    });
    Ok(then == Then::Run)
}

/// What `check` says of large tables whose rows a full load reads again for every batch.
fn not_kept(plan: &SourcePlan, tables: &BTreeMap<TableName, Indexed>) -> Vec<Finding> {
    let mut hints = Vec::new();
    for relation in &plan.relations {
        let Some(reason) = relation.not_kept else { continue };
        if tables.get(&relation.table).is_some_and(Indexed::is_large) {
            let message = format!(
                "a full load reads its rows again for every batch and does not keep them in memory, since {}",
                reason.reason()
            );
            let hint = Finding::new(Level::Hint, relation.table.to_string(), message);
            hints.push(hint.cure(reason.cure(&relation.name)));
        }
    }
    hints
}

/// Whether the statements of this thread are being explained.
pub(super) fn is_explaining() -> bool {
    EXPLAINED.with_borrow(Option::is_some)
}

/// Has the statements of `work` explained.
fn explained(then: Then, work: impl FnOnce() -> Result<()>) -> Result<Vec<Explained>> {
    EXPLAINED.set(Some((then, Vec::new())));
    let done = work();
    let all = EXPLAINED.take().map(|(_, all)| all).unwrap_or_default();
    done.map(|()| all)
}

/// A table as far as its indexes matter.
pub(super) struct Indexed {
    bytes: i64,
    pub(super) is_partitioned: bool,
    /// Those that have neither condition nor expression.
    indexes: Vec<IndexColumns>,
}

/// The columns of an index.
struct IndexColumns {
    /// By which it is ordered.
    key: Vec<String>,
    /// All whose values can be read from it.
    held: Vec<String>,
}

impl IndexColumns {
    fn begins_with(&self, columns: &[String]) -> bool {
        self.key.len() >= columns.len()
            && self.key[..columns.len()].iter().all(|column| columns.contains(column))
    }
}

impl Indexed {
    fn has_index_on(&self, columns: &[String]) -> bool {
        self.indexes.iter().any(|index| index.begins_with(columns))
    }

    /// Whether an index begins with `first` and holds `rest` too.
    pub(super) fn covers(&self, first: &[String], rest: &[String]) -> bool {
        self.indexes
            .iter()
            .any(|index| index.begins_with(first) && rest.iter().all(|column| index.held.contains(column)))
    }

    pub(super) fn is_large(&self) -> bool {
        self.bytes >= SMALL_TABLE_BYTES
    }
}

impl Source {
    /// Names each missing index with the statement that makes it.
    pub fn inspect_indexes(&mut self, definition: &Definition) -> Result<Vec<Finding>> {
        let mut tables = BTreeMap::new();
        for name in definition.tables() {
            if let Some(indexed) = self.indexed(&name)? {
                tables.insert(name, indexed);
            }
        }
        if !tables.values().any(Indexed::is_large) {
            return Ok(Vec::new());
        }
        let covering = self.missing_covering_indexes(definition, &tables)?;
        let propose = |missing: &mut BTreeMap<_, _>, table: &TableName, columns: &[String], why: &str| {
            let covering = covering.iter().find(|covering| covering.begins_with(table, columns));
            // PostgreSQL cannot make it beside writers for a partitioned table.
            let is_partitioned = tables.get(table).is_some_and(|indexed| indexed.is_partitioned);
            let statement =
                covering.map_or_else(|| create_index(table, columns, is_partitioned), Covering::statement);
            note(missing, statement, table, why);
        };
        // By the statement that makes the index: for which table it is, and what it is for.
        let mut missing: BTreeMap<String, (TableName, Vec<String>)> = BTreeMap::new();
        for explained in self.explain_reads()? {
            for (table, columns) in read_as_a_whole(&explained, &tables) {
                propose(&mut missing, &table, &columns, &format!("reading {}", explained.what));
            }
        }
        let plan = std::sync::Arc::clone(&self.plan);
        let recently = ServerTime::from_unix_micros(chrono::Utc::now().timestamp_micros());
        for watched in &plan.watched {
            let polls = explained(Then::Leave, || self.poll_page(watched, recently, None, PAGE).map(|_| ()))?;
            for explained in polls {
                if read_as_a_whole(&explained, &tables).is_empty() {
                    continue;
                }
                // The order of a page is (cursor, key).
                let mut columns = vec![watched.cursor_column.clone()];
                let known = definition_columns(&watched.key);
                columns.extend(known.into_iter().filter(|column| *column != watched.cursor_column));
                if !tables.get(&watched.name).is_some_and(|indexed| indexed.has_index_on(&columns[..1])) {
                    propose(&mut missing, &watched.name, &columns, "every poll");
                }
            }
            let keys: Vec<_> = self
                .poll_page(watched, ServerTime::MINUS_INFINITY, None, PAGE)?
                .into_iter()
                .map(|row| row.key)
                .collect();
            for path in 0..watched.paths.len() {
                let followed = explained(Then::Leave, || {
                    self.fan_out(watched, path, &keys, None, PAGE, &mut |_| Ok(())).map(|_| ())
                })?;
                for explained in followed {
                    for (table, columns) in read_as_a_whole(&explained, &tables) {
                        let why = format!("following a change of {} to its documents", watched.name);
                        propose(&mut missing, &table, &columns, &why);
                    }
                }
            }
        }
        let hints = covering.iter().filter(|covering| !missing.contains_key(&covering.statement()));
        let hints: Vec<Finding> = hints.map(Covering::hint).chain(not_kept(&plan, &tables)).collect();
        Ok(missing
            .into_iter()
            .map(|(statement, (table, reasons))| {
                Finding::new(
                    Level::Warning,
                    table.to_string(),
                    format!("an index is missing, so all of it is read by {}", reasons.join(", and by ")),
                )
                .cure(statement)
            })
            .chain(hints)
            .collect())
    }

    /// Explains the reading of a batch, by a range of keys as a full load does, and by the keys themselves.
    fn explain_reads(&mut self) -> Result<Vec<Explained>> {
        let plan = std::sync::Arc::clone(&self.plan);
        let high = self.cut_range(None, self.limits.chunk_size)?;
        let batch = |work| Batch { number: BatchNumber(0), work, attempt_count: 0 };
        let range = Work::Range(KeyRange { low: None, high });
        // With the range first, which needs the fewest indexes, its rows give the keys.
        let roots = self.read(batch(range), Version(0))?.extracted.roots;
        let keys: Vec<_> = (0..roots.len()).map(|row| root_key(&plan.document.key, &roots, row)).collect();
        drop(roots);
        explained(Then::Run, || self.read(batch(Work::Keys(keys)), Version(0)).map(|_| ()))
    }

    fn indexed(&mut self, table: &TableName) -> Result<Option<Indexed>> {
        let failed = |error| classify(&error, format!("cannot read the indexes of {table}"));
        let names = [(&table.schema as &(dyn ToSql + Sync), Type::TEXT), (&table.name, Type::TEXT)];
        let found = self
            .client
            .query_typed(
                "with recursive parts (oid) as (
                   select c.oid
                     from pg_catalog.pg_class c
                     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                    where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p', 'm')
                   union all
                   select i.inhrelid from pg_catalog.pg_inherits i join parts on parts.oid = i.inhparent
                 )
                 select coalesce(sum(pg_catalog.pg_relation_size(oid)), 0)::int8,
                        bool_or((select c.relkind = 'p' from pg_catalog.pg_class c where c.oid = parts.oid)),
                        count(*)
                   from parts",
                &names,
            )
            .map_err(failed)?;
        let Some(row) = found.first().filter(|row| row.get::<_, i64>(2) > 0) else { return Ok(None) };
        let (bytes, is_partitioned): (i64, bool) = (row.get(0), row.get(1));
        let indexes = self
            .client
            .query_typed(
                "select array(select a.attname::text
                                from unnest(i.indkey::int2[]) with ordinality as k(number, place)
                                join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
                               order by k.place),
                        i.indnkeyatts::int4,
                        (select m.amname = 'btree'
                           from pg_catalog.pg_class x
                           join pg_catalog.pg_am m on m.oid = x.relam
                          where x.oid = i.indexrelid)
                   from pg_catalog.pg_index i
                   join pg_catalog.pg_class c on c.oid = i.indrelid
                   join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                  where n.nspname = $1 and c.relname = $2
                    and i.indisvalid and i.indpred is null and i.indexprs is null",
                &names,
            )
            .map_err(failed)?;
        let columns = |row: &Row| {
            let (mut held, key_count): (Vec<String>, i32) = (row.get(0), row.get(1));
            let key = held[..key_count as usize].to_vec();
            // Other kinds keep something else than the value, or only of some types the value itself.
            if !row.get::<_, bool>(2) {
                held.clear();
            }
            IndexColumns { key, held }
        };
        let indexes = indexes.iter().map(columns).collect();
        Ok(Some(Indexed { bytes, is_partitioned, indexes }))
    }
}

/// The key's columns by name; a row's place is none.
fn definition_columns(key: &[crate::postgres::watched::RowKeyColumn]) -> Vec<String> {
    key.iter()
        .filter_map(|column| {
            let quoted = column.expression.strip_prefix("t0.\"")?.strip_suffix('"')?;
            Some(quoted.replace("\"\"", "\""))
        })
        .collect()
}

/// The statement that makes an index.
pub(super) fn create_index(table_name: &TableName, columns: &[String], is_partitioned: bool) -> String {
    let concurrently = if is_partitioned { "" } else { " concurrently" };
    let columns: Vec<String> = columns.iter().map(|column| name(column)).collect();
    format!("create index{concurrently} on {} ({})", table(table_name), columns.join(", "))
}

/// Adds a reason for an index.
fn note(
    missing: &mut BTreeMap<String, (TableName, Vec<String>)>,
    statement: String,
    table_name: &TableName,
    why: &str,
) {
    let (_, reasons) = missing.entry(statement).or_insert_with(|| (table_name.clone(), Vec::new()));
    if !reasons.iter().any(|known| known == why) {
        reasons.push(why.to_owned());
    }
}

/// The large tables that a statement reads as a whole though it looks for rows by columns that no index begins with.
fn read_as_a_whole(
    explained: &Explained,
    tables: &BTreeMap<TableName, Indexed>,
) -> Vec<(TableName, Vec<String>)> {
    let mut aliases = Vec::new();
    full_scans(&explained.plan, &mut aliases);
    let mut found = Vec::new();
    for alias in aliases {
        let named = tables.iter().find_map(|(known, indexed)| {
            let (_, behind) = explained.statement.split_once(&format!("{} as {alias} ", table(known)))?;
            Some((known, indexed, behind))
        });
        let Some((known, indexed, behind)) = named else { continue };
        let columns = searched_columns(behind, &alias);
        let is_missing = indexed.is_large() && !columns.is_empty() && !indexed.has_index_on(&columns);
        if is_missing && !found.contains(&(known.clone(), columns.clone())) {
            found.push((known.clone(), columns));
        }
    }
    found
}

/// Collects the aliases of tables that a plan reads from end to end; of partitions, the one of the whole.
fn full_scans(plan: &Value, aliases: &mut Vec<String>) {
    match plan {
        Value::Array(parts) => parts.iter().for_each(|part| full_scans(part, aliases)),
        Value::Object(node) => {
            let kind = node.get("Node Type").and_then(Value::as_str).unwrap_or_default();
            let is_full = match kind {
                "Seq Scan" => true,
                "Index Scan" | "Index Only Scan" => !node.contains_key("Index Cond"),
                _ => false,
            };
            if is_full && let Some(alias) = node.get("Alias").and_then(Value::as_str) {
                // The server calls the partitions of `t0` `t0_1`, `t0_2`, …
                let whole = alias.split_once('_').map_or(alias, |(whole, _)| whole).to_owned();
                if !aliases.contains(&whole) {
                    aliases.push(whole);
                }
            }
            for part in ["Plan", "Plans"] {
                if let Some(below) = node.get(part) {
                    full_scans(below, aliases);
                }
            }
        }
        _ => {}
    }
}

/// The columns of `alias` that a statement finds its rows by, behind the place where it takes the table in.
///
/// All our statements have them on the left of what is known by then: on the right they lead to the next table.
fn searched_columns(statement: &str, alias: &str) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    let marker = format!("{alias}.\"");
    let mut start = 0;
    while let Some(found) = statement[start..].find(&marker) {
        let begin = start + found;
        start = begin + marker.len();
        let before = &statement[..begin];
        // `t1` is no end of another alias.
        if before.ends_with(|character: char| character.is_alphanumeric() || "_\"".contains(character)) {
            continue;
        }
        let Some((column, rest)) = quoted(&statement[start..]) else { continue };
        let is_compared = [" = ", " >= ", " > ", " <= "].iter().any(|sign| rest.starts_with(sign));
        if is_compared && !columns.contains(&column) {
            columns.push(column);
        }
    }
    columns
}

/// Reads a quoted name up to its closing quote, and what stands behind it.
pub(super) fn quoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (piece, after) = rest.split_once('"')?;
        name.push_str(piece);
        match after.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_tells_which_tables_are_read_from_end_to_end() {
        let plan = serde_json::json!([{ "Plan": { "Node Type": "Hash Join", "Plans": [
            { "Node Type": "Seq Scan", "Alias": "t1_2" },
            { "Node Type": "Index Only Scan", "Alias": "t2" },
            { "Node Type": "Index Scan", "Alias": "t3", "Index Cond": "(…)" },
        ] } }]);
        let mut aliases = Vec::new();
        full_scans(&plan, &mut aliases);
        assert_eq!(aliases, ["t1", "t2"]);
    }

    #[test]
    fn the_columns_by_which_rows_are_looked_for_are_read_from_the_statement() {
        let statement = r#"select t1."x" from "s"."a" as t0 join "s"."b" as t1 on t1."a ""id" = t0."id" and t1."n" = t0."n"
            where t0."modified" >= $1 order by t11."z""#;
        assert_eq!(searched_columns(statement, "t1"), ["a \"id", "n"]);
        // By what stands on the right, the next table is found.
        assert_eq!(searched_columns(statement, "t0"), ["modified"]);
    }
}
