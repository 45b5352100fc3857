//! From the text of a definition file to the checked [`Definition`].

use toml::de::DeTable;

use crate::alias;
use crate::definition::document::{DocumentReader, ROUTING, unused_relations};
use crate::definition::mapping;
use crate::definition::name::parse_table;
use crate::definition::relation::read_relations;
use crate::definition::repeat;
use crate::definition::section::{Problems, Section, text_of};
use crate::definition::tombstone::read_tombstones;
use crate::definition::{Definition, OnNan, Root, TableName};
use crate::error::{Error, Result};
use crate::suggestion::did_you_mean;

/// The version of the file's format that this program reads.
const VERSION: i128 = 1;

pub(super) const TOP_FIELDS: &[&str] = &[
    "version",
    "index",
    "mapping",
    "timezone",
    "on_nan",
    "pipeline",
    "root",
    "relation",
    "tombstone",
    "document",
];
pub(super) const ROOT_FIELDS: &[&str] = &["table", "key", "cursor", "where"];

/// Reads and checks a definition; `origin` names it in messages and `load_mapping` gives the text of its mapping file.
///
/// # Errors
/// Everything that is wrong, in one error: each problem with its line, its place as `relation.genre.on`, and what
/// would be right.
pub fn parse(text: &str, origin: &str, load_mapping: &dyn Fn(&str) -> Result<String>) -> Result<Definition> {
    let mut problems = Problems::new(text);
    let definition = read(text, load_mapping, &mut problems);
    let problems = problems.into_texts();
    match definition {
        Some(definition) if problems.is_empty() => Ok(definition),
        _ => Err(Error::wrong(format!("the definition {origin} is wrong: {}", problems.join("; ")))
            .hint("docs/definition.md describes every field")),
    }
}

fn read(
    text: &str,
    load_mapping: &dyn Fn(&str) -> Result<String>,
    problems: &mut Problems<'_>,
) -> Option<Definition> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let mut message = error.message().trim().replace('\n', ", ");
            // Which one it is, the parser leaves to the line.
            if message == "duplicate key"
                && let Some(name) = text.get(span.clone())
            {
                message = format!("{name} is written twice, leave one of them out");
            }
            problems.add(&span, "", message);
        }
        return None;
    }
    let top = Section::top(&document);
    check_version(&top, problems);
    top.refuse_unknown(TOP_FIELDS, problems);

    let index = top.required_text("index", "write index = \"<alias of the index>\"", problems);
    if let Some(index) = &index
        && let Some(problem) = alias::problem_with(&index.text)
    {
        problems.add(&index.span, "index", problem);
    }
    let timezone = top.text("timezone", problems).map(|timezone| timezone.text);
    let on_nan = read_on_nan(&top, problems);
    let root = read_root(&top, problems);
    let pipeline = top.text("pipeline", problems).map(|pipeline| pipeline.text);
    let mut written = read_relations(&top, &root.table, problems);
    let tombstones = read_tombstones(&top, &root.table, problems);

    let mut reader = DocumentReader::new(&written.relations, &root.table, problems);
    let mut document = match top.section("document", "write a [document] section", reader.problems) {
        Some(section) => reader.fields(&section, None, ""),
        None => Vec::new(),
    };
    if document.is_empty() {
        reader.problems.add(
            &top.span,
            "document",
            "is missing or empty, write a [document] section with id = \"id\"",
        );
    }
    let places = reader.places;
    // Where something else is wrong, a relation may be unused for that reason alone.
    if problems.is_empty() {
        unused_relations(&top, &written.relations, &document, problems);
    }
    if problems.is_empty() {
        repeat::expand(&mut written, &mut document, &top, problems);
    }
    let relations = written.relations;
    let routing = read_routing(&top, &root, problems);

    let mapping_file =
        top.required_text("mapping", "write mapping = \"<file of the index body>\"", problems)?;
    let mapping = match load_mapping(&mapping_file.text) {
        Ok(json) => mapping::parse(&json, &mapping_file.text, problems)?,
        Err(error) => {
            problems.add(&mapping_file.span, "mapping", error.story());
            return None;
        }
    };
    mapping::check_fields(&mapping, &mapping_file.text, &document, &places, problems);

    let mut definition = Definition {
        index: index?.text,
        mapping,
        hash: String::new(),
        root,
        relations,
        tombstones,
        document,
        timezone,
        on_nan,
        routing,
        pipeline,
    };
    definition.hash = super::hash::hash(&definition);
    Some(definition)
}

