//! The JSON form of a value: what a PostgreSQL type becomes in a document.
//!
//! Each type has one form, wherever it stands: as a column, as an element of an array, as a field of a composite, as a
//! bound of a range, or under a domain. Common types are read in their binary form ([`crate::cell::CellFormat`]); all
//! others come as PostgreSQL's own text, which [`Form`] says how to read.

mod field;
mod field_fit;
mod fit;

mod geometry;
mod level;
mod literal;
mod write;

pub use fit::{Fit, Grade, Part, misfits};
pub(crate) use level::Level;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// What a value of a type becomes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// `true` or `false`.
    Boolean,
    /// A whole number of so many bits.
    Integer(u8),
    /// `oid`: a whole number of 32 bits without a sign.
    Oid,
    /// A binary floating point number of so many bits; what JSON cannot hold is null.
    Float(u8),
    /// A decimal number with all its digits; NaN and the infinities are null.
    Numeric {
        /// The most digits, and how many of them stand behind the point, where the column says so.
        limit: Option<(u16, i16)>,
    },
    /// `money`, as a decimal number.
    Money,
    /// `text`, `varchar`, `char(n)`, `name`.
    Text,
    /// Text of a type of its own: `citext`, `xml`, `tsvector`.
    TextLike,
    /// `uuid`.
    Uuid,
    /// A short text that stands for something: an enum, a hardware address.
    Keyword,
    /// PostgreSQL's own text of a type that has no other form; the name is of a type that is not PostgreSQL's.
    Plain {
        /// The name of a type that nothing is known of.
        unknown: Option<Box<str>>,
    },
    /// `inet`: an address, with its mask if it has one.
    Ip,
    /// `cidr`: an address and its mask.
    IpRange,
    /// `date`.
    Date,
    /// `timestamp`.
    Timestamp,
    /// `timestamptz`, in UTC.
    Timestamptz,
    /// `time`.
    Time,
    /// `timetz`.
    Timetz,
    /// `interval`, in ISO 8601.
    Interval,
    /// `bytea`, in base64.
    Bytes,
    /// `json`, as it is.
    Json,
    /// `jsonb`, as it is.
    Jsonb,
    /// `hstore`: an object of strings and nulls.
    Hstore,
    /// A list of numbers in brackets: pgvector's types.
    Vector {
        /// How many numbers, where the column says so.
        dimensions: Option<u32>,
    },
    /// A list of whole numbers with spaces between: `int2vector`, `oidvector`.
    NumberList,
    /// A geometric type of PostgreSQL's, in GeoJSON.
    Geometric(Geometric),
    /// A PostGIS type, in GeoJSON.
    Geometry(Geometry),
    /// An array.
    List {
        /// The form of each element.
        item: Box<Form>,
        /// What stands between elements in the type's text.
        delimiter: u8,
    },
    /// A composite.
    Object(Vec<(Box<str>, Form)>),
    /// A range: an object of `gte` or `gt` and `lt` or `lte`.
    Range(Box<Form>),
    /// A multirange: a list of such objects.
    Multirange(Box<Form>),
}

/// The geometric types that have a GeoJSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Geometric {
    /// `point`: a Point.
    Point,
    /// `lseg`: a LineString.
    Segment,
    /// `path`: a LineString if it is open, else a Polygon.
    Path,
    /// `box`: a Polygon.
    Box,
    /// `polygon`: a Polygon.
    Polygon,
}

/// A PostGIS type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// The PostgreSQL schema that the extension is in, for its functions.
    pub schema: Box<str>,
    /// Whether it is `geography`, which is WGS 84 always.
    pub is_geography: bool,
    /// Whether the column says that it holds points alone.
    pub is_point: bool,
}

impl Form {
    /// The same form, kept as long as the process lives.
    ///
    /// A form is small and there are as many as types in the tables of the definitions, so they are kept once for
    /// all: cells are read by a format that can be copied.
    pub fn kept(self) -> &'static Self {
        static KEPT: Mutex<Option<HashSet<&'static Form>>> = Mutex::new(None);
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_or_insert_with(HashSet::new);
        if let Some(known) = kept.get(&self) {
            return known;
        }
        let form: &'static Self = Box::leak(Box::new(self));
        kept.insert(form);
        form
    }

    /// What it is, for messages, in the words of PostgreSQL.
    pub fn describe(&self) -> String {
        match self {
            Self::Boolean => "boolean".to_owned(),
            Self::Integer(16) => "smallint".to_owned(),
            Self::Integer(32) => "integer".to_owned(),
            Self::Integer(_) => "bigint".to_owned(),
            Self::Oid => "oid".to_owned(),
            Self::Float(32) => "real".to_owned(),
            Self::Float(_) => "double precision".to_owned(),
            Self::Numeric { limit: None } => "numeric".to_owned(),
            Self::Numeric { limit: Some((digits, scale)) } => format!("numeric({digits},{scale})"),
            Self::Money => "money".to_owned(),
            Self::Text | Self::TextLike => "text".to_owned(),
            Self::Uuid => "uuid".to_owned(),
            Self::Keyword => "a short text".to_owned(),
            Self::Plain { unknown: None } => "PostgreSQL's own text".to_owned(),
            Self::Plain { unknown: Some(name) } => name.to_string(),
            Self::Ip => "inet".to_owned(),
            Self::IpRange => "cidr".to_owned(),
            Self::Date => "date".to_owned(),
            Self::Timestamp => "timestamp".to_owned(),
            Self::Timestamptz => "timestamptz".to_owned(),
            Self::Time => "time".to_owned(),
            Self::Timetz => "timetz".to_owned(),
            Self::Interval => "interval".to_owned(),
            Self::Bytes => "bytea".to_owned(),
            Self::Json | Self::Jsonb => "json".to_owned(),
            Self::Hstore => "hstore".to_owned(),
            Self::Vector { dimensions: None } => "vector".to_owned(),
            Self::Vector { dimensions: Some(dimensions) } => format!("vector({dimensions})"),
            Self::NumberList => "a list of numbers".to_owned(),
            Self::Geometric(Geometric::Point) => "point".to_owned(),
            Self::Geometric(_) => "a geometric type".to_owned(),
            Self::Geometry(geometry) if geometry.is_geography => "geography".to_owned(),
            Self::Geometry(_) => "geometry".to_owned(),
            Self::List { item, .. } => format!("an array of {}", item.describe()),
            Self::Object(_) => "a composite".to_owned(),
            Self::Range(bound) => format!("a range of {}", bound.describe()),
            Self::Multirange(bound) => format!("a multirange of {}", bound.describe()),
        }
    }

    /// Whether PostgreSQL has to be asked for something else than the type's own text, here or further down.
    pub fn is_rewritten(&self) -> bool {
        match self {
            Self::Money | Self::Geometry(_) => true,
            Self::List { item, .. } => item.is_rewritten(),
            Self::Object(fields) => fields.iter().any(|(_, form)| form.is_rewritten()),
            _ => false,
        }
    }
}
