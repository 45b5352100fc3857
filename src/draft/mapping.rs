//! The mapping file of a draft.

use serde_json::{Map, Value, json};

use crate::draft::types::mapping_of;
use crate::postgres::SurveyedColumn;

/// The most fields of a mapping that index servers take by themselves.
const FIELD_LIMIT: usize = 1_000;

/// The properties of one level of a document.
#[derive(Debug, Default)]
pub(super) struct Properties(Map<String, Value>);

impl Properties {
    /// Adds a column's field; returns whether it can be searched.
    pub(super) fn column(&mut self, field: &str, column: &SurveyedColumn) -> bool {
        let (mapping, is_searched) = mapping_of(column);
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
        let count = field_count(&body["mappings"]);
        if count > FIELD_LIMIT {
            body["settings"] = json!({ "index.mapping.total_fields.limit": count + FIELD_LIMIT });
        }
        format!("{body:#}\n")
    }
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
