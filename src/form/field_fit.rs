//! Whether one field of a mapping takes values of a form.

use serde_json::{Map, Value};

use crate::form::field::DOUBLE_DIGITS;
use crate::form::{Form, Geometric};

/// What a field does with values of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Takes all of them as they are.
    Fits,
    /// Takes none.
    Refused,
    /// Takes some: which not.
    MayBeRefused(String),
    /// Takes them, but does not find them exactly.
    Inexact(String),
}

use Verdict::{Fits, Inexact, MayBeRefused, Refused};

const OBJECT_REFUSED: &str = "an object is refused";
const NO_OBJECT_REFUSED: &str = "what is no object is refused";

/// Says what a field of type `kind` does; of a type that is not known here, that all fits.
pub(super) fn verdict(kind: &str, property: &Map<String, Value>, form: &Form, is_in_list: bool) -> Verdict {
    match kind {
        "byte" | "short" | "integer" | "long" | "unsigned_long" => in_whole_number(kind, form),
        "half_float" | "float" | "double" | "scaled_float" => in_float(kind, form),
        "boolean" => in_boolean(form),
        "date" | "date_nanos" => in_date(property, form),
        "ip" | "ip_range" => in_ip(kind, form),
        "integer_range" | "long_range" | "float_range" | "double_range" | "date_range" => {
            in_range(kind, form)
        }
        "geo_point" | "point" | "xy_point" => in_point(kind, form, is_in_list),
        "geo_shape" | "shape" | "xy_shape" => in_shape(form),
        "dense_vector" | "knn_vector" => in_vector(property, form, is_in_list),
        "object" | "nested" | "flattened" | "flat_object" => in_object(form),
        "alias" => Refused,
        "binary" | "keyword" | "constant_keyword" | "wildcard" | "text" | "match_only_text"
        | "search_as_you_type" | "completion" | "version" | "token_count" => in_text(form),
        _ => Fits,
    }
}

/// Any text may stand in it, so whether it is one that a field takes is not known here.
fn is_any_text(form: &Form) -> bool {
    matches!(form, Form::Text | Form::TextLike | Form::Plain { .. })
}

fn is_json(form: &Form) -> bool {
    matches!(form, Form::Json | Form::Jsonb)
}

fn is_object(form: &Form) -> bool {
    matches!(form, Form::Hstore | Form::Range(_) | Form::Geometric(_) | Form::Geometry(_) | Form::Object(_))
}

fn may_be(which: &str) -> Verdict {
    MayBeRefused(which.to_owned())
}

/// The bits of the largest whole number of a form, its sign included.
fn whole_bits(form: &Form) -> Option<u32> {
    match form {
        Form::Integer(bits) => Some(u32::from(*bits)),
        Form::Oid | Form::NumberList => Some(33),
        _ => None,
    }
}

fn in_whole_number(kind: &str, form: &Form) -> Verdict {
    let (bits, digits) = match kind {
        "byte" => (8, 2),
        "short" => (16, 4),
        "integer" => (32, 9),
        _ => (64, 18),
    };
    let out_of_range = || MayBeRefused(format!("a number beyond the range of {kind} is refused"));
    if let Some(form_bits) = whole_bits(form) {
        return match (kind, form) {
            ("unsigned_long", Form::Integer(_)) => may_be("a negative number is refused"),
            _ if form_bits > bits => out_of_range(),
            _ => Fits,
        };
    }
    match form {
        Form::Numeric { limit: Some((form_digits, scale)) } => {
            let whole_digits = i32::from(*form_digits) - i32::from(*scale);
            if whole_digits > digits {
                out_of_range()
            } else if *scale > 0 {
                Inexact("its fraction is cut off in the index".to_owned())
            } else {
                Fits
            }
        }
        Form::Numeric { limit: None } | Form::Float(_) => MayBeRefused(format!(
            "a number beyond the range of {kind} is refused, and a fraction is cut off in the index"
        )),
        Form::Money => Inexact("its fraction is cut off in the index".to_owned()),
        other => no_number(other),
    }
}

