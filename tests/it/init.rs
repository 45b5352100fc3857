//! `init`: drafts that `check` takes as they are, and what it says where it cannot make one.

use serde_json::{Value, json};

use crate::harness::{Database, Index, Program};

struct Bench {
    _database: Database,
    index: Index,
    program: Program,
}

impl Bench {
    fn new(label: &str, tables: &str) -> Self {
        let database = Database::new(label);
        database.execute(tables);
        let index = Index::new(label);
        let mut program = Program::new(&database, &index);
        program.set("DEFINITION", "draft.toml");
        Self { _database: database, index, program }
    }

    /// Drafts, checks and loads; returns the draft with what was said on the terminal.
    fn sync(&self, arguments: &[&str]) -> (String, String) {
        for file in ["draft.toml", "draft.json"] {
            let _ = std::fs::remove_file(self.program.folder().join(file));
        }
        let drafted = self.program.command(&[&["init", "--output", "draft"], arguments].concat());
        assert_eq!(drafted.code, 0, "{}", drafted.log);
        let draft = self.file("draft.toml");
        let checked = self.program.command(&["check"]);
        assert_eq!(checked.code, 0, "{draft}\n{}{}", checked.log, checked.output);
        let once = self.program.command(&["once"]);
        assert_eq!(once.code, 0, "{draft}\n{}", once.log);
        (draft, drafted.output)
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.program.folder().join(name)).unwrap()
    }

    fn refuses(&self, arguments: &[&str], texts: &[&str]) {
        self.program.command(&[&["init"], arguments].concat()).assert_refused(2, texts);
    }
}

