//! Reads the document's fields, and those of the objects in it.
//!
//! A plain text is a column of the row at hand: the root's, or the row of the relation whose object the field is in.
//! `{ list = … }` and `{ one = … }` make something of the rows of a relation that hangs below that row. In an item,
//! `where` and `order`, `through.<column>` is a column of the link table that led to the related row.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use crate::definition::name;
use crate::definition::section::{Problems, Section, Text, Value, kind, text_of, texts_of};
use crate::definition::{
    ColumnReference, Field, Filter, FilterTest, Item, OrderColumn, Relation, RelationId, Source, TableName,
};
use crate::suggestion::did_you_mean;

const LIST_FIELDS: &[&str] = &["list", "value", "object", "where", "order", "limit"];
const ONE_FIELDS: &[&str] = &["one", "value", "object", "where"];

/// What stands before a column of the link table.
const THROUGH: &str = "through.";

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

const FIELD_ADVICE: &str =
    "write a column's name, { list = \"<relation>\", … } or { one = \"<relation>\", … }";

/// Reads the fields; remembers where each stands.
pub(super) struct DocumentReader<'r, 't, 'p> {
    relations: &'r [Relation],
    root: &'r TableName,
    pub(super) problems: &'p mut Problems<'t>,
    /// Whether the relations hang where they should; if not, what is made of them is not called wrong too.
    are_relations_sound: bool,
    /// Where the field of each path (as `directors.id`) stands in the file.
    pub(super) places: HashMap<String, Range<usize>>,
}

impl<'r, 't, 'p> DocumentReader<'r, 't, 'p> {
    pub(super) fn new(
        relations: &'r [Relation],
        root: &'r TableName,
        problems: &'p mut Problems<'t>,
    ) -> Self {
        let are_relations_sound = problems.is_empty();
        Self { relations, root, problems, are_relations_sound, places: HashMap::new() }
    }

