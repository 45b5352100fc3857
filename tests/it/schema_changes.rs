//! Tables that change under a running `run`: what fits goes on, what does not is named and ends it, and nothing is lost.

use std::time::Duration;

use postgres::Client;
use rusqlite::{Connection, OpenFlags};

use crate::harness::{
    Database, Index, Program, Running, assert_settled, assert_settled_beside, things_database,
    things_documents, things_mapping, things_program, unique, wait_until,
};

const SOON: Duration = Duration::from_secs(30);

/// The latest checkpoint of any table.
fn latest_checkpoint(program: &Program) -> String {
    let file = program.state().join("pgsluice.sqlite3");
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .unwrap()
        .query_row("select max(last_modified) from checkpoints", [], |row| row.get(0))
        .unwrap()
}

fn server_says(client: &mut Client, condition: &str, parameter: &str) -> bool {
    client.query_one(&format!("select {condition}"), &[&parameter]).unwrap().get(0)
}

/// Breaks the tables under a run: it ends with code 2 and an error with all of `texts`; after `cure` it goes on, and
/// what was changed together with the tables is delivered.
fn breaks_and_goes_on(label: &str, broken: &str, texts: &[&str], cure: &str) {
    let database = Database::with_films(label, 30);
    let index = Index::new(label);
    let role = unique(label);
    database.execute(&format!(
        "create role {role} login password 'pgsluice';
         grant usage on schema content to {role};
         grant select on all tables in schema content to {role};
         grant pg_monitor to {role}"
    ));
    let (broken, cure) = (broken.replace("ROLE", &role), cure.replace("ROLE", &role));
    let mut program = Program::new(&database, &index);
    program.set("PG_DSN__USER", &role).set("PG_DSN__PASSWORD", "pgsluice").set("CURSOR_SKEW", "0.001");
    let running = program.run();
    let mut client = database.connect();
    let before: String = client.query_one("select clock_timestamp()::text", &[]).unwrap().get(0);
    // Rows of a table that stays and of one that does not change with them.
    client
        .batch_execute(&format!(
            "begin;
             update content.film_work set rating = 1, modified = now() where id in (select id from content.film_work order by id limit 7);
             {broken};
             commit"
        ))
        .unwrap_or_else(|error| panic!("{broken}: {error:?}"));
    running.finish().assert_refused(2, texts);
    let checkpoint = latest_checkpoint(&program);
    assert!(
        server_says(&mut client, &format!("$1::text::timestamptz <= '{before}'"), &checkpoint),
        "{broken}: the checkpoint {checkpoint} is after {before}"
    );
    // A start says the same, at once.
    program.command(&["once"]).assert_refused(2, texts);
    client.batch_execute(&cure).unwrap_or_else(|error| panic!("{cure}: {error:?}"));
    let mut running = program.run();
    assert_settled_beside(&mut running, &program, &index, &database);
    assert_eq!(running.terminate().code, 0);
    drop(client);
    database.execute(&format!("drop owned by {role}; drop role {role}"));
}

#[test]
fn a_used_column_that_is_gone_is_named_and_it_goes_on_after_the_cure() {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            breaks_and_goes_on(
                "dropped",
                "alter table content.film_work drop column description",
                &[
                    "document.description",
                    "table content.film_work has no column description",
                    "pgsluice check",
                ],
                "alter table content.film_work add column description text",
            );
        });
        scope.spawn(|| {
            breaks_and_goes_on(
                "renamed",
                "alter table content.person rename column full_name to full_names",
                &["table content.person has no column full_name, did you mean full_names?"],
                "alter table content.person rename column full_names to full_name",
            );
        });
        scope.spawn(|| {
            breaks_and_goes_on(
                "no_cursor",
                "alter table content.genre drop column modified",
                &["relation.genre.cursor", "table content.genre has no column modified"],
                "alter table content.genre add column modified timestamptz not null default now()",
            );
        });
        scope.spawn(|| {
            breaks_and_goes_on(
                "odd_cursor",
                "alter table content.genre alter column modified drop default, alter column modified type text",
                &["column modified of content.genre has type text", "a cursor is a timestamp"],
                "alter table content.genre alter column modified type timestamptz using modified::timestamptz,
                                           alter column modified set default now()",
            );
        });
    });
}

