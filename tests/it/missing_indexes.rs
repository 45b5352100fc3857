//! `check` names the indexes that its own statements lack, with statements that silence it.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Database, Index, Program, wait_until};

const TABLES: &str = "
    create table film (
        id int primary key, title text, pad text default repeat('x', 1000), modified timestamptz not null default now());
    create table part (
        id int primary key, film_id int, name text, pad text default repeat('x', 500), modified timestamptz not null default now());
    create table tag (id int primary key, name text, modified timestamptz not null default now());
    create table film_tag (
        film_id int, tag_id int, pad text default repeat('x', 300), created timestamptz not null default now(),
        primary key (film_id, tag_id));
    insert into film (id, title) select n, 'n' || n from generate_series(1, 3000) n;
    insert into part (id, film_id, name) select n, n % 3000, 'p' || n from generate_series(1, 6000) n;
    insert into tag (id, name) select n, 't' || n from generate_series(1, 300) n;
    insert into film_tag (film_id, tag_id) select n, n % 300 from generate_series(1, 6000) n;
    analyze";

const DEFINITION: &str = "
    version = 1
    index = \"films\"
    mapping = \"films.json\"
    [root]
    table = \"film\"
    cursor = \"modified\"
    [relation.part]
    table = \"part\"
    cursor = \"modified\"
    on = { film_id = \"id\" }
    [relation.tag]
    table = \"tag\"
    cursor = \"modified\"
    through = { table = \"film_tag\", on = { film_id = \"id\" }, cursor = \"created\" }
    on = { id = \"tag_id\" }
    [document]
    title = \"title\"
    parts = { list = \"part\", value = \"name\" }
    tags = { list = \"tag\", value = \"name\" }";

fn bench(label: &str) -> (Database, Index, Program) {
    let database = Database::new(label);
    let index = Index::new(label);
    let mut program = Program::new(&database, &index);
    program.write("films.json", r#"{ "mappings": { "dynamic": true } }"#);
    program.write("films.toml", DEFINITION);
    program.set("DEFINITION", "films.toml");
    (database, index, program)
}

#[test]
fn the_statements_that_check_proposes_silence_it() {
    let (database, _index, program) = bench("indexes");
    database.execute(TABLES);
    let checked = program.command(&["check", "--json"]);
    assert_eq!(checked.code, 0, "{}{}", checked.log, checked.output);
    let found: Value = serde_json::from_str(&checked.output).unwrap();
    assert_eq!((&found["status"], &found["level"]), (&"yellow".into(), &"warning".into()));
    let mut proposed: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|finding| finding["cure"].as_str())
        .filter(|cure| cure.starts_with("create index"))
        .collect();
    proposed.sort_unstable();
    // Whether the planner would walk a whole other index for the tags of a poll is a matter of its sample.
    let of_any_sample: Vec<&str> =
        proposed.iter().copied().filter(|cure| !cure.ends_with(r#""film_tag" ("tag_id")"#)).collect();
    assert_eq!(
        of_any_sample,
        [
            r#"create index concurrently on "public"."film" ("modified", "id")"#,
            r#"create index concurrently on "public"."film_tag" ("created", "film_id", "tag_id")"#,
            r#"create index concurrently on "public"."part" ("film_id")"#,
            r#"create index concurrently on "public"."part" ("modified", "id")"#,
        ],
        "{found:#}"
    );
    for statement in proposed {
        database.execute(statement);
    }
    let checked = program.command(&["check"]);
    assert_eq!(checked.code, 0, "{}", checked.log);
    assert!(!checked.output.contains("index is missing"), "{}", checked.output);
    assert!(checked.output.contains("green: everything is as it should be"), "{}", checked.output);
}

#[test]
fn small_tables_make_no_noise() {
    let (database, _index, program) = bench("indexes_small");
    database.execute(&TABLES.replace("3000) n", "30) n").replace("6000) n", "60) n"));
    let checked = program.command(&["check"]);
    assert_eq!(checked.code, 0, "{}", checked.log);
    assert!(!checked.output.contains("create index"), "{}", checked.output);
}

/// More than a megabyte of links; `check` is silent about them.
fn films(label: &str) -> (Database, Index, Program) {
    let database = Database::with_films(label, 3000);
    let index = Index::new(label);
    let program = Program::new(&database, &index);
    assert_eq!(hints(&program), Vec::<(String, String)>::new());
    (database, index, program)
}

/// The messages and statements of what `check` finds that would make it quicker.
fn hints(program: &Program) -> Vec<(String, String)> {
    let checked = program.command(&["check", "--json"]);
    assert_eq!(checked.code, 0, "{}{}", checked.log, checked.output);
    let found: Value = serde_json::from_str(&checked.output).unwrap();
    assert_eq!(found["status"], "green", "{found:#}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let hints = found["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "hint");
    hints.map(|hint| (text(&hint["message"]), text(&hint["cure"]))).collect()
}

/// Leaves the links an index that begins as one that covers would, and holds nothing more.
const PLAIN_INDEX: &str = "
    alter table content.person_film_work drop constraint person_film_work_film_work_id_person_id_role_key;
    create index on content.person_film_work (film_work_id);";

#[test]
fn links_are_read_from_the_covering_index_that_check_names() {
    let (database, _index, mut program) = films("covering");
    database.execute(PLAIN_INDEX);
    let hinted = hints(&program);
    let [(message, statement)] = hinted.as_slice() else { panic!("{hinted:?}") };
    assert_eq!(
        statement,
        r#"create index concurrently on "content"."person_film_work" ("film_work_id") include ("person_id", "role")"#
    );
    assert!(message.contains("more than 2,600 bytes in role cannot"), "{message}");
    let said = program.command(&["check"]).output;
    assert!(said.contains("hint     content.person_film_work: no index holds all columns"), "{said}");
    assert!(said.contains("good     content.person_film_work: is watched by its cursor"), "{said}");
    database.execute(statement);
    database.execute("vacuum content.person_film_work");
    assert_eq!(hints(&program), []);
    let plan = database.connect().query(
        "explain select person_id, role from content.person_film_work
          where film_work_id > '80000000-0000-0000-0000-000000000000'
            and film_work_id <= '88000000-0000-0000-0000-000000000000'",
        &[],
    );
    let plan: Vec<String> = plan.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(plan[0].starts_with("Index Only Scan using"), "{plan:?}");
    // The program's own statements read it so: in ranges, with related rows in memory and without.
    let links = database.connect().query_one("select count(*) from content.person_film_work", &[]);
    let link_count: i64 = links.unwrap().get(0);
    program.set("CHUNK_SIZE", "200");
    for (command, cache) in [("once", "0"), ("resync", "64")] {
        program.set("RELATED_CACHE_MB", cache);
        let before = reads_of_covering_index(&database);
        let finished = program.command(&[command]);
        assert_eq!(finished.code, 0, "{}", finished.log);
        wait_until(Duration::from_secs(10), "counted what the load has read", || {
            reads_of_covering_index(&database).0 >= before.0 + link_count
        });
        let after = reads_of_covering_index(&database);
        assert_eq!(after.1, before.1, "rows that were looked up in the table with RELATED_CACHE_MB={cache}");
    }
}

/// Entries of the covering index that were read so far, and how many of their rows were looked up in the table.
fn reads_of_covering_index(database: &Database) -> (i64, i64) {
    let read = database.connect().query_one(
        "select coalesce(idx_tup_read, 0), coalesce(idx_tup_fetch, 0)
           from pg_stat_user_indexes
          where pg_get_indexdef(indexrelid) like '%(film_work_id) INCLUDE (person_id, role)'",
        &[],
    );
    let read = read.unwrap();
    (read.get(0), read.get(1))
}

#[test]
fn no_covering_index_is_named_where_it_is_there_or_cannot_be() {
    let (database, _index, program) = films("covering_not");
    database.execute(PLAIN_INDEX);
    // In another order, and with a column more.
    let other = "on content.person_film_work (film_work_id, role) include (created, person_id)";
    database.execute(&format!("create index other {other}"));
    assert_eq!(hints(&program), []);
    // A part of the rows is not enough.
    database.execute(&format!("drop index content.other; create index other {other} where role <> 'writer'"));
    assert_eq!(hints(&program).len(), 1);
    // Too long for an index, as far as anyone can know.
    database.execute(
        "update content.person_film_work set role = role || repeat('x', 100);
         analyze content.person_film_work",
    );
    assert_eq!(hints(&program), []);
    database.execute(
        "update content.person_film_work set role = 'actor';
         drop index content.other;
         alter table content.person_film_work alter column role type varchar(20);
         analyze content.person_film_work",
    );
    let hinted = hints(&program);
    assert!(matches!(hinted.as_slice(), [(message, _)] if !message.contains("bytes")), "{hinted:?}");
    database.execute(
        "alter table content.person_film_work rename to links;
         create view content.person_film_work as select * from content.links",
    );
    let said = program.command(&["check"]).output;
    assert!(!said.contains("hint"), "{said}");
}

#[test]
fn a_large_table_that_a_load_cannot_keep_in_memory_is_named_with_the_cure() {
    let (database, _index, program) = bench("not_kept");
    database.execute(&format!(
        "{TABLES};
         insert into tag (id, name) select n, repeat(md5(n::text), 10) from generate_series(1000, 9000) n;
         analyze"
    ));
    let said = |definition: &str| {
        program.write("films.toml", definition);
        let checked = program.command(&["check"]);
        assert_eq!(checked.code, 0, "{}{}", checked.log, checked.output);
        checked.output.lines().filter(|line| line.contains("does not keep them in memory")).count()
    };
    assert_eq!(said(DEFINITION), 0);
    let cursor = "[relation.tag]\n    table = \"tag\"\n    cursor = \"modified\"\n";
    assert!(DEFINITION.contains(cursor));
    assert_eq!(said(&DEFINITION.replace(cursor, "[relation.tag]\n    table = \"tag\"\n")), 1);
    // What is computed of both tables.
    let both = "tags = { list = \"tag\", value = { sql = \"t.name || through.film_id\" } }";
    assert_eq!(said(&DEFINITION.replace("tags = { list = \"tag\", value = \"name\" }", both)), 1);
}
