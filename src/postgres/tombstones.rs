//! Tombstones: rows that name keys of the root table, whose own rows are gone.
//!
//! There is no row to join with, so a tombstone's columns are the key. Where they have the key's own types they are taken
//! as they are; else their text is cast to the key's types, one way for every type, and what cannot be cast is no key.

use crate::definition::Tombstone;
use crate::error::Result;
use crate::key::Key;
use crate::postgres::Source;
use crate::postgres::castable::is_surely_no_key;
use crate::postgres::connect::classify;
use crate::postgres::plan::{KeyColumn, Planner};
use crate::postgres::poll::PolledRow;
use crate::postgres::select::for_key_expression;
use crate::postgres::sql::{Parameters, name};
use crate::postgres::watched::Path;

/// How a tombstone, alias `t0`, leads to the root's key; a problem if `on` does not name just that.
pub(super) fn path(planner: &mut Planner<'_>, tombstone: &Tombstone, root_key: &[KeyColumn]) -> Option<Path> {
    let place = "tombstone.on";
    let names: Vec<&str> = root_key.iter().map(|key| key.column.name.as_str()).collect();
    let has_all =
        names.iter().all(|name| tombstone.on.iter().filter(|join| join.nearer == *name).count() == 1);
    if !has_all || tombstone.on.len() != names.len() {
        let pairs: Vec<String> =
            names.iter().map(|name| format!("<column of {}> = \"{name}\"", tombstone.table)).collect();
        planner.problems.push(format!(
            "{place}: {} has to name each column of the root's key once and no other, write on = {{ {} }}",
            tombstone.table,
            pairs.join(", ")
        ));
        return None;
    }
    let mut selected = Vec::new();
    let mut has_types_of_key = true;
    for key in root_key {
        let join = tombstone.on.iter().find(|join| join.nearer == key.column.name)?;
        let column = planner.column(&tombstone.table, &join.column, place)?;
        has_types_of_key &= column.type_name == key.column.type_name;
        selected.push(expression(&column.name, tombstone.condition.as_deref()));
    }
    let selected = selected.iter().zip(root_key);
    Some(if has_types_of_key {
        Path::Direct(selected.map(|(column, key)| for_key_expression(column, &key.column)).collect())
    } else {
        Path::Named(
            selected.map(|(column, _)| (format!("{column}::text"), crate::cell::CellFormat::Text)).collect(),
        )
    })
}

/// The column of a row that meets the condition, else NULL, which is no key. In the condition the row is called `t`.
///
/// Polls do not apply it: the same table may be watched for other reasons too, by the same checkpoint.
fn expression(column: &str, condition: Option<&str>) -> String {
    match condition {
        None => format!("t0.{}", name(column)),
        // The line break ends a comment at the end of the condition.
        Some(condition) => {
            format!("(select case when ({condition}\n) then t.{} end from (select t0.*) as t)", name(column))
        }
    }
}

impl Source {
    /// Makes keys of what the rows name; returns how many of these cannot be keys of the root table.
    pub fn resolve_named(&mut self, rows: &mut [PolledRow]) -> Result<usize> {
        let plan = std::sync::Arc::clone(&self.plan);
        let types = plan.root.key_types();
        let mut named: Vec<(usize, Key)> = Vec::new();
        let mut strange_count = 0;
        for (place, row) in rows.iter_mut().enumerate() {
            for key in row.named.drain(..) {
                if is_surely_no_key(&key, &types) {
                    strange_count += 1;
                } else {
                    named.push((place, key));
                }
            }
        }
        let mut pieces = vec![named];
        while let Some(mut piece) = pieces.pop() {
            if piece.is_empty() {
                continue;
            }
            match self.canonical_keys(&piece, &types)? {
                Some(keys) => {
                    for ((place, _), key) in piece.iter().zip(keys) {
                        match key {
                            Some(key) => rows[*place].direct.push(key),
                            None => strange_count += 1,
                        }
                    }
                }
                None if piece.len() == 1 => strange_count += 1,
                None => {
                    pieces.push(piece.split_off(piece.len() / 2));
                    pieces.push(piece);
                }
            }
        }
        Ok(strange_count)
    }

    /// The keys as the root table's own columns would print them, in the same order; none if one cannot be cast.
    fn canonical_keys(&mut self, keys: &[(usize, Key)], types: &[&str]) -> Result<Option<Vec<Option<Key>>>> {
        let mut texts: Vec<Vec<String>> = vec![Vec::with_capacity(keys.len()); types.len()];
        for (_, key) in keys {
            for (column, text) in texts.iter_mut().zip(key.columns(types.len()).unwrap_or_default()) {
                column.push(text);
            }
        }
        let mut parameters = Parameters::default();
        let (mut outputs, mut arrays, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (place, (column, type_name)) in texts.into_iter().zip(types).enumerate() {
            let number = place + 1;
            parameters.texts(column);
            outputs.push(format!("(r.r{number}::{type_name})::text"));
            arrays.push(format!("${number}::text[]"));
            names.push(format!("r{number}"));
        }
        let statement = format!(
            "select {} from unnest({}) with ordinality as r({}, n) order by r.n",
            outputs.join(", "),
            arrays.join(", "),
            names.join(", ")
        );
        self.begin()?;
        let answer = self.client.query_typed(&statement, &parameters.as_values());
        let rows = match answer {
            Ok(rows) => Some(rows),
            // Class 22 is "data exception": a text that its type does not take. 23 is a domain's check.
            Err(error) if error.code().is_some_and(|code| matches!(&code.code()[..2], "22" | "23")) => None,
            Err(error) => {
                return Err(classify(&error, "cannot read the keys that tombstones name".to_owned()));
            }
        };
        // Of a transaction that failed, this is its end too.
        self.commit()?;
        let key_of = |row: &postgres::Row| {
            let texts: Option<Vec<String>> =
                (0..types.len()).map(|column| row.get::<_, Option<String>>(column)).collect();
            Some(Key::from_columns(&texts?))
        };
        Ok(rows.map(|rows| rows.iter().map(key_of).collect()))
    }
}
