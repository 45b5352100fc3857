//! Conditions on the root key: ranges of it, sets of keys, and what `INITIAL_TIMESTAMP` leaves out.

use crate::batch::KeyRange;
use crate::checkpoint::ServerTime;
use crate::key::Key;
use crate::postgres::plan::RootPlan;
use crate::postgres::select::CursorKind;
use crate::postgres::sql::{Parameters, literal, row_of, rows_of_texts};

/// The root key's columns as they are ordered by.
pub(super) fn key_order(root: &RootPlan) -> String {
    root.key.iter().map(|key| key.quoted.clone()).collect::<Vec<_>>().join(", ")
}

/// What to select from, and under which conditions, to find the rows of these keys; the alias is `t`.
pub(super) fn match_keys(
    root: &RootPlan,
    keys: &[Key],
    parameters: &mut Parameters,
) -> (String, Vec<String>) {
    let table = format!("{} as t", root.table);
    let key_types = root.key_types();
    let mut columns: Vec<Vec<String>> = vec![Vec::with_capacity(keys.len()); key_types.len()];
    for key in keys {
        for (column, text) in columns.iter_mut().zip(key.columns(key_types.len()).unwrap_or_default()) {
            column.push(text);
        }
    }
    for column in columns {
        parameters.texts(column);
    }
    if let [type_name] = key_types.as_slice() {
        // There is no array of arrays.
        let keys = if type_name.ends_with("[]") {
            format!("select x.k::{type_name} from unnest($1::text[]) as x(k)")
        } else {
            format!("$1::text[]::{type_name}[]")
        };
        return (table, vec![format!("{} = any({keys})", root.key_row())]);
    }
    let pairs: Vec<String> = root
        .key
        .iter()
        .enumerate()
        .map(|(place, key)| format!("{} = k.pgsluice_k{}", key.quoted, place + 1))
        .collect();
    let from = format!(
        "{} join {table} on {}",
        rows_of_texts(&key_types, "k", "pgsluice_k", false),
        pairs.join(" and ")
    );
    (from, Vec::new())
}

/// `key > low and key <= high` with the root key's types; compared by PostgreSQL alone.
pub(super) fn range_condition(
    root: &RootPlan,
    key: &str,
    range: &KeyRange,
    parameters: &mut Parameters,
) -> String {
    let types = root.key_types();
    let mut number = 0;
    let mut conditions = Vec::new();
    for (operator, bound) in [(">", &range.low), ("<=", &range.high)] {
        let Some(bound) = bound else { continue };
        let mut casts = Vec::new();
        for (text, type_name) in bound.columns(types.len()).unwrap_or_default().into_iter().zip(&types) {
            number += 1;
            parameters.text(Some(text));
            casts.push(format!("${number}::text::{type_name}"));
        }
        conditions.push(format!("{key} {operator} {}", row_of(&casts)));
    }
    if conditions.is_empty() {
        // A key that stands in a link table may be NULL there.
        return "true".to_owned();
    }
    conditions.join(" and ")
}

/// Holds for rows of which the cursor is at or after `initial` (microseconds since 1970).
pub(super) fn initial_condition(cursor: &str, kind: CursorKind, initial: i64, timezone: &str) -> String {
    let instant = format!("'{}'::timestamptz", ServerTime::from_unix_micros(initial));
    match kind {
        CursorKind::Timestamptz => format!("{cursor} >= {instant}"),
        CursorKind::Timestamp | CursorKind::Date => {
            format!("{cursor} >= ({instant} at time zone {})", literal(timezone))
        }
    }
}
