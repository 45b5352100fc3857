//! Servers that cannot be reached or do not let us in, and indices that are not ours: one error that names what and
//! where and the cure, and nothing is changed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Database, Evidence, Index, Program, Server, assert_same, film_schema, movies_documents, wait_until,
};

const SECRET: &str = "hunter2-sesame";

/// A role of the test's own, dropped with all its rights at the end.
struct Role<'a> {
    name: String,
    database: &'a Database,
}

impl<'a> Role<'a> {
    fn new(database: &'a Database) -> Self {
        let name = format!("{}_role", database.name);
        database.execute(&format!("create role {name} login password '{SECRET}'"));
        Self { name, database }
    }

    fn settings(&self, program: &mut Program) {
        program.set("PG_DSN__USER", &self.name).set("PG_DSN__PASSWORD", SECRET);
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        let _ = self.database.connect().batch_execute(&format!("drop owned by {name}; drop role {name}"));
    }
}

/// A port on which nobody listens.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_source_that_is_away_is_named_and_given_up_after_the_deadline() {
    let database = Database::new("pg_away");
    let index = Index::new("pg_away");
    let mut program = Program::new(&database, &index);
    let port = closed_port().to_string();
    program.set("PG_DSN__HOST", "127.0.0.1").set("PG_DSN__PORT", &port).set("RETRY_DEADLINE", "1.5");
    program.set("PG_DSN__PASSWORD", SECRET);
    let place = format!("cannot connect to PostgreSQL at 127.0.0.1:{port}, database {}, user", database.name);
    let began = Instant::now();
    let finished = program.command(&["once"]);
    finished
        .assert_refused(3, &[&place, "refused", "PG_DSN__HOST", "gave up after 1.5 s, see RETRY_DEADLINE"]);
    assert!(finished.log.contains("trying again in"), "{}", finished.log);
    assert!((1.4..10.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    finished.assert_silent_on(SECRET);
    // Commands that only look do not wait.
    program.command(&["preview"]).assert_refused(3, &[&place]);
    let checked = program.command(&["check"]);
    assert_eq!(checked.code, 3, "{}", checked.output);
    assert!(checked.output.contains(&place) && checked.output.contains("not ready"), "{}", checked.output);
    program.set("PG_DSN__HOST", "nowhere.invalid");
    program.command(&["preview"]).assert_refused(3, &["nowhere.invalid", "lookup", "PG_DSN__HOST"]);
    assert!(Evidence::of(&database, &index, &program).is_nothing_made());
}

#[test]
fn an_index_server_that_is_away_is_named_and_given_up_after_the_deadline() {
    let database = Database::with_films("es_away", 3);
    let index = Index::new("es_away");
    let mut program = Program::new(&database, &index);
    let url = format!("http://127.0.0.1:{}", closed_port());
    program.set("ELASTIC_URL", &url).set("RETRY_DEADLINE", "1.5");
    program.command(&["once"]).assert_refused(3, &[&url, "refused", "RETRY_DEADLINE"]);
    let checked = program.command(&["check"]);
    assert_eq!(checked.code, 3, "{}", checked.output);
    assert!(checked.output.contains(&url), "{}", checked.output);
    // A server of another kind answers, but not as one of ours.
    program.set("ELASTIC_URL", &Server::Elasticsearch.url().replace("http:", "https:"));
    program.command(&["once"]).assert_refused(2, &["does not speak TLS", "http:// in ELASTIC_URL"]);
    // Both wrong: what has to be mended goes before what may pass.
    program.set("ELASTIC_URL", &url).set("PG_DSN__PASSWORD", "wrong");
    assert_eq!(program.command(&["check"]).code, 2);
    assert!(Evidence::of(&database, &index, &program).is_no_index());
}

#[test]
fn run_waits_for_a_database_that_is_not_there_yet() {
    let database = Database::new("late_database");
    database.drop_now();
    let index = Index::new("late_database");
    let program = Program::new(&database, &index);
    let mut running = program.start(&["run"]);
    let missing = format!("database \"{}\" does not exist", database.name);
    running.wait_for_log(&missing);
    running.wait_for_log("PG_DSN__DBNAME");
    wait_until(Duration::from_secs(20), "it was tried several times", || {
        running.log().matches(&missing).count() > 3
    });
    assert!(running.is_running());
    // It is made first and filled later, as by a restore.
    database.create_again();
    running.wait_for_log("has no tables yet");
    film_schema(&database);
    database.execute(
        "insert into content.film_work (id, title, type, created, modified)
         values (gen_random_uuid(), 'late', 'movie', now(), now())",
    );
    running.wait_for_log("caught up");
    index.wait_for(Duration::from_secs(60), || movies_documents(&mut database.connect()));
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
}

#[test]
fn a_wrong_password_ends_run_and_once_at_once() {
    let database = Database::with_films("password", 3);
    let index = Index::new("password");
    let mut program = Program::new(&database, &index);
    let role = Role::new(&database);
    role.settings(&mut program);
    program.set("PG_DSN__PASSWORD", "wrong-hunter2");
    let before = Evidence::of(&database, &index, &program);
    for command in ["run", "once", "resync", "preview"] {
        let finished = program.command(&[command]);
        finished.assert_refused(
            2,
            &[
                "cannot connect to PostgreSQL at",
                &format!("password authentication failed for user \"{}\"", role.name),
                "PG_DSN__PASSWORD",
            ],
        );
        finished.assert_silent_on("hunter2");
    }
    let checked = program.command(&["check"]);
    assert_eq!(checked.code, 2);
    assert!(checked.output.contains("password authentication failed"), "{}", checked.output);
    assert_eq!(Evidence::of(&database, &index, &program), before);
    assert!(before.is_nothing_made());
}

#[test]
fn a_role_without_rights_is_told_which_ones_it_needs() {
    let database = Database::with_films("rights", 3);
    let index = Index::new("rights");
    let mut program = Program::new(&database, &index);
    let role = Role::new(&database);
    role.settings(&mut program);
    let before = Evidence::of(&database, &index, &program);
    let name = &role.name;
    let refused = |texts: &[&str]| {
        for command in ["once", "run", "preview"] {
            program.command(&[command]).assert_refused(2, texts);
        }
        let checked = program.command(&["check"]);
        assert_eq!(checked.code, 2);
        assert!(texts.iter().all(|text| checked.output.contains(text)), "{}", checked.output);
        assert_eq!(Evidence::of(&database, &index, &program), before);
    };
    refused(&["root.table: the role may not read content.film_work, grant it usage on schema content"]);
    database.execute(&format!(
        "grant usage on schema content to {name};
         grant select on content.film_work, content.genre, content.genre_film_work to {name};
         grant select (id) on content.person_film_work to {name}"
    ));
    refused(&[
        "relation.person.table: the role may not read content.person, grant it select on content.person",
    ]);
    // A column alone: PostgreSQL's own words.
    database.execute(&format!("grant select on content.person to {name}"));
    refused(&["permission denied for table person_film_work", "select on every table of the definition"]);
    database.execute(&format!("grant select on content.person_film_work to {name}"));
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    // Rows that a policy hides would look deleted.
    database.execute(
        "alter table content.film_work enable row level security;
         create policy some_films on content.film_work using (title < 'M')",
    );
    database.execute("update content.film_work set modified = now()");
    let before = index.documents();
    program
        .command(&["once"])
        .assert_refused(2, &["row-level security policy", "content.film_work", "bypassrls"]);
    assert_same(&index.documents(), &before);
}

#[test]
fn a_strange_index_under_our_name_is_left_alone() {
    let database = Database::with_films("strange", 3);
    let index = Index::new("strange");
    let program = Program::new(&database, &index);
    let refused = |commands: &[&str], texts: &[&str]| {
        let before = Evidence::of(&database, &index, &program);
        for command in commands {
            program.command(&command.split(' ').collect::<Vec<_>>()).assert_refused(2, texts);
        }
        let after = Evidence::of(&database, &index, &program);
        assert!(before.is_same_outside(&after), "{before:?}\n{after:?}");
    };
    let make = |name: &str, body: &Value| {
        let (status, answer) = index.call("PUT", name, body);
        assert_eq!(status, 200, "{answer}");
    };
    // One that does not fit, with a document.
    make(&index.alias, &json!({ "mappings": { "properties": { "title": { "type": "keyword" } } } }));
    index.call("POST", &format!("{}/_doc?refresh", index.alias), &json!({ "title": "theirs" }));
    let texts = ["was not made by pgsluice", "title is keyword and must be text", "name another index"];
    refused(&["once", "run", "once --adopt", "resync", "resync --adopt"], &texts);
    let checked = program.command(&["check"]);
    assert_eq!(checked.code, 2);
    assert!(checked.output.contains(&index.alias) && checked.output.contains(texts[1]), "{}", checked.output);
    index.call("DELETE", &index.alias, &Value::Null);
    // One that fits, with a document.
    let body: Value = serde_json::from_str(include_str!("../../es_index.json")).unwrap();
    make(&index.alias, &body);
    index.call("POST", &format!("{}/_doc?refresh", index.alias), &json!({ "title": "theirs" }));
    refused(
        &["once", "resync"],
        &["was not made by pgsluice and holds 1 documents", "--adopt takes it over"],
    );
    index.call("DELETE", &index.alias, &Value::Null);
    // An alias of several.
    for name in ["one", "two"] {
        let aliases = json!({ "aliases": { &index.alias: {} } });
        make(&format!("{}_{name}", index.alias), &aliases);
    }
    refused(&["once", "run"], &["points at several indices", "leave it on one"]);
}
