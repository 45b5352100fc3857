//! `--fresh`: an index without refreshes and replicas while it is loaded for the first time, and with its own settings
//! afterwards, whatever happens in between.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Database, Deed, Gate, Index, Program, Proxy, Server, assert_same, things_database, things_documents,
    things_mapping, things_program, wait_until,
};

const SOON: Duration = Duration::from_secs(30);

/// `refresh_interval` and `number_of_replicas` of the index, and whether its mark has a note of a first load.
fn settings(index: &Index) -> (Value, Value, bool) {
    let generation = index.generation();
    let (_, found) = index.call("GET", &generation, &Value::Null);
    let found = &found[&generation];
    let settings = &found["settings"]["index"];
    let mark = &found["mappings"]["_meta"]["pgsluice"];
    assert!(mark.is_object(), "{found}");
    (
        settings["refresh_interval"].clone(),
        settings["number_of_replicas"].clone(),
        !mark["first_load"].is_null(),
    )
}

fn status(program: &Program) -> Value {
    serde_json::from_str(&program.command(&["status", "--json"]).output).unwrap()
}

fn mapping(own: &Value) -> Value {
    let mut mapping = things_mapping();
    for (name, value) in own.as_object().unwrap() {
        mapping["settings"][name] = value.clone();
    }
    mapping
}

fn prepared(server: Server, label: &str, own: &Value) -> (Database, Index, Program) {
    let database = things_database(label, 300);
    let index = Index::on(server, label);
    let mut program = things_program(&database, &index, &mapping(own));
    program.set("CHUNK_SIZE", "20");
    (database, index, program)
}

#[test]
fn a_new_index_is_loaded_without_refreshes_and_replicas_on_elasticsearch() {
    while_it_is_loaded(Server::Elasticsearch);
}

#[test]
fn a_new_index_is_loaded_without_refreshes_and_replicas_on_opensearch() {
    while_it_is_loaded(Server::OpenSearch);
}

fn while_it_is_loaded(server: Server) {
    for (own, refresh_interval) in
        [(json!({"refresh_interval": "7s", "number_of_replicas": 1}), json!("7s")), (json!({}), Value::Null)]
    {
        let (database, index, mut program) = prepared(server, "fresh", &own);
        let gate = Gate::default();
        let proxy = {
            let gate = gate.clone();
            Proxy::new(server, move |asked| {
                if asked.is_bulk() && asked.body.contains("\"t00123\"") {
                    Deed::PassThrough(gate.clone())
                } else {
                    Deed::Pass
                }
            })
        };
        program.set("ELASTIC_URL", &proxy.url());
        let running = program.start(&["run", "--fresh"]);
        wait_until(SOON, "the load is under way", || proxy.bulks().len() > 3);
        assert_eq!(settings(&index), (json!("-1"), json!("0"), true));
        assert_eq!(status(&program)["full_load"]["fresh"], true);
        assert!(program.command(&["status"]).output.contains("no refreshes and no replicas"));
        gate.open();
        running.wait_for_log("caught up");
        assert_eq!(settings(&index), (refresh_interval, json!("1"), false));
        let after = status(&program);
        assert_eq!((&after["full_load"]["fresh"], &after["documents"]), (&json!(false), &json!(300)));
        assert!(!program.command(&["status"]).output.contains("no refreshes"));
        assert!(running.log().contains("own refresh_interval and number_of_replicas again"));
        let finished = running.terminate();
        assert_eq!(finished.code, 0, "{}", finished.log);
        assert_same(&index.documents(), &things_documents(&mut database.connect()));
        // There is one index: what was made for the load is what stays.
        let finished = program.command(&["verify"]);
        assert_eq!(finished.code, 0, "{}{}", finished.output, finished.log);
    }
}

