//! The checked definition: what the rest of the program sees.
//!
//! Only [`crate::definition::parse`] makes one, so its invariants hold everywhere: relations stand after the one they
//! hang below, every name used in the document is a relation below the right one, and no list of columns is empty.

use std::fmt;

/// A table's name with its PostgreSQL schema.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// The PostgreSQL schema; `public` where the file names none.
    pub schema: String,
    /// The table's own name.
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.schema, self.name)
    }
}

/// The position of a relation in [`Definition::relations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelationId(pub usize);

/// Says which tables make which document of which index.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The alias of the index.
    pub index: String,
    /// The index body that a new generation is created with: `settings` and `mappings`.
    pub mapping: serde_json::Map<String, serde_json::Value>,
    /// SHA-256, in hex, of the checked definition and mapping, independent of comments and layout.
    pub hash: String,
    /// The table with one row per document.
    pub root: Root,
    /// The relations; each stands after the one it hangs below.
    pub relations: Vec<Relation>,
    /// Tables that name deleted root rows.
    pub tombstones: Vec<Tombstone>,
    /// The document's fields, in the order sent.
    pub document: Vec<Field>,
    /// The zone of cursor columns without one; the server's own `TimeZone` setting if not given.
    pub timezone: Option<String>,
    /// What becomes of a value that JSON cannot hold.
    pub on_nan: OnNan,
    /// The columns of the root's key that the routing of a document is made of; empty: its `_id` routes it.
    pub routing: Vec<String>,
    /// The ingest pipeline of the index server that documents go through.
    pub pipeline: Option<String>,
}

/// What becomes of a NaN or an infinity of a number or time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNan {
    /// It is null in the document.
    #[default]
    Null,
    /// The document is refused and becomes a dead letter.
    Refuse,
}

impl Definition {
    /// Every table that the definition names, each once.
    pub fn tables(&self) -> Vec<TableName> {
        let mut tables = vec![self.root.table.clone()];
        for relation in &self.relations {
            tables.push(relation.table.clone());
            tables.extend(relation.through.iter().map(|through| through.table.clone()));
        }
        tables.extend(self.tombstones.iter().map(|tombstone| tombstone.table.clone()));
        tables.sort();
        tables.dedup();
        tables
    }
}

/// The root table.
#[derive(Clone, Debug)]
pub struct Root {
    /// Its name.
    pub table: TableName,
    /// Its key columns; empty: the primary key.
    pub key: Vec<String>,
    /// The column that the cursor feed polls.
    pub cursor: Option<String>,
    /// A condition in SQL that a root row must meet to have a document.
    pub condition: Option<String>,
}

/// A table joined to the root or to another relation.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Its name in the definition.
    pub name: String,
    /// Its table.
    pub table: TableName,
    /// Its key columns; empty: the primary key.
    pub key: Vec<String>,
    /// The column that the cursor feed polls.
    pub cursor: Option<String>,
    /// The relation it hangs below; the root if none.
    pub below: Option<RelationId>,
    /// The link table between it and what it hangs below.
    pub through: Option<Through>,
    /// How its columns equal those of the table one step nearer to the root: the link table if there is one.
    pub on: Vec<JoinColumn>,
    /// A condition in SQL that a row must meet to count anywhere in the document.
    pub condition: Option<String>,
}

/// A link table.
#[derive(Clone, Debug)]
pub struct Through {
    /// Its name.
    pub table: TableName,
    /// Its key columns; empty: the primary key.
    pub key: Vec<String>,
    /// The column that the cursor feed polls.
    pub cursor: Option<String>,
    /// How its columns equal those of the table one step nearer to the root.
    pub on: Vec<JoinColumn>,
}

/// A table whose rows name keys of the root that were deleted, or changed otherwise.
#[derive(Clone, Debug)]
pub struct Tombstone {
    /// Its name.
    pub table: TableName,
    /// Its key columns; empty: the primary key.
    pub key: Vec<String>,
    /// The column that the cursor feed polls.
    pub cursor: String,
    /// Which of its columns hold the root's key.
    pub on: Vec<JoinColumn>,
    /// A condition in SQL that a row must meet to name a key.
    pub condition: Option<String>,
}

/// One pair of equal columns of a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinColumn {
    /// The column of the table farther from the root.
    pub column: String,
    /// The column of the table one step nearer to the root.
    pub nearer: String,
}

