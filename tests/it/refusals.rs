//! Documents that the index refuses: each harms only itself.

use std::time::Duration;

use postgres::Client;
use serde_json::{Value, json};

use crate::harness::{
    Database, Deed, Finished, Index, Program, Proxy, Server, assert_same, movies_documents, things_database,
    things_documents, things_mapping, things_program,
};

/// The dead letters of a program, as `dead-letters list --json` tells them.
fn dead_letters(program: &Program) -> Vec<Value> {
    let listed = program.command(&["dead-letters", "list", "--json"]);
    assert_eq!(listed.code, 0, "{}", listed.log);
    listed.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `once`, which must end with 1: done, but documents were refused.
fn once_with_refusals(program: &Program) -> Finished {
    let finished = program.command(&["once"]);
    assert_eq!(finished.code, 1, "{}", finished.log);
    assert!(finished.log.contains("caught up"), "{}", finished.log);
    finished
}

#[test]
fn one_refused_film_among_1000_is_one_dead_letter_on_elasticsearch() {
    one_refused_film(Server::Elasticsearch);
}

#[test]
fn one_refused_film_among_1000_is_one_dead_letter_on_opensearch() {
    one_refused_film(Server::OpenSearch);
}

fn one_refused_film(server: Server) {
    let database = Database::with_films("refused", 1_000);
    let mut client = database.connect();
    // title.raw is a keyword, and no term is longer than 32,766 bytes.
    let key: String = client
        .query_one("select id::text from content.film_work order by id offset 499 limit 1", &[])
        .unwrap()
        .get(0);
    let title = |title: &str| {
        database.execute(&format!(
            "update content.film_work set title = {title}, modified = now() where id = '{key}'"
        ));
    };
    title("repeat('unmistakable', 4000)");
    let index = Index::on(server, "refused");
    let program = Program::new(&database, &index);
    let finished = once_with_refusals(&program);
    assert!(finished.log.contains(&format!("document {key} refused")), "{}", finished.log);
    let mut expected = movies_documents(&mut client);
    expected.remove(&key).unwrap();
    assert_eq!(expected.len(), 999);
    assert_same(&index.documents(), &expected);
    let letters = dead_letters(&program);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["key"], key);
    assert!(
        letters[0]["error_type"].as_str().is_some_and(|kind| kind.ends_with("_exception")),
        "{letters:?}"
    );
    assert!(letters[0]["reason"].as_str().is_some_and(|reason| reason.contains("title.raw")), "{letters:?}");
    let status = program.command(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status.output).unwrap();
    assert_eq!(status["dead_letters"], 1, "{status}");
    // Corrected, it is there and the letter goes.
    title("'a short title'");
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut client));
    assert!(dead_letters(&program).is_empty());
}

#[test]
fn a_refused_change_leaves_the_last_good_document() {
    let database = things_database("last_good", 10);
    let index = Index::new("last_good");
    let program = things_program(&database, &index, &things_mapping());
    program.once();
    let before = index.documents();
    database.execute("update thing set day = 'someday', changed = now() where id = 't00003'");
    once_with_refusals(&program);
    assert_same(&index.documents(), &before);
    // Deleted in the source and then built again, its letter goes with it.
    database.execute("delete from thing where id = 't00003'");
    let letter = dead_letters(&program).remove(0);
    assert_eq!(program.command(&["dead-letters", "retry", &letter["id"].to_string()]).code, 0);
    program.once();
    assert_same(&index.documents(), &things_documents(&mut database.connect()));
    assert!(dead_letters(&program).is_empty());
}

#[test]
fn every_kind_of_poison_harms_only_itself_on_elasticsearch() {
    every_kind_of_poison(Server::Elasticsearch);
}

#[test]
fn every_kind_of_poison_harms_only_itself_on_opensearch() {
    every_kind_of_poison(Server::OpenSearch);
}

/// Makes things bad, each in its own way.
const POISON: &str = "
    update thing set changed = now(), number = 4000000000 where id = 't00100';
    update thing set changed = now(), code = repeat('я', 16384) where id = 't00200';
    update thing set changed = now(), day = 'secretday' where id = 't00300';
    update thing set changed = now(), parts = (select jsonb_agg(jsonb_build_object('n', n)) from generate_series(1, 21) n)
     where id = 't00400';
    update thing set changed = now(), parts = ('[' || repeat('{\"a\":', 30) || '1' || repeat('}', 30) || ']')::jsonb
     where id = 't00500';
    update thing set changed = now(), parts = (repeat('[', 3000) || repeat(']', 3000))::jsonb where id = 't00600';
    update thing set changed = now(), parts = '\"no object\"' where id = 't00700';
    update thing set changed = now(), code = repeat('x', 200000) where id = 't00800';
    update thing set changed = now(), parts = '[{\"\": 1}]' where id = 't00900';
