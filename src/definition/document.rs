//! Reads the document's fields, and those of the objects in it.
//!
//! A plain text is a column of the row at hand: the root's, or the row of the relation whose object the field is in.
//! `{ list = … }` and `{ one = … }` make something of the rows of a relation that hangs below that row. In an item,
//! `where` and `order`, `through.<column>` is a column of the link table that led to the related row.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use toml::Spanned;

use crate::definition::name;
use crate::definition::section::{Problems, Section, Text, Value, text_of};
use crate::definition::{ColumnReference, Expression, Field, Item, Relation, RelationId, Source, TableName};
use crate::suggestion::did_you_mean;

pub(super) const LIST_FIELDS: &[&str] = &["list", "value", "object", "where", "order", "limit"];
pub(super) const ONE_FIELDS: &[&str] = &["one", "value", "object", "where"];
pub(super) const COUNT_FIELDS: &[&str] = &["count", "where"];

/// The entry of a document that is no field: what routes it to its shard.
pub(super) const ROUTING: &str = "_routing";

/// What stands before a column of the link table.
pub(super) const THROUGH: &str = "through.";

/// Names that Elasticsearch keeps for itself at the top of a document.
const RESERVED: &[&str] = &[
    "_id",
    "_index",
    "_type",
    "_source",
    "_routing",
    "_ignored",
    "_field_names",
    "_version",
    "_seq_no",
    "_primary_term",
    "_nested_path",
    "_size",
    "_tier",
    "_data_stream_timestamp",
    "_tsid",
];

/// The words by which a field that is no plain column is told.
pub(super) const KINDS: &[&str] =
    &["list", "one", "count", "sql", "constant", "inline", "flatten", "geo", "join"];

const FIELD_ADVICE: &str = "write a column's name, { list = \"<relation>\", … }, { one = \"<relation>\", … } or { sql = \"<expression>\" }";

/// Reads the fields; remembers where each stands.
pub(super) struct DocumentReader<'r, 't, 'p> {
    relations: &'r [Relation],
    root: &'r TableName,
    pub(super) problems: &'p mut Problems<'t>,
    /// Whether the relations hang where they should; if not, what is made of them is not called wrong too.
    are_relations_sound: bool,
    /// Where the field of each path (as `directors.id`) stands in the file.
    pub(super) places: HashMap<String, Range<usize>>,
    /// Where the names in each object stand, by the object's path.
    names: HashMap<(String, String), Range<usize>>,
}

impl<'r, 't, 'p> DocumentReader<'r, 't, 'p> {
    pub(super) fn new(
        relations: &'r [Relation],
        root: &'r TableName,
        problems: &'p mut Problems<'t>,
    ) -> Self {
        let are_relations_sound = problems.is_empty();
        Self { relations, root, problems, are_relations_sound, places: HashMap::new(), names: HashMap::new() }
    }

    /// Reads the fields of a document or object; `at` is the relation whose row is at hand, none for the root's.
    pub(super) fn fields(&mut self, section: &Section<'_>, at: Option<RelationId>, path: &str) -> Vec<Field> {
        let mut fields = Vec::new();
        let is_top = path.is_empty();
        for (name, span, value) in section.entries() {
            if is_top && at.is_none() && name == ROUTING {
                continue;
            }
            let place = section.place_of(name);
            let above = path;
            let path = if is_top { name.to_owned() } else { format!("{path}.{name}") };
            if is_top && RESERVED.contains(&name) {
                let problem = match name {
                    "_id" => "the _id is made of the columns of root.key: name them there",
                    ROUTING => "stands in [document] itself, beside the fields",
                    _ => "the index server keeps this name for itself",
                };
                self.problems.add(&span, &place, problem);
            }
            if name.split('.').any(|part| part.trim().is_empty()) {
                self.problems.add(
                    &span,
                    &place,
                    "a field's name is not empty, nor is any part between its dots",
                );
            }
            // The name of what stands in place of its field is not sent.
            let is_sent = !value
                .get_ref()
                .as_table()
                .is_some_and(|table| table.contains_key("inline") || table.contains_key("flatten"));
            if is_sent {
                self.places.insert(path.clone(), span.clone());
                let first = self.names.insert((above.to_owned(), name.to_owned()), span.clone());
                if let Some(first) = first {
                    let line = self.problems.line(&first);
                    let problem = format!(
                        "the field {path} stands in line {line} already: inline puts both into one object"
                    );
                    self.problems.add(&span, &place, problem);
                }
            }
            let path = if is_sent { path.as_str() } else { above };
            if let Some(source) = self.source(value, place, at, path) {
                fields.push(Field { name: name.to_owned(), source });
            }
        }
        if fields.is_empty() && section.entries().next().is_none() {
            self.problems.add(
                &section.span,
                &section.place,
                "must not be empty, write a field and its column as id = \"id\"",
            );
        }
        fields
    }

