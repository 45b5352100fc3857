//! Reads the mapping file: the body that an index is created with.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::{Map, Value};

use crate::definition::section::Problems;
use crate::definition::{Field, Item, JoinName, Source};
use crate::form::Level;
use crate::suggestion::did_you_mean;

/// Reads the text of a mapping file called `file`.
pub(super) fn parse(json: &str, file: &str, problems: &mut Problems<'_>) -> Option<Map<String, Value>> {
    let json = json.strip_prefix('\u{feff}').unwrap_or(json);
    let body: Value = match serde_json::from_str(json) {
        Ok(body) => body,
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            let text = error.to_string();
            let reason = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
            problems.add_elsewhere(format!("{file} is not JSON: line {line}, column {column}: {reason}"));
            return None;
        }
    };
    let Value::Object(body) = body else {
        problems
            .add_elsewhere(format!("{file} must be a JSON object with mappings and, if wanted, settings"));
        return None;
    };
    let mut is_right = true;
    let mut wrong = |problem: String| {
        problems.add_elsewhere(problem);
        is_right = false;
    };
    for name in body.keys().filter(|name| !["mappings", "settings"].contains(&name.as_str())) {
        let near = did_you_mean(name, ["mappings", "settings"]);
        let cure = if near.is_empty() { ", only mappings and settings may stand there" } else { &near };
        wrong(format!("{file} has an unknown field {name}{cure}"));
    }
    for name in ["mappings", "settings"] {
        match body.get(name) {
            Some(Value::Object(_)) => {}
            None if name == "settings" => {}
            None => wrong(format!("{file} has no mappings, write {{\"mappings\": {{\"properties\": …}}}}")),
            Some(_) => wrong(format!("{file} has {name} that are no JSON object")),
        }
    }
    is_right.then_some(body)
}

/// Refuses fields of the document that a `dynamic: strict` mapping would refuse: a wrong definition would otherwise
/// make a dead letter of every document.
pub(super) fn check_fields(
    body: &Map<String, Value>,
    file: &str,
    document: &[Field],
    places: &HashMap<String, Range<usize>>,
    problems: &mut Problems<'_>,
) {
    let Some(Value::Object(mappings)) = body.get("mappings") else { return };
    Check { file, places, problems }.level(Level::of_document(mappings), document, "");
}

/// Field types that take `{ "lat": …, "lon": … }`.
const TAKES_POINTS: [&str; 5] = ["geo_point", "object", "nested", "flattened", "flat_object"];

struct Check<'c, 't> {
    file: &'c str,
    places: &'c HashMap<String, Range<usize>>,
    problems: &'c mut Problems<'t>,
}

impl Check<'_, '_> {
    /// Checks the fields of a document or object against the mapping of it.
    fn level(&mut self, level: Level<'_>, fields: &[Field], above: &str) {
        for field in fields {
            match &field.source {
                // Its fields stand in this object; their level is this one.
                Source::Inline { fields, .. } => {
                    self.level(level, fields, above);
                    continue;
                }
                // Which members there are, each row says.
                Source::Flatten(_) => continue,
                _ => {}
            }
            let path = if above.is_empty() { field.name.clone() } else { format!("{above}.{}", field.name) };
            let object = match &field.source {
                Source::One { item: Item::Object(fields), .. }
                | Source::List { item: Item::Object(fields), .. } => Some(fields),
                _ => None,
            };
            let Some(property) = level.property(&field.name) else {
                if level.is_strict() {
                    let near = did_you_mean(&field.name, level.names());
                    self.wrong(&path, format!("{} has no property {path} and is strict{near}", self.file));
                }
                continue;
            };
            let kind = property.get("type").and_then(Value::as_str).unwrap_or("object");
            match &field.source {
                Source::Geo { .. } if !TAKES_POINTS.contains(&kind) => {
                    self.wrong(&path, format!("is a point, and {} has {path} as {kind}", self.file));
                }
                Source::Join { name, .. } => self.join(property, kind, name, &path),
                Source::Constant(value) if kind == "object" => {
                    self.constant(level.of_object(property), value, &path);
                }
                _ => {}
            }
            let Some(fields) = object else { continue };
            match kind {
                // Nothing below is mapped where a level is switched off.
                "object" | "nested" if property.get("enabled") == Some(&Value::Bool(false)) => {}
                "object" | "nested" => self.level(level.of_object(property), fields, &path),
                // These take any object as one value.
                "flattened"
                | "flat_object"
                | "join"
                | "geo_point"
                | "geo_shape"
                | "shape"
                | "point"
                | "percolator"
                | "completion"
                | "search_as_you_type"
                | "rank_features"
                | "integer_range"
                | "float_range"
                | "long_range"
                | "double_range"
                | "date_range"
                | "ip_range"
                | "histogram"
                | "aggregate_metric_double" => {}
                other => self.wrong(&path, format!("is an object, and {} has {path} as {other}", self.file)),
            }
        }
    }

    fn join(&mut self, property: &Map<String, Value>, kind: &str, name: &JoinName, path: &str) {
        if kind != "join" {
            self.wrong(path, format!("is a join field, and {} has {path} as {kind}", self.file));
            return;
        }
        let JoinName::Constant(name) = name else { return };
        let mut known = Vec::new();
        for (parent, children) in property.get("relations").and_then(Value::as_object).into_iter().flatten() {
            known.push(parent.as_str());
            match children {
                Value::String(child) => known.push(child),
                Value::Array(children) => known.extend(children.iter().filter_map(Value::as_str)),
                _ => {}
            }
        }
        if !known.contains(&name.as_str()) {
            let near = did_you_mean(name, known.iter().copied());
            let cure = if near.is_empty() { format!(", only {}", known.join(", ")) } else { near };
            self.wrong(path, format!("{} knows no {name} in the relations of {path}{cure}", self.file));
        }
    }

    /// A constant object: its members need properties too where its level is strict.
    fn constant(&mut self, level: Level<'_>, value: &Value, path: &str) {
        for (name, value) in value.as_object().into_iter().flatten() {
            match level.property(name) {
                Some(property) => self.constant(level.of_object(property), value, path),
                None if !level.is_strict() => {}
                None => {
                    let problem = format!("{} has no property {path}.{name} and is strict", self.file);
                    self.wrong(path, problem);
                }
            }
        }
    }

    fn wrong(&mut self, path: &str, problem: String) {
        // A level that repeats itself stands where its first one is written.
        let mut known = path;
        let span = loop {
            match (self.places.get(known), known.rsplit_once('.')) {
                (Some(span), _) => break span.clone(),
                (None, Some((above, _))) => known = above,
                (None, None) => break 0..0,
            }
        };
        self.problems.add(&span, &format!("document.{path}"), problem);
    }
}
