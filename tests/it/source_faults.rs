//! PostgreSQL that cuts connections, is not there yet, or is reached through a pooler.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postgres::Client;

use crate::harness::{
    Cluster, Database, Index, Pooler, Program, assert_same, assert_settled, assert_settled_beside, dead_node,
    is_full, movies_documents, read_slowly, wait_until,
};

/// Commits random changes until told to end, and waits for no row that another transaction holds.
fn write_until(database: &Database, is_over: &AtomicBool) {
    let mut client = database.connect();
    let mut count = 0;
    while !is_over.load(Ordering::SeqCst) {
        client
            .batch_execute(&format!(
                "update content.person set full_name = full_name || '{count}', modified = now()
                  where id in (select id from content.person order by random() limit 5);
                 update content.film_work set title = title || '{count}', modified = now()
                  where id in (select id from content.film_work order by random() limit 20
                                  for update skip locked);
                 update content.genre set name = left(name, 20) || '{count}', modified = now()
                  where {count} % 10 = 0 and id = (select id from content.genre order by random() limit 1)"
            ))
            .unwrap();
        count += 1;
    }
}

/// Ends the writers, also when the test fails.
struct RaiseOnDrop<'a>(&'a AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Ends every connection of the program that is in the middle of a page of a poll or of a batch; returns how many.
///
/// It waits longer after each failure in a row, so a connection is left alone until it has some age.
fn end_readers(client: &mut Client, age_ms: f64) -> i64 {
    client
        .query_one(
            r#"select count(pg_terminate_backend(pid))
               from pg_stat_activity
              where datname = current_database() and application_name = 'pgsluice' and xact_start is not null
                and backend_start < clock_timestamp() - $1::float8 * interval '1 ms'
                and (query like '%t0.xmin%' or query like '%"title"%' or query like '%p.n%')"#,
            &[&age_ms],
        )
        .unwrap()
        .get(0)
}

#[test]
fn backends_ended_in_the_middle_of_a_page_cost_nothing_but_time() {
    let database = Database::with_films("backends", 800);
    let index = Index::new("backends");
    let mut program = Program::new(&database, &index);
    read_slowly(&mut program, "0.001");
    program.set("CHUNK_SIZE", "50").set("REQUEST_INTERVAL", "0.01").set("VERIFY_INTERVAL", "60");
    let kill_count = if is_full() { 100 } else { 20 };
    let is_over = AtomicBool::new(false);
    let mut running = program.start(&["run"]);
    std::thread::scope(|scope| {
        let _end = RaiseOnDrop(&is_over);
        scope.spawn(|| write_until(&database, &is_over));
        let mut client = database.connect();
        let mut ended: i64 = 0;
        let began = Instant::now();
        while ended < kill_count {
            assert!(began.elapsed() < Duration::from_secs(1_800), "{ended} ended:\n{}", running.log());
            ended += end_readers(&mut client, 250.0 + 230.0 * (ended % 5) as f64);
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    assert!(running.log().contains("57P01"), "{}", running.log());
    assert_settled_beside(&mut running, &program, &index, &database);
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_server_that_is_not_there_at_the_start_is_waited_for() {
    let cluster = Cluster::new(&[]);
    let database = cluster.database("late_host");
    database.fill_with_films(30);
    cluster.stop("fast");
    let index = Index::new("late_host");
    let mut program = Program::new(&database, &index);
    // The first of two hosts is never there, the second comes later.
    let nobody = dead_node().rsplit(':').next().unwrap().to_owned();
    program.set("PG_DSN__HOST", "127.0.0.1,127.0.0.1");
    program.set("PG_DSN__PORT", &format!("{nobody},{}", cluster.port));
    let mut running = program.start(&["run"]);
    running.wait_for_log("attempt 2 failed");
    assert!(running.log().contains(&cluster.port), "{}", running.log());
    cluster.start();
    assert_settled_beside(&mut running, &program, &index, &database);
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_transaction_pooler_between_makes_no_difference() {
    let database = Database::with_films("pooler", 1_500);
    let Some(pooler) = Pooler::before(&database) else { return };
    let index = Index::new("pooler");
    let mut program = Program::new(&database, &index);
    program.set("PG_DSN__HOST", "127.0.0.1").set("PG_DSN__PORT", pooler.port());
    program.set("CHUNK_SIZE", "100").set("CURSOR_SKEW", "0.001").set("VERIFY_INTERVAL", "60");
    let checked = program.command(&["check"]);
    assert_eq!(checked.code, 0, "{}{}", checked.log, checked.output);
    // The load, polls and verify, each transaction on another server connection.
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    let is_over = AtomicBool::new(false);
    let mut running = program.run();
    std::thread::scope(|scope| {
        let _end = RaiseOnDrop(&is_over);
        scope.spawn(|| write_until(&database, &is_over));
        // A transaction that is committed late is seen through the pooler too.
        let mut client = database.connect();
        let mut late = client.transaction().unwrap();
        late.batch_execute(
            "update content.film_work set title = 'late', modified = now()
              where id = (select min(id::text)::uuid from content.film_work)",
        )
        .unwrap();
        let before = running.log().matches("changed rows").count();
        wait_until(Duration::from_secs(30), "polls went by", || {
            running.log().matches("changed rows").count() > before + 20
        });
        late.commit().unwrap();
    });
    // A retyped column changes what the statements give back.
    database.execute("alter table content.film_work alter column rating type numeric(4, 2)");
    database.execute("update content.film_work set modified = now() where rating > 5");
    assert_settled_beside(&mut running, &program, &index, &database);
    assert!(!running.log().contains("prepared statement"), "{}", running.log());
    // What another client of the pooler leaves behind on a server connection is not ours.
    database.execute(
        "delete from content.film_work where id = (select max(id::text)::uuid from content.film_work)",
    );
    assert_settled_beside(&mut running, &program, &index, &database);
    assert_eq!(running.terminate().code, 0);
    assert_settled(&program, &index, &database);
}
