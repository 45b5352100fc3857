//! Every type of PostgreSQL, as a column of the root and of a relation, in an array, under a domain and in a
//! composite: by a full load and by a poll, the documents are byte for byte what `type_cases` says.

use std::fmt::Write;

use crate::harness::{Database, Index, Program, Server};
use crate::type_cases::{CASES, Case, TYPES};

/// The columns that each type has, and what is in them for the case of a row.
struct Columns {
    cases: Vec<&'static Case>,
    row_count: usize,
}

impl Columns {
    /// All types whose extension the server has.
    fn of(database: &Database) -> Self {
        let mut client = database.connect();
        let mut cases = Vec::new();
        for case in CASES {
            if let Some(extension) = case.extension {
                let found = client
                    .query_one("select count(*) from pg_available_extensions where name = $1", &[&extension])
                    .unwrap();
                if found.get::<_, i64>(0) == 0 {
                    eprintln!("skipped: the type {}, this server lacks {extension}", case.type_name);
                    continue;
                }
                client.batch_execute(&format!("create extension if not exists {extension}")).unwrap();
            }
            cases.push(case);
        }
        let row_count = cases.iter().map(|case| case.values.len()).max().unwrap() + 1;
        Self { cases, row_count }
    }

    fn create(&self) -> String {
        let mut sql = "create type odd;".to_owned() + TYPES;
        let mut columns = String::from("id int primary key, modified timestamptz not null default now()");
        for (number, case) in self.cases.iter().enumerate() {
            let name = case.type_name;
            write!(
                sql,
                "create domain d{number} as {name};
                 create type c{number} as (one {name}, many {name}[], dom d{number}, doms d{number}[]);"
            )
            .unwrap();
            write!(
                columns,
                ", s{number} {name}, l{number} {name}[], n{number} {name}[], d{number} d{number}, c{number} c{number}"
            )
            .unwrap();
        }
        write!(sql, "create table sample ({columns}); create table twin (like sample including all);")
            .unwrap();
        sql
    }

    /// Writes the rows; row `id` has the values of the case `id + shift`, and the last one is all NULL.
    fn rows(&self, table: &str) -> String {
        let mut sql = String::new();
        for row in 0..self.row_count {
            let mut values = format!("{row}, now()");
            for (number, case) in self.cases.iter().enumerate() {
                let name = case.type_name;
                let all: Vec<String> =
                    case.values.iter().map(|(value, _)| format!("({value})::{name}")).collect();
                let all = all.join(", ");
                match case.values.get(row) {
                    None if row == self.row_count - 1 => values.push_str(", null, null, null, null, null"),
                    None => values.push_str(", null, '{}', '{null}', null, null"),
                    Some((value, _)) => write!(
                        values,
                        ", ({value})::{name}, array[{all}, null]::{name}[],
                         array[array[{all}, null], array[null, {all}]]::{name}[],
                         ({value})::{name}::d{number},
                         row(({value})::{name}, array[null, {all}]::{name}[], ({value})::{name}::d{number},
                             array[({value})::{name}]::{name}[]::d{number}[])::c{number}"
                    )
                    .unwrap(),
                }
            }
            write!(sql, "insert into {table} values ({values});").unwrap();
        }
        sql
    }

    /// The fields of the row of a case.
    fn expected(&self, row: usize) -> String {
        let mut fields = Vec::new();
        for (number, case) in self.cases.iter().enumerate() {
            let all: Vec<&str> = case.values.iter().map(|(_, json)| *json).collect();
            let all = all.join(",");
            fields.push(match case.values.get(row) {
                None if row == self.row_count - 1 => format!(
                    r#""s{number}":null,"l{number}":null,"n{number}":null,"d{number}":null,"c{number}":null"#
                ),
                None => format!(
                    r#""s{number}":null,"l{number}":[],"n{number}":[null],"d{number}":null,"c{number}":null"#
                ),
                Some((_, json)) => {
                    let nested = format!("[[{all},null],[null,{all}]]");
                    format!(
                        r#""s{number}":{json},"l{number}":[{all},null],"n{number}":{nested},"d{number}":{json},"c{number}":{{"one":{json},"many":[null,{all}],"dom":{json},"doms":[{json}]}}"#
                    )
                }
            });
        }
        fields.join(",")
    }

    fn definition(&self) -> String {
        let mut object = String::new();
        for number in 0..self.cases.len() {
            for kind in ["s", "l", "n", "d", "c"] {
                writeln!(object, "{kind}{number} = \"{kind}{number}\"").unwrap();
            }
        }
        format!(
            "version = 1\nindex = \"types\"\nmapping = \"types.json\"\n\
             [root]\ntable = \"sample\"\ncursor = \"modified\"\n\
             [relation.twin]\ntable = \"twin\"\ncursor = \"modified\"\non = {{ id = \"id\" }}\n\
             [document]\nid = \"id\"\n{object}\n\
             [document.twin]\none = \"twin\"\n[document.twin.object]\n{object}\n\
             [document.twins]\nlist = \"twin\"\n[document.twins.object]\n{object}"
        )
    }

    fn assert(&self, index: &Index, case_of: impl Fn(usize) -> usize) {
        for row in 0..self.row_count {
            let fields = self.expected(case_of(row));
            let expected = format!(r#"{{"id":{row},{fields},"twin":{{{fields}}},"twins":[{{{fields}}}]}}"#);
            let found = index.document_text(&row.to_string()).unwrap();
            assert!(found == expected, "{}", self.difference(&found, &expected));
        }
    }

    /// The first field that differs, with its type.
    fn difference(&self, found: &str, expected: &str) -> String {
        let same = found.bytes().zip(expected.bytes()).take_while(|(one, other)| one == other).count();
        let field = expected[..same].rfind('"').unwrap_or(0);
        let around = |text: &str| {
            let text = String::from_utf8_lossy(&text.as_bytes()[same.saturating_sub(120)..]).into_owned();
            text.chars().take(240).collect::<String>()
        };
        let names: Vec<String> = self
            .cases
            .iter()
            .enumerate()
            .filter(|(number, _)| {
                expected[..field]
                    .rfind("\"s")
                    .is_some_and(|start| expected[start..].starts_with(&format!("\"s{number}\":")))
            })
            .map(|(_, case)| case.type_name.to_owned())
            .collect();
        format!("{names:?}: found\n…{}\nexpected\n…{}", around(found), around(expected))
    }
}

fn try_all_types(server: Server, label: &str) {
    let database = Database::new(label);
    let columns = Columns::of(&database);
    database.execute(&columns.create());
    for table in ["sample", "twin"] {
        database.execute(&columns.rows(table));
    }
    let index = Index::on(server, label);
    let mut program = Program::new(&database, &index);
    program.set("DEFINITION", "types.toml");
    program.write("types.json", r#"{ "mappings": { "dynamic": false } }"#);
    program.write("types.toml", &columns.definition());
    program.once();
    columns.assert(&index, |row| row);
    // The same by a poll: every row takes the values of the next one.
    for table in ["sample", "twin"] {
        let count = columns.row_count;
        database.execute(&format!(
            "update {table} set id = -1 - (id + {count} - 1) % {count}, modified = now();
             update {table} set id = -1 - id"
        ));
    }
    program.once();
    columns.assert(&index, |row| (row + 1) % columns.row_count);
}

#[test]
fn every_type_has_its_json_form_in_elasticsearch() {
    try_all_types(Server::Elasticsearch, "types");
}

#[test]
fn every_type_has_its_json_form_in_opensearch() {
    try_all_types(Server::OpenSearch, "types_os");
}
