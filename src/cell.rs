//! One value of one row, in PostgreSQL's binary form, and what can be done with it: JSON, text, comparison.
//!
//! What each type becomes is its [`Form`]. Common types are read in their binary form, which is quicker; all others come
//! as PostgreSQL's text of them ([`CellFormat::Composed`]). What JSON cannot hold (NaN, the infinities of numbers and of
//! times) becomes null.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{write_iso_date, write_iso_timestamp};
use crate::form::Form;
use crate::json_string::write_json_bytes;

/// How the bytes of a cell are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CellFormat {
    /// `bool`: one byte.
    Bool,
    /// `int2`, big-endian.
    Int2,
    /// `int4`, big-endian.
    Int4,
    /// `int8`, big-endian.
    Int8,
    /// `float4`, big-endian.
    Float4,
    /// `float8`, big-endian.
    Float8,
    /// Text of any kind, UTF-8.
    Text,
    /// `uuid`: 16 bytes.
    Uuid,
    /// `timestamptz`: microseconds since 2000-01-01.
    Timestamptz,
    /// `timestamp`: microseconds since 2000-01-01.
    Timestamp,
    /// `date`: days since 2000-01-01.
    Date,
    /// `json` text, passed on byte for byte.
    Json,
    /// `jsonb`: a version byte and JSON text.
    Jsonb,
    /// `bytea`.
    Bytes,
    /// PostgreSQL's text of any other type, to be read as the form says.
    Composed(&'static Form),
}

impl CellFormat {
    /// Writes the cell as JSON on one line; returns false if JSON cannot hold all of it, and a part is null.
    ///
    /// Bytes that are no UTF-8 stay as they are.
    pub fn write_json(self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        match self {
            Self::Bool => out.extend_from_slice(if bytes == [1] { b"true" } else { b"false" }),
            Self::Int2 | Self::Int4 | Self::Int8 => write_display(out, integer(bytes)),
            Self::Float4 => return write_float4(out, f32::from_bits(u32::from_be_bytes(fixed(bytes)))),
            Self::Float8 => return write_float8(out, f64::from_bits(u64::from_be_bytes(fixed(bytes)))),
            Self::Text => write_json_bytes(out, bytes),
            Self::Uuid => {
                out.push(b'"');
                write_uuid(out, bytes);
                out.push(b'"');
            }
            Self::Timestamptz => return write_iso_timestamp(out, integer(bytes), "+00:00"),
            Self::Timestamp => return write_iso_timestamp(out, integer(bytes), ""),
            Self::Date => return write_iso_date(out, i32::from_be_bytes(fixed(bytes))),
            Self::Json => write_on_one_line(out, bytes),
            Self::Jsonb => write_on_one_line(out, bytes.get(1..).unwrap_or_default()),
            Self::Bytes => {
                out.push(b'"');
                out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
                out.push(b'"');
            }
            Self::Composed(form) => return form.write_json(bytes, out),
        }
        true
    }

    /// The form of the values, as far as the format tells it.
    pub fn form(self) -> Cow<'static, Form> {
        Cow::Owned(match self {
            Self::Bool => Form::Boolean,
            Self::Int2 => Form::Integer(16),
            Self::Int4 => Form::Integer(32),
            Self::Int8 => Form::Integer(64),
            Self::Float4 => Form::Float(32),
            Self::Float8 => Form::Float(64),
            Self::Text => Form::Text,
            Self::Uuid => Form::Uuid,
            Self::Timestamptz => Form::Timestamptz,
            Self::Timestamp => Form::Timestamp,
            Self::Date => Form::Date,
            Self::Json => Form::Json,
            Self::Jsonb => Form::Jsonb,
            Self::Bytes => Form::Bytes,
            Self::Composed(form) => return Cow::Borrowed(form),
        })
    }

    /// Returns the cell as PostgreSQL's own text, for keys and joins.
    ///
    /// Columns of keys and joins are selected in a format of which this is true: see `postgres::plan`.
    pub fn text(self, bytes: &[u8]) -> String {
        let mut out = Vec::with_capacity(36);
        match self {
            Self::Uuid => write_uuid(&mut out, bytes),
            Self::Int2 | Self::Int4 | Self::Int8 => write_display(&mut out, integer(bytes)),
            _ => out.extend_from_slice(bytes),
        }
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// Compares two cells of this format by value; text by its bytes (the order of the C collation).
    pub fn compare(self, left: &[u8], right: &[u8]) -> Ordering {
        match self {
            Self::Int2 | Self::Int4 | Self::Int8 | Self::Timestamptz | Self::Timestamp | Self::Date => {
                integer(left).cmp(&integer(right))
            }
            Self::Float4 => {
                let float = |bytes| f64::from(f32::from_bits(u32::from_be_bytes(fixed(bytes))));
                compare_float(float(left), float(right))
            }
            Self::Float8 => {
                let float = |bytes| f64::from_bits(u64::from_be_bytes(fixed(bytes)));
                compare_float(float(left), float(right))
            }
            Self::Composed(Form::Numeric { .. } | Form::Money) => compare_numeric(left, right),
            Self::Bool
            | Self::Text
            | Self::Uuid
            | Self::Json
            | Self::Jsonb
            | Self::Bytes
            | Self::Composed(_) => left.cmp(right),
        }
    }
}

