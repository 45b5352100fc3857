//! From PostgreSQL's catalogue to the JSON form of each type.
//!
//! A type is followed down to what it is made of: the base of a domain, the element of an array, the fields of a
//! composite, the bound of a range. Types of extensions are known by extension and name, since their numbers differ
//! from database to database.

use std::collections::HashMap;

use postgres::types::Type;

use crate::error::Result;
use crate::form::{Form, Geometric, Geometry};
use crate::postgres::client::Client;
use crate::postgres::connect::classify;

/// PostgreSQL allows no type within itself; this only bounds what a broken catalogue could do.
const DEPTH_LIMIT: u32 = 32;

/// What the catalogue says of types, read at once for all columns that need it.
#[derive(Debug, Default)]
pub(super) struct TypeForms {
    types: HashMap<u32, Description>,
}

#[derive(Debug)]
struct Description {
    name: String,
    schema: String,
    /// `pg_type.typtype`: `b` base, `c` composite, `d` domain, `e` enum, `r` range, `m` multirange, `p` pseudo.
    kind: String,
    extension: Option<String>,
    /// What it is made of: a domain's base, an array's element, a range's bound, a multirange's range.
    inner: Option<u32>,
    /// The modifier of a domain's base.
    inner_modifier: i32,
    is_array: bool,
    /// What stands between elements of an array of it.
    delimiter: u8,
    /// The fields of a composite: name, type, modifier.
    fields: Vec<(String, u32, i32)>,
}

/// What the type `t` is made of. `rngmultitypid` came with PostgreSQL 14, hence by way of its JSON.
const INNER: &str = "
    case t.typtype
      when 'd' then t.typbasetype
      when 'r' then (select g.rngsubtype from pg_catalog.pg_range g where g.rngtypid = t.oid)
      when 'm' then (select g.rngtypid from pg_catalog.pg_range g
                      where (pg_catalog.to_jsonb(g) ->> 'rngmultitypid')::oid = t.oid)
      when 'b' then case when t.typinput = 'pg_catalog.array_in'::regproc then t.typelem end
    end";

/// The fields of the type `t`, one of their columns.
fn fields(column: &str) -> String {
    format!(
        "array(select a.{column} from pg_catalog.pg_attribute a
                where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
                order by a.attnum)"
    )
}

/// Follows the types `$1` down to what they are made of, each looked up by its number.
fn statement() -> String {
    format!(
        "with recursive reached(oid) as (
           select pg_catalog.unnest($1::oid[])
           union
           select next.oid
             from reached r
             join pg_catalog.pg_type t on t.oid = r.oid
            cross join lateral (
              select {INNER}
              union all
              select a.atttypid
                from pg_catalog.pg_attribute a
               where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
            ) as next(oid)
            where next.oid is not null
         )
         select t.oid, t.typname::text, n.nspname::text, t.typtype::text,
                (select x.extname::text
                   from pg_catalog.pg_depend d
                   join pg_catalog.pg_extension x on x.oid = d.refobjid
                  where d.classid = 'pg_catalog.pg_type'::regclass and d.objid = t.oid and d.deptype = 'e'
                    and d.refclassid = 'pg_catalog.pg_extension'::regclass
                  limit 1),
                {INNER}, t.typtypmod, t.typinput = 'pg_catalog.array_in'::regproc, t.typdelim::text,
                {}, {}, {}
           from reached r
           join pg_catalog.pg_type t on t.oid = r.oid
           join pg_catalog.pg_namespace n on n.oid = t.typnamespace",
        fields("attname::text"),
        fields("atttypid"),
        fields("atttypmod"),
    )
}

impl TypeForms {
    /// Reads what the catalogue says of these types and of all that they are made of.
    pub(super) fn read(client: &mut Client, oids: &[u32]) -> Result<Self> {
        let rows = client
            .query_typed(&statement(), &[(&oids, Type::OID_ARRAY)])
            .map_err(|error| classify(&error, "cannot read the types of columns".to_owned()))?;
        let mut types = HashMap::new();
        for row in &rows {
            let delimiter: String = row.get(8);
            let (names, kinds, modifiers): (Vec<String>, Vec<u32>, Vec<i32>) =
                (row.get(9), row.get(10), row.get(11));
            let fields = names.into_iter().zip(kinds).zip(modifiers);
            types.insert(
                row.get(0),
                Description {
                    name: row.get(1),
                    schema: row.get(2),
                    kind: row.get(3),
                    extension: row.get(4),
                    inner: row.get(5),
                    inner_modifier: row.get(6),
                    is_array: row.get(7),
                    delimiter: delimiter.bytes().next().unwrap_or(b','),
                    fields: fields.map(|((name, kind), modifier)| (name, kind, modifier)).collect(),
                },
            );
        }
        Ok(Self { types })
    }

    /// The form of a type with a column's modifier (-1 for none).
    pub(super) fn form(&self, oid: u32, modifier: i32) -> Form {
        self.form_within(oid, modifier, DEPTH_LIMIT)
    }

