//! The index of a definition: found, created, or adopted.
//!
//! The definition names an alias. Behind it stands one physical index, the generation, with a second, private alias
//! through which alone pgsluice writes. An index that we made carries our mark; one without it is written to only when it
//! is adopted. [`inspect`] looks, [`decide`] says what is to be done, [`ensure_generation`] does it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use crate::elastic::client::{Client, path_segment};
use crate::elastic::documents::{document_count, refresh};
use crate::elastic::failure::{refusal, successful};
use crate::elastic::index_settings::{GC_DELETES, IndexSettings};
use crate::elastic::mapping::{
    OwnershipMark, additions, creation_body, meta_with_mark, misfits, read_mark, section,
};
use crate::error::{Error, Result};

/// How often a creation is tried that meets another's index of the same second.
const CREATION_ATTEMPTS: u32 = 3;

const RESYNC_CURE: &str = "point the alias at it again, or load the index anew with `pgsluice resync`";

/// What is asked of an index.
#[derive(Clone, Copy, Debug)]
pub struct EnsureRequest<'a> {
    /// The definition's alias.
    pub alias: &'a str,
    /// Settings and mappings of the definition.
    pub index_body: &'a Map<String, Value>,
    /// The mark to write into an index that is created or adopted.
    pub mark: &'a OwnershipMark,
    /// Whether an index that holds documents and no mark may be adopted.
    pub adopt: bool,
    /// The generation that the state remembers.
    pub known_generation: Option<&'a str>,
}

/// An index that is ready to be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensured {
    /// The physical index.
    pub generation: String,
    /// The alias to write through.
    pub write_alias: String,
    /// Whether it was created now.
    pub created: bool,
    /// Documents in it.
    pub document_count: u64,
    /// The mark that it carried; none if it was created or adopted now.
    pub mark: Option<OwnershipMark>,
    /// What the operator should know.
    pub notices: Vec<String>,
}

/// What stands under an alias.
#[derive(Clone, Debug)]
pub enum Inspected {
    /// Nothing.
    Missing,
    /// One index.
    Found(Box<FoundIndex>),
    /// Several indices: their names.
    Several(Vec<String>),
}

/// An index as it was found.
#[derive(Clone, Debug)]
pub struct FoundIndex {
    /// The physical index.
    pub generation: String,
    /// The alias to write through, whether it is there or not.
    pub write_alias: String,
    /// The indices that the write alias points at.
    pub write_alias_targets: Vec<String>,
    /// The mark that it carries.
    pub mark: Option<OwnershipMark>,
    /// Documents that a search can see.
    pub document_count: u64,
    /// What the operator should know.
    pub notices: Vec<String>,
    mappings: Map<String, Value>,
    settings: Map<String, Value>,
}

/// What has to be done before an index can be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is to be created.
    Create,
    /// It is there, and ours.
    Use,
    /// It is there without our mark, and fits: the mark is to be written.
    Adopt,
}

/// The name of a generation of `alias` that begins at `now`.
fn generation_name(alias: &str, now: DateTime<Utc>) -> String {
    format!("{alias}-{}", now.format("%Y%m%dt%H%M%S"))
}

fn write_alias_of(generation: &str) -> String {
    format!("{generation}-write")
}

/// Looks at what stands under `alias`; changes nothing.
pub fn inspect(client: &Client, alias: &str) -> Result<Inspected> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        mappings: Map<String, Value>,
        #[serde(default)]
        settings: Map<String, Value>,
    }
    let attempt = format!("cannot look at the index {alias}");
    let found: Option<BTreeMap<String, Index>> =
        client.get_if_found(&format!("/{}", path_segment(alias)), &attempt)?;
    let mut found = found.unwrap_or_default();
    if found.len() > 1 {
        return Ok(Inspected::Several(found.into_keys().collect()));
    }
    let Some((generation, Index { mappings, settings })) = found.pop_first() else {
        return Ok(Inspected::Missing);
    };
    let write_alias = write_alias_of(&generation);
    let write_alias_targets = alias_targets(client, &write_alias)?;
    let mark = read_mark(&generation, &mappings)?;
    let document_count = document_count(client, &generation)?;
    let notices = notices(&generation, &settings);
    Ok(Inspected::Found(Box::new(FoundIndex {
        generation,
        write_alias,
        write_alias_targets,
        mark,
        document_count,
        notices,
        mappings,
        settings,
    })))
}