/// Compares two `numeric` texts by value: sign, then length of the whole part, then the digits. As PostgreSQL has it,
/// 1.5 and 1.50 are equal, and NaN is the largest.
fn compare_numeric(left: &[u8], right: &[u8]) -> Ordering {
    /// 0 for a number, more and less for what lies beyond all numbers.
    fn place(text: &[u8]) -> i8 {
        match text {
            b"NaN" => 2,
            b"Infinity" => 1,
            b"-Infinity" => -1,
            _ => 0,
        }
    }
    fn parts(text: &[u8]) -> (bool, &[u8], &[u8]) {
        let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
        let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
        let fraction = digits.get(point + 1..).unwrap_or_default();
        let end = fraction.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        (negative, &digits[..point], &fraction[..end])
    }
    let (left_place, right_place) = (place(left), place(right));
    if left_place != 0 || right_place != 0 {
        return left_place.cmp(&right_place);
    }
    let (left_negative, left_whole, left_fraction) = parts(left);
    let (right_negative, right_whole, right_fraction) = parts(right);
    let magnitude = left_whole
        .len()
        .cmp(&right_whole.len())
        .then_with(|| left_whole.cmp(right_whole))
        .then_with(|| left_fraction.cmp(right_fraction));
    match (left_negative, right_negative) {
        (false, false) => magnitude,
        (true, true) => magnitude.reverse(),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}

/// Compares two floats as PostgreSQL does: both zeros are equal, and NaN is the largest, whatever its sign.
fn compare_float(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}

/// Writes 16 bytes in PostgreSQL's text form of a uuid; nothing for another number of bytes, which the server never sends.
fn write_uuid(out: &mut Vec<u8>, bytes: &[u8]) {
    if let Ok(uuid) = uuid::Uuid::from_slice(bytes) {
        let mut text = uuid::Uuid::encode_buffer();
        out.extend_from_slice(uuid.hyphenated().encode_lower(&mut text).as_bytes());
    }
}

/// Passes JSON on; a line break can only stand between its tokens, where a space means the same.
pub(crate) fn write_on_one_line(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    out.extend_from_slice(json);
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// Writes a `real`: the shortest number that reads back as the same; null, and false, where there is none.
pub(crate) fn write_float4(out: &mut Vec<u8>, number: f32) -> bool {
    write_finite(out, number.is_finite(), number)
}

/// The same for a `double precision`.
pub(crate) fn write_float8(out: &mut Vec<u8>, number: f64) -> bool {
    write_finite(out, number.is_finite(), number)
}

fn write_finite(out: &mut Vec<u8>, is_finite: bool, number: impl serde::Serialize) -> bool {
    if is_finite {
        let _ = serde_json::to_writer(out, &number);
    } else {
        out.extend_from_slice(b"null");
    }
    is_finite
}

fn write_display(out: &mut Vec<u8>, number: i64) {
    let _ = write!(out, "{number}");
}

/// Reads a big-endian signed integer of 2, 4 or 8 bytes.
fn integer(bytes: &[u8]) -> i64 {
    match bytes.len() {
        2 => i64::from(i16::from_be_bytes(fixed(bytes))),
        4 => i64::from(i32::from_be_bytes(fixed(bytes))),
        _ => i64::from_be_bytes(fixed(bytes)),
    }
}

/// The bytes as an array; a cell of another length (which the server never sends) reads as zero.
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    debug_assert_eq!(bytes.len(), N, "a cell of a fixed-length type has its type's length");
    bytes.try_into().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMERIC: CellFormat = CellFormat::Composed(&Form::Numeric { limit: None });

    fn json(format: CellFormat, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        format.write_json(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_keep_every_digit() {
        assert_eq!(json(CellFormat::Int8, &i64::MAX.to_be_bytes()), "9223372036854775807");
        assert_eq!(json(CellFormat::Int2, &(-5i16).to_be_bytes()), "-5");
        assert_eq!(
            json(NUMERIC, b"1234567890123456789012345678901234567890.10"),
            "1234567890123456789012345678901234567890.10"
        );
        assert_eq!(json(CellFormat::Float4, &8.6f32.to_be_bytes()), "8.6");
    }

    #[test]
    fn what_json_cannot_hold_is_null() {
        assert!(!CellFormat::Float8.write_json(&f64::NAN.to_be_bytes(), &mut Vec::new()));
        assert!(CellFormat::Float8.write_json(&1f64.to_be_bytes(), &mut Vec::new()));
        assert_eq!(json(CellFormat::Timestamptz, &i64::MAX.to_be_bytes()), "null");
        assert_eq!(json(CellFormat::Date, &i32::MIN.to_be_bytes()), "null");
        assert_eq!(json(CellFormat::Float8, &f64::NAN.to_be_bytes()), "null");
        assert_eq!(json(CellFormat::Float4, &f32::INFINITY.to_be_bytes()), "null");
        assert_eq!(json(NUMERIC, b"NaN"), "null");
        assert_eq!(json(NUMERIC, b"-Infinity"), "null");
    }

    #[test]
    fn a_document_never_spans_two_lines() {
        assert_eq!(json(CellFormat::Json, b"{\n\t\"a\":\r\n 1}"), "{ \t\"a\":   1}");
        assert_eq!(json(CellFormat::Jsonb, b"\x01{\"a\": 1}"), "{\"a\": 1}");
        assert_eq!(
            json(CellFormat::Text, "a\nb\u{2028}\"\\\u{1}".as_bytes()),
            "\"a\\nb\u{2028}\\\"\\\\\\u0001\""
        );
    }

    #[test]
    fn numerics_are_ordered_by_value() {
        let compare = |left: &str, right: &str| compare_numeric(left.as_bytes(), right.as_bytes());
        let mut numbers = ["NaN", "10", "-2", "9.50", "Infinity", "1000", "-10", "0", "-Infinity", "9.49"];
        numbers.sort_by(|left, right| compare(left, right));
        assert_eq!(numbers, ["-Infinity", "-10", "-2", "0", "9.49", "9.50", "10", "1000", "Infinity", "NaN"]);
        for (left, right) in [("9.5", "9.50"), ("-2", "-2.00"), ("0", "0.0"), ("NaN", "NaN")] {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} {right}");
        }
    }

    #[test]
    fn floats_are_ordered_as_postgresql_orders_them() {
        let compare = |left: f64, right: f64| {
            CellFormat::Float8.compare(&left.to_bits().to_be_bytes(), &right.to_bits().to_be_bytes())
        };
        assert_eq!(compare(0.0, -0.0), Ordering::Equal);
        assert_eq!(compare(-f64::NAN, f64::INFINITY), Ordering::Greater);
        assert_eq!(compare(f64::NAN, -f64::NAN), Ordering::Equal);
        assert_eq!(compare(f64::NEG_INFINITY, -1.0), Ordering::Less);
    }

    #[test]
    fn a_uuid_reads_as_postgresql_prints_it() {
        let bytes =
            [0xe7, 0xe6, 0xd1, 0x47, 0xcc, 0x10, 0x40, 0x6c, 0xa7, 0xa2, 0x5e, 0x0b, 0xe2, 0x23, 0x13, 0x27];
        assert_eq!(CellFormat::Uuid.text(&bytes), "e7e6d147-cc10-406c-a7a2-5e0be2231327");
    }
}
