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
    values: Vec<(Box<dyn ToSql + Sync>, Type)>,
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

    /// Hands them over to the client.
    pub(super) fn into_values(self) -> Vec<(Box<dyn ToSql + Sync>, Type)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_cannot_break_out() {
        assert_eq!(name("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), "E'a\\\\b'");
        assert_eq!(table(&TableName { schema: "s.x".into(), name: "T".into() }), "\"s.x\".\"T\"");
    }
}