    fn source(
        &mut self,
        value: &Value<'_>,
        place: String,
        at: Option<RelationId>,
        path: &str,
    ) -> Option<Source> {
        if value.get_ref().is_str() {
            let text = text_of(value, &place, self.problems)?;
            return self.column(&text, &place, at).map(|column| Source::Value(Expression::Column(column)));
        }
        let section = Section::of(value, place, FIELD_ADVICE, self.problems)?;
        let kinds: Vec<&str> = KINDS.iter().copied().filter(|kind| section.has(kind)).collect();
        match kinds[..] {
            ["list"] => self.list(&section, at, path),
            ["one"] => self.one(&section, at, path),
            ["count"] => self.count(&section, at),
            ["sql"] => self.sql_of(&section, &[]).map(Source::Value),
            ["constant"] => self.constant(&section),
            ["inline"] => self.inline(&section, at, path),
            ["flatten"] => self.flatten(&section, at),
            ["geo"] => self.geo(&section, at),
            ["join"] => self.join(&section, at),
            [] => {
                let written: Vec<&str> = section.entries().map(|(name, ..)| name).collect();
                let near = written.iter().find_map(|name| {
                    let near = did_you_mean(name, KINDS.iter().copied());
                    (!near.is_empty()).then(|| format!("unknown field {name}{near}"))
                });
                self.problems.add(
                    &section.span,
                    &section.place,
                    near.unwrap_or_else(|| FIELD_ADVICE.to_owned()),
                );
                None
            }
            [..] => {
                let both = kinds.join(" and ");
                self.problems.add(&section.span, &section.place, format!("has {both}, keep one of them"));
                None
            }
        }
    }

    fn list(&mut self, section: &Section<'_>, at: Option<RelationId>, path: &str) -> Option<Source> {
        section.refuse_unknown(LIST_FIELDS, self.problems);
        let relation = self.relation(section, "list", at)?;
        let item = self.item(section, relation, path);
        let filters = self.filters(section, relation);
        let order = self.order(section, relation);
        let limit = self.limit(section);
        Some(Source::List { relation, item: item?, filters, order, limit })
    }

    fn one(&mut self, section: &Section<'_>, at: Option<RelationId>, path: &str) -> Option<Source> {
        self.refuse_list_words(section, "one");
        section.refuse_unknown(&[ONE_FIELDS, &["order", "limit"]].concat(), self.problems);
        let relation = self.relation(section, "one", at)?;
        let item = self.item(section, relation, path);
        let filters = self.filters(section, relation);
        Some(Source::One { relation, item: item?, filters })
    }

    /// Refuses what only lists have.
    pub(super) fn refuse_list_words(&mut self, section: &Section<'_>, word: &str) {
        for name in ["order", "limit"] {
            if let Some(value) = section.get(name) {
                let problem = format!("is for lists, {word} takes the only related row");
                self.problems.add(&value.span(), &section.place_of(name), problem);
            }
        }
    }

    fn count(&mut self, section: &Section<'_>, at: Option<RelationId>) -> Option<Source> {
        let of_others = ["value", "object", "order", "limit"];
        for (name, _, value) in section.entries() {
            if of_others.contains(&name) {
                let problem =
                    "is for list and one, a count makes nothing of the related rows but their number";
                self.problems.add(&value.span(), &section.place_of(name), problem);
            }
        }
        section.refuse_unknown(&[COUNT_FIELDS, &of_others].concat(), self.problems);
        let relation = self.relation(section, "count", at)?;
        Some(Source::Count { relation, filters: self.filters(section, relation) })
    }