fn in_float(kind: &str, form: &Form) -> Verdict {
    // Bits of the mantissa, and the decimal digits that they always keep.
    let (bits, digits) = match kind {
        "half_float" => (11, 3),
        "float" => (24, 6),
        _ => (53, DOUBLE_DIGITS),
    };
    let inexact = || {
        Inexact(format!(
            "the index keeps about {digits} digits of it, so a longer number is not found or sorted exactly (the \
             document itself keeps all)"
        ))
    };
    if let Some(form_bits) = whole_bits(form) {
        return if form_bits - 1 > bits { inexact() } else { Fits };
    }
    match form {
        Form::Float(_) => Fits,
        Form::Numeric { limit: Some((form_digits, _)) } if *form_digits <= digits => Fits,
        Form::Numeric { .. } => inexact(),
        Form::Money if digits == DOUBLE_DIGITS => Fits,
        Form::Money => inexact(),
        other => no_number(other),
    }
}

fn no_number(form: &Form) -> Verdict {
    match form {
        // A list of numbers.
        Form::Vector { .. } => Fits,
        form if is_any_text(form) => may_be("a text that is no number is refused"),
        form if is_json(form) => may_be("what is no number is refused"),
        _ => Refused,
    }
}

fn in_boolean(form: &Form) -> Verdict {
    match form {
        Form::Boolean => Fits,
        form if is_any_text(form) => may_be("a text that is not true or false is refused"),
        form if is_json(form) => may_be("what is not true or false is refused"),
        _ => Refused,
    }
}

/// Names of formats that take a date with or without a time, as ISO 8601 writes it.
const ISO_FORMATS: &[&str] = &[
    "strict_date_optional_time",
    "strict_date_optional_time_nanos",
    "date_optional_time",
    "dateOptionalTime",
    "strictDateOptionalTime",
    "iso8601",
];

/// Formats that take a date without a time.
const DAY_FORMATS: &[&str] = &[
    "date",
    "strict_date",
    "year_month_day",
    "strict_year_month_day",
    "yyyy-MM-dd",
    "uuuu-MM-dd",
    "yyyy-M-d",
];

fn in_date(property: &Map<String, Value>, form: &Form) -> Verdict {
    let written = property.get("format").and_then(Value::as_str);
    let formats: Vec<&str> =
        written.map_or(Vec::new(), |written| written.split("||").map(str::trim).collect());
    let is_default = formats.is_empty();
    let has = |known: &[&str]| formats.iter().any(|format| known.contains(format));
    let all = |is: &dyn Fn(&str) -> bool| !is_default && formats.iter().all(|format| is(format));
    let unsure = || {
        MayBeRefused(format!(
            "whether the format {} takes it is not known here, strict_date_optional_time does",
            written.unwrap_or_default()
        ))
    };
    match form {
        Form::Date | Form::Timestamp | Form::Timestamptz if is_default || has(ISO_FORMATS) => Fits,
        Form::Date if has(DAY_FORMATS) => Fits,
        Form::Date | Form::Timestamp | Form::Timestamptz => {
            let takes_no_time = |format: &str| format.starts_with("epoch_") || DAY_FORMATS.contains(&format);
            if all(&takes_no_time) { Refused } else { unsure() }
        }
        // Milliseconds or seconds since 1970.
        Form::Integer(_) if is_default || formats.iter().any(|format| format.starts_with("epoch_")) => Fits,
        Form::Integer(_) | Form::Numeric { .. } | Form::Float(_) | Form::Oid if is_default => Fits,
        Form::Integer(_) | Form::Numeric { .. } | Form::Float(_) | Form::Oid => unsure(),
        form if is_any_text(form) => may_be("a text that is no date of the field's format is refused"),
        form if is_json(form) => may_be("what is no date is refused"),
        Form::Time | Form::Timetz | Form::Keyword if !is_default => unsure(),
        _ => Refused,
    }
}

