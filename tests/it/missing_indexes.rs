//! `check` names the indexes that its own statements lack, with statements that silence it.

use serde_json::Value;

use crate::harness::{Database, Index, Program};

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