#[test]
fn a_used_table_or_right_that_is_gone_is_named_and_it_goes_on_after_the_cure() {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            breaks_and_goes_on(
                "table_gone",
                "create table content.kept as table content.genre_film_work; drop table content.genre_film_work",
                &["relation.genre.through.table", "table content.genre_film_work does not exist"],
                "alter table content.kept rename to genre_film_work;
                 grant select on content.genre_film_work to ROLE",
            );
        });
        scope.spawn(|| {
            breaks_and_goes_on(
                "table_renamed",
                "alter table content.person rename to people",
                &["relation.person.table", "table content.person does not exist"],
                "alter table content.people rename to person",
            );
        });
        scope.spawn(|| {
            breaks_and_goes_on(
                "revoked",
                "revoke select on content.person from ROLE",
                &["the role may not read content.person", "select on content.person"],
                "grant select on content.person to ROLE",
            );
        });
        scope.spawn(|| {
            breaks_and_goes_on(
                "odd_join",
                "alter table content.person_film_work drop constraint person_film_work_person_id_fkey,
                                                 alter column person_id type text",
                &[
                    "content.person",
                    "SQLSTATE 42883",
                    "`on` joins columns of types that PostgreSQL can compare",
                ],
                "alter table content.person_film_work alter column person_id type uuid using person_id::uuid",
            );
        });
    });
}

#[test]
fn a_migration_in_several_steps_ends_nothing() {
    let database = Database::with_films("migration", 40);
    let index = Index::new("migration");
    let program = Program::new(&database, &index);
    let mut running = program.run();
    let steps = [
        (
            "alter table content.film_work drop column description",
            "alter table content.film_work add column description text default 'anew'",
        ),
        (
            "alter table content.genre rename to genre_old",
            "create view content.genre as select id, upper(name) as name, modified from content.genre_old",
        ),
    ];
    for (first, second) in steps {
        let before = running.log().len();
        database.execute(first);
        wait_until(SOON, "it is missed", || running.log()[before..].contains("does not fit the database"));
        database.execute(second);
        // No cursor moved: the documents are compared soon, since their columns are others.
        assert_settled_beside(&mut running, &program, &index, &database);
    }
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_column_that_is_not_used_may_come_and_go() {
    let database = Database::with_films("unused", 40);
    let index = Index::new("unused");
    let program = Program::new(&database, &index);
    let mut running = program.run();
    for change in [
        "alter table content.film_work add column more text not null default 'x'",
        "alter table content.film_work alter column more drop default, alter column more type jsonb using to_jsonb(more)",
        "alter table content.film_work alter column creation_date type text",
        "alter table content.film_work rename column more to less",
        "alter table content.film_work drop column less, drop column creation_date",
        "create table content.other (id int); drop table content.other",
    ] {
        database.execute(change);
        database.execute(
            "update content.film_work set title = left(title, 20) || random(), modified = now() where rating > 5",
        );
        assert_settled_beside(&mut running, &program, &index, &database);
    }
    let log = running.log();
    assert!(!log.contains("WARN") && !log.contains("trying again"), "{log}");
    assert_eq!(running.terminate().code, 0);
}

/// Changes that leave the definition fit; the rows' cursors move with them, so that it need not wait for verify.
fn goes_on_with(running: &mut Running, program: &Program, index: &Index, database: &Database, change: &str) {
    database.execute(&format!("{change}; update content.film_work set modified = now()"));
    assert_settled_beside(running, program, index, database);
}

#[test]
fn a_column_of_another_type_is_read_as_what_it_is() {
    let database = Database::with_films("retyped", 60);
    let index = Index::new("retyped");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "20").set("REQUEST_INTERVAL", "0.02");
    let mut running = program.run();
    for change in [
        "alter table content.film_work alter column rating type numeric(6, 2)",
        "alter table content.film_work alter column rating type text",
        "alter table content.film_work alter column rating type real using rating::real",
        "alter table content.film_work alter column title type varchar(300)",
        "alter table content.film_work alter column title type jsonb using to_jsonb(title)",
        "alter table content.film_work alter column title type text using title #>> '{}'",
        "create type content.kind as enum ('one', 'two');
         alter table content.film_work alter column description type content.kind using 'two'",
        // The key of the documents, and what joins by it.
        "alter table content.genre_film_work drop constraint genre_film_work_film_work_id_fkey;
         alter table content.person_film_work drop constraint person_film_work_film_work_id_fkey;
         alter table content.film_work alter column id type text;
         alter table content.genre_film_work alter column film_work_id type text;
         alter table content.person_film_work alter column film_work_id type text",
    ] {
        goes_on_with(&mut running, &program, &index, &database, change);
    }
    assert_eq!(running.terminate().code, 0);
    assert_settled(&program, &index, &database);
}