    /// Reads the fields of a document or object; `at` is the relation whose row is at hand, none for the root's.
    pub(super) fn fields(&mut self, section: &Section<'_>, at: Option<RelationId>, path: &str) -> Vec<Field> {
        let mut fields = Vec::new();
        for (name, span, value) in section.entries() {
            let place = section.place_of(name);
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            if at.is_none() && RESERVED.contains(&name) {
                self.problems.add(&span, &place, "the index server keeps this name for itself");
            }
            if name.split('.').any(|part| part.trim().is_empty()) {
                self.problems.add(
                    &span,
                    &place,
                    "a field's name is not empty, nor is any part between its dots",
                );
            }
            self.places.insert(path.clone(), span);
            if let Some(source) = self.source(value, place, at, &path) {
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
            return self.column(&text, &place, at).map(Source::Column);
        }
        let section = Section::of(value, place, FIELD_ADVICE, self.problems)?;
        match (section.has("list"), section.has("one")) {
            (true, false) => self.list(&section, at, path),
            (false, true) => self.one(&section, at, path),
            (true, true) => {
                self.problems.add(&section.span, &section.place, "has both list and one, keep one of them");
                None
            }
            (false, false) => {
                let written: Vec<&str> = section.entries().map(|(name, ..)| name).collect();
                let near = written.iter().find_map(|name| {
                    let near = did_you_mean(name, ["list", "one"]);
                    (!near.is_empty()).then(|| format!("unknown field {name}{near}"))
                });
                self.problems.add(
                    &section.span,
                    &section.place,
                    near.unwrap_or_else(|| FIELD_ADVICE.to_owned()),
                );
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
        for name in ["order", "limit"] {
            if let Some(value) = section.get(name) {
                self.problems.add(
                    &value.span(),
                    &section.place_of(name),
                    "is for lists, one takes the only related row",
                );
            }
        }
        section.refuse_unknown(&[ONE_FIELDS, &["order", "limit"]].concat(), self.problems);
        let relation = self.relation(section, "one", at)?;
        let item = self.item(section, relation, path);
        let filters = self.filters(section, relation);
        Some(Source::One { relation, item: item?, filters })
    }

    /// The relation that `list` or `one` names, which has to hang below the row at hand.
    fn relation(&mut self, section: &Section<'_>, word: &str, at: Option<RelationId>) -> Option<RelationId> {
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
                let column = section.text("value", self.problems)?;
                self.column(&column, &section.place_of("value"), Some(relation)).map(Item::Value)
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

    fn filters(&mut self, section: &Section<'_>, relation: RelationId) -> Vec<Filter> {
        let advice = "write { <column> = <value>, … }";
        let Some(conditions) = section.section("where", advice, self.problems) else { return Vec::new() };
        let mut filters = Vec::new();
        let mut add = |reader: &mut Self, name: &str, span: Range<usize>, value: &Value<'_>| {
            let place = section.place_of(&format!("where.{name}"));
            let column = reader.column(&Text { text: name.to_owned(), span }, &place, Some(relation));
            let test = reader.test(value, &place);
            filters.extend(column.zip(test).map(|(column, test)| Filter { column, test }));
        };
        for (name, span, value) in conditions.entries() {
            // `through.role = …` is a table `through` to TOML.
            let Some(link) = value.get_ref().as_table().filter(|_| name == "through") else {
                add(self, name, span, value);
                continue;
            };
            for (name, value) in link {
                add(self, &format!("{THROUGH}{}", name.get_ref()), name.span(), value);
            }
        }
        if conditions.entries().next().is_none() {
            self.problems.add(
                &conditions.span,
                &conditions.place,
                format!("must not be empty, {advice} or leave it out"),
            );
        }
        filters
    }

    fn test(&mut self, value: &Value<'_>, place: &str) -> Option<FilterTest> {
        const ADVICE: &str = "write a value, an array of values or { null = true }";
        match value.get_ref() {
            DeValue::Array(array) => {
                if array.is_empty() {
                    self.problems.add(
                        &value.span(),
                        place,
                        "an empty array lets no row through, write at least one value",
                    );
                }
                let mut values: Vec<String> = Vec::new();
                for item in array {
                    values.extend(
                        self.literal(item, place, "write plain values in the array")
                            .filter(|text| !values.contains(text)),
                    );
                }
                (!values.is_empty()).then_some(FilterTest::OneOf(values))
            }
            DeValue::Table(_) => {
                let test = Section::of(value, place.to_owned(), ADVICE, self.problems)?;
                test.refuse_unknown(&["null"], self.problems);
                match test.get("null").map(|value| (value.get_ref().as_bool(), value)) {
                    Some((Some(is_null), _)) => Some(FilterTest::IsNull(is_null)),
                    Some((None, value)) => {
                        self.problems.add(&value.span(), &test.place_of("null"), "write true or false");
                        None
                    }
                    None => {
                        self.problems.add(&test.span, place, ADVICE);
                        None
                    }
                }
            }
            _ => self.literal(value, place, ADVICE).map(|text| FilterTest::OneOf(vec![text])),
        }
    }

    /// A plain value in PostgreSQL's text form.
    fn literal(&mut self, value: &Value<'_>, place: &str, advice: &str) -> Option<String> {
        let text = match value.get_ref() {
            DeValue::String(text) if text.contains('\0') => None,
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Boolean(is_true) => Some(is_true.to_string()),
            DeValue::Datetime(time) => Some(time.to_string()),
            DeValue::Integer(number) => {
                i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
            }
            DeValue::Float(number) => {
                Some(number.as_str().to_owned()).filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite))
            }
            DeValue::Array(_) | DeValue::Table(_) => None,
        };
        if text.is_none() {
            self.problems.add(&value.span(), place, format!("{advice}, this is {}", kind(value)));
        }
        text
    }

    /// Reads `order = ["-year", "name"]`; a minus is for largest first.
    fn order(&mut self, section: &Section<'_>, relation: RelationId) -> Vec<OrderColumn> {
        let Some(value) = section.get("order") else { return Vec::new() };
        let place = section.place_of("order");
        let advice = "write columns as [\"-year\", \"name\"], with - for largest first";
        let mut order: Vec<OrderColumn> = Vec::new();
        for Text { text, span } in texts_of(value, &place, advice, self.problems) {
            let descending = text.starts_with('-');
            let column =
                Text { text: text.strip_prefix('-').unwrap_or(&text).to_owned(), span: span.clone() };
            let Some(column) = self.column(&column, &place, Some(relation)) else { continue };
            if order.iter().any(|known| known.column == column) {
                self.problems.add(&span, &place, format!("names the column {} twice", column.column));
            }
            order.push(OrderColumn { column, descending });
        }
        order
    }

    fn limit(&mut self, section: &Section<'_>) -> Option<usize> {
        let value = section.get("limit")?;
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
        let limit = number.filter(|number| *number > 0);
        if limit.is_none() {
            self.problems.add(
                &value.span(),
                &section.place_of("limit"),
                "write a whole number of at least 1",
            );
        }
        limit
    }

    /// A column of the row at hand or, with `through.` in front, of the link table that led to it.
    fn column(&mut self, text: &Text, place: &str, at: Option<RelationId>) -> Option<ColumnReference> {
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
        let problem = "is not used in the document, use it there in a list or one, or leave it out";
        problems.add(&span, &format!("relation.{}", relation.name), problem);
    }
}

fn collect_used(fields: &[Field], used: &mut HashSet<usize>) {
    for field in fields {
        if let Source::One { relation, item, .. } | Source::List { relation, item, .. } = &field.source {
            used.insert(relation.0);
            if let Item::Object(fields) = item {
                collect_used(fields, used);
            }
        }
    }
}
