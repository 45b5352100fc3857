//! The schema names the fields that the parser knows, each in its place, and no others.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::definition::document::{COUNT_FIELDS, KINDS, LIST_FIELDS, ONE_FIELDS};
use crate::definition::parse::{ROOT_FIELDS, TOP_FIELDS};
use crate::definition::relation::{RELATION_FIELDS, THROUGH_FIELDS};
use crate::definition::tombstone::FIELDS as TOMBSTONE_FIELDS;

#[test]
fn the_schema_names_every_field_that_the_parser_knows() {
    let schema: Value = serde_json::from_str(super::SCHEMA).unwrap();
    for (place, fields) in [
        ("", TOP_FIELDS),
        ("/$defs/root", ROOT_FIELDS),
        ("/$defs/relation", RELATION_FIELDS),
        ("/$defs/through", THROUGH_FIELDS),
        ("/$defs/list", LIST_FIELDS),
        ("/$defs/one", ONE_FIELDS),
        ("/$defs/count", COUNT_FIELDS),
        ("/$defs/tombstone", TOMBSTONE_FIELDS),
    ] {
        let properties = schema.pointer(&format!("{place}/properties")).and_then(Value::as_object).unwrap();
        let named: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(named, fields.iter().copied().collect(), "{place}");
    }

    for kind in KINDS {
        let required = schema.pointer(&format!("/$defs/{kind}/required/0")).and_then(Value::as_str);
        assert_eq!(required, Some(*kind));
    }
}
