//! Sends one request and reads its answer.
//!
//! The client knows the nodes, who we are and how long to wait; it does not wait between attempts. A request
//! that surely reached no server is sent to the next node at once, one that may be repeated also after a lost
//! answer.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, RETRY_AFTER};
use ureq::http::{HeaderValue, Method};

use crate::elastic::failure::{Failure, explain, successful};
use crate::elastic::gzip::compressed;
use crate::elastic::node::Nodes;
use crate::elastic::response::{Response, parse_retry_after};
use crate::elastic::server::{ServerInfo, parse_server_info};
use crate::elastic::tls::tls_config;
use crate::error::{Error, Result};
use crate::settings::{Credentials, ElasticSettings};

/// How long a connection may take to be made: a node that is there answers far sooner, even over an ocean.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is read: a page of documents at their largest fits, and memory stays bounded.
const RESPONSE_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// How many connections are kept for the next requests: one for each lane of a few definitions, and they go by
/// themselves when they are not used.
const IDLE_CONNECTIONS_MAX: usize = 64;

/// A body to send.
#[derive(Clone, Copy)]
pub(crate) enum RequestBody<'a> {
    None,
    Json(&'a [u8]),
    NdJson(&'a [u8]),
}

/// One request.
#[derive(Clone)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// Path and query, from the slash on, encoded.
    pub(crate) path: &'a str,
    pub(crate) body: RequestBody<'a>,
    /// Whether the request can be sent again when its answer was lost.
    pub(crate) is_repeatable: bool,
    /// Whether the server is to say first that it will take the body. One that finds a body too large answers 413 at
    /// the head and hangs up, and of that answer nothing arrives while the body is still being sent.
    pub(crate) asks_first: bool,
}