fn in_ip(kind: &str, form: &Form) -> Verdict {
    match (kind, form) {
        ("ip", Form::Ip) => may_be("an address with a mask is refused"),
        ("ip_range", Form::Ip) => may_be("an address without a mask is refused"),
        ("ip_range", Form::IpRange) => Fits,
        ("ip_range", Form::Range(bound)) if matches!(**bound, Form::Ip | Form::Text) => Fits,
        (_, form) if is_any_text(form) => may_be("a text that is no address is refused"),
        (_, form) if is_json(form) => may_be("what is no address is refused"),
        _ => Refused,
    }
}

fn in_range(kind: &str, form: &Form) -> Verdict {
    let bound = match form {
        Form::Range(bound) => bound.as_ref(),
        form if is_json(form) => return may_be("what is no object of gte and lt is refused"),
        _ => return Refused,
    };
    let Some(suitable) = bound.range_field() else { return Refused };
    let rank = |field: &str| {
        ["integer_range", "long_range", "float_range", "double_range"]
            .iter()
            .position(|known| *known == field)
    };
    match (rank(kind), rank(suitable)) {
        (None, None) => Fits,
        (Some(mapped), Some(suitable)) if mapped >= suitable => Fits,
        (Some(_), Some(_)) => MayBeRefused(format!("a bound beyond what {kind} holds is refused")),
        _ => Refused,
    }
}

fn in_point(kind: &str, form: &Form, is_in_list: bool) -> Verdict {
    match form {
        Form::Geometric(Geometric::Point) if kind == "geo_point" => {
            may_be("a point beyond 180 degrees of longitude or 90 of latitude is refused")
        }
        Form::Geometric(Geometric::Point) => Fits,
        Form::Geometry(geometry) if geometry.is_point => Fits,
        Form::Geometry(_) => may_be("what is no point is refused"),
        Form::Vector { .. } => may_be("what has not two numbers is refused"),
        Form::Float(_) | Form::Numeric { .. } | Form::Integer(_) if is_in_list => {
            may_be("a list of other than two numbers is refused")
        }
        form if is_any_text(form) => may_be("a text that is no point is refused"),
        form if is_json(form) || *form == Form::Hstore => may_be("what is no point is refused"),
        _ => Refused,
    }
}

fn in_shape(form: &Form) -> Verdict {
    match form {
        Form::Geometric(_) | Form::Geometry(_) => Fits,
        form if is_any_text(form) => may_be("a text that is no WKT is refused"),
        form if is_json(form) => may_be("what is no GeoJSON is refused"),
        _ => Refused,
    }
}

fn in_vector(property: &Map<String, Value>, form: &Form, is_in_list: bool) -> Verdict {
    let mapped = property.get("dims").or_else(|| property.get("dimension")).and_then(Value::as_u64);
    match form {
        Form::Vector { dimensions: Some(dimensions) }
            if mapped.is_some_and(|mapped| mapped != u64::from(*dimensions)) =>
        {
            Refused
        }
        Form::Vector { dimensions: Some(_) } => Fits,
        Form::Vector { dimensions: None } => may_be("a vector of another length is refused"),
        Form::Float(_) | Form::Numeric { .. } | Form::Integer(_) if is_in_list => {
            may_be("a list of another length, or with a NULL in it, is refused")
        }
        form if is_json(form) => may_be("what is no list of numbers is refused"),
        _ => Refused,
    }
}

fn in_object(form: &Form) -> Verdict {
    match form {
        form if is_object(form) => Fits,
        form if is_json(form) => may_be(NO_OBJECT_REFUSED),
        _ => Refused,
    }
}

