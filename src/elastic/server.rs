//! Which server this is.

use std::fmt;

use serde::Deserialize;

use crate::elastic::response::Response;
use crate::error::{Error, Result};

/// The oldest Elasticsearch that knows typeless indices; pgsluice writes no types.
const ELASTICSEARCH_MIN_MAJOR: u32 = 7;

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
    const CURE: &str = "ELASTIC_URL must name Elasticsearch 7 or later, or OpenSearch 1 or later";
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
    let major = version.split('.').next().and_then(|major| major.parse().ok()).ok_or_else(unknown)?;
    let info = ServerInfo { flavour, version, major };
    if info.flavour == Flavour::Elasticsearch && info.major < ELASTICSEARCH_MIN_MAJOR {
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
        let old = r#"{"version":{"number":"6.8.23"},"tagline":"You Know, for Search"}"#;
        assert!(parse(old, false).unwrap_err().story().contains("too old"));
        for other in ["<html>", "{}", r#"{"version":{"number":"1.0"}}"#, r#"{"version":{"number":"x"}}"#] {
            let error = parse(other, false).unwrap_err();
            assert!(error.exit_code() == 2 && error.story().contains("ELASTIC_URL"), "{error:?}");
        }
    }
}
