//! Select lists: which expression gives a column, and how its bytes are then to be read.

use crate::cell::CellFormat;
use crate::form::{Form, Geometry};
use crate::plan::PlannedColumn;
use crate::postgres::catalog::Column;
use crate::postgres::sql::{LINK, ROW, name};

/// Object ids of types, as `pg_type.dat` fixes them.
mod oid {
    pub(super) const BOOL: u32 = 16;
    pub(super) const BYTEA: u32 = 17;
    pub(super) const NAME: u32 = 19;
    pub(super) const INT8: u32 = 20;
    pub(super) const INT2: u32 = 21;
    pub(super) const INT4: u32 = 23;
    pub(super) const TEXT: u32 = 25;
    pub(super) const JSON: u32 = 114;
    pub(super) const FLOAT4: u32 = 700;
    pub(super) const FLOAT8: u32 = 701;
    pub(super) const BPCHAR: u32 = 1042;
    pub(super) const VARCHAR: u32 = 1043;
    pub(super) const DATE: u32 = 1082;
    pub(super) const TIMESTAMP: u32 = 1114;
    pub(super) const TIMESTAMPTZ: u32 = 1184;
    pub(super) const UUID: u32 = 2950;
    pub(super) const JSONB: u32 = 3802;
}

/// How a cursor column tells the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorKind {
    /// `timestamptz`.
    Timestamptz,
    /// `timestamp` in the definition's or the server's zone.
    Timestamp,
    /// `date` in the definition's or the server's zone.
    Date,
}

/// The kind of a cursor column, or nothing if its type is no time.
pub(super) fn cursor_kind(column: &Column) -> Option<CursorKind> {
    match column.type_oid {
        oid::TIMESTAMPTZ => Some(CursorKind::Timestamptz),
        oid::TIMESTAMP => Some(CursorKind::Timestamp),
        oid::DATE => Some(CursorKind::Date),
        _ => None,
    }
}

/// The expression and format in which a column goes into a document.
pub(super) fn for_document(alias: &str, column: &Column) -> (String, CellFormat) {
    for_document_expression(&format!("{alias}.{}", name(&column.name)), column.form)
}

/// The same for any expression whose values have this form.
pub(super) fn for_document_expression(expression: &str, form: &'static Form) -> (String, CellFormat) {
    let binary = match form {
        Form::Boolean => CellFormat::Bool,
        Form::Integer(16) => CellFormat::Int2,
        Form::Integer(32) => CellFormat::Int4,
        Form::Integer(_) => CellFormat::Int8,
        Form::Float(32) => CellFormat::Float4,
        Form::Float(_) => CellFormat::Float8,
        Form::Text => CellFormat::Text,
        Form::Uuid => CellFormat::Uuid,
        Form::Timestamptz => CellFormat::Timestamptz,
        Form::Timestamp => CellFormat::Timestamp,
        Form::Date => CellFormat::Date,
        Form::Json => CellFormat::Json,
        Form::Jsonb => CellFormat::Jsonb,
        Form::Bytes => CellFormat::Bytes,
        // Its cast to text adds the mask of a single address, which no `ip` field takes.
        Form::Ip => return (format!("(to_json({expression}) #>> '{{}}')"), CellFormat::Composed(form)),
        _ => return (format!("{}::text", rewritten(expression, form)), CellFormat::Composed(form)),
    };
    (expression.to_owned(), binary)
}

