//! How documents are put together from the rows of a batch.
//!
//! The plan is made where the columns of a query are chosen (`postgres::plan`) and followed where documents are built
//! (`transform`); neither needs to know the other.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use crate::batch::{Batch, Version};
use crate::cell::CellFormat;
use crate::document::Refusal;
use crate::form::{Form, Part};
use crate::key::Key;
use crate::rows::Rows;

/// A column of the rows at hand and how to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlannedColumn {
    /// Its position in the row.
    pub position: usize,
    /// How its bytes are to be read.
    pub format: CellFormat,
}

/// How a document is built.
#[derive(Clone, Debug)]
pub struct DocumentPlan {
    /// The columns of the root's key, in its order.
    pub key: Vec<PlannedColumn>,
    /// The document's fields, in the order sent.
    pub fields: Vec<PlannedField>,
    /// The columns of each relation's own key: they make the order of lists total and tell rows apart.
    pub relation_keys: Vec<Vec<PlannedColumn>>,
    /// Whether a document with a value that JSON cannot hold is refused; else the value is null.
    pub refuses_nan: bool,
    /// Which columns of the key, by position, the routing is made of; none: the `_id` routes the document.
    pub routing: Vec<usize>,
}

impl DocumentPlan {
    /// What routes the document of this key; none where its `_id` does.
    ///
    /// An empty routing is none to an index server.
    pub fn routing_of(&self, key: &Key) -> Option<String> {
        if self.routing.is_empty() {
            return None;
        }
        let columns = key.columns(self.key.len())?;
        let routing: Vec<&String> =
            self.routing.iter().filter_map(|position| columns.get(*position)).collect();
        if routing.is_empty() {
            return None;
        }
        Some(Key::from_columns(&routing).as_str().to_owned()).filter(|routing| !routing.is_empty())
    }

    /// What the documents have in each field, for the comparison with a mapping.
    pub fn parts(&self) -> Vec<(String, Part)> {
        parts_of(&self.fields)
    }
}

fn parts_of(fields: &[PlannedField]) -> Vec<(String, Part)> {
    let item = |item: &PlannedItem| match item {
        PlannedItem::Value(column) => Part::of(column.format.form()),
        PlannedItem::Object(fields) => Part::Object(parts_of(fields)),
    };
    let mut parts = Vec::new();
    for field in fields {
        let part = match &field.source {
            PlannedSource::Cell(column) => Part::of(column.format.form()),
            PlannedSource::One(related) => item(&related.item),
            PlannedSource::List(related) => Part::List(Box::new(item(&related.item))),
            PlannedSource::Inline(related) => {
                if let PlannedItem::Object(fields) = &related.item {
                    parts.extend(parts_of(fields));
                }
                continue;
            }
            PlannedSource::Geo { lat, lon } => Part::Object(
                [("lat", lat), ("lon", lon)]
                    .map(|(name, column)| (name.to_owned(), Part::of(column.format.form())))
                    .into(),
            ),
            // Related rows of one row are never so many that an `integer` field refuses their number.
            PlannedSource::Count(_) => Part::of(Cow::Owned(Form::Integer(32))),
            // What these hold, the definition says, or each row.
            PlannedSource::Constant(_) | PlannedSource::Flatten { .. } | PlannedSource::Join { .. } => {
                continue;
            }
        };
        parts.push((field.name(), part));
    }
    parts
}

/// One field of a document or object.
#[derive(Clone, Debug)]
pub struct PlannedField {
    /// Its name as it is written: quoted, escaped, with the colon behind.
    pub label: Vec<u8>,
    /// Where its value comes from.
    pub source: PlannedSource,
}

impl PlannedField {
    /// Its name as the definition has it.
    pub(crate) fn name(&self) -> String {
        let quoted = self.label.strip_suffix(b":").unwrap_or(&self.label);
        serde_json::from_slice(quoted).unwrap_or_else(|_| String::from_utf8_lossy(quoted).into_owned())
    }
}

/// Where a field's value comes from.
#[derive(Clone, Debug)]
pub enum PlannedSource {
    /// A cell of the row at hand.
    Cell(PlannedColumn),
    /// Something made of the one related row; null if there is none.
    One(PlannedRelation),
    /// A list made of all related rows.
    List(PlannedRelation),
    /// The number of different related rows; its item is an empty object.
    Count(PlannedRelation),
    /// The same for every row: JSON.
    Constant(Vec<u8>),
    /// The fields of the object made of the one related row, in place of this field.
    Inline(PlannedRelation),
    /// The members of a JSON object, in place of this field.
    Flatten {
        /// The object.
        column: PlannedColumn,
        /// The names that other fields of the same object have: a member of such a name is left out.
        taken: Arc<HashSet<String>>,
    },
    /// A point; null where a part is.
    Geo {
        /// Degrees to the north.
        lat: PlannedColumn,
        /// Degrees to the east.
        lon: PlannedColumn,
    },
    /// The kind of the document and its parent's id.
    Join {
        /// The kind.
        name: PlannedJoinName,
        /// The parent's id; left out where it is NULL.
        parent: Option<PlannedColumn>,
    },
}