fn check_version(top: &Section<'_>, problems: &mut Problems<'_>) {
    let Some(value) = top.get("version") else {
        problems.add(&top.span, "version", format!("is missing, write version = {VERSION}"));
        return;
    };
    let version = value
        .get_ref()
        .as_integer()
        .and_then(|version| i128::from_str_radix(version.as_str(), version.radix()).ok());
    match version {
        Some(VERSION) => {}
        Some(version) if version > VERSION => {
            let problem = format!(
                "{version} is newer than this pgsluice, which reads version {VERSION}: use a newer pgsluice"
            );
            problems.add(&value.span(), "version", problem);
        }
        _ => problems.add(&value.span(), "version", format!("write version = {VERSION}")),
    }
}

fn read_on_nan(top: &Section<'_>, problems: &mut Problems<'_>) -> OnNan {
    let Some(written) = top.text("on_nan", problems) else { return OnNan::Null };
    match written.text.as_str() {
        "null" => OnNan::Null,
        "refuse" => OnNan::Refuse,
        other => {
            let near = did_you_mean(other, ["null", "refuse"]);
            problems.add(&written.span, "on_nan", format!("write \"null\" or \"refuse\"{near}"));
            OnNan::Null
        }
    }
}

/// Reads what routes a document: a column of the root's key, or several.
///
/// Where `root.key` is not written, whether they are columns of the primary key is seen when the tables are read.
fn read_routing(top: &Section<'_>, root: &Root, problems: &mut Problems<'_>) -> Vec<String> {
    let place = format!("document.{ROUTING}");
    let Some(document) = top.get("document").and_then(|_| top.section("document", "", problems)) else {
        return Vec::new();
    };
    let Some(value) = document.get(ROUTING) else { return Vec::new() };
    let routing = match value.get_ref() {
        toml::de::DeValue::String(_) => {
            text_of(value, &place, problems).map(|text| text.text).into_iter().collect()
        }
        _ => document.columns(ROUTING, problems),
    };
    for column in &routing {
        if !root.key.is_empty() && !root.key.contains(column) {
            let near = did_you_mean(column, root.key.iter().map(String::as_str));
            let problem = format!(
                "{column} is no column of root.key{near}; of a row that is gone nothing but its key is known, and its document must be found nevertheless"
            );
            problems.add(&value.span(), &place, problem);
        }
    }
    routing
}

/// Reads `[root]`; where something is wrong, what is returned does not matter.
fn read_root(top: &Section<'_>, problems: &mut Problems<'_>) -> Root {
    const ADVICE: &str = "write a [root] section";
    if !top.has("root") {
        problems.add(&top.span, "root", format!("is missing, {ADVICE} with table = \"<schema>.<table>\""));
    }
    let Some(root) = top.section("root", ADVICE, problems) else {
        return Root {
            table: TableName { schema: String::new(), name: String::new() },
            key: Vec::new(),
            cursor: None,
            condition: None,
        };
    };
    root.refuse_unknown(ROOT_FIELDS, problems);
    Root {
        table: read_table(&root, problems),
        key: root.columns("key", problems),
        cursor: root.column("cursor", problems),
        condition: root.text("where", problems).map(|condition| condition.text),
    }
}

/// Reads the `table` of a section; where it is wrong, what is returned does not matter.
pub(super) fn read_table(section: &Section<'_>, problems: &mut Problems<'_>) -> TableName {
    let table = section.required_text("table", "write table = \"<schema>.<table>\"", problems);
    table
        .and_then(|table| match parse_table(&table.text) {
            Ok(name) => Some(name),
            Err(problem) => {
                problems.add(&table.span, &section.place_of("table"), problem);
                None
            }
        })
        .unwrap_or_else(|| TableName { schema: String::new(), name: "<table>".to_owned() })
}