fn alias_targets(client: &Client, alias: &str) -> Result<Vec<String>> {
    let attempt = format!("cannot look at the alias {alias}");
    let found: Option<BTreeMap<String, serde::de::IgnoredAny>> =
        client.get_if_found(&format!("/_alias/{}", path_segment(alias)), &attempt)?;
    Ok(found.unwrap_or_default().into_keys().collect())
}

fn notices(generation: &str, settings: &Map<String, Value>) -> Vec<String> {
    let remembered = IndexSettings::new(settings).gc_deletes();
    if remembered.is_some_and(|remembered| remembered >= GC_DELETES) {
        return Vec::new();
    }
    let remembered =
        remembered.map_or("a time that cannot be read".to_owned(), |time| format!("{} s", time.as_secs()));
    vec![format!(
        "{generation} remembers deletions for {remembered}: a request that is delayed for longer can bring a deleted \
         document back until the next verify; set index.gc_deletes to {} s",
        GC_DELETES.as_secs()
    )]
}

/// Says what has to be done with what was found, or why it cannot be used; changes nothing.
pub fn decide(inspected: &Inspected, request: &EnsureRequest<'_>) -> Result<Step> {
    let EnsureRequest { alias, index_body, mark: _, adopt, known_generation } = *request;
    let found = match inspected {
        Inspected::Missing => {
            return match known_generation {
                None => Ok(Step::Create),
                Some(known) => Err(Error::wrong(format!(
                    "{alias} is gone; this state has loaded the index {known} behind it"
                ))
                .hint(RESYNC_CURE)),
            };
        }
        Inspected::Several(names) => {
            return Err(Error::wrong(format!(
                "the alias {alias} points at several indices: {}",
                names.join(", ")
            ))
            .hint("leave it on one, or name another index in the definition"));
        }
        Inspected::Found(found) => found,
    };
    if let Some(known) = known_generation
        && known != found.generation
    {
        return Err(Error::wrong(format!(
            "{alias} is the index {}; this state has loaded the index {known}",
            found.generation
        ))
        .hint(RESYNC_CURE));
    }
    if let Some(other) = found.write_alias_targets.iter().find(|target| **target != found.generation) {
        return Err(Error::wrong(format!("the alias {} points at {other}", found.write_alias))
            .hint(format!("remove it there; pgsluice writes to {} through it", found.generation)));
    }
    if found.mark.is_some() {
        return Ok(Step::Use);
    }
    let misfits = misfits(
        &section(index_body, "mappings")?,
        &section(index_body, "settings")?,
        &found.mappings,
        &found.settings,
    );
    if !misfits.is_empty() {
        return Err(Error::wrong(format!(
            "the index {} was not made by pgsluice and does not fit the definition: {}",
            found.generation,
            misfits.join("; ")
        ))
        .hint("change the mapping file or name another index in the definition"));
    }
    if found.document_count > 0 && !adopt {
        return Err(Error::wrong(format!(
            "the index {} was not made by pgsluice and holds {} documents",
            found.generation, found.document_count
        ))
        .hint("--adopt takes it over: documents without a row are removed, all others are written anew"));
    }
    Ok(Step::Adopt)
}

/// Makes sure that the alias stands for one index of ours with its write alias; creates or adopts it if need be.
///
/// What an index of ours was made from is told by its mark, which the caller compares with what it expects.
pub fn ensure_generation(client: &Client, request: &EnsureRequest<'_>) -> Result<Ensured> {
    for _ in 0..CREATION_ATTEMPTS {
        let mut inspected = inspect(client, request.alias)?;
        // A count knows only what a refresh has made visible: not enough to call a strange index empty.
        if let Inspected::Found(found) = &mut inspected
            && found.mark.is_none()
        {
            refresh(client, &found.generation)?;
            found.document_count = document_count(client, &found.generation)?;
        }
        let step = decide(&inspected, request)?;
        match (step, inspected) {
            (Step::Use, Inspected::Found(found)) => {
                add_write_alias(client, &found)?;
                return Ok(ensured(*found, false));
            }
            (Step::Adopt, Inspected::Found(found)) => {
                put_mark(client, &found.generation, request.mark)?;
                add_write_alias(client, &found)?;
                return Ok(ensured(*found, false));
            }
            _ => {
                if let Some(created) = create(client, request)? {
                    return Ok(created);
                }
            }
        }
    }
    Err(Error::unreachable(format!(
        "cannot create the index {}: another process creates it too",
        request.alias
    )))
}

