//! Documents nested deeper than index servers take: each is a dead letter, and no server sees it.

use serde_json::Value;

use crate::harness::{Program, Server, Shape};

/// The levels that a document may have.
const ALLOWED: usize = 1_000;

const TABLES: &str = "
    create type boxed as (label text, inside jsonb);
    create table thing (
        id      text primary key,
        plain   json,
        binary_ jsonb,
        many    jsonb[],
        boxed   boxed,
        word    text,
        spread  jsonb,
        changed timestamptz not null default now()
    );
    create function deep(levels int) returns text language sql immutable as
    $$ select repeat('{\"a\":', levels) || '1' || repeat('}', levels) $$;";

const DEFINITION: &str = r#"
[root]
table  = "thing"
cursor = "changed"
[document]
id     = "id"
plain  = "plain"
binary = "binary_"
many   = "many"
boxed  = "boxed"
made   = { sql = "deep(nullif(t.word, '')::int)::jsonb" }
spread = { flatten = "spread" }
"#;

const MAPPING: &str = r#"{ "mappings": { "dynamic": "strict", "properties": {
    "id":     { "type": "keyword" },
    "plain":  { "type": "object", "enabled": false },
    "binary": { "type": "object", "enabled": false },
    "many":   { "type": "object", "enabled": false },
    "boxed":  { "properties": { "label": { "type": "keyword" }, "inside": { "type": "object", "enabled": false } } },
    "made":   { "type": "object", "enabled": false },
    "a":      { "type": "object", "enabled": false }
} } }"#;

/// Each way into a document: the column, its value with so many levels of `deep`, and the levels around them.
const WAYS: [(&str, &str, usize, &str); 6] = [
    ("plain", "deep({})::json", 1, " in the field plain,"),
    ("binary_", "deep({})::jsonb", 1, " in the field binary,"),
    ("many", "array['1', deep({})::jsonb]", 2, " in the field many,"),
    ("boxed", "row('x', deep({})::jsonb)::boxed", 2, " in the field boxed,"),
    ("word", "'{}'", 1, " in the field made,"),
    ("spread", "deep({})::jsonb", 0, " deep, index servers"),
];

#[test]
fn a_document_nested_too_deep_is_a_dead_letter_and_the_others_arrive_on_elasticsearch() {
    a_document_nested_too_deep_is_a_dead_letter(Server::Elasticsearch);
}

#[test]
fn a_document_nested_too_deep_is_a_dead_letter_and_the_others_arrive_on_opensearch() {
    a_document_nested_too_deep_is_a_dead_letter(Server::OpenSearch);
}

fn a_document_nested_too_deep_is_a_dead_letter(server: Server) {
    let shape = Shape::unloaded_on(server, "nesting", TABLES, DEFINITION, MAPPING, "");
    for (column, value, around, _) in WAYS {
        for (name, levels) in [("allowed", ALLOWED), ("over", ALLOWED + 1), ("far", 4 * ALLOWED)] {
            let value = value.replace("{}", &(levels - around).to_string());
            shape
                .database
                .execute(&format!("insert into thing (id, {column}) values ('{column} {name}', {value})"));
        }
    }
    let finished = shape.program.command(&["once"]);
    assert_eq!(finished.code, 1, "{}", finished.log);
    assert!(finished.log.contains("caught up"), "{}", finished.log);
    assert_eq!(shape.index.count(), WAYS.len() as u64);
    let letters = dead_letters(&shape.program);
    assert_eq!(letters.len(), 2 * WAYS.len(), "{letters:?}");
    for (column, _, _, place) in WAYS {
        for (name, levels) in [("over", ALLOWED + 1), ("far", 4 * ALLOWED)] {
            let letter = letters.iter().find(|letter| letter["key"] == format!("{column} {name}")).unwrap();
            assert_eq!(letter["error_type"], "document_too_deep");
            let reason = letter["reason"].as_str().unwrap();
            assert!(reason.contains(&format!("nested {levels} levels deep")), "{reason}");
            assert!(reason.contains(place) && reason.contains("1000"), "{reason}");
        }
        // As deep as may be, a document can be looked at and compared too.
        let key = format!("{column} allowed");
        let previewed = shape.program.command(&["preview", &key]);
        assert_eq!(previewed.code, 0, "{}", previewed.log);
        assert!(previewed.output.len() > ALLOWED * ALLOWED, "{}", previewed.output);
    }
    let same = shape.program.command(&["preview", "--diff", "plain allowed"]);
    assert_eq!((same.code, same.output.as_str()), (0, "plain allowed: the same\n"), "{}", same.log);
    let explained = shape.program.command(&["explain", "plain allowed"]).output;
    assert!(explained.contains("the document is what would be built now"), "{explained}");
    let verified = shape.program.command(&["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.log, verified.output);
    // A value that differs far down is found, and shown.
    shape.database.execute(
        "update thing set plain = replace(plain::text, '1', '2')::json where id = 'plain allowed';
         update thing set plain = '{}', binary_ = '{}', many = '{}', boxed = null, word = null, spread = null,
                changed = now() where id like '% over' or id like '% far'",
    );
    let different = shape.program.command(&["preview", "--diff", "plain allowed"]);
    assert_eq!(different.code, 1, "{}", different.log);
    assert!(different.output.contains("  + plain: {\"a\":"), "{}", different.output);
    let finished = shape.program.command(&["verify", "--repair"]);
    assert_eq!(finished.code, 0, "{}{}", finished.log, finished.output);
    let same = shape.program.command(&["preview", "--diff", "plain allowed"]);
    assert_eq!(same.code, 0, "{}", same.output);
    // Corrected rows are documents.
    assert!(dead_letters(&shape.program).is_empty());
    assert_eq!(shape.index.count(), 3 * WAYS.len() as u64);
}

fn dead_letters(program: &Program) -> Vec<Value> {
    let listed = program.command(&["dead-letters", "list", "--json"]);
    assert_eq!(listed.code, 0, "{}", listed.log);
    listed.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
