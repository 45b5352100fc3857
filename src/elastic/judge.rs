//! What a bulk answer means: for the whole request, and for each action.

use crate::batch::Version;
use crate::document::ActionKind;
use crate::elastic::failure::{is_passing, status_error};
use crate::elastic::response::{Cause, ItemResult, Response, parse_items};
use crate::error::Error;

/// What a bulk request came to.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Every action was judged, in the order of the request.
    Items(Vec<ItemResult>),
    /// The server has not taken it; it can be sent again later.
    Busy(Error),
    /// Something may have been done; it has to be sent again.
    Unknown(Error),
    /// Something in the request is malformed. (Elasticsearch 8.16 and later may have taken the actions before
    /// it, since it works while it reads; the same actions are sent again, so this makes no difference.)
    Malformed(Cause),
    /// The request is too large.
    TooLarge(Cause),
    /// Someone has to act.
    Stop(Error),
}

/// Judges the answer to a bulk request whose actions have these kinds; `attempt` says what was asked.
pub(crate) fn judge_request(
    response: &Response,
    kinds: impl ExactSizeIterator<Item = ActionKind>,
    attempt: &str,
) -> Answer {
    if response.is_success() {
        return match parse_items(&response.body, kinds) {
            Ok(items) => Answer::Items(items),
            Err(problem) => Answer::Unknown(Error::unreachable(format!(
                "{attempt}: the server answered {} but not what became of each action: {problem}",
                response.status
            ))),
        };
    }
    let cause = response.cause();
    let error_type = cause.as_ref().map_or("", |cause| cause.error_type.as_str());
    let error = status_error(response.status, cause.as_ref(), attempt);
    match response.status {
        // Elasticsearch 8.16.6 and OpenSearch 2.19.1 send no body with it.
        413 => {
            Answer::TooLarge(cause.unwrap_or_else(|| plain("content_too_long", "the server answered 413")))
        }
        // Every request of ours has one: it was lost on the way, which says nothing of a document.
        400 if cause.as_ref().is_some_and(has_no_action) => Answer::Unknown(Error::unreachable(format!(
            "{attempt}: the server found no action in the request that it was sent"
        ))),
        400 if error_type != "index_closed_exception" && !is_passing(400, error_type) => {
            Answer::Malformed(cause.unwrap_or_else(|| plain("bad_request", "the server answered 400")))
        }
        // Refused before any action was begun: by the server's own word, or for lack of room.
        429 => Answer::Busy(error),
        _ if error_type == "cluster_block_exception" => Answer::Busy(error),
        _ if error.is_retryable() => Answer::Unknown(error),
        _ => Answer::Stop(error),
    }
}

/// What both servers say of a body without an action, and of no body at all (seen on Elasticsearch 8.16.6 and
/// OpenSearch 2.19.1). The same types stand for other things that are wrong with an action, too.
fn has_no_action(cause: &Cause) -> bool {
    let reason = cause.reason.as_deref().unwrap_or_default();
    match cause.error_type.as_str() {
        "action_request_validation_exception" => reason.contains("no requests added"),
        "parse_exception" => reason == "request body is required",
        _ => false,
    }
}

fn plain(error_type: &str, reason: &str) -> Cause {
    Cause { error_type: error_type.to_owned(), reason: Some(reason.to_owned()), caused_by: None }
}

/// What an action came to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The index holds what the action asked for.
    Applied,
    /// The index holds a strictly higher version, where it says which.
    Superseded(Option<Version>),
    /// The index holds a version that someone gave and none of ours will ever be above.
    Unbeatable(Cause),
    /// It can be tried again later.
    Retry(Error),
    /// It is refused for good.
    Refused(Cause),
    /// Someone has to act.
    Stop(Error),
}

/// Judges one action; `attempt` says what was asked.
///
/// A missing document on delete counts as applied: the goal is its absence. (Elasticsearch 8.16.6 and
/// OpenSearch 2.19.1 answer 404 without an error, and remember the version all the same.)
pub(crate) fn judge_item(kind: ActionKind, item: ItemResult, attempt: &str) -> Verdict {
    let ItemResult { status, error } = item;
    let Some(cause) = error else {
        return match (status, kind) {
            (200..=299, _) | (404, ActionKind::Delete) => Verdict::Applied,
            _ if is_passing(status, "") => Verdict::Retry(status_error(status, None, attempt)),
            _ => Verdict::Refused(plain(
                "unexplained",
                &format!("the server answered {status} without a reason"),
            )),
        };
    };
    match (status, cause.error_type.as_str()) {
        (409, "version_conflict_engine_exception") => {
            match found_version(cause.reason.as_deref().unwrap_or_default()) {
                Some(found) if found >= Version::OUT_OF_REACH => Verdict::Unbeatable(cause),
                found => Verdict::Superseded(found),
            }
        }
        // An ingest pipeline's `fail`: a 500, and nevertheless what it thinks of this document.
        (_, "fail_processor_exception") => Verdict::Refused(cause),
        _ if is_passing(status, &cause.error_type) => {
            Verdict::Retry(status_error(status, Some(&cause), attempt))
        }
        (401 | 403, _) | (_, "index_not_found_exception" | "index_closed_exception") => {
            Verdict::Stop(status_error(status, Some(&cause), attempt))
        }
        _ => Verdict::Refused(cause),
    }
}

