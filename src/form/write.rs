//! Writes PostgreSQL's text of a value as JSON, in the form of its type.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::cell::write_on_one_line;
use crate::checkpoint::{ServerTime, parse_date, write_iso_date, write_iso_timestamp};
use crate::form::literal::Literal;
use crate::form::{Form, geometry};
use crate::json_string::write_json_string;

const NULL: &[u8] = b"null";

impl Form {
    /// Writes the value; returns whether all of it could be said in JSON, else a part of it is null.
    pub fn write_json(&self, text: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let mut writer = Writer { out, is_whole: true };
        if writer.value(self, text).is_none() {
            // A text that its type's output function does not write; it is kept as it is.
            writer.out.truncate(start);
            writer.string(text);
        }
        writer.is_whole
    }
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    is_whole: bool,
}

impl Writer<'_> {
    fn value(&mut self, form: &Form, text: &[u8]) -> Option<()> {
        match form {
            Form::Boolean => self.raw(if text.starts_with(b"t") { b"true" } else { b"false" }),
            Form::Integer(_) | Form::Oid => self.raw(text),
            Form::Numeric { .. } | Form::Money => self.number(text),
            Form::Float(32) => {
                let number: f32 = parse(text)?;
                self.is_whole &= crate::cell::write_float4(self.out, number);
            }
            Form::Float(_) => {
                let number: f64 = parse(text)?;
                self.is_whole &= crate::cell::write_float8(self.out, number);
            }
            Form::Text
            | Form::TextLike
            | Form::Uuid
            | Form::Keyword
            | Form::Plain { .. }
            | Form::Ip
            | Form::IpRange
            | Form::Time
            | Form::Interval => self.string(text),
            Form::Timetz => self.time_with_zone(text),
            Form::Date | Form::Timestamp | Form::Timestamptz => self.time(form, text)?,
            Form::Bytes => {
                self.out.push(b'"');
                self.out.extend_from_slice(STANDARD.encode(bytes_of_hex(text)?).as_bytes());
                self.out.push(b'"');
            }
            Form::Json | Form::Jsonb => write_on_one_line(self.out, text),
            // PostGIS writes GeoJSON itself (see `postgres::select`), even of coordinates that JSON has no number for.
            Form::Vector { .. } | Form::Geometry(_) => {
                let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
                self.is_whole &= is_json;
                self.raw(if is_json { text } else { NULL });
            }
            Form::Hstore => self.hstore(&mut Literal::new(text))?,
            Form::NumberList => self.number_list(text),
            Form::Geometric(kind) => self.is_whole &= geometry::write(*kind, text, self.out)?,
            Form::List { item, delimiter } => {
                let mut literal = Literal::new(text);
                // `[0:2]={…}` where the first subscript is not 1.
                if literal.peek() == Some(b'[') {
                    while literal.next()? != b'=' {}
                }
                self.list(item, *delimiter, &mut literal)?;
            }
            Form::Object(fields) => self.object(fields, &mut Literal::new(text))?,
            Form::Range(bound) => self.range(bound, &mut Literal::new(text))?,
            Form::Multirange(bound) => self.multirange(bound, &mut Literal::new(text))?,
        }
        Some(())
    }

    fn raw(&mut self, json: &[u8]) {
        self.out.extend_from_slice(json);
    }

    fn string(&mut self, text: &[u8]) {
        write_json_string(self.out, &String::from_utf8_lossy(text));
    }

    /// Digits as they are; `NaN` and the infinities are null.
    fn number(&mut self, text: &[u8]) {
        let is_number = text.last().is_some_and(u8::is_ascii_digit);
        self.is_whole &= is_number;
        self.raw(if is_number { text } else { NULL });
    }

    fn time(&mut self, form: &Form, text: &[u8]) -> Option<()> {
        let text = std::str::from_utf8(text).ok()?;
        self.is_whole &= match form {
            Form::Date => write_iso_date(self.out, parse_date(text)?),
            Form::Timestamp => write_iso_timestamp(self.out, timestamp(text)?, ""),
            _ => write_iso_timestamp(self.out, ServerTime::parse(text)?.0, "+00:00"),
        };
        Some(())
    }

    /// A zone has its minutes, as ISO 8601 and RFC 3339 want it.
    fn time_with_zone(&mut self, text: &[u8]) {
        let zone = text.iter().rposition(|byte| matches!(byte, b'+' | b'-')).unwrap_or(text.len());
        self.out.push(b'"');
        self.raw(text);
        if text.len() - zone == 3 {
            self.raw(b":00");
        }
        self.out.push(b'"');
    }

    fn number_list(&mut self, text: &[u8]) {
        self.out.push(b'[');
        for (position, number) in text.split(|byte| *byte == b' ').filter(|part| !part.is_empty()).enumerate()
        {
            if position > 0 {
                self.out.push(b',');
            }
            self.raw(number);
        }
        self.out.push(b']');
    }

    fn list(&mut self, item: &Form, delimiter: u8, literal: &mut Literal<'_>) -> Option<()> {
        literal.expect(b'{')?;
        self.out.push(b'[');
        let mut token = Vec::new();
        if !literal.passes(b'}') {
            loop {
                if literal.peek()? == b'{' {
                    self.list(item, delimiter, literal)?;
                } else {
                    let was_quoted = literal.token(&[delimiter, b'}'], &mut token)?;
                    if !was_quoted && token.eq_ignore_ascii_case(b"NULL") {
                        self.raw(NULL);
                    } else {
                        self.value(item, &token)?;
                    }
                }
                match literal.next()? {
                    b'}' => break,
                    byte if byte == delimiter => self.out.push(b','),
                    _ => return None,
                }
            }
        }
        self.out.push(b']');
        Some(())
    }

    fn object(&mut self, fields: &[(Box<str>, Form)], literal: &mut Literal<'_>) -> Option<()> {
        literal.expect(b'(')?;
        self.out.push(b'{');
        let mut token = Vec::new();
        for (position, (name, form)) in fields.iter().enumerate() {
            if position > 0 {
                literal.expect(b',')?;
                self.out.push(b',');
            }
            write_json_string(self.out, name);
            self.out.push(b':');
            let was_quoted = literal.token(b",)", &mut token)?;
            if token.is_empty() && !was_quoted {
                self.raw(NULL);
            } else {
                self.value(form, &token)?;
            }
        }
        literal.expect(b')')?;
        self.out.push(b'}');
        literal.is_at_end().then_some(())
    }

    /// An object of the bounds that there are; null if no value is in the range.
    fn range(&mut self, bound: &Form, literal: &mut Literal<'_>) -> Option<()> {
        if literal.passes_text(b"empty") {
            self.raw(NULL);
            return Some(());
        }
        let low = match literal.next()? {
            b'[' => "gte",
            b'(' => "gt",
            _ => return None,
        };
        self.out.push(b'{');
        let (mut low_text, mut high_text) = (Vec::new(), Vec::new());
        let has_low = literal.token(b",", &mut low_text)? || !low_text.is_empty();
        literal.expect(b',')?;
        let has_high = literal.token(b")]", &mut high_text)? || !high_text.is_empty();
        let high = match literal.next()? {
            b']' => "lte",
            _ => "lt",
        };
        let mut is_first = true;
        for (name, text) in [has_low.then_some((low, &low_text)), has_high.then_some((high, &high_text))]
            .into_iter()
            .flatten()
        {
            // Nothing is beyond infinity: such a bound is none.
            if is_infinite(bound, text) {
                continue;
            }
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            write_json_string(self.out, name);
            self.out.push(b':');
            self.value(bound, text)?;
        }
        self.out.push(b'}');
        Some(())
    }

    fn multirange(&mut self, bound: &Form, literal: &mut Literal<'_>) -> Option<()> {
        literal.expect(b'{')?;
        self.out.push(b'[');
        if !literal.passes(b'}') {
            loop {
                self.range(bound, literal)?;
                match literal.next()? {
                    b'}' => break,
                    b',' => self.out.push(b','),
                    _ => return None,
                }
            }
        }
        self.out.push(b']');
        Some(())
    }

    /// `"key"=>"value", "key"=>NULL`.
    fn hstore(&mut self, literal: &mut Literal<'_>) -> Option<()> {
        self.out.push(b'{');
        let mut token = Vec::new();
        let mut is_first = true;
        while !literal.is_at_end() {
            if !is_first {
                literal.expect(b',')?;
                literal.pass_spaces();
                self.out.push(b',');
            }
            is_first = false;
            literal.expect_quoted(&mut token)?;
            self.string(&token);
            self.out.push(b':');
            literal.expect(b'=')?;
            literal.expect(b'>')?;
            if literal.passes_text(b"NULL") {
                self.raw(NULL);
            } else {
                literal.expect_quoted(&mut token)?;
                self.string(&token);
            }
        }
        self.out.push(b'}');
        Some(())
    }
}

