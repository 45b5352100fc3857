//! An index of the test's own on one of the two servers.

use std::cell::RefCell;
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use serde_json::{Value, json};

use super::oracle::Documents;
use super::{service, unique, wait_until};

/// Which index server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Elasticsearch,
    OpenSearch,
}

impl Server {
    /// Its address.
    pub fn url(self) -> String {
        match self {
            Self::Elasticsearch => service("ELASTIC_URL"),
            Self::OpenSearch => service("OPENSEARCH_URL"),
        }
    }
}

/// Held for reading by every test that uses the server, for writing by one that stops it.
static ELASTICSEARCH: RwLock<()> = RwLock::new(());
static OPENSEARCH: RwLock<()> = RwLock::new(());

impl Server {
    fn lock(self) -> &'static RwLock<()> {
        match self {
            Self::Elasticsearch => &ELASTICSEARCH,
            Self::OpenSearch => &OPENSEARCH,
        }
    }

    fn service(self) -> &'static str {
        match self {
            Self::Elasticsearch => "elasticsearch",
            Self::OpenSearch => "opensearch",
        }
    }
}

thread_local! {
    /// The read guards of this test's thread, with how many indices share them: a second read of a lock that a
    /// writer waits for would wait for ever.
    static USED: RefCell<Vec<(Server, usize, RwLockReadGuard<'static, ()>)>> = const { RefCell::new(Vec::new()) };
}

fn use_server(server: Server) {
    USED.with_borrow_mut(|used| {
        if let Some((_, count, _)) = used.iter_mut().find(|(known, _, _)| *known == server) {
            *count += 1;
            return;
        }
        used.push((server, 1, server.lock().read().unwrap_or_else(PoisonError::into_inner)));
    });
}

fn leave_server(server: Server) {
    USED.with_borrow_mut(|used| {
        used.retain_mut(|(known, count, _)| {
            *count -= usize::from(*known == server);
            *count > 0
        });
    });
}

/// A server that no other test uses, so that it may be stopped; it is started again at the end.
pub struct Alone {
    server: Server,
    _guard: RwLockWriteGuard<'static, ()>,
}

impl Alone {
    /// Waits until nobody else uses the server. The test makes its indices with [`Alone::index`].
    pub fn with(server: Server) -> Self {
        Self { server, _guard: server.lock().write().unwrap_or_else(PoisonError::into_inner) }
    }

    /// An index on it.
    pub fn index(&self, label: &str) -> Index {
        Index::unguarded(self.server, label, false)
    }

    /// Stops the server.
    pub fn stop(&self) {
        dev_services(&["down", self.server.service()]);
    }

    /// Starts the server and waits until it answers.
    pub fn start(&self) {
        dev_services(&["up", self.server.service()]);
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // A second panic would end all tests.
        if let Err(problem) = try_dev_services(&["up", self.server.service()]) {
            eprintln!("{problem}");
        }
    }
}

fn dev_services(arguments: &[&str]) {
    try_dev_services(arguments).unwrap();
}

fn try_dev_services(arguments: &[&str]) -> Result<(), String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/dev/services");
    let output = Command::new(script)
        .args(arguments)
        .output()
        .map_err(|error| format!("dev/services {arguments:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("dev/services {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// An alias with everything behind it, removed at the end of the test.
pub struct Index {
    pub server: Server,
    pub alias: String,
    url: String,
    agent: ureq::Agent,
    is_guarded: bool,
}

impl Index {
    /// A name that nothing has yet, on Elasticsearch.
    pub fn new(label: &str) -> Self {
        Self::on(Server::Elasticsearch, label)
    }

    /// A name that nothing has yet.
    pub fn on(server: Server, label: &str) -> Self {
        use_server(server);
        Self::unguarded(server, label, true)
    }

    fn unguarded(server: Server, label: &str, is_guarded: bool) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Self { server, alias: unique(label), url: server.url(), agent: config.into(), is_guarded }
    }

    /// The settings by which the program reaches this index.
    pub fn settings(&self) -> Vec<(String, String)> {
        vec![("ELASTIC_URL".to_owned(), self.url.clone()), ("ELASTIC_INDEX".to_owned(), self.alias.clone())]
    }

    /// Sends a request with a body and returns status and answer.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.try_call(method, path, body).unwrap()
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value), ureq::Error> {
        let url = format!("{}/{path}", self.url);
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", "application/json")
            .body(if body.is_null() { String::new() } else { body.to_string() })?;
        let mut answer = self.agent.run(request)?;
        let text = answer.body_mut().with_config().limit(1 << 30).read_to_string()?;
        Ok((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Every document, by `_id`, after a refresh.
    pub fn documents(&self) -> Documents {
        self.call("POST", &format!("{}/_refresh", self.alias), &Value::Null);
        let mut documents = Documents::new();
        let (status, mut page) = self.call(
            "POST",
            &format!("{}/_search?scroll=1m", self.alias),
            &json!({"size": 1000, "sort": ["_doc"]}),
        );
        // An index that was just made may answer 503: it has no documents yet.
        assert!(matches!(status, 200 | 404 | 503), "{page}");
        while let Some(hits) = page["hits"]["hits"].as_array()
            && !hits.is_empty()
        {
            for hit in hits {
                let id = hit["_id"].as_str().unwrap().to_owned();
                assert!(documents.insert(id, hit["_source"].clone()).is_none(), "an _id came twice");
            }
            let scroll = page["_scroll_id"].clone();
            page = self.call("POST", "_search/scroll", &json!({"scroll": "1m", "scroll_id": scroll})).1;
        }
        if let Some(scroll) = page["_scroll_id"].as_str() {
            self.call("DELETE", "_search/scroll", &json!({"scroll_id": scroll}));
        }
        documents
    }

    /// One document, as it can be read at once.
    pub fn document(&self, id: &str) -> Option<Value> {
        let (_, answer) = self.call("GET", &format!("{}/_doc/{id}", self.alias), &Value::Null);
        answer.get("_source").cloned()
    }

    /// One document as the server keeps it, byte for byte: a parsed number has fewer digits.
    pub fn document_text(&self, id: &str) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Answer {
            #[serde(rename = "_source")]
            source: Option<Box<serde_json::value::RawValue>>,
        }
        let url = format!("{}/{}/_doc/{id}", self.url, self.alias);
        let text = self.agent.get(url).call().unwrap().body_mut().read_to_string().unwrap();
        let answer: Answer = serde_json::from_str(&text).unwrap();
        answer.source.map(|source| source.get().to_owned())
    }

    /// The number of documents, after a refresh.
    pub fn count(&self) -> u64 {
        self.call("POST", &format!("{}/_refresh", self.alias), &Value::Null);
        self.call("GET", &format!("{}/_count", self.alias), &Value::Null).1["count"].as_u64().unwrap_or(0)
    }

    /// The ids that a search finds.
    pub fn search(&self, query: &Value) -> Vec<String> {
        self.call("POST", &format!("{}/_refresh", self.alias), &Value::Null);
        let (status, answer) =
            self.call("POST", &format!("{}/_search", self.alias), &json!({"size": 1000, "query": query}));
        assert_eq!(status, 200, "{answer}");
        let hits = answer["hits"]["hits"].as_array().unwrap();
        hits.iter().map(|hit| hit["_id"].as_str().unwrap().to_owned()).collect()
    }

    /// The physical index behind the alias.
    pub fn generation(&self) -> String {
        let (status, answer) = self.call("GET", &format!("_alias/{}", self.alias), &Value::Null);
        assert_eq!(status, 200, "{answer}");
        answer.as_object().unwrap().keys().next().unwrap().clone()
    }

    /// Waits until the documents are exactly these.
    pub fn wait_for(&self, limit: Duration, mut expected: impl FnMut() -> Documents) {
        wait_until(limit, "the index holds exactly what the database says", || {
            super::oracle::differences(&self.documents(), &expected()).is_empty()
        });
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // A server that is away keeps the index: a second panic would end all tests.
        if let Ok((_, found)) = self.try_call("GET", &format!("{}*", self.alias), &Value::Null) {
            for name in found.as_object().into_iter().flatten().map(|(name, _)| name) {
                if let Err(error) = self.try_call("DELETE", name, &Value::Null) {
                    eprintln!("the index {name} stays behind: {error}");
                }
            }
        }
        if self.is_guarded {
            leave_server(self.server);
        }
    }
}
