//! Writes a tree of relations as a definition, and the mapping with it.

use std::collections::HashMap;

use crate::definition::TableName;
use crate::draft::cursor::{self, cursor, soft_deletion};
use crate::draft::mapping::Properties;
use crate::draft::names::{self, Names};
use crate::draft::toml_text::{comment, join, key, table_name, text, texts};
use crate::draft::tree::{Node, Tree};
use crate::postgres::{Survey, SurveyedTable};

/// Names that the index server keeps for itself begin like this.
const RESERVED: char = '_';

/// Parts of the names of columns that had better not be searched by everyone.
const SECRETS: &[&str] =
    &["password", "passwd", "secret", "token", "api_key", "apikey", "private_key", "salt", "pwd_hash"];

/// What is drafted.
pub(super) struct Writer<'s> {
    pub(super) survey: &'s Survey,
    pub(super) root: &'s TableName,
    pub(super) root_key: Vec<String>,
    pub(super) tree: &'s Tree,
    pub(super) notes: Vec<String>,
    is_zoneless: bool,
    /// Columns that were left out and why, by path.
    left_out: Vec<String>,
}

/// The sections of the document, in the order of the file.
#[derive(Default)]
struct Sections {
    text: String,
}

impl<'s> Writer<'s> {
    pub(super) fn new(
        survey: &'s Survey,
        root: &'s TableName,
        root_key: Vec<String>,
        tree: &'s Tree,
    ) -> Self {
        let notes = tree.notes.clone();
        Self { survey, root, root_key, tree, notes, is_zoneless: false, left_out: Vec::new() }
    }

    /// The root, the relations and the document; and the mapping.
    pub(super) fn write(&mut self) -> (String, String) {
        let mut body = self.root_section();
        for node in &self.tree.nodes {
            body.push('\n');
            body.push_str(&self.relation_section(node));
        }
        let mut sections = Sections::default();
        let mut properties = Properties::default();
        self.object(None, "document", &mut sections, &mut properties);
        body.push_str(&sections.text);
        let left_out = std::mem::take(&mut self.left_out);
        for line in left_out {
            self.note(line);
        }
        if self.is_zoneless {
            self.note(
                "some cursors have no time zone: write `timezone = \"…\"` if their writers use another than the server's TimeZone"
                    .to_owned(),
            );
        }
        (body, properties.into_file())
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn table(&self, name: &TableName) -> &'s SurveyedTable {
        static NONE: std::sync::LazyLock<SurveyedTable> = std::sync::LazyLock::new(SurveyedTable::default);
        self.survey.tables.get(name).unwrap_or(&NONE)
    }

    fn root_section(&mut self) -> String {
        let table = self.table(self.root);
        let mut section = String::from("\n[root]\n");
        let rows = match table.row_estimate {
            Some(rows) => format!("   # about {rows:.0} rows"),
            None => String::new(),
        };
        section.push_str(&format!("table  = {}{rows}\n", text(&table_name(self.root))));
        section.push_str(&format!("key    = {}\n", texts(&self.root_key)));
        section.push_str(&self.cursor_line(self.root, false));
        if let Some(column) = soft_deletion(table) {
            let condition = format!("{} is null", postgres_protocol::escape::escape_identifier(column));
            section.push_str(&comment(&format!(
                "where  = {}   # if rows with it count as deleted",
                text(&condition)
            )));
            section.push('\n');
        }
        section
    }

    fn relation_section(&mut self, node: &Node) -> String {
        let mut section =
            format!("[relation.{}]\ntable  = {}\n", key(&node.name), text(&table_name(&node.table)));
        let table = self.table(&node.table);
        let has_key = table.keys().any(|key| {
            !key.is_empty() && key.iter().all(|name| table.column(name).is_some_and(|column| column.not_null))
        });
        if !has_key {
            self.note(format!("{} has no key: rows that look the same become one item", node.table));
        }
        section.push_str(&self.cursor_line(&node.table, false));
        if let Some(below) = node.below {
            section.push_str(&format!("below  = {}\n", text(&self.tree.nodes[below].name)));
        }
        if let Some(link) = &node.link {
            let found = cursor(self.table(&link.table), true);
            let written =
                found.as_ref().map_or(String::new(), |found| format!(", cursor = {}", text(&found.column)));
            self.doubt(&link.table, found);
            section.push_str(&format!(
                "through = {{ table = {}, on = {}{written} }}\n",
                text(&table_name(&link.table)),
                join(&link.on)
            ));
        }
        section.push_str(&format!("on     = {}\n", join(&node.on)));
        section
    }

    fn cursor_line(&mut self, table: &TableName, is_link: bool) -> String {
        let found = cursor(self.table(table), is_link);
        let line = match &found {
            Some(found) => format!("cursor = {}\n", text(&found.column)),
            None => "# cursor = \"…\"   # no column looks like the time of the last change\n".to_owned(),
        };
        self.doubt(table, found);
        line
    }

    fn doubt(&mut self, table: &TableName, found: Option<cursor::Cursor>) {
        match found {
            None => {
                self.note(format!("{table} has no cursor: polling does not see its changes, verify does"));
            }
            Some(found) => {
                self.is_zoneless |= found.is_zoneless;
                if let Some(doubt) = found.doubt {
                    self.note(format!("{table}: {} {doubt}", found.column));
                }
            }
        }
    }