fn ensured(found: FoundIndex, created: bool) -> Ensured {
    let FoundIndex { generation, write_alias, mark, document_count, notices, .. } = found;
    Ensured { generation, write_alias, created, document_count, mark, notices }
}

/// Creates a generation with both its aliases in one request; returns nothing if another process was quicker.
fn create(client: &Client, request: &EnsureRequest<'_>) -> Result<Option<Ensured>> {
    let generation = generation_name(request.alias, Utc::now());
    let write_alias = write_alias_of(&generation);
    let body = creation_body(request.index_body, request.alias, &write_alias, request.mark)?;
    let attempt = format!("cannot create the index {generation}");
    let response = client.send(Method::PUT, &format!("/{}", path_segment(&generation)), &body, &attempt)?;
    if !response.is_success() {
        let cause = response.cause();
        // Also ours, if the first answer was lost and the request was sent to a second node.
        if cause.is_some_and(|cause| cause.error_type == "resource_already_exists_exception") {
            return Ok(None);
        }
        let error = refusal(&response, &attempt);
        // A 400 speaks of the body, which is the user's file.
        return Err(if response.status == 400 {
            error.hint("correct the settings and mappings of the mapping file")
        } else {
            error
        });
    }
    // Two processes that found nothing at the same time have both created an index: neither may go on.
    match inspect(client, request.alias)? {
        Inspected::Found(found) if found.generation == generation => {
            let mut ensured = ensured(*found, true);
            ensured.mark = None;
            Ok(Some(ensured))
        }
        Inspected::Found(_) | Inspected::Missing => Ok(None),
        several @ Inspected::Several(_) => decide(&several, request).map(|_| None),
    }
}

fn add_write_alias(client: &Client, found: &FoundIndex) -> Result<()> {
    if found.write_alias_targets.contains(&found.generation) {
        return Ok(());
    }
    let attempt = format!("cannot add the alias {} to {}", found.write_alias, found.generation);
    let add =
        json!({ "add": { "index": found.generation, "alias": found.write_alias, "is_write_index": true } });
    let response = client.send(Method::POST, "/_aliases", &json!({ "actions": [add] }), &attempt)?;
    successful(response, &attempt).map(|_| ())
}

/// Writes our mark into the mapping of an index; keeps whatever else `_meta` holds.
pub fn put_mark(client: &Client, index: &str, mark: &OwnershipMark) -> Result<()> {
    let mappings = get_mappings(client, index)?;
    let attempt = format!("cannot mark the index {index}");
    let body = json!({ "_meta": meta_with_mark(&mappings, &json!(mark)) });
    let response = client.send(Method::PUT, &mapping_path(index), &body, &attempt)?;
    successful(response, &attempt).map(|_| ())
}

/// Adds the fields of a definition's `mappings` to an index; the mark stays as it is.
///
/// Fails if a field that is there would have to change: no index can do that in place.
pub fn put_mapping_additions(client: &Client, index: &str, mappings: &Map<String, Value>) -> Result<()> {
    let found = get_mappings(client, index)?;
    let attempt = format!("cannot add the definition's fields to the index {index}");
    let response = client.send(Method::PUT, &mapping_path(index), &additions(mappings, &found), &attempt)?;
    if response.status == 400 {
        return Err(refusal(&response, &attempt)
            .hint("neither the type nor the analyzer of a field can change in place: name another index in the definition"));
    }
    successful(response, &attempt).map(|_| ())
}

fn get_mappings(client: &Client, index: &str) -> Result<Map<String, Value>> {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        mappings: Map<String, Value>,
    }
    let attempt = format!("cannot read the mapping of {index}");
    let mut found: BTreeMap<String, Index> = client.get(&mapping_path(index), &attempt)?;
    found
        .pop_first()
        .map(|(_, index)| index.mappings)
        .ok_or_else(|| Error::wrong(format!("{attempt}: there is no such index")))
}

