//! What a request that failed means: for the server, and for the one who asked.
//!
//! This is the one place that decides whether a failure passes by itself or needs someone to act.

use std::io::ErrorKind;

use rustls::AlertDescription;
use ureq::Timeout;

use crate::elastic::response::{Cause, Response};
use crate::error::{Error, Kind, Result};

const CREDENTIALS_CURE: &str = "check ELASTIC_USER and ELASTIC_PASSWORD, or ELASTIC_API_KEY, or ELASTIC_BEARER_TOKEN, or ELASTIC_CLIENT_CERT";
const RIGHTS_CURE: &str = "give the user of ELASTIC_USER, or of the key, token or certificate, its rights: monitor on the cluster; \
                           read, write, create_index, manage and view_index_metadata on the index";
const TLS_CURE: &str = "a node that speaks TLS is written https:// in ELASTIC_URL";
const CLIENT_CERTIFICATE_CURE: &str =
    "if it lets in only who shows a certificate, name ours in ELASTIC_CLIENT_CERT";
const INDEX_GONE_CURE: &str = "the index or its alias was deleted; `pgsluice resync` loads it anew";

/// A request without an answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether not a byte of the request can have reached the server.
    pub(crate) is_surely_unsent: bool,
    /// Whether there was a connection, and it ended before an answer.
    was_cut: bool,
}

impl Failure {
    fn unsent(error: Error) -> Self {
        Self { error, is_surely_unsent: true, was_cut: false }
    }

    fn perhaps_sent(error: Error) -> Self {
        Self { error, is_surely_unsent: false, was_cut: false }
    }

    /// The same of a server that has answered nothing yet: it may hang up on everyone who comes this way.
    ///
    /// A node that speaks TLS does so on who does not. With TLS 1.3 a node that wants a certificate of ours does so when we
    /// have begun to ask already, and its reason is often lost with the connection.
    pub(crate) fn at_first(self, node: &str) -> Self {
        if !self.was_cut {
            return self;
        }
        let cure = if node.starts_with("https:") { CLIENT_CERTIFICATE_CURE } else { TLS_CURE };
        Self { error: self.error.hint(cure), ..self }
    }
}

/// Explains why `node` gave no answer.
pub(crate) fn explain(error: ureq::Error, node: &str) -> Failure {
    let unreachable = || Error::unreachable(format!("cannot reach {node}"));
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            Failure::unsent(unreachable().because(error))
        }
        ureq::Error::Timeout(_) => {
            Failure::perhaps_sent(Error::unreachable(format!("no answer from {node}")).because(error))
        }
        ureq::Error::Rustls(cause) => Failure::unsent(explain_tls(cause, node)),
        ureq::Error::Io(cause) if cause.kind() == ErrorKind::ConnectionRefused => {
            Failure::unsent(unreachable().because(cause))
        }
        ureq::Error::Io(cause) => {
            let Some(tls) = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
                let error = Error::unreachable(format!("the connection to {node} was cut")).because(cause);
                return Failure { error, is_surely_unsent: false, was_cut: true };
            };
            // A certificate is judged in the handshake; anything else may also befall an open connection.
            let is_surely_unsent = matches!(tls, rustls::Error::InvalidCertificate(_));
            Failure { error: explain_tls(tls.clone(), node), is_surely_unsent, was_cut: false }
        }
        ureq::Error::Tls(_) | ureq::Error::Pem(_) => Failure::unsent(
            Error::wrong(format!("cannot speak TLS with {node}"))
                .because(error)
                .hint("check ELASTIC_URL and ELASTIC_CA"),
        ),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => Failure::unsent(
            Error::wrong(format!("{node} is no address that can be asked"))
                .because(error)
                .hint("check ELASTIC_URL"),
        ),
        ureq::Error::BodyExceedsLimit(limit) => {
            Failure::perhaps_sent(Error::wrong(format!("the answer of {node} is larger than {limit} bytes")))
        }
        ureq::Error::Protocol(_) => Failure::perhaps_sent(
            Error::unreachable(format!("{node} does not answer in HTTP")).because(error).hint(TLS_CURE),
        ),
        _ => Failure::perhaps_sent(Error::unreachable(format!("no whole answer from {node}")).because(error)),
    }
}

