//! Several bulk requests at once: in which order they may end, and what becomes of the others when one is slow or fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Database, Deed, Gate, Index, Program, Proxy, Server, actions, assert_same, hiding_program, is_full,
    shown_documents, things_database, things_documents, things_mapping, things_program, wait_until,
};

const SOON: Duration = Duration::from_secs(30);

/// Four lanes that are all in use from the first request on.
fn at_once(program: &mut Program) {
    program.set("LOADERS", "4").set("PGSLUICE_FIRST_LANES", "4");
}

/// So many things, their index, and a program that sends `chunk_size` of them at a time.
fn things(label: &str, count: u32, chunk_size: &str) -> (Database, Index, Program) {
    let database = things_database(label, count);
    let index = Index::new(label);
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CHUNK_SIZE", chunk_size);
    (database, index, program)
}

fn status(program: &Program) -> Value {
    serde_json::from_str(&program.command(&["status", "--json"]).output).unwrap()
}

#[test]
fn killed_at_random_moments_with_writers_at_work_nothing_is_lost() {
    let database = Database::with_films("lanes_kills", 1_500);
    let index = Index::new("lanes_kills");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "20").set("REQUEST_INTERVAL", "0.05");
    at_once(&mut program);
    crate::restarts::killed_with_writers_at_work(
        &database,
        &index,
        &program,
        if is_full() { 120 } else { 20 },
        30,
    );
}

