//! Reads the fields that are more than a column or a relation: SQL, constants, inlined rows, flattened JSON, points on
//! the map, and join fields.

use serde_json::Number;
use toml::de::DeValue;

use crate::definition::document::DocumentReader;
use crate::definition::section::{Section, Value, kind, text_of};
use crate::definition::{Expression, JoinName, RelationId, Source};

const EXPRESSION_ADVICE: &str = "write a column's name or { sql = \"<expression>\" }";
const GEO_ADVICE: &str = "write { geo = { lat = \"<column>\", lon = \"<column>\" } }";
const JOIN_ADVICE: &str = "write { join = { name = \"<kind>\", parent = \"<column>\" } }";

impl DocumentReader<'_, '_, '_> {
    /// A column's name, or `{ sql = … }`.
    pub(super) fn expression(
        &mut self,
        value: &Value<'_>,
        place: String,
        at: Option<RelationId>,
    ) -> Option<Expression> {
        if value.get_ref().is_str() {
            let text = text_of(value, &place, self.problems)?;
            return self.column(&text, &place, at).map(Expression::Column);
        }
        let section = Section::of(value, place, EXPRESSION_ADVICE, self.problems)?;
        self.sql_of(&section, &[])
    }

    /// The `sql` of a section that has nothing else but `others`.
    pub(super) fn sql_of(&mut self, section: &Section<'_>, others: &[&str]) -> Option<Expression> {
        section.refuse_unknown(&[&["sql"], others].concat(), self.problems);
        let sql = section.required_text("sql", "write sql = \"<expression>\"", self.problems)?;
        if sql.text.contains('\0') {
            self.problems.add(&sql.span, &section.place_of("sql"), "holds no zero byte");
            return None;
        }
        Some(Expression::Sql(sql.text))
    }

    pub(super) fn constant(&mut self, section: &Section<'_>) -> Option<Source> {
        section.refuse_unknown(&["constant"], self.problems);
        let value = section.get("constant")?;
        self.json(value, &section.place_of("constant")).map(Source::Constant)
    }

    /// Any value of the file as JSON.
    fn json(&mut self, value: &Value<'_>, place: &str) -> Option<serde_json::Value> {
        let wrong = |reader: &mut Self, problem: &str| {
            reader.problems.add(&value.span(), place, problem);
            None
        };
        Some(match value.get_ref() {
            DeValue::String(text) => text.as_ref().into(),
            DeValue::Boolean(is_true) => (*is_true).into(),
            DeValue::Datetime(time) => time.to_string().into(),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => number.into(),
                Err(_) => return wrong(self, "a whole number has at most 64 bits, write a text"),
            },
            DeValue::Float(number) => match number.as_str().parse().ok().and_then(Number::from_f64) {
                Some(number) => number.into(),
                None => return wrong(self, "JSON has no such number"),
            },
            DeValue::Array(items) => {
                let mut list = Vec::new();
                for item in items {
                    list.push(self.json(item, place)?);
                }
                list.into()
            }
            DeValue::Table(entries) => {
                let mut object = serde_json::Map::new();
                for (name, value) in entries {
                    object.insert(
                        name.get_ref().to_string(),
                        self.json(value, &format!("{place}.{}", name.get_ref()))?,
                    );
                }
                object.into()
            }
        })
    }

    pub(super) fn inline(
        &mut self,
        section: &Section<'_>,
        at: Option<RelationId>,
        path: &str,
    ) -> Option<Source> {
        self.refuse_list_words(section, "inline");
        section.refuse_unknown(&["inline", "object", "where", "order", "limit"], self.problems);
        let relation = self.relation(section, "inline", at)?;
        let advice = "write object = { <field> = \"<column>\" }, whose fields come into this object";
        if !section.has("object") {
            self.problems.add(&section.span, &section.place, format!("has no object, {advice}"));
        }
        let object = section.section("object", advice, self.problems)?;
        let fields = self.fields(&object, Some(relation), path);
        let filters = self.filters(section, relation);
        Some(Source::Inline { relation, fields, filters })
    }

    pub(super) fn flatten(&mut self, section: &Section<'_>, at: Option<RelationId>) -> Option<Source> {
        section.refuse_unknown(&["flatten"], self.problems);
        let value = section.get("flatten")?;
        self.expression(value, section.place_of("flatten"), at).map(Source::Flatten)
    }

    pub(super) fn geo(&mut self, section: &Section<'_>, at: Option<RelationId>) -> Option<Source> {
        section.refuse_unknown(&["geo"], self.problems);
        let geo = section.section("geo", GEO_ADVICE, self.problems)?;
        geo.refuse_unknown(&["lat", "lon"], self.problems);
        let [lat, lon] = ["lat", "lon"].map(|name| {
            let Some(value) = geo.get(name) else {
                self.problems.add(&geo.span, &geo.place_of(name), format!("is missing, {GEO_ADVICE}"));
                return None;
            };
            self.expression(value, geo.place_of(name), at)
        });
        Some(Source::Geo { lat: lat?, lon: lon? })
    }

    pub(super) fn join(&mut self, section: &Section<'_>, at: Option<RelationId>) -> Option<Source> {
        section.refuse_unknown(&["join"], self.problems);
        if at.is_some() {
            self.problems.add(
                &section.span,
                &section.place,
                "a join field stands at the top of the document, not in an object",
            );
        }
        let join = section.section("join", JOIN_ADVICE, self.problems)?;
        join.refuse_unknown(&["name", "parent"], self.problems);
        let Some(name) = join.get("name") else {
            self.problems.add(&join.span, &join.place_of("name"), format!("is missing, {JOIN_ADVICE}"));
            return None;
        };
        let name = match name.get_ref() {
            DeValue::String(_) => {
                JoinName::Constant(text_of(name, &join.place_of("name"), self.problems)?.text)
            }
            DeValue::Table(_) => JoinName::Of(self.expression(name, join.place_of("name"), at)?),
            _ => {
                let problem =
                    format!("write a kind of the mapping's join or {{ sql = … }}, this is {}", kind(name));
                self.problems.add(&name.span(), &join.place_of("name"), problem);
                return None;
            }
        };
        let parent = match join.get("parent") {
            Some(parent) => Some(self.expression(parent, join.place_of("parent"), at)?),
            None => None,
        };
        Some(Source::Join { name, parent })
    }
}
