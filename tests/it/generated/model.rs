//! What a generated schema and its definition are made of; everything else is derived from it.

use std::collections::BTreeSet;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Few values, for joins and filters that meet many rows.
    Small,
    Int,
    BigInt,
    Uuid,
    Text,
    Date,
    Timestamp,
    Numeric,
    Float,
    Bool,
    Array,
    Json,
}

impl Kind {
    /// As PostgreSQL calls it.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Small => "smallint",
            Self::Int => "integer",
            Self::BigInt => "bigint",
            Self::Uuid => "uuid",
            Self::Text => "text",
            Self::Date => "date",
            Self::Timestamp => "timestamptz",
            Self::Numeric => "numeric",
            Self::Float => "float8",
            Self::Bool => "boolean",
            Self::Array => "text[]",
            Self::Json => "jsonb",
        }
    }

    /// Whether the documentation says how its values are ordered.
    pub fn is_ordered(self) -> bool {
        !matches!(self, Self::Array | Self::Json)
    }
}

#[derive(Debug)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    pub nullable: bool,
    /// Set from another table's columns, not by itself.
    pub is_reference: bool,
}

/// Columns that hold what columns of another table hold, mostly.
#[derive(Debug)]
pub struct Reference {
    pub columns: Vec<usize>,
    pub table: usize,
    pub targets: Vec<usize>,
}

#[derive(Debug)]
pub struct Table {
    pub schema: String,
    pub name: String,
    pub columns: Vec<Column>,
    /// Empty for a link table whose rows may be equal.
    pub key: Vec<usize>,
    /// Whether the key is the primary key; else the definition states it.
    pub has_primary_key: bool,
    pub cursor: Option<String>,
    pub references: Vec<Reference>,
    pub storage: Storage,
}

/// How a table keeps its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    Plain,
    /// A view of a table that is written through it.
    View,
    /// Of a table that is written instead of it.
    MaterializedView,
    /// By the hash of this column.
    Partitioned(usize),
}

/// A table that names the keys of deleted rows of the root, filled by a trigger.
#[derive(Debug)]
pub struct Tombstone {
    pub table: String,
    /// For each column of the root's key whether it is a text there, whatever it is in the root.
    pub is_text: Vec<bool>,
}

/// Pairs of a column of the farther table and one of the nearer.
pub type Join = Vec<(usize, usize)>;

#[derive(Debug)]
pub struct Through {
    pub table: usize,
    pub on: Join,
}

#[derive(Debug)]
pub struct Relation {
    pub name: String,
    pub table: usize,
    pub below: Option<usize>,
    pub on: Join,
    pub through: Option<Through>,
    /// SQL with `{t}` and `{l}` for the row and the link table's row.
    pub condition: Option<String>,
    pub depth: usize,
    /// At most one row, by its key.
    pub is_single: bool,
}

/// A value of the row at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Column {
        is_link: bool,
        column: usize,
    },
    /// With `{t}` and `{l}`, and the type that it has.
    Sql(String, Kind),
}

#[derive(Debug)]
pub enum Test {
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
    Between(String, String),
    IsNull(bool),
}

#[derive(Debug)]
pub enum Filter {
    Columns(Vec<(bool, usize, Test)>),
    Sql(String),
}

#[derive(Debug)]
pub enum Item {
    Value(Value),
    Object(Vec<Field>),
}

#[derive(Debug)]
pub struct Field {
    pub name: String,
    pub source: Source,
}

#[derive(Debug)]
pub enum Source {
    Value(Value),
    /// The same text is a value of TOML and of JSON.
    Constant(&'static str),
    /// The members of an object in a value.
    Flatten(Value),
    Geo {
        lat: Value,
        lon: Value,
    },
    /// A join field: without the column, the first of the kinds; else the second where it is not NULL, with it as parent.
    Join(Option<usize>),
    Count {
        relation: usize,
        filter: Option<Filter>,
    },
    One {
        relation: usize,
        item: Item,
        filter: Option<Filter>,
    },
    Inline {
        relation: usize,
        fields: Vec<Field>,
        filter: Option<Filter>,
    },
    List {
        relation: usize,
        item: Item,
        filter: Option<Filter>,
        order: Vec<(Value, bool)>,
        limit: Option<usize>,
    },
}

/// A schema, what is made of it, and which document.
#[derive(Debug, Default)]
pub struct Model {
    /// The first is the root.
    pub tables: Vec<Table>,
    pub relations: Vec<Relation>,
    /// SQL with `{t}`.
    pub root_condition: Option<String>,
    pub document: Vec<Field>,
    /// Columns of the root's key.
    pub routing: Vec<usize>,
    pub tombstone: Option<Tombstone>,
}

/// The kinds of documents of a join field, parent and child.
pub const JOIN_KINDS: [&str; 2] = ["question", "answer"];

/// What a tree or a document may have or not.
pub const FEATURES: [&str; 15] = [
    "a view",
    "a materialized view",
    "a partitioned table",
    "_routing",
    "a tombstone",
    "a link table",
    "depth",
    "constant",
    "flatten",
    "geo",
    "join",
    "count",
    "one",
    "inline",
    "limit",
];

impl Model {
    /// Which of [`FEATURES`] it has.
    pub fn features(&self) -> BTreeSet<&'static str> {
        let mut found = BTreeSet::new();
        for table in &self.tables {
            found.extend(match table.storage {
                Storage::Plain => None,
                Storage::View => Some("a view"),
                Storage::MaterializedView => Some("a materialized view"),
                Storage::Partitioned(_) => Some("a partitioned table"),
            });
        }
        found.extend((!self.routing.is_empty()).then_some("_routing"));
        found.extend(self.tombstone.as_ref().map(|_| "a tombstone"));
        for relation in &self.relations {
            found.extend(relation.through.as_ref().map(|_| "a link table"));
            found.extend((relation.depth > 1).then_some("depth"));
        }
        features_of(&self.document, &mut found);
        found
    }

