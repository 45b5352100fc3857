//! What Elasticsearch and OpenSearch really do, where the code rests on it.
//!
//! Runs against the servers of `ELASTIC_URL` and `OPENSEARCH_URL`; one that is not set is left out, and that
//! is printed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what it leaves out, and fails by panic"
)]

use std::time::{Duration, Instant};

use pgsluice::batch::{BatchNumber, Version};
use pgsluice::document::{Action, ActionKind, DocumentAddress, RenderedBatch};
use pgsluice::elastic::{
    Client, Delivered, Delivery, DeliverySettings, EnsureRequest, Ensured, Flavour, GC_DELETES, IdPosition,
    Inspected, MARK_FORMAT, OwnershipMark, document_count, ensure_generation, get_documents, inspect,
    next_ids, put_mapping_additions, put_mark, refresh,
};
use pgsluice::error::Result;
use pgsluice::key::Key;
use pgsluice::settings::{Credentials, ElasticSettings};
use pgsluice::shutdown::Shutdown;
use serde_json::{Map, Value, json};

/// A server and a name on it that is ours alone; everything under the name is removed at the end.
struct Server {
    url: String,
    flavour: Flavour,
    alias: String,
    client: Client,
}

impl Server {
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
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

    fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = self.ask(method, path, &text);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    /// Sends one action to `target` and returns its item.
    fn act(&self, target: &str, operation: &str, id: &str, version: u64, document: &str) -> Value {
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

    fn status(&self, target: &str, operation: &str, id: &str, version: u64) -> u64 {
        self.act(target, operation, id, version, "{}")["status"].as_u64().unwrap()
    }

    fn delivery(&self, write_alias: &str) -> Delivery {
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

    fn ensure(&self, adopt: bool, known_generation: Option<&str>) -> Result<Ensured> {
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
fn on_each_server(theme: &str, test: impl Fn(&Server)) {
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

fn index_body() -> Map<String, Value> {
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

fn mark(definition_hash: &str) -> OwnershipMark {
    OwnershipMark {
        format: MARK_FORMAT,
        definition_hash: definition_hash.to_owned(),
        source: "test".to_owned(),
        first_load: None,
    }
}

/// A batch of these documents under these ids; without a document a delete.
fn batch(version: u64, documents: &[(&str, Option<&str>)]) -> RenderedBatch {
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

fn texts(keys: &[Key]) -> Vec<&str> {
    keys.iter().map(Key::as_str).collect()
}

#[test]
fn servers_are_told_apart() {
    on_each_server("root", |server| {
        let info = server.client.server_info().unwrap();
        println!("{info}");
        assert_eq!(info.flavour, server.flavour);
    });
}

#[test]
fn equal_versions_are_taken_and_lower_ones_refused_with_the_version_found() {
    on_each_server("versions", |server| {
        let write = server.ensure(false, None).unwrap().write_alias;
        assert_eq!(server.status(&write, "index", "1", 10), 201);
        assert_eq!(server.status(&write, "index", "1", 10), 200);
        let conflict = server.act(&write, "index", "1", 9, "{}");
        assert_eq!(conflict["status"], 409);
        assert_eq!(conflict["error"]["type"], "version_conflict_engine_exception");
        assert_eq!(
            conflict["error"]["reason"],
            "[1]: version conflict, current version [10] is higher than the one provided [9]"
        );
        assert_eq!(server.status(&write, "delete", "1", 9), 409);
        assert_eq!(server.status(&write, "delete", "1", 11), 200);
        let absent = server.act(&write, "delete", "1", 11, "");
        assert_eq!((&absent["status"], &absent["error"]), (&json!(404), &Value::Null));
        // The deletion is remembered with its version, also of a document that never was.
        assert_eq!(server.status(&write, "index", "1", 10), 409);
        assert_eq!(server.status(&write, "delete", "never", 5), 404);
        assert_eq!(server.status(&write, "index", "never", 4), 409);
    });
}

#[test]
fn a_forgotten_deletion_lets_an_older_document_come_back() {
    on_each_server("forgotten", |server| {
        let Ensured { generation, write_alias: write, .. } = server.ensure(false, None).unwrap();
        server.must("PUT", &format!("/{generation}/_settings"), &json!({ "index.gc_deletes": "1s" }));
        assert_eq!(server.status(&write, "index", "1", 10), 201);
        assert_eq!(server.status(&write, "delete", "1", 11), 200);
        assert_eq!(server.status(&write, "index", "1", 10), 409);
        let began = Instant::now();
        while server.status(&write, "index", "1", 10) != 201 {
            assert!(began.elapsed() < Duration::from_secs(60), "the deletion is still remembered");
            std::thread::sleep(Duration::from_millis(100));
        }
        let Inspected::Found(found) = inspect(&server.client, &server.alias).unwrap() else { panic!() };
        assert!(found.notices[0].contains("for 1 s"), "{:?}", found.notices);
    });
}

#[test]
fn without_the_write_alias_nothing_is_written_or_created() {
    on_each_server("noalias", |server| {
        let generation = server.ensure(false, None).unwrap().generation;
        for target in [generation, format!("{}-vanished-write", server.alias)] {
            let item = server.act(&target, "index", "1", 1, "{}");
            assert_eq!(
                (&item["status"], &item["error"]["type"]),
                (&json!(404), &json!("index_not_found_exception"))
            );
            let error = server.delivery(&target).deliver(&batch(1, &[("1", Some("{}"))])).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.story().contains("resync"), "{error:?}");
        }
        assert_eq!(server.ask("GET", &format!("/{}-vanished-write", server.alias), "").0, 404);
    });
}

#[test]
fn a_batch_is_delivered_and_every_action_judged() {
    on_each_server("deliver", |server| {
        let Ensured { generation, write_alias, .. } = server.ensure(false, None).unwrap();
        let mut delivery = server.delivery(&write_alias);
        let long = "x".repeat(513);
        let first = delivery
            .deliver(&batch(
                20,
                &[
                    ("good", Some(r#"{"id":"good","rating":1.5}"#)),
                    ("strange", Some(r#"{"unheard":1}"#)),
                    ("wrong", Some(r#"{"rating":"abc"}"#)),
                    (&long, Some("{}")),
                    ("gone", None),
                    ("also", Some(r#"{"people":[{"name":"a"}]}"#)),
                ],
            ))
            .unwrap();
        assert_eq!(texts(&first.applied), ["good", "gone", "also"]);
        assert_eq!((first.applied_index_count, first.applied_delete_count), (2, 1));
        let refused: Vec<(&str, &str)> =
            first.refused.iter().map(|refusal| (refusal.key.as_str(), refusal.error_type.as_str())).collect();
        let unparsable = match (server.flavour, server.client.server_info().unwrap().major) {
            (Flavour::Elasticsearch, 8..) => "document_parsing_exception",
            _ => "mapper_parsing_exception",
        };
        assert_eq!(
            refused,
            [
                ("strange", "strict_dynamic_mapping_exception"),
                ("wrong", unparsable),
                (long.as_str(), "action_request_validation_exception"),
            ]
        );
        assert!(first.refused[1].reason.contains("number_format_exception"), "{}", first.refused[1].reason);
        assert_eq!(first.refused[1].document.as_deref(), Some(r#"{"rating":"abc"}"#));
        let older = delivery.deliver(&batch(19, &[("good", Some("{}")), ("gone", None)])).unwrap();
        assert_eq!(
            older.superseded,
            [
                (Key::from_columns(&["good"]), Some(Version(20))),
                (Key::from_columns(&["gone"]), Some(Version(20)))
            ]
        );
        let ids = ["good", "gone", "also"].map(str::to_owned);
        let addresses = ids.map(|id| DocumentAddress { id, routing: None });
        let documents = get_documents(&server.client, &generation, &addresses).unwrap();
        let good = documents[0].as_ref().unwrap();
        assert_eq!((good.version, good.source.get()), (Version(20), r#"{"id":"good","rating":1.5}"#));
        assert!(documents[1].is_none() && documents[2].is_some());
    });
}

#[test]
fn a_block_is_waited_for_and_a_closed_index_is_not() {
    on_each_server("block", |server| {
        let Ensured { generation, write_alias, .. } = server.ensure(false, None).unwrap();
        for (block, status) in [("read_only_allow_delete", 429), ("write", 403), ("read_only", 403)] {
            let set = |value: Value| {
                server.must(
                    "PUT",
                    &format!("/{generation}/_settings"),
                    &json!({ format!("index.blocks.{block}"): value }),
                );
            };
            set(json!(true));
            for operation in ["index", "delete"] {
                let item = server.act(&write_alias, operation, "1", 1, "{}");
                assert_eq!(item["status"], status, "{item}");
                assert_eq!(item["error"]["type"], "cluster_block_exception");
            }
            let mut delivery = server.delivery(&write_alias);
            let waiting = std::thread::spawn(move || delivery.deliver(&batch(1, &[("1", Some("{}"))])));
            std::thread::sleep(Duration::from_millis(300));
            assert!(!waiting.is_finished());
            set(Value::Null);
            let delivered = waiting.join().unwrap().unwrap();
            assert!(delivered.retried_item_count > 0 && delivered.applied.len() == 1);
            assert!(delivered.unknown.is_empty());
        }
        server.must("POST", &format!("/{generation}/_close"), &Value::Null);
        let error = server.delivery(&write_alias).deliver(&batch(2, &[("1", Some("{}"))])).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.story().contains("_open"), "{error:?}");
        assert!(server.ensure(false, None).unwrap_err().story().contains("_open"));
    });
}

#[test]
fn a_body_over_the_servers_limit_is_answered_413() {
    on_each_server("large", |server| {
        let write_alias = server.ensure(false, None).unwrap().write_alias;
        // The default of http.max_content_length is 100 MiB; nothing of the body is read into the server's
        // memory.
        let document = format!("{{\"title\":\"{}\"}}", "x".repeat(101 << 20));
        let delivered: Delivered =
            server.delivery(&write_alias).deliver(&batch(1, &[("1", Some(&document))])).unwrap();
        assert_eq!(delivered.refused[0].error_type, "content_too_long");
        assert!(delivered.unknown.is_empty());
    });
}

#[test]
fn a_malformed_request_is_refused_whole() {
    on_each_server("malformed", |server| {
        let write_alias = server.ensure(false, None).unwrap().write_alias;
        let (status, answer) = server.ask(
            "POST",
            &format!("/{write_alias}/_bulk?require_alias=true&filter_path=items.*.status"),
            // Elasticsearch 7 passes over an action that it does not know, without a word.
            "{\"index\":{\"_id\":\"1\"}}\n{}\n{\"index\":{\"_id\":{}}}\n{}\n",
        );
        // The filter does not touch the answer of a request that failed as a whole.
        assert_eq!((status, &answer["error"]["type"]), (400, &json!("illegal_argument_exception")));
    });
}

#[test]
fn an_index_is_created_once_with_both_aliases_and_found_again() {
    on_each_server("create", |server| {
        assert!(matches!(inspect(&server.client, &server.alias).unwrap(), Inspected::Missing));
        let created = server.ensure(false, None).unwrap();
        assert!(created.created && created.mark.is_none() && created.document_count == 0);
        assert!(created.generation.starts_with(&format!("{}-2", server.alias)));
        assert_eq!(created.write_alias, format!("{}-write", created.generation));
        assert!(created.notices.is_empty(), "{:?}", created.notices);
        let index = &server.must("GET", &format!("/{}", server.alias), &Value::Null)[&created.generation];
        assert_eq!(index["mappings"]["_meta"]["owner"], "search");
        assert_eq!(index["mappings"]["_meta"]["pgsluice"], json!(mark("one")));
        assert_eq!(index["settings"]["index"]["gc_deletes"], format!("{}s", GC_DELETES.as_secs()));
        assert_eq!(index["settings"]["index"]["refresh_interval"], "1s");
        assert_eq!(index["aliases"][&created.write_alias]["is_write_index"], true);

        let again = server.ensure(false, Some(&created.generation)).unwrap();
        assert_eq!(again.mark, Some(mark("one")));
        assert!(!again.created && again.generation == created.generation);

        let remove = json!({ "index": created.generation, "alias": created.write_alias });
        server.must("POST", "/_aliases", &json!({ "actions": [{ "remove": remove }] }));
        server.ensure(false, None).unwrap();
        let index = &server.must("GET", &format!("/{}", server.alias), &Value::Null)[&created.generation];
        assert_eq!(index["aliases"][&created.write_alias]["is_write_index"], true);

        assert!(server.ensure(false, Some("movies-0")).unwrap_err().story().contains("resync"));
        let remove = json!({ "index": created.generation, "alias": server.alias });
        server.must("POST", "/_aliases", &json!({ "actions": [{ "remove": remove }] }));
        let story = server.ensure(false, None).unwrap_err().story();
        assert!(story.contains(&created.generation) && story.contains("does not point at it"), "{story}");
        let add = json!({ "index": created.generation, "alias": server.alias });
        server.must("POST", "/_aliases", &json!({ "actions": [{ "add": add }] }));
        server.must(
            "PUT",
            &format!("/{}-other", server.alias),
            &json!({ "aliases": { server.alias.clone(): {} } }),
        );
        assert!(server.ensure(false, None).unwrap_err().story().contains("several"));
        server.must("DELETE", &format!("/{},{}-other", created.generation, server.alias), &Value::Null);
        let error = server.ensure(false, Some(&created.generation)).unwrap_err();
        assert!(error.exit_code() == 2 && error.story().contains("resync"), "{error:?}");
    });
}

#[test]
fn a_strange_index_is_adopted_under_its_own_name() {
    on_each_server("adopt", |server| {
        let mut body = index_body();
        server.must("PUT", &format!("/{}", server.alias), &Value::Object(body.clone()));
        server.must("PUT", &format!("/{}/_doc/1?refresh=false", server.alias), &json!({ "id": "1" }));
        let error = server.ensure(false, None).unwrap_err();
        assert!(error.story().contains("--adopt") && error.story().contains("1 documents"), "{error:?}");
        let adopted = server.ensure(true, None).unwrap();
        assert_eq!(adopted.generation, server.alias);
        assert_eq!((adopted.created, adopted.document_count, adopted.mark), (false, 1, None));
        assert!(adopted.notices[0].contains("gc_deletes"), "{:?}", adopted.notices);
        let index = &server.must("GET", &format!("/{}", server.alias), &Value::Null)[&server.alias];
        assert_eq!(index["mappings"]["_meta"], json!({ "owner": "search", "pgsluice": mark("one") }));
        assert_eq!(index["mappings"]["dynamic"], "strict");
        assert_eq!(server.ensure(false, None).unwrap().mark, Some(mark("one")));

        put_mark(&server.client, &server.alias, &mark("two")).unwrap();
        body["mappings"]["properties"]["year"] = json!({ "type": "integer" });
        put_mapping_additions(&server.client, &server.alias, &body).unwrap();
        let index = &server.must("GET", &format!("/{}", server.alias), &Value::Null)[&server.alias];
        assert_eq!(index["mappings"]["properties"]["year"]["type"], "integer");
        assert_eq!(index["mappings"]["_meta"], json!({ "owner": "search", "pgsluice": mark("two") }));

        body["mappings"]["properties"]["id"] = json!({ "type": "text" });
        let error = put_mapping_additions(&server.client, &server.alias, &body).unwrap_err();
        assert!(error.exit_code() == 2 && error.story().contains("in place"), "{error:?}");
    });
}

#[test]
fn an_index_that_does_not_fit_is_left_alone_and_every_difference_named() {
    on_each_server("misfit", |server| {
        let body = json!({ "mappings": { "properties": { "id": { "type": "text" } } } });
        server.must("PUT", &format!("/{}", server.alias), &body);
        let before = server.must("GET", &format!("/{}", server.alias), &Value::Null);
        let error = server.ensure(true, None).unwrap_err();
        for difference in
            ["id is text", "rating is missing", "title is missing", "analyzer.simple_en.tokenizer is missing"]
        {
            assert!(error.story().contains(difference), "{error:?}");
        }
        assert_eq!(server.must("GET", &format!("/{}", server.alias), &Value::Null), before);
    });
}

#[test]
fn every_id_is_seen_and_counted() {
    on_each_server("ids", |server| {
        let Ensured { generation, write_alias, .. } = server.ensure(false, None).unwrap();
        let ids: Vec<String> = (0..25).map(|number| format!("id {number}/ü")).collect();
        let documents: Vec<(&str, Option<&str>)> = ids.iter().map(|id| (id.as_str(), Some("{}"))).collect();
        server.delivery(&write_alias).deliver(&batch(1, &documents)).unwrap();
        refresh(&server.client, &generation).unwrap();
        assert_eq!(document_count(&server.client, &generation).unwrap(), 25);
        for page in [1, 10, 25, 1000] {
            let mut seen = Vec::new();
            let mut largest = 0;
            let mut position = IdPosition::start();
            loop {
                let ids = next_ids(&server.client, &generation, &mut position, page).unwrap();
                if ids.is_empty() {
                    break;
                }
                largest = largest.max(ids.len());
                seen.extend(ids);
            }
            seen.sort();
            let mut expected = ids.clone();
            expected.sort();
            assert_eq!((seen, largest), (expected, page.min(25)));
        }
    });
}
