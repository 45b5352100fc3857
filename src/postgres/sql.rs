//! Small pieces of SQL: quoted names, literals, and typed parameters that are always sent as text.
//!
//! Values travel as text and are cast in the statement (`$1::text::uuid`), so that one way serves every type, and the
//! statements stay unnamed, so that a transaction pooler and a changed table cannot confuse them.

use postgres::types::{ToSql, Type};
use postgres_protocol::escape::{escape_identifier, escape_literal};

use crate::definition::TableName;

/// The alias of the table whose row is at hand: the root's, or a relation's own.
pub(super) const ROW: &str = "t";

/// The alias of the link table that led to the row at hand.
pub(super) const LINK: &str = "through";

/// A column's or alias's name, quoted.
pub(super) fn name(identifier: &str) -> String {
    escape_identifier(identifier)
}

/// A table's name, quoted, with its schema.
pub(super) fn table(table: &TableName) -> String {
    format!("{}.{}", escape_identifier(&table.schema), escape_identifier(&table.name))
}

/// A string literal, quoted.
pub(super) fn literal(text: &str) -> String {
    escape_literal(text).trim_start().to_owned()
}

/// The parameters of one statement, in order.
#[derive(Default)]
pub(super) struct Parameters {
    values: Vec<(Box<dyn ToSql + Sync + Send>, Type)>,
}

impl Parameters {
    /// Adds one text, or NULL.
    pub(super) fn text(&mut self, value: Option<String>) {
        self.values.push((Box::new(value), Type::TEXT));
    }

    /// Adds an array of texts.
    pub(super) fn texts(&mut self, values: Vec<String>) {
        self.values.push((Box::new(values), Type::TEXT_ARRAY));
    }

    /// Lends them to the client.
    pub(super) fn as_values(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.values
            .iter()
            .map(|(value, kind)| (value.as_ref() as &(dyn ToSql + Sync), kind.clone()))
            .collect()
    }

    /// Hands them over to the client.
    pub(super) fn into_values(self) -> Vec<(Box<dyn ToSql + Sync + Send>, Type)> {
        self.values
    }
}

/// `(a, b)`, or `a` alone.
pub(super) fn row_of(expressions: &[String]) -> String {
    match expressions {
        [only] => only.clone(),
        many => format!("({})", many.join(", ")),
    }
}

/// Types whose arrays `unnest` takes apart into one column: it would make several of a composite, and an array is no
/// element of another.
const PLAIN_TYPES: [&str; 14] = [
    "smallint",
    "integer",
    "bigint",
    "uuid",
    "text",
    "character varying",
    "bpchar",
    "numeric",
    "date",
    "timestamp without time zone",
    "timestamp with time zone",
    "boolean",
    "bytea",
    "oid",
];

/// The texts in the parameters `$1`, `$2` …, cast to these types, as rows that stand behind `from`.
///
/// Its columns are `prefix` and their place from 1 on, then, if it is numbered, `pgsluice_n`, which counts the rows.
pub(super) fn rows_of_texts(types: &[&str], alias: &str, prefix: &str, is_numbered: bool) -> String {
    let mut columns: Vec<String> = (1..=types.len()).map(|place| format!("{prefix}{place}")).collect();
    let ordinality = if is_numbered { " with ordinality" } else { "" };
    let is_plain = types.iter().all(|type_name| PLAIN_TYPES.contains(type_name));
    let number = is_numbered.then(|| "pgsluice_n".to_owned());
    if is_plain {
        let casts: Vec<String> = types
            .iter()
            .enumerate()
            .map(|(place, type_name)| format!("${}::text[]::{type_name}[]", place + 1))
            .collect();
        columns.extend(number);
        return format!("unnest({}){ordinality} as {alias}({})", casts.join(", "), columns.join(", "));
    }
    let texts: Vec<String> = (1..=types.len()).map(|place| format!("${place}::text[]")).collect();
    let mut outputs: Vec<String> = columns
        .iter()
        .zip(types)
        .map(|(column, type_name)| format!("x.{column}::{type_name} as {column}"))
        .collect();
    columns.extend(number.clone());
    outputs.extend(number.map(|number| format!("x.{number}")));
    format!(
        "(select {} from unnest({}){ordinality} as x({})) as {alias}",
        outputs.join(", "),
        texts.join(", "),
        columns.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_unnest_cannot_take_apart_is_cast_row_by_row() {
        assert_eq!(
            rows_of_texts(&["uuid", "integer"], "p", "k", true),
            "unnest($1::text[]::uuid[], $2::text[]::integer[]) with ordinality as p(k1, k2, pgsluice_n)"
        );
        assert_eq!(
            rows_of_texts(&["pair", "integer[]"], "r", "r", false),
            "(select x.r1::pair as r1, x.r2::integer[] as r2 from unnest($1::text[], $2::text[]) as x(r1, r2)) as r"
        );
    }

    #[test]
    fn names_and_literals_cannot_break_out() {
        assert_eq!(name("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), "E'a\\\\b'");
        assert_eq!(table(&TableName { schema: "s.x".into(), name: "T".into() }), "\"s.x\".\"T\"");
    }
}
