//! Indexes that hold all that documents need of a link table, so that PostgreSQL reads its rows from the index alone.
//!
//! Nothing is wrong without one, so `check` gives a hint, and only where such an index is safe to make: a value that is
//! too long for an index makes the application's own insert fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use postgres::types::{ToSql, Type};

use crate::definition::{Definition, TableName};
use crate::error::Result;
use crate::finding::{Finding, Level};
use crate::postgres::Source;
use crate::postgres::connect::classify;
use crate::postgres::indexes::{Indexed, create_index, quoted};
use crate::postgres::plan::RelationPlan;
use crate::postgres::select::Side;
use crate::postgres::sql::{LINK, name};

/// A column of texts or numbers of any length is taken into an index if they have no more bytes on average.
const SHORT_BYTES: i32 = 64;

/// PostgreSQL takes so many columns into an index.
const COLUMN_LIMIT: usize = 32;

/// An index that would hold all that documents need of a link table, and that is not there.
pub(super) struct Covering {
    table: TableName,
    is_partitioned: bool,
    /// The columns by which the link's rows are looked for from the root's side.
    first: Vec<String>,
    /// What else is read of them.
    rest: Vec<String>,
    /// Those of the rest whose type sets no limit to a value's length.
    unlimited: Vec<String>,
}

impl Covering {
    /// Whether it begins with these columns of this table.
    pub(super) fn begins_with(&self, table: &TableName, columns: &[String]) -> bool {
        self.table == *table
            && self.first.len() == columns.len()
            && columns.iter().all(|column| self.first.contains(column))
    }

    /// The statement that makes it.
    pub(super) fn statement(&self) -> String {
        let rest: Vec<String> = self.rest.iter().map(|column| name(column)).collect();
        let plain = create_index(&self.table, &self.first, self.is_partitioned);
        format!("{plain} include ({})", rest.join(", "))
    }

    /// What `check` says of its absence.
    pub(super) fn hint(&self) -> Finding {
        let mut message =
            "no index holds all columns that documents need of it, so every link is looked up in the table \
                           itself; with this one a full load reads up to a fifth quicker"
                .to_owned();
        if !self.unlimited.is_empty() {
            message += &format!(
                ", but a row with more than 2,600 bytes in {} cannot be written any more",
                self.unlimited.join(", ")
            );
        }
        Finding::new(Level::Hint, self.table.to_string(), message).cure(self.statement())
    }
}

/// A column as far as an index matters.
struct LinkColumn {
    name: String,
    fits: Fit,
}

/// Whether an index can hold all values of a column.
#[derive(Clone, Copy, PartialEq)]
enum Fit {
    Always,
    /// Those that are there are short; the type does not keep them so.
    SoFar,
    No,
}

impl Source {
    /// The covering indexes that the large link tables of the definition lack.
    pub(super) fn missing_covering_indexes(
        &mut self,
        definition: &Definition,
        tables: &BTreeMap<TableName, Indexed>,
    ) -> Result<Vec<Covering>> {
        let plan = Arc::clone(&self.plan);
        let mut columns_of: BTreeMap<&TableName, Vec<LinkColumn>> = BTreeMap::new();
        // By table and the columns that its rows are looked for by: several relations may lead through one table.
        let mut needed: BTreeMap<(&TableName, Vec<String>), Option<BTreeSet<String>>> = BTreeMap::new();
        for (relation, planned) in definition.relations.iter().zip(&plan.relations) {
            let Some(through) = &relation.through else { continue };
            if !tables.get(&through.table).is_some_and(Indexed::is_large) {
                continue;
            }
            if !columns_of.contains_key(&through.table) {
                columns_of.insert(&through.table, self.link_columns(&through.table)?);
            }
            let columns = &columns_of[&through.table];
            let first: Vec<String> = through.on.iter().map(|join| join.column.clone()).collect();
            let mut read = read_of_link(planned, columns);
            if let Some(read) = &mut read {
                read.extend(relation.on.iter().map(|join| join.nearer.clone()));
            }
            let all = needed.entry((&through.table, first)).or_insert_with(|| Some(BTreeSet::new()));
            *all = all.take().zip(read).map(|(all, read)| &all | &read);
        }
        let mut missing = Vec::new();
        for ((table, first), read) in needed {
            let (Some(indexed), Some(read)) = (tables.get(table), read) else { continue };
            let rest: Vec<String> = read.into_iter().filter(|column| !first.contains(column)).collect();
            if rest.is_empty() || rest.len() + first.len() > COLUMN_LIMIT || indexed.covers(&first, &rest) {
                continue;
            }
            let fit = |column: &String| {
                let known = columns_of[table].iter().find(|known| known.name == *column);
                known.map_or(Fit::No, |known| known.fits)
            };
            if rest.iter().any(|column| fit(column) == Fit::No) {
                continue;
            }
            let unlimited = rest.iter().filter(|column| fit(column) == Fit::SoFar).cloned().collect();
            let (table, is_partitioned) = (table.clone(), indexed.is_partitioned);
            missing.push(Covering { table, is_partitioned, first, rest, unlimited });
        }
        Ok(missing)
    }