    /// The relation that `list`, `one`, `inline` or `count` names, which has to hang below the row at hand.
    pub(super) fn relation(
        &mut self,
        section: &Section<'_>,
        word: &str,
        at: Option<RelationId>,
    ) -> Option<RelationId> {
        let name = section.text(word, self.problems)?;
        let place = section.place_of(word);
        let here = self.row_name(at);
        let Some(position) = self.relations.iter().position(|relation| relation.name == name.text) else {
            let near = did_you_mean(&name.text, self.relations.iter().map(|relation| relation.name.as_str()));
            self.problems.add(&name.span, &place, format!("there is no relation {}{near}", name.text));
            return None;
        };
        let relation = &self.relations[position];
        if relation.below != at && self.are_relations_sound {
            let there = self.row_name(relation.below);
            let problem =
                format!("the relation {} hangs below {there}, and this is a row of {here}", relation.name);
            self.problems.add(&name.span, &place, problem);
            return None;
        }
        Some(RelationId(position))
    }

    fn row_name(&self, at: Option<RelationId>) -> String {
        at.map_or_else(|| "the root".to_owned(), |RelationId(at)| self.relations[at].name.clone())
    }

    fn item(&mut self, section: &Section<'_>, relation: RelationId, path: &str) -> Option<Item> {
        match (section.has("value"), section.has("object")) {
            (true, false) => {
                let value = section.get("value")?;
                self.expression(value, section.place_of("value"), Some(relation)).map(Item::Value)
            }
            (false, true) => {
                let object = section.section("object", "write { <field> = \"<column>\" }", self.problems)?;
                Some(Item::Object(self.fields(&object, Some(relation), path)))
            }
            (both, _) => {
                let has = if both { "has both value and object" } else { "has neither value nor object" };
                let problem =
                    format!("{has}, write value = \"<column>\" or object = {{ <field> = \"<column>\" }}");
                self.problems.add(&section.span, &section.place, problem);
                None
            }
        }
    }

    /// A column of the row at hand or, with `through.` in front, of the link table that led to it.
    pub(super) fn column(
        &mut self,
        text: &Text,
        place: &str,
        at: Option<RelationId>,
    ) -> Option<ColumnReference> {
        let through = text.text.strip_prefix(THROUGH);
        let column = through.unwrap_or(&text.text).to_owned();
        if through.is_some() && at.is_none_or(|RelationId(at)| self.relations[at].through.is_none()) {
            let row = at.map_or_else(
                || format!("rows of the root {} are", self.root),
                |RelationId(at)| format!("rows of the relation {} are", self.relations[at].name),
            );
            self.problems.add(
                &text.span,
                place,
                format!("{} is a column of a link table, and {row} not led to by one", text.text),
            );
            return None;
        }
        if let Some(problem) = name::problem_with(&column) {
            self.problems.add(&text.span, place, problem);
            return None;
        }
        Some(ColumnReference { through: through.is_some(), column })
    }
}

/// Refuses relations that neither the document nor a relation below them uses: they would be read for nothing.
pub(super) fn unused_relations(
    top: &Section<'_>,
    relations: &[Relation],
    document: &[Field],
    problems: &mut Problems<'_>,
) {
    let mut used = HashSet::new();
    collect_used(document, &mut used);
    // A relation stands behind the one it hangs below.
    for (position, relation) in relations.iter().enumerate().rev() {
        if used.contains(&position) {
            used.extend(relation.below.map(|below| below.0));
            continue;
        }
        let span = top.get("relation").and_then(|all| all.get_ref().get(relation.name.as_str()));
        let span = span.map_or(0..0, Spanned::span);
        let problem =
            "is not used in the document, use it there in a list, one, inline or count, or leave it out";
        problems.add(&span, &format!("relation.{}", relation.name), problem);
    }
}

fn collect_used(fields: &[Field], used: &mut HashSet<usize>) {
    for field in fields {
        let (relation, fields) = match &field.source {
            Source::One { relation, item: Item::Object(fields), .. }
            | Source::List { relation, item: Item::Object(fields), .. }
            | Source::Inline { relation, fields, .. } => (relation, fields.as_slice()),
            Source::One { relation, .. } | Source::List { relation, .. } | Source::Count { relation, .. } => {
                (relation, &[][..])
            }
            _ => continue,
        };
        used.insert(relation.0);
        collect_used(fields, used);
    }
}
