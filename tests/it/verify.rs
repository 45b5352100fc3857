//! Verify: what polling cannot see is found and repaired, and nothing that is right is touched.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Database, Index, Program, Server, assert_same, film_schema, movies_documents, unique, wait_until,
};

const SOON: Duration = Duration::from_secs(60);

/// A key that no row has.
const NOBODY: &str = "00000000-0000-4000-8000-00000000dead";

/// `pgsluice verify … --json` and its result.
pub fn verify(program: &Program, arguments: &[&str]) -> (i32, Value, String) {
    let finished = program.command(&[&["verify", "--json"], arguments].concat());
    let report = serde_json::from_str(&finished.output).unwrap_or(Value::Null);
    (finished.code, report, finished.log)
}

pub fn counts(report: &Value) -> [u64; 3] {
    ["missing", "different", "extra"].map(|name| report[name].as_u64().unwrap_or(u64::MAX))
}

fn status(program: &Program) -> Value {
    serde_json::from_str(&program.command(&["status", "--json"]).output).unwrap()
}

fn ids(database: &Database, count: i64) -> Vec<String> {
    let rows = database
        .connect()
        .query("select id::text from content.film_work order by id limit $1", &[&count])
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn put(index: &Index, id: &str, document: &Value) {
    let generation = index.generation();
    let (code, answer) = index.call("PUT", &format!("{generation}/_doc/{id}?refresh=true"), document);
    assert!(code < 300, "{answer}");
}

fn delete(index: &Index, id: &str) {
    let generation = index.generation();
    let (code, answer) = index.call("DELETE", &format!("{generation}/_doc/{id}?refresh=true"), &Value::Null);
    assert!(code < 300, "{answer}");
}

/// A document is missing, one is different, and one more is there.
fn spoil(database: &Database, index: &Index) {
    let ids = ids(database, 2);
    let mut changed = index.document(&ids[1]).unwrap();
    changed["title"] = json!("spoiled");
    changed["genres"] = json!(["spoiled"]);
    put(index, &ids[1], &changed);
    changed["id"] = json!(NOBODY);
    put(index, NOBODY, &changed);
    delete(index, &ids[0]);
}

#[test]
fn differences_are_found_and_repaired_on_elasticsearch() {
    differences_are_found_and_repaired(Server::Elasticsearch);
}

#[test]
fn differences_are_found_and_repaired_on_opensearch() {
    differences_are_found_and_repaired(Server::OpenSearch);
}

fn differences_are_found_and_repaired(server: Server) {
    let database = Database::with_films("verify", 1_000);
    let index = Index::on(server, "verify");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "100");
    let before = program.command(&["verify"]);
    before.assert_failed(2, "nothing was loaded yet");
    program.once();
    let (code, report, log) = verify(&program, &[]);
    assert_eq!((code, counts(&report)), (0, [0, 0, 0]), "{report} {log}");
    assert_eq!((&report["compared"], &report["looked_up"]), (&json!(1_000), &json!(1_000)));

    spoil(&database, &index);
    let (code, report, log) = verify(&program, &[]);
    assert_eq!((code, counts(&report)), (1, [1, 1, 1]), "{report} {log}");
    let differences = report["differences"].as_array().unwrap();
    let different = differences.iter().find(|one| one["kind"] == "different").unwrap();
    assert_eq!(different["fields"], json!(["genres", "title"]));
    assert!(differences.iter().any(|one| one["kind"] == "extra" && one["key"] == NOBODY), "{report}");
    // Without --repair nothing is done about them.
    program.once();
    assert!(index.document(NOBODY).is_some());

    let (code, report, log) = verify(&program, &["--repair"]);
    assert_eq!((code, counts(&report), &report["repaired"]), (0, [1, 1, 1], &json!(true)), "{report} {log}");
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    let (code, report, _) = verify(&program, &[]);
    assert_eq!((code, counts(&report)), (0, [0, 0, 0]), "{report}");
}

