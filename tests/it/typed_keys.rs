//! Keys of every type that can be one: the `_id` is the server's text of it, and the row is found again by it.

use serde_json::json;

use crate::harness::{Database, Index, Program};

/// A root table whose key has these columns, and a child table that names it.
struct Keyed {
    database: Database,
    index: Index,
    program: Program,
}

impl Keyed {
    /// `columns` are names and types; `rows` the key of each root row in SQL, and that of its child.
    fn new(label: &str, setup: &str, columns: &[(&str, &str)], rows: &[(&str, &str)]) -> Self {
        let database = Database::new(label);
        let listed: Vec<String> = columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let (listed, names) = (listed.join(", "), names.join(", "));
        database.execute(&format!(
            "{setup};
             create table root ({listed}, label text, modified timestamptz not null default now(), primary key ({names}));
             create table child ({listed}, id int primary key, note text, modified timestamptz not null default now())"
        ));
        for (number, (root, child)) in rows.iter().enumerate() {
            database.execute(&format!(
                "insert into root ({names}, label) values ({root}, 'r{number}');
                 insert into child ({names}, id, note) values ({child}, {number}, 'n{number}')"
            ));
        }
        let index = Index::new(label);
        let mut program = Program::new(&database, &index);
        let on: Vec<String> = columns.iter().map(|(name, _)| format!("{name} = \"{name}\"")).collect();
        program.write("keyed.json", r#"{ "mappings": { "dynamic": true } }"#);
        program.write(
            "keyed.toml",
            &format!(
                "version = 1\nindex = \"keyed\"\nmapping = \"keyed.json\"\n\
                 [root]\ntable = \"root\"\ncursor = \"modified\"\n\
                 [relation.child]\ntable = \"child\"\ncursor = \"modified\"\non = {{ {} }}\n\
                 [document]\nlabel = \"label\"\nnotes = {{ list = \"child\", value = \"note\" }}",
                on.join(", ")
            ),
        );
        program.set("DEFINITION", "keyed.toml");
        // Ranges of one row each: every key is a bound once.
        program.set("CHUNK_SIZE", "1");
        Self { database, index, program }
    }

    fn assert(&self, ids: &[&str], prefix: &str) {
        let found = self.index.documents();
        let expected = ids
            .iter()
            .enumerate()
            .map(|(number, id)| {
                let document =
                    json!({ "label": format!("{prefix}r{number}"), "notes": [format!("{prefix}n{number}")] });
                ((*id).to_owned(), document)
            })
            .collect();
        assert_eq!(found, expected);
    }

    /// Loads, changes every root and child, and asks for each document by its id.
    fn follow(&self, ids: &[&str]) {
        self.program.once();
        self.assert(ids, "");
        self.database.execute("update child set note = 'x' || note, modified = now()");
        self.database.execute("update root set label = 'x' || label, modified = now()");
        self.program.once();
        self.assert(ids, "x");
        let previewed = self.program.command(&[&["preview", "--"][..], ids].concat());
        assert_eq!(previewed.code, 0, "{}", previewed.log);
        for number in 0..ids.len() {
            assert!(previewed.output.contains(&format!("xr{number}")), "{}", previewed.output);
        }
    }
}

/// A key of one column `k`; `rows` are (root key in SQL, child's key in SQL, `_id`).
fn follow(label: &str, setup: &str, kind: &str, rows: &[(&str, &str, &str)]) {
    let keys: Vec<(&str, &str)> = rows.iter().map(|(root, child, _)| (*root, *child)).collect();
    let ids: Vec<&str> = rows.iter().map(|(_, _, id)| *id).collect();
    Keyed::new(label, setup, &[("k", kind)], &keys).follow(&ids);
}

/// The same where root and child have the same text.
fn follow_same(label: &str, setup: &str, kind: &str, rows: &[(&str, &str)]) {
    let rows: Vec<(&str, &str, &str)> = rows.iter().map(|(key, id)| (*key, *key, *id)).collect();
    follow(label, setup, kind, &rows);
}

#[test]
fn text_keys_are_found_by_their_own_equality() {
    follow_same("k_text", "", "text", &[("'a|b\\'", "a|b\\"), ("'Ü '", "Ü "), ("'-x'", "-x")]);
    follow_same("k_char", "", "char(4)", &[("'ab'", "ab"), ("'x y'", "x y")]);
    follow_same(
        "k_uuid",
        "",
        "uuid",
        &[("'E7E6D147-CC10-406C-A7A2-5E0BE2231327'", "e7e6d147-cc10-406c-a7a2-5e0be2231327")],
    );
    follow_same("k_name", "", "name", &[("'a name'", "a name")]);
    follow(
        "k_citext",
        "create extension citext",
        "citext",
        &[("'AbC'", "'aBc'", "AbC"), ("'d'", "'D'", "d")],
    );
    follow(
        "k_collation",
        "create collation blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "text collate blind",
        &[("'Ann'", "'aNN'", "Ann"), ("'bob'", "'BOB'", "bob")],
    );
    follow_same(
        "k_enum",
        "create type mood as enum ('sad', 'so \"la\"')",
        "mood",
        &[("'so \"la\"'", "so \"la\""), ("'sad'", "sad")],
    );
    follow_same("k_domain", "create domain code as text check (value <> '')", "code", &[("'c1'", "c1")]);
}

#[test]
fn number_keys_are_found_whatever_their_scale() {
    follow(
        "k_numeric",
        "",
        "numeric",
        &[("1.50", "1.5", "1.50"), ("-2", "-2.000", "-2"), ("'NaN'", "'NaN'", "NaN")],
    );
    follow_same("k_int2", "", "int2", &[("-32768", "-32768"), ("7", "7")]);
    follow_same("k_float", "", "float8", &[("0.1", "0.1"), ("'Infinity'", "Infinity"), ("1e-300", "1e-300")]);
    follow_same("k_oid", "", "oid", &[("4294967295", "4294967295")]);
    follow_same("k_bool", "", "bool", &[("true", "true"), ("false", "false")]);
    follow_same("k_bits", "", "bit(3)", &[("b'101'", "101"), ("b'000'", "000")]);
}

#[test]
fn time_keys_are_text_in_utc() {
    follow(
        "k_stamptz",
        "",
        "timestamptz",
        &[
            ("'2024-01-02 03:04:05.6+03'", "'2024-01-02 00:04:05.600+00'", "2024-01-02 00:04:05.6+00"),
            ("'infinity'", "'infinity'", "infinity"),
            ("'0044-03-15 00:00+00 BC'", "'0044-03-15 00:00+00 BC'", "0044-03-15 00:00:00+00 BC"),
        ],
    );
    follow_same("k_stamp", "", "timestamp", &[("'2024-01-02 03:04:05'", "2024-01-02 03:04:05")]);
    follow_same("k_date", "", "date", &[("'2024-01-02'", "2024-01-02"), ("'-infinity'", "-infinity")]);
    follow_same("k_time", "", "time", &[("'03:04:05.6'", "03:04:05.6")]);
    follow(
        "k_interval",
        "",
        "interval",
        &[("'1 day'", "'24:00:00'", "P1D"), ("'90 min'", "'1:30'", "PT1H30M")],
    );
}

#[test]
fn keys_of_other_types_are_found() {
    follow_same("k_bytea", "", "bytea", &[(r"'\x00ff'", r"\x00ff"), ("''", r"\x")]);
    follow_same("k_inet", "", "inet", &[("'10.0.0.1'", "10.0.0.1/32"), ("'10.0.0.1/8'", "10.0.0.1/8")]);
    follow_same("k_macaddr", "", "macaddr", &[("'08:00:2B:01:02:03'", "08:00:2b:01:02:03")]);
    follow_same("k_range", "", "int4range", &[("'[1,5]'", "[1,6)"), ("'empty'", "empty")]);
    follow_same("k_jsonb", "", "jsonb", &[(r#"'{"b":1, "a":[2]}'"#, r#"{"a": [2], "b": 1}"#)]);
    follow_same(
        "k_pair",
        "create type pair as (a int, b text)",
        "pair",
        &[("row(1, 'x,\"y\"')::pair", r#"(1,"x,""y""")"#)],
    );
    follow_same("k_array", "", "int[]", &[("'{1,2}'", "{1,2}"), ("'{}'", "{}")]);
}

#[test]
fn composite_keys_mix_types() {
    let keyed = Keyed::new(
        "k_mixed",
        "create extension citext",
        &[
            ("amount", "numeric"),
            ("code", "citext"),
            ("at", "timestamptz"),
            ("raw", "bytea"),
            ("host", "inet"),
        ],
        &[
            (
                r"1.0, 'A|b', '2024-01-01 01:00+01', '\x5c', '10.0.0.1'",
                r"1.00, 'a|B', '2024-01-01 00:00+00', '\x5c', '10.0.0.1'",
            ),
            (r"1, 'A', 'infinity', '', '::1/64'", r"1.000, 'a', 'infinity', '', '::1/64'"),
        ],
    );
    keyed.follow(&[r"1.0|A\|b|2024-01-01 00:00:00+00|\\x5c|10.0.0.1/32", r"1|A|infinity|\\x|::1/64"]);
}

#[test]
fn a_key_that_is_written_otherwise_is_another_document() {
    let keyed = Keyed::new("k_rewritten", "", &[("k", "numeric")], &[("1.5", "1.5")]);
    keyed.follow(&["1.5"]);
    // The same number, and another text: a document under the new id, and none under the old one once the old key is
    // looked at again.
    keyed.database.execute("update root set k = 1.50, label = 'r0', modified = now()");
    keyed.database.execute("update child set note = 'n0', modified = now()");
    keyed.program.once();
    assert_eq!(keyed.index.document("1.50").unwrap()["label"], "r0");
    let resynced = keyed.program.command(&["resync"]);
    assert_eq!(resynced.code, 0, "{}", resynced.log);
    keyed.assert(&["1.50"], "");
}