/// A client of Elasticsearch or OpenSearch; clones share connections and what is known of the nodes.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    agent: Agent,
    urls: Vec<String>,
    nodes: Mutex<Nodes>,
    authorization: Option<HeaderValue>,
    server_info: OnceLock<ServerInfo>,
    /// Whether bodies are compressed.
    compresses: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("nodes", &self.inner.urls).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client; asks no server yet.
    pub fn new(settings: &ElasticSettings) -> Result<Self> {
        let ElasticSettings { nodes, credentials, ca, client_certificate, request_timeout, gzip } = settings;
        if nodes.is_empty() {
            return Err(Error::wrong("there is no index server to ask").hint("set ELASTIC_URL"));
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("pgsluice/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .max_idle_connections(IDLE_CONNECTIONS_MAX)
            .max_idle_connections_per_host(IDLE_CONNECTIONS_MAX)
            .timeout_connect(Some(CONNECT_TIMEOUT.min(*request_timeout)))
            .timeout_global(Some(*request_timeout));
        // Reading the system's certificates takes longer than a request.
        if ca.is_some() || nodes.iter().any(|node| node.starts_with("https:")) {
            config = config.tls_config(tls_config(ca.as_deref(), client_certificate.as_ref())?);
        }
        // HTTPS_PROXY and HTTP_PROXY are obeyed, but no proxy can reach our own loopback.
        if nodes.iter().all(|node| is_loopback(node)) {
            config = config.proxy(None);
            // Nor does it gain anything that the server compresses its answers there.
            config = config.accept_encoding("");
        }
        Ok(Self {
            inner: Arc::new(Inner {
                agent: config.build().new_agent(),
                urls: nodes.clone(),
                nodes: Mutex::new(Nodes::new(nodes.len())),
                authorization: authorization(credentials)?,
                server_info: OnceLock::new(),
                compresses: *gzip,
            }),
        })
    }

    /// Returns which server this is; it is asked once.
    ///
    /// Fails if it is neither Elasticsearch nor OpenSearch, or too old.
    pub fn server_info(&self) -> Result<ServerInfo> {
        if let Some(info) = self.inner.server_info.get() {
            return Ok(info.clone());
        }
        let attempt = "cannot ask the index server for its version";
        let request = Request {
            method: Method::GET,
            path: "/",
            body: RequestBody::None,
            is_repeatable: true,
            asks_first: false,
        };
        let response = successful(self.call(&request).map_err(|error| error.while_doing(attempt))?, attempt)?;
        let info = parse_server_info(&response)?;
        Ok(self.inner.server_info.get_or_init(|| info).clone())
    }

    /// Asks the nodes until one answers; any status is an answer.
    pub(crate) fn call(&self, request: &Request<'_>) -> Result<Response> {
        let mut left = self.inner.urls.len();
        loop {
            match self.attempt(request) {
                Ok(response) => return Ok(response),
                Err(failure) => {
                    left -= 1;
                    let may_try_next = failure.is_surely_unsent || request.is_repeatable;
                    if left == 0 || !may_try_next || !failure.error.is_retryable() {
                        return Err(failure.error);
                    }
                    log::debug!("{}; asking the next node", failure.error.story());
                }
            }
        }
    }

    /// Asks one node once.
    pub(crate) fn attempt(&self, request: &Request<'_>) -> Result<Response, Failure> {
        let position = self.lock_nodes().choose(Instant::now());
        let node = &self.inner.urls[position];
        let answer = self.exchange(node, request);
        // A gateway that cannot reach its server speaks for a node that does not work.
        if answer.as_ref().is_ok_and(|response| !matches!(response.status, 502..=504)) {
            self.lock_nodes().worked(position);
        } else {
            self.lock_nodes().failed(position, Instant::now());
        }
        answer.map_err(|error| {
            let failure = explain(error, node);
            if self.inner.server_info.get().is_some() { failure } else { failure.at_first(node) }
        })
    }

    fn exchange(&self, node: &str, request: &Request<'_>) -> Result<Response, ureq::Error> {
        let mut builder = ureq::http::Request::builder()
            .method(request.method.clone())
            .uri(format!("{node}{}", request.path));
        if let Some(authorization) = &self.inner.authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        if request.asks_first {
            builder = builder.header(EXPECT, "100-continue");
        }
        // Never `application/vnd.elasticsearch+json`: OpenSearch refuses it.
        let body = match request.body {
            RequestBody::None => None,
            RequestBody::Json(bytes) => Some(("application/json", bytes)),
            RequestBody::NdJson(bytes) => Some(("application/x-ndjson", bytes)),
        };
        let mut answer = match body {
            None => self.inner.agent.run(builder.body(())?)?,
            Some((content_type, bytes)) => {
                builder = builder.header(CONTENT_TYPE, content_type);
                match self.inner.compresses.then(|| compressed(bytes)).flatten() {
                    None => self.inner.agent.run(builder.body(bytes)?)?,
                    Some(compressed) => self
                        .inner
                        .agent
                        .run(builder.header(CONTENT_ENCODING, "gzip").body(compressed.as_slice())?)?,
                }
            }
        };
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let retry_after = header(RETRY_AFTER.as_str()).and_then(|value| parse_retry_after(value, Utc::now()));
        let is_from_elasticsearch = header("x-elastic-product") == Some("Elasticsearch");
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(RESPONSE_MAX_BYTES).read_to_vec()?;
        Ok(Response { status, retry_after, is_from_elasticsearch, body })
    }

    /// Gets and reads JSON; `attempt` says for what.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str, attempt: &str) -> Result<T> {
        let request = Request {
            method: Method::GET,
            path,
            body: RequestBody::None,
            is_repeatable: true,
            asks_first: false,
        };
        let response = self.call(&request).map_err(|error| error.while_doing(attempt))?;
        successful(response, attempt)?.json(attempt)
    }

    /// Gets and reads JSON, or nothing where the server answers 404.
    pub(crate) fn get_if_found<T: DeserializeOwned>(&self, path: &str, attempt: &str) -> Result<Option<T>> {
        let request = Request {
            method: Method::GET,
            path,
            body: RequestBody::None,
            is_repeatable: true,
            asks_first: false,
        };
        let response = self.call(&request).map_err(|error| error.while_doing(attempt))?;
        if response.status == 404 {
            return Ok(None);
        }
        successful(response, attempt)?.json(attempt).map(Some)
    }

    /// Sends JSON that may be sent twice; returns any answer.
    pub(crate) fn send(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        attempt: &str,
    ) -> Result<Response> {
        let body = to_json(body, attempt)?;
        let request =
            Request { method, path, body: RequestBody::Json(&body), is_repeatable: true, asks_first: false };
        self.call(&request).map_err(|error| error.while_doing(attempt))
    }

    fn lock_nodes(&self) -> std::sync::MutexGuard<'_, Nodes> {
        // What is known of the nodes is a hint; a thread that panicked cannot have made it unsound.
        self.inner.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a body.
pub(crate) fn to_json(body: &impl Serialize, attempt: &str) -> Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(|error| Error::wrong(attempt).because(error))
}

