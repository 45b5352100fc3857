//! Whose index it is: what is not ours is refused or adopted, what is taken from us stops the program, and a block is
//! waited out.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Database, Finished, Index, Program, Server, assert_same, things_database, things_documents,
    things_mapping, things_program, unique, wait_until,
};

/// Changes things 1 to 10, in a way of its own for each `number`.
fn change(database: &Database, number: u32) {
    database
        .execute(&format!("update thing set code = 'changed {number}', changed = now() where number <= 10"));
}

fn is_in_sync(database: &Database, index: &Index) {
    let mut client = database.connect();
    index.wait_for(Duration::from_secs(30), || things_documents(&mut client));
}

/// Calls the server, which must do it.
fn must(index: &Index, method: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = index.call(method, path, body);
    assert!((200..300).contains(&status), "{method} {path}: {answer}");
    answer
}

#[test]
fn a_block_is_waited_out_on_elasticsearch() {
    block_is_waited_out(Server::Elasticsearch);
}

#[test]
fn a_block_is_waited_out_on_opensearch() {
    block_is_waited_out(Server::OpenSearch);
}

/// The flood-stage block of a full disk, and the others that an operator sets.
fn block_is_waited_out(server: Server) {
    let database = things_database("block", 50);
    let index = Index::on(server, "block");
    let program = things_program(&database, &index, &things_mapping());
    let mut running = program.run();
    for (number, block) in [(1, "read_only_allow_delete"), (2, "write"), (3, "read_only")] {
        let block = format!("index.blocks.{block}");
        let path = format!("{}/_settings", index.alias);
        must(&index, "PUT", &path, &json!({ &block: true }));
        let seen = running.log().matches("cluster_block_exception").count();
        change(&database, number);
        wait_until(Duration::from_secs(20), "the block is met", || {
            running.log().matches("cluster_block_exception").count() > seen
        });
        assert!(running.is_running(), "{}", running.log());
        must(&index, "PUT", &path, &json!({ &block: null }));
        is_in_sync(&database, &index);
    }
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert!(finished.log.contains("0 refused"), "{}", finished.log);
    // `once` gives up after its deadline, and the next one goes on.
    let mut program = program;
    program.set("RETRY_DEADLINE", "1");
    must(&index, "PUT", &format!("{}/_settings", index.alias), &json!({ "index.blocks.write": true }));
    change(&database, 4);
    program.command(&["once"]).assert_failed(3, "RETRY_DEADLINE");
    must(&index, "PUT", &format!("{}/_settings", index.alias), &json!({ "index.blocks.write": null }));
    program.once();
    is_in_sync(&database, &index);
}

#[test]
fn a_closed_index_stops_the_program_and_opened_goes_on() {
    for server in [Server::Elasticsearch, Server::OpenSearch] {
        let database = things_database("closed", 50);
        let index = Index::on(server, "closed");
        let program = things_program(&database, &index, &things_mapping());
        let running = program.run();
        let generation = index.generation();
        must(&index, "POST", &format!("{generation}/_close"), &json!(null));
        change(&database, 1);
        running.finish().assert_failed(2, "_open");
        program.command(&["once"]).assert_failed(2, "_open");
        must(&index, "POST", &format!("{generation}/_open?wait_for_active_shards=1"), &json!(null));
        program.once();
        is_in_sync(&database, &index);
    }
}

#[test]
fn an_index_deleted_under_a_run_stops_it_and_is_not_made_anew_by_a_bulk() {
    for server in [Server::Elasticsearch, Server::OpenSearch] {
        let database = things_database("deleted", 50);
        let index = Index::on(server, "deleted");
        let program = things_program(&database, &index, &things_mapping());
        let running = program.run();
        let generation = index.generation();
        must(&index, "DELETE", &generation, &json!(null));
        change(&database, 1);
        running.finish().assert_failed(2, "pgsluice resync");
        let exists = |index: &Index| index.call("GET", &format!("{}*", index.alias), &json!(null)).1;
        assert_eq!(exists(&index), json!({}));
        program.command(&["once"]).assert_failed(2, "pgsluice resync");
        assert_eq!(exists(&index), json!({}));
        assert_eq!(program.command(&["resync"]).code, 0);
        is_in_sync(&database, &index);
        // What comes next needs no resync.
        change(&database, 2);
        program.once();
        is_in_sync(&database, &index);
    }
}

#[test]
fn an_index_deleted_under_a_run_is_made_anew_where_the_settings_say_so() {
    for server in [Server::Elasticsearch, Server::OpenSearch] {
        let database = things_database("rebuilt", 50);
        let index = Index::on(server, "rebuilt");
        let mut program = things_program(&database, &index, &things_mapping());
        program.set("ON_INDEX_MISSING", "rebuild");
        let running = program.run();
        let first = index.generation();
        must(&index, "DELETE", &first, &Value::Null);
        change(&database, 7);
        running.wait_for_log("ON_INDEX_MISSING=rebuild");
        let mut client = database.connect();
        index.wait_for(Duration::from_secs(30), || things_documents(&mut client));
        assert_ne!(index.generation(), first);
        assert_eq!(running.terminate().code, 0);
        // Also while nothing runs.
        must(&index, "DELETE", &index.generation(), &Value::Null);
        program.once();
        is_in_sync(&database, &index);
    }
}