fn mapping_path(index: &str) -> String {
    format!("/{}/_mapping", path_segment(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mark: bool, document_count: u64) -> FoundIndex {
        let mark = mark.then(mark_of_test);
        FoundIndex {
            generation: "movies-1".to_owned(),
            write_alias: "movies-1-write".to_owned(),
            write_alias_targets: Vec::new(),
            mark,
            document_count,
            notices: Vec::new(),
            mappings: serde_json::from_value(json!({ "properties": { "id": { "type": "keyword" } } }))
                .unwrap(),
            settings: Map::new(),
        }
    }

    fn mark_of_test() -> OwnershipMark {
        OwnershipMark { format: 1, definition_hash: "d".to_owned(), source: "s".to_owned() }
    }

    fn decide_on(
        inspected: &Inspected,
        field_type: &str,
        adopt: bool,
        known_generation: Option<&str>,
    ) -> Result<Step> {
        let index_body = json!({ "mappings": { "properties": { "id": { "type": field_type } } } });
        decide(
            inspected,
            &EnsureRequest {
                alias: "movies",
                index_body: index_body.as_object().unwrap(),
                mark: &mark_of_test(),
                adopt,
                known_generation,
            },
        )
    }

    fn on(found: FoundIndex) -> Inspected {
        Inspected::Found(Box::new(found))
    }

    #[test]
    fn generations_are_named_by_the_second_they_began() {
        let now = DateTime::parse_from_rfc3339("2026-11-23T10:15:00Z").unwrap().to_utc();
        assert_eq!(generation_name("movies", now), "movies-20261123t101500");
        assert_eq!(write_alias_of("movies-20261123t101500"), "movies-20261123t101500-write");
    }

    #[test]
    fn what_is_ours_is_used_and_what_is_missing_created() {
        assert_eq!(decide_on(&Inspected::Missing, "keyword", false, None).unwrap(), Step::Create);
        assert_eq!(decide_on(&on(found(true, 9)), "text", false, None).unwrap(), Step::Use);
        assert_eq!(decide_on(&on(found(true, 9)), "text", false, Some("movies-1")).unwrap(), Step::Use);
    }

    #[test]
    fn a_strange_index_is_adopted_only_if_it_fits_and_is_empty_or_given() {
        assert_eq!(decide_on(&on(found(false, 0)), "keyword", false, None).unwrap(), Step::Adopt);
        assert_eq!(decide_on(&on(found(false, 5)), "keyword", true, None).unwrap(), Step::Adopt);
        let error = decide_on(&on(found(false, 5)), "keyword", false, None).unwrap_err();
        assert!(error.story().contains("--adopt") && error.story().contains("5 documents"), "{error:?}");
        let error = decide_on(&on(found(false, 0)), "text", true, None).unwrap_err();
        assert!(error.story().contains("id is keyword and must be text"), "{error:?}");
    }

    #[test]
    fn another_index_than_the_state_remembers_is_never_used() {
        for inspected in [Inspected::Missing, on(found(true, 1))] {
            let error = decide_on(&inspected, "keyword", true, Some("movies-0")).unwrap_err();
            assert!(error.story().contains("movies-0") && error.story().contains("resync"), "{error:?}");
        }
        let several = Inspected::Several(vec!["a".to_owned(), "b".to_owned()]);
        assert!(decide_on(&several, "keyword", true, None).unwrap_err().story().contains("a, b"));
        let mut taken = found(true, 1);
        taken.write_alias_targets = vec!["movies-1".to_owned(), "other".to_owned()];
        assert!(decide_on(&on(taken), "keyword", false, None).unwrap_err().story().contains("other"));
    }

    #[test]
    fn a_short_memory_of_deletions_is_told() {
        let settings = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        assert!(notices("m", &settings(r#"{"index":{"gc_deletes":"10m"}}"#)).is_empty());
        assert!(notices("m", &settings("{}"))[0].contains("60 s"));
        assert!(notices("m", &settings(r#"{"index":{"gc_deletes":"5s"}}"#))[0].contains("for 5 s"));
    }
}
