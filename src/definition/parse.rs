//! From the text of a definition file to the checked [`Definition`].

use toml::de::DeTable;

use crate::alias;
use crate::definition::document::{DocumentReader, unused_relations};
use crate::definition::mapping;
use crate::definition::name::parse_table;
use crate::definition::relation::read_relations;
use crate::definition::section::{Problems, Section};
use crate::definition::{Definition, Root, TableName};
use crate::error::{Error, Result};

/// The version of the file's format that this program reads.
const VERSION: i128 = 1;

pub(super) const TOP_FIELDS: &[&str] =
    &["version", "index", "mapping", "timezone", "root", "relation", "document"];
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
    let root = read_root(&top, problems);
    let relations = read_relations(&top, &root.table, problems);

    let mut reader = DocumentReader::new(&relations, &root.table, problems);
    let document = match top.section("document", "write a [document] section", reader.problems) {
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
        unused_relations(&top, &relations, &document, problems);
    }

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

    let mut definition =
        Definition { index: index?.text, mapping, hash: String::new(), root, relations, document, timezone };
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
