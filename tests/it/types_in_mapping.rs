//! Types against the mapping: what `check` says of it, and what the servers do with values that fit.

use serde_json::{Value, json};

use crate::harness::{Database, Index, Program, Server};

struct Bench {
    database: Database,
    index: Index,
    program: Program,
}

impl Bench {
    fn new(server: Server, label: &str, tables: &str, mapping: &Value, definition: &str) -> Self {
        let database = Database::new(label);
        database.execute(tables);
        let index = Index::on(server, label);
        let mut program = Program::new(&database, &index);
        program.set("DEFINITION", "typed.toml");
        let bench = Self { database, index, program };
        bench.map(mapping);
        bench.define(definition);
        bench
    }

    fn map(&self, mapping: &Value) {
        self.program.write("typed.json", &json!({ "mappings": mapping }).to_string());
    }

    fn define(&self, definition: &str) {
        let head = "version = 1\nindex = \"typed\"\nmapping = \"typed.json\"\n";
        self.program.write("typed.toml", &format!("{head}{definition}"));
    }
}

const TABLES: &str = "
    create type address as (street text, position point);
    create table t (
      id int primary key, modified timestamptz not null default now(),
      flag bool, big bigint, price numeric(10,2), exact numeric, name text, at timestamptz, day date, clock time,
      booked tstzrange, sizes int4range[], spans nummultirange, host inet, net cidr, raw bytea, place point,
      tags text[], home address, homes address[], data jsonb
    );
    create index on t (modified, id)";

const FIELDS: &str = "flag = 'flag'\nbig = 'big'\nprice = 'price'\nexact = 'exact'\nname = 'name'\nat = 'at'\nday = 'day'
    clock = 'clock'\nbooked = 'booked'\nsizes = 'sizes'\nspans = 'spans'\nhost = 'host'\nnet = 'net'\nraw = 'raw'
    place = 'place'\ntags = 'tags'\nhome = 'home'\nhomes = 'homes'\ndata = 'data'\n";

fn definition() -> String {
    format!("[root]\ntable = \"t\"\ncursor = \"modified\"\n[document]\n{FIELDS}")
}

fn good_mapping() -> Value {
    let address = json!({ "street": { "type": "text" }, "position": { "type": "geo_point" } });
    json!({ "dynamic": "strict", "properties": {
        "flag": { "type": "boolean" },
        "big": { "type": "long" },
        "price": { "type": "double" },
        "exact": { "type": "keyword" },
        "name": { "type": "text", "fields": { "raw": { "type": "keyword" } } },
        "at": { "type": "date" },
        "day": { "type": "date" },
        "clock": { "type": "date", "format": "HH:mm:ss" },
        "booked": { "type": "date_range" },
        "sizes": { "type": "integer_range" },
        "spans": { "type": "double_range" },
        "host": { "type": "ip", "ignore_malformed": true },
        "net": { "type": "ip_range" },
        "raw": { "type": "binary" },
        "place": { "type": "geo_point" },
        "tags": { "type": "keyword" },
        "home": { "properties": address },
        "homes": { "type": "nested", "properties": address },
        "data": { "type": "object", "enabled": false },
    }})
}

