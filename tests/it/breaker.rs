//! An index that refuses everything: the program stops instead of making a dead letter of every row.

use crate::harness::{
    Database, Index, Program, Server, assert_same, things_database, things_documents, things_mapping,
    things_program,
};

/// 1,000 things with two parts each, and an index that takes one.
fn misfit(server: Server) -> (Database, Index, Program) {
    let database = things_database("misfit", 1_000);
    database.execute("update thing set parts = '[{\"a\": 1}, {\"a\": 2}]'");
    let index = Index::on(server, "misfit");
    let mut mapping = things_mapping();
    mapping["settings"]["mapping.nested_objects.limit"] = 1.into();
    let mut program = things_program(&database, &index, &mapping);
    program.set("CHUNK_SIZE", "100").set("DEAD_LETTER_STOP", "250");
    (database, index, program)
}

fn dead_letter_count(program: &Program) -> usize {
    let listed = program.command(&["dead-letters", "list", "--json", "--limit", "100000"]);
    assert_eq!(listed.code, 0, "{}", listed.log);
    listed.output.lines().count()
}

#[test]
fn an_index_that_refuses_everything_stops_the_program_and_once_repaired_gets_all_on_elasticsearch() {
    everything_refused(Server::Elasticsearch);
}

#[test]
fn an_index_that_refuses_everything_stops_the_program_and_once_repaired_gets_all_on_opensearch() {
    everything_refused(Server::OpenSearch);
}

fn everything_refused(server: Server) {
    let (database, index, program) = misfit(server);
    for command in ["run", "once"] {
        let stopped = program.command(&[command]);
        stopped.assert_failed(2, "refuses too many documents");
        assert!(stopped.log.contains("DEAD_LETTER_STOP"), "{}", stopped.log);
        assert_eq!(stopped.log.matches("ERROR").count(), 1, "{}", stopped.log);
        assert!(dead_letter_count(&program) < 500);
        assert_eq!(index.count(), 0);
    }
    let (status, answer) = index.call(
        "PUT",
        &format!("{}/_settings", index.alias),
        &serde_json::json!({ "index.mapping.nested_objects.limit": 20 }),
    );
    assert_eq!(status, 200, "{answer}");
    program.once();
    assert_same(&index.documents(), &things_documents(&mut database.connect()));
    assert_eq!(dead_letter_count(&program), 0);
}

#[test]
fn a_mapping_of_another_type_is_cured_by_a_new_one_and_a_resync() {
    let database = things_database("type", 600);
    let index = Index::new("type");
    let mut mapping = things_mapping();
    mapping["mappings"]["properties"]["code"]["type"] = "integer".into();
    let mut program = things_program(&database, &index, &mapping);
    program.set("DEAD_LETTER_STOP", "100");
    let stopped = program.command(&["once"]);
    stopped.assert_failed(2, "refuses too many documents");
    assert!(stopped.log.contains("at the field code") && !stopped.log.contains("code 1"), "{}", stopped.log);
    program.write("things.json", &things_mapping().to_string());
    program.command(&["once"]).assert_failed(2, "pgsluice resync");
    program.command(&["resync"]).assert_failed(2, "delete the index");
    index.call("DELETE", &index.generation(), &serde_json::Value::Null);
    assert_eq!(program.command(&["resync"]).code, 0);
    assert_same(&index.documents(), &things_documents(&mut database.connect()));
    assert_eq!(dead_letter_count(&program), 0);
}

#[test]
fn half_of_everything_refused_stops_the_program_too() {
    let database = things_database("half", 3_000);
    database.execute("update thing set day = 'never' where number % 2 = 0");
    let index = Index::new("half");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CHUNK_SIZE", "100").set("DEAD_LETTER_STOP", "50");
    program.command(&["once"]).assert_failed(2, "refuses too many documents");
    assert!(dead_letter_count(&program) <= 250);
    // Whoever wants the half that fits says so.
    program.set("DEAD_LETTER_STOP", "1000000");
    assert_eq!(program.command(&["once"]).code, 1);
    assert_eq!((index.count(), dead_letter_count(&program)), (1_500, 1_500));
}
