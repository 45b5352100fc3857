//! Whether two documents are the same, and which fields differ.
//!
//! Equal bytes are equal. Else the order of an object's fields and the way a string is escaped do not count. A number
//! may be written in several ways (`1`, `1.0`, `1e0`): they are the same where the mapping says that the field holds
//! numbers, or says nothing; where it takes the number as a string, as `keyword` does, they are different terms. Numbers
//! are compared digit by digit, never as floats, which would take two long ones for the same.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::definition::Definition;
use crate::error::{Error, Result};

/// Field types that take a number by its value.
const NUMBER_TYPES: [&str; 9] =
    ["long", "integer", "short", "byte", "unsigned_long", "double", "float", "half_float", "scaled_float"];

/// Compares documents of one index.
#[derive(Debug)]
pub struct Comparer {
    mappings: Value,
    /// Whether the index's documents may have fields that ours have not, since an ingest pipeline adds them.
    may_have_more: bool,
}

/// What is known of the field at hand.
#[derive(Clone, Copy)]
enum Field<'a> {
    /// The mapping does not name it.
    Unknown,
    /// The mapping describes it.
    Mapped(&'a Value),
    /// It is part of a field that takes everything as text.
    Text,
}

impl Comparer {
    /// Compares as a definition's documents are to be compared.
    pub fn of(definition: &Definition) -> Self {
        Self { may_have_more: definition.pipeline.is_some(), ..Self::new(&definition.mapping) }
    }

    /// Compares by the mapping of an index body.
    fn new(index_body: &Map<String, Value>) -> Self {
        Self { mappings: index_body.get("mappings").cloned().unwrap_or_default(), may_have_more: false }
    }

    /// Returns the names of the document's fields that differ; none if the documents are the same.
    pub fn differing_fields(&self, ours: &[u8], theirs: &RawValue) -> Result<Vec<String>> {
        if ours == theirs.get().as_bytes() {
            return Ok(Vec::new());
        }
        let failed = |error: serde_json::Error| {
            // Its text may show a value.
            Error::wrong(format!(
                "a document is no JSON object (line {}, column {})",
                error.line(),
                error.column()
            ))
        };
        let ours: BTreeMap<String, &RawValue> = serde_json::from_slice(ours).map_err(failed)?;
        let theirs: BTreeMap<String, &RawValue> = serde_json::from_str(theirs.get()).map_err(failed)?;
        let root = Field::Mapped(&self.mappings);
        let mut differing: Vec<String> = ours
            .iter()
            .filter(|(name, value)| {
                !theirs.get(*name).is_some_and(|other| self.are_same(value, other, root.child(name)))
            })
            .map(|(name, _)| name.clone())
            .collect();
        if !self.may_have_more {
            differing.extend(theirs.keys().filter(|name| !ours.contains_key(*name)).cloned());
        }
        differing.sort();
        Ok(differing)
    }

    fn are_same(&self, ours: &RawValue, theirs: &RawValue, field: Field<'_>) -> bool {
        let (left, right) = (ours.get(), theirs.get());
        if left == right {
            return true;
        }
        let is_both =
            |first: u8| left.as_bytes().first() == Some(&first) && right.as_bytes().first() == Some(&first);
        if is_both(b'{') {
            let (Some(left), Some(right)) = (object(left), object(right)) else { return false };
            return (self.may_have_more || left.len() == right.len())
                && left.iter().all(|(name, value)| {
                    right.get(name).is_some_and(|other| self.are_same(value, other, field.child(name)))
                });
        }
        if is_both(b'[') {
            let (Some(left), Some(right)) = (list(left), list(right)) else { return false };
            return left.len() == right.len()
                && left.iter().zip(&right).all(|(left, right)| self.are_same(left, right, field));
        }
        if is_both(b'"') {
            let text = |json: &str| serde_json::from_str::<String>(json).ok();
            return text(left).is_some_and(|text_left| text(right) == Some(text_left));
        }
        match (Decimal::parse(left), Decimal::parse(right)) {
            (Some(left), Some(right)) => left == right && field.takes_numbers_by_value(),
            _ => false,
        }
    }
}

impl<'a> Field<'a> {
    fn child(self, name: &str) -> Self {
        let Self::Mapped(mapping) = self else { return self };
        if let Some(child) = mapping.get("properties").and_then(|properties| properties.get(name)) {
            return Self::Mapped(child);
        }
        match mapping.get("type").and_then(Value::as_str) {
            None | Some("object" | "nested") => Self::Unknown,
            Some(_) => Self::Text,
        }
    }