    /// Writes the object made of the row of a node (of the root if none) and of what hangs below it.
    fn object(
        &mut self,
        at: Option<usize>,
        place: &str,
        sections: &mut Sections,
        properties: &mut Properties,
    ) {
        let name = at.map_or(self.root, |at| &self.tree.nodes[at].table);
        let table = self.table(name);
        let children: Vec<usize> =
            (0..self.tree.nodes.len()).filter(|child| self.tree.nodes[*child].below == at).collect();
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut names = Names::default();
        let hidden = self.hidden_columns(at, &children);
        for column in &table.columns {
            if hidden.contains(&column.name) {
                continue;
            }
            if let Some(why) = why_left_out(&column.name) {
                self.left_out.push(format!("{name}.{} is left out: {why}", column.name));
                continue;
            }
            let field = names.give(&field_wishes(&column.name, at.is_none()));
            if !properties.column(&field, column) {
                self.note(format!(
                    "{name}.{} ({}) is in the document and not indexed",
                    column.name, column.type_name
                ));
            }
            fields.push((field, column.name.clone()));
        }
        if let Some(link) = at.and_then(|at| self.tree.nodes[at].link.as_ref()) {
            let link_table = self.table(&link.table);
            for column in link.own_columns.iter().filter_map(|column| link_table.column(column)) {
                if why_left_out(&column.name).is_some() {
                    continue;
                }
                let plain = names::plain(&column.name);
                let field =
                    names.give(&[plain.clone(), format!("{}_{plain}", names::plain(&link.table.name))]);
                properties.column(&field, column);
                fields.push((field, format!("through.{}", column.name)));
            }
        }
        // An object has a field: rather a column that says nothing than none.
        if fields.is_empty()
            && let Some(column) = table.columns.iter().find(|column| why_left_out(&column.name).is_none())
        {
            let field = names.give(&field_wishes(&column.name, at.is_none()));
            properties.column(&field, column);
            fields.push((field, column.name.clone()));
        }
        sections.text.push_str(&format!("\n[{place}]\n"));
        let width = fields.iter().map(|(field, _)| key(field).chars().count()).max().unwrap_or(0).min(30);
        for (field, column) in &fields {
            sections.text.push_str(&format!("{:width$} = {}\n", key(field), text(column)));
        }
        for child in children {
            let node = &self.tree.nodes[child];
            let field = names.give(&node.field_wishes);
            let word = if node.is_list { "list" } else { "one" };
            let place = format!("{place}.{}", key(&field));
            sections.text.push_str(&format!("\n[{place}]\n{word} = {}\n", text(&node.name)));
            let mut below = Properties::default();
            self.object(Some(child), &format!("{place}.object"), sections, &mut below);
            properties.object(&field, below, node.is_list);
        }
    }

    /// Columns that an object need not repeat: what its relations hold, where it belongs, when it was written.
    fn hidden_columns(&self, at: Option<usize>, children: &[usize]) -> Vec<String> {
        let mut hidden = Vec::new();
        for child in children.iter().map(|child| &self.tree.nodes[*child]).filter(|child| !child.is_list) {
            // A to-one relation that is joined by its key holds what its columns here say.
            if child.join_columns.is_empty() {
                hidden.extend(child.on.iter().map(|(_, nearer)| nearer.clone()));
            }
        }
        let key = match at {
            None => &self.root_key,
            Some(at) => &self.table(&self.tree.nodes[at].table).primary_key,
        };
        hidden.retain(|column| !key.contains(column));
        if let Some(at) = at {
            let node = &self.tree.nodes[at];
            hidden.extend(node.join_columns.iter().filter(|column| !key.contains(column)).cloned());
            hidden.extend(cursor(self.table(&node.table), false).map(|cursor| cursor.column));
        }
        hidden
    }
}

fn why_left_out(column: &str) -> Option<&'static str> {
    let lower = column.to_lowercase();
    if SECRETS.iter().any(|secret| lower.contains(secret)) {
        return Some("it looks like a secret");
    }
    if column.trim().is_empty() || column.starts_with("through.") {
        return Some("a definition cannot write its name");
    }
    None
}

/// A column's field has the column's own name, as far as a field can.
fn field_wishes(column: &str, is_root: bool) -> Vec<String> {
    let mut field: String = column
        .chars()
        .map(|character| {
            if matches!(character, '.' | '*' | '\\' | '"') || character.is_control() {
                '_'
            } else {
                character
            }
        })
        .collect();
    field = field.trim().to_owned();
    if is_root && field.starts_with(RESERVED) {
        field = format!("field{field}");
    }
    vec![field]
}

/// Columns that look like references to a table, though no foreign key says so.
pub(super) fn unsaid_references(survey: &Survey, tables: &[&TableName]) -> Vec<String> {
    let mut by_name: HashMap<String, Vec<&TableName>> = HashMap::new();
    for (name, table) in &survey.tables {
        if table.primary_key.len() == 1 {
            by_name.entry(name.name.to_lowercase()).or_default().push(name);
        }
    }
    let mut found = Vec::new();
    for name in tables {
        let Some(table) = survey.tables.get(*name) else { continue };
        let keys: Vec<_> = survey.foreign_keys.iter().filter(|key| key.table == **name).collect();
        for column in &table.columns {
            if keys.iter().any(|key| key.columns.contains(&column.name)) {
                continue;
            }
            let Some(stem) = names::referred(&column.name).map(str::to_lowercase) else { continue };
            let wishes = [stem.clone(), format!("{stem}s"), format!("{stem}es")];
            let target =
                wishes.iter().find_map(|wish| by_name.get(wish)?.iter().find(|known| *known != name));
            if let Some(target) = target {
                found.push(format!(
                    "{name}.{} looks like a reference to {target}, but there is no foreign key: a relation would be written by hand",
                    column.name
                ));
            }
        }
    }
    found
}
