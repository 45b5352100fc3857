//! What stands under a definition's alias, and whether it can be used. Nothing is changed here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::elastic::client::{Client, path_segment};
use crate::elastic::documents::document_count;
use crate::elastic::index_settings::{GC_DELETES, IndexSettings};
use crate::elastic::mapping::{OwnershipMark, misfits, read_mark, section};
use crate::error::{Error, Kind, Result};

/// How long an alias may lead elsewhere unnoticed: two small requests every five seconds are nothing beside the bulks.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

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
    /// Whether an index is made anew if the one that the state remembers is gone.
    pub recreate: bool,
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

impl FoundIndex {
    /// The mapping that it has.
    pub fn mappings(&self) -> &Map<String, Value> {
        &self.mappings
    }
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

/// The private alias through which alone a generation is written.
pub(crate) fn write_alias_of(generation: &str) -> String {
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
         document back until the next resync; set index.gc_deletes to {} s",
        GC_DELETES.as_secs()
    )]
}

/// Says what has to be done with what was found, or why it cannot be used; changes nothing.
pub fn decide(inspected: &Inspected, request: &EnsureRequest<'_>) -> Result<Step> {
    let EnsureRequest { alias, index_body, mark: _, adopt, known_generation, recreate } = *request;
    let found = match inspected {
        Inspected::Missing => {
            return match known_generation {
                None => Ok(Step::Create),
                Some(_) if recreate => Ok(Step::Create),
                Some(known) => Err(alias_is_gone(alias, known)),
            };
        }
        Inspected::Several(names) => return Err(alias_has_several(alias, names)),
        Inspected::Found(found) => found,
    };
    if let Some(known) = known_generation
        && known != found.generation
    {
        return Err(alias_is_elsewhere(alias, &found.generation, known));
    }
    if let Some(other) = found.write_alias_targets.iter().find(|target| **target != found.generation) {
        return Err(write_alias_is_elsewhere(&found.write_alias, other, &found.generation));
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

fn alias_is_gone(alias: &str, known: &str) -> Error {
    Error::new(
        Kind::IndexMissing,
        format!("{alias} is gone; this state has loaded the index {known} behind it"),
    )
    .hint(RESYNC_CURE)
}

fn alias_is_elsewhere(alias: &str, found: &str, known: &str) -> Error {
    Error::wrong(format!("{alias} is the index {found}; this state has loaded the index {known}"))
        .hint(RESYNC_CURE)
}

fn alias_has_several(alias: &str, names: &[String]) -> Error {
    Error::wrong(format!("the alias {alias} points at several indices: {}", names.join(", ")))
        .hint("leave it on one, or name another index in the definition")
}

fn write_alias_is_elsewhere(write_alias: &str, other: &str, generation: &str) -> Error {
    Error::wrong(format!("the alias {write_alias} points at {other}"))
        .hint(format!("remove it there; pgsluice writes to {generation} through it"))
}

/// Looks now and then whether both aliases still point at the generation that is written.
///
/// A start finds out the same, but a run goes on for months: nobody would notice that searches go to another index,
/// and a write alias that leads elsewhere would fill someone else's.
#[derive(Debug)]
pub struct AliasWatch {
    client: Client,
    alias: String,
    generation: String,
    looked_at: Option<Instant>,
}

impl AliasWatch {
    /// Watches the aliases of `generation`, which searches find by `alias`.
    pub fn new(client: Client, alias: &str, generation: &str) -> Self {
        Self { client, alias: alias.to_owned(), generation: generation.to_owned(), looked_at: None }
    }

    /// Looks, if the last look is some seconds old; fails if an alias leads elsewhere.
    ///
    /// A server that does not tell is no failure: whoever writes next will hear of it. Neither is a missing write
    /// alias, without which nothing is written.
    pub fn look(&mut self) -> Result<()> {
        if self.looked_at.is_some_and(|looked_at| looked_at.elapsed() < WATCH_INTERVAL) {
            return Ok(());
        }
        self.looked_at = Some(Instant::now());
        let Self { alias, generation, .. } = self;
        let write_alias = write_alias_of(generation);
        let targets = |alias: &str| {
            alias_targets(&self.client, alias).inspect_err(|error| log::debug!("{}", error.story())).ok()
        };
        if let Some(other) =
            targets(&write_alias).and_then(|targets| targets.into_iter().find(|target| target != generation))
        {
            return Err(write_alias_is_elsewhere(&write_alias, &other, generation));
        }
        // An index that was taken over may bear the name itself, and has no alias then.
        if alias == generation {
            return Ok(());
        }
        match targets(alias).as_deref() {
            None => Ok(()),
            Some([]) => Err(alias_is_gone(alias, generation)),
            Some([only]) if only == generation => Ok(()),
            Some([other]) => Err(alias_is_elsewhere(alias, other, generation)),
            Some(several) => Err(alias_has_several(alias, several)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
        OwnershipMark { format: 1, definition_hash: "d".to_owned(), source: "s".to_owned(), first_load: None }
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
                recreate: false,
            },
        )
    }

    fn on(found: FoundIndex) -> Inspected {
        Inspected::Found(Box::new(found))
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