#[test]
fn a_write_alias_that_is_gone_stops_a_run_and_a_start_makes_it_again() {
    let database = things_database("write_alias", 50);
    let index = Index::new("write_alias");
    let program = things_program(&database, &index, &things_mapping());
    let running = program.run();
    let generation = index.generation();
    must(&index, "DELETE", &format!("{generation}/_alias/{generation}-write"), &json!(null));
    change(&database, 1);
    running.finish().assert_failed(2, &format!("{generation}-write"));
    program.once();
    is_in_sync(&database, &index);
}

#[test]
fn an_alias_that_was_removed_or_points_elsewhere_is_refused_and_nothing_written() {
    let database = things_database("moved", 50);
    let index = Index::new("moved");
    let program = things_program(&database, &index, &things_mapping());
    program.once();
    let generation = index.generation();
    let other = format!("{}-other", index.alias);
    must(&index, "PUT", &other, &json!({}));
    let move_alias = |actions: Value| must(&index, "POST", "_aliases", &json!({ "actions": actions }));
    let refused = |text: &str| {
        change(&database, 1);
        for command in ["run", "once"] {
            program.command(&[command]).assert_failed(2, text);
        }
        assert_eq!(must(&index, "GET", &format!("{other}/_count"), &json!(null))["count"], 0);
        let aliases = must(&index, "GET", &format!("{other}/_alias"), &json!(null));
        assert!(!aliases.to_string().contains("other-write"), "{aliases}");
    };
    let remove = json!({ "remove": { "index": generation, "alias": index.alias } });
    let add = |to: &str| json!({ "add": { "index": to, "alias": index.alias } });
    move_alias(json!([remove]));
    refused("is gone");
    move_alias(json!([add(&other)]));
    refused(&format!("is the index {other}"));
    move_alias(json!([add(&generation)]));
    refused("several indices");
    move_alias(json!([{ "remove": { "index": other, "alias": index.alias } }]));
    // The private alias on another index would lead our writes there.
    let write_alias = format!("{generation}-write");
    move_alias(json!([
        { "remove": { "index": generation, "alias": write_alias } },
        { "add": { "index": other, "alias": write_alias } },
    ]));
    refused(&format!("the alias {write_alias} points at {other}"));
    move_alias(json!([{ "remove": { "index": other, "alias": write_alias } }]));
    program.once();
    is_in_sync(&database, &index);
}

#[test]
fn aliases_that_are_moved_under_a_run_stop_it() {
    let database = things_database("moved_run", 20);
    let index = Index::new("moved_run");
    let program = things_program(&database, &index, &things_mapping());
    program.once();
    let generation = index.generation();
    let write_alias = format!("{generation}-write");
    let other = format!("{}-other", index.alias);
    must(&index, "PUT", &other, &json!({}));
    for (moved, text) in [
        (&index.alias, format!("is the index {other}")),
        (&write_alias, format!("the alias {write_alias} points at {other}")),
    ] {
        let mut running = program.run();
        let point = |from: &str, to: &str| {
            let remove = json!({ "remove": { "index": from, "alias": moved } });
            let add = json!({ "add": { "index": to, "alias": moved } });
            must(&index, "POST", "_aliases", &json!({ "actions": [remove, add] }));
        };
        point(&generation, &other);
        let mut number = 0;
        wait_until(Duration::from_secs(30), "the run has ended", || {
            number += 1;
            change(&database, number);
            !running.is_running()
        });
        running.finish().assert_failed(2, &text);
        point(&other, &generation);
        program.once();
        is_in_sync(&database, &index);
    }
}

/// An index of someone else under our alias's name, with a document.
fn strange_index(index: &Index, body: &Value) -> Value {
    must(index, "PUT", &index.alias, body);
    must(index, "PUT", &format!("{}/_doc/theirs?refresh=true", index.alias), &json!({ "id": "theirs" }));
    must(index, "GET", &index.alias, &json!(null))
}

fn assert_untouched(index: &Index, before: &Value) {
    assert_eq!(&must(index, "GET", &index.alias, &json!(null)), before);
    assert_eq!(index.count(), 1);
}

#[test]
fn a_strange_index_is_refused_unchanged_and_adopted_only_when_told() {
    for server in [Server::Elasticsearch, Server::OpenSearch] {
        let database = things_database("strange", 30);
        let index = Index::on(server, "strange");
        let before = strange_index(&index, &things_mapping());
        let program = things_program(&database, &index, &things_mapping());
        for command in ["run", "once", "resync"] {
            program.command(&[command]).assert_failed(2, "--adopt");
            assert_untouched(&index, &before);
        }
        let checked = program.command(&["check"]);
        assert_eq!(checked.code, 2, "{}{}", checked.output, checked.log);
        assert!(checked.output.contains("--adopt"), "{}", checked.output);
        assert_untouched(&index, &before);
        // Adopted, it is as if it were ours: written anew, and cleared of what has no row.
        let adopted = program.command(&["once", "--adopt"]);
        assert_eq!(adopted.code, 0, "{}", adopted.log);
        assert!(adopted.log.contains("gc_deletes"), "{}", adopted.log);
        is_in_sync(&database, &index);
        assert!(!index.documents().contains_key("theirs"));
        let now = must(&index, "GET", &index.alias, &json!(null));
        let name = &index.alias;
        assert!(now[name]["mappings"]["_meta"]["pgsluice"]["source"].is_string(), "{now}");
        change(&database, 1);
        program.once();
        is_in_sync(&database, &index);
    }
}

