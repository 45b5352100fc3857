//! What servers answer, read into types: errors, and the items of a bulk answer.
//!
//! Unknown fields are passed over; what is needed and not there makes the answer unreadable.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::document::ActionKind;
use crate::error::{Error, Result};

/// The longest wait that a server may ask for: an operator who looks after an hour should find work going on.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The most bytes of a reason that are kept: a dead letter's reason must not outgrow its document.
const REASON_MAX_BYTES: usize = 4096;

/// The answer to one request.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// How long the server asks to wait.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the answer carries the header `X-Elastic-Product: Elasticsearch`.
    pub(crate) is_from_elasticsearch: bool,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Reads the body; `attempt` says what was asked.
    pub(crate) fn json<T: DeserializeOwned>(&self, attempt: &str) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::unreachable(format!("{attempt}: the answer ({} bytes) is unreadable", self.body.len()))
                .because(error)
        })
    }

    /// The error that the body speaks of, if it is one of the server's own and not of something in between.
    pub(crate) fn cause(&self) -> Option<Cause> {
        serde_json::from_slice::<ErrorBody>(&self.body).ok().map(|body| match body.error {
            ErrorField::Cause(cause) => cause,
            ErrorField::Text(text) => {
                Cause { error_type: "error".to_owned(), reason: Some(text), caused_by: None }
            }
        })
    }
}

/// Reads the header Retry-After: seconds, or a date.
pub(crate) fn parse_retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = DateTime::parse_from_rfc2822(value).ok()?;
            until.signed_duration_since(now).to_std().unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorField,
}

/// Older and simpler errors are a plain text: `{"error":"Incorrect HTTP method for uri …","status":405}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorField {
    Cause(Cause),
    Text(String),
}

/// An error as both servers write it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Cause {
    #[serde(rename = "type")]
    pub(crate) error_type: String,
    pub(crate) reason: Option<String>,
    pub(crate) caused_by: Option<Box<Cause>>,
}

impl Cause {
    /// The reason and what it was caused by, without repetition, at most 4 KiB.
    pub(crate) fn reason_story(&self) -> String {
        let mut story = self.reason.clone().unwrap_or_default();
        let mut cause = self.caused_by.as_deref();
        while let Some(inner) = cause {
            let reason = inner.reason.as_deref().unwrap_or_default();
            if !story.contains(reason) || reason.is_empty() {
                if !story.is_empty() {
                    story.push_str("; caused by ");
                }
                story.push_str(&inner.error_type);
                story.push_str(": ");
                story.push_str(reason);
            }
            cause = inner.caused_by.as_deref();
        }
        if story.len() > REASON_MAX_BYTES {
            let end = (0..=REASON_MAX_BYTES).rev().find(|end| story.is_char_boundary(*end));
            story.truncate(end.unwrap_or(0));
            story.push('…');
        }
        story
    }

    /// The error's type, and the field where the reason names one: reasons quote values of the document, which are
    /// nothing for a log.
    pub(crate) fn story_without_values(&self) -> String {
        story_without_values(&self.error_type, self.reason.as_deref().unwrap_or_default())
    }

    /// The error's type and the whole reason.
    pub(crate) fn story(&self) -> String {
        format!("{}: {}", self.error_type, self.reason_story())
    }
}

/// What a log may tell of a refusal: its type, and the field where `reason` names one in a way that both servers have.
pub(crate) fn story_without_values(error_type: &str, reason: &str) -> String {
    // "failed to parse field [rating] of type [float] in document with id 'x'. Preview of field's value: 'y'",
    // "mapping set to strict, dynamic introduction of [year] within [_doc] is not allowed".
    const BEFORE_THE_FIELD: [&str; 2] = ["failed to parse field [", "dynamic introduction of ["];
    let field = BEFORE_THE_FIELD
        .iter()
        .find_map(|before| Some(reason.split_once(before)?.1.split_once(']')?.0))
        .filter(|field| !field.is_empty());
    field.map_or_else(|| error_type.to_owned(), |field| format!("{error_type} at the field {field}"))
}