#[test]
fn verify_repairs_through_a_pipeline_that_runs_beside_it() {
    let database = Database::with_films("verify_beside", 500);
    let index = Index::new("verify_beside");
    let mut program = Program::new(&database, &index);
    // By itself it must not be faster than the command.
    program.set("VERIFY_INTERVAL", "0");
    let running = program.run();
    spoil(&database, &index);
    let (code, report, log) = verify(&program, &["--repair"]);
    assert_eq!((code, counts(&report)), (0, [1, 1, 1]), "{report} {log}\n{}", running.log());
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    // Changes that come after it are seen as before.
    database.execute("update content.film_work set title = 'after', modified = now()");
    index.wait_for(SOON, || movies_documents(&mut database.connect()));
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn deleted_films_and_links_are_healed_soon_while_it_runs() {
    let database = Database::with_films("verify_soon", 1_000);
    let index = Index::new("verify_soon");
    let program = Program::new(&database, &index);
    let running = program.run();
    let gone = ids(&database, 1).remove(0);
    database.execute(&format!("delete from content.film_work where id = '{gone}'"));
    wait_until(SOON, "the deleted film is gone from the index", || index.document(&gone).is_none());
    database.execute(
        "delete from content.person_film_work
          where film_work_id in (select id from content.film_work order by id desc limit 20)",
    );
    index.wait_for(SOON, || movies_documents(&mut database.connect()));
    // TRUNCATE counts no rows.
    database.execute("truncate content.genre_film_work");
    index.wait_for(SOON, || movies_documents(&mut database.connect()));
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn once_works_off_what_is_due() {
    let database = Database::with_films("verify_once", 300);
    let index = Index::new("verify_once");
    let mut program = Program::new(&database, &index);
    program.once();
    database.execute(
        "delete from content.film_work where id in (select id from content.film_work order by id limit 3)",
    );
    wait_until(SOON, "the deleted films are gone", || {
        program.once();
        index.count() == 297
    });
    // Without a reason to hurry a pass is due when its time has come.
    let mut changed = index.document(&ids(&database, 1)[0]).unwrap();
    changed["title"] = json!("spoiled");
    put(&index, &ids(&database, 1)[0], &changed);
    program.set("VERIFY_INTERVAL", "0.001");
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
}

#[test]
fn an_emptied_table_deletes_nothing_until_it_is_forced() {
    let database = Database::with_films("verify_emptied", 400);
    let index = Index::new("verify_emptied");
    let program = Program::new(&database, &index);
    let running = program.run();
    database.execute(
        "create table content.kept as select * from content.film_work; delete from content.film_work",
    );
    wait_until(SOON, "the status is red", || status(&program)["status"] == "red");
    let said = program.command(&["status"]).output;
    assert!(said.contains("RED") && said.contains("--force"), "{said}");
    assert_eq!(index.count(), 400);
    assert!(running.log().contains("VERIFY_MAX_DELETE_PERCENT"), "{}", running.log());
    // It goes on: other changes arrive.
    database.execute(&format!(
        "insert into content.film_work (id, title, type, created, modified)
         values ('{NOBODY}', 'new', 'movie', now(), now())"
    ));
    wait_until(SOON, "a new film arrives", || index.document(NOBODY).is_some());
    let (code, report, log) = verify(&program, &["--repair"]);
    assert_eq!(
        (code, &report["deletions_paused"], &report["extra"]),
        (1, &json!(true), &json!(400)),
        "{report} {log}"
    );
    assert_eq!(index.count(), 401);
    let (code, report, log) = verify(&program, &["--repair", "--force"]);
    assert_eq!((code, &report["deletions_paused"]), (0, &json!(false)), "{report} {log}");
    assert_eq!(index.count(), 1);
    assert_eq!(status(&program)["status"], "green");
    assert_eq!(running.terminate().code, 0);
}

/// A role that reads the tables and nothing else, and the program as it.
fn as_reader(program: &mut Program, database: &Database) -> String {
    let role = unique("reader");
    database.execute(&format!(
        "create role {role} login password 'pgsluice';
         grant usage on schema content to {role};
         grant select on all tables in schema content to {role};
         grant pg_monitor to {role}"
    ));
    program.set("PG_DSN__USER", &role).set("PG_DSN__PASSWORD", "pgsluice");
    role
}

fn drop_role(database: &Database, role: &str) {
    database.execute(&format!("drop owned by {role}; drop role {role}"));
}

/// An index with 20 documents too many and a verify that was killed on the way through its ids.
fn killed_among_the_extras(label: &str) -> (Database, Index, Program, String) {
    let database = Database::with_films(label, 200);
    let index = Index::new(label);
    let mut program = Program::new(&database, &index);
    let role = as_reader(&mut program, &database);
    program.once();
    database.execute(
        "delete from content.film_work where id in (select id from content.film_work order by id limit 20)",
    );
    program.set("PGSLUICE_CRASH_AT", "ids_verified");
    assert_eq!(program.command(&["verify", "--repair"]).code, -1);
    program.unset("PGSLUICE_CRASH_AT");
    assert_eq!(status(&program)["verify"]["command"]["extras"]["under_way"], true);
    (database, index, program, role)
}

#[test]
fn rights_taken_away_half_way_delete_nothing() {
    let (database, index, program, role) = killed_among_the_extras("verify_revoked");
    database.execute(&format!("revoke select on content.film_work from {role}"));
    let finished = program.command(&["verify", "--repair"]);
    finished.assert_failed(2, "may not read content.film_work");
    assert_eq!(index.count(), 200);
    database.execute(&format!("grant select on content.film_work to {role}"));
    let (code, report, log) = verify(&program, &["--repair"]);
    assert_eq!((code, counts(&report), &report["resumed"]), (0, [0, 0, 20], &json!(true)), "{report} {log}");
    assert_eq!(index.count(), 180);
    drop_role(&database, &role);
}

#[test]
fn a_policy_that_hides_rows_is_an_error_and_deletes_nothing() {
    let (database, index, program, role) = killed_among_the_extras("verify_policy");
    database.execute(
        "alter table content.film_work enable row level security;
         create policy none on content.film_work using (false)",
    );
    let finished = program.command(&["verify", "--repair"]);
    finished.assert_failed(2, "row-level security");
    assert_eq!(index.count(), 200);
    drop_role(&database, &role);
}

/// Holds the films back from a verify that is at it and does something to it.
fn disturbed(label: &str, settings: &[(&str, &str)], disturb: impl Fn(&Database)) {
    let database = Database::with_films(label, 300);
    let index = Index::new(label);
    let mut program = Program::new(&database, &index);
    program.set("VERIFY_INTERVAL", "0");
    program.once();
    for (name, value) in settings {
        program.set(name, value);
    }
    database.execute(
        "delete from content.film_work where id in (select id from content.film_work order by id limit 20)",
    );
    // The pipeline beside it polls other tables' rows first and is not disturbed for good.
    let mut holder = database.connect();
    let verifying = program.start(&["verify", "--repair"]);
    wait_until(SOON, "verify is under way", || {
        status(&program)["verify"]["command"]["documents"]["under_way"] == json!(true)
    });
    holder.batch_execute("begin; lock table content.film_work in access exclusive mode").unwrap();
    wait_until(SOON, "verify waits for the films", || {
        let waiting = "select count(*) from pg_stat_activity
                        where datname = current_database() and wait_event_type = 'Lock'";
        database.connect().query_one(waiting, &[]).unwrap().get::<_, i64>(0) > 0
    });
    disturb(&database);
    let finished = verifying.finish();
    assert_eq!(finished.code, 3, "{}", finished.log);
    holder.batch_execute("commit").unwrap();
    assert_eq!(index.count(), 300);
    program.unset("STATEMENT_TIMEOUT").unset("CHUNK_SIZE");
    let (code, report, log) = verify(&program, &["--repair"]);
    assert_eq!((code, report["extra"].as_u64()), (0, Some(20)), "{report} {log}");
    assert_eq!(index.count(), 280);
}

#[test]
fn a_backend_that_is_killed_half_way_ends_verify_and_deletes_nothing() {
    disturbed("verify_killed", &[("CHUNK_SIZE", "1")], |database| {
        database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and wait_event_type = 'Lock'",
        );
    });
}

#[test]
fn a_statement_that_is_cancelled_half_way_ends_verify_and_deletes_nothing() {
    disturbed("verify_timeout", &[("CHUNK_SIZE", "1"), ("STATEMENT_TIMEOUT", "1")], |_| {});
}

#[test]
fn beside_writers_at_work_nothing_is_reported_that_is_right() {
    let database = Database::with_films("verify_writers", 1_000);
    let index = Index::new("verify_writers");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "100").set("VERIFY_INTERVAL", "0.5");
    let running = program.run();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (database, is_over) = (&database, &is_over);
            scope.spawn(move || {
                let mut client = database.connect();
                let mut number = 0;
                while !is_over.load(Ordering::Relaxed) {
                    number += 1;
                    client
                        .batch_execute(&format!(
                            "begin;
                             update content.film_work set title = 'title {writer} {number}', modified = now()
                              where id in (select id from content.film_work tablesample bernoulli (2));
                             update content.person set full_name = 'name {writer} {number}', modified = now()
                              where id in (select id from content.person tablesample system (1) limit 5);
                             insert into content.film_work (id, title, type, created, modified)
                             values (gen_random_uuid(), 'new', 'movie', now(), now());
                             select pg_sleep(0.1 + random() * 0.2);
                             commit"
                        ))
                        .or_else(|error| client.batch_execute("rollback").map_err(|_| error))
                        .unwrap();
                }
            });
        }
        for _ in 0..2 {
            let (code, report, log) = verify(&program, &[]);
            let found = counts(&report);
            if code != 0 {
                is_over.store(true, Ordering::Relaxed);
            }
            assert_eq!((code, found), (0, [0, 0, 0]), "{report} {log}");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    index.wait_for(SOON, || movies_documents(&mut database.connect()));
    // What verifies by itself found nothing either.
    running.wait_for_log("documents compared");
    let log = running.terminate().log;
    assert!(log.contains("documents compared, 0 differ"), "{log}");
    assert!(!log.contains("recorded as stale"), "{log}");
}

