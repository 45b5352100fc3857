//! Rows with one and the same time, rows that move while they are paged, and times that no clock shows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[cfg(feature = "faults")]
use crate::harness::is_full;
use crate::harness::{
    Index, assert_same, things_database, things_documents, things_mapping, things_program, wait_until,
};

const SOON: Duration = Duration::from_secs(60);

#[cfg(feature = "faults")]
#[test]
fn rows_stamped_alike_are_all_delivered_though_it_is_killed_in_the_middle() {
    let row_count = if is_full() { 50_000 } else { 5_000 };
    let database = things_database("alike", row_count);
    let index = Index::new("alike");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CHUNK_SIZE", "1000").set("CURSOR_SKEW", "0.01");
    program.once();
    // One statement gives every row the same time.
    database.execute("update thing set number = -number, changed = now()");
    for point in ["stale_keys_recorded:2", "before_stale_keys:2", "acknowledged:2", "batch_taken:2"] {
        program.set("PGSLUICE_CRASH_AT", point);
        let stopped = program.command(&["once"]);
        assert!(stopped.log.contains("stopping at"), "{point}: {}", stopped.log);
    }
    program.unset("PGSLUICE_CRASH_AT");
    // And killed from outside, as soon as it sends.
    let running = program.start(&["run"]);
    running.wait_for_log("writing to");
    running.kill();
    program.once();
    assert_same(&index.documents(), &things_documents(&mut database.connect()));
}

#[test]
fn rows_that_move_between_pages_while_they_are_paged_are_delivered() {
    let database = things_database("moving", 1_500);
    let index = Index::new("moving");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CHUNK_SIZE", "50").set("REQUEST_INTERVAL", "0.01").set("CURSOR_SKEW", "0.5");
    program.once();
    let has_ended = AtomicBool::new(false);
    let running = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = database.connect();
            let mut round = 0;
            while !has_ended.load(Ordering::SeqCst) {
                round += 1;
                // To the end of the order, a little back, and to one time that many rows have.
                client
                    .batch_execute(&format!(
                        "update thing set number = {round}, changed = clock_timestamp()
                          where id in (select id from thing order by random() limit 40);
                         update thing set number = -{round}, changed = now() - random() * interval '0.3 s'
                          where id in (select id from thing order by random() limit 40);
                         update thing set code = '{round}', changed = date_trunc('milliseconds', now())
                          where id in (select id from thing order by random() limit 40)"
                    ))
                    .unwrap();
            }
        });
        let running = program.start(&["run"]);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(4) {
            std::thread::sleep(Duration::from_millis(50));
        }
        has_ended.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        running
    });
    let expected = things_documents(&mut database.connect());
    index.wait_for(SOON, || expected.clone());
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn times_a_microsecond_apart_are_told_apart_at_every_page_boundary() {
    let database = things_database("micros", 41);
    let index = Index::new("micros");
    let mut program = things_program(&database, &index, &things_mapping());
    program.once();
    for page_size in ["1", "2", "5", "40"] {
        program.set("CHUNK_SIZE", page_size);
        database.execute(&format!(
            "update thing set code = 'page {page_size}', changed = now() + (number % 7) * interval '1 microsecond'"
        ));
        program.once();
        assert_same(&index.documents(), &things_documents(&mut database.connect()));
    }
}

#[test]
fn times_that_no_clock_shows_stop_nothing_and_verify_finds_their_rows() {
    let database = things_database("no_clock", 30);
    let index = Index::new("no_clock");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CHUNK_SIZE", "3");
    database.execute(
        "alter table thing alter changed drop not null;
         update thing set changed = case number % 6
            when 0 then 'infinity'::timestamptz when 1 then '-infinity' when 2 then '4000-01-01 00:00:00.000001+00 BC'
            when 3 then null when 4 then now() + interval '1 year' else now() end",
    );
    // What is there at the beginning comes in with the load, whatever its time.
    program.once();
    let mut client = database.connect();
    assert_same(&index.documents(), &things_documents(&mut client));
    assert_eq!(program.command(&["check"]).code, 0);
    // Rows ahead of the clock are seen, those far behind it are not, and neither holds up the others.
    database.execute("update thing set code = 'changed'");
    database.execute("update thing set code = 'stamped', changed = now() where number % 6 = 5");
    program.once();
    let seen = |remainder: i64| {
        let documents = index.documents();
        documents
            .values()
            .filter(|document| document["number"].as_i64().unwrap() % 6 == remainder)
            .all(|document| document["code"] == "changed" || document["code"] == "stamped")
    };
    assert!(seen(0) && seen(4) && seen(5));
    assert!(!seen(1) && !seen(2) && !seen(3));
    let status: serde_json::Value =
        serde_json::from_str(&program.command(&["status", "--json"]).output).unwrap();
    let lag = status["feeds"][0]["tables"][0]["lag_seconds"].as_f64().unwrap();
    assert!((0.0..120.0).contains(&lag), "the checkpoint is {lag} s behind the clock");
    let running = program.start(&["run"]);
    running.wait_for_log("caught up");
    database.execute("update thing set code = 'again', changed = now() where number % 6 = 5");
    wait_until(SOON, "ordinary rows follow", || {
        index.documents().values().filter(|document| document["code"] == "again").count() == 5
    });
    assert_eq!(running.terminate().code, 0);
    let repaired = program.command(&["verify", "--repair"]);
    assert_eq!(repaired.code, 0, "{}", repaired.log);
    assert_same(&index.documents(), &things_documents(&mut client));
}