#[test]
fn odd_names_composite_keys_and_several_schemas_are_drafted() {
    let bench = Bench::new(
        "init_odd",
        r#"
        create schema "my ""Shop""";
        create schema "ünï.code";
        create table "my ""Shop"""."Order.Größe" (
            "select" int, "Group By" text, "a.b" text, "_id" int, "from" timestamp, "Änderung" date,
            "Last Update" timestamptz not null default now(), primary key ("select", "Group By"));
        create table "ünï.code"."order" (
            "Id" int primary key, "user" int, grp text, "select" text, "order" text,
            foreign key ("user", grp) references "my ""Shop"""."Order.Größe" ("select", "Group By"));
        insert into "my ""Shop"""."Order.Größe" values (1, 'a|b', 'dot', 7, '2024-01-01', '2024-01-01'), (1, '', null, null, null, null);
        insert into "ünï.code"."order" values (1, 1, 'a|b', 's', 'o'), (2, 1, 'a|b', null, 'p')"#,
    );
    let (draft, said) = bench.sync(&["--root", r#""my ""Shop"""."Order.Größe""#]);
    assert!(draft.contains("cursor = \"Last Update\""), "{draft}");
    assert!(said.contains("ünï.code.order has no cursor"), "{said}");
    let documents = bench.index.documents();
    let document = &documents["1|a\\|b"];
    assert_eq!(document["a_b"], "dot");
    assert_eq!(document["field_id"], 7);
    assert_eq!(
        document["order"],
        json!([{ "Id": 1, "select": "s", "order": "o" }, { "Id": 2, "select": null, "order": "p" }])
    );
    // The other way round: to-one by two columns.
    let other = Index::new("init_odd_other");
    let (draft, _) = {
        let mut bench = Bench { _database: bench._database, index: other, program: bench.program };
        for (name, value) in bench.index.settings() {
            bench.program.set(&name, &value);
        }
        let state = bench.program.folder().join("other");
        bench.program.set("STORAGE_SUBDIR", state.to_str().unwrap());
        let synced = bench.sync(&["--root", r#""ünï.code".order"#]);
        assert_eq!(bench.index.documents()["1"]["Order_Größe"]["a_b"], "dot");
        synced
    };
    assert!(draft.contains(r#"on     = { select = "user", "Group By" = "grp" }"#), "{draft}");
}

#[test]
fn a_self_reference_a_loop_and_the_same_table_twice_are_drafted_once() {
    let bench = Bench::new(
        "init_loops",
        "create table place (id int primary key, name text, updated_at timestamptz not null default now());
         create table person (
             id int primary key, name text, boss_id int references person, home_id int references place,
             work_id int references place, team_id int, updated_at timestamptz not null default now());
         create table team (id int primary key, lead_id int references person, updated_at timestamptz not null default now());
         alter table person add foreign key (team_id) references team;
         create table friend (a int references person, b int references person, primary key (a, b));
         insert into place values (1, 'Here'), (2, 'There');
         insert into person values (1, 'Ann', null, 1, 2, null), (2, 'Bob', 1, 2, 2, null);
         insert into team values (1, 1); update person set team_id = 1",
    );
    let (draft, said) = bench.sync(&["--root", "person", "--depth", "4"]);
    assert!(said.contains("public.person refers to itself: one level is drafted (boss)"), "{said}");
    assert_eq!(
        bench.index.document("2").unwrap(),
        json!({
            "id": 2, "name": "Bob", "updated_at": bench.index.document("2").unwrap()["updated_at"],
            "boss": { "id": 1, "name": "Ann", "boss_id": null, "home_id": 1, "work_id": 2, "team_id": 1 },
            "home": { "id": 2, "name": "There" }, "work": { "id": 2, "name": "There" },
            "team": { "id": 1, "lead_id": 1 }, "team_by_lead": [],
        }),
        "{draft}"
    );
}

#[test]
fn partitions_views_and_tables_without_keys_are_drafted_or_refused_with_the_cure() {
    let bench = Bench::new(
        "init_kinds",
        "create table parted (id int primary key, name text, changed timestamptz not null default now())
           partition by range (id);
         create table parted_1 partition of parted for values from (0) to (100);
         create table parted_2 partition of parted for values from (100) to (200);
         create table note (parted_id int references parted, body text, modified timestamptz);
         create table log (line text, unique (line));
         create view seen as select id, upper(name) as name, changed from parted;
         insert into parted select g, 'n' || g from generate_series(50, 149) g;
         insert into note values (50, 'x', now()), (50, 'x', now()), (149, 'y', now())",
    );
    let (draft, said) = bench.sync(&["--root", "parted"]);
    assert!(!draft.contains("parted_1"), "{draft}");
    assert!(said.contains("public.note has no key"), "{said}");
    assert!(said.contains("public.note: modified may be NULL"), "{said}");
    assert_eq!(bench.index.count(), 100);
    assert_eq!(bench.index.document("149").unwrap()["note"][0]["body"], "y");
    bench.refuses(
        &["--root", "seen", "--output", "v"],
        &["so its key must be stated", "--key <column>", "id, name"],
    );
    bench
        .refuses(&["--root", "log", "--output", "v"], &["has no primary key and no unique key without NULL"]);
    bench.refuses(
        &["--root", "seen", "--output", "v", "--key", "idd"],
        &["has no column idd", "did you mean id?"],
    );
    let view = Index::new("init_view");
    let mut program = bench.program;
    for (name, value) in view.settings() {
        program.set(&name, &value);
    }
    program.set("STORAGE_SUBDIR", program.folder().join("view").to_str().unwrap());
    program.set("DEFINITION", "v.toml");
    let drafted = program.command(&["init", "--root", "seen", "--key", "id", "--output", "v"]);
    assert_eq!(drafted.code, 0, "{}", drafted.log);
    assert!(drafted.output.contains("nothing in the database says that id identifies"), "{}", drafted.output);
    program.once();
    assert_eq!(view.document("50").unwrap()["name"], "N50");
}

#[test]
fn nothing_is_overwritten_and_a_near_miss_is_named() {
    let bench = Bench::new(
        "init_refuses",
        "create schema shop; create table shop.film_work (id int primary key, author_id int);
         create table shop.author (id int primary key)",
    );
    bench.refuses(
        &["--root", "shop.film_wrok"],
        &["there is no table shop.film_wrok", "did you mean shop.film_work?"],
    );
    bench.refuses(&["--root", "film_work"], &["did you mean shop.film_work?"]);
    bench.refuses(&["--root", "shop.Film_Work"], &["did you mean shop.film_work?"]);
    bench.refuses(&["--root", "a.b.c"], &["is no name of a table"]);
    bench.refuses(&["--root", "shop.film_work", "--index", "Films"], &["cannot be the name of an index"]);
    bench.refuses(&["--root", "shop.film_work", "--output", "no/such/f"], &["make the folder first"]);
    let drafted = bench.program.command(&["init", "--root", "shop.film_work"]);
    assert_eq!(drafted.code, 0, "{}", drafted.log);
    assert!(
        drafted.output.contains("shop.film_work.author_id looks like a reference to shop.author"),
        "{}",
        drafted.output
    );
    assert!(drafted.output.contains("no foreign key leads from or to shop.film_work"), "{}", drafted.output);
    let before = (bench.file("film_work.toml"), bench.file("film_work.json"));
    bench.refuses(&["--root", "shop.film_work"], &["film_work.toml exists, and init overwrites nothing"]);
    std::fs::remove_file(bench.program.folder().join("film_work.toml")).unwrap();
    bench.refuses(&["--root", "shop.film_work"], &["film_work.json exists"]);
    assert_eq!(bench.file("film_work.json"), before.1);
    assert!(!bench.program.folder().join("film_work.toml").exists());
}

#[test]
fn columns_of_every_type_fit_the_drafted_mapping() {
    let bench = Bench::new(
        "init_types",
        "create type mood as enum ('good'); create type pair as (a int, b text); create domain whole as int;
         create type odd as (\"a.b\" int, \"*\" text); create extension hstore; create extension citext;
         create table t (
             id bigint primary key, a bool, b int2, c numeric, d float4, e float8, f text, g char(3), h uuid, i date,
             j timestamp, k timestamptz, l time, m interval, n json, o jsonb, p bytea, q int[], r text[], s mood, t mood[],
             u whole, v pair, w pair[], x int4range, y inet, z cidr, aa macaddr, ab bit(3), ac money, ad xml, ae point,
             af tsvector, ag float8[], ah date[], ai bytea[], aj numeric[], ak jsonb[], al oid, am name, an whole[],
             ao tsrange, ap int8multirange, aq polygon, ar hstore, as_ odd, at citext, au numeric(10, 2), av date[],
             aw numrange, ax inet[], ay bytea, az money[], ba timetz, bb varbit, bc pair[],
             updated_at timestamptz not null default now());
         insert into t values (9223372036854775807, true, -5, 'NaN', 'NaN', 'Infinity', repeat('x', 40000), 'a',
             gen_random_uuid(), 'infinity', '0044-03-15 BC', '-infinity', '24:00', '1 year', '[1, {\"a\": 2}]', '\"x\"',
             '\\x00ff', '{{1,2},{3,null}}', '{a,null}', 'good', '{good}', 5, (1, 'x'), array[(1, 'y')::pair], '[1,5)',
             '10.0.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03', '101', 12.5, '<a/>', '(1,2)', 'a b', '{NaN,1}',
             '{infinity}', '{\"\\\\x00\"}', '{NaN,1e400}', '{\"[1]\"}', 5, 'n', '{1}',
             '[2024-01-01, 2024-01-01 00:00:00.0001)', '{[1,2),[5,)}', '((0,0),(1000,0),(0,1000))', 'a=>1', (1, 'x'), 'T', 1.25,
             '{10000-01-01, 2024-01-01}', '[1,1.00000000000000000001)', '{10.0.0.1/24,::1}', '\\x00', '{1.5}', '12:00+02', '1',
             '{\"(,)\",NULL}');
         insert into t (id, c) values (1, 1e300), (2, 1e400), (3, null)",
    );
    let (_, said) = bench.sync(&["--root", "t"]);
    assert!(said.contains("public.t.n (json) is in the document and not indexed"), "{said}");
    assert_eq!(bench.index.count(), 4);
    let mapping: Value = serde_json::from_str(&bench.file("draft.json")).unwrap();
    let properties = &mapping["mappings"]["properties"];
    assert_eq!(properties["f"]["fields"]["keyword"]["type"], "keyword");
    assert_eq!(
        (&properties["v"]["properties"]["a"]["type"], &properties["w"]["type"]),
        (&json!("integer"), &json!("nested"))
    );
    assert_eq!((&properties["x"]["type"], &properties["y"]["type"]), (&json!("integer_range"), &json!("ip")));
    assert_eq!((&properties["q"]["type"], &properties["s"]["type"]), (&json!("integer"), &json!("keyword")));
    // Without the documents: one of them holds a number that no double can.
    let query = json!({ "query": { "term": { "q": 3 } }, "_source": false });
    let (_, answer) = bench.index.call("POST", &format!("{}/_search", bench.index.alias), &query);
    assert_eq!(answer["hits"]["hits"][0]["_id"], "9223372036854775807", "{answer}");
}