#[test]
fn a_killed_verify_goes_on_where_it_was() {
    let database = Database::with_films("verify_resumed", 1_500);
    let index = Index::new("verify_resumed");
    let mut program = Program::new(&database, &index);
    program.once();
    spoil(&database, &index);
    program.set("CHUNK_SIZE", "1");
    let verifying = program.start(&["verify"]);
    wait_until(SOON, "some is compared", || {
        status(&program)["verify"]["command"]["documents"]["looked_at"]
            .as_u64()
            .is_some_and(|count| count > 0)
    });
    verifying.kill();
    let looked_at = status(&program)["verify"]["command"]["documents"]["looked_at"].as_u64().unwrap();
    assert!(looked_at > 0 && looked_at < 1_500, "{looked_at}");
    program.set("CHUNK_SIZE", "500");
    let (code, report, log) = verify(&program, &[]);
    // What was seen before the kill counts, and nothing counts twice.
    assert_eq!((code, counts(&report)), (1, [1, 1, 1]), "{report} {log}");
    assert_eq!((&report["resumed"], &report["compared"]), (&json!(true), &json!(1_500)));
    let (_, report, _) = verify(&program, &[]);
    assert_eq!((&report["resumed"], counts(&report)), (&json!(false), [1, 1, 1]));
}