fn values_can_be_searched(server: Server, label: &str) {
    let bench = Bench::new(server, label, TABLES, &good_mapping(), &definition());
    bench.database.execute(
        r#"insert into t values
             (1, now(), true, 9223372036854775807, 12.50, 12345678901234567890.10, 'Tea', '2024-05-01 12:00:00.123456+02',
              '2024-05-01', '03:04:05', '[2024-05-01 00:00+00,2024-06-01 00:00+00)', '{"[1,5)",empty,"[10,)"}',
              '{[1.5,2.5),[7,8]}', '10.1.2.3', '10.0.0.0/8', '\x0102', '(13.4,52.5)', '{a,b}',
              row('Main St', '(1,2)'), array[row('A', '(3,4)'), row('B', '(5,6)')]::address[], '[1, {"a": 2}]'),
             (2, now(), null, null, null, null, null, 'infinity', '0044-03-15 BC', null, 'empty', '{}', '{}', '10.0.0.1/8',
              null, '', null, '{}', null, '{}', '"text"')"#,
    );
    bench.program.once();
    assert_eq!(bench.index.count(), 2);
    for query in [
        json!({ "term": { "flag": true } }),
        json!({ "term": { "big": 9_223_372_036_854_775_807_i64 } }),
        json!({ "term": { "exact": "12345678901234567890.10" } }),
        json!({ "range": { "at": { "gte": "2024-05-01T10:00:00.123Z", "lt": "2024-05-01T10:00:00.124Z" } } }),
        json!({ "term": { "booked": "2024-05-31T23:00:00Z" } }),
        json!({ "term": { "sizes": 4 } }),
        json!({ "term": { "sizes": 1000 } }),
        json!({ "term": { "spans": 2.25 } }),
        json!({ "term": { "host": "10.0.0.0/8" } }),
        json!({ "term": { "net": "10.200.0.1" } }),
        json!({ "geo_distance": { "distance": "1km", "place": { "lon": 13.4, "lat": 52.5 } } }),
        json!({ "terms": { "tags": ["b"] } }),
        json!({ "geo_distance": { "distance": "1km", "home.position": { "lon": 1, "lat": 2 } } }),
        json!({ "nested": { "path": "homes", "query": { "bool": { "must": [
            { "match": { "homes.street": "b" } },
            { "geo_distance": { "distance": "1km", "homes.position": { "lon": 5, "lat": 6 } } },
        ] } } } }),
    ] {
        assert_eq!(bench.index.search(&query), ["1"], "{query}");
    }
    for query in [
        json!({ "term": { "sizes": 7 } }),
        json!({ "term": { "booked": "2024-06-01T00:00:00Z" } }),
        json!({ "exists": { "field": "booked" } }),
    ] {
        assert!(!bench.index.search(&query).contains(&"2".to_owned()), "{query}");
    }
    assert_eq!(bench.index.search(&json!({ "range": { "day": { "lt": "0000-01-01" } } })), ["2"]);
    // Nothing that is wrong or could be refused, but a place beyond the earth, and a clock of another format.
    let checked = bench.program.command(&["check", "--json"]);
    assert_eq!(checked.code, 0, "{}", checked.output);
    let report: Value = serde_json::from_str(&checked.output).unwrap();
    let doubted: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["level"] != "good")
        .map(|finding| finding["subject"].as_str().unwrap())
        .filter(|subject| subject.starts_with("document."))
        .collect();
    assert_eq!(
        doubted,
        ["document.clock", "document.home.position", "document.homes.position", "document.place"]
    );
}

#[test]
fn values_can_be_searched_in_elasticsearch() {
    values_can_be_searched(Server::Elasticsearch, "typed");
}

#[test]
fn values_can_be_searched_in_opensearch() {
    values_can_be_searched(Server::OpenSearch, "typed_os");
}

#[test]
fn check_names_every_field_that_would_refuse_or_lose_values() {
    let mut mapping = good_mapping();
    for (field, wrong) in [
        ("flag", json!({ "type": "long" })),
        ("big", json!({ "type": "double" })),
        ("price", json!({ "type": "long" })),
        ("exact", json!({ "type": "double" })),
        ("name", json!({ "type": "float" })),
        ("at", json!({ "type": "date", "format": "epoch_millis" })),
        ("day", json!({ "type": "integer" })),
        ("clock", json!({ "type": "date" })),
        ("booked", json!({ "type": "date" })),
        ("sizes", json!({ "type": "date_range" })),
        ("host", json!({ "type": "ip" })),
        ("net", json!({ "type": "ip" })),
        ("raw", json!({ "type": "double" })),
        ("place", json!({ "type": "double" })),
        ("tags", json!({ "type": "object" })),
        ("home", json!({ "type": "keyword" })),
        ("data", json!({ "type": "keyword" })),
    ] {
        mapping["properties"][field] = wrong;
    }
    mapping["properties"]["homes"] = json!({ "properties": { "street": { "type": "text" } } });
    let bench = Bench::new(Server::Elasticsearch, "mistyped", TABLES, &mapping, &definition());
    let checked = bench.program.command(&["check", "--json"]);
    assert_eq!(checked.code, 2, "{}", checked.output);
    let report: Value = serde_json::from_str(&checked.output).unwrap();
    assert_eq!(report["level"], "problem");
    let mut found: Vec<(String, String)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|finding| {
            let field = finding["subject"].as_str().unwrap().strip_prefix("document.")?;
            Some((field.to_owned(), finding["level"].as_str().unwrap().to_owned()))
        })
        .collect();
    found.sort();
    let mut expected: Vec<(String, String)> = [
        ("at", "problem"),
        ("big", "warning"),
        ("booked", "problem"),
        ("clock", "problem"),
        ("data", "warning"),
        ("day", "problem"),
        ("exact", "warning"),
        ("flag", "problem"),
        ("home", "problem"),
        ("homes", "warning"),
        ("homes.position", "problem"),
        ("host", "warning"),
        ("name", "warning"),
        ("net", "problem"),
        ("place", "problem"),
        ("price", "warning"),
        ("raw", "problem"),
        ("sizes", "problem"),
        ("tags", "problem"),
    ]
    .map(|(field, level)| (field.to_owned(), level.to_owned()))
    .to_vec();
    expected.sort();
    assert_eq!(found, expected);
    let said = bench.program.command(&["check"]).output;
    assert!(
        said.contains("document.flag: is boolean, and the mapping has long: every value is refused"),
        "{said}"
    );
}

