//! SIGTERM, SIGINT and SIGHUP in each stage of a run: it ends within seconds, with 0, and goes on later.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::harness::{Database, Index, Program, Running, assert_same, movies_documents, wait_until};

/// Container engines kill ten seconds after SIGTERM.
const SOON: Duration = Duration::from_secs(10);

fn ends_soon(running: Running, signal: &str) {
    ends_within(SOON, running, signal);
}

fn ends_within(limit: Duration, running: Running, signal: &str) {
    let began = Instant::now();
    running.signal(signal);
    let finished = running.finish();
    assert!(began.elapsed() < limit, "{signal}: {:?}\n{}", began.elapsed(), finished.log);
    assert_eq!(finished.code, 0, "{signal}: {}", finished.log);
    assert!(finished.log.contains("asked to end"), "{}", finished.log);
    assert!(!finished.log.contains("ERROR") && !finished.log.contains("panicked"), "{}", finished.log);
}

#[test]
fn a_signal_ends_the_wait_for_the_database() {
    let database = Database::new("sig_wait");
    database.drop_now();
    let index = Index::new("sig_wait");
    let program = Program::new(&database, &index);
    for command in ["run", "once", "resync"] {
        for signal in ["TERM", "INT"] {
            let running = program.start(&[command]);
            running.wait_for_log("does not exist");
            ends_soon(running, signal);
        }
    }
    database.create_again();
}

#[test]
fn a_signal_ends_the_wait_for_servers_that_never_answer() {
    let database = Database::with_films("sig_silent", 3);
    let index = Index::new("sig_silent");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let mut program = Program::new(&database, &index);
    // The index server: the pipeline has nothing in hand, the request itself cannot be cut short.
    program.set("ELASTIC_URL", &format!("http://127.0.0.1:{port}"));
    let of_index = program.start(&["run"]);
    let (_held_by_one, _) = silent.accept().unwrap();
    // The database.
    let folder = program.folder().join("other state");
    program.set("STORAGE_SUBDIR", folder.to_str().unwrap());
    program.set("PG_DSN__HOST", "127.0.0.1").set("PG_DSN__PORT", &port);
    let of_database = program.start(&["run"]);
    let (_held_by_other, _) = silent.accept().unwrap();
    std::thread::scope(|scope| {
        // Nothing is in hand, so nothing is waited for.
        scope.spawn(|| ends_within(Duration::from_secs(5), of_index, "TERM"));
        scope.spawn(|| ends_within(Duration::from_secs(5), of_database, "INT"));
    });
}

#[test]
fn a_signal_in_the_full_load_drains_and_the_next_run_goes_on() {
    let database = Database::with_films("sig_load", 2_000);
    let index = Index::new("sig_load");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "20").set("RUST_LOG", "info,pgsluice=debug");
    for (signal, command) in [("TERM", "run"), ("INT", "once"), ("HUP", "run")] {
        let running = program.start(&[command]);
        wait_until(Duration::from_secs(60), "some batches are acknowledged", || {
            running.log().matches(" acknowledged").count() >= 5
        });
        ends_soon(running, signal);
    }
    let finished = program.once();
    assert!(!finished.log.contains("a full load begins"), "{}", finished.log);
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
}

#[test]
fn a_signal_ends_polling_with_all_that_was_seen_delivered() {
    let database = Database::with_films("sig_poll", 50);
    let index = Index::new("sig_poll");
    let mut program = Program::new(&database, &index);
    for (signal, interval) in [("TERM", "0.1"), ("INT", "300"), ("HUP", "0.1")] {
        program.set("REQUEST_INTERVAL", interval);
        let running = program.run();
        if interval == "0.1" {
            database.execute("update content.genre set name = name || '.', modified = now()");
            running.wait_for_log("stale keys recorded");
        }
        ends_soon(running, signal);
    }
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
}

#[test]
fn a_second_signal_ends_at_once() {
    let database = Database::with_films("sig_twice", 3);
    let index = Index::new("sig_twice");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut program = Program::new(&database, &index);
    program.set("ELASTIC_URL", &format!("http://{}", silent.local_addr().unwrap()));
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        let running = program.start(&["run"]);
        let (_held, _) = silent.accept().unwrap();
        running.signal(signal);
        running.wait_for_log("asked to end");
        let began = Instant::now();
        running.signal(signal);
        let finished = running.finish();
        // Well before it would end by itself with nothing in hand.
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
        assert_eq!(finished.code, 128 + number, "{}", finished.log);
        assert!(finished.log.contains("ending at once"), "{}", finished.log);
    }
}