#[test]
fn a_sample_looks_at_some_of_both_sides() {
    let database = Database::with_films("verify_sample", 300);
    let index = Index::new("verify_sample");
    let program = Program::new(&database, &index);
    program.once();
    let (code, report, log) = verify(&program, &["--sample", "10"]);
    assert_eq!((code, counts(&report)), (0, [0, 0, 0]), "{report} {log}");
    let compared = report["compared"].as_u64().unwrap();
    assert!((10..=20).contains(&compared), "{report}");
    spoil(&database, &index);
    // As many as there are: all of them.
    let (code, report, log) = verify(&program, &["--sample", "1000"]);
    assert_eq!((code, counts(&report)), (1, [1, 1, 1]), "{report} {log}");
    let (code, report, log) = verify(&program, &["--sample", "1000", "--repair"]);
    assert_eq!((code, &report["repaired"]), (0, &json!(true)), "{report} {log}");
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
}

#[test]
fn rows_that_the_load_left_out_are_not_missing() {
    let database = Database::with_films("verify_initial", 100);
    database.execute(
        "update content.film_work set modified = '2020-01-01 00:00:00+00';
         update content.film_work set modified = '2024-06-01 00:00:00+00'
          where id in (select id from content.film_work order by id limit 10)",
    );
    let index = Index::new("verify_initial");
    let mut program = Program::new(&database, &index);
    program.set("INITIAL_TIMESTAMP", "2024-01-01T00:00:00Z");
    program.once();
    assert_eq!(index.count(), 10);
    // It is kept: the present setting does not matter.
    program.unset("INITIAL_TIMESTAMP");
    let (code, report, log) = verify(&program, &[]);
    assert_eq!((code, counts(&report)), (0, [0, 0, 0]), "{report} {log}");
    // An older row that has a document nevertheless must be right.
    let old = ids(&database, 11).remove(10);
    let mut document = index.document(&ids(&database, 1)[0]).unwrap();
    document["id"] = json!(old);
    put(&index, &old, &document);
    let (code, report, log) = verify(&program, &["--repair"]);
    assert_eq!((code, counts(&report)), (0, [0, 1, 0]), "{report} {log}");
}

