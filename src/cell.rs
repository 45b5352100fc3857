//! One value of one row, in PostgreSQL's binary form, and what can be done with it: JSON, text, comparison.
//!
//! A column renders as PostgreSQL's own `to_json` renders it under `TimeZone = UTC`, except that a number that JSON
//! cannot hold (NaN, the infinities) becomes null. Types without a binary form below are selected as `to_json(…)`, and
//! so come as [`CellFormat::Json`].

use std::cmp::Ordering;
use std::io::Write;

use crate::checkpoint::{write_date, write_timestamp};

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
    /// `numeric` as its text: digits are passed on as they are.
    Numeric,
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
}

impl CellFormat {
    /// Writes the cell as JSON on one line.
    pub fn write_json(self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Bool => out.extend_from_slice(if bytes == [1] { b"true" } else { b"false" }),
            Self::Int2 | Self::Int4 | Self::Int8 => write_display(out, integer(bytes)),
            Self::Float4 => {
                let number = f32::from_bits(u32::from_be_bytes(fixed(bytes)));
                write_finite(out, number.is_finite(), number);
            }
            Self::Float8 => {
                let number = f64::from_bits(u64::from_be_bytes(fixed(bytes)));
                write_finite(out, number.is_finite(), number);
            }
            Self::Numeric => {
                let is_number = bytes.last().is_some_and(u8::is_ascii_digit);
                out.extend_from_slice(if is_number { bytes } else { b"null" });
            }
            Self::Text => match std::str::from_utf8(bytes) {
                Ok(text) => write_json_string(out, text),
                // A database whose encoding is SQL_ASCII.
                Err(_) => write_json_string(out, &String::from_utf8_lossy(bytes)),
            },
            Self::Uuid | Self::Timestamptz | Self::Timestamp | Self::Date => {
                out.push(b'"');
                match self {
                    Self::Uuid => write_uuid(out, bytes),
                    Self::Timestamptz => write_timestamp(out, integer(bytes), b'T', "+00:00"),
                    Self::Timestamp => write_timestamp(out, integer(bytes), b'T', ""),
                    _ => write_date(out, i32::from_be_bytes(fixed(bytes))),
                }
                out.push(b'"');
            }
            Self::Json => write_on_one_line(out, bytes),
            Self::Jsonb => write_on_one_line(out, bytes.get(1..).unwrap_or_default()),
        }
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
            Self::Float4 => f32::from_bits(u32::from_be_bytes(fixed(left)))
                .total_cmp(&f32::from_bits(u32::from_be_bytes(fixed(right)))),
            Self::Float8 => f64::from_bits(u64::from_be_bytes(fixed(left)))
                .total_cmp(&f64::from_bits(u64::from_be_bytes(fixed(right)))),
            Self::Numeric => compare_numeric(left, right),
            Self::Bool | Self::Text | Self::Uuid | Self::Json | Self::Jsonb => left.cmp(right),
        }
    }
}

/// Compares two `numeric` texts by value: sign, then length of the whole part, then the digits.
fn compare_numeric(left: &[u8], right: &[u8]) -> Ordering {
    fn parts(text: &[u8]) -> (bool, &[u8], &[u8]) {
        let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
        let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
        let fraction = digits.get(point + 1..).unwrap_or_default();
        (negative, &digits[..point], fraction)
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

/// Writes `text` as a JSON string.
pub fn write_json_string(out: &mut Vec<u8>, text: &str) {
    // A string always serialises and a Vec always takes it: there is no error to report.
    let _ = serde_json::to_writer(out, text);
}

/// Writes 16 bytes in PostgreSQL's text form of a uuid.
fn write_uuid(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (position, byte) in bytes.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Passes JSON on; a line break can only stand between its tokens, where a space means the same.
fn write_on_one_line(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    out.extend_from_slice(json);
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

fn write_finite(out: &mut Vec<u8>, is_finite: bool, number: impl serde::Serialize) {
    if is_finite {
        let _ = serde_json::to_writer(out, &number);
    } else {
        out.extend_from_slice(b"null");
    }
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
            json(CellFormat::Numeric, b"1234567890123456789012345678901234567890.10"),
            "1234567890123456789012345678901234567890.10"
        );
        assert_eq!(json(CellFormat::Float4, &8.6f32.to_be_bytes()), "8.6");
    }

    #[test]
    fn what_json_cannot_hold_is_null() {
        assert_eq!(json(CellFormat::Float8, &f64::NAN.to_be_bytes()), "null");
        assert_eq!(json(CellFormat::Float4, &f32::INFINITY.to_be_bytes()), "null");
        assert_eq!(json(CellFormat::Numeric, b"NaN"), "null");
        assert_eq!(json(CellFormat::Numeric, b"-Infinity"), "null");
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
        let mut numbers = ["10", "-2", "9.50", "9.5", "-10", "0", "9.49"];
        numbers.sort_by(|left, right| compare_numeric(left.as_bytes(), right.as_bytes()));
        assert_eq!(numbers, ["-10", "-2", "0", "9.49", "9.5", "9.50", "10"]);
    }

    #[test]
    fn a_uuid_reads_as_postgresql_prints_it() {
        let bytes =
            [0xe7, 0xe6, 0xd1, 0x47, 0xcc, 0x10, 0x40, 0x6c, 0xa7, 0xa2, 0x5e, 0x0b, 0xe2, 0x23, 0x13, 0x27];
        assert_eq!(CellFormat::Uuid.text(&bytes), "e7e6d147-cc10-406c-a7a2-5e0be2231327");
    }
}
