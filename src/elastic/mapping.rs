//! The mapping of an index: our mark in it, and whether one that we did not make fits a definition.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::elastic::fresh::OwnSettings;
use crate::elastic::index_settings::{IndexSettings, with_gc_deletes};
use crate::error::{Error, Result};

/// The format of the mark that this version writes.
pub const MARK_FORMAT: u32 = 1;

const META: &str = "_meta";
const MARK: &str = "pgsluice";

/// The mark that an index of ours carries in `_meta.pgsluice` of its mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnershipMark {
    /// The format of the mark; 1.
    pub format: u32,
    /// The hash of the definition whose documents it holds.
    pub definition_hash: String,
    /// The identity of the source that its documents come from.
    pub source: String,
    /// What the index had of its own before the settings of a first load, which it has while this is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_load: Option<OwnSettings>,
}

/// Reads the mark of a mapping; none if it carries none.
///
/// Fails on a mark that this version cannot read, as a newer one may have written.
pub(crate) fn read_mark(index: &str, mappings: &Map<String, Value>) -> Result<Option<OwnershipMark>> {
    #[derive(Deserialize)]
    struct AnyMark {
        format: u32,
    }
    let Some(mark) = mappings.get(META).and_then(|meta| meta.get(MARK)) else { return Ok(None) };
    let unreadable = |error: serde_json::Error| {
        Error::wrong(format!("cannot read the mark of {index} (_meta.{MARK} of its mapping)"))
            .because(error)
            .hint("remove the mark and adopt the index with --adopt, or use another index")
    };
    let AnyMark { format } = AnyMark::deserialize(mark).map_err(unreadable)?;
    if format > MARK_FORMAT {
        return Err(Error::wrong(format!("{index} was made by a newer pgsluice (mark of format {format})"))
            .hint("use that version, or another index"));
    }
    OwnershipMark::deserialize(mark).map(Some).map_err(unreadable)
}

/// Makes the `_meta` of a mapping with our mark, all else in it kept.
pub(crate) fn meta_with_mark(mappings: &Map<String, Value>, mark: &Value) -> Value {
    let mut meta = mappings.get(META).and_then(Value::as_object).cloned().unwrap_or_default();
    meta.insert(MARK.to_owned(), mark.clone());
    Value::Object(meta)
}

/// Makes the body of a request that adds fields: the definition's mapping, with the mark that the index
/// carries.
///
/// A mapping without `_meta` leaves the index's own alone; one with it would replace it and lose the mark.
pub(crate) fn additions(wanted: &Map<String, Value>, found: &Map<String, Value>) -> Map<String, Value> {
    let mut body = wanted.clone();
    let mark = found.get(META).and_then(|meta| meta.get(MARK));
    if let (true, Some(mark)) = (body.contains_key(META), mark) {
        body.insert(META.to_owned(), meta_with_mark(wanted, mark));
    }
    body
}

/// Makes the body of the request that creates a generation: the definition's, with both aliases, the mark and
/// `index.gc_deletes`.
pub(crate) fn creation_body(
    index_body: &Map<String, Value>,
    alias: &str,
    write_alias: &str,
    mark: &OwnershipMark,
) -> Result<Map<String, Value>> {
    let mut body = index_body.clone();
    let settings = with_gc_deletes(&section(index_body, "settings")?);
    let mut mappings = section(index_body, "mappings")?;
    let meta = meta_with_mark(&mappings, &json!(mark));
    mappings.insert(META.to_owned(), meta);
    let mut aliases = section(index_body, "aliases")?;
    aliases.entry(alias).or_insert_with(|| json!({}));
    aliases.insert(write_alias.to_owned(), json!({ "is_write_index": true }));
    body.insert("settings".to_owned(), Value::Object(settings));
    body.insert("mappings".to_owned(), Value::Object(mappings));
    body.insert("aliases".to_owned(), Value::Object(aliases));
    Ok(body)
}

/// A section of the index body; empty if it is not there.
pub(crate) fn section(index_body: &Map<String, Value>, name: &str) -> Result<Map<String, Value>> {
    match index_body.get(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(section)) => Ok(section.clone()),
        Some(_) => Err(Error::wrong(format!("{name} of the mapping file is no object"))),
    }
}

/// Returns what an index lacks of what a definition's index body asks for, one sentence each.
///
/// It fits if every field is there with the same type, analyzer and normalizer, through objects and
/// multi-fields, and every analyzer of the file means the same there. What the index has besides does no
/// harm.
pub(crate) fn misfits(
    wanted_mappings: &Map<String, Value>,
    wanted_settings: &Map<String, Value>,
    found_mappings: &Map<String, Value>,
    found_settings: &Map<String, Value>,
) -> Vec<String> {
    let mut misfits = Vec::new();
    compare_fields("", wanted_mappings, found_mappings, &mut misfits);
    let (wanted, found) = (IndexSettings::new(wanted_settings), IndexSettings::new(found_settings));
    misfits.extend(wanted.analysis_differences(&found));
    misfits
}

