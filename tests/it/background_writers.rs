//! Writers that are no client's session, and a session that is seen before its transaction is.

use std::time::Duration;

use postgres::Client;

use crate::harness::{Cluster, Database, Index, Program, assert_settled_beside, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// Held by the test so that a writer's trigger waits in the middle of its transaction.
const LOCK: i64 = 7_000_001;

/// Later changes of another film, until each is delivered: polls went past the writer's time.
fn let_polls_pass(client: &mut Client, index: &Index, rounds: u32) {
    for round in 0..rounds {
        let title = format!("early {round}");
        client
            .execute(
                "update content.film_work set title = $1, modified = clock_timestamp()
                  where id = (select max(id::text)::uuid from content.film_work)",
                &[&title],
            )
            .unwrap();
        wait_until(SOON, &format!("a film has the title {title}"), || {
            index.documents().values().any(|document| document["title"] == title.as_str())
        });
    }
}

#[test]
fn a_row_that_logical_replication_applies_late_is_delivered() {
    let cluster = Cluster::new(&[]);
    let origin = cluster.database("origin");
    origin.fill_with_films(10);
    let database = cluster.database("applied");
    database.fill_with_films(10);
    let index = Index::new("applied");
    let mut program = Program::new(&database, &index);
    // A smallest skew, so that only the listing of transactions can save the row.
    program.set("CURSOR_SKEW", "0.001").set("VERIFY_INTERVAL", "0");
    origin.execute("create publication films for table content.film_work");
    origin.execute("select pg_create_logical_replication_slot('films', 'pgoutput')");
    // The cursor is set on this side, as `check` advises; one title's trigger waits for the test.
    database.execute(&format!(
        "create function content.stamp() returns trigger language plpgsql as $$
         begin
             new.modified := now();
             if new.title = 'slow' then perform pg_advisory_xact_lock({LOCK}); end if;
             return new;
         end $$;
         create trigger stamp before insert or update on content.film_work for each row execute function content.stamp();
         alter table content.film_work enable always trigger stamp"
    ));
    database.execute(&format!(
        "create subscription films connection 'host=127.0.0.1 port={} user=pgsluice password=pgsluice dbname=origin'
           publication films with (create_slot = false, slot_name = 'films', copy_data = false)",
        cluster.port
    ));
    let mut running = program.run();
    let (mut holder, mut client) = (database.connect(), database.connect());
    // A session's lock needs no transaction, which would be listed in the writer's place.
    holder.execute("select pg_advisory_lock($1)", &[&LOCK]).unwrap();
    origin.execute(
        "update content.film_work set title = 'slow', modified = now()
          where id = (select min(id::text)::uuid from content.film_work)",
    );
    wait_until(SOON, "the apply worker waits in its transaction", || {
        client
            .query_one(
                "select exists (select 1 from pg_stat_activity
                                 where datname = current_database() and backend_type = 'logical replication worker'
                                   and xact_start is not null and wait_event = 'advisory')",
                &[],
            )
            .unwrap()
            .get(0)
    });
    let_polls_pass(&mut client, &index, 4);
    holder.execute("select pg_advisory_unlock($1)", &[&LOCK]).unwrap();
    wait_until(SOON, "the row is applied", || {
        client
            .query_one("select exists (select 1 from content.film_work where title = 'slow')", &[])
            .unwrap()
            .get(0)
    });
    assert_settled_beside(&mut running, &program, &index, &database);
    // What the worker writes without such a trigger keeps the origin's time, and `check` names the subscription.
    let checked = program.command(&["check"]);
    assert!(checked.output.contains("is filled by a subscription"), "{}", checked.output);
    assert_eq!(running.terminate().code, 0);
    database.execute("drop subscription films");
}

#[test]
fn a_session_that_is_active_and_shows_no_transaction_yet_is_waited_for() {
    let database = Database::with_films("no_xact_start", 10);
    let index = Index::new("no_xact_start");
    let mut program = Program::new(&database, &index);
    program.set("CURSOR_SKEW", "0.001").set("VERIFY_INTERVAL", "0");
    // Between the arrival of a message and the start of its transaction a backend shows the first and not the second.
    // That instant is too short to be met, so what the program sees of one session is made to look like it.
    database.execute(&format!(
        "create schema seen;
         create table seen.stalled (pid int);
         create view seen.pg_stat_activity as
             select a.datid, a.datname, a.pid, a.backend_type, a.state, a.query, a.query_start, a.backend_start,
                    a.application_name, a.wait_event, a.state_change,
                    case when a.pid not in (select pid from seen.stalled) then a.xact_start end as xact_start,
                    case when a.pid not in (select pid from seen.stalled) then a.backend_xid end as backend_xid
               from pg_catalog.pg_stat_activity a;
         alter database {} set search_path = seen, pg_catalog, public",
        database.name
    ));
    let running = program.run();
    let (mut holder, mut client, mut writer) = (database.connect(), database.connect(), database.connect());
    holder.execute("select pg_advisory_lock($1)", &[&LOCK]).unwrap();
    let pid: i32 = writer.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    client.execute("insert into seen.stalled values ($1)", &[&pid]).unwrap();
    std::thread::scope(|scope| {
        let written = scope.spawn(|| {
            writer.batch_execute(&format!(
                "update content.film_work set title = 'stalled', modified = now()
                  where id = (select min(id::text)::uuid from content.film_work);
                 select pg_advisory_xact_lock({LOCK})"
            ))
        });
        wait_until(SOON, "the writer waits, and shows no transaction", || {
            client
                .query_one(
                    "select exists (select 1 from seen.pg_stat_activity
                                     where pid = $1 and state = 'active' and xact_start is null
                                       and wait_event = 'advisory')",
                    &[&pid],
                )
                .unwrap()
                .get(0)
        });
        let_polls_pass(&mut client, &index, 4);
        holder.execute("select pg_advisory_unlock($1)", &[&LOCK]).unwrap();
        written.join().unwrap().unwrap();
    });
    wait_until(SOON, "the row is delivered", || {
        index.documents().values().any(|document| document["title"] == "stalled")
    });
    assert_eq!(running.terminate().code, 0);
}
