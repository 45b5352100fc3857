//! Whether the values of a document can be written into the fields of a mapping, and found there.
//!
//! What is said here of index servers was tried on them (Elasticsearch 8.16, OpenSearch 2.19). Of a field type that is
//! not named here nothing is said.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::form::Form;
use crate::form::field_fit::{Verdict, verdict};
use crate::form::level::Level;

/// What a document has in a field.
#[derive(Clone, Debug)]
pub enum Part {
    /// A value of this form.
    Value(Cow<'static, Form>),
    /// An object.
    Object(Vec<(String, Part)>),
    /// A list.
    List(Box<Part>),
}

impl Part {
    /// The part that a value of this form is: arrays are lists, composites are objects.
    pub fn of(form: Cow<'static, Form>) -> Self {
        match form.as_ref() {
            Form::List { item, .. } => Self::List(Box::new(Self::of(Cow::Owned((**item).clone())))),
            Form::Multirange(bound) => {
                Self::List(Box::new(Self::Value(Cow::Owned(Form::Range(bound.clone())))))
            }
            Form::Object(fields) => Self::Object(
                fields
                    .iter()
                    .map(|(name, form)| (name.to_string(), Self::of(Cow::Owned(form.clone()))))
                    .collect(),
            ),
            _ => Self::Value(form),
        }
    }
}

/// How grave it is that a value and a field do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Worth knowing.
    Note,
    /// Some documents could be refused, or not be found as one would expect.
    Doubtful,
    /// Every document with a value there is refused.
    Wrong,
}

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    /// The field, as `people.name`.
    pub path: String,
    /// How grave it is.
    pub grade: Grade,
    /// What is the matter.
    pub message: String,
    /// How the field could be mapped instead.
    pub cure: Option<String>,
}

/// Compares a document with the `mappings` of an index; each misfit once, by path.
pub fn misfits(mappings: &Map<String, Value>, document: &[(String, Part)]) -> Vec<Fit> {
    let mut comparison = Comparison { found: BTreeSet::new() };
    comparison.level(Level::of_document(mappings), document, "");
    comparison.found.into_iter().collect()
}

struct Comparison {
    found: BTreeSet<Fit>,
}

impl Comparison {
    /// Compares the fields of an object with the mapping of it.
    fn level(&mut self, level: Level<'_>, fields: &[(String, Part)], above: &str) {
        for (name, part) in fields {
            let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            self.note_unknown(part, &path);
            match (level.property(name), level.is_strict()) {
                (Some(property), _) => self.field(level, property, part, false, &path),
                (None, true) => {
                    let message = "the mapping has no such property and is strict".to_owned();
                    self.add(&path, Grade::Wrong, message, Some(format!("add it: {}", proposal(part))));
                }
                (None, false) => {}
            }
        }
    }

    fn field(
        &mut self,
        level: Level<'_>,
        property: &Map<String, Value>,
        part: &Part,
        is_in_list: bool,
        path: &str,
    ) {
        if property.get("enabled") == Some(&Value::Bool(false)) {
            return;
        }
        let kind = property.get("type").and_then(Value::as_str).unwrap_or("object");
        let mapped = format!("and the mapping has {kind}");
        match part {
            Part::List(item) => self.field(level, property, item, true, path),
            Part::Object(fields) => match kind {
                "object" | "nested" => {
                    if is_in_list && kind == "object" && fields.len() > 1 {
                        self.add(
                            path,
                            Grade::Doubtful,
                            "is a list of objects mapped as object, which mixes the fields of all of them: a search \
                             finds values that stand in different ones together"
                                .to_owned(),
                            Some("map it as nested, unless that does no harm".to_owned()),
                        );
                    }
                    self.level(level.of_object(property), fields, path);
                }
                _ if takes_objects(kind) => {}
                _ => self.add(
                    path,
                    Grade::Wrong,
                    format!("is an object, {mapped}"),
                    Some(format!("map it as {}", if is_in_list { "nested" } else { "object" })),
                ),
            },
            Part::Value(form) => {
                let what = format!("{}{}", if is_in_list { "is a list of " } else { "is " }, form.describe());
                let may_be_left_out = property.get("ignore_malformed") == Some(&Value::Bool(true));
                let (grade, reason) = match verdict(kind, property, form, is_in_list) {
                    Verdict::Fits => return,
                    Verdict::Refused if may_be_left_out => {
                        (Grade::Doubtful, ": no value can be found by this field".to_owned())
                    }
                    Verdict::Refused => (Grade::Wrong, ": every value is refused".to_owned()),
                    Verdict::MayBeRefused(_) if may_be_left_out => return,
                    Verdict::MayBeRefused(which) => (Grade::Doubtful, format!(": {which}")),
                    Verdict::Inexact(how) => (Grade::Doubtful, format!(": {how}")),
                };
                // Of what cannot be told exactly there may be no better field than the one that is there.
                let proposed = form.proposed_field();
                let cure = (proposed["type"] != kind).then(|| format!("a mapping for it: {proposed}"));
                self.add(path, grade, format!("{what}, {mapped}{reason}"), cure);
            }
        }
    }

