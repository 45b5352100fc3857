//! Kills, restarts, lost and foreign states, and one process at a time.

use std::time::Duration;

use crate::harness::{Cluster, Database, Index, Program, assert_same, is_full, movies_documents, wait_until};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn killed_at_random_moments_nothing_is_lost() {
    let database = Database::with_films("kills", 1_000);
    let index = Index::new("kills");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "50").set("REQUEST_INTERVAL", "0.05");
    killed_with_writers_at_work(&database, &index, &program, if is_full() { 200 } else { 40 }, 3);
}

/// Kills the program so many times, at random moments, while people and `film_count` films at a time change; nothing may be
/// lost.
pub(crate) fn killed_with_writers_at_work(
    database: &Database,
    index: &Index,
    program: &Program,
    kill_count: u64,
    film_count: u32,
) {
    let mut client = database.connect();
    for round in 0..kill_count {
        let running = program.start(&["run"]);
        for _ in 0..5 {
            client
                .batch_execute(&format!(
                    "update content.person set full_name = full_name || '{round}', modified = now()
                      where id in (select id from content.person order by random() limit 3);
                     update content.film_work set title = title || '{round}', modified = now()
                      where id in (select id from content.film_work order by random() limit {film_count})"
                ))
                .unwrap();
            std::thread::sleep(Duration::from_millis(7 * (round % 11)));
        }
        running.kill();
    }
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut client));
}

#[cfg(feature = "faults")]
#[test]
fn stopped_at_each_step_nothing_is_lost() {
    let database = Database::with_films("steps", 300);
    let index = Index::new("steps");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "40");
    let mut client = database.connect();
    for point in ["rows_read", "before_send", "answer_received", "acknowledged"] {
        for pass in [1, 3] {
            client
                .batch_execute(&format!(
                    "update content.film_work set title = '{point} {pass}', modified = now() where id in
                        (select id from content.film_work order by random() limit 200);
                     update content.genre set name = name || '{pass}', modified = now()
                      where id = (select id from content.genre order by random() limit 1)"
                ))
                .unwrap();
            program.set("PGSLUICE_CRASH_AT", &format!("{point}:{pass}"));
            let stopped = program.command(&["once"]);
            assert!(stopped.log.contains("stopping at"), "{point}: {}", stopped.log);
            assert_eq!(stopped.code, -1, "{}", stopped.log);
            program.unset("PGSLUICE_CRASH_AT");
            program.once();
            assert_same(&index.documents(), &movies_documents(&mut client));
        }
    }
}

#[test]
fn a_lost_state_costs_a_load_and_nothing_is_stuck_behind_old_versions() {
    let database = Database::with_films("lost", 200);
    let index = Index::new("lost");
    let program = Program::new(&database, &index);
    program.once();
    program.lose_state();
    // A row that went away while no state knew of it.
    database.execute(
        "delete from content.film_work where id = (select min(id::text)::uuid from content.film_work)",
    );
    let mut client = database.connect();
    let finished = program.once();
    assert!(finished.log.contains("a full load begins"), "{}", finished.log);
    assert_same(&index.documents(), &movies_documents(&mut client));
    client.batch_execute("update content.film_work set title = 'again', modified = now()").unwrap();
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut client));
}