    fn form_within(&self, oid: u32, modifier: i32, depth: u32) -> Form {
        let unknown = |name: &str| Form::Plain { unknown: Some(name.into()) };
        let Some(description) = self.types.get(&oid) else { return unknown("a type") };
        let Some(deeper) = depth.checked_sub(1) else { return unknown(&description.name) };
        let inner = |modifier: i32| {
            description.inner.map(|inner| Box::new(self.form_within(inner, modifier, deeper)))
        };
        match description.kind.as_str() {
            "d" => {
                // A domain of a domain has its modifier only where it is written.
                let modifier =
                    if description.inner_modifier >= 0 { description.inner_modifier } else { modifier };
                inner(modifier).map_or_else(|| unknown(&description.name), |form| *form)
            }
            "e" => Form::Keyword,
            "c" => Form::Object(
                description
                    .fields
                    .iter()
                    .map(|(name, kind, modifier)| {
                        (name.as_str().into(), self.form_within(*kind, *modifier, deeper))
                    })
                    .collect(),
            ),
            "r" => inner(-1).map_or_else(|| unknown(&description.name), Form::Range),
            "m" => match inner(-1).map(|range| *range) {
                Some(Form::Range(bound)) => Form::Multirange(bound),
                _ => unknown(&description.name),
            },
            _ if description.is_array => match (inner(modifier), description.inner) {
                (Some(item), Some(element)) => {
                    // What is rewritten is an array of another type: of texts, numbers or records.
                    let is_rewritten = item.is_rewritten();
                    let known = self.types.get(&element).filter(|_| !is_rewritten);
                    Form::List { item, delimiter: known.map_or(b',', |element| element.delimiter) }
                }
                _ => unknown(&description.name),
            },
            _ => match &description.extension {
                Some(extension) => extension_form(extension, description, modifier),
                None if description.schema == "pg_catalog" => own_form(&description.name, modifier),
                None => unknown(&description.name),
            },
        }
    }
}

/// The form of a type that is PostgreSQL's own.
fn own_form(name: &str, modifier: i32) -> Form {
    match name {
        "bool" => Form::Boolean,
        "int2" => Form::Integer(16),
        "int4" => Form::Integer(32),
        "int8" => Form::Integer(64),
        "oid" => Form::Oid,
        "float4" => Form::Float(32),
        "float8" => Form::Float(64),
        "numeric" => Form::Numeric { limit: numeric_limit(modifier) },
        "money" => Form::Money,
        "text" | "varchar" | "bpchar" | "name" => Form::Text,
        "xml" | "tsvector" => Form::TextLike,
        "uuid" => Form::Uuid,
        "char" | "macaddr" | "macaddr8" | "pg_lsn" | "xid" | "xid8" | "cid" | "tid" => Form::Keyword,
        "inet" => Form::Ip,
        "cidr" => Form::IpRange,
        "date" => Form::Date,
        "timestamp" => Form::Timestamp,
        "timestamptz" => Form::Timestamptz,
        "time" => Form::Time,
        "timetz" => Form::Timetz,
        "interval" => Form::Interval,
        "bytea" => Form::Bytes,
        "json" => Form::Json,
        "jsonb" => Form::Jsonb,
        "int2vector" | "oidvector" => Form::NumberList,
        "point" => Form::Geometric(Geometric::Point),
        "lseg" => Form::Geometric(Geometric::Segment),
        "path" => Form::Geometric(Geometric::Path),
        "box" => Form::Geometric(Geometric::Box),
        "polygon" => Form::Geometric(Geometric::Polygon),
        _ => Form::Plain { unknown: None },
    }
}

/// The form of a type that an extension brings.
fn extension_form(extension: &str, description: &Description, modifier: i32) -> Form {
    match (extension, description.name.as_str()) {
        ("citext", "citext") => Form::TextLike,
        ("hstore", "hstore") => Form::Hstore,
        ("ltree", _) => Form::Plain { unknown: None },
        ("vector", "vector" | "halfvec") => {
            Form::Vector { dimensions: u32::try_from(modifier).ok().filter(|dimensions| *dimensions > 0) }
        }
        ("postgis", name @ ("geometry" | "geography")) => Form::Geometry(Geometry {
            schema: description.schema.as_str().into(),
            is_geography: name == "geography",
            // Bits 2 to 7 of the modifier are the type, 1 of which is a point.
            is_point: modifier >= 0 && (modifier >> 2) & 0x3f == 1,
        }),
        _ => Form::Plain { unknown: Some(description.name.as_str().into()) },
    }
}

/// The digits and the scale in the modifier of `numeric(digits, scale)`.
fn numeric_limit(modifier: i32) -> Option<(u16, i16)> {
    let packed = modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
    let digits = u16::try_from((packed >> 16) & 0xffff).ok()?;
    // Since PostgreSQL 15 the scale is a signed number of 11 bits; before, it is positive and has as many.
    let scale = i16::try_from(((packed & 0x7ff) ^ 0x400) - 0x400).ok()?;
    Some((digits, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modifier_tells_digits_and_scale() {
        // numeric(10,2), numeric(18,0), numeric(3,-2) as PostgreSQL 15 packs them.
        assert_eq!(numeric_limit(((10 << 16) | 2) + 4), Some((10, 2)));
        assert_eq!(numeric_limit((18 << 16) + 4), Some((18, 0)));
        assert_eq!(numeric_limit(((3 << 16) | (-2 & 0x7ff)) + 4), Some((3, -2)));
        assert_eq!(numeric_limit(-1), None);
    }
}
