//! Answers that are no answers: cut, garbled, late, from something in between. What was asked may have been done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Deed, Index, Program, Proxy, Server, assert_same, is_full, things_database, things_documents,
    things_mapping, things_program,
};

const HTML: &str = "<html><head><title>Something went wrong</title></head><body>nginx</body></html>";

/// Each way to break an answer, with its name.
fn deeds() -> Vec<(&'static str, Deed)> {
    vec![
        ("cut in half", Deed::CutAnswer),
        ("gzip garbage", Deed::PassAndGarble),
        ("never", Deed::Silence),
        ("hung up before", Deed::HangUp),
        ("200 that is no JSON, done", Deed::PassAndAnswer(200, HTML.to_owned())),
        ("200 that is no JSON, not done", Deed::answer(200, HTML)),
        ("200 with nothing", Deed::PassAndAnswer(200, String::new())),
        ("200 with other JSON", Deed::PassAndAnswer(200, r#"{"items":[]}"#.to_owned())),
        ("200 with JSON of another kind", Deed::PassAndAnswer(200, "[1, 2]".to_owned())),
        ("502", Deed::PassAndAnswer(502, HTML.to_owned())),
        ("503", Deed::PassAndAnswer(503, HTML.to_owned())),
        ("504", Deed::PassAndAnswer(504, HTML.to_owned())),
        ("500", Deed::answer(500, HTML)),
    ]
}

fn status(program: &Program) -> Value {
    serde_json::from_str(&program.command(&["status", "--json"]).output).unwrap()
}

#[test]
fn no_broken_answer_to_a_bulk_request_loses_or_refuses_anything() {
    let database = things_database("broken", 60);
    let index = Index::new("broken");
    let mut program = things_program(&database, &index, &things_mapping());
    // One lane, so that no other batch goes by between the repetitions.
    program.set("CHUNK_SIZE", "20").set("ELASTIC_TIMEOUT", "3").set("LOADERS", "1");
    let mut client = database.connect();
    program.once();
    for (name, deed) in deeds() {
        database.execute("update thing set number = number + 1, changed = clock_timestamp()");
        let bulk_count = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&bulk_count);
        let broken = deed.clone();
        let proxy = Proxy::new(index.server, move |asked| {
            // The second batch, and its first repetition.
            let is_second = asked.is_bulk() && (1..=2).contains(&counting.fetch_add(1, Ordering::SeqCst));
            if is_second { broken.clone() } else { Deed::Pass }
        });
        program.set("ELASTIC_URL", &proxy.url());
        let finished = program.once();
        assert_same(&index.documents(), &things_documents(&mut client));
        assert!(finished.log.contains("trying again"), "{name}: {}", finished.log);
        assert!(
            !finished.log.contains("ERROR") && !finished.log.contains("refused:"),
            "{name}: {}",
            finished.log
        );
        // Three batches, and two repetitions of one of them; nothing else is repeated.
        let status = status(&program);
        let counts = &status["runs"][0]["counts"];
        assert_eq!(counts["requests"], 5, "{name}: {counts}");
        assert_eq!(counts["retried"], 40, "{name}: {counts}");
        assert_eq!(
            (&counts["refused"], &status["dead_letters"]),
            (&Value::from(0), &Value::from(0)),
            "{name}"
        );
        // A copy of what was sent may still come: its keys are built once more.
        assert!(status["stale_keys_due_later"].as_u64().is_some_and(|count| count >= 20), "{name}: {status}");
        let bulks = proxy.bulks();
        assert!(
            bulks[1].body == bulks[2].body && bulks[2].body == bulks[3].body,
            "{name}: other bytes were sent"
        );
    }
}

#[test]
fn broken_answers_to_any_request_at_all_lose_nothing_on_elasticsearch() {
    broken_answers_to_any_request(Server::Elasticsearch);
}

#[test]
fn broken_answers_to_any_request_at_all_lose_nothing_on_opensearch() {
    broken_answers_to_any_request(Server::OpenSearch);
}

/// Every eighth request is broken in some way, whatever it asks for: the making of the index too.
fn broken_answers_to_any_request(server: Server) {
    let database = things_database("any_answer", 400);
    let index = Index::on(server, "any_answer");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CHUNK_SIZE", "20").set("ELASTIC_TIMEOUT", "1").set("RETRY_DEADLINE", "60");
    let mut random = fastrand::Rng::with_seed(if is_full() { fastrand::u64(..) } else { 7 });
    let deeds = deeds();
    let proxy = Proxy::new(server, move |asked| {
        // What answers as no index server at the first question is a wrong address, and has a clear error.
        if asked.path == "/" || random.u8(..8) > 0 {
            return Deed::Pass;
        }
        let (name, deed) = &deeds[random.usize(..deeds.len())];
        // A whole answer to another question is no answer that gets lost, and only a bulk's has a shape to check.
        if *name == "200 with other JSON" && !asked.is_bulk() { Deed::HangUp } else { deed.clone() }
    });
    program.set("ELASTIC_URL", &proxy.url());
    program.once();
    let mut client = database.connect();
    assert_same(&index.documents(), &things_documents(&mut client));
    database.execute("update thing set number = number + 1, changed = now() where number % 3 = 0");
    let running = program.start(&["run"]);
    index.wait_for(Duration::from_secs(60), || things_documents(&mut client));
    assert_eq!(running.terminate().code, 0);
    assert_eq!(status(&program)["dead_letters"], 0);
}
