//! Reads the tables of a definition file and collects everything that is wrong with them, each with its line.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::definition::name;
use crate::suggestion::did_you_mean;

/// A value with its place in the file.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// Everything that is wrong with a definition, to be said at once.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    text: &'t str,
    found: BTreeSet<(usize, String)>,
}

impl<'t> Problems<'t> {
    /// Begins with none; `text` is the file, for its lines.
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, found: BTreeSet::new() }
    }

    /// Says what is wrong at `place` (as `relation.genre.on`) and what would be right.
    pub(super) fn add(&mut self, span: &Range<usize>, place: &str, problem: impl Display) {
        let line = self.line(span);
        let colon = if place.is_empty() { "" } else { ": " };
        self.found.insert((line, format!("line {line}: {place}{colon}{problem}")));
    }

    /// The number of a place's line.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        1 + self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
    }

    /// Says what is wrong in another file.
    pub(super) fn add_elsewhere(&mut self, problem: impl Into<String>) {
        self.found.insert((usize::MAX, problem.into()));
    }

    /// Whether nothing was found wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them in the order of the lines.
    pub(super) fn into_texts(self) -> Vec<String> {
        self.found.into_iter().map(|(_, problem)| problem).collect()
    }
}

/// A text with its place in the file.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// The text; not empty.
    pub(super) text: String,
    /// Where it stands.
    pub(super) span: Range<usize>,
}

/// A table of the file, with its place.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    table: &'a DeTable<'a>,
    /// Its name from the top of the file; empty for the top itself.
    pub(super) place: String,
    /// Where it stands.
    pub(super) span: Range<usize>,
}

impl<'a> Section<'a> {
    /// The file as a whole.
    pub(super) fn top(document: &'a Spanned<DeTable<'a>>) -> Self {
        Self { table: document.get_ref(), place: String::new(), span: 0..0 }
    }

    /// Takes a value as a table; a problem, with `advice` on what to write, if it is none.
    pub(super) fn of(
        value: &'a Value<'a>,
        place: String,
        advice: &str,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        match value.get_ref().as_table() {
            Some(table) => Some(Self { table, place, span: value.span() }),
            None => {
                problems.add(&value.span(), &place, format!("{advice}, this is {}", kind(value)));
                None
            }
        }
    }

    /// The name of one of its entries from the top of the file.
    pub(super) fn place_of(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    /// Its entries in the order of the file.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Range<usize>, &'a Value<'a>)> + use<'a> {
        self.table.iter().map(|(name, value)| (name.get_ref().as_ref(), name.span(), value))
    }

    /// One of its entries.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value<'a>> {
        self.table.get(name)
    }

    /// Whether there is such an entry.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Refuses entries that are not `known`.
    pub(super) fn refuse_unknown(&self, known: &[&str], problems: &mut Problems<'_>) {
        for (name, span, _) in self.entries() {
            if !known.contains(&name) {
                let near = did_you_mean(name, known.iter().copied());
                let known = if near.is_empty() { format!(", known are {}", known.join(", ")) } else { near };
                problems.add(&span, &self.place_of(name), format!("unknown field{known}"));
            }
        }
    }

    /// An entry that is a table.
    pub(super) fn section(&self, name: &str, advice: &str, problems: &mut Problems<'_>) -> Option<Self> {
        Self::of(self.get(name)?, self.place_of(name), advice, problems)
    }

    /// An entry that is a text.
    pub(super) fn text(&self, name: &str, problems: &mut Problems<'_>) -> Option<Text> {
        text_of(self.get(name)?, &self.place_of(name), problems)
    }

    /// An entry that is a text and must be there; `advice` says what to write if not.
    pub(super) fn required_text(
        &self,
        name: &str,
        advice: &str,
        problems: &mut Problems<'_>,
    ) -> Option<Text> {
        if !self.has(name) {
            problems.add(&self.span, &self.place_of(name), format!("is missing, {advice}"));
        }
        self.text(name, problems)
    }

    /// An entry that is the name of a column.
    pub(super) fn column(&self, name: &str, problems: &mut Problems<'_>) -> Option<String> {
        let column = self.text(name, problems)?;
        checked_column(&column, &self.place_of(name), problems)
    }

    /// An entry that is a list of different columns; empty if it is not there.
    pub(super) fn columns(&self, name: &str, problems: &mut Problems<'_>) -> Vec<String> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let place = self.place_of(name);
        let mut columns: Vec<String> = Vec::new();
        for text in texts_of(value, &place, "write column names as [\"id\"]", problems) {
            if columns.contains(&text.text) {
                problems.add(&text.span, &place, format!("names the column {} twice", text.text));
            }
            columns.extend(checked_column(&text, &place, problems));
        }
        columns
    }
}

fn checked_column(column: &Text, place: &str, problems: &mut Problems<'_>) -> Option<String> {
    if let Some(problem) = name::problem_with(&column.text) {
        problems.add(&column.span, place, problem);
        return None;
    }
    Some(column.text.clone())
}

/// Takes a value as a text that is not empty.
pub(super) fn text_of(value: &Value<'_>, place: &str, problems: &mut Problems<'_>) -> Option<Text> {
    let span = value.span();
    match value.get_ref().as_str() {
        Some(text) if !text.trim().is_empty() => Some(Text { text: text.to_owned(), span }),
        Some(_) => {
            problems.add(&span, place, "must not be empty");
            None
        }
        None => {
            problems.add(&span, place, format!("write a text in quotes, this is {}", kind(value)));
            None
        }
    }
}

/// Takes a value as an array of texts, of which there is at least one.
pub(super) fn texts_of(
    value: &Value<'_>,
    place: &str,
    advice: &str,
    problems: &mut Problems<'_>,
) -> Vec<Text> {
    let Some(array) = value.get_ref().as_array() else {
        problems.add(&value.span(), place, format!("{advice}, this is {}", kind(value)));
        return Vec::new();
    };
    if array.is_empty() {
        problems.add(&value.span(), place, format!("must not be empty, {advice} or leave it out"));
    }
    array.iter().filter_map(|item| text_of(item, place, problems)).collect()
}

/// The kind of a value with its article.
pub(super) fn kind(value: &Value<'_>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