fn parse<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn is_infinite(bound: &Form, text: &[u8]) -> bool {
    let is_open_ended = matches!(
        bound,
        Form::Date | Form::Timestamp | Form::Timestamptz | Form::Numeric { .. } | Form::Float(_)
    );
    let text = text.strip_prefix(b"-").unwrap_or(text);
    is_open_ended && text.eq_ignore_ascii_case(b"infinity")
}

/// Microseconds since 2000-01-01 in the text of a `timestamp`.
fn timestamp(text: &str) -> Option<i64> {
    if text.ends_with("infinity") {
        return ServerTime::parse(text).map(|time| time.0);
    }
    let (text, era) = text.strip_suffix(" BC").map_or((text, ""), |rest| (rest, " BC"));
    ServerTime::parse(&format!("{text}+00{era}")).map(|time| time.0)
}

/// The bytes of `\x0102ff`.
fn bytes_of_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits = text.strip_prefix(b"\\x")?;
    digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(form: &Form, text: &str) -> (String, bool) {
        let mut out = Vec::new();
        let is_whole = form.write_json(text.as_bytes(), &mut out);
        let json = String::from_utf8(out).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
        (json, is_whole)
    }

    fn whole(form: &Form, text: &str) -> String {
        let (json, is_whole) = json(form, text);
        assert!(is_whole, "{json}");
        json
    }

    fn list(item: Form) -> Form {
        Form::List { item: Box::new(item), delimiter: b',' }
    }

    const NUMERIC: Form = Form::Numeric { limit: None };

    #[test]
    fn arrays_keep_nulls_nesting_and_the_form_of_their_elements() {
        assert_eq!(whole(&list(Form::Text), "{}"), "[]");
        assert_eq!(
            whole(&list(Form::Text), r#"{a,NULL,"NULL","","a,b","q\"\\","{x}"}"#),
            r#"["a",null,"NULL","","a,b","q\"\\","{x}"]"#
        );
        assert_eq!(whole(&list(Form::Integer(32)), "{{1,2},{3,NULL}}"), "[[1,2],[3,null]]");
        assert_eq!(whole(&list(Form::Integer(32)), "[0:1]={7,8}"), "[7,8]");
        assert_eq!(whole(&list(Form::Boolean), "{t,f,NULL}"), "[true,false,null]");
        assert_eq!(json(&list(NUMERIC), "{1.10,NaN}"), ("[1.10,null]".to_owned(), false));
        assert_eq!(json(&list(Form::Float(64)), "{1e+20,-Infinity}"), ("[1e+20,null]".to_owned(), false));
        assert_eq!(whole(&list(Form::Bytes), r#"{"\\x0102","\\x"}"#), r#"["AQI=",""]"#);
        assert_eq!(
            whole(&list(Form::Timestamptz), r#"{"2024-01-02 03:04:05.6+00","0044-03-15 00:00:00+00 BC"}"#),
            r#"["2024-01-02T03:04:05.6+00:00","-0043-03-15T00:00:00+00:00"]"#
        );
        assert_eq!(
            whole(&list(Form::Json), r#"{"{\"a\": 12345678901234567890.10}",null}"#),
            r#"[{"a": 12345678901234567890.10},null]"#
        );
        let boxes =
            Form::List { item: Box::new(Form::Geometric(crate::form::Geometric::Point)), delimiter: b';' };
        assert!(whole(&boxes, "{(1,2);(3,4)}").starts_with("[{\"type\":\"Point\""));
    }

    #[test]
    fn composites_are_objects_with_their_values_in_form() {
        let inner = Form::Object(vec![("x".into(), Form::Date), ("y".into(), Form::Text)]);
        let outer = Form::Object(vec![
            ("a".into(), Form::Integer(64)),
            ("b \"q\"".into(), inner),
            ("c".into(), list(Form::Text)),
            ("d".into(), Form::Text),
        ]);
        assert_eq!(
            whole(&outer, r#"(9223372036854775807,"(2024-01-02,""a """"b"""""")","{x,""y z"",NULL}",)"#),
            r#"{"a":9223372036854775807,"b \"q\"":{"x":"2024-01-02","y":"a \"b\""},"c":["x","y z",null],"d":null}"#
        );
        assert_eq!(whole(&Form::Object(vec![("a".into(), Form::Text)]), "(\"\")"), r#"{"a":""}"#);
        // A column was added while we read: it is text then, never broken JSON.
        assert_eq!(whole(&Form::Object(vec![("a".into(), Form::Text)]), "(1,2)"), r#""(1,2)""#);
    }

    #[test]
    fn ranges_are_objects_of_the_bounds_there_are() {
        let of = |bound| Form::Range(Box::new(bound));
        assert_eq!(whole(&of(Form::Integer(32)), "[1,5)"), r#"{"gte":1,"lt":5}"#);
        assert_eq!(whole(&of(Form::Integer(32)), "empty"), "null");
        assert_eq!(whole(&of(Form::Integer(32)), "(,)"), "{}");
        assert_eq!(whole(&of(NUMERIC), "(1.50,]"), r#"{"gt":1.50}"#);
        assert_eq!(
            whole(&of(Form::Timestamptz), r#"["2024-01-02 00:00:00+00",infinity)"#),
            r#"{"gte":"2024-01-02T00:00:00+00:00"}"#
        );
        assert_eq!(whole(&of(Form::Text), r#"["a,""b",z]"#), r#"{"gte":"a,\"b","lte":"z"}"#);
        let many = Form::Multirange(Box::new(Form::Date));
        assert_eq!(
            whole(&many, "{[2024-01-01,2024-01-03),[2024-02-01,)}"),
            r#"[{"gte":"2024-01-01","lt":"2024-01-03"},{"gte":"2024-02-01"}]"#
        );
        assert_eq!(whole(&many, "{}"), "[]");
    }

    #[test]
    fn other_texts_are_read_as_what_they_mean() {
        assert_eq!(
            whole(&Form::Hstore, r#""a"=>"1", "b \"q\""=>NULL, ""=>"NULL""#),
            r#"{"a":"1","b \"q\"":null,"":"NULL"}"#
        );
        assert_eq!(whole(&Form::Hstore, ""), "{}");
        assert_eq!(whole(&Form::NumberList, "1 2 3"), "[1,2,3]");
        assert_eq!(whole(&Form::NumberList, ""), "[]");
        assert_eq!(whole(&Form::Timetz, "03:04:05+02"), r#""03:04:05+02:00""#);
        assert_eq!(whole(&Form::Timetz, "03:04:05.6-05:30"), r#""03:04:05.6-05:30""#);
        assert_eq!(whole(&Form::Vector { dimensions: None }, "[1,2.5,1e-05]"), "[1,2.5,1e-05]");
        assert_eq!(json(&Form::Vector { dimensions: None }, "[NaN,1]"), ("null".to_owned(), false));
        assert_eq!(json(&Form::Date, "infinity"), ("null".to_owned(), false));
        assert_eq!(whole(&Form::Date, "5874897-12-31"), r#""+5874897-12-31""#);
        assert_eq!(whole(&Form::Date, "4713-11-24 BC"), r#""-4712-11-24""#);
    }
}
