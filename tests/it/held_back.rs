//! A bulk request that something between holds back, while what came after it goes through.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Clock, Deed, Gate, Index, Proxy, Server, assert_same, hiding_program, shown_documents, things_database,
    things_mapping, wait_until,
};

const SOON: Duration = Duration::from_secs(20);

/// How long the indices of these tests remember a deletion.
const GC_DELETES: Duration = Duration::from_secs(2);

#[test]
fn held_back_for_less_than_gc_deletes_it_changes_nothing_on_elasticsearch() {
    held_back(Server::Elasticsearch, Duration::ZERO);
}

#[test]
fn held_back_for_less_than_gc_deletes_it_changes_nothing_on_opensearch() {
    held_back(Server::OpenSearch, Duration::ZERO);
}

#[test]
fn held_back_for_longer_what_it_brings_back_goes_again_on_elasticsearch() {
    held_back(Server::Elasticsearch, GC_DELETES * 2);
}

#[test]
fn held_back_for_longer_what_it_brings_back_goes_again_on_opensearch() {
    held_back(Server::OpenSearch, GC_DELETES * 2);
}

/// The request writes t00003 and t00004; before it comes through, the first is deleted and the second written anew.
fn held_back(server: Server, after_the_deletion: Duration) {
    let database = things_database("held", 20);
    let index = Index::on(server, "held");
    let mut mapping = things_mapping();
    mapping["settings"]["index.gc_deletes"] = json!("2s");
    let mut program = hiding_program(&database, &index, &mapping);
    let clock = Clock::of(&mut program);
    let gate = Gate::default();
    let proxy = {
        let gate = gate.clone();
        let is_held = AtomicBool::new(false);
        Proxy::new(server, move |asked| {
            let is_meant = asked.is_bulk() && asked.body.contains("\"first\"");
            if is_meant && !is_held.swap(true, Ordering::SeqCst) {
                return Deed::PassThrough(gate.clone());
            }
            Deed::Pass
        })
    };
    // Requests of other tests make the server slow, so not too short: one that is lost too would be no harm.
    program.set("ELASTIC_URL", &proxy.url()).set("ELASTIC_TIMEOUT", "2");
    let running = program.run();
    let mut client = database.connect();
    database.execute("update thing set code = 'first', changed = now() where id in ('t00003', 't00004')");
    // The program has given the request up and sent it again.
    index.wait_for(SOON, || shown_documents(&mut client));
    database.execute(
        "update thing set code = 'second', changed = now() where id = 't00004';
         update thing set code = 'hidden', changed = now() where id = 't00003'",
    );
    wait_until(SOON, "the newer write and the delete are through", || {
        index.document("t00003").is_none() && index.document("t00004").unwrap()["code"] == "second"
    });
    // Nothing but time makes the index forget the deletion, at a refresh.
    let deleted_at = Instant::now();
    while deleted_at.elapsed() < after_the_deletion {
        index.count();
        std::thread::sleep(Duration::from_millis(100));
    }
    gate.open();
    wait_until(SOON, "the request that was held back is through", || !gate.answers().is_empty());
    let statuses: Vec<u64> = {
        let answer: Value = serde_json::from_str(&gate.answers()[0]).unwrap();
        answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["index"]["status"].as_u64().unwrap())
            .collect()
    };
    if after_the_deletion.is_zero() {
        assert_eq!(statuses, [409, 409]);
        assert_same(&index.documents(), &shown_documents(&mut client));
    } else {
        // What this test is about; the newer write stays in any case.
        assert_eq!(statuses, [201, 409], "the deletion was to be forgotten");
        assert_eq!(index.document("t00004").unwrap()["code"], "second");
        assert!(index.document("t00003").is_some());
    }
    // Eleven minutes later at the latest the keys of the lost request are built once more.
    clock.set(12);
    index.wait_for(SOON, || shown_documents(&mut client));
    let status =
        || -> Value { serde_json::from_str(&program.command(&["status", "--json"]).output).unwrap() };
    wait_until(SOON, "nothing is left to do", || {
        let status = status();
        status["stale_keys_due_later"] == 0 && status["stale_keys"] == 0 && status["in_flight_keys"] == 0
    });
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_same(&index.documents(), &shown_documents(&mut client));
}
