//! One level of an index's mapping: which fields may stand there, and what is said of each.

use serde_json::{Map, Value};

/// The mapping of a document or of an object in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level<'m> {
    properties: Option<&'m Map<String, Value>>,
    is_strict: bool,
}

impl<'m> Level<'m> {
    /// The level of the document, from the `mappings` of an index.
    pub(crate) fn of_document(mappings: &'m Map<String, Value>) -> Self {
        Self { properties: None, is_strict: false }.of_object(mappings)
    }

    /// The level of an object of this level: it is as strict as this one unless it says otherwise.
    pub(crate) fn of_object(self, mapping: &'m Map<String, Value>) -> Self {
        let is_strict = match mapping.get("dynamic") {
            None => self.is_strict,
            Some(Value::String(dynamic)) => dynamic == "strict",
            Some(_) => false,
        };
        Self { properties: mapping.get("properties").and_then(Value::as_object), is_strict }
    }

    /// Whether a field without a property is refused.
    pub(crate) fn is_strict(self) -> bool {
        self.is_strict
    }

    /// The property of that name; a dot in the name leads into an object, as the index server reads it.
    pub(crate) fn property(self, name: &str) -> Option<&'m Map<String, Value>> {
        find(self.properties?, name)
    }

    /// The names of the properties.
    pub(crate) fn names(self) -> impl Iterator<Item = &'m str> {
        self.properties.into_iter().flat_map(Map::keys).map(String::as_str)
    }
}

fn find<'m>(properties: &'m Map<String, Value>, name: &str) -> Option<&'m Map<String, Value>> {
    if let Some(property) = properties.get(name) {
        return property.as_object();
    }
    let (first, rest) = name.split_once('.')?;
    find(properties.get(first)?.get("properties")?.as_object()?, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_level_is_as_strict_as_the_one_above_unless_it_says_otherwise() {
        let mappings = json!({ "dynamic": "strict", "properties": {
            "same": { "properties": { "deep": { "type": "text" } } },
            "open": { "dynamic": true, "properties": { "below": { "properties": {} } } },
            "odd": { "dynamic": "runtime" },
            "no_object": 1,
        }});
        let document = Level::of_document(mappings.as_object().unwrap());
        let below = |level: Level<'_>, name: &str| level.of_object(level.property(name).unwrap()).is_strict();
        assert!(document.is_strict() && below(document, "same"));
        assert!(!below(document, "open") && !below(document, "odd"));
        let open = document.of_object(document.property("open").unwrap());
        assert!(!below(open, "below"));
        assert_eq!(document.property("same.deep").unwrap()["type"], "text");
        assert!(document.property("same.deeper").is_none() && document.property("no_object").is_none());
        assert_eq!(document.names().collect::<Vec<_>>(), ["same", "open", "odd", "no_object"]);
        assert!(!Level::of_document(&Map::new()).is_strict());
    }
}