fn explain_tls(cause: rustls::Error, node: &str) -> Error {
    match cause {
        rustls::Error::InvalidCertificate(_) => {
            Error::wrong(format!("the certificate of {node} is not trusted"))
                .because(cause)
                .hint("name the file of the certificate that signed it in ELASTIC_CA")
        }
        rustls::Error::InvalidMessage(_) => Error::wrong(format!("{node} does not speak TLS"))
            .because(cause)
            .hint("a node without TLS is written http:// in ELASTIC_URL"),
        rustls::Error::AlertReceived(alert) if is_about_our_certificate(alert) => {
            Error::wrong(format!("{node} does not accept our certificate, or wants one"))
                .because(cause)
                .hint("name the certificate by which it is to know us in ELASTIC_CLIENT_CERT")
        }
        other => Error::unreachable(format!("the TLS connection to {node} failed")).because(other),
    }
}

/// Whether the server ended the handshake for want of a certificate of ours that it trusts.
fn is_about_our_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// Returns the answer if it is a success, else the error of [`refusal`].
pub(crate) fn successful(response: Response, attempt: &str) -> Result<Response> {
    if response.is_success() { Ok(response) } else { Err(refusal(&response, attempt)) }
}

/// Makes the error of an answer that is no success; `attempt` says what was asked.
pub(crate) fn refusal(response: &Response, attempt: &str) -> Error {
    status_error(response.status, response.cause().as_ref(), attempt)
}

/// Makes the error of a status and the cause given with it.
pub(crate) fn status_error(status: u16, cause: Option<&Cause>, attempt: &str) -> Error {
    let error_type = cause.map_or("", |cause| cause.error_type.as_str());
    let text = match cause {
        Some(cause) => format!("{attempt}: the server answered {status}, {}", cause.story()),
        None => format!("{attempt}: the server answered {status}"),
    };
    if is_passing(status, error_type) {
        return Error::unreachable(text);
    }
    if matches!(error_type, "index_not_found_exception" | "aliases_not_found_exception") {
        return Error::new(Kind::IndexMissing, text).hint(INDEX_GONE_CURE);
    }
    let error = Error::wrong(text);
    match (status, error_type) {
        (_, "index_closed_exception") => error.hint("open the index: POST /<index>/_open"),
        (401, _) => error.hint(CREDENTIALS_CURE),
        (403, _) => error.hint(RIGHTS_CURE),
        (415, _) => error.hint("if something on the way takes no compressed bodies, set ELASTIC_GZIP=off"),
        (300..=399, _) => {
            error.hint("ELASTIC_URL must name the server itself, not an address that redirects")
        }
        _ => error,
    }
}

/// Whether a status and error type speak of a condition that passes.
///
/// A cluster block is lifted by the server or by someone else: a full disk gives 429
/// `cluster_block_exception` ("disk usage exceeded flood-stage watermark", 403 before Elasticsearch 7.10),
/// `index.blocks.write` and `read_only` give 403 (Elasticsearch 8.16.6, OpenSearch 2.19.1).
pub(crate) fn is_passing(status: u16, error_type: &str) -> bool {
    matches!(status, 408 | 429 | 500..)
        || matches!(
            error_type,
            "cluster_block_exception"
                | "unavailable_shards_exception"
                | "es_rejected_execution_exception"
                | "rejected_execution_exception"
                | "circuit_breaking_exception"
                | "no_shard_available_action_exception"
                | "process_cluster_event_timeout_exception"
        )
}