fn compare_fields(
    prefix: &str,
    wanted: &Map<String, Value>,
    found: &Map<String, Value>,
    misfits: &mut Vec<String>,
) {
    for below in ["properties", "fields"] {
        let Some(wanted_fields) = wanted.get(below).and_then(Value::as_object) else { continue };
        let found_fields = found.get(below).and_then(Value::as_object);
        for (name, wanted_field) in wanted_fields {
            let path = format!("{prefix}{name}");
            let Some(wanted_field) = wanted_field.as_object() else { continue };
            let found_field = found_fields.and_then(|fields| fields.get(name)).and_then(Value::as_object);
            let Some(found_field) = found_field else {
                misfits.push(format!("{path} is missing and must be {}", type_of(wanted_field)));
                continue;
            };
            let (wanted_type, found_type) = (type_of(wanted_field), type_of(found_field));
            if wanted_type != found_type {
                misfits.push(format!("{path} is {found_type} and must be {wanted_type}"));
                continue;
            }
            for (attribute, default) in [("analyzer", "default"), ("normalizer", "none")] {
                let of = |field: &Map<String, Value>| {
                    field.get(attribute).and_then(Value::as_str).unwrap_or(default).to_owned()
                };
                let (wanted_value, found_value) = (of(wanted_field), of(found_field));
                if wanted_value != found_value {
                    misfits.push(format!(
                        "{path} has the {attribute} {found_value} and must have {wanted_value}"
                    ));
                }
            }
            compare_fields(&format!("{path}."), wanted_field, found_field, misfits);
        }
    }
}

/// A field without a type is an object.
fn type_of(field: &Map<String, Value>) -> &str {
    field.get("type").and_then(Value::as_str).unwrap_or("object")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!("{value} is no object") };
        object
    }

    fn mark() -> OwnershipMark {
        OwnershipMark { format: 1, definition_hash: "d".to_owned(), source: "s".to_owned(), first_load: None }
    }

    #[test]
    fn a_new_generation_has_both_aliases_the_mark_and_what_the_user_wrote() {
        let file = object(json!({
            "settings": { "refresh_interval": "1s" },
            "mappings": { "dynamic": "strict", "_meta": { "owner": "search" }, "properties": {} },
            "aliases": { "films": {} },
        }));
        let body = creation_body(&file, "movies", "movies-1-write", &mark()).unwrap();
        assert_eq!(
            Value::Object(body.clone()),
            json!({
                "settings": { "refresh_interval": "1s", "index.gc_deletes": "600s" },
                "mappings": {
                    "dynamic": "strict",
                    "_meta": { "owner": "search", "pgsluice": { "format": 1, "definition_hash": "d", "source": "s" } },
                    "properties": {},
                },
                "aliases": { "films": {}, "movies": {}, "movies-1-write": { "is_write_index": true } },
            })
        );
        let mappings = body["mappings"].as_object().unwrap();
        assert_eq!(read_mark("movies-1", mappings).unwrap(), Some(mark()));
        assert!(creation_body(&object(json!({ "settings": 1 })), "a", "b", &mark()).is_err());
    }

    #[test]
    fn a_mark_of_a_newer_version_or_a_broken_one_is_refused() {
        let with = |mark: Value| object(json!({ "_meta": { "pgsluice": mark } }));
        let newer = read_mark("movies", &with(json!({ "format": 2, "hash": "x" }))).unwrap_err();
        assert!(newer.story().contains("newer"), "{newer:?}");
        assert!(read_mark("movies", &with(json!("mine"))).is_err());
        assert_eq!(read_mark("movies", &Map::new()).unwrap(), None);
    }

    #[test]
    fn additions_keep_the_mark() {
        let found = object(json!({ "_meta": { "pgsluice": { "format": 1 }, "old": 1 } }));
        let wanted = object(json!({ "_meta": { "owner": "search" }, "properties": {} }));
        assert_eq!(
            additions(&wanted, &found)["_meta"],
            json!({ "owner": "search", "pgsluice": { "format": 1 } })
        );
        assert!(!additions(&object(json!({ "properties": {} })), &found).contains_key("_meta"));
    }

    #[test]
    fn all_misfits_are_listed_through_objects_and_multi_fields() {
        let wanted = object(json!({ "dynamic": "strict", "properties": {
            "id": { "type": "keyword" },
            "title": { "type": "text", "analyzer": "ru_en", "fields": { "raw": { "type": "keyword" } } },
            "people": { "type": "nested", "properties": { "name": { "type": "text", "analyzer": "ru_en" } } },
            "plain": { "properties": { "a": { "type": "float" } } },
        }}));
        assert!(misfits(&wanted, &Map::new(), &wanted, &Map::new()).is_empty());
        let found = object(json!({ "properties": {
            "extra": { "type": "keyword" },
            "id": { "type": "text" },
            "title": { "type": "text" },
            "people": { "type": "nested", "properties": {} },
            "plain": { "type": "object", "properties": { "a": { "type": "float" } } },
        }}));
        assert_eq!(
            misfits(&wanted, &Map::new(), &found, &Map::new()),
            [
                "id is text and must be keyword",
                "title has the analyzer default and must have ru_en",
                "title.raw is missing and must be keyword",
                "people.name is missing and must be text",
            ]
        );
    }
}