#[test]
fn a_strange_index_that_does_not_fit_is_never_adopted() {
    let database = things_database("unfit", 5);
    let index = Index::new("unfit");
    let mut mapping = things_mapping();
    mapping["mappings"]["properties"]["code"] = json!({ "type": "text" });
    mapping["mappings"]["properties"].as_object_mut().unwrap().remove("day");
    let before = strange_index(&index, &mapping);
    let program = things_program(&database, &index, &things_mapping());
    for arguments in [&["once", "--adopt"][..], &["run", "--adopt"], &["resync", "--adopt"], &["once"]] {
        let finished = program.command(arguments);
        finished.assert_failed(2, "code is text and must be keyword");
        assert!(finished.log.contains("day is missing and must be date"), "{}", finished.log);
        assert_untouched(&index, &before);
    }
}

#[test]
fn an_empty_index_that_fits_is_taken_as_it_is() {
    let database = things_database("empty", 30);
    let index = Index::new("empty");
    let name = format!("{}-v1", index.alias);
    let mut body = things_mapping();
    body["aliases"] = json!({ &index.alias: {} });
    body["mappings"]["_meta"] = json!({ "owner": "search" });
    must(&index, "PUT", &name, &body);
    let program = things_program(&database, &index, &things_mapping());
    program.once();
    is_in_sync(&database, &index);
    assert_eq!(index.generation(), name);
    let now = must(&index, "GET", &name, &json!(null));
    assert_eq!(now[&name]["mappings"]["_meta"]["owner"], "search");
}

#[test]
fn an_index_of_another_database_or_definition_is_refused_unchanged() {
    let database = things_database("first", 30);
    let index = Index::new("marked");
    let program = things_program(&database, &index, &things_mapping());
    program.once();
    let before = must(&index, "GET", &index.alias, &json!(null));
    let documents = index.documents();
    let unchanged = |finished: Finished, text: &str| {
        finished.assert_failed(2, text);
        assert!(finished.log.contains("pgsluice resync"), "{}", finished.log);
        assert_eq!(must(&index, "GET", &index.alias, &json!(null)), before);
        assert_same(&index.documents(), &documents);
    };
    // Another database, with a state of its own; --adopt is not for that.
    let second = things_database("second", 3);
    let stranger = things_program(&second, &index, &things_mapping());
    unchanged(stranger.command(&["once"]), "from another database");
    unchanged(stranger.command(&["run", "--adopt"]), "from another database");
    // Another definition of the same database, with a state of its own.
    let mut other = things_program(&database, &index, &things_mapping());
    let definition = std::fs::read_to_string(other.folder().join("things.toml")).unwrap();
    other.write("other.toml", &definition.replace("code   = \"code\"\n", ""));
    other.set("DEFINITION", "other.toml");
    unchanged(other.command(&["once"]), "by another definition");
    // The cure that is named is one.
    let cured = stranger.command(&["resync"]);
    assert_eq!(cured.code, 0, "{}", cured.log);
    is_in_sync(&second, &index);
    // The first does not take it back by itself.
    change(&database, 1);
    program.command(&["once"]).assert_failed(2, "from another database");
    is_in_sync(&second, &index);
}

#[test]
fn a_mark_of_a_newer_version_is_refused() {
    let database = things_database("newer", 5);
    let index = Index::new("newer");
    let mut body = things_mapping();
    body["mappings"]["_meta"] = json!({ "pgsluice": { "format": 99, "shape": "unknown" } });
    let before = strange_index(&index, &body);
    let program = things_program(&database, &index, &things_mapping());
    for arguments in [&["once"][..], &["once", "--adopt"], &["resync"]] {
        program.command(arguments).assert_failed(2, "newer pgsluice");
        assert_untouched(&index, &before);
    }
}

#[test]
fn a_template_of_the_server_is_no_trap() {
    let database = things_database("template", 10);
    let index = Index::new("template");
    // A template that would add a field and an alias to what is created under this name.
    let name = unique("a_template");
    must(
        &index,
        "PUT",
        &format!("_index_template/{name}"),
        &json!({ "index_patterns": [format!("{}*", index.alias)], "priority": 7, "template": {
            "settings": { "number_of_replicas": 0 },
            "mappings": { "properties": { "theirs": { "type": "keyword" } } } } }),
    );
    let program: Program = things_program(&database, &index, &things_mapping());
    let finished = program.command(&["once"]);
    must(&index, "DELETE", &format!("_index_template/{name}"), &json!(null));
    assert_eq!(finished.code, 0, "{}", finished.log);
    is_in_sync(&database, &index);
}