/// Whether a status and the cause given with it say that the server has too much to do, so that it should be asked for
/// less. A block is no load, though Elasticsearch answers 429 for a full disk; nor is a shard that is away.
pub(crate) fn is_overload(status: u16, cause: Option<&Cause>) -> bool {
    let error_type = cause.map_or("", |cause| cause.error_type.as_str());
    matches!(status, 429 | 503)
        && !matches!(
            error_type,
            "cluster_block_exception"
                | "unavailable_shards_exception"
                | "no_shard_available_action_exception"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(error_type: &str) -> Cause {
        Cause { error_type: error_type.to_owned(), reason: Some("because".to_owned()), caused_by: None }
    }

    #[test]
    fn the_operator_is_told_what_to_do() {
        for (status, error_type, exit_code, hint) in [
            (401, "security_exception", 2, Some("ELASTIC_API_KEY")),
            (403, "security_exception", 2, Some("right")),
            (403, "cluster_block_exception", 3, None),
            (404, "index_not_found_exception", 2, Some("resync")),
            (400, "index_closed_exception", 2, Some("_open")),
            (429, "es_rejected_execution_exception", 3, None),
            (503, "", 3, None),
            (302, "", 2, Some("ELASTIC_URL")),
            (400, "illegal_argument_exception", 2, None),
        ] {
            let error = status_error(status, Some(&cause(error_type)), "cannot do it");
            assert_eq!(error.exit_code(), exit_code, "{status} {error_type}");
            match hint {
                Some(hint) => assert!(error.hint_text().is_some_and(|text| text.contains(hint)), "{error:?}"),
                None => assert_eq!(error.hint_text(), None),
            }
        }
    }

    #[test]
    fn load_is_told_from_what_is_blocked_or_away() {
        for (status, error_type, expected) in [
            (429, "es_rejected_execution_exception", true),
            (429, "circuit_breaking_exception", true),
            (503, "", true),
            (429, "cluster_block_exception", false),
            (503, "unavailable_shards_exception", false),
            (502, "", false),
            (200, "", false),
        ] {
            assert_eq!(is_overload(status, Some(&cause(error_type))), expected, "{status} {error_type}");
        }
        assert!(is_overload(503, None));
    }

    #[test]
    fn a_node_that_wants_another_certificate_of_ours_is_not_asked_again() {
        let alert =
            |alert| explain(ureq::Error::Rustls(rustls::Error::AlertReceived(alert)), "https://node").error;
        for about_ours in [AlertDescription::CertificateRequired, AlertDescription::UnknownCA] {
            let error = alert(about_ours);
            assert_eq!(error.exit_code(), 2);
            assert!(error.hint_text().is_some_and(|hint| hint.contains("ELASTIC_CLIENT_CERT")), "{error:?}");
        }
        assert_eq!(alert(AlertDescription::InternalError).exit_code(), 3);
    }

    #[test]
    fn who_is_cut_off_before_the_first_answer_is_told_what_that_may_mean() {
        let cut = |node| explain(ureq::Error::Io(std::io::Error::from(ErrorKind::UnexpectedEof)), node);
        assert_eq!(cut("http://node").at_first("http://node").error.hint_text(), Some(TLS_CURE));
        assert_eq!(
            cut("https://node").at_first("https://node").error.hint_text(),
            Some(CLIENT_CERTIFICATE_CURE)
        );
        assert_eq!(cut("http://node").error.hint_text(), None);
        let late = explain(ureq::Error::Timeout(Timeout::Global), "http://node").at_first("http://node");
        assert_eq!(late.error.hint_text(), None);
    }

    #[test]
    fn a_refused_connection_was_surely_not_sent_and_a_timeout_perhaps() {
        let refused = ureq::Error::Io(std::io::Error::from(ErrorKind::ConnectionRefused));
        assert!(explain(refused, "http://node").is_surely_unsent);
        let reset = ureq::Error::Io(std::io::Error::from(ErrorKind::ConnectionReset));
        assert!(!explain(reset, "http://node").is_surely_unsent);
        assert!(!explain(ureq::Error::Timeout(Timeout::Global), "http://node").is_surely_unsent);
        assert!(explain(ureq::Error::Timeout(Timeout::Connect), "http://node").is_surely_unsent);
    }

    #[test]
    fn an_untrusted_certificate_names_the_setting() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let failure =
            explain(ureq::Error::Io(std::io::Error::new(ErrorKind::InvalidData, tls)), "https://node");
        assert!(failure.is_surely_unsent);
        assert_eq!(failure.error.exit_code(), 2);
        assert!(failure.error.story().contains("ELASTIC_CA"));
    }
}
