//! Bulk requests: versions, what is refused and how, and what becomes of a batch.

use std::time::{Duration, Instant};

use pgsluice::batch::Version;
use pgsluice::document::DocumentAddress;
use pgsluice::elastic::{Delivered, Ensured, Flavour, Inspected, get_documents, inspect};
use pgsluice::key::Key;
use serde_json::{Value, json};

use crate::server::{batch, on_each_server};

fn texts(keys: &[Key]) -> Vec<&str> {
    keys.iter().map(Key::as_str).collect()
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