";

const POISONED: [&str; 9] =
    ["t00100", "t00200", "t00300", "t00400", "t00500", "t00600", "t00700", "t00800", "t00900"];

fn every_kind_of_poison(server: Server) {
    let database = things_database("poison", 1_000);
    let index = Index::on(server, "poison");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("DOCUMENT_MAX_BYTES", "100000").set("CHUNK_SIZE", "250");
    database.execute(POISON);
    let finished = once_with_refusals(&program);
    let mut client = database.connect();
    let mut expected = things_documents(&mut client);
    expected.retain(|key, _| !POISONED.contains(&key.as_str()));
    assert_same(&index.documents(), &expected);
    let mut letters = dead_letters(&program);
    letters.sort_by_key(|letter| letter["key"].to_string());
    let keys: Vec<&str> = letters.iter().map(|letter| letter["key"].as_str().unwrap()).collect();
    assert_eq!(keys, POISONED, "{letters:?}");
    for letter in &letters {
        assert!(!letter["reason"].as_str().unwrap().is_empty(), "{letter}");
    }
    assert_eq!(letters[7]["error_type"], "document_too_large");
    // What was refused may be said, its values may not.
    for value in ["4000000000", "secretday", "no object", "xxxxx", "яяя", "-47, -113"] {
        assert!(!finished.log.contains(value), "{value} is in the log:\n{}", finished.log);
    }
    database.execute(
        "update thing set changed = now(), number = 1, code = 'good', day = '2024-02-02', parts = '[]'
          where length(code) > 1000 or number > 2000000000 or day = 'secretday' or parts <> '[]'",
    );
    program.once();
    assert_same(&index.documents(), &things_documents(&mut client));
    assert!(dead_letters(&program).is_empty());
}

#[test]
fn over_long_and_strange_keys_have_their_documents() {
    let database = things_database("keys", 3);
    let mut client = database.connect();
    database.execute(
        "insert into thing (id, number) values
           (repeat('k', 512), 512), (repeat('k', 513), 513), (repeat('я', 600), 600), ('', 0), (' ', 1), ('a/b?c#d', 2),
           ('\"quoted\\', 3), (E'line\\nfeed', 4), ('_under', 5), ('sha256:x', 6)",
    );
    let index = Index::new("keys");
    let program = things_program(&database, &index, &things_mapping());
    program.once();
    let by_number = |documents: crate::harness::Documents| -> Vec<String> {
        let mut lines: Vec<String> = documents.values().map(Value::to_string).collect();
        lines.sort();
        lines
    };
    let expected = by_number(things_documents(&mut client));
    assert_eq!(expected.len(), 13);
    let found = index.documents();
    assert!(found.contains_key(&"k".repeat(512)) && found.contains_key("\"quoted\\"));
    let hashed = found.keys().filter(|id| id.starts_with("sha256:") && id.len() == 71).count();
    assert_eq!(hashed, 3, "{:?}", found.keys());
    assert_eq!(by_number(found), expected);
    // Changed, they are the same documents still; built anew in full, too.
    database.execute("update thing set day = '2025-01-01', changed = now()");
    program.once();
    assert_eq!(by_number(index.documents()), by_number(things_documents(&mut client)));
    let finished = program.command(&["resync"]);
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(by_number(index.documents()), by_number(things_documents(&mut client)));
}

#[test]
fn a_request_that_is_refused_as_a_whole_is_halved_to_the_culprit() {
    let database = things_database("halved", 300);
    let index = Index::new("halved");
    let mut program = things_program(&database, &index, &things_mapping());
    let proxy = Proxy::new(index.server, |asked| {
        if asked.is_bulk() && ["code 77\"", "code 200\""].iter().any(|code| asked.body.contains(code)) {
            return Deed::answer(
                400,
                r#"{"error":{"type":"illegal_argument_exception","reason":"not like this"},"status":400}"#,
            );
        }
        Deed::Pass
    });
    program.set("ELASTIC_URL", &proxy.url());
    once_with_refusals(&program);
    let mut expected = things_documents(&mut database.connect());
    expected.retain(|key, _| key != "t00077" && key != "t00200");
    assert_same(&index.documents(), &expected);
    let mut letters = dead_letters(&program);
    letters.sort_by_key(|letter| letter["key"].to_string());
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert_eq!((&letters[0]["key"], &letters[0]["reason"]), (&json!("t00077"), &json!("not like this")));
    assert!(proxy.bulks().len() < 50, "{} requests", proxy.bulks().len());
}