#[test]
fn a_third_refused_lowers_the_lanes_and_they_come_back() {
    let (database, index, mut program) = things("lanes_load", 3_000, "20");
    program.set("LOADERS", "4").set("RUST_LOG", "info,pgsluice=debug");
    let is_busy = Arc::new(AtomicBool::new(false));
    let mut random = fastrand::Rng::with_seed(20_261_124);
    let proxy = {
        let is_busy = Arc::clone(&is_busy);
        Proxy::new(Server::Elasticsearch, move |asked| {
            if !asked.is_bulk() {
                return Deed::Pass;
            }
            if !is_busy.load(Ordering::SeqCst) {
                // Long enough that the others gain: a way to a server far off.
                return Deed::PassLater(Duration::from_millis(60));
            }
            let count = actions(&asked.body).len();
            Deed::RefuseItems {
                positions: (0..count).filter(|_| random.f64() < 0.3).collect(),
                item: json!({"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "full"}}),
            }
        })
    };
    program.set("ELASTIC_URL", &proxy.url());
    let running = program.start(&["run"]);
    // What follows the last mark in the log; there is always something to send meanwhile.
    let wait_for_lanes = |mark: &mut usize, text: &str| {
        wait_until(Duration::from_secs(90), text, || {
            let log = running.log();
            if let Some(place) = log[*mark..].find(text) {
                *mark += place + text.len();
                return true;
            }
            if status(&program)["stale_keys"].as_u64().is_some_and(|count| count < 1_000) {
                database.execute("update thing set number = number + 1, changed = now()");
            }
            false
        });
    };
    let mut mark = 0;
    wait_for_lanes(&mut mark, ": 4 bulk requests at once");
    is_busy.store(true, Ordering::SeqCst);
    wait_for_lanes(&mut mark, ": 1 bulk request at once");
    is_busy.store(false, Ordering::SeqCst);
    wait_for_lanes(&mut mark, ": 4 bulk requests at once");
    let mut client = database.connect();
    index.wait_for(SOON * 2, || things_documents(&mut client));
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
    // The counters of all lanes together.
    let counts = status(&program)["runs"][0]["counts"].clone();
    let bulks = proxy.bulks();
    assert_eq!(counts["requests"], bulks.len() as u64, "{counts}");
    let bytes: usize = bulks.iter().map(|bulk| bulk.body_bytes).sum();
    assert_eq!(counts["bytes"], bytes as u64, "{counts}");
    assert!(counts["slowdowns"].as_u64().is_some_and(|count| count >= 3), "{counts}");
    assert!(counts["lanes"].as_u64().is_some_and(|lanes| (1..=4).contains(&lanes)), "{counts}");
}

#[test]
fn a_slow_request_holds_up_no_other() {
    let (database, index, mut program) = things("lanes_slow", 400, "10");
    at_once(&mut program);
    let gate = Gate::default();
    let proxy = {
        let gate = gate.clone();
        Proxy::new(Server::Elasticsearch, move |asked| {
            if asked.is_bulk() && asked.body.contains("\"t00003\"") {
                return Deed::PassThrough(gate.clone());
            }
            Deed::Pass
        })
    };
    program.set("ELASTIC_URL", &proxy.url());
    let running = program.start(&["run"]);
    wait_until(SOON, "all others are there", || proxy.bulks().len() > 30 && index.count() == 390);
    wait_until(SOON, "only the slow one is under way", || status(&program)["in_flight_batches"] == 1);
    assert_eq!(status(&program)["full_load"]["finished"], false);
    // What becomes stale meanwhile is delivered as well.
    database.execute("update thing set code = 'again', changed = now() where id = 't00399'");
    wait_until(SOON, "a change goes by", || index.document("t00399").unwrap()["code"] == "again");
    gate.open();
    running.wait_for_log("caught up");
    assert_same(&index.documents(), &things_documents(&mut database.connect()));
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
}

/// The index forgets deletions after two seconds here: a document that comes later would stay for ever.
#[test]
fn a_deletion_waits_for_the_range_before_it_that_holds_its_document() {
    let database = things_database("lanes_order", 60);
    let index = Index::new("lanes_order");
    let mut mapping = things_mapping();
    mapping["settings"]["index.gc_deletes"] = json!("2s");
    let mut program = hiding_program(&database, &index, &mapping);
    program.set("CHUNK_SIZE", "10");
    at_once(&mut program);
    let gate = Gate::default();
    let proxy = {
        let gate = gate.clone();
        Proxy::new(Server::Elasticsearch, move |asked| {
            let holds_it = asked.is_bulk() && asked.body.contains("{\"index\":{\"_id\":\"t00003\"");
            if holds_it { Deed::PassThrough(gate.clone()) } else { Deed::Pass }
        })
    };
    program.set("ELASTIC_URL", &proxy.url());
    let running = program.start(&["run"]);
    wait_until(SOON, "all other ranges are there", || proxy.bulks().len() >= 6 && index.count() == 50);
    database.execute("update thing set code = 'hidden', changed = now() where id = 't00003'");
    wait_until(SOON, "the deletion is on its way", || status(&program)["in_flight_keys"] == 1);
    database.execute("update thing set code = 'later', changed = now() where id = 't00050'");
    wait_until(SOON, "what came later is through", || index.document("t00050").unwrap()["code"] == "later");
    let deletions = || proxy.bulks().iter().filter(|bulk| bulk.body.contains("{\"delete\"")).count();
    assert_eq!(deletions(), 0);
    gate.open();
    running.wait_for_log("caught up");
    assert_eq!(deletions(), 1);
    assert_same(&index.documents(), &shown_documents(&mut database.connect()));
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn an_error_in_one_lane_ends_all_with_one_error_and_nothing_is_lost() {
    let (database, index, mut program) = things("lanes_error", 300, "10");
    at_once(&mut program);
    let proxy = Proxy::new(Server::Elasticsearch, |asked| {
        if !asked.is_bulk() {
            Deed::Pass
        } else if asked.body.contains("\"t00055\"") {
            Deed::answer(403, r#"{"error":{"type":"security_exception","reason":"no right"},"status":403}"#)
        } else if asked.body.contains("\"t00042\"") {
            // A lane that waits for long before it sends again.
            Deed::Answer(429, "retry-after: 60\r\n".to_owned(), "Too Many Requests".to_owned())
        } else {
            Deed::PassLater(Duration::from_millis(100))
        }
    });
    let direct = program.setting("ELASTIC_URL").unwrap();
    program.set("ELASTIC_URL", &proxy.url());
    let began = Instant::now();
    let finished = program.command(&["run"]);
    assert_eq!(finished.code, 2, "{}", finished.log);
    assert_eq!(finished.log.matches("ERROR").count(), 1, "{}", finished.log);
    assert!(finished.log.contains("security_exception"), "{}", finished.log);
    assert!(began.elapsed() < Duration::from_secs(45), "the lane that waits was waited for");
    program.set("ELASTIC_URL", &direct);
    program.once();
    assert_same(&index.documents(), &things_documents(&mut database.connect()));
}

#[test]
fn everything_refused_in_four_lanes_stops_once_and_is_built_again() {
    let (database, index, mut program) = things("lanes_refused", 300, "10");
    program.set("DEAD_LETTER_STOP", "50");
    at_once(&mut program);
    let refused = json!({"status": 400, "error": {"type": "document_parsing_exception", "reason": "bad"}});
    let proxy = Proxy::new(Server::Elasticsearch, move |asked| {
        if !asked.is_bulk() {
            return Deed::Pass;
        }
        Deed::RefuseItems { positions: (0..actions(&asked.body).len()).collect(), item: refused.clone() }
    });
    let direct = program.setting("ELASTIC_URL").unwrap();
    program.set("ELASTIC_URL", &proxy.url());
    let finished = program.command(&["run"]);
    assert_eq!(finished.code, 2, "{}", finished.log);
    assert_eq!(finished.log.matches("ERROR").count(), 1, "{}", finished.log);
    assert!(finished.log.contains("refuses too many documents"), "{}", finished.log);
    program.set("ELASTIC_URL", &direct);
    program.once();
    assert_same(&index.documents(), &things_documents(&mut database.connect()));
    assert_eq!(status(&program)["dead_letters"], 0);
}
