//! The settings of an index, compared whichever way they were written.
//!
//! A file may write `{"index": {"refresh_interval": "1s"}}`, `{"index.refresh_interval": "1s"}` or
//! `{"refresh_interval": "1s"}`, with numbers and booleans or their texts, one item or a list of one; the
//! servers answer with texts. All are made flat and equal here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

/// How long an index that we create remembers the version of a deleted document.
///
/// The servers' own 60 seconds are shorter than a request may be on its way through proxies and queues; ten
/// minutes are not, and cost a few bytes of memory for each deletion.
pub const GC_DELETES: Duration = Duration::from_secs(600);

/// What the servers take if `index.gc_deletes` is not set (`IndexSettings.DEFAULT_GC_DELETES` of either).
const SERVER_GC_DELETES: Duration = Duration::from_secs(60);

const GC_DELETES_NAME: &str = "index.gc_deletes";

/// Settings by their whole names (`index.` in front), each with its value or values as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexSettings(BTreeMap<String, Vec<String>>);

impl IndexSettings {
    pub(crate) fn new(settings: &Map<String, Value>) -> Self {
        let mut flat = BTreeMap::new();
        flatten("", settings, &mut flat);
        Self(flat)
    }

    /// The value of a setting by its whole name; nothing if it is not set, or is a list of several.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        match self.0.get(name).map(Vec::as_slice) {
            Some([only]) => Some(only),
            _ => None,
        }
    }

    /// How long the index remembers deletions; nothing if the setting is unreadable.
    pub(crate) fn gc_deletes(&self) -> Option<Duration> {
        match self.0.get(GC_DELETES_NAME).map(Vec::as_slice) {
            None => Some(SERVER_GC_DELETES),
            Some([text]) => parse_time(text),
            Some(_) => None,
        }
    }

    /// Whether the file itself says how long deletions are remembered.
    pub(crate) fn has_gc_deletes(&self) -> bool {
        self.0.contains_key(GC_DELETES_NAME)
    }

    /// What these settings say of analysis that `found` says otherwise or not at all, one sentence each.
    pub(crate) fn analysis_differences(&self, found: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for (name, wanted) in self.0.iter().filter(|(name, _)| name.starts_with("index.analysis.")) {
            match found.0.get(name) {
                Some(present) if present == wanted => {}
                Some(present) => differences.push(format!(
                    "{name} is {} and must be {}",
                    present.join(", "),
                    wanted.join(", ")
                )),
                None => differences.push(format!("{name} is missing and must be {}", wanted.join(", "))),
            }
        }
        differences
    }
}

/// Adds our own `index.gc_deletes` to the settings of an index to be created, unless they hold one.
pub(crate) fn with_gc_deletes(settings: &Map<String, Value>) -> Map<String, Value> {
    let mut settings = settings.clone();
    if !IndexSettings::new(&settings).has_gc_deletes() {
        settings.insert(GC_DELETES_NAME.to_owned(), format!("{}s", GC_DELETES.as_secs()).into());
    }
    settings
}

fn flatten(prefix: &str, settings: &Map<String, Value>, flat: &mut BTreeMap<String, Vec<String>>) {
    for (name, value) in settings {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Object(inner) => flatten(&name, inner, flat),
            Value::Array(items) => {
                flat.insert(whole_name(&name), items.iter().map(as_text).collect());
            }
            other => {
                flat.insert(whole_name(&name), vec![as_text(other)]);
            }
        }
    }
}

fn whole_name(name: &str) -> String {
    if name.starts_with("index.") { name.to_owned() } else { format!("index.{name}") }
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Reads a duration as the servers write it: `90s`, `10m`, `1h`, `2d`, `500ms`, `1000micros`, `1nanos`, `-1`,
/// `0`.
fn parse_time(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text == "0" || text == "-1" {
        return Some(Duration::ZERO);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "nanos" => Duration::from_nanos(number),
        "micros" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        "d" => Duration::from_secs(number.checked_mul(86_400)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    fn flat(text: &str) -> IndexSettings {
        IndexSettings::new(&settings(text))
    }

    #[test]
    fn every_way_of_writing_is_the_same() {
        let one =
            flat(r#"{"index":{"gc_deletes":"5m","analysis":{"filter":{"x":{"type":"stop","on":true}}}}}"#);
        let other = flat(r#"{"gc_deletes":"5m","index.analysis.filter.x":{"type":["stop"],"on":"true"}}"#);
        assert_eq!(one, other);
        assert_eq!(one.gc_deletes(), Some(Duration::from_secs(300)));
        assert_eq!(flat("{}").gc_deletes(), Some(SERVER_GC_DELETES));
    }

    #[test]
    fn our_gc_deletes_is_added_only_where_the_file_is_silent() {
        let added = with_gc_deletes(&settings(r#"{"index":{"refresh_interval":"1s"}}"#));
        assert_eq!(IndexSettings::new(&added).gc_deletes(), Some(GC_DELETES));
        for text in
            [r#"{"index":{"gc_deletes":"1h"}}"#, r#"{"gc_deletes":"1h"}"#, r#"{"index.gc_deletes":"1h"}"#]
        {
            assert_eq!(with_gc_deletes(&settings(text)), settings(text));
        }
    }

    #[test]
    fn differences_in_analysis_are_named() {
        let wanted = flat(
            r#"{"analysis":{"analyzer":{"ru_en":{"tokenizer":"standard","filter":["lowercase","stop"]}}}}"#,
        );
        assert!(wanted.analysis_differences(&wanted).is_empty());
        let found = flat(r#"{"index":{"analysis":{"analyzer":{"ru_en":{"filter":["stop"]}}}}}"#);
        assert_eq!(
            wanted.analysis_differences(&found),
            [
                "index.analysis.analyzer.ru_en.filter is stop and must be lowercase, stop",
                "index.analysis.analyzer.ru_en.tokenizer is missing and must be standard",
            ]
        );
    }

    #[test]
    fn times_are_read_as_the_servers_write_them() {
        assert_eq!(parse_time("10m"), Some(GC_DELETES));
        assert_eq!(parse_time("1d"), Some(Duration::from_secs(86_400)));
        assert_eq!(parse_time("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_time("soon"), None);
    }
}
