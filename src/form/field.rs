//! The mapping that suits a form: what a draft of a mapping file proposes for a column.

use serde_json::{Map, Value, json};

use crate::form::{Form, Geometric};

/// Decimal digits that a `double` keeps.
pub(super) const DOUBLE_DIGITS: u16 = 15;

/// Characters up to which a keyword is indexed in a draft: a longer one of unknown length would be refused at 32,766
/// bytes.
const KEYWORD_LENGTH: u32 = 8191;

impl Form {
    /// The field of a mapping that takes every value of this form and can be searched as one would expect.
    ///
    /// For text it is `text` with a `keyword` beside it; a column that holds codes is better as `keyword` alone, which
    /// only its owner knows.
    pub fn proposed_field(&self) -> Value {
        let of_type = |name: &str| json!({ "type": name });
        match self {
            Self::Boolean => of_type("boolean"),
            Self::Integer(16) => of_type("short"),
            Self::Integer(32) => of_type("integer"),
            Self::Integer(_) | Self::Oid | Self::NumberList => of_type("long"),
            Self::Float(32) => of_type("float"),
            Self::Float(_) | Self::Money => of_type("double"),
            Self::Numeric { limit: Some((digits, 0)) } if *digits <= 18 => of_type("long"),
            Self::Numeric { .. } => of_type("double"),
            Self::Text | Self::TextLike => json!({
                "type": "text",
                "fields": { "keyword": { "type": "keyword", "ignore_above": 256 } },
            }),
            Self::Uuid | Self::Keyword | Self::Time | Self::Timetz | Self::Interval => of_type("keyword"),
            Self::Plain { .. } => json!({ "type": "keyword", "ignore_above": KEYWORD_LENGTH }),
            // Where a mask may stand, `ip` would refuse it; `ip_range` refuses what has none.
            Self::Ip => json!({ "type": "ip", "ignore_malformed": true }),
            Self::IpRange => of_type("ip_range"),
            Self::Date | Self::Timestamp | Self::Timestamptz => of_type("date"),
            Self::Bytes => of_type("binary"),
            // Anything may stand in it, and every key would become a field.
            Self::Json | Self::Jsonb | Self::Hstore => json!({ "type": "object", "enabled": false }),
            Self::Vector { dimensions: None } => of_type("dense_vector"),
            Self::Vector { dimensions: Some(dimensions) } => {
                json!({ "type": "dense_vector", "dims": dimensions })
            }
            Self::Geometric(Geometric::Point) => of_type("geo_point"),
            Self::Geometry(geometry) if geometry.is_point => of_type("geo_point"),
            Self::Geometry(_) => of_type("geo_shape"),
            // On a plane, not on the earth: kept, not searched.
            Self::Geometric(_) => json!({ "type": "object", "enabled": false }),
            Self::List { item, .. } => match item.proposed_field() {
                // An array of composites is a list of objects, each to be found by its own fields together.
                Value::Object(mut field) if matches!(**item, Self::Object(_)) => {
                    field.insert("type".to_owned(), json!("nested"));
                    Value::Object(field)
                }
                field => field,
            },
            Self::Object(fields) => {
                let properties: Map<String, Value> =
                    fields.iter().map(|(name, form)| (name.to_string(), form.proposed_field())).collect();
                json!({ "properties": properties })
            }
            Self::Range(bound) | Self::Multirange(bound) => match bound.range_field() {
                Some(name) => of_type(name),
                None => json!({ "type": "object", "enabled": false }),
            },
        }
    }

    /// The range field for ranges with bounds of this form.
    pub(super) fn range_field(&self) -> Option<&'static str> {
        match self {
            Self::Integer(16 | 32) => Some("integer_range"),
            Self::Integer(_) => Some("long_range"),
            Self::Float(32) => Some("float_range"),
            Self::Float(_) | Self::Numeric { .. } => Some("double_range"),
            Self::Date | Self::Timestamp | Self::Timestamptz => Some("date_range"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_suits_what_is_in_the_array_or_composite() {
        let list = |item: Form| Form::List { item: Box::new(item), delimiter: b',' };
        assert_eq!(list(Form::Integer(32)).proposed_field(), json!({ "type": "integer" }));
        let pair = Form::Object(vec![
            ("day".into(), Form::Date),
            ("spans".into(), Form::Multirange(Box::new(Form::Integer(64)))),
        ]);
        let properties = json!({ "day": { "type": "date" }, "spans": { "type": "long_range" } });
        assert_eq!(pair.proposed_field(), json!({ "properties": properties }));
        assert_eq!(list(pair).proposed_field(), json!({ "properties": properties, "type": "nested" }));
        let bounded = |digits, scale| Form::Numeric { limit: Some((digits, scale)) };
        assert_eq!(bounded(18, 0).proposed_field(), json!({ "type": "long" }));
        assert_eq!(bounded(10, 2).proposed_field(), json!({ "type": "double" }));
    }
}
