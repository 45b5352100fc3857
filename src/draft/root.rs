//! What is asked for, the root table and its key, and the draft as a whole.

use crate::definition::{self, TableName};
use crate::draft::Draft;
use crate::draft::toml_text::{comment, table_name, text};
use crate::draft::tree::grow;
use crate::draft::write::{Writer, unsaid_references};
use crate::error::{Error, Result};
use crate::postgres::{Survey, SurveyedTable};
use crate::suggestion::nearest;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct DraftRequest {
    /// The root table.
    pub root: TableName,
    /// Its key, where the table has none or another one is wanted; empty: the table's own.
    pub key: Vec<String>,
    /// How many relations may hang below one another.
    pub depth: usize,
    /// The alias of the index.
    pub index: String,
    /// The name of the mapping file, beside the definition.
    pub mapping_file: String,
}

/// Drafts a definition.
///
/// # Errors
/// If the root table does not exist, has no key, or may not be read; each with the cure.
pub fn draft(survey: &Survey, request: &DraftRequest) -> Result<Draft> {
    let root = root_table(survey, &request.root)?;
    let (root_key, key_note) = root_key(&request.root, root, &request.key)?;
    let tree = grow(survey, &request.root, request.depth);
    let mut writer = Writer::new(survey, &request.root, root_key, &tree);
    writer.notes.extend(key_note);
    let (body, mapping) = writer.write();
    let mut notes = writer.notes;
    let mut tables = vec![&request.root];
    tables.extend(tree.nodes.iter().map(|node| &node.table));
    tables.dedup();
    for note in unsaid_references(survey, &tables) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    if tree.nodes.is_empty() && request.depth > 0 {
        notes.push(format!(
            "no foreign key leads from or to {}: relations have to be written by hand",
            request.root
        ));
    }
    let definition = format!("{}{body}", head(survey, request, &notes));
    definition::parse(&definition, "drafted", &|_| Ok(mapping.clone()))
        .map_err(|error| error.while_doing("the draft came out wrong, which is a mistake of pgsluice"))?;
    Ok(Draft { definition, mapping, relation_count: tree.nodes.len(), notes })
}

fn head(survey: &Survey, request: &DraftRequest, notes: &[String]) -> String {
    let mut lines = vec![
        comment(&format!(
            "Drafted by `pgsluice init --root {} --depth {}` from the database {}.",
            table_name(&request.root),
            request.depth,
            survey.database
        )),
        comment(
            "Take out what you do not need, then run `pgsluice check` and `pgsluice preview`. docs/definition.md",
        ),
        comment("describes every field. A cursor is a guess by name: every write has to set it."),
    ];
    if !notes.is_empty() {
        lines.push(comment(""));
        lines.push(comment("Unsure of, or left out:"));
        lines.extend(notes.iter().map(|note| comment(&format!("- {note}"))));
    }
    lines.push("version = 1".to_owned());
    lines.push(format!("index   = {}", text(&request.index)));
    lines.push(format!("mapping = {}", text(&request.mapping_file)));
    lines.join("\n") + "\n"
}

fn root_table<'s>(survey: &'s Survey, root: &TableName) -> Result<&'s SurveyedTable> {
    let Some(table) = survey.tables.get(root) else {
        let error = Error::wrong(format!("there is no table {root} in the database {}", survey.database));
        let elsewhere: Vec<String> = survey
            .tables
            .keys()
            .filter(|known| known.name.to_lowercase() == root.name.to_lowercase())
            .map(table_name)
            .collect();
        if !elsewhere.is_empty() {
            return Err(error.hint(format!("did you mean {}?", elsewhere.join(" or "))));
        }
        let names: Vec<String> = survey.tables.keys().map(ToString::to_string).collect();
        let in_schema: Vec<&str> = survey
            .tables
            .keys()
            .filter(|known| known.schema == root.schema)
            .map(|known| known.name.as_str())
            .collect();
        let near = nearest(&root.name, in_schema.iter().copied())
            .map(|name| table_name(&TableName { schema: root.schema.clone(), name: name.to_owned() }))
            .or_else(|| nearest(&root.to_string(), names.iter().map(String::as_str)).map(str::to_owned))
            .or_else(|| {
                let known = survey.tables.keys();
                let by_name = nearest(&root.name, survey.tables.keys().map(|known| known.name.as_str()))?;
                known.into_iter().find(|known| known.name == by_name).map(table_name)
            });
        return Err(match near {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None if survey.tables.is_empty() => error.hint("the database has no tables; is PG_DSN right?"),
            None => error.hint("write --root schema.table, case included; \\d of psql lists the tables"),
        });
    };
    if !table.is_readable {
        return Err(Error::wrong(format!("the role may not read {root}"))
            .hint("grant it usage on the schema and select on its tables"));
    }
    Ok(table)
}

fn root_key(
    root: &TableName,
    table: &SurveyedTable,
    stated: &[String],
) -> Result<(Vec<String>, Option<String>)> {
    if !stated.is_empty() {
        let mut key: Vec<String> = Vec::new();
        for name in stated {
            // A list in one argument, unless a column is called so.
            let parts: Vec<&str> = if table.column(name).is_some() {
                vec![name]
            } else {
                name.split(',').map(str::trim).collect()
            };
            for part in parts {
                if table.column(part).is_none() {
                    let near = nearest(part, table.columns.iter().map(|column| column.name.as_str()));
                    let error = Error::wrong(format!("--key: {root} has no column {part}"));
                    return Err(match near {
                        Some(near) => error.hint(format!("did you mean {near}?")),
                        None => error,
                    });
                }
                if !key.iter().any(|known| known == part) {
                    key.push(part.to_owned());
                }
            }
        }
        let is_known = table.keys().any(|known| known.iter().all(|column| key.contains(column)))
            && key.iter().all(|name| table.column(name).is_some_and(|column| column.not_null));
        let note = (!is_known).then(|| {
            format!("nothing in the database says that {} identifies a row of {root}", key.join(", "))
        });
        return Ok((key, note));
    }
    if !table.primary_key.is_empty() {
        return Ok((table.primary_key.clone(), None));
    }
    let is_sound =
        |key: &&Vec<String>| key.iter().all(|name| table.column(name).is_some_and(|column| column.not_null));
    if let Some(unique) = table.unique_keys.iter().find(is_sound) {
        let note =
            format!("{root} has no primary key, its unique key {} stands in for it", unique.join(", "));
        return Ok((unique.clone(), Some(note)));
    }
    let shown: Vec<&str> = table.columns.iter().take(12).map(|column| column.name.as_str()).collect();
    let (what, cure) = if table.is_view {
        (
            "is a view or foreign table, so its key must be stated",
            "write --key <column> with the columns that identify a row",
        )
    } else {
        (
            "has no primary key and no unique key without NULL",
            "add one, or write --key <column> with the columns that identify a row",
        )
    };
    Err(Error::wrong(format!("{root} {what}")).hint(format!("{cure}; its columns: {}", shown.join(", "))))
}