    fn link_columns(&mut self, table: &TableName) -> Result<Vec<LinkColumn>> {
        let names = [(&table.schema as &(dyn ToSql + Sync), Type::TEXT), (&table.name, Type::TEXT)];
        let rows = self
            .client
            .query_typed(
                "select a.attname::text, a.attlen > 0, t.typcategory in ('S', 'N'),
                        case when t.typcategory = 'N' then a.atttypmod >= 0 else a.atttypmod between 0 and 260 end,
                        (select max(s.avg_width)
                           from pg_catalog.pg_stats s
                          where s.schemaname = n.nspname and s.tablename = c.relname and s.attname = a.attname)
                   from pg_catalog.pg_attribute a
                   join pg_catalog.pg_class c on c.oid = a.attrelid
                   join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                   join pg_catalog.pg_type t on t.oid = a.atttypid
                  where n.nspname = $1 and c.relname = $2 and a.attnum > 0 and not a.attisdropped",
                &names,
            )
            .map_err(|error| classify(&error, format!("cannot read the columns of {table}")))?;
        let fit = |is_fixed: bool, is_plain: bool, is_limited: bool, width: Option<i32>| {
            if is_fixed || is_plain && is_limited {
                Fit::Always
            } else if is_plain && width.is_some_and(|width| width <= SHORT_BYTES) {
                Fit::SoFar
            } else {
                Fit::No
            }
        };
        let columns = rows.iter().map(|row| LinkColumn {
            name: row.get(0),
            fits: fit(row.get(1), row.get(2), row.get(3), row.get(4)),
        });
        Ok(columns.collect())
    }
}

/// The columns of the link table that the statements of a relation read; nothing if that may be all of them.
fn read_of_link(planned: &RelationPlan, columns: &[LinkColumn]) -> Option<BTreeSet<String>> {
    let kept = planned.kept.as_ref().and_then(|kept| kept.link.as_ref());
    let lists = [Some(planned.range.select()), kept.map(|link| link.range.select())];
    let mut read = BTreeSet::new();
    let is_known = |column: &str| columns.iter().any(|known| known.name == column);
    for list in lists.into_iter().flatten() {
        for (selected, _) in list.columns() {
            let is_free = selected.side == Side::Unknown;
            read.extend(link_columns_in(&selected.expression, is_free, &is_known)?);
        }
    }
    Some(read)
}

/// A word of SQL, as far as columns are told from the rest.
#[derive(PartialEq)]
enum Word {
    /// A name as the server takes it.
    Name(String),
    Sign(char),
}

/// The columns of the link table in an expression; nothing if it may read them all.
///
/// What the definition says in SQL may leave the table's name out (`is_free`). A column too many is harmless.
fn link_columns_in(
    expression: &str,
    is_free: bool,
    is_known: &dyn Fn(&str) -> bool,
) -> Option<BTreeSet<String>> {
    let words = words(expression);
    let sign = |place: Option<usize>, wanted: char| {
        place.and_then(|place| words.get(place)).is_some_and(|word| *word == Word::Sign(wanted))
    };
    let mut found = BTreeSet::new();
    for (place, word) in words.iter().enumerate() {
        let Word::Name(this) = word else { continue };
        let (before, next) = (place.checked_sub(1), Some(place + 1));
        let is_qualified = sign(before, '.');
        if this == LINK && !is_qualified {
            let is_whole_row = !sign(next, '.') || sign(Some(place + 2), '*');
            if is_whole_row {
                return None;
            }
            continue;
        }
        let is_of_link = if is_qualified {
            place >= 2 && words[place - 2] == Word::Name(LINK.to_owned())
        } else {
            // Neither the name of a type nor that of a function.
            is_free && !sign(before, ':') && !sign(next, '(')
        };
        if is_of_link && is_known(this) {
            found.insert(this.clone());
        }
    }
    Some(found)
}

/// Takes SQL apart; texts in quotes are left out.
fn words(sql: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        if first == '\'' {
            rest = rest.split_once('\'').map_or("", |(_, after)| after);
        } else if first == '"' {
            let Some((quoted, after)) = quoted(rest) else { break };
            words.push(Word::Name(quoted));
            rest = after;
        } else if first.is_alphabetic() || first == '_' {
            let is_in_name = |character: char| character.is_alphanumeric() || "_$".contains(character);
            let length = rest.find(|character| !is_in_name(character)).unwrap_or(rest.len());
            words.push(Word::Name(format!("{first}{}", &rest[..length]).to_lowercase()));
            rest = &rest[length..];
        } else if !first.is_whitespace() {
            words.push(Word::Sign(first));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(expression: &str, is_free: bool) -> Option<Vec<String>> {
        let is_known = |column: &str| ["role", "Billing", "note"].contains(&column);
        link_columns_in(expression, is_free, &is_known).map(Vec::from_iter)
    }

    #[test]
    fn the_columns_of_the_link_are_found_in_what_is_written() {
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            found(r#"(through."role" in ('note', 'it''s') and t."note" > 1)"#, false),
            list(&["role"])
        );
        assert_eq!(found(r#"(t.name || ' as ' || THROUGH.Role\n)"#, true), list(&["role"]));
        assert_eq!(found(r#"through . "Billing"::note"#, true), list(&["Billing"]));
        assert_eq!(found("(coalesce(note, 'through') || role(t.x)\n)", true), list(&["note"]));
        assert_eq!(found(r#"t."role"::text"#, false), list(&[]));
        // Of a row as a whole nobody knows what is needed of it.
        assert_eq!(found("to_jsonb(through)", true), None);
        assert_eq!(found("row(through.*)", true), None);
    }
}
