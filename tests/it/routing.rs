//! Documents that are routed by a column of their key, and documents that an ingest pipeline adds to.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Index, Server, Shape, unique, wait_until};

const TENANTS: &str = "
    create table doc (tenant text, id int, body text, n text, modified timestamptz not null default now(),
                      primary key (tenant, id));
    insert into doc select 't' || g % 7, g, 'b' || g, '1' from generate_series(1, 40) g;
    insert into doc values ('', 1, 'no tenant', '1'), ('a|b', 1, 'odd', '1')";

const DEFINITION: &str = r#"
    [root]
    table = "doc"
    cursor = "modified"
    [document]
    _routing = "tenant"
    body = "body"
    n = "n""#;

const MAPPING: &str = r#"{ "settings": { "number_of_shards": 7 },
    "mappings": { "properties": { "body": { "type": "text" }, "n": { "type": "long" } } } }"#;

const QUERY: &str =
    "select replace(tenant, '|', '\\|') || '|' || id, json_build_object('body', body, 'n', n)::text from doc";

/// The routing of every document, by `_id`.
fn routings(index: &Index) -> Vec<(String, Value)> {
    let (_, found) =
        index.call("POST", &format!("{}/_search", index.alias), &json!({ "size": 1000, "_source": false }));
    let hits = found["hits"]["hits"].as_array().unwrap();
    hits.iter().map(|hit| (hit["_id"].as_str().unwrap().to_owned(), hit["_routing"].clone())).collect()
}

#[test]
fn documents_are_routed_by_a_column_of_their_key_wherever_they_are_written_or_read() {
    let shape = Shape::with_mapping("routed", TENANTS, DEFINITION, MAPPING, QUERY);
    for (id, routing) in routings(&shape.index) {
        let tenant = id.rsplit_once('|').unwrap().0.replace("\\|", "|");
        assert_eq!(routing, if tenant.is_empty() { Value::Null } else { json!(tenant) }, "{id}");
    }
    shape.after("update doc set body = 'new', modified = now() where id in (1, 8, 15)");
    let verified = shape.program.command(&["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.log, verified.output);
    // A document that is not as it should be, one that is missing, and one without a row.
    let alias = &shape.index.alias;
    shape.index.call("PUT", &format!("{alias}/_doc/t1%7C1?routing=t1"), &json!({ "body": "foreign" }));
    shape.index.call("DELETE", &format!("{alias}/_doc/t2%7C2?routing=t2"), &Value::Null);
    shape.index.call("PUT", &format!("{alias}/_doc/t3%7C99?routing=t3"), &json!({ "body": "extra" }));
    let differing = shape.program.command(&["preview", "--diff", "t1|1", "t2|2", "t3|3", "t3|99"]);
    for text in ["t1|1: different", "t2|2: missing in the index", "t3|3: the same", "t3|99: in the index"] {
        assert!(differing.output.contains(text), "{}{}", differing.output, differing.log);
    }
    shape.after_unseen("delete from doc where tenant = 't4'; delete from doc where tenant = ''");
    // What the index refuses becomes a dead letter, and is written to its shard when it is right again.
    shape.database.execute("update doc set n = 'none', modified = now() where id = 10");
    wait_until(Duration::from_secs(30), "the refusal", || {
        shape.program.command(&["dead-letters", "list"]).output.contains("t3|10")
    });
    shape.database.execute("update doc set n = '2' where id = 10");
    shape.program.command(&["dead-letters", "retry", "t3|10"]);
    wait_until(Duration::from_secs(30), "the document", || {
        routings(&shape.index);
        shape.index.documents()["t3|10"]["n"] == "2"
    });
    shape.compare();
}

#[test]
fn routing_by_what_is_no_part_of_the_key_is_refused_with_the_reason() {
    let shape =
        Shape::unloaded("unroutable", TENANTS, &DEFINITION.replace("\"tenant\"", "\"body\""), MAPPING, QUERY);
    shape.program.command(&["once"]).assert_refused(
        2,
        &[
            "document._routing: body is no column of the key of public.doc",
            "of a row that is gone nothing but its key is known",
        ],
    );
}

#[test]
fn a_routed_document_whose_id_would_be_a_hash_is_refused() {
    let shape = Shape::unloaded("long_routed", TENANTS, DEFINITION, MAPPING, QUERY);
    shape
        .database
        .execute("delete from doc; insert into doc values (repeat('x', 600), 1, 'long'), ('s', 1, 'short')");
    let finished = shape.program.command(&["once"]);
    assert_eq!(finished.code, 1, "{}", finished.log);
    assert_eq!(shape.index.count(), 1);
    assert!(shape.program.command(&["dead-letters", "list"]).output.contains("key_too_long"));
}

#[test]
fn an_ingest_pipeline_adds_to_documents_and_verify_knows_it() {
    // The Elasticsearch of the tests may come without the processors.
    let pipeline = unique("enrich");
    let definition = DEFINITION.replace("_routing = \"tenant\"\n", "");
    let shape =
        Shape::unloaded_on(Server::OpenSearch, "ingest", TENANTS, &format!("{definition}\n"), MAPPING, QUERY);
    let path = format!("{}/shape.toml", shape.program.folder().display());
    let with_pipeline = std::fs::read_to_string(&path).unwrap().replacen(
        "[root]",
        &format!("pipeline = \"{pipeline}\"\n[root]"),
        1,
    );
    std::fs::write(&path, with_pipeline).unwrap();
    let missing = [&format!("the index server has no ingest pipeline {pipeline}"), "correct `pipeline`"];
    shape.program.command(&["once"]).assert_refused(2, &missing);
    let checked = shape.program.command(&["check"]);
    assert!(checked.code == 2 && checked.output.contains(missing[0]), "{}", checked.output);

    let made = json!({ "processors": [
        { "set": { "field": "added", "value": "{{body}}!" } },
        { "fail": { "if": "ctx.body == 'bad'", "message": "bad body" } } ] });
    let (status, answer) = shape.index.call("PUT", &format!("_ingest/pipeline/{pipeline}"), &made);
    assert_eq!(status, 200, "{answer}");
    let _guard = Pipeline { index: &shape.index, name: &pipeline };
    let checked = shape.program.command(&["check"]);
    assert!(checked.code == 0 && checked.output.contains("let it add fields alone"), "{}", checked.output);
    shape.database.execute("insert into doc values ('z', 1, 'bad', '1')");
    let finished = shape.program.command(&["once"]);
    assert_eq!(finished.code, 1, "a document that it refuses is a dead letter: {}", finished.log);
    let documents = shape.index.documents();
    assert_eq!(documents.len(), 42);
    assert_eq!(documents["t1|1"], json!({ "body": "b1", "n": "1", "added": "b1!" }));
    let verified = shape.program.command(&["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.log, verified.output);
}

/// Takes the ingest pipeline away again.
struct Pipeline<'a> {
    index: &'a Index,
    name: &'a str,
}

impl Drop for Pipeline<'_> {
    fn drop(&mut self) {
        self.index.call("DELETE", &format!("_ingest/pipeline/{}", self.name), &Value::Null);
    }
}
