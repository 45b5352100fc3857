//! An index server that has too much to do: a part of the actions is refused for load, for a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Deed, Index, Proxy, Server, actions, is_full, things_database, things_documents, things_mapping,
    things_program, wait_until,
};

/// What an overloaded server has seen of each document.
#[derive(Default)]
struct Seen {
    /// How often each key was sent, and how often of these it was refused.
    sent: HashMap<String, (u64, u64)>,
}

#[test]
fn a_third_refused_for_load_arrives_on_elasticsearch() {
    a_third_refused_for_load(Server::Elasticsearch, 429, "es_rejected_execution_exception");
}

#[test]
fn a_third_refused_for_load_arrives_on_opensearch() {
    a_third_refused_for_load(Server::OpenSearch, 503, "rejected_execution_exception");
}

/// The proxy refuses actions by a fixed sequence of chances and passes on only the others, as a full queue of one
/// shard among several does.
fn a_third_refused_for_load(server: Server, status: u16, error_type: &'static str) {
    let hard_time = if is_full() { Duration::from_secs(60) } else { Duration::from_secs(4) };
    let database = things_database("load", 3_000);
    database
        .execute("update thing set parts = jsonb_build_array(jsonb_build_object('text', repeat('p', 100)))");
    let index = Index::on(server, "load");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CHUNK_SIZE", "1000").set("BULK_BYTES", "100000");
    let seen = Arc::new(Mutex::new(Seen::default()));
    let refused_count = Arc::new(AtomicU64::new(0));
    let is_busy = Arc::new(AtomicBool::new(true));
    let mut random = fastrand::Rng::with_seed(20_261_124);
    let proxy = {
        let (seen, refused_count, is_busy) =
            (Arc::clone(&seen), Arc::clone(&refused_count), Arc::clone(&is_busy));
        Proxy::new(server, move |asked| {
            if !asked.is_bulk() {
                return Deed::Pass;
            }
            let mut seen = seen.lock().unwrap();
            let is_busy = is_busy.load(Ordering::SeqCst);
            let mut refused = Vec::new();
            for (position, (_, key, _)) in actions(&asked.body).into_iter().enumerate() {
                let counts = seen.sent.entry(key).or_default();
                counts.0 += 1;
                if is_busy && random.f64() < 0.3 {
                    counts.1 += 1;
                    refused.push(position);
                }
            }
            refused_count.fetch_add(refused.len() as u64, Ordering::SeqCst);
            Deed::RefuseItems {
                positions: refused,
                item: json!({"status": status, "error": {"type": error_type, "reason": "queue capacity"}}),
            }
        })
    };
    program.set("ELASTIC_URL", &proxy.url());
    let running = program.start(&["run"]);
    let began = Instant::now();
    wait_until(Duration::from_secs(90), "the hard time is over, and was hard", || {
        began.elapsed() >= hard_time && proxy.bulks().len() >= 25
    });
    is_busy.store(false, Ordering::SeqCst);
    let mut client = database.connect();
    index.wait_for(Duration::from_secs(60), || things_documents(&mut client));
    // Afterwards everything goes at once, and the bodies grow again.
    database.execute("update thing set number = number + 1, changed = now()");
    running.wait_for_log("keeps up again");
    index.wait_for(Duration::from_secs(60), || things_documents(&mut client));
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
    // Only what was refused was sent again: the first time, once for each refusal, and the change.
    let seen = seen.lock().unwrap();
    assert_eq!(seen.sent.len(), 3_000);
    for (key, (sent, refused)) in &seen.sent {
        assert_eq!(*sent, 2 + refused, "{key} was sent {sent} times and refused {refused} times");
    }
    // The counters tell the truth.
    let bulks = proxy.bulks();
    let status: Value = serde_json::from_str(&program.command(&["status", "--json"]).output).unwrap();
    let counts = &status["runs"][0]["counts"];
    let refused = refused_count.load(Ordering::SeqCst);
    assert!(refused > 150, "{refused}");
    assert_eq!(counts["retried"], refused, "{counts}");
    assert_eq!(counts["indexed"], 6_000, "{counts}");
    assert_eq!(counts["refused"], 0, "{counts}");
    assert_eq!(counts["requests"], bulks.len() as u64, "{counts}");
    let bytes: usize = bulks.iter().map(|bulk| bulk.body_bytes).sum();
    assert_eq!(counts["bytes"], bytes as u64, "{counts}");
    assert!(finished.log.contains(&format!("{refused} sent again")), "{}", finished.log);
    assert_eq!(finished.log.matches("has too much to do").count(), 1, "{}", finished.log);
    assert!(finished.log.matches("WARN").count() < 10, "{}", finished.log);
    // Bodies became smaller, then larger.
    let smallest = (0..bulks.len() - 1).min_by_key(|place| bulks[*place].body_bytes).unwrap();
    let after = bulks[smallest..].iter().map(|bulk| bulk.body_bytes).max().unwrap();
    assert!(bulks[smallest].body_bytes < 25_000, "{} bytes", bulks[smallest].body_bytes);
    assert!(after > 90_000, "{after} bytes");
    assert!(counts["slowdowns"].as_u64().is_some_and(|count| count >= 3), "{counts}");
    assert_eq!(counts["body_max_bytes"], 100_000, "{counts}");
}