#[test]
fn a_refused_document_is_no_difference() {
    let database = Database::with_films("verify_refused", 20);
    let index = Index::new("verify_refused");
    let mut program = Program::new(&database, &index);
    program.once();
    program.set("DOCUMENT_MAX_BYTES", "8KiB");
    database.execute(&format!(
        "insert into content.film_work (id, title, description, type, created, modified)
         values ('{NOBODY}', 'large', repeat('x', 20000), 'movie', now(), now())"
    ));
    // More than the mapping's float holds: the index keeps the document of before.
    let changed = ids(&database, 2).remove(1);
    database.execute(&format!(
        "update content.film_work set rating = 1e300, modified = now() where id = '{changed}'"
    ));
    assert_eq!(program.command(&["once"]).code, 1);
    let (code, report, log) = verify(&program, &["--repair"]);
    assert_eq!((code, counts(&report), &report["refused"]), (0, [0, 0, 0], &json!(2)), "{report} {log}");
}

#[test]
fn documents_of_long_keys_are_told_apart_by_their_hash() {
    let database = Database::new("verify_long");
    film_schema(&database);
    database.execute(
        "create table content.page (url text primary key, modified timestamptz not null default now());
         insert into content.page select repeat(chr(96 + n), 600) from generate_series(1, 5) n;
         insert into content.page values ('short'), ('')",
    );
    let index = Index::new("verify_long");
    let mut program = Program::new(&database, &index);
    program.write(
        "page.json",
        r#"{"mappings": {"dynamic": "strict", "properties": {"url": {"type": "keyword", "ignore_above": 100}}}}"#,
    );
    program.write(
        "page.toml",
        "version = 1\nindex = \"pages\"\nmapping = \"page.json\"\n
         [root]\ntable = \"content.page\"\ncursor = \"modified\"\n
         [document]\nurl = \"url\"\n",
    );
    program.set("DEFINITION", "page.toml").set("VERIFY_INTERVAL", "0");
    program.once();
    assert_eq!(index.count(), 7);
    let (code, report, log) = verify(&program, &["--repair"]);
    assert_eq!((code, counts(&report)), (0, [0, 0, 0]), "{report} {log}");
    database.execute("delete from content.page where url in (repeat('a', 600), '', repeat('c', 600))");
    let (code, report, log) = verify(&program, &["--repair"]);
    assert_eq!((code, counts(&report)), (0, [0, 0, 3]), "{report} {log}");
    let mut left: Vec<String> = index
        .documents()
        .values()
        .map(|document| document["url"].as_str().unwrap().chars().take(2).collect())
        .collect();
    left.sort();
    assert_eq!(left, ["bb", "dd", "ee", "sh"]);
}
