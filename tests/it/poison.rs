//! One document in a hundred is refused, in five ways; the others flow on as if there were none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{
    Index, Proxy, Server, assert_same, is_full, things_database, things_documents, things_mapping,
    things_program,
};

/// What is done to every five hundredth thing, and where the index says that it is wrong.
const KINDS: [(&str, &str, &str); 5] = [
    ("type clash", "number = 4000000000", "[number]"),
    ("strict mapping", r#"parts = '{"closed": {"surprise": 1}}'"#, "[surprise]"),
    (
        "too many fields",
        "parts = (select jsonb_object_agg('field' || n, n) from generate_series(1, 1100) n)",
        "total fields",
    ),
    ("immense term", "code = repeat('x', 40000)", "code"),
    ("date format", "day = '31.12.2024 at noon'", "[day]"),
];

#[test]
fn ninety_nine_of_a_hundred_flow_on_at_full_speed_on_elasticsearch() {
    ninety_nine_of_a_hundred_flow_on(Server::Elasticsearch);
}

#[test]
fn ninety_nine_of_a_hundred_flow_on_at_full_speed_on_opensearch() {
    ninety_nine_of_a_hundred_flow_on(Server::OpenSearch);
}

fn ninety_nine_of_a_hundred_flow_on(server: Server) {
    let count = if is_full() { 50_000 } else { 2_500 };
    let database = things_database("poison", count);
    let mut mapping = things_mapping();
    mapping["mappings"]["properties"]["parts"] = json!({
        "dynamic": true,
        "properties": { "closed": { "dynamic": "strict", "properties": { "known": { "type": "integer" } } } },
    });
    let load = |label: &str, code: i32| {
        let index = Index::on(server, label);
        let mut program = things_program(&database, &index, &mapping);
        program.set("CHUNK_SIZE", "500");
        let proxy = Proxy::passing(server);
        program.set("ELASTIC_URL", &proxy.url());
        let began = Instant::now();
        let finished = program.command(&["once"]);
        assert_eq!(finished.code, code, "{}", finished.log);
        let took = began.elapsed();
        let letters = program.command(&["dead-letters", "list", "--json", "--limit", "100000"]).output;
        let letters: Vec<Value> = letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (index, took, proxy.bulks().len(), letters, finished.log)
    };
    let (_clean, clean_took, clean_bulks, _, _) = load("clean", 0);
    let mut poisoned: BTreeMap<String, &str> = BTreeMap::new();
    for (place, (_, poison, reason)) in KINDS.iter().enumerate() {
        let which = format!("number % 500 = {}", place * 100 + 37);
        let mut client = database.connect();
        for row in client.query(&format!("select id from thing where {which}"), &[]).unwrap() {
            poisoned.insert(row.get(0), reason);
        }
        database.execute(&format!("update thing set {poison} where {which}"));
    }
    let (index, took, bulks, letters, log) = load("poisoned", 1);
    let mut expected = things_documents(&mut database.connect());
    expected.retain(|key, _| !poisoned.contains_key(key));
    assert_same(&index.documents(), &expected);
    let keys: BTreeSet<&str> = letters.iter().map(|letter| letter["key"].as_str().unwrap()).collect();
    assert_eq!(
        keys,
        poisoned.keys().map(String::as_str).collect(),
        "the dead letters are exactly the poisoned"
    );
    for letter in &letters {
        let reason = letter["reason"].as_str().unwrap();
        let wanted = poisoned[letter["key"].as_str().unwrap()];
        assert!(reason.contains(wanted), "no `{wanted}` in: {reason}");
    }
    // Nothing is waited for, halved or sent again.
    assert_eq!(bulks, clean_bulks, "{log}");
    assert!(!log.contains("trying again"), "{log}");
    eprintln!("{took:?}, without poison {clean_took:?}");
}