    fn note_unknown(&mut self, part: &Part, path: &str) {
        match part {
            Part::Value(form) => {
                if let Form::Plain { unknown: Some(name) } = form.as_ref() {
                    let message =
                        format!("is of the type {name}, and is sent as PostgreSQL's own text of it");
                    self.add(path, Grade::Note, message, None);
                }
            }
            Part::List(item) => self.note_unknown(item, path),
            Part::Object(_) => {}
        }
    }

    fn add(&mut self, path: &str, grade: Grade, message: String, cure: Option<String>) {
        self.found.insert(Fit { path: path.to_owned(), grade, message, cure });
    }
}

fn proposal(part: &Part) -> Value {
    match part {
        Part::Value(form) => form.proposed_field(),
        Part::List(item) => proposal(item),
        Part::Object(fields) => {
            let properties: Map<String, Value> =
                fields.iter().map(|(name, part)| (name.clone(), proposal(part))).collect();
            serde_json::json!({ "properties": properties })
        }
    }
}

/// Whether a field of that type takes any object as one value.
fn takes_objects(kind: &str) -> bool {
    kind.ends_with("_range")
        || matches!(
            kind,
            "flattened"
                | "flat_object"
                | "join"
                | "geo_point"
                | "geo_shape"
                | "shape"
                | "point"
                | "xy_point"
                | "xy_shape"
                | "percolator"
                | "completion"
                | "search_as_you_type"
                | "rank_features"
                | "sparse_vector"
                | "histogram"
                | "aggregate_metric_double"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(mapping: &Value, fields: &[(&str, Part)]) -> Vec<(String, Grade, String)> {
        let fields: Vec<_> = fields.iter().map(|(name, part)| ((*name).to_owned(), part.clone())).collect();
        misfits(mapping.as_object().unwrap(), &fields)
            .into_iter()
            .map(|fit| (fit.path, fit.grade, fit.message))
            .collect()
    }

    fn value(form: Form) -> Part {
        Part::of(Cow::Owned(form))
    }

    #[test]
    fn lists_of_objects_want_nested_and_no_object_takes_a_value() {
        let mapping = json!({ "properties": {
            "people": { "properties": { "id": { "type": "keyword" }, "age": { "type": "integer" } } },
            "tags": { "type": "object" },
            "address": { "type": "keyword" },
        }});
        let person =
            Part::Object(vec![("id".to_owned(), value(Form::Uuid)), ("age".to_owned(), value(Form::Date))]);
        let tags = Part::List(Box::new(value(Form::Text)));
        let found = found(
            &mapping,
            &[("people", Part::List(Box::new(person.clone()))), ("tags", tags), ("address", person)],
        );
        let summary: Vec<(&str, Grade)> =
            found.iter().map(|(path, grade, _)| (path.as_str(), *grade)).collect();
        assert_eq!(
            summary,
            [
                ("address", Grade::Wrong),
                ("people", Grade::Doubtful),
                ("people.age", Grade::Wrong),
                ("tags", Grade::Wrong)
            ]
        );
        assert_eq!(found[3].2, "is a list of text, and the mapping has object: every value is refused");
    }

    #[test]
    fn a_strict_mapping_wants_the_fields_of_a_composite() {
        let pair = Form::Object(vec![("a".into(), Form::Text), ("b".into(), Form::Text)]);
        let mapping = json!({ "dynamic": "strict", "properties": {
            "pair": { "properties": { "a": { "type": "text" } } },
        }});
        assert_eq!(found(&mapping, &[("pair", value(pair))])[0].0, "pair.b");
    }

    #[test]
    fn what_is_not_indexed_or_may_be_malformed_is_not_refused() {
        let mapping = json!({ "properties": {
            "a": { "type": "object", "enabled": false },
            "b": { "type": "ip", "ignore_malformed": true },
        }});
        assert_eq!(found(&mapping, &[("a", value(Form::Json)), ("b", value(Form::Ip))]), []);
    }

    #[test]
    fn an_unknown_type_is_noted() {
        let odd = Form::Plain { unknown: Some("isbn".into()) };
        let found = found(&json!({}), &[("code", value(odd))]);
        assert_eq!(found[0].1, Grade::Note);
        assert!(found[0].2.contains("isbn"));
    }
}