/// Encodes one segment of a path.
pub(crate) fn path_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn authorization(credentials: &Credentials) -> Result<Option<HeaderValue>> {
    let text = match credentials {
        Credentials::None => return Ok(None),
        Credentials::Basic { user, password } => {
            format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose())))
        }
        Credentials::ApiKey(key) => format!("ApiKey {}", key.expose()),
        Credentials::Bearer(token) => format!("Bearer {}", token.expose()),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        Error::wrong("ELASTIC_API_KEY or ELASTIC_BEARER_TOKEN holds characters that no key or token has")
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn is_loopback(node: &str) -> bool {
    url::Url::parse(node).is_ok_and(|url| match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elastic::scripted::{Reply, Scripted};
    use crate::settings::Secret;

    #[test]
    fn who_we_are_is_sent_and_never_printed() {
        let server = Scripted::start(vec![Reply::json(200, "{}")]);
        let mut settings = server.settings();
        settings.credentials =
            Credentials::Basic { user: "elastic".to_owned(), password: Secret::new("s3cret") };
        let client = Client::new(&settings).unwrap();
        client.get::<serde_json::Value>("/x", "cannot ask").unwrap();
        assert!(server.requests()[0].head.contains("Basic ZWxhc3RpYzpzM2NyZXQ="));
        assert!(!format!("{client:?} {settings:?}").contains("s3cret"));
    }

    #[test]
    fn the_next_node_is_asked_when_one_is_away() {
        let server = Scripted::start(vec![Reply::json(200, "{}"), Reply::json(200, "{}")]);
        let mut settings = server.settings();
        settings.nodes.insert(0, Scripted::address_without_server());
        let client = Client::new(&settings).unwrap();
        client.get::<serde_json::Value>("/x", "cannot ask").unwrap();
        client.get::<serde_json::Value>("/x", "cannot ask").unwrap();
        assert_eq!(server.requests().len(), 2);
    }

    #[test]
    fn bodies_are_compressed_where_that_is_wanted_and_gains() {
        let server = Scripted::start((0..3).map(|_| Reply::json(200, "{}")).collect());
        let settings = ElasticSettings { gzip: true, ..server.settings() };
        let body = "{\"index\":{\"_id\":\"1\"}}\n{\"a\":1}\n".repeat(1_000);
        for (settings, body) in [(&settings, body.as_str()), (&settings, "{}"), (&server.settings(), &body)] {
            let request = Request {
                method: Method::POST,
                path: "/_bulk",
                body: RequestBody::NdJson(body.as_bytes()),
                is_repeatable: false,
                asks_first: false,
            };
            assert_eq!(Client::new(settings).unwrap().call(&request).unwrap().status, 200);
        }
        let requests = server.requests();
        let encoded: Vec<bool> =
            requests.iter().map(|request| request.head.contains("content-encoding: gzip")).collect();
        assert_eq!(encoded, [true, false, false]);
        assert!(requests[0].bytes.starts_with(&[0x1f, 0x8b]) && requests[0].bytes.len() < body.len() / 4);
        assert_eq!((requests[1].body.as_str(), requests[2].body.as_str()), ("{}", body.as_str()));
    }

    #[test]
    fn an_answer_larger_than_ten_megabytes_is_read() {
        let body = format!("\"{}\"", "x".repeat(20 * 1024 * 1024));
        let server = Scripted::start(vec![Reply::json(200, &body)]);
        let client = Client::new(&server.settings()).unwrap();
        assert_eq!(client.get::<String>("/x", "cannot ask").unwrap().len(), 20 * 1024 * 1024);
    }

    #[test]
    fn loopback_is_known_by_its_address() {
        assert!(is_loopback("http://127.0.0.1:9200") && is_loopback("http://[::1]:9200"));
        assert!(is_loopback("http://localhost:9200"));
        assert!(!is_loopback("https://localhost.example.org") && !is_loopback("http://10.0.0.1"));
    }
}