    /// The table of a relation, or of the root.
    pub fn table_of(&self, relation: Option<usize>) -> &Table {
        &self.tables[self.table_number(relation)]
    }

    pub fn table_number(&self, relation: Option<usize>) -> usize {
        relation.map_or(0, |relation| self.relations[relation].table)
    }

    /// The link table of a relation.
    pub fn link_of(&self, relation: Option<usize>) -> Option<&Table> {
        let through = self.relations[relation?].through.as_ref()?;
        Some(&self.tables[through.table])
    }

    /// The table and the column of a reference from the row at hand.
    pub fn column(&self, relation: Option<usize>, is_link: bool, column: usize) -> &Column {
        let table = if is_link { self.link_of(relation).unwrap() } else { self.table_of(relation) };
        &table.columns[column]
    }

    pub fn kind_of(&self, relation: Option<usize>, value: &Value) -> Kind {
        match value {
            Value::Column { is_link, column } => self.column(relation, *is_link, *column).kind,
            Value::Sql(_, kind) => *kind,
        }
    }

    /// Whether a deleted row of the root takes its own document away and changes no other.
    pub fn is_root_apart(&self) -> bool {
        self.relations.iter().all(|relation| {
            relation.table != 0 && relation.through.as_ref().is_none_or(|through| through.table != 0)
        })
    }

    /// Whether polling cannot see what a change of this column takes away: it leads towards the root.
    pub fn is_anchor(&self, table: usize, column: usize) -> bool {
        self.tables[table].key.contains(&column)
            || self.relations.iter().any(|relation| {
                let leads = |of: usize, on: &Join| of == table && on.iter().any(|(own, _)| *own == column);
                match &relation.through {
                    Some(through) => leads(through.table, &through.on) || leads(relation.table, &relation.on),
                    None => leads(relation.table, &relation.on),
                }
            })
    }
}

fn features_of(fields: &[Field], found: &mut BTreeSet<&'static str>) {
    for field in fields {
        found.extend(match &field.source {
            Source::Value(_) => None,
            Source::Constant(_) => Some("constant"),
            Source::Flatten(_) => Some("flatten"),
            Source::Geo { .. } => Some("geo"),
            Source::Join(_) => Some("join"),
            Source::Count { .. } => Some("count"),
            Source::One { .. } => Some("one"),
            Source::Inline { .. } => Some("inline"),
            Source::List { limit, .. } => limit.map(|_| "limit"),
        });
        match &field.source {
            Source::Inline { fields, .. }
            | Source::One { item: Item::Object(fields), .. }
            | Source::List { item: Item::Object(fields), .. } => features_of(fields, found),
            _ => {}
        }
    }
}

/// An identifier in SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A literal in SQL.
pub fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

impl Table {
    pub fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// What a view is of; the table itself if it is none.
    pub fn base(&self) -> String {
        match self.storage {
            Storage::Plain | Storage::Partitioned(_) => self.sql(),
            Storage::View | Storage::MaterializedView => {
                format!("{}.{}", quoted(&self.schema), quoted(&format!("{} base", self.name)))
            }
        }
    }

    /// What is written to.
    pub fn written(&self) -> String {
        if self.storage == Storage::View { self.sql() } else { self.base() }
    }

    /// What makes a change of the rows seen.
    pub fn shown(&self) -> Option<String> {
        (self.storage == Storage::MaterializedView)
            .then(|| format!("refresh materialized view {}", self.sql()))
    }
}
