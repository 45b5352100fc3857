//! From a column's type to the mapping of its field: the one table of it.
//!
//! What a draft maps a field to must take every value that the column can have. Where the form of a type in JSON is an
//! object or not known, the field is kept in the document and not indexed.

use serde_json::{Value, json};

use crate::postgres::SurveyedColumn;

/// A term of the index has at most 32,766 bytes, a character up to four.
const TERM_MAX_CHARACTERS: u32 = 8_191;

/// Longer texts are found by their words, not as a whole.
const KEYWORD_MAX_CHARACTERS: u32 = 256;

/// The mapping of the field, and whether it is one that can be searched.
pub(super) fn mapping_of(column: &SurveyedColumn) -> (Value, bool) {
    let keyword = || json!({ "type": "keyword", "ignore_above": TERM_MAX_CHARACTERS });
    if column.kind == 'e' {
        return (keyword(), true);
    }
    if column.kind != 'b' {
        return (unindexed(), false);
    }
    if !column.is_built_in {
        // `citext` and `ltree` are texts wherever they are installed.
        return match column.type_name.as_str() {
            "citext" => (text(), true),
            "ltree" => (keyword(), true),
            _ => (unindexed(), false),
        };
    }
    let mapping = match column.type_name.as_str() {
        "bool" => json!({ "type": "boolean" }),
        "int2" => json!({ "type": "short" }),
        "int4" => json!({ "type": "integer" }),
        "int8" | "oid" => json!({ "type": "long" }),
        // A number that the field's type cannot hold stays in the document and is not indexed.
        "float4" => json!({ "type": "float", "ignore_malformed": true }),
        "float8" | "numeric" => json!({ "type": "double", "ignore_malformed": true }),
        "text" | "varchar" | "bpchar" | "xml" | "tsvector" => text(),
        // `infinity`, years before 1 and after 9999 stay in the document and are not indexed.
        "date" | "timestamp" | "timestamptz" => json!({ "type": "date", "ignore_malformed": true }),
        // Only a value of its own comes as base64.
        "bytea" if !column.is_array => json!({ "type": "binary" }),
        "uuid" | "name" | "char" | "time" | "timetz" | "interval" | "inet" | "cidr" | "macaddr"
        | "macaddr8" | "bit" | "varbit" | "money" => keyword(),
        _ => return (unindexed(), false),
    };
    (mapping, true)
}

/// The mapping of a field whose values are kept in the document, whatever they are.
fn unindexed() -> Value {
    json!({ "type": "object", "enabled": false })
}

/// Searched by words, and as a whole by its subfield.
fn text() -> Value {
    json!({
        "type": "text",
        "fields": { "keyword": { "type": "keyword", "ignore_above": KEYWORD_MAX_CHARACTERS } },
    })
}
