//! Rows that become visible after later ones were read: every way in which a plain `modified > last` loses them.

use std::time::Duration;

use postgres::Client;

use crate::harness::{Cluster, Database, Index, Program, assert_same, movies_documents, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// The `n`-th film by id.
fn film(client: &mut Client, n: i64) -> String {
    client
        .query_one("select id::text from content.film_work order by id offset $1 limit 1", &[&n])
        .unwrap()
        .get(0)
}

fn wait_for_title(index: &Index, id: &str, title: &str) {
    wait_until(SOON, &format!("{id} has the title {title}"), || {
        index.document(id).is_some_and(|document| document["title"] == title)
    });
}

/// A smallest skew, so that only the listed transactions can save a row.
fn program(database: &Database, index: &Index) -> Program {
    let mut program = Program::new(database, index);
    program.set("CURSOR_SKEW", "0.001");
    program
}

#[test]
fn a_transaction_that_commits_after_later_ones_is_delivered() {
    let database = Database::with_films("late", 50);
    let index = Index::new("late");
    let running = program(&database, &index).run();
    let (mut early, mut late) = (database.connect(), database.connect());
    let (first, second) = (film(&mut early, 0), film(&mut early, 1));
    let mut transaction = late.transaction().unwrap();
    transaction
        .execute(
            "update content.film_work set title = 'late', modified = now() where id = $1::text::uuid",
            &[&first],
        )
        .unwrap();
    // Later transactions come and are delivered, poll after poll.
    for round in 0..5 {
        let title = format!("early {round}");
        early
            .execute(
                "update content.film_work set title = $2, modified = now() where id = $1::text::uuid",
                &[&second, &title],
            )
            .unwrap();
        wait_for_title(&index, &second, &title);
    }
    transaction.commit().unwrap();
    wait_for_title(&index, &first, "late");
    assert_same(&index.documents(), &movies_documents(&mut early));
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_transaction_begun_before_a_poll_that_writes_after_it_is_delivered() {
    let database = Database::with_films("writes_late", 50);
    let index = Index::new("writes_late");
    let running = program(&database, &index).run();
    let (mut early, mut late) = (database.connect(), database.connect());
    let (first, second) = (film(&mut early, 0), film(&mut early, 1));
    let mut transaction = late.transaction().unwrap();
    // It has begun, and holds no transaction id yet.
    transaction.batch_execute("select now()").unwrap();
    for round in 0..3 {
        let title = format!("early {round}");
        early
            .execute(
                "update content.film_work set title = $2, modified = now() where id = $1::text::uuid",
                &[&second, &title],
            )
            .unwrap();
        wait_for_title(&index, &second, &title);
    }
    transaction
        .execute(
            "update content.film_work set title = 'late', modified = now() where id = $1::text::uuid",
            &[&first],
        )
        .unwrap();
    transaction.commit().unwrap();
    wait_for_title(&index, &first, "late");
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_transaction_open_over_a_restart_is_delivered() {
    let database = Database::with_films("late_restart", 50);
    let index = Index::new("late_restart");
    let program = program(&database, &index);
    program.once();
    let (mut early, mut late) = (database.connect(), database.connect());
    let (first, second) = (film(&mut early, 0), film(&mut early, 1));
    let mut transaction = late.transaction().unwrap();
    transaction
        .execute(
            "update content.film_work set title = 'late', modified = now() where id = $1::text::uuid",
            &[&first],
        )
        .unwrap();
    for round in 0..3 {
        let title = format!("early {round}");
        early
            .execute(
                "update content.film_work set title = $2, modified = now() where id = $1::text::uuid",
                &[&second, &title],
            )
            .unwrap();
        // Each run is a process of its own, and waits for no open transaction.
        program.once();
        assert_eq!(index.document(&second).unwrap()["title"], title.as_str());
    }
    transaction.commit().unwrap();
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut early));
}

#[test]
fn a_link_committed_late_is_delivered() {
    let database = Database::with_films("late_link", 50);
    let index = Index::new("late_link");
    let running = program(&database, &index).run();
    let (mut early, mut late) = (database.connect(), database.connect());
    let (first, second) = (film(&mut early, 0), film(&mut early, 1));
    early
        .batch_execute("insert into content.genre (id, name, created, modified) values ('00000000-0000-4000-8000-0000000000bb', 'Late', now(), now())")
        .unwrap();
    let mut transaction = late.transaction().unwrap();
    transaction
        .execute(
            "insert into content.genre_film_work (id, film_work_id, genre_id, created)
             values (gen_random_uuid(), $1::text::uuid, '00000000-0000-4000-8000-0000000000bb', now())",
            &[&first],
        )
        .unwrap();
    for title in ["one", "two"] {
        early
            .execute(
                "update content.film_work set title = $2, modified = now() where id = $1::text::uuid",
                &[&second, &title],
            )
            .unwrap();
        wait_for_title(&index, &second, title);
    }
    transaction.commit().unwrap();
    index.wait_for(SOON, || movies_documents(&mut early));
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_prepared_transaction_is_delivered_when_it_commits() {
    let database = Database::with_films("prepared", 50);
    let index = Index::new("prepared");
    let running = program(&database, &index).run();
    let (mut early, mut late) = (database.connect(), database.connect());
    let (first, second) = (film(&mut early, 0), film(&mut early, 1));
    let name = &database.name;
    late.batch_execute(&format!(
        "begin; update content.film_work set title = 'prepared', modified = now() where id = '{first}'"
    ))
    .unwrap();
    for title in ["one", "two"] {
        early
            .execute(
                "update content.film_work set title = $2, modified = now() where id = $1::text::uuid",
                &[&second, &title],
            )
            .unwrap();
        wait_for_title(&index, &second, title);
    }
    late.batch_execute(&format!("prepare transaction '{name}'")).unwrap();
    for title in ["three", "four"] {
        early
            .execute(
                "update content.film_work set title = $2, modified = now() where id = $1::text::uuid",
                &[&second, &title],
            )
            .unwrap();
        wait_for_title(&index, &second, title);
    }
    late.batch_execute(&format!("commit prepared '{name}'")).unwrap();
    wait_for_title(&index, &first, "prepared");
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_transaction_prepared_before_the_first_load_is_swept_up_when_it_ends() {
    let database = Database::with_films("prepared_first", 50);
    let index = Index::new("prepared_first");
    let mut client = database.connect();
    let first = film(&mut client, 0);
    let name = &database.name;
    client
        .batch_execute(&format!(
            "begin;
             update content.film_work set title = 'prepared', modified = now() where id = '{first}';
             prepare transaction '{name}'"
        ))
        .unwrap();
    // Some time passes, so that no skew covers it.
    std::thread::sleep(Duration::from_millis(50));
    let program = program(&database, &index);
    program.once();
    program.once();
    assert_ne!(index.document(&first).unwrap()["title"], "prepared");
    client.batch_execute(&format!("commit prepared '{name}'")).unwrap();
    program.once();
    assert_eq!(index.document(&first).unwrap()["title"], "prepared");
    assert_same(&index.documents(), &movies_documents(&mut client));
}

#[test]
fn a_role_that_cannot_see_transactions_looks_back_and_says_so() {
    let database = Database::with_films("blind", 50);
    let index = Index::new("blind");
    let role = &database.name;
    database.execute(&format!(
        "create role {role} login password 'pgsluice';
         grant usage on schema content to {role};
         grant select on all tables in schema content to {role}"
    ));
    let mut program = program(&database, &index);
    program.set("PG_DSN__USER", role).set("PG_DSN__PASSWORD", "pgsluice");
    let checked = program.command(&["check"]);
    assert!(checked.output.contains("pg_monitor"), "{}", checked.output);
    let (mut early, mut late) = (database.connect(), database.connect());
    let (first, second) = (film(&mut early, 0), film(&mut early, 1));
    let running = program.run();
    let mut transaction = late.transaction().unwrap();
    transaction
        .execute(
            "update content.film_work set title = 'late', modified = now() where id = $1::text::uuid",
            &[&first],
        )
        .unwrap();
    running.wait_for_log("running transactions cannot be seen");
    early
        .execute(
            "update content.film_work set title = 'early', modified = now() where id = $1::text::uuid",
            &[&second],
        )
        .unwrap();
    wait_for_title(&index, &second, "early");
    transaction.commit().unwrap();
    wait_for_title(&index, &first, "late");
    assert_eq!(running.terminate().code, 0);
    drop(program);
    database.execute(&format!("drop owned by {role}; drop role {role}"));
}

#[test]
fn sessions_without_track_activities_turn_on_the_look_back() {
    let database = Database::with_films("untracked", 50);
    let index = Index::new("untracked");
    let running = program(&database, &index).run();
    let (mut early, mut late) = (database.connect(), database.connect());
    let (first, second) = (film(&mut early, 0), film(&mut early, 1));
    late.batch_execute("set track_activities = off").unwrap();
    let mut transaction = late.transaction().unwrap();
    transaction
        .execute(
            "update content.film_work set title = 'late', modified = now() where id = $1::text::uuid",
            &[&first],
        )
        .unwrap();
    running.wait_for_log("running transactions cannot be seen");
    early
        .execute(
            "update content.film_work set title = 'early', modified = now() where id = $1::text::uuid",
            &[&second],
        )
        .unwrap();
    wait_for_title(&index, &second, "early");
    transaction.commit().unwrap();
    wait_for_title(&index, &first, "late");
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_transaction_restamped_by_commit_and_chain_is_delivered() {
    let database = Database::with_films("chain", 50);
    let index = Index::new("chain");
    let running = program(&database, &index).run();
    let (mut early, mut late) = (database.connect(), database.connect());
    let (first, second, third) = (film(&mut early, 0), film(&mut early, 1), film(&mut early, 2));
    late.batch_execute(&format!(
        "begin;
         update content.film_work set title = 'chained one', modified = now() where id = '{first}';
         commit and chain;
         update content.film_work set title = 'chained two', modified = now() where id = '{third}'"
    ))
    .unwrap();
    wait_for_title(&index, &first, "chained one");
    early
        .execute(
            "update content.film_work set title = 'early', modified = now() where id = $1::text::uuid",
            &[&second],
        )
        .unwrap();
    wait_for_title(&index, &second, "early");
    late.batch_execute("commit").unwrap();
    wait_for_title(&index, &third, "chained two");
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_crash_of_the_server_hides_no_row_behind_a_reused_transaction_id() {
    // With synchronous_commit off, a crash loses committed transactions, and their ids are given again.
    let cluster = Cluster::new(&["synchronous_commit = off", "wal_writer_delay = 10s", "autovacuum = off"]);
    let database = cluster.database("crash");
    database.run_sql_file(
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dev/sample.sql")),
        &[("films", "30")],
    );
    database.execute("checkpoint");
    let index = Index::new("crash");
    let running = program(&database, &index).run();
    let first = film(&mut database.connect(), 0);
    database.execute(&format!(
        "update content.film_work set title = 'lost', modified = '2030-01-01' where id = '{first}'"
    ));
    wait_for_title(&index, &first, "lost");
    cluster.stop("immediate");
    cluster.start();
    database.execute(&format!(
        "update content.film_work set title = 'kept', modified = '2030-01-01' where id = '{first}'"
    ));
    wait_for_title(&index, &first, "kept");
    assert_eq!(running.terminate().code, 0);
}