/// An expression for a value some of whose parts must not come as their types' own text: money, whose text depends on
/// the server's locale, and geometries.
fn rewritten(expression: &str, form: &Form) -> String {
    if !form.is_rewritten() {
        return expression.to_owned();
    }
    match form {
        Form::Money => format!("{expression}::numeric"),
        Form::Geometry(geometry) => as_geojson(expression, geometry),
        Form::List { item, .. } if **item == Form::Money => format!("{expression}::numeric[]"),
        Form::List { item, .. } => {
            let one = rewritten(&format!("({expression})[i]"), item);
            let two = rewritten(&format!("({expression})[i][j]"), item);
            // An array of more dimensions has no rewriting, and is null.
            format!(
                "(case array_ndims({expression}) \
                  when 1 then array(select {one} from generate_subscripts({expression}, 1) as i order by i) \
                  when 2 then array(select array(select {two} from generate_subscripts({expression}, 2) as j order by j) \
                                      from generate_subscripts({expression}, 1) as i order by i) \
                  else case when {expression} = '{{}}' then array(select {one} from generate_series(1, 0) as i) end end)"
            )
        }
        Form::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(field, form)| rewritten(&format!("({expression}).{}", name(field)), form))
                .collect();
            // A composite of nothing but NULLs is one still, though `is null` says otherwise.
            format!("(case when num_nonnulls({expression}) > 0 then row({}) end)", fields.join(", "))
        }
        _ => expression.to_owned(),
    }
}

/// GeoJSON is WGS 84. Null is what it has no words for: what has no point at all, a surface in space, coordinates of a
/// system that PostGIS does not know. Each of them would fail the statement, or be refused by the index.
fn as_geojson(expression: &str, geometry: &Geometry) -> String {
    let schema = name(&geometry.schema);
    let geojson = |geometry: &str| format!("{schema}.st_asgeojson({geometry}, {GEOJSON_DIGITS}, 0)");
    if geometry.is_geography {
        return geojson(expression);
    }
    let straight = format!(
        "(case when {schema}.st_hasarc({expression}) then {schema}.st_curvetoline({expression}) else {expression} end)"
    );
    format!(
        "(case when {schema}.st_isempty({expression}) then null \
          when {schema}.geometrytype({expression}) like 'POLYHEDRALSURFACE%' then null \
          when {schema}.st_srid({expression}) in (0, 4326) then {} \
          when exists (select from {schema}.spatial_ref_sys as r where r.srid = {schema}.st_srid({expression})) \
          then {} end)",
        geojson(&straight),
        geojson(&format!("{schema}.st_transform({straight}, 4326)")),
    )
}

/// As many as a double has.
const GEOJSON_DIGITS: u32 = 15;
/// The expression and format in which a column goes into keys and joins: a format whose `text` is the server's own.
pub(super) fn for_key(alias: &str, column: &Column) -> (String, CellFormat) {
    for_key_expression(&format!("{alias}.{}", name(&column.name)), column)
}

/// The same for an expression of the type of `column`.
pub(super) fn for_key_expression(expression: &str, column: &Column) -> (String, CellFormat) {
    let expression = expression.to_owned();
    match column.type_oid {
        oid::INT2 => (expression, CellFormat::Int2),
        oid::INT4 => (expression, CellFormat::Int4),
        oid::INT8 => (expression, CellFormat::Int8),
        oid::UUID => (expression, CellFormat::Uuid),
        oid::TEXT | oid::VARCHAR => (expression, CellFormat::Text),
        _ => (format!("{expression}::text"), CellFormat::Text),
    }
}

/// Whether two columns that PostgreSQL calls equal have the same bytes in the format of [`for_key`].
pub(super) fn are_equal_by_bytes(left: &Column, right: &Column) -> bool {
    let exact = matches!(
        left.type_oid,
        oid::INT2
            | oid::INT4
            | oid::INT8
            | oid::UUID
            | oid::TEXT
            | oid::VARCHAR
            | oid::DATE
            | oid::TIMESTAMP
            | oid::TIMESTAMPTZ
    );
    exact && left.type_oid == right.type_oid && left.deterministic && right.deterministic
}

/// Whether the column is a text that equals another just where their bytes are the same.
pub(super) fn has_equal_bytes_as_text(column: &Column) -> bool {
    matches!(column.type_oid, oid::TEXT | oid::VARCHAR) && column.deterministic
}

