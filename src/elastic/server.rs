//! Which server this is.

use std::fmt;

use serde::Deserialize;

use crate::elastic::response::Response;
use crate::error::{Error, Result};

/// The oldest Elasticsearch that knows `require_alias`, without which a bulk request could make an index by itself.
const ELASTICSEARCH_OLDEST: (u32, u32) = (7, 10);

/// Elasticsearch or its fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    OpenSearch,
}

impl fmt::Display for Flavour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Elasticsearch => "Elasticsearch",
            Self::OpenSearch => "OpenSearch",
        })
    }
}

/// Which server this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// Elasticsearch or its fork.
    pub flavour: Flavour,
    /// The version as the server writes it.
    pub version: String,
    /// The first number of the version.
    pub major: u32,
}

impl fmt::Display for ServerInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.flavour, self.version)
    }
}

#[derive(Deserialize)]
struct RootBody {
    version: RootVersion,
    tagline: Option<String>,
}

#[derive(Deserialize)]
struct RootVersion {
    number: String,
    distribution: Option<String>,
}

/// Reads the answer to `GET /`.
///
/// OpenSearch says so in `version.distribution`. Elasticsearch sends the header `X-Elastic-Product` since
/// 7.14 and is known by its tagline before.
pub(crate) fn parse_server_info(response: &Response) -> Result<ServerInfo> {
    const CURE: &str = "ELASTIC_URL must name Elasticsearch 7.10 or later, or OpenSearch 1 or later";
    let unknown = || Error::wrong("what answers is neither Elasticsearch nor OpenSearch").hint(CURE);
    let body: RootBody = serde_json::from_slice(&response.body).map_err(|error| unknown().because(error))?;
    let flavour = if body.version.distribution.as_deref() == Some("opensearch") {
        Flavour::OpenSearch
    } else if response.is_from_elasticsearch
        || body.tagline.as_deref() == Some("You Know, for Search") && body.version.distribution.is_none()
    {
        Flavour::Elasticsearch
    } else {
        return Err(unknown());
    };
    let version = body.version.number;
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    let major = numbers.next().flatten().ok_or_else(unknown)?;
    let minor = numbers.next().flatten().unwrap_or(0);
    let info = ServerInfo { flavour, version, major };
    // OpenSearch 1 was made out of Elasticsearch 7.10, whose number it may give as its own.
    if info.flavour == Flavour::Elasticsearch && (major, minor) < ELASTICSEARCH_OLDEST {
        return Err(Error::wrong(format!("{info} is too old")).hint(CURE));
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str, is_from_elasticsearch: bool) -> Result<ServerInfo> {
        parse_server_info(&Response {
            status: 200,
            retry_after: None,
            is_from_elasticsearch,
            body: body.as_bytes().to_vec(),
        })
    }

    #[test]
    fn servers_are_told_apart() {
        let elastic =
            r#"{"version":{"number":"8.19.1","build_flavor":"default"},"tagline":"You Know, for Search"}"#;
        assert_eq!(parse(elastic, true).unwrap().to_string(), "Elasticsearch 8.19.1");
        assert_eq!(parse(elastic, false).unwrap().flavour, Flavour::Elasticsearch);
        let fork = r#"{"version":{"distribution":"opensearch","number":"2.19.1"},"tagline":"The OpenSearch Project"}"#;
        assert_eq!(parse(fork, false).unwrap().to_string(), "OpenSearch 2.19.1");
    }

    #[test]
    fn what_is_neither_or_too_old_is_wrong() {
        for old in ["6.8.23", "7.9.3"] {
            let body = format!(r#"{{"version":{{"number":"{old}"}},"tagline":"You Know, for Search"}}"#);
            let error = parse(&body, false).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert_eq!(
                error.story(),
                format!(
                    "Elasticsearch {old} is too old (ELASTIC_URL must name Elasticsearch 7.10 or later, or OpenSearch 1 or later)"
                )
            );
        }
        let oldest = r#"{"version":{"number":"7.10.0"},"tagline":"You Know, for Search"}"#;
        assert_eq!(parse(oldest, false).unwrap().major, 7);
        for other in ["<html>", "{}", r#"{"version":{"number":"1.0"}}"#, r#"{"version":{"number":"x"}}"#] {
            let error = parse(other, false).unwrap_err();
            assert!(error.exit_code() == 2 && error.story().contains("ELASTIC_URL"), "{error:?}");
        }
    }
}