/// A field of a document or of an object in it.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in the document.
    pub name: String,
    /// Where its value comes from.
    pub source: Source,
}

/// Where a field's value comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A value of the row at hand (the root's, or the row of the relation whose object this is in).
    Value(Expression),
    /// The same in every document.
    Constant(serde_json::Value),
    /// The fields of the object of the one related row stand here in place of this field, whose own name is not sent;
    /// without a row they are null, and lists among them empty.
    Inline {
        /// The relation, which hangs below the row at hand.
        relation: RelationId,
        /// The fields.
        fields: Vec<Field>,
        /// Which of the related rows count.
        filters: Vec<Filter>,
    },
    /// The members of a JSON object stand here in place of this field, whose own name is not sent.
    Flatten(Expression),
    /// A point on the map; null where either part is.
    Geo {
        /// Degrees to the north.
        lat: Expression,
        /// Degrees to the east.
        lon: Expression,
    },
    /// The field by which the index server knows parents and children of one index.
    Join {
        /// Which kind of document this is.
        name: JoinName,
        /// The `_id` of the parent; none for a kind that has none.
        parent: Option<Expression>,
    },
    /// The one related row; null where there is none.
    One {
        /// The relation, which hangs below the row at hand.
        relation: RelationId,
        /// What is made of its row.
        item: Item,
        /// Which of the related rows count.
        filters: Vec<Filter>,
    },
    /// All related rows, in a stable order; empty where there are none.
    List {
        /// The relation, which hangs below the row at hand.
        relation: RelationId,
        /// What is made of each row.
        item: Item,
        /// Which of the related rows count.
        filters: Vec<Filter>,
        /// The order of the rows, before the items' values and the key decide; empty: just these.
        order: Vec<OrderColumn>,
        /// The most items of the list.
        limit: Option<usize>,
    },
    /// How many different related rows there are.
    Count {
        /// The relation, which hangs below the row at hand.
        relation: RelationId,
        /// Which of the related rows count.
        filters: Vec<Filter>,
    },
}

/// What is made of a related row.
#[derive(Clone, Debug)]
pub enum Item {
    /// One value.
    Value(Expression),
    /// An object.
    Object(Vec<Field>),
}

/// A value of the row at hand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expression {
    /// A column's.
    Column(ColumnReference),
    /// What PostgreSQL makes of the row by this SQL, in which the row is `t`, and the link table's row `through`.
    Sql(String),
}

/// The kind of a document in a join field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinName {
    /// The same for all.
    Constant(String),
    /// As the row says.
    Of(Expression),
}

/// A column of the row at hand or of the link table that led to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ColumnReference {
    /// Whether it is a column of the link table (`through.role`).
    pub through: bool,
    /// The column's name.
    pub column: String,
}

/// A condition on a related row; all of a field's filters must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// A column compared with values.
    Column {
        /// The column.
        column: ColumnReference,
        /// What must hold for it.
        test: FilterTest,
    },
    /// A condition in SQL, in which the row is `t`, and the link table's row `through`.
    Sql(String),
}

/// What must hold for a filter's column; values are in PostgreSQL's text form and take the column's type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FilterTest {
    /// Equal to one of these (one for plain equality).
    OneOf(Vec<String>),
    /// NULL, or equal to none of these.
    NoneOf(Vec<String>),
    /// Less or greater than this.
    Compared(Comparison, String),
    /// Is null (`true`) or is not null (`false`).
    IsNull(bool),
}

/// How two values stand to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `gt`.
    Greater,
    /// `gte`.
    GreaterOrEqual,
    /// `lt`.
    Less,
    /// `lte`.
    LessOrEqual,
}

impl Comparison {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Greater, Self::GreaterOrEqual, Self::Less, Self::LessOrEqual];

    /// Its name in a definition.
    pub fn word(self) -> &'static str {
        match self {
            Self::Greater => "gt",
            Self::GreaterOrEqual => "gte",
            Self::Less => "lt",
            Self::LessOrEqual => "lte",
        }
    }

    /// Its operator in SQL.
    pub fn operator(self) -> &'static str {
        match self {
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }
}

/// One part of a list's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderColumn {
    /// What is compared.
    pub expression: Expression,
    /// Largest first.
    pub descending: bool,
}