impl PlannedSource {
    /// The cells of the row at hand that decide what is written; what related rows add is not among them.
    pub fn columns(&self) -> impl Iterator<Item = PlannedColumn> {
        let columns = match self {
            Self::Cell(column) | Self::Flatten { column, .. } => [Some(*column), None],
            Self::Geo { lat, lon } => [Some(*lat), Some(*lon)],
            Self::Join { name, parent } => match name {
                PlannedJoinName::Constant(_) => [*parent, None],
                PlannedJoinName::Of(name) => [Some(*name), *parent],
            },
            Self::One(_) | Self::List(_) | Self::Count(_) | Self::Inline(_) | Self::Constant(_) => {
                [None, None]
            }
        };
        columns.into_iter().flatten()
    }
}

/// The kind of a document in a join field.
#[derive(Clone, Debug)]
pub enum PlannedJoinName {
    /// The same for all: JSON.
    Constant(Vec<u8>),
    /// As a cell says.
    Of(PlannedColumn),
}

/// What is made of the related rows.
#[derive(Clone, Debug)]
pub struct PlannedRelation {
    /// The relation's position in the definition.
    pub relation: usize,
    /// Which rows count; all of them without one.
    pub filter: Option<PlannedFilter>,
    /// What the rows are ordered by before the item's values and the key decide: column and whether descending.
    pub order: Vec<(PlannedColumn, bool)>,
    /// The most items.
    pub limit: Option<usize>,
    /// What is made of each row.
    pub item: PlannedItem,
}

/// Which related rows count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedFilter {
    /// Those of which a boolean cell is true.
    Holds {
        /// The position of the cell.
        position: usize,
    },
    /// Those with one of these values in a cell.
    OneOf {
        /// The position of the cell.
        position: usize,
        /// The values, as the cell has them.
        values: Vec<Vec<u8>>,
    },
}

impl PlannedFilter {
    /// Whether a row counts.
    pub fn counts(&self, rows: &Rows, row: usize) -> bool {
        match self {
            Self::Holds { position } => matches!(rows.cell(row, *position), Some([1])),
            Self::OneOf { position, values } => {
                rows.cell(row, *position).is_some_and(|cell| values.iter().any(|value| value == cell))
            }
        }
    }
}

/// What is made of a related row.
#[derive(Clone, Debug)]
pub enum PlannedItem {
    /// One column's value.
    Value(PlannedColumn),
    /// An object.
    Object(Vec<PlannedField>),
}

/// The rows of a relation for a batch, attached to the rows one step nearer to the root.
#[derive(Clone, Debug)]
pub struct RelatedRows {
    /// The rows.
    pub rows: Rows,
    /// For each row of the nearer table, which group of `groups` it has; none where its join columns hold a NULL.
    pub group_of_nearer_row: Vec<Option<u32>>,
    /// For each group, where its rows lie in `order`: `starts[group]..starts[group + 1]`.
    pub starts: Vec<u32>,
    /// Row numbers, group by group.
    pub order: Vec<u32>,
}

impl RelatedRows {
    /// The numbers of the rows that belong to `nearer_row`.
    pub fn rows_of(&self, nearer_row: usize) -> &[u32] {
        let Some(Some(group)) = self.group_of_nearer_row.get(nearer_row) else { return &[] };
        let group = *group as usize;
        &self.order[self.starts[group] as usize..self.starts[group + 1] as usize]
    }
}

/// All rows of a batch, read in one snapshot.
#[derive(Debug)]
pub struct ExtractedBatch {
    /// The batch, cut to what was read.
    pub batch: Batch,
    /// Drawn before the snapshot was opened.
    pub version: Version,
    /// How its documents are built.
    pub plan: Arc<DocumentPlan>,
    /// The root rows.
    pub roots: Rows,
    /// The rows of each relation, in the definition's order.
    pub relations: Vec<RelatedRows>,
    /// Keys whose root row is gone or filtered out.
    pub missing: Vec<Key>,
    /// Hashed ids, given as keys, of rows that are there: nothing is to be done, since the row has a key of its own.
    pub settled: Vec<Key>,
    /// Documents that are too large to be built.
    pub refused: Vec<Refusal>,
}

/// The key of a root row, whose columns `columns` names in the key's order.
pub fn root_key(columns: &[PlannedColumn], roots: &Rows, row: usize) -> Key {
    let text =
        |column: &PlannedColumn| column.format.text(roots.cell(row, column.position).unwrap_or_default());
    match columns {
        // One column is the key as it is.
        [only] => Key::from_encoded(text(only)),
        several => Key::from_columns(&several.iter().map(text).collect::<Vec<_>>()),
    }
}
