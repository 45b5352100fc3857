//! A table of things with a column for each kind of value that an index can refuse, and its definition.

use postgres::Client;
use serde_json::{Value, json};

use super::oracle::{Documents, documents};
use super::{Database, Index, Program};

/// A database with `count` things, all of them good: `t00001` and so on.
pub fn things_database(label: &str, count: u32) -> Database {
    things_database_in(Database::new(label), count)
}

/// The same in a database that is there.
pub fn things_database_in(database: Database, count: u32) -> Database {
    database.execute(&format!(
        "create table thing (
            id      text primary key,
            number  bigint,
            code    text,
            day     text,
            parts   jsonb not null default '[]',
            changed timestamptz not null default now()
         );
         insert into thing (id, number, code, day, changed)
         select 't' || lpad(n::text, 5, '0'), n, 'code ' || n, '2024-01-01', '2024-01-01 00:00+00' from generate_series(1, {count}) n"
    ));
    database
}

/// The mapping file of things.
pub fn things_mapping() -> Value {
    json!({
        "settings": { "mapping.nested_objects.limit": 20 },
        "mappings": { "dynamic": "strict", "properties": {
            "id": { "type": "keyword", "ignore_above": 100 },
            "number": { "type": "integer" },
            "code": { "type": "keyword" },
            "day": { "type": "date" },
            "parts": { "type": "nested", "dynamic": true },
        }},
    })
}

/// The program that keeps an index of things.
pub fn things_program(database: &Database, index: &Index, mapping: &Value) -> Program {
    let mut program = Program::new(database, index);
    program.write("things.json", &mapping.to_string());
    program.write(
        "things.toml",
        r#"
version = 1
index   = "things"
mapping = "things.json"
[root]
table  = "thing"
cursor = "changed"
[document]
id     = "id"
number = "number"
code   = "code"
day    = "day"
parts  = "parts"
"#,
    );
    program.set("DEFINITION", "things.toml");
    program
}

/// What the definition makes of the table.
pub fn things_documents(client: &mut Client) -> Documents {
    documents(
        client,
        "select id, json_build_object('id', id, 'number', number, 'code', code, 'day', day, 'parts', parts)::text
           from thing",
    )
}

/// The same without those whose code is `hidden`, which are deleted by that; verify by itself is off.
pub fn hiding_program(database: &Database, index: &Index, mapping: &Value) -> Program {
    let mut program = things_program(database, index, mapping);
    let definition = std::fs::read_to_string(program.folder().join("things.toml")).unwrap();
    let hiding = definition.replace("[document]", "where = \"code is distinct from 'hidden'\"\n[document]");
    program.write("things.toml", &hiding);
    program.set("VERIFY_INTERVAL", "0");
    program
}

/// What that definition makes of the table.
pub fn shown_documents(client: &mut Client) -> Documents {
    let mut documents = things_documents(client);
    documents.retain(|_, document| document["code"] != "hidden");
    documents
}