/// What became of one action of a bulk request.
#[derive(Debug, Deserialize)]
pub(crate) struct ItemResult {
    pub(crate) status: u16,
    pub(crate) error: Option<Cause>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Item {
    Index(ItemResult),
    Delete(ItemResult),
}

#[derive(Deserialize)]
struct BulkBody {
    items: Vec<Item>,
}

/// Reads the items of a bulk answer, one for each of `kinds`, in the order of the request.
///
/// Fails with what is wrong if it is not exactly that: then it is not known what became of the request.
pub(crate) fn parse_items(
    body: &[u8],
    kinds: impl ExactSizeIterator<Item = ActionKind>,
) -> Result<Vec<ItemResult>, String> {
    let body: BulkBody = serde_json::from_slice(body).map_err(|error| format!("unreadable: {error}"))?;
    if body.items.len() != kinds.len() {
        return Err(format!("{} items for {} actions", body.items.len(), kinds.len()));
    }
    let mut results = Vec::with_capacity(body.items.len());
    for (item, kind) in body.items.into_iter().zip(kinds) {
        match (item, kind) {
            (Item::Index(result), ActionKind::Index) | (Item::Delete(result), ActionKind::Delete) => {
                results.push(result);
            }
            _ => return Err("an item is not of its action's kind".to_owned()),
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_must_be_those_of_the_request() {
        let body = br#"{"took":3,"items":[{"index":{"status":201,"_seq_no":4}},{"delete":{"status":404}}]}"#;
        let kinds = [ActionKind::Index, ActionKind::Delete];
        let items = parse_items(body, kinds.iter().copied()).unwrap();
        assert_eq!(items.iter().map(|item| item.status).collect::<Vec<_>>(), [201, 404]);
        assert!(parse_items(body, kinds.iter().copied().take(1)).unwrap_err().contains("2 items for 1"));
        assert!(parse_items(body, kinds.iter().rev().copied()).is_err());
        for garbage in [&b""[..], b"<html>", b"{}", br#"{"items":[{"index":{}}]}"#, &body[..body.len() - 3]] {
            assert!(parse_items(garbage, kinds.iter().copied()).is_err());
        }
    }

    #[test]
    fn the_story_has_every_cause_once_and_an_end() {
        let body =
            br#"{"error":{"root_cause":[],"type":"document_parsing_exception","reason":"failed to parse",
            "caused_by":{"type":"number_format_exception","reason":"For input string"}},"status":400}"#;
        let response =
            Response { status: 400, retry_after: None, is_from_elasticsearch: true, body: body.to_vec() };
        assert_eq!(
            response.cause().unwrap().story(),
            "document_parsing_exception: failed to parse; caused by number_format_exception: For input string"
        );
        let long = Cause { error_type: "x".to_owned(), reason: Some("я".repeat(5000)), caused_by: None };
        assert!(long.reason_story().len() <= REASON_MAX_BYTES + 3);
    }

    #[test]
    fn the_story_for_a_log_has_the_field_and_no_value() {
        for (reason, story) in [
            (
                "[1:9] failed to parse field [rating] of type [float] in document with id 'x'. Preview of field's \
                 value: 'secret'",
                "t at the field rating",
            ),
            (
                "[1:2] mapping set to strict, dynamic introduction of [year] within [_doc] is not allowed",
                "t at the field year",
            ),
            ("failed to parse date field [secret] with format [x]", "t"),
            ("", "t"),
        ] {
            assert_eq!(story_without_values("t", reason), story);
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
        assert_eq!(parse_retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("Thu, 01 Jan 2026 00:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(parse_retry_after("Thu, 01 Jan 2015 00:00:30 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("999999999", now), Some(LONGEST_RETRY_AFTER));
        assert_eq!(parse_retry_after("soon", now), None);
    }
}