/// Reads the version that the index holds out of the reason of a conflict.
///
/// Both servers write `[id]: version conflict, current version [7] is higher than the one provided [6]` (seen
/// on Elasticsearch 8.16.6 and OpenSearch 2.19.1, for documents and for remembered deletions). The id comes
/// first and may hold anything, so the text is searched from its end.
fn found_version(reason: &str) -> Option<Version> {
    let (_, rest) = reason.rsplit_once("current version [")?;
    let (number, _) = rest.split_once(']')?;
    number.parse().ok().map(Version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> ItemResult {
        serde_json::from_str(text).unwrap()
    }

    fn response(status: u16, body: &str) -> Response {
        Response { status, retry_after: None, is_from_elasticsearch: false, body: body.as_bytes().to_vec() }
    }

    fn judge(kind: ActionKind, text: &str) -> Verdict {
        judge_item(kind, item(text), "cannot write")
    }

    #[test]
    fn a_missing_document_on_delete_is_applied() {
        assert!(matches!(judge(ActionKind::Delete, r#"{"status":404}"#), Verdict::Applied));
        assert!(matches!(judge(ActionKind::Index, r#"{"status":201}"#), Verdict::Applied));
        assert!(matches!(judge(ActionKind::Index, r#"{"status":404}"#), Verdict::Refused(_)));
    }

    #[test]
    fn every_error_type_has_its_verdict() {
        for (status, error_type, expected) in [
            (400, "document_parsing_exception", "refused"),
            (400, "mapper_parsing_exception", "refused"),
            (400, "strict_dynamic_mapping_exception", "refused"),
            (400, "illegal_argument_exception", "refused"),
            (429, "es_rejected_execution_exception", "retry"),
            (429, "circuit_breaking_exception", "retry"),
            (503, "unavailable_shards_exception", "retry"),
            (500, "exception", "retry"),
            (500, "fail_processor_exception", "refused"),
            (403, "cluster_block_exception", "retry"),
            (429, "cluster_block_exception", "retry"),
            (403, "security_exception", "stop"),
            (401, "security_exception", "stop"),
            (404, "index_not_found_exception", "stop"),
            (400, "index_closed_exception", "stop"),
        ] {
            let text = format!(r#"{{"status":{status},"error":{{"type":"{error_type}","reason":"so"}}}}"#);
            let verdict = match judge(ActionKind::Delete, &text) {
                Verdict::Refused(_) => "refused",
                Verdict::Retry(error) if error.is_retryable() => "retry",
                Verdict::Stop(error) if error.exit_code() == 2 => "stop",
                other => panic!("{other:?}"),
            };
            assert_eq!(verdict, expected, "{status} {error_type}");
        }
    }

    #[test]
    fn the_found_version_is_read_out_of_the_reason() {
        let conflict = r#"{"status":409,"error":{"type":"version_conflict_engine_exception","reason":
            "[current version [5]]: version conflict, current version [1700000000000001] is higher than the one provided [1700000000000000]"}}"#;
        assert!(matches!(
            judge(ActionKind::Index, conflict),
            Verdict::Superseded(Some(Version(1_700_000_000_000_001)))
        ));
        let unbeatable = conflict.replace("1700000000000001", &i64::MAX.to_string());
        assert!(matches!(judge(ActionKind::Delete, &unbeatable), Verdict::Unbeatable(_)));
        let unclear =
            r#"{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"conflict"}}"#;
        assert!(matches!(judge(ActionKind::Index, unclear), Verdict::Superseded(None)));
    }

    #[test]
    fn requests_are_judged_as_a_whole() {
        let kinds = || [ActionKind::Index].into_iter();
        let of = |status, body: &str| judge_request(&response(status, body), kinds(), "cannot write");
        assert!(matches!(of(200, r#"{"items":[{"index":{"status":200}}]}"#), Answer::Items(_)));
        assert!(matches!(of(200, r#"{"items":[]}"#), Answer::Unknown(_)));
        assert!(matches!(of(200, "<html>"), Answer::Unknown(_)));
        assert!(matches!(of(502, "<html>"), Answer::Unknown(_)));
        assert!(matches!(of(413, ""), Answer::TooLarge(_)));
        assert!(matches!(of(400, ""), Answer::Malformed(_)));
        let invalid = |error_type: &str, reason: &str| {
            of(400, &format!(r#"{{"error":{{"type":"{error_type}","reason":"{reason}"}},"status":400}}"#))
        };
        let validation = "action_request_validation_exception";
        for (error_type, reason) in [
            (validation, "Validation Failed: 1: no requests added;"),
            ("parse_exception", "request body is required"),
        ] {
            assert!(matches!(invalid(error_type, reason), Answer::Unknown(error) if error.is_retryable()));
        }
        assert!(matches!(invalid(validation, "Validation Failed: 1: id is too long;"), Answer::Malformed(_)));
        assert!(matches!(of(429, "Too Many Requests /_bulk"), Answer::Busy(_)));
        let block = r#"{"error":{"type":"cluster_block_exception","reason":"blocked"},"status":503}"#;
        assert!(matches!(of(503, block), Answer::Busy(_)));
        assert!(matches!(of(503, ""), Answer::Unknown(_)));
        let gone = r#"{"error":{"type":"index_not_found_exception","reason":"no such index"},"status":404}"#;
        assert!(matches!(of(404, gone), Answer::Stop(_)));
        assert!(matches!(of(401, ""), Answer::Stop(_)));
        assert!(matches!(of(301, ""), Answer::Stop(_)));
    }
}