/// Whether a result column of type `found` can be read in `format`: false when a table changed under us.
pub(super) fn is_readable(format: CellFormat, found: u32) -> bool {
    match format {
        CellFormat::Bool => found == oid::BOOL,
        CellFormat::Int2 => found == oid::INT2,
        CellFormat::Int4 => found == oid::INT4,
        CellFormat::Int8 => found == oid::INT8,
        CellFormat::Float4 => found == oid::FLOAT4,
        CellFormat::Float8 => found == oid::FLOAT8,
        CellFormat::Text | CellFormat::Composed(_) => {
            matches!(found, oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME)
        }
        CellFormat::Uuid => found == oid::UUID,
        CellFormat::Timestamptz => found == oid::TIMESTAMPTZ,
        CellFormat::Timestamp => found == oid::TIMESTAMP,
        CellFormat::Date => found == oid::DATE,
        CellFormat::Json => found == oid::JSON,
        CellFormat::Jsonb => found == oid::JSONB,
        CellFormat::Bytes => found == oid::BYTEA,
    }
}

/// Whose columns an expression reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Those of the row at hand.
    Row,
    /// Those of the link table's row.
    Link,
    /// Of both, or what the definition says in SQL: that cannot be told.
    Unknown,
}

impl Side {
    /// The side of what reads both.
    pub(super) fn and(self, other: Self) -> Self {
        if self == other { self } else { Self::Unknown }
    }

    /// What the side's row is called in SQL.
    pub(super) fn alias(self) -> &'static str {
        match self {
            Self::Row | Self::Unknown => ROW,
            Self::Link => LINK,
        }
    }
}

/// The number of the group of keys that a related row belongs to, as the statement gives it: its first column.
pub(super) const GROUP_NUMBER: &str = "p.pgsluice_n";

/// A column of a query.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    /// What is selected.
    pub(super) expression: String,
    /// Whose columns it reads.
    pub(super) side: Side,
}

/// The columns of a query; the same expression is selected once.
#[derive(Clone, Debug, Default)]
pub struct SelectList {
    columns: Vec<Selected>,
    formats: Vec<CellFormat>,
}

impl SelectList {
    /// Adds an expression, or finds it, and says where its cells will be.
    pub(super) fn add(&mut self, selected: (String, CellFormat)) -> PlannedColumn {
        self.add_of(Side::Unknown, selected)
    }

    /// The same for an expression of which it is known whose columns it reads.
    pub(super) fn add_of(&mut self, side: Side, (expression, format): (String, CellFormat)) -> PlannedColumn {
        let known = self
            .columns
            .iter()
            .zip(&self.formats)
            .position(|(column, known)| column.expression == expression && *known == format);
        let position = known.unwrap_or_else(|| {
            self.columns.push(Selected { expression, side });
            self.formats.push(format);
            self.formats.len() - 1
        });
        PlannedColumn { position, format }
    }

    /// The columns with their formats.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&Selected, CellFormat)> {
        self.columns.iter().zip(self.formats.iter().copied())
    }

    /// The formats of the columns.
    pub(super) fn formats(&self) -> &[CellFormat] {
        &self.formats
    }

    /// The list as SQL.
    pub(super) fn sql(&self) -> String {
        let expressions: Vec<&str> = self.columns.iter().map(|column| column.expression.as_str()).collect();
        expressions.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_expression_is_selected_once_and_keeps_its_side() {
        let mut list = SelectList::default();
        let title = || ("t.\"title\"".to_owned(), CellFormat::Text);
        let first = list.add_of(Side::Row, title());
        let role = list.add_of(Side::Link, ("through.\"role\"".to_owned(), CellFormat::Text));
        assert_eq!(list.add_of(Side::Row, title()), first);
        // The same column in another format is another cell.
        let as_json = list.add_of(Side::Row, (title().0, CellFormat::Json));
        assert_eq!([first.position, role.position, as_json.position], [0, 1, 2]);
        let sides: Vec<Side> = list.columns().map(|(column, _)| column.side).collect();
        assert_eq!(sides, [Side::Row, Side::Link, Side::Row]);
        assert_eq!((Side::Row.and(Side::Row), Side::Row.and(Side::Link)), (Side::Row, Side::Unknown));
    }
}
