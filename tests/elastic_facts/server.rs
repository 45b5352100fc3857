//! The servers that the facts are tried on, and what is sent to them.

use std::time::Duration;

use pgsluice::batch::{BatchNumber, Version};
use pgsluice::document::{Action, ActionKind, RenderedBatch};
use pgsluice::elastic::{
    Client, Delivery, DeliverySettings, EnsureRequest, Ensured, Flavour, MARK_FORMAT, OwnershipMark,
    ensure_generation,
};
use pgsluice::error::Result;
use pgsluice::key::Key;
use pgsluice::settings::{Credentials, ElasticSettings};
use pgsluice::shutdown::Shutdown;
use serde_json::{Map, Value, json};

/// A server and a name on it that is ours alone; everything under the name is removed at the end.
pub struct Server {
    url: String,
    pub flavour: Flavour,
    pub alias: String,
    pub client: Client,
}

impl Server {
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .new_agent();
        let content_type = if path.contains("_bulk") { "application/x-ndjson" } else { "application/json" };
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("content-type", content_type)
            .body(body)
            .unwrap();
        let mut answer = agent.run(request).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.ask(method, path, &text);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    /// Sends one action to `target` and returns its item.
    pub fn act(&self, target: &str, operation: &str, id: &str, version: u64, document: &str) -> Value {
        let action = json!({ operation: { "_id": id, "version": version, "version_type": "external_gte" } });
        let document = if operation == "delete" { String::new() } else { format!("{document}\n") };
        let (status, answer) = self.ask(
            "POST",
            &format!("/{target}/_bulk?require_alias=true"),
            &format!("{action}\n{document}"),
        );
        assert_eq!(status, 200, "{answer}");
        answer["items"][0][operation].clone()
    }

    pub fn status(&self, target: &str, operation: &str, id: &str, version: u64) -> u64 {
        self.act(target, operation, id, version, "{}")["status"].as_u64().unwrap()
    }

    pub fn delivery(&self, write_alias: &str) -> Delivery {
        Delivery::new(DeliverySettings {
            pipeline: None,
            client: self.client.clone(),
            write_alias: write_alias.to_owned(),
            bulk_bytes: 5 << 20,
            loaders: 1,
            retry_deadline: Some(Duration::from_secs(60)),
            refusal_limit: 1000,
            shutdown: Shutdown::new(),
        })
    }

    pub fn ensure(&self, adopt: bool, known_generation: Option<&str>) -> Result<Ensured> {
        ensure_generation(
            &self.client,
            &EnsureRequest {
                alias: &self.alias,
                index_body: &index_body(),
                mark: &mark("one"),
                adopt,
                known_generation,
                recreate: false,
            },
            &format!("{}-20260101t000000", self.alias),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // By name, since the servers refuse to delete by pattern.
        let list =
            format!("/{}*/_settings?expand_wildcards=all&filter_path=*.settings.index.uuid", self.alias);
        let (_, names) = self.ask("GET", &list, "");
        for name in names.as_object().into_iter().flat_map(Map::keys) {
            self.ask("DELETE", &format!("/{name}"), "");
        }
    }
}

/// Calls `test` with each server; fails if it should have one and has none.
pub fn on_each_server(theme: &str, test: impl Fn(&Server)) {
    for (variable, flavour) in
        [("ELASTIC_URL", Flavour::Elasticsearch), ("OPENSEARCH_URL", Flavour::OpenSearch)]
    {
        let Ok(url) = std::env::var(variable) else {
            println!("{theme}: left out, {variable} is not set");
            continue;
        };
        let client = Client::new(&ElasticSettings {
            nodes: vec![url.trim_end_matches('/').to_owned()],
            credentials: Credentials::None,
            ca: None,
            client_certificate: None,
            request_timeout: Duration::from_secs(60),
            gzip: false,
        })
        .unwrap();
        let alias = format!("facts-{theme}-{}", std::process::id());
        let server = Server { url, flavour, alias, client };
        test(&server);
    }
}

pub fn index_body() -> Map<String, Value> {
    let body = json!({
        "settings": {
            "number_of_replicas": 0,
            "index": { "refresh_interval": "1s" },
            "analysis": { "analyzer": { "simple_en": { "tokenizer": "standard", "filter": ["lowercase"] } } },
        },
        "mappings": {
            "dynamic": "strict",
            "_meta": { "owner": "search" },
            "properties": {
                "id": { "type": "keyword" },
                "rating": { "type": "float" },
                "title": { "type": "text", "analyzer": "simple_en", "fields": { "raw": { "type": "keyword" } } },
                "people": { "type": "nested", "dynamic": "strict", "properties": { "name": { "type": "text" } } },
            },
        },
    });
    body.as_object().unwrap().clone()
}

pub fn mark(definition_hash: &str) -> OwnershipMark {
    OwnershipMark {
        format: MARK_FORMAT,
        definition_hash: definition_hash.to_owned(),
        source: "test".to_owned(),
        first_load: None,
    }
}

/// A batch of these documents under these ids; without a document a delete.
pub fn batch(version: u64, documents: &[(&str, Option<&str>)]) -> RenderedBatch {
    let mut body = Vec::new();
    let mut actions = Vec::new();
    for (id, document) in documents {
        let start = body.len();
        let (kind, operation) = match document {
            Some(_) => (ActionKind::Index, "index"),
            None => (ActionKind::Delete, "delete"),
        };
        let line = json!({ operation: { "_id": id, "version": version, "version_type": "external_gte" } });
        body.extend_from_slice(format!("{line}\n").as_bytes());
        let document_start = body.len();
        body.extend_from_slice(document.unwrap_or_default().as_bytes());
        let document_range = document_start..body.len();
        if document.is_some() {
            body.push(b'\n');
        }
        actions.push(Action {
            routing: None,
            key: Key::from_columns(&[id]),
            kind,
            bytes: start..body.len(),
            document: document_range,
        });
    }
    RenderedBatch {
        number: BatchNumber(1),
        version: Version(version),
        body,
        actions,
        settled: Vec::new(),
        refused: Vec::new(),
    }
}

#[test]
fn servers_are_told_apart() {
    on_each_server("root", |server| {
        let info = server.client.server_info().unwrap();
        println!("{info}");
        assert_eq!(info.flavour, server.flavour);
    });
}