fn in_text(form: &Form) -> Verdict {
    match form {
        form if is_object(form) => Refused,
        form if is_json(form) => may_be(OBJECT_REFUSED),
        _ => Fits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(field: &Value, form: &Form) -> Verdict {
        let field = field.as_object().unwrap();
        verdict(field["type"].as_str().unwrap(), field, form, false)
    }

    fn is_doubtful(verdict: &Verdict) -> bool {
        matches!(verdict, MayBeRefused(_) | Inexact(_))
    }

    #[test]
    fn what_is_proposed_for_a_form_takes_it() {
        let range = |bound: Form| Form::Range(Box::new(bound));
        for form in [
            Form::Boolean,
            Form::Integer(16),
            Form::Integer(32),
            Form::Integer(64),
            Form::Oid,
            Form::Float(32),
            Form::Float(64),
            Form::Numeric { limit: Some((10, 2)) },
            Form::Numeric { limit: Some((18, 0)) },
            Form::Money,
            Form::Text,
            Form::Uuid,
            Form::Keyword,
            Form::Plain { unknown: None },
            Form::IpRange,
            Form::Date,
            Form::Timestamp,
            Form::Timestamptz,
            Form::Time,
            Form::Interval,
            Form::Bytes,
            Form::Vector { dimensions: Some(3) },
            range(Form::Integer(32)),
            range(Form::Integer(64)),
            range(Form::Numeric { limit: None }),
            range(Form::Date),
            range(Form::Timestamptz),
        ] {
            assert_eq!(of(&form.proposed_field(), &form), Fits, "{form:?}");
        }
    }

    #[test]
    fn a_text_may_be_a_number_and_a_date_never_is() {
        assert!(is_doubtful(&of(&json!({ "type": "float" }), &Form::Text)));
        for kind in ["long", "float", "boolean", "ip", "integer_range", "object", "geo_point", "dense_vector"]
        {
            assert_eq!(of(&json!({ "type": kind }), &Form::Timestamptz), Refused, "{kind}");
        }
        for kind in ["date", "long", "double", "ip", "object", "boolean"] {
            assert_eq!(of(&json!({ "type": kind }), &Form::Uuid), Refused, "{kind}");
        }
        assert_eq!(of(&json!({ "type": "double" }), &Form::Boolean), Refused);
        assert_eq!(of(&json!({ "type": "boolean" }), &Form::Integer(32)), Refused);
        assert_eq!(of(&json!({ "type": "keyword" }), &Form::Hstore), Refused);
    }

    #[test]
    fn lost_digits_are_told() {
        for (kind, form) in [
            ("float", Form::Integer(32)),
            ("double", Form::Integer(64)),
            ("double", Form::Numeric { limit: None }),
            ("float", Form::Numeric { limit: Some((10, 2)) }),
            ("long", Form::Numeric { limit: Some((10, 2)) }),
            ("integer", Form::Integer(64)),
            ("long", Form::Numeric { limit: Some((20, 0)) }),
        ] {
            assert!(is_doubtful(&of(&json!({ "type": kind }), &form)), "{kind} {form:?}");
        }
        assert_eq!(of(&json!({ "type": "double" }), &Form::Integer(32)), Fits);
        assert_eq!(of(&json!({ "type": "float" }), &Form::Float(64)), Fits);
    }

    #[test]
    fn the_format_of_a_date_field_is_read() {
        let with = |format: &str| json!({ "type": "date", "format": format });
        assert_eq!(of(&with("epoch_second||strict_date_optional_time"), &Form::Timestamptz), Fits);
        assert_eq!(of(&with("yyyy-MM-dd"), &Form::Date), Fits);
        assert_eq!(of(&with("yyyy-MM-dd||epoch_millis"), &Form::Timestamp), Refused);
        assert_eq!(of(&with("epoch_millis"), &Form::Date), Refused);
        assert!(is_doubtful(&of(&with("yyyy-MM-dd HH:mm:ss"), &Form::Timestamp)));
        assert_eq!(of(&json!({ "type": "date" }), &Form::Time), Refused);
        assert!(is_doubtful(&of(&with("HH:mm:ss"), &Form::Time)));
    }

    #[test]
    fn ranges_need_a_range_field_of_their_kind() {
        let range = |bound: Form| Form::Range(Box::new(bound));
        assert_eq!(of(&json!({ "type": "date_range" }), &range(Form::Integer(32))), Refused);
        assert_eq!(of(&json!({ "type": "double_range" }), &range(Form::Integer(32))), Fits);
        assert!(is_doubtful(&of(&json!({ "type": "integer_range" }), &range(Form::Integer(64)))));
        assert_eq!(of(&json!({ "type": "integer_range" }), &Form::Integer(32)), Refused);
        assert_eq!(
            of(&json!({ "type": "dense_vector", "dims": 4 }), &Form::Vector { dimensions: Some(3) }),
            Refused
        );
    }
}
