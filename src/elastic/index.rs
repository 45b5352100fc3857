//! The index of a definition: found, created, or adopted.
//!
//! The definition names an alias. Behind it stands one physical index, the generation, with a second, private
//! alias through which alone pgsluice writes. An index that we made carries our mark; one without it is
//! written to only when it is adopted. [`inspect`] looks, [`decide`] says what is to be done,
//! [`ensure_generation`] does it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use ureq::http::Method;

use crate::elastic::client::{Client, path_segment};
use crate::elastic::documents::{document_count, refresh};
use crate::elastic::failure::{refusal, successful};
use crate::elastic::inspection::{
    EnsureRequest, FoundIndex, Inspected, Step, decide, inspect, write_alias_of,
};
use crate::elastic::mapping::{OwnershipMark, additions, creation_body, meta_with_mark, read_mark, section};
use crate::error::{Error, Result};

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

/// The name of a generation of `alias` that begins at `now`.
pub fn generation_name(alias: &str, now: DateTime<Utc>) -> String {
    format!("{alias}-{}", now.format("%Y%m%dt%H%M%S"))
}

/// Makes sure that the alias stands for one index of ours with its write alias; creates or adopts it if need
/// be.
///
/// `new_generation` is the name of the index if one has to be created. A caller that may be killed keeps it first and
/// comes with the same name again: a request that outlives its sender then makes no second index. What an index of
/// ours was made from is told by its mark, which the caller compares with what it expects.
pub fn ensure_generation(
    client: &Client,
    request: &EnsureRequest<'_>,
    new_generation: &str,
) -> Result<Ensured> {
    // The second time finds what another request has created under this name since the first.
    for _ in 0..2 {
        let mut inspected = inspect(client, request.alias)?;
        // A count knows only what a refresh has made visible: not enough to call an index empty.
        if let Inspected::Found(found) = &mut inspected
            && (found.mark.is_none() || request.known_generation.is_none())
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
                if let Some(created) = create(client, request, new_generation)? {
                    return Ok(created);
                }
            }
        }
    }
    let alias = request.alias;
    Err(Error::wrong(format!(
        "cannot create the index {new_generation}: it exists, and the alias {alias} does not point at it"
    ))
    .hint(format!("point the alias {alias} at it, or remove it")))
}

fn ensured(found: FoundIndex, created: bool) -> Ensured {
    let FoundIndex { generation, write_alias, mark, document_count, notices, .. } = found;
    Ensured { generation, write_alias, created, document_count, mark, notices }
}

/// Creates a generation with both its aliases in one request; returns nothing if another request was quicker.
fn create(client: &Client, request: &EnsureRequest<'_>, generation: &str) -> Result<Option<Ensured>> {
    let write_alias = write_alias_of(generation);
    let body = creation_body(request.index_body, request.alias, &write_alias, request.mark)?;
    let attempt = format!("cannot create the index {generation}");
    let response = client.send(Method::PUT, &format!("/{}", path_segment(generation)), &body, &attempt)?;
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

/// The mark that an index carries.
pub(crate) fn mark_of(client: &Client, index: &str) -> Result<Option<OwnershipMark>> {
    read_mark(index, &get_mappings(client, index)?)
}

/// Adds the fields of `index_body`, the definition's settings and mappings, to an index; the mark stays as it is.
///
/// Fails if a field that is there would have to change: no index can do that in place.
pub fn put_mapping_additions(client: &Client, index: &str, index_body: &Map<String, Value>) -> Result<()> {
    let mappings = section(index_body, "mappings")?;
    let found = get_mappings(client, index)?;
    let attempt = format!("cannot add the definition's fields to the index {index}");
    let response = client.send(Method::PUT, &mapping_path(index), &additions(&mappings, &found), &attempt)?;
    if response.status == 400 {
        return Err(refusal(&response, &attempt).hint(
            "no field can change its type or analyzer in place: delete the index and run `pgsluice resync`, or name \
             another index in the definition",
        ));
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

    #[test]
    fn generations_are_named_by_the_second_they_began() {
        let now = DateTime::parse_from_rfc3339("2026-11-23T10:15:00Z").unwrap().to_utc();
        assert_eq!(generation_name("movies", now), "movies-20261123t101500");
        assert_eq!(write_alias_of("movies-20261123t101500"), "movies-20261123t101500-write");
    }
}
