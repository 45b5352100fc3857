//! The mapping file of a draft.

use serde_json::{Map, Value, json};

use crate::postgres::SurveyedColumn;

/// The most fields of a mapping that index servers take by themselves.
const FIELD_LIMIT: usize = 1_000;

/// The same of nested fields.
const NESTED_LIMIT: usize = 50;

/// The properties of one level of a document.
#[derive(Debug, Default)]
pub(super) struct Properties(Map<String, Value>);

impl Properties {
    /// Adds a column's field; returns whether it can be searched.
    pub(super) fn column(&mut self, field: &str, column: &SurveyedColumn) -> bool {
        let mapping = forgiving(column.form.proposed_field());
        let is_searched = mapping != unindexed();
        self.0.insert(field.to_owned(), mapping);
        is_searched
    }

    /// Adds an object, or a list of objects.
    pub(super) fn object(&mut self, field: &str, Self(properties): Self, is_list: bool) {
        let properties = Value::Object(properties);
        let mapping = if is_list {
            json!({ "type": "nested", "properties": properties })
        } else {
            json!({ "properties": properties })
        };
        self.0.insert(field.to_owned(), mapping);
    }

    /// The whole file.
    pub(super) fn into_file(self) -> String {
        let mut body = json!({ "mappings": { "dynamic": "strict", "properties": self.0 } });
        let mut settings = Map::new();
        let count = field_count(&body["mappings"]);
        if count > FIELD_LIMIT {
            settings.insert("index.mapping.total_fields.limit".to_owned(), json!(count + FIELD_LIMIT));
        }
        let count = nested_count(&body["mappings"]);
        if count > NESTED_LIMIT {
            settings.insert("index.mapping.nested_fields.limit".to_owned(), json!(count + NESTED_LIMIT));
        }
        if !settings.is_empty() {
            body["settings"] = Value::Object(settings);
        }
        format!("{body:#}\n")
    }
}

/// A field that takes every value that there may be: a draft must make no dead letters. What cannot be indexed stays in
/// the document.
fn forgiving(mut field: Value) -> Value {
    if let Some(properties) = field.get_mut("properties").and_then(Value::as_object_mut) {
        // The names of a composite's fields are PostgreSQL's; some mean something else in a mapping, or nothing.
        if properties.keys().any(|name| !is_plain(name)) {
            return unindexed();
        }
        for property in properties.values_mut() {
            *property = forgiving(property.take());
        }
        return field;
    }
    match field["type"].as_str() {
        // Numbers beyond a double, years after 9999, coordinates that are not on the earth.
        Some("double" | "date" | "geo_point" | "geo_shape") => field["ignore_malformed"] = json!(true),
        // A range that is shorter than the field's resolution is refused, and one of years after 9999. `dense_vector` is
        // not known to every server, and refuses vectors of other dimensions than the first.
        Some("float_range" | "double_range" | "date_range" | "dense_vector") => return unindexed(),
        _ => {}
    }
    field
}

fn is_plain(name: &str) -> bool {
    name.trim() == name && !name.is_empty() && !name.contains(['.', '*', '\\', '"'])
}

/// The mapping of a field whose values are kept in the document, whatever they are.
fn unindexed() -> Value {
    json!({ "type": "object", "enabled": false })
}

/// Fields, objects and subfields count alike.
fn field_count(mapping: &Value) -> usize {
    ["properties", "fields"]
        .iter()
        .filter_map(|name| mapping.get(name)?.as_object())
        .flat_map(|fields| fields.values())
        .map(|field| 1 + field_count(field))
        .sum()
}

fn nested_count(mapping: &Value) -> usize {
    let fields = mapping.get("properties").and_then(Value::as_object);
    fields
        .into_iter()
        .flat_map(Map::values)
        .map(|field| usize::from(field["type"] == "nested") + nested_count(field))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::Form;

    #[test]
    fn a_draft_takes_what_a_strict_field_would_refuse() {
        let of = |form: Form| forgiving(form.proposed_field());
        assert_eq!(of(Form::Date), json!({ "type": "date", "ignore_malformed": true }));
        assert_eq!(of(Form::Range(Box::new(Form::Timestamp))), unindexed());
        assert_eq!(of(Form::Range(Box::new(Form::Integer(32)))), json!({ "type": "integer_range" }));
        let pair = |name: &str| Form::Object(vec![(name.into(), Form::Float(64))]);
        let double = json!({ "type": "double", "ignore_malformed": true });
        assert_eq!(of(pair("a")), json!({ "properties": { "a": double } }));
        assert_eq!(of(pair("a.b")), unindexed());
        let list = Form::List { item: Box::new(pair("*")), delimiter: b',' };
        assert_eq!(of(list), unindexed());
    }

    #[test]
    fn limits_are_raised_for_what_a_draft_has() {
        let mut many = Properties::default();
        for number in 0..60 {
            many.object(&format!("n{number}"), Properties::default(), true);
        }
        let file: Value = serde_json::from_str(&many.into_file()).unwrap();
        assert_eq!(file["settings"], json!({ "index.mapping.nested_fields.limit": 110 }));
    }
}