#[test]
fn a_body_that_is_too_large_is_split_and_a_document_that_is_alone_refused() {
    let database = things_database("too_large", 300);
    database.execute("update thing set code = repeat('c', 30000) where id = 't00150'");
    let index = Index::new("too_large");
    let mut program = things_program(&database, &index, &things_mapping());
    let proxy =
        Proxy::new(
            index.server,
            |asked| {
                if asked.body_bytes > 10_000 { Deed::answer(413, "") } else { Deed::Pass }
            },
        );
    program.set("ELASTIC_URL", &proxy.url());
    once_with_refusals(&program);
    all_but_one(&index, &mut database.connect(), "t00150");
    assert_eq!(dead_letters(&program)[0]["error_type"], "content_too_long");
}

#[test]
fn a_server_that_refuses_large_bodies_unread_gets_smaller_ones() {
    let database = things_database("unread", 2_000);
    database.execute(
        "update thing set parts = jsonb_build_array(jsonb_build_object('text', repeat('p', 20000)))",
    );
    database.execute(
        "update thing set parts = (select jsonb_agg(jsonb_build_object('text', repeat('p', 300000)))
                                     from generate_series(1, 20)) where id = 't01500'",
    );
    let index = Index::new("unread");
    let mut program = things_program(&database, &index, &things_mapping());
    let proxy = Proxy::passing(index.server);
    proxy.refuse_bodies_over(1 << 20);
    program.set("ELASTIC_URL", &proxy.url()).set("BULK_BYTES", "5MiB");
    once_with_refusals(&program);
    all_but_one(&index, &mut database.connect(), "t01500");
    assert_eq!(dead_letters(&program)[0]["error_type"], "content_too_long");
}

fn all_but_one(index: &Index, client: &mut Client, refused: &str) {
    let mut expected = things_documents(client);
    expected.remove(refused).unwrap();
    assert_same(&index.documents(), &expected);
}

#[test]
fn a_document_that_nothing_can_overwrite_harms_only_itself() {
    let database = things_database("highest", 20);
    let index = Index::new("highest");
    let program = things_program(&database, &index, &things_mapping());
    program.once();
    let (status, answer) = index.call(
        "PUT",
        &format!("{}/_doc/t00007?version={}&version_type=external", index.alias, i64::MAX),
        &json!({ "id": "someone else's" }),
    );
    assert_eq!(status, 200, "{answer}");
    database.execute("update thing set number = number + 1000, changed = now()");
    once_with_refusals(&program);
    let mut expected = things_documents(&mut database.connect());
    expected.insert("t00007".to_owned(), json!({ "id": "someone else's" }));
    assert_same(&index.documents(), &expected);
    assert_eq!(dead_letters(&program)[0]["error_type"], "version_conflict_engine_exception");
    // The others go on.
    database.execute("update thing set number = number + 1000, changed = now() where id <> 't00007'");
    once_with_refusals(&program);
    assert_eq!(index.document("t00008").unwrap()["number"], 2008);
}

#[test]
fn a_poison_in_a_run_does_not_hold_the_others_up() {
    let database = things_database("poison_run", 100);
    let index = Index::new("poison_run");
    let program = things_program(&database, &index, &things_mapping());
    let running = program.run();
    database.execute(POISON);
    database.execute("update thing set number = 5, changed = now() where id = 't00042'");
    running.wait_for_log("document t00100 refused");
    let mut client = database.connect();
    index.wait_for(Duration::from_secs(20), || {
        let mut expected = things_documents(&mut client);
        expected.get_mut("t00100").unwrap()["number"] = json!(100);
        expected
    });
    database.execute("update thing set number = 6, changed = now() where id = 't00100'");
    index.wait_for(Duration::from_secs(20), || things_documents(&mut client));
    assert!(dead_letters(&program).is_empty());
    assert_eq!(running.terminate().code, 1);
}
