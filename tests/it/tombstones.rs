//! Tables of deletions: documents go with the next poll, not with the next verify.

use std::time::Duration;

use postgres::Client;
use serde_json::{Value, json};

use crate::harness::{Database, Documents, Index, Program, assert_same, documents, wait_until};

const SOON: Duration = Duration::from_secs(30);

/// A table `thing` with a key of one or more columns, and an index of it without verify.
struct Bench {
    database: Database,
    index: Index,
    program: Program,
    key: Vec<&'static str>,
}

impl Bench {
    /// `schema` makes the tables; `tombstone` is the section.
    fn new(label: &str, schema: &str, key: &[&'static str], tombstone: &str) -> Self {
        let database = Database::new(label);
        database.execute(schema);
        let index = Index::new(label);
        let mut program = Program::new(&database, &index);
        program.set("DEFINITION", "thing.toml").set("VERIFY_INTERVAL", "0");
        let bench = Self { database, index, program, key: key.to_vec() };
        bench.program.write("thing.json", &json!({"mappings": {"properties": {}}}).to_string());
        bench.define(tombstone);
        bench
    }

    fn define(&self, tombstone: &str) {
        let fields: String = self.key.iter().map(|column| format!("{column} = \"{column}\"\n")).collect();
        let text = format!(
            "version = 1\nindex = \"things\"\nmapping = \"thing.json\"\n\
             [root]\ntable = \"thing\"\nkey = {:?}\ncursor = \"changed\"\n{tombstone}\n[document]\n{fields}name = \"name\"\n",
            self.key
        );
        self.program.write("thing.toml", &text);
    }

    /// The documents by their only key column.
    fn expected(client: &mut Client) -> Documents {
        documents(client, "select id::text, json_build_object('id', id, 'name', name)::text from thing")
    }

    fn assert_same(&self) {
        assert_same(&self.index.documents(), &Self::expected(&mut self.database.connect()));
    }
}

const CHANGED: &str = "changed timestamptz not null default clock_timestamp()";

#[test]
fn what_an_audit_table_says_was_deleted_goes_with_the_next_poll_and_may_come_back() {
    let bench = Bench::new(
        "audit",
        &format!(
            "create table thing (id uuid primary key, name text, {CHANGED});
             create table audit (n bigint generated always as identity primary key, tab text, action char(1),
                                 row_id text, at timestamptz not null default clock_timestamp());
             create index on audit (at, n);
             create function note() returns trigger language plpgsql as $$
             begin
                 insert into audit (tab, action, row_id) values (tg_table_name, left(tg_op, 1), upper(old.id::text));
                 return null;
             end $$;
             create trigger note after delete or update on thing for each row execute function note();
             insert into thing (id, name) select md5(n::text)::uuid, 'thing ' || n from generate_series(1, 200) n"
        ),
        &["id"],
        "[[tombstone]]\ntable = \"audit\"\ncursor = \"at\"\non = { row_id = \"id\" }\n\
         where = \"t.action = 'D' and tab = 'thing' -- the others are no deletions\"",
    );
    let checked = bench.program.command(&["check"]);
    assert!(
        checked.output.contains("good     public.audit: names deleted rows, by its cursor"),
        "{}",
        checked.output
    );
    let running = bench.program.run();
    let mut client = bench.database.connect();
    client
        .batch_execute("delete from thing where id in (select id from thing order by id limit 50)")
        .unwrap();
    bench.index.wait_for(SOON, || Bench::expected(&mut client));
    // Rows of the audit that are about something else, and one that is broken.
    client
        .batch_execute(
            "insert into audit (tab, action, row_id) values
                ('other', 'D', 'seven'), ('thing', 'U', 'eight'), ('thing', 'D', 'nine'), ('thing', 'D', null);
             update thing set name = 'changed', changed = clock_timestamp()
              where id in (select id from thing order by id limit 10);
             delete from thing where id in (select id from thing order by id desc limit 20)",
        )
        .unwrap();
    bench.index.wait_for(SOON, || Bench::expected(&mut client));
    // Deleted and written again, in one transaction and in two.
    let id: String = client.query_one("select min(id::text) from thing", &[]).unwrap().get(0);
    client
        .batch_execute(&format!(
            "begin; delete from thing where id = '{id}'; insert into thing values ('{id}', 'again'); commit;
             insert into thing (id, name) select md5(n::text)::uuid, 'back ' || n from generate_series(1, 200) n
             on conflict do nothing"
        ))
        .unwrap();
    bench.index.wait_for(SOON, || Bench::expected(&mut client));
    client.batch_execute("insert into audit (tab, action, row_id) values ('thing', 'D', 'ten')").unwrap();
    client.batch_execute("delete from thing where name like 'back 1%'").unwrap();
    bench.index.wait_for(SOON, || Bench::expected(&mut client));
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_eq!(finished.log.matches("cannot be a key of the root table").count(), 1, "{}", finished.log);
    let warned = bench.program.command(&["check"]);
    assert!(
        warned.output.contains("rows name what cannot be a key of the root table (id uuid)"),
        "{}",
        warned.output
    );
    // Committed late, by a transaction that began before others.
    let mut late = bench.database.connect();
    late.batch_execute("begin; delete from thing where id in (select id from thing order by id limit 5)")
        .unwrap();
    bench.program.once();
    client
        .batch_execute("delete from thing where id in (select id from thing order by id desc limit 5)")
        .unwrap();
    bench.program.once();
    late.batch_execute("commit").unwrap();
    bench.program.once();
    bench.assert_same();
}

#[test]
fn keys_of_several_columns_are_named_whatever_their_order_and_types() {
    let bench = Bench::new(
        "audit_composite",
        &format!(
            "create table thing (a integer, b text, day date, name text, {CHANGED}, primary key (a, b, day));
             create table gone (day timestamp, b varchar(40), a numeric, at timestamptz default clock_timestamp());
             insert into thing (a, b, day, name)
             select n, repeat('|', n % 3) || 'b\\' || n, date '2024-01-01' + n, 'thing ' || n from generate_series(1, 60) n"
        ),
        &["a", "b", "day"],
        // A timestamp at midnight is no date to the eye, but it is one to PostgreSQL.
        "[[tombstone]]\ntable = \"gone\"\ncursor = \"at\"\non = { b = \"b\", day = \"day\", a = \"a\" }",
    );
    let expected = |client: &mut Client| {
        documents(
            client,
            "select concat_ws('|', a, replace(replace(b, '\\', '\\\\'), '|', '\\|'), day),
                    json_build_object('a', a, 'b', b, 'day', day, 'name', name)::text from thing",
        )
    };
    let mut client = bench.database.connect();
    bench.program.once();
    assert_same(&bench.index.documents(), &expected(&mut client));
    client
        .batch_execute(
            "with d as (delete from thing where a % 2 = 0 returning *) insert into gone select day, b, a from d;
             insert into gone values ('2024-01-01', 'x', 1.5), (null, 'x', 1), ('infinity', 'x', 1e20), ('2024-01-01', '', 5)",
        )
        .unwrap();
    let finished = bench.program.once();
    assert!(finished.log.contains("2 tombstones name what cannot be a key"), "{}", finished.log);
    assert_same(&bench.index.documents(), &expected(&mut client));
}

#[test]
fn every_type_of_key_can_be_named_by_its_text_and_by_itself() {
    for (label, kind, value) in [
        ("int", "smallint", "n::smallint"),
        ("numeric", "numeric(8,2)", "n + 0.5"),
        ("stamp", "timestamptz", "timestamptz '2024-03-31 00:30+01' + n * interval '1.000001 hours'"),
        ("char", "char(6)", "'c' || n"),
        ("domain", "code", "'C-' || n"),
        ("enum", "mood", "(array['sad', 'ok', 'Very happy', 'it''s'])[n]::mood"),
        ("inet", "inet", "('10.0.0.' || n)::inet"),
    ] {
        let schema = format!(
            "create domain code as text check (value ~ '^C-');
             create type mood as enum ('sad', 'ok', 'Very happy', 'it''s');
             create table thing (id {kind} primary key, name text, {CHANGED});
             create table by_text (id text, at timestamptz default clock_timestamp());
             create table by_itself (id {kind}, at timestamp default (clock_timestamp() at time zone 'UTC'));
             insert into thing (id, name) select {value}, 'thing' from generate_series(1, 4) n"
        );
        let bench = Bench::new(
            &format!("audit_{label}"),
            &schema,
            &["id"],
            "[[tombstone]]\ntable = \"by_text\"\ncursor = \"at\"\non = { id = \"id\" }\n\
             [[tombstone]]\ntable = \"by_itself\"\ncursor = \"at\"\non = { id = \"id\" }",
        );
        bench.program.once();
        assert_eq!(bench.index.count(), 4, "{kind}");
        bench.database.execute(
            "insert into by_text (id) values ('no key'), (''), (null);
             with d as (delete from thing where id in (select id from thing order by id limit 2) returning id)
             insert into by_text select id from d;
             with d as (delete from thing where id in (select id from thing order by id limit 1) returning id)
             insert into by_itself select id from d",
        );
        bench.program.once();
        let left =
            bench.database.connect().query_one("select count(*), min(id::text) from thing", &[]).unwrap();
        assert_eq!((bench.index.count(), left.get::<_, i64>(0)), (1, 1), "{kind}");
        assert!(bench.index.documents().contains_key(left.get::<_, &str>(1)), "{kind}");
    }
}

#[test]
fn a_view_of_a_history_of_documents_names_them_too() {
    let bench = Bench::new(
        "audit_view",
        &format!(
            "create table thing (id bigint primary key, name text, {CHANGED});
             create table history (n bigint generated always as identity primary key, old jsonb,
                                   at timestamptz not null default clock_timestamp());
             create view gone as select n, old->>'id' as thing_id, at from history where old ? 'deleted';
             insert into thing (id, name) select n, 'thing ' || n from generate_series(1, 30) n"
        ),
        &["id"],
        "[[tombstone]]\ntable = \"gone\"\nkey = [\"n\"]\ncursor = \"at\"\non = { thing_id = \"id\" }",
    );
    bench.program.once();
    bench.database.execute(
        "with d as (delete from thing where id % 3 = 0 returning id)
         insert into history (old) select jsonb_build_object('id', id, 'deleted', true) from d;
         insert into history (old) values ('{\"id\": 1}'), ('{\"deleted\": 1}'), ('{\"id\": [1], \"deleted\": 1}')",
    );
    bench.program.once();
    bench.assert_same();
}

#[test]
fn what_cannot_name_the_key_is_refused_with_the_cure() {
    let bench = Bench::new(
        "audit_wrong",
        &format!(
            "create table thing (id int primary key, other int, name text, {CHANGED});
             create table gone (thing_id int, at timestamptz default clock_timestamp())"
        ),
        &["id"],
        "",
    );
    for (section, texts) in [
        (
            "[tombstone]\ntable = \"gone\"",
            &["tombstone: write sections as [[tombstone]], this is a table"][..],
        ),
        (
            "[[tombstone]]\ntable = \"gone\"\nwhen = 1",
            &["tombstone.when: unknown field", "tombstone.cursor: is missing", "a tombstone needs a join"],
        ),
        (
            "[[tombstone]]\ntable = \"gone\"\ncursor = \"at\"\non = { thing_id = \"other\" }",
            &[
                "tombstone.on: public.gone has to name each column of the root's key once",
                "<column of public.gone> = \"id\"",
            ],
        ),
        (
            "[[tombstone]]\ntable = \"gone\"\ncursor = \"at\"\non = { thing = \"id\" }",
            &["tombstone.on: table public.gone has no column thing"],
        ),
        (
            "[[tombstone]]\ntable = \"gone\"\ncursor = \"at\"\non = { thing_id = \"id\" }\nwhere = \"is it\"",
            &["tombstone.where of the definition is wrong", "write a condition"],
        ),
        (
            "[[tombstone]]\ntable = \"thing\"\ncursor = \"other\"\non = { id = \"id\" }",
            &["column other of public.thing has type integer"],
        ),
        (
            "[[tombstone]]\ntable = \"gon\"\ncursor = \"at\"\non = { id = \"id\" }",
            &["table public.gon does not exist"],
        ),
    ] {
        bench.define(section);
        bench.program.command(&["once"]).assert_refused(2, texts);
    }
    let missing: Value = bench.index.call("HEAD", &bench.index.alias, &Value::Null).1;
    assert!(missing.is_null() || missing == "", "{missing}");
    // A table that is watched already has one cursor.
    bench.database.execute("alter table thing add gone_at timestamptz");
    bench.define("[[tombstone]]\ntable = \"thing\"\ncursor = \"gone_at\"\non = { id = \"id\" }");
    bench.program.command(&["once"]).assert_refused(2, &["public.thing is polled by changed already"]);
    bench.define("[[tombstone]]\ntable = \"gone\"\ncursor = \"at\"\non = { thing_id = \"id\" }");
    let checked = bench.program.command(&["check"]);
    assert!(checked.output.contains("public.gone: names deleted rows, by its cursor"), "{}", checked.output);
    bench.program.once();
    // Taken up by an index that was loaded without it: the definition is another one.
    bench.define("");
    bench.program.command(&["once"]).assert_refused(2, &["pgsluice resync"]);
}

#[test]
fn a_page_full_of_strange_tombstones_hides_none() {
    let bench = Bench::new(
        "audit_many",
        &format!(
            "create table thing (id integer primary key, name text, {CHANGED});
             create table gone (n serial primary key, thing text, at timestamptz default clock_timestamp());
             insert into thing (id, name) select n, 'thing ' || n from generate_series(1, 300) n"
        ),
        &["id"],
        "[[tombstone]]\ntable = \"gone\"\ncursor = \"at\"\non = { thing = \"id\" }",
    );
    let mut program = bench.program;
    program.set("CHUNK_SIZE", "50");
    program.once();
    let mut client = bench.database.connect();
    // One stamp for all of them, so that pages end among equal ones.
    client
        .batch_execute(
            "begin;
             with d as (delete from thing where id % 5 = 0 returning id)
             insert into gone (thing, at) select case n when 0 then d.id::text else '0x' || d.id || '-' || n end, now()
               from d, generate_series(0, 9) n order by random();
             commit",
        )
        .unwrap();
    program.once();
    wait_until(SOON, "the documents are gone", || bench.index.count() == 240);
    assert_same(&bench.index.documents(), &Bench::expected(&mut client));
}