#[test]
fn what_check_calls_refused_is_refused_by_the_server() {
    let pairs = [
        ("flag", "double", "true"),
        ("big", "boolean", "1"),
        ("at", "long", "now()"),
        ("at", "ip", "now()"),
        ("clock", "date", "'03:04'"),
        ("net", "ip", "'10.0.0.0/8'"),
        ("booked", "date", "'[2024-01-01,2024-01-02)'"),
        ("booked", "keyword", "'[2024-01-01,2024-01-02)'"),
        ("booked", "integer_range", "'[2024-01-01,2024-01-02)'"),
        ("big", "object", "1"),
        ("tags", "object", "'{a}'"),
        ("home", "text", "row('a', null)"),
        ("raw", "long", "'\\x0102'"),
        ("day", "geo_point", "'2024-01-01'"),
    ];
    for server in [Server::Elasticsearch, Server::OpenSearch] {
        let properties: serde_json::Map<String, Value> = pairs
            .iter()
            .enumerate()
            .map(|(number, (_, kind, _))| (format!("f{number}"), json!({ "type": kind })))
            .collect();
        let fields: Vec<String> = pairs
            .iter()
            .enumerate()
            .map(|(number, (column, ..))| {
                format!(
                    "f{number} = {{ list = \"part\", value = \"{column}\", where = {{ id = {number} }} }}"
                )
            })
            .collect();
        let definition = format!(
            "[root]\ntable = \"r\"\n[relation.part]\ntable = \"t\"\non = {{ id = \"id\" }}\n[document]\n{}",
            fields.join("\n")
        );
        let tables = format!("{TABLES}; create table r (id int primary key)");
        let bench =
            Bench::new(server, "refusing", &tables, &json!({ "properties": properties }), &definition);
        for (number, (column, _, value)) in pairs.iter().enumerate() {
            bench.database.execute(&format!(
                "insert into r values ({number}); insert into t (id, {column}) values ({number}, {value})"
            ));
        }
        let checked = bench.program.command(&["check"]).output;
        for number in 0..pairs.len() {
            assert!(checked.contains(&format!("problem  document.f{number}:")), "{number}: {checked}");
        }
        bench.program.command(&["once"]);
        let refused = bench.program.command(&["dead-letters", "list"]).output;
        for (number, pair) in pairs.iter().enumerate() {
            assert!(
                bench.index.document(&number.to_string()).is_none(),
                "{server:?} takes {pair:?}\n{refused}"
            );
        }
    }
}

#[test]
fn nan_is_null_or_refuses_the_document() {
    let tables = "
        create table t (id int primary key, modified timestamptz not null default now(), x float8, list numeric[],
                        until timestamptz);
        create table part (id int primary key, t int, y float4, modified timestamptz not null default now());
        insert into t values (1, now(), 1.5, '{1}', now()), (2, now(), 'NaN', '{}', null),
                             (3, now(), 1, '{1,Infinity}', null), (4, now(), 1, null, 'infinity'), (5, now(), 1, null, null);
        insert into part values (1, 5, '-Infinity'), (2, 5, 2.5)";
    let definition = "[root]\ntable = \"t\"\ncursor = \"modified\"\n[relation.part]\ntable = \"part\"\ncursor = \"modified\"\non = { t = \"id\" }\n\
        [document]\nx = \"x\"\nlist = \"list\"\nuntil = \"until\"\nparts = { list = \"part\", value = \"y\" }";
    let mapping = json!({ "properties": { "x": { "type": "double" }, "until": { "type": "date" } } });
    let bench = Bench::new(Server::Elasticsearch, "nan", tables, &mapping, definition);
    bench.program.once();
    let at = |id: &str| bench.index.document(id).unwrap();
    assert_eq!(at("2"), json!({ "x": null, "list": [], "until": null, "parts": [] }));
    assert_eq!(at("3")["list"], json!([1, null]));
    assert_eq!(at("4")["until"], Value::Null);
    assert_eq!(at("5")["parts"], json!([2.5]));

    bench.define(&format!("on_nan = \"refuse\"\n{definition}"));
    bench.program.command(&["resync"]);
    let refused = bench.program.command(&["dead-letters", "list"]).output;
    for (id, field) in [("2", "x"), ("3", "list"), ("4", "until"), ("5", "parts")] {
        assert!(
            refused.lines().any(|line| line.contains("not_a_number") && line.contains(id)),
            "{id}: {refused}"
        );
        assert!(refused.contains(&format!("the field \"{field}\"")), "{field}: {refused}");
    }
    // Corrected, they are documents again.
    bench.database.execute(
        "update t set x = 1, list = null, until = null, modified = now(); update part set y = 1, modified = now()",
    );
    bench.program.once();
    assert_eq!(at("2")["x"], json!(1.0));
    assert_eq!(at("5")["parts"], json!([1.0, 1.0]));

    bench.define(&format!("on_nan = \"refused\"\n{definition}"));
    bench
        .program
        .command(&["check"])
        .assert_refused(2, &["on_nan", "\"null\" or \"refuse\"", "did you mean refuse?"]);
}
