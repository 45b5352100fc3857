//! A hot standby as the source: what it cannot show, conflicts with recovery, and failover to it.

use std::time::Duration;

use crate::harness::{
    Cluster, Database, Index, Program, assert_same, assert_settled_beside, movies_documents, read_slowly,
    wait_until,
};

const SOON: Duration = Duration::from_secs(30);

/// A primary with films, and a standby that has them.
fn pair(label: &str, film_count: u32, settings: &[&str]) -> (Cluster, Cluster, Database) {
    let primary = Cluster::new(&["autovacuum = off", "wal_receiver_status_interval = 1s"]);
    let database = primary.database(label);
    database.fill_with_films(film_count);
    let standby = primary.standby(settings);
    standby.wait_for_replay(&primary);
    (primary, standby, database)
}

#[test]
fn a_standby_is_polled_with_the_look_back_and_check_says_so() {
    let (primary, standby, database) = pair("standby", 60, &[]);
    let index = Index::new("standby");
    let mut program = Program::new(&standby.future_database(&database.name), &index);
    program.set("CURSOR_SKEW", "0.001").set("LOOKBACK", "300");
    let checked = program.command(&["check"]);
    assert_eq!(checked.code, 0, "{}{}", checked.log, checked.output);
    assert!(checked.output.contains("a standby"), "{}", checked.output);
    assert!(checked.output.contains("every poll looks back LOOKBACK seconds"), "{}", checked.output);
    let mut running = program.run();
    assert!(running.log().contains("looks back 300 s"), "{}", running.log());
    // A transaction that the standby cannot show, committed after later ones were delivered.
    let (mut early, mut late) = (database.connect(), database.connect());
    let mut transaction = late.transaction().unwrap();
    transaction
        .batch_execute(
            "update content.film_work set title = 'late', modified = now()
              where id = (select min(id::text)::uuid from content.film_work)",
        )
        .unwrap();
    for round in 0..4 {
        early
            .batch_execute(&format!(
                "update content.film_work set title = 'early {round}', modified = now()
                  where id = (select max(id::text)::uuid from content.film_work)"
            ))
            .unwrap();
        index_has_title(&index, &format!("early {round}"));
    }
    transaction.commit().unwrap();
    index_has_title(&index, "late");
    standby.wait_for_replay(&primary);
    assert_settled_beside(&mut running, &program, &index, &database);
    // Promoted under us, its own transactions are seen from then on.
    standby.promote();
    running.wait_for_log("was promoted");
    let promoted = standby.future_database(&database.name);
    promoted.execute("update content.genre set name = name || ' anew', modified = now()");
    assert_settled_beside(&mut running, &program, &index, &promoted);
    let checked = program.command(&["check"]);
    assert!(!checked.output.contains("a standby"), "{}", checked.output);
    assert_eq!(running.terminate().code, 0);
}

fn index_has_title(index: &Index, title: &str) {
    wait_until(SOON, &format!("a film has the title {title}"), || {
        index.documents().values().any(|document| document["title"] == title)
    });
}

#[test]
fn a_conflict_with_recovery_is_tried_again_and_loses_nothing() {
    let (primary, standby, database) =
        pair("conflict", 400, &["max_standby_streaming_delay = 0", "hot_standby_feedback = off"]);
    let index = Index::new("conflict");
    let mut program = Program::new(&standby.future_database(&database.name), &index);
    // A clean-up on the primary meets an open snapshot.
    read_slowly(&mut program, "0.003");
    program.set("CHUNK_SIZE", "100").set("REQUEST_INTERVAL", "0.02");
    let mut running = program.start(&["run"]);
    let mut client = database.connect();
    wait_until(Duration::from_secs(60), "reading met recovery five times", || {
        client
            .batch_execute(
                "update content.film_work set title = left(title, 40) || ' ' || floor(random() * 1000), modified = now()
                  where id in (select id from content.film_work order by random() limit 100)",
            )
            .unwrap();
        client.batch_execute("vacuum content.film_work").unwrap();
        running.log().matches("conflict with recovery").count() >= 5
    });
    standby.wait_for_replay(&primary);
    running.wait_for_log("full load complete");
    assert_settled_beside(&mut running, &program, &index, &database);
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_standby_that_takes_over_is_gone_on_with_and_a_former_primary_is_refused() {
    let (primary, standby, database) = pair("failover", 300, &[]);
    let index = Index::new("failover");
    let mut program = Program::new(&database, &index);
    program.set("PG_DSN", "postgresql:///?target_session_attrs=read-write").set("CHUNK_SIZE", "50");
    program.set("PG_DSN__HOST", "127.0.0.1,127.0.0.1");
    program.set("PG_DSN__PORT", &format!("{},{}", primary.port, standby.port));
    let mut running = program.run();
    database.execute("update content.film_work set title = title || ' before', modified = now()");
    standby.wait_for_replay(&primary);
    // The primary is gone; nobody that can be written to is there until the standby is promoted.
    primary.stop("immediate");
    running.wait_for_log("trying again");
    standby.promote();
    let promoted = standby.future_database(&database.name);
    promoted.execute(
        "update content.genre set name = name || ' after', modified = now();
         update content.film_work set title = title || ' after', modified = now() where rating > 5",
    );
    assert_settled_beside(&mut running, &program, &index, &promoted);
    let log = running.log();
    assert!(log.contains("PostgreSQL is on timeline 2 now"), "{log}");
    assert!(log.contains("reading begins"), "{log}");
    assert_eq!(running.terminate().code, 0);
    // The former primary comes back beside the new one, and has a longer log.
    primary.start();
    let mut client = database.connect();
    let new_end: String =
        promoted.connect().query_one("select pg_current_wal_flush_lsn()::text", &[]).unwrap().get(0);
    wait_until(SOON, "the former primary's log is the longer one", || {
        client.batch_execute("select pg_logical_emit_message(true, 'longer', repeat('x', 1000000))").unwrap();
        client.query_one("select $1::text::pg_lsn < pg_current_wal_flush_lsn()", &[&new_end]).unwrap().get(0)
    });
    program.command(&["once"]).assert_refused(2, &["timeline 1", "timeline 2", "pgsluice resync"]);
    assert_same(&index.documents(), &movies_documents(&mut promoted.connect()));
}