    fn takes_numbers_by_value(self) -> bool {
        match self {
            Self::Unknown => true,
            Self::Text => false,
            Self::Mapped(mapping) => {
                let is_number = mapping
                    .get("type")
                    .and_then(Value::as_str)
                    .is_some_and(|kind| NUMBER_TYPES.contains(&kind));
                let subfields = mapping.get("fields").and_then(Value::as_object);
                is_number
                    && mapping.get("copy_to").is_none()
                    && subfields
                        .into_iter()
                        .flatten()
                        .all(|(_, field)| Field::Mapped(field).takes_numbers_by_value())
            }
        }
    }
}

fn object(json: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(json).ok()
}

fn list(json: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json).ok()
}

/// A number without what can be written in several ways: zeros at either end, the place of the point.
#[derive(PartialEq)]
struct Decimal {
    is_negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: String,
    /// The power of ten of the last digit.
    exponent: i64,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        if !text.bytes().next()?.is_ascii_digit() {
            return None;
        }
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        let digits = [whole, fraction].concat();
        let digits = digits.trim_start_matches('0');
        let significant = digits.trim_end_matches('0');
        if significant.is_empty() {
            return Some(Self { is_negative: false, digits: String::new(), exponent: 0 });
        }
        let exponent = exponent.checked_add(i64::try_from(digits.len() - significant.len()).ok()?)?;
        Some(Self { is_negative, digits: significant.to_owned(), exponent })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differing(mapping: &Value, ours: &str, theirs: &str) -> Vec<String> {
        let body = json!({ "mappings": { "properties": mapping } });
        let comparer = Comparer::new(body.as_object().unwrap());
        let theirs = RawValue::from_string(theirs.to_owned()).unwrap();
        comparer.differing_fields(ours.as_bytes(), &theirs).unwrap()
    }

    #[test]
    fn order_space_and_escapes_do_not_count() {
        let none = json!({});
        assert_eq!(
            differing(
                &none,
                r#"{"a":1,"b":[{"c":"é","d":null}]}"#,
                r#"{ "b" : [ {"d":null, "c":"\u00e9"} ], "a":1 }"#
            ),
            [""; 0]
        );
        assert_eq!(differing(&none, r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#), ["a"]);
        assert_eq!(differing(&none, r#"{"a":null,"b":"x"}"#, r#"{"b":"y","c":1}"#), ["a", "b", "c"]);
        assert_eq!(differing(&none, r#"{"a":"1"}"#, r#"{"a":1}"#), ["a"]);
        assert_eq!(differing(&none, r#"{"a":true}"#, r#"{"a":false}"#), ["a"]);
    }

    #[test]
    fn what_an_ingest_pipeline_adds_is_no_difference() {
        let comparer = Comparer { mappings: Value::Null, may_have_more: true };
        let differing = |theirs: &str| {
            let theirs = RawValue::from_string(theirs.to_owned()).unwrap();
            comparer.differing_fields(br#"{"a":1,"b":{"c":1},"d":[{"e":1}]}"#, &theirs).unwrap()
        };
        assert_eq!(differing(r#"{"a":1,"b":{"c":1,"x":2},"d":[{"e":1,"y":3}],"z":4}"#), [""; 0]);
        assert_eq!(differing(r#"{"a":2,"b":{"x":2},"d":[{"e":1},{"e":1}]}"#), ["a", "b", "d"]);
    }

    #[test]
    fn a_number_is_its_value_where_the_mapping_takes_it_so() {
        let same = |kind: &str, ours: &str, theirs: &str| {
            differing(
                &json!({ "a": { "type": kind } }),
                &format!("{{\"a\":{ours}}}"),
                &format!("{{\"a\":{theirs}}}"),
            )
            .is_empty()
        };
        for (left, right) in
            [("1", "1.0"), ("-0", "0.0"), ("120", "1.2e2"), ("0.5", "50E-2"), ("1e2", "100.00")]
        {
            assert!(same("float", left, right), "{left} {right}");
            assert!(!same("keyword", left, right), "{left} {right}");
        }
        for (left, right) in
            [("1", "-1"), ("1", "10"), ("1.01", "1.1"), ("12345678901234567890.1", "12345678901234567890.2")]
        {
            assert!(!same("double", left, right), "{left} {right}");
        }
        let with_text = json!({ "a": { "type": "long", "fields": { "raw": { "type": "keyword" } } } });
        assert_eq!(differing(&with_text, r#"{"a":1}"#, r#"{"a":1.0}"#), ["a"]);
        let flat =
            json!({ "a": { "type": "flattened" }, "b": { "properties": { "c": { "type": "byte" } } } });
        assert_eq!(differing(&flat, r#"{"a":{"x":1}}"#, r#"{"a":{"x":1.0}}"#), ["a"]);
        assert_eq!(differing(&flat, r#"{"b":[{"c":1,"d":2}]}"#, r#"{"b":[{"c":1.0,"d":2.0}]}"#), [""; 0]);
    }
}
