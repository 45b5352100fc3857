//! Transactions that stay open for long: others' rows flow meanwhile, and polls do not read everything again.

use std::time::{Duration, Instant};

#[cfg(feature = "faults")]
use crate::harness::things_database;
use crate::harness::{
    Cluster, Index, Program, Statements, is_full, things_database_in, things_documents, things_mapping,
    things_program, wait_until,
};

const SOON: Duration = Duration::from_secs(60);

fn status(program: &Program) -> serde_json::Value {
    serde_json::from_str(&program.command(&["status", "--json"]).output).unwrap()
}

#[test]
fn rows_flow_past_an_open_transaction_and_its_window_is_not_read_at_each_poll() {
    let length = Duration::from_secs(if is_full() { 600 } else { 20 });
    let cluster = Cluster::new(Statements::SETTINGS);
    let database = things_database_in(cluster.database("long"), 10_000);
    let index = Index::new("long");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CURSOR_SKEW", "0.3").set("CHUNK_SIZE", "100");
    let statements = Statements::of(&database);
    let running = program.run();
    let mut long = database.connect();
    long.batch_execute("begin; update thing set code = 'late', changed = now() where id = 't00001'").unwrap();
    statements.reset();
    let began = Instant::now();
    let mut client = database.connect();
    let mut written = 0i64;
    while began.elapsed() < length {
        written += 1;
        let number = written % 9_000 + 2;
        client
            .execute(
                "update thing set code = 'early', changed = now() where id = 't' || lpad($1, 5, '0')",
                &[&number.to_string()],
            )
            .unwrap();
        std::thread::sleep(Duration::from_millis(20));
        if written % 100 == 0 {
            // Delivered while the transaction is open.
            let id = format!("t{number:05}");
            wait_until(SOON, "a new row is delivered", || index.document(&id).unwrap()["code"] == "early");
        }
    }
    let polls = statements.like("%t0.xmin::text from%order by%limit%");
    println!("{written} rows written, {} polls read {} rows", polls.calls, polls.rows);
    assert!(polls.calls > 20, "only {} polls", polls.calls);
    // A poll that read from the transaction's start would read half of what was written, on average.
    assert!(
        polls.rows * 5 < polls.calls * written,
        "{} polls read {} rows, and {written} were written",
        polls.calls,
        polls.rows
    );
    assert_eq!(index.document("t00001").unwrap()["code"], "code 1");
    long.batch_execute("commit").unwrap();
    wait_until(SOON, "the late row is delivered", || index.document("t00001").unwrap()["code"] == "late");
    let expected = things_documents(&mut client);
    index.wait_for(SOON, || expected.clone());
    assert_eq!(running.terminate().code, 0);
}

#[cfg(feature = "faults")]
#[test]
fn a_session_that_was_forgotten_in_a_transaction_is_named_by_log_status_and_check() {
    let database = things_database("forgotten", 5);
    let index = Index::new("forgotten");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("PGSLUICE_FORGOTTEN_AFTER_MS", "400").set("REQUEST_INTERVAL", "0.05");
    let running = program.run();
    let mut session = database.connect();
    let pid: i32 = session.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    let warning = format!("the session with pid {pid} has been idle in a transaction for ");
    assert_eq!(status(&program)["forgotten_session"], serde_json::Value::Null);
    session.batch_execute("begin; select 1").unwrap();
    running.wait_for_log(&warning);
    wait_until(SOON, "the status names it", || status(&program)["forgotten_session"]["pid"] == pid);
    let age = status(&program)["forgotten_session"]["age_seconds"].as_f64().unwrap();
    assert!((0.4..120.0).contains(&age), "{age}");
    assert!(program.command(&["status"]).output.contains(&warning));
    let checked = program.command(&["check"]);
    assert!(checked.output.contains(&warning), "{}", checked.output);
    assert_eq!(checked.code, 0, "{}", checked.log);
    // Many polls later it is said once, and when it has ended nobody speaks of it.
    assert_eq!(running.log().matches(&warning).count(), 1, "{}", running.log());
    session.batch_execute("rollback").unwrap();
    wait_until(SOON, "it is forgotten", || status(&program)["forgotten_session"].is_null());
    assert!(!program.command(&["check"]).output.contains("has been idle"));
    assert_eq!(running.terminate().code, 0);
}
