//! A full load keeps rows of related tables in memory: it must make the documents that it would make without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Database, Deed, Index, Program, Proxy, Server, assert_same, movies_documents, wait_until,
};

#[test]
fn rows_are_right_with_little_memory_with_none_and_with_much() {
    let database = Database::with_films("kept", 3_000);
    database.execute("analyze");
    let expected = movies_documents(&mut database.connect());
    for megabytes in ["0", "1", "2", "48"] {
        let index = Index::new("kept");
        let mut program = Program::new(&database, &index);
        program.set("RELATED_CACHE_MB", megabytes).set("CHUNK_SIZE", "100");
        assert_eq!(program.once().code, 0);
        assert_same(&index.documents(), &expected);
    }
}

/// The person is renamed after it was kept, and a link is moved to it in a way that no poll sees: the film's range is
/// read later, so its document must have the new name all the same.
#[test]
fn a_kept_row_that_a_poll_saw_changing_is_read_anew() {
    let database = Database::with_films("kept_old", 1_000);
    database.execute("analyze");
    let index = Index::new("kept_old");
    let is_held = Arc::new(AtomicBool::new(true));
    let rule_held = Arc::clone(&is_held);
    let proxy = Proxy::new(Server::Elasticsearch, move |asked| {
        let is_refused = asked.is_bulk() && rule_held.load(Ordering::Relaxed);
        if is_refused { Deed::answer(503, "busy") } else { Deed::Pass }
    });
    let mut program = Program::new(&database, &index);
    program.set("ELASTIC_URL", &proxy.url()).set("CHUNK_SIZE", "20").set("CHANNEL_CAPACITY", "1");
    program.set("REQUEST_INTERVAL", "0.1");
    let running = program.start(&["run"]);
    wait_until(Duration::from_secs(30), "a range is sent", || !proxy.bulks().is_empty());
    let mut client = database.connect();
    let person: String = client
        .query_one(
            "select person_id::text from content.person_film_work
              where film_work_id = (select film_work_id from content.person_film_work order by 1 limit 1) limit 1",
            &[],
        )
        .unwrap()
        .get(0);
    client
        .batch_execute(&format!(
            "update content.person set full_name = 'renamed', modified = now() where id = '{person}'"
        ))
        .unwrap();
    wait_until(Duration::from_secs(30), "the rename was polled", || {
        let status: Value = serde_json::from_str(&program.command(&["status", "--json"]).output).unwrap();
        stale_keys(&status) > 0
    });
    client
        .batch_execute(&format!(
            "delete from content.person_film_work
              where person_id = '{person}'
                and film_work_id = (select id from content.film_work order by id desc limit 1);
             update content.person_film_work set person_id = '{person}'
              where id = (select id from content.person_film_work
                           where film_work_id = (select id from content.film_work order by id desc limit 1)
                           limit 1)"
        ))
        .unwrap();
    is_held.store(false, Ordering::Relaxed);
    running.wait_for_log("caught up");
    index.wait_for(Duration::from_secs(30), || movies_documents(&mut client));
    assert_eq!(running.terminate().code, 0);
}

fn stale_keys(status: &Value) -> u64 {
    match status {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match value.as_u64() {
                Some(count) if name == "stale_keys" => count,
                _ => stale_keys(value),
            })
            .sum(),
        _ => 0,
    }
}
