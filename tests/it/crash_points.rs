//! Stopped between any two steps, and killed again and again: nothing is lost, and little is done twice.

use std::time::Duration;

use crate::harness::{
    Database, Deed, Index, Proxy, Server, action_count, assert_same, is_full, movies_documents,
    things_database, things_documents, things_mapping, things_program, wait_until,
};
#[cfg(feature = "faults")]
use crate::harness::{Program, unique};

const SOON: Duration = Duration::from_secs(60);

/// Stops a run at a point and lets the next one go on.
#[cfg(feature = "faults")]
fn stop_at(program: &mut Program, point: &str, pass: u32) {
    program.set("PGSLUICE_CRASH_AT", &format!("{point}:{pass}"));
    let stopped = program.command(&["once"]);
    assert!(stopped.log.contains(&format!("stopping at {point}")), "{point}: {}", stopped.log);
    assert_eq!(stopped.code, -1, "{}", stopped.log);
    program.unset("PGSLUICE_CRASH_AT");
}

#[cfg(feature = "faults")]
fn nothing_is_lost_at(label: &str, points: &[(&str, u32)]) {
    let database = Database::with_films(label, 200);
    let index = Index::new(label);
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "30").set("CURSOR_SKEW", "0.01");
    program.once();
    let mut client = database.connect();
    for (point, pass) in points {
        client
            .batch_execute(&format!(
                "update content.film_work set title = '{point} {pass}', modified = now() where id in
                    (select id from content.film_work order by random() limit 120);
                 update content.genre set name = name || '{pass}', modified = now()
                  where id = (select id from content.genre order by random() limit 1)"
            ))
            .unwrap();
        stop_at(&mut program, point, *pass);
        program.once();
        assert_same(&index.documents(), &movies_documents(&mut client));
    }
}

#[cfg(feature = "faults")]
#[test]
fn stopped_while_changes_are_recorded_nothing_is_lost() {
    nothing_is_lost_at(
        "recording",
        &[
            ("before_stale_keys", 1),
            ("before_stale_keys", 3),
            ("stale_keys_recorded", 1),
            ("stale_keys_recorded", 3),
            ("before_checkpoints", 1),
            ("checkpoints_recorded", 1),
        ],
    );
}

#[cfg(feature = "faults")]
#[test]
fn stopped_while_a_batch_is_on_its_way_nothing_is_lost() {
    nothing_is_lost_at(
        "on_its_way",
        &[
            ("batch_taken", 1),
            ("batch_taken", 3),
            ("rows_read", 2),
            ("before_send", 2),
            ("answer_received", 2),
            ("before_acknowledged", 1),
            ("before_acknowledged", 3),
            ("acknowledged", 2),
        ],
    );
}

#[cfg(feature = "faults")]
#[test]
fn a_full_load_stopped_at_each_step_loses_nothing() {
    let database = things_database("load_steps", 300);
    let index = Index::new("load_steps");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CHUNK_SIZE", "20");
    for point in ["batch_taken", "rows_read", "before_send", "answer_received", "before_acknowledged"] {
        stop_at(&mut program, point, 2);
    }
    program.once();
    assert_same(&index.documents(), &things_documents(&mut database.connect()));
}

/// The rows of a transaction that was prepared before the first load are found by a scan, a page at a time.
#[cfg(feature = "faults")]
#[test]
fn a_scan_stopped_in_the_middle_is_made_again() {
    let database = things_database("sweep", 50);
    let index = Index::new("sweep");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CHUNK_SIZE", "1000").set("CURSOR_SKEW", "0.01");
    let mut client = database.connect();
    let name = unique("prepared");
    client
        .batch_execute(&format!(
            "begin;
             insert into thing (id, number, changed)
             select 'p' || n, n, now() from generate_series(1, 11000) n;
             prepare transaction '{name}'"
        ))
        .unwrap();
    program.once();
    assert_eq!(index.count(), 50);
    client.batch_execute(&format!("commit prepared '{name}'")).unwrap();
    stop_at(&mut program, "sweep_piece_recorded", 2);
    let finished = program.once();
    assert!(finished.log.contains("11000 rows found by the scan"), "{}", finished.log);
    assert_same(&index.documents(), &things_documents(&mut client));
}

#[test]
fn killed_after_a_request_was_sent_and_before_its_answer_nothing_is_lost() {
    let database = things_database("sent", 60);
    let index = Index::new("sent");
    let proxy = Proxy::passing(Server::Elasticsearch);
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CHUNK_SIZE", "20").set("ELASTIC_URL", &proxy.url());
    program.once();
    database.execute("update thing set number = -number, changed = now()");
    let sent_before = proxy.bulks().len();
    proxy.set_rule(
        |asked| {
            if asked.is_bulk() { Deed::PassLater(Duration::from_millis(300)) } else { Deed::Pass }
        },
    );
    let running = program.start(&["run"]);
    wait_until(SOON, "a request is sent", || proxy.bulks().len() > sent_before);
    running.kill();
    // Newer rows, while the old request comes in late.
    database.execute("update thing set number = 1, changed = now()");
    proxy.set_rule(|_| Deed::Pass);
    program.once();
    let expected = things_documents(&mut database.connect());
    index.wait_for(SOON, || expected.clone());
    std::thread::sleep(Duration::from_millis(400));
    assert_same(&index.documents(), &expected);
}

#[test]
fn what_is_done_twice_after_kills_is_bounded_by_what_was_in_flight() {
    const CHUNK_SIZE: u64 = 20;
    const CHANNEL_CAPACITY: u64 = 1;
    let (row_count, kill_count) = if is_full() { (40_000, 200u64) } else { (4_000u32, 12u64) };
    let database = things_database("twice", row_count);
    let index = Index::new("twice");
    let proxy = Proxy::passing(Server::Elasticsearch);
    let mut program = things_program(&database, &index, &things_mapping());
    program
        .set("CHUNK_SIZE", &CHUNK_SIZE.to_string())
        .set("CHANNEL_CAPACITY", &CHANNEL_CAPACITY.to_string())
        .set("CURSOR_SKEW", "0.01")
        .set("ELASTIC_URL", &proxy.url());
    let mut at_work = 0;
    for round in 0..kill_count {
        let before = proxy.bulks().len();
        let mut running = program.start(&["run"]);
        // In the middle of the load, as long as there is one.
        wait_until(SOON, "some batches are sent", || {
            proxy.bulks().len() > before + (round % 7) as usize
                || running.log().contains("caught up")
                || !running.is_running()
        });
        at_work += u64::from(!running.log().contains("caught up"));
        running.kill();
    }
    assert!(at_work * 2 > kill_count, "only {at_work} of {kill_count} kills hit the load");
    program.once();
    assert_same(&index.documents(), &things_documents(&mut database.connect()));
    let sent: u64 = proxy.bulks().iter().map(action_count).sum();
    let in_flight = CHUNK_SIZE * (2 * CHANNEL_CAPACITY + 3);
    let again = sent - u64::from(row_count);
    println!("{again} documents were sent again after {kill_count} kills, {at_work} of them in the load");
    assert!(again <= at_work * in_flight, "{again} sent again after {at_work} kills of {in_flight} each");
}
