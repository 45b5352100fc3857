//! Tables that are not as in the textbook: composite keys, quoted names, reserved words, partitions, views, a table
//! that is named twice, keys that are none.

use serde_json::json;

use crate::harness::{Database, Evidence, Index, Program};

struct Bench {
    database: Database,
    index: Index,
    program: Program,
}

impl Bench {
    fn new(label: &str, tables: &str, definition: &str) -> Self {
        let database = Database::new(label);
        database.execute(tables);
        let index = Index::new(label);
        let mut program = Program::new(&database, &index);
        program.set("DEFINITION", "odd.toml");
        program.write("odd.json", r#"{ "mappings": { "dynamic": true } }"#);
        let bench = Self { database, index, program };
        bench.define(definition);
        bench
    }

    fn define(&self, definition: &str) {
        let head = "version = 1\nindex = \"odd\"\nmapping = \"odd.json\"\n";
        self.program.write("odd.toml", &format!("{head}{definition}"));
    }

    fn check(&self) -> String {
        let checked = self.program.command(&["check"]);
        assert_eq!(checked.code, 0, "{}{}", checked.log, checked.output);
        checked.output
    }

    fn refuses(&self, texts: &[&str]) {
        let before = Evidence::of(&self.database, &self.index, &self.program);
        for command in ["once", "resync"] {
            self.program.command(&[command]).assert_refused(2, texts);
        }
        assert_eq!(Evidence::of(&self.database, &self.index, &self.program), before);
        assert!(before.is_no_index());
    }
}

const ORDERS: &str = r#"
    create table "My ""Table"" x" (
        "Select" int, "Group By" text, "from" text, "Änderung" timestamptz not null default now(),
        primary key ("Select", "Group By")
    );
    insert into "My ""Table"" x" values (1, 'a', 'x'), (1, 'a|b', 'y'), (2, 'Ü\', 'z'), (10, '', null);
    create table "order" (
        "user" int, grp text, "table" int primary key, "desc" text, modified timestamptz default now()
    );
    insert into "order" values (1, 'a', 1, 'one'), (1, 'a', 2, 'two'), (2, 'Ü\', 3, 'three')"#;

const ORDERS_DEFINITION: &str = r#"
    [root]
    table = '"My ""Table"" x"'
    cursor = "Änderung"
    [relation.order]
    table = "public.order"
    cursor = "modified"
    on = { user = "Select", grp = "Group By" }
    [document]
    number = "Select"
    group = "Group By"
    from = "from"
    lines = { list = "order", object = { desc = "desc", "table" = "table" } }"#;

#[test]
fn composite_keys_quoted_names_and_reserved_words_are_synced() {
    let mut bench = Bench::new("quoted", ORDERS, ORDERS_DEFINITION);
    bench.check();
    // Ranges of one row each, so that each key is compared as a whole.
    bench.program.set("CHUNK_SIZE", "1");
    bench.program.once();
    let lines = json!([{ "desc": "one", "table": 1 }, { "desc": "two", "table": 2 }]);
    let expected = [
        ("1|a", json!({ "number": 1, "group": "a", "from": "x", "lines": lines })),
        ("1|a\\|b", json!({ "number": 1, "group": "a|b", "from": "y", "lines": [] })),
        (
            "2|Ü\\\\",
            json!({ "number": 2, "group": "Ü\\", "from": "z", "lines": [{ "desc": "three", "table": 3 }] }),
        ),
        ("10|", json!({ "number": 10, "group": "", "from": null, "lines": [] })),
    ];
    let expect = |expected: &[(&str, serde_json::Value)]| {
        let documents = bench.index.documents();
        let expected = expected.iter().map(|(id, document)| ((*id).to_owned(), document.clone())).collect();
        assert_eq!(documents, expected);
    };
    expect(&expected);
    // A change of a child reaches the root by both columns of its key.
    bench.database.execute(r#"update "order" set "desc" = 'drei', modified = now() where "table" = 3"#);
    bench.program.once();
    let mut changed = expected.clone();
    changed[2].1["lines"][0]["desc"] = json!("drei");
    expect(&changed);
    let previewed = bench.program.command(&["preview", "1|a\\|b"]);
    assert_eq!(
        (previewed.code, serde_json::from_str(&previewed.output).ok()),
        (0, Some(expected[1].1.clone()))
    );
    bench.program.command(&["preview", "1"]).assert_refused(
        2,
        &["\"1\" cannot be a key of public.My \"Table\" x", "Select integer | Group By text"],
    );
}

#[test]
fn preview_keeps_every_digit_of_a_number() {
    let number = "123456789012345678901234567890.123456789012345678901234567890";
    let bench = Bench::new(
        "digits",
        &format!(
            "create table t (id bigint primary key, amount numeric, settings json);
             insert into t values (9223372036854775807, {number}, '{{ \"limit\": {number} }}')"
        ),
        "[root]\ntable = \"t\"\n[document]\nid = \"id\"\namount = \"amount\"\nsettings = \"settings\"",
    );
    let previewed = bench.program.command(&["preview"]);
    assert_eq!(previewed.code, 0, "{}", previewed.log);
    assert_eq!(previewed.output.matches(number).count(), 2, "{}", previewed.output);
    assert!(previewed.output.contains("9223372036854775807"), "{}", previewed.output);
}

#[test]
fn a_partitioned_table_is_synced_over_all_its_partitions() {
    let bench = Bench::new(
        "parted",
        // A row fills a page, so that the table is large enough for advice.
        "create table parted (
           id int primary key, name text, modified timestamptz not null default now(), pad text default repeat('x', 7500)
         ) partition by range (id);
         alter table parted alter pad set storage plain;
         create table parted_1 partition of parted for values from (0) to (100);
         create table parted_2 partition of parted for values from (100) to (200);
         insert into parted select g, 'n' || g, now() from generate_series(1, 150) g",
        "[root]\ntable = \"parted\"\ncursor = \"modified\"\n[document]\nid = \"id\"\nname = \"name\"",
    );
    let said = bench.check();
    // The advice is one that PostgreSQL accepts.
    let advice = said.lines().find(|line| line.contains("create index")).unwrap().trim();
    bench.database.execute(advice);
    assert!(!bench.check().contains("create index"));
    bench.program.once();
    assert_eq!(bench.index.count(), 150);
    bench.database.execute("update parted set name = 'new', modified = now() where id in (7, 170, 142)");
    bench.program.once();
    assert_eq!(bench.index.document("7").unwrap()["name"], "new");
    assert_eq!(bench.index.document("142").unwrap()["name"], "new");
}

#[test]
fn a_view_is_synced_by_a_named_key_and_refused_without() {
    let tables =
        "create table t (id int primary key, name text, modified timestamptz not null default now());
         insert into t select g, 'n' || g, now() from generate_series(1, 20) g;
         create view v as select id, upper(name) as name, modified from t where id > 10";
    let bench = Bench::new(
        "view",
        tables,
        "[root]\ntable = \"v\"\ncursor = \"modified\"\n[document]\nname = \"name\"",
    );
    bench.refuses(&["root.key: table public.v has no primary key, so its key must be named"]);
    bench.define("[root]\ntable = \"v\"\nkey = [\"id\"]\ncursor = \"modified\"\n[document]\nname = \"name\"");
    assert!(bench.check().contains("public.v: is a view or foreign table"));
    bench.program.once();
    assert_eq!(bench.index.count(), 10);
    bench.database.execute("update t set name = 'new', modified = now() where id in (5, 15)");
    bench.program.once();
    assert_eq!(bench.index.document("15").unwrap()["name"], "NEW");
    // As a relation it needs a key too.
    bench.define(
        "[root]\ntable = \"t\"\n[relation.v]\ntable = \"v\"\ncursor = \"modified\"\non = { id = \"id\" }\n\
         [document]\nv = { one = \"v\", value = \"name\" }",
    );
    bench.program.command(&["preview"]).assert_refused(
        2,
        &["relation.v.key: public.v is a view or foreign table, so its key must be named"],
    );
}

#[test]
fn a_table_may_stand_in_several_places_of_a_definition() {
    let bench = Bench::new(
        "twice",
        "create table person (id int primary key, boss int, name text, modified timestamptz not null default now());
         insert into person values (1, null, 'Ann'), (2, 1, 'Bob'), (3, 1, 'Cy'), (4, 2, 'Di')",
        r#"
        [root]
        table = "person"
        cursor = "modified"
        [relation.boss]
        table = "person"
        cursor = "modified"
        on = { id = "boss" }
        [relation.report]
        table = "person"
        cursor = "modified"
        on = { boss = "id" }
        [document]
        name = "name"
        boss = { one = "boss", value = "name" }
        reports = { list = "report", value = "name" }"#,
    );
    bench.check();
    bench.program.once();
    assert_eq!(
        bench.index.document("2").unwrap(),
        json!({ "name": "Bob", "boss": "Ann", "reports": ["Di"] })
    );
    // One changed row reaches itself, its boss and its reports.
    bench.database.execute("update person set name = 'Rob', modified = now() where id = 2");
    bench.program.once();
    assert_eq!(bench.index.document("1").unwrap()["reports"], json!(["Cy", "Rob"]));
    assert_eq!(bench.index.document("2").unwrap()["name"], "Rob");
    assert_eq!(bench.index.document("4").unwrap()["boss"], "Rob");
}

#[test]
fn a_key_with_nulls_or_duplicates_is_refused_with_their_numbers() {
    let bench = Bench::new(
        "no_key",
        "create table t (id int, code text, modified timestamptz not null default now());
         insert into t values (1, 'secret-a'), (1, 'secret-b'), (null, 'secret-c'), (2, 'secret-d')",
        "[root]\ntable = \"t\"\ncursor = \"modified\"\n[document]\ncode = \"code\"",
    );
    bench.refuses(&["root.key: table public.t has no primary key, so its key must be named"]);
    bench.define("[root]\ntable = \"t\"\nkey = [\"id\"]\ncursor = \"modified\"\n[document]\ncode = \"code\"");
    bench.refuses(&["the key of the root table public.t is no key: rows with a NULL in it: 1, values that stand more than once: 1", "name columns in root.key"]);
    let checked = bench.program.command(&["check"]);
    assert_eq!(checked.code, 2);
    assert!(checked.output.contains("is no key"), "{}", checked.output);
    checked.assert_silent_on("secret-");
    // A column that does identify the rows will do, with or without an index.
    bench.define("[root]\ntable = \"t\"\nkey = [\"code\"]\ncursor = \"modified\"\n[document]\nid = \"id\"");
    bench.program.once();
    assert_eq!(bench.index.count(), 4);
}