#[test]
fn killed_at_each_step_it_has_its_own_settings_in_the_end() {
    let points = [
        "first_load_noted",
        "first_load_set",
        "acknowledged:3",
        "first_load_restored",
        "first_load_forgotten",
        "first_load_over",
    ];
    for (place, point) in points.into_iter().enumerate() {
        let server = if place % 2 == 0 { Server::Elasticsearch } else { Server::OpenSearch };
        let own = json!({"refresh_interval": "9s", "number_of_replicas": 1});
        let (database, index, mut program) = prepared(server, "fresh_killed", &own);
        program.set("PGSLUICE_CRASH_AT", point);
        let stopped = program.command(&["once", "--fresh"]);
        assert!(stopped.log.contains("stopping at"), "{point}: {}", stopped.log);
        program.unset("PGSLUICE_CRASH_AT");
        // The next start need not know that it began so.
        program.once();
        assert_eq!(settings(&index), (json!("9s"), json!("1"), false), "{point}");
        assert_eq!(status(&program)["full_load"]["fresh"], false, "{point}");
        assert_same(&index.documents(), &things_documents(&mut database.connect()));
    }
}

#[test]
fn with_the_state_lost_in_the_middle_the_index_itself_knows_what_it_had() {
    let own = json!({"refresh_interval": "9s", "number_of_replicas": 1});
    let (database, index, mut program) = prepared(Server::Elasticsearch, "fresh_lost", &own);
    program.set("PGSLUICE_CRASH_AT", "acknowledged:3");
    program.command(&["once", "--fresh"]);
    program.unset("PGSLUICE_CRASH_AT");
    assert_eq!(settings(&index), (json!("-1"), json!("0"), true));
    program.lose_state();
    let finished = program.command(&["resync"]);
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(settings(&index), (json!("9s"), json!("1"), false));
    assert_same(&index.documents(), &things_documents(&mut database.connect()));
}

#[test]
fn after_an_error_the_next_load_goes_on_and_ends_it() {
    let own = json!({"refresh_interval": "9s", "number_of_replicas": 1});
    let (database, index, mut program) = prepared(Server::Elasticsearch, "fresh_error", &own);
    let proxy = Proxy::new(Server::Elasticsearch, |asked| {
        if asked.is_bulk() && asked.body.contains("\"t00123\"") {
            return Deed::answer(
                403,
                r#"{"error":{"type":"security_exception","reason":"no right"},"status":403}"#,
            );
        }
        Deed::Pass
    });
    let direct = program.setting("ELASTIC_URL").unwrap();
    program.set("ELASTIC_URL", &proxy.url());
    let failed = program.command(&["once", "--fresh"]);
    assert_eq!(failed.code, 2, "{}", failed.log);
    assert_eq!(settings(&index), (json!("-1"), json!("0"), true));
    assert_eq!(status(&program)["full_load"]["fresh"], true);
    program.set("ELASTIC_URL", &direct);
    // What someone sets by hand meanwhile is theirs.
    index.call("PUT", &format!("{}/_settings", index.generation()), &json!({"index.refresh_interval": "3s"}));
    program.once();
    assert_eq!(settings(&index), (json!("3s"), json!("1"), false));
    assert_same(&index.documents(), &things_documents(&mut database.connect()));
}

#[test]
fn an_index_that_is_not_new_keeps_its_settings() {
    let own = json!({"refresh_interval": "9s", "number_of_replicas": 1});
    let (database, index, program) = prepared(Server::Elasticsearch, "fresh_not", &own);
    program.once();
    let proper = (json!("9s"), json!("1"), false);
    let finished = program.command(&["once", "--fresh"]);
    assert_eq!((finished.code, settings(&index)), (0, proper.clone()), "{}", finished.log);
    let finished = program.command(&["resync", "--fresh"]);
    assert_eq!((finished.code, settings(&index)), (0, proper.clone()), "{}", finished.log);
    assert!(finished.log.contains("--fresh is without effect"), "{}", finished.log);
    // A resync for which the index has to be made anew.
    let former = index.generation();
    index.call("DELETE", &former, &Value::Null);
    let finished = program.command(&["resync", "--fresh"]);
    assert_eq!((finished.code, settings(&index)), (0, proper), "{}", finished.log);
    assert!(finished.log.contains("no refreshes and no replicas until"), "{}", finished.log);
    assert_same(&index.documents(), &things_documents(&mut database.connect()));
}