#[test]
fn a_cursor_of_another_type_hides_no_row() {
    let database = Database::with_films("retyped_cursor", 40);
    // West of the zone that statements run under, a time without zone looks hours old.
    database.execute(&format!("alter database {} set timezone = 'America/New_York'", database.name));
    let index = Index::new("retyped_cursor");
    let mut program = Program::new(&database, &index);
    program.set("VERIFY_INTERVAL", "0").set("REQUEST_INTERVAL", "0.02");
    let mut running = program.run();
    for (round, kind) in ["timestamp", "timestamptz", "timestamp", "timestamptz"].iter().enumerate() {
        database.execute(&format!(
            "alter table content.film_work alter column modified type {kind};
             alter table content.genre alter column modified type {kind}"
        ));
        for step in 0..3 {
            database.execute(&format!(
                "update content.film_work set title = 'film {round} {step}', modified = now()
                  where id in (select id from content.film_work order by random() limit 5);
                 update content.genre set name = 'genre {round} {step}', modified = now()
                  where id in (select id from content.genre order by random() limit 1)"
            ));
            let mut client = database.connect();
            index.wait_for(SOON, || crate::harness::movies_documents(&mut client));
        }
    }
    assert!(running.is_running(), "{}", running.log());
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn a_number_that_becomes_a_text_makes_no_broken_document() {
    let database = things_database("number_text", 400);
    database.execute("alter table thing alter column code type numeric using number");
    let index = Index::new("number_text");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CHUNK_SIZE", "25").set("REQUEST_INTERVAL", "0.02");
    let running = program.run();
    let mut client = database.connect();
    for kind in ["text using 'no ' || code", "numeric using substr(code, 4)::numeric"].iter().cycle().take(6)
    {
        client
            .batch_execute(&format!(
                "alter table thing alter column code type {kind}; update thing set changed = now()"
            ))
            .unwrap();
        index.wait_for(SOON, || things_documents(&mut client));
    }
    let listed = program.command(&["dead-letters", "list"]);
    assert!(listed.output.contains("no dead letters"), "{}", listed.output);
    assert_eq!(running.terminate().code, 0);
}

#[cfg(feature = "faults")]
#[test]
fn a_key_of_another_order_in_the_middle_of_a_load_is_refused() {
    let database = things_database("key_order", 100);
    database.execute("alter table thing alter column id type integer using substr(id, 2)::integer");
    let index = Index::new("key_order");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CHUNK_SIZE", "10").set("PGSLUICE_CRASH_AT", "acknowledged:3");
    assert_eq!(program.command(&["once"]).code, -1);
    program.unset("PGSLUICE_CRASH_AT");
    // A wider number has the same order, a text has not: 100 would lie before 20.
    database.execute("alter table thing alter column id type bigint");
    program.set("PGSLUICE_CRASH_AT", "acknowledged:3");
    assert_eq!(program.command(&["once"]).code, -1);
    program.unset("PGSLUICE_CRASH_AT");
    database.execute("alter table thing alter column id type text");
    program.command(&["once"]).assert_refused(2, &["the key of public.thing", "pgsluice resync"]);
    assert_eq!(program.command(&["resync"]).code, 0);
    crate::harness::assert_same(&index.documents(), &things_documents(&mut database.connect()));
}

/// The client library asks the server for a type that it does not know, in the middle of the rows that have it; with many
/// rows on the way both wait for each other.
#[test]
fn a_column_that_becomes_an_enum_in_the_middle_of_many_rows_ends_nothing() {
    let database = things_database("enum_in_load", 60_000);
    database.execute("create type kind as enum ('one', 'two')");
    let index = Index::new("enum_in_load");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("CHUNK_SIZE", "4000").set("STATEMENT_TIMEOUT", "1").set("BULK_BYTES", "100000");
    let running = program.start(&["once"]);
    wait_until(SOON, "the load to begin", || index.count() > 0);
    // The load waits for the table, and then reads it in a statement that was made for texts.
    database.execute("alter table thing alter column code type kind using 'two'");
    assert_eq!(running.finish().code, 0);
    crate::harness::assert_same(&index.documents(), &things_documents(&mut database.connect()));
}
