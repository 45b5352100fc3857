//! What a generated schema and its definition are made of; everything else is derived from it.

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
}

impl Model {
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
}