#[test]
fn documents_with_a_higher_version_are_overwritten_by_what_the_database_says() {
    let database = Database::with_films("versions", 50);
    let index = Index::new("versions");
    let program = Program::new(&database, &index);
    program.once();
    // Another writer, or a clock that was years ahead.
    let mut client = database.connect();
    let ids: Vec<String> = client
        .query("select id::text from content.film_work limit 20", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let ahead = 4_000_000_000_000_000u64;
    for (place, id) in ids.iter().enumerate() {
        let (status, answer) = index.call(
            "PUT",
            &format!(
                "{}/_doc/{id}?version={}&version_type=external",
                index.generation(),
                ahead + place as u64
            ),
            &serde_json::json!({"id": id, "title": "from the future"}),
        );
        assert_eq!(status, 200, "{answer}");
    }
    client.batch_execute("update content.film_work set title = title || '!', modified = now()").unwrap();
    let finished = program.once();
    assert!(finished.log.contains("which this state never gave"), "{}", finished.log);
    assert_same(&index.documents(), &movies_documents(&mut client));
    // From now on versions lie above.
    client.batch_execute("update content.film_work set title = title || '?', modified = now()").unwrap();
    let finished = program.once();
    assert!(!finished.log.contains("which this state never gave"), "{}", finished.log);
    assert_same(&index.documents(), &movies_documents(&mut client));
}

#[test]
fn a_second_process_on_one_state_ends_with_4_and_says_who_holds_it() {
    let database = Database::with_films("second", 10);
    let index = Index::new("second");
    let program = Program::new(&database, &index);
    let running = program.run();
    for command in ["once", "run", "resync"] {
        program.command(&[command]).assert_failed(4, &running.pid().to_string());
    }
    // One that comes while `once` is at work, too: as two lines of a crontab that overlap.
    running.kill();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut waiting = Program::new(&database, &index);
    waiting.set("ELASTIC_URL", &format!("http://{}", silent.local_addr().unwrap()));
    waiting.set("STORAGE_SUBDIR", program.state().to_str().unwrap());
    let running = waiting.start(&["once"]);
    let (_held, _) = silent.accept().unwrap();
    program.command(&["once"]).assert_refused(4, &["`pgsluice once`", &format!("pid {}", running.pid())]);
    // What only reads works beside it.
    assert_eq!(program.command(&["status"]).code, 0);
    assert_eq!(program.command(&["dead-letters", "list"]).code, 0);
    // A killed process leaves no lock behind.
    running.kill();
    program.once();
}

#[test]
fn a_signal_drains_and_ends_with_0() {
    let database = Database::with_films("drain", 3_000);
    let index = Index::new("drain");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "20");
    for signal in ["TERM", "INT", "HUP"] {
        let running = program.start(&["run"]);
        running.wait_for_log("writing to");
        running.signal(signal);
        let finished = running.finish();
        assert_eq!(finished.code, 0, "{}", finished.log);
    }
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
}

#[test]
fn a_state_of_another_database_is_refused_and_resync_is_the_cure() {
    let database = Database::with_films("replaced", 40);
    let index = Index::new("replaced");
    let program = Program::new(&database, &index);
    program.once();
    // Dropped, made anew and filled again in the same cluster.
    database.drop_now();
    database.create_again();
    database.run_sql_file(
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dev/sample.sql")),
        &[("films", "25")],
    );
    let before = index.documents();
    program.command(&["once"]).assert_failed(2, "pgsluice resync");
    assert_same(&index.documents(), &before);
    let finished = program.command(&["resync"]);
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    database.execute("update content.film_work set title = 'after', modified = now()");
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
}

#[test]
fn postgresql_stopped_and_started_during_a_run_loses_nothing() {
    let cluster = Cluster::new(&[]);
    let database = cluster.database("outage");
    database.run_sql_file(
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dev/sample.sql")),
        &[("films", "2000")],
    );
    let index = Index::new("outage");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "100");
    let running = program.start(&["run"]);
    running.wait_for_log("a full load begins");
    for mode in ["fast", "immediate"] {
        cluster.stop(mode);
        running.wait_for_log("trying again");
        cluster.start();
        database.execute(&format!("update content.genre set name = name || ' {mode}', modified = now()"));
        index.wait_for(SOON, || movies_documents(&mut database.connect()));
    }
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_database_that_does_not_exist_yet_is_waited_for() {
    let cluster = Cluster::new(&[]);
    let database = cluster.future_database("later");
    let index = Index::new("later");
    let program = Program::new(&database, &index);
    let running = program.start(&["run"]);
    running.wait_for_log("trying again");
    // It appears under its name once it is filled.
    let filled = cluster.database("filled");
    filled.run_sql_file(
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dev/sample.sql")),
        &[("films", "20")],
    );
    cluster.database("other").execute("alter database filled rename to later");
    wait_until(SOON, "the films are indexed", || index.count() == 20);
    assert_eq!(running.terminate().code, 0);
}
