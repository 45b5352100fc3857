//! How much memory the program takes, held against the bound that the documentation gives.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{
    Database, Deed, Index, Program, Proxy, Running, Server, assert_same, documents, is_full, things_database,
    things_mapping, things_program, wait_until,
};

const LONG: Duration = Duration::from_secs(1_800);
const MB: u64 = 1 << 20;

/// What the documentation allows, with the default settings: 40 MB, and (2 × CHANNEL_CAPACITY + 3 + LOADERS) × 1.5
/// times BATCH_BYTES.
const BOUND: u64 = 40 * MB + (2 + 3 + 4) * 16 * MB * 3 / 2;

/// Nothing may even be reserved beyond this: the bound, and what threads and their allocators reserve but do not use.
const ADDRESS_SPACE: &str = "--as=1500000000";

/// The most memory that the process had.
fn peak(running: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next())
        .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

fn assert_bounded(running: &Running, what: &str) {
    let peak = peak(running);
    eprintln!("{what}: {} MB at most", peak / MB);
    assert!(peak > 0 && peak < BOUND, "{what}: {} MB, allowed are {}", peak / MB, BOUND / MB);
}

/// Runs until it has caught up, within the address space.
fn run_within(program: &Program) -> Running {
    let running = program.start_through(&["prlimit", ADDRESS_SPACE], &["run"]);
    let began = Instant::now();
    while !running.log().contains("caught up") {
        assert!(began.elapsed() < LONG, "it does not catch up:\n{}", running.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    running
}

/// Heads with lines and a customer that all of them share.
fn heads_program(database: &Database, index: &Index) -> Program {
    database.execute(
        "create table customer (id int primary key, note text, changed timestamptz not null default '2024-01-01');
         create table head (id int primary key, customer_id int, note text,
                            changed timestamptz not null default '2024-01-01');
         create table line (id int primary key, head_id int not null, note text,
                            changed timestamptz not null default '2024-01-01');
         create index on line (head_id);
         create index on head (customer_id);
         alter table head alter note set storage external;
         alter table customer alter note set storage external",
    );
    let mut program = Program::new(database, index);
    let nothing_indexed = json!({ "type": "object", "enabled": false });
    program.write(
        "heads.json",
        &json!({ "settings": { "number_of_replicas": 0 }, "mappings": { "dynamic": "strict", "properties": {
            "id": { "type": "integer" }, "note": nothing_indexed, "customer": nothing_indexed,
            "lines": nothing_indexed,
        }}})
        .to_string(),
    );
    program.write(
        "heads.toml",
        r#"
version = 1
index   = "heads"
mapping = "heads.json"
[root]
table  = "head"
cursor = "changed"
[relation.customer]
table  = "customer"
cursor = "changed"
on     = { id = "customer_id" }
[relation.line]
table  = "line"
cursor = "changed"
on     = { head_id = "id" }
[document]
id       = "id"
note     = "note"
customer = { one = "customer", object = { note = "note" } }
lines    = { list = "line", object = { id = "id", note = "note" } }
"#,
    );
    program.set("DEFINITION", "heads.toml").set("VERIFY_INTERVAL", "0");
    program
}

fn heads_documents(database: &Database) -> crate::harness::Documents {
    documents(
        &mut database.connect(),
        "select h.id::text, json_build_object('id', h.id, 'note', h.note,
                'customer', (select json_build_object('note', c.note) from customer c where c.id = h.customer_id),
                'lines', coalesce((select json_agg(json_build_object('id', l.id, 'note', l.note) order by l.id)
                                     from line l where l.head_id = h.id), '[]'))::text
           from head h",
    )
}

/// Text that does not compress: hexadecimal digits of hashes.
const NOISE: &str = "(select string_agg(md5(n::text), '') from generate_series(1, %) n)";

fn noise(byte_count: u64) -> String {
    NOISE.replace('%', &(byte_count / 32).to_string())
}

#[test]
fn large_rows_before_an_index_that_stands_still_stay_within_the_bound() {
    let row_count = if is_full() { 200 } else { 30u64 };
    let database = Database::new("large_rows");
    let index = Index::new("large_rows");
    let mut program = heads_program(&database, &index);
    database.execute(&format!(
        "insert into head (id, note) select n, n || noise.text
           from generate_series(1, {row_count}) n, (select {} as text) noise",
        noise(5_000_000)
    ));
    // Nothing is answered: everything fills up before it.
    let proxy =
        Proxy::new(Server::Elasticsearch, |asked| if asked.is_bulk() { Deed::Silence } else { Deed::Pass });
    let direct = program.setting("ELASTIC_URL").unwrap();
    // All lanes at work.
    program.set("ELASTIC_URL", &proxy.url()).set("PGSLUICE_FIRST_LANES", "4");
    let running = program.start_through(&["prlimit", ADDRESS_SPACE], &["run"]);
    wait_until(LONG, "a request is sent", || !proxy.bulks().is_empty());
    // Until it takes no more.
    let mut last = 0;
    wait_until(LONG, "everything has filled up", || {
        std::thread::sleep(Duration::from_millis(1_000));
        let before = std::mem::replace(&mut last, peak(&running));
        last == before
    });
    assert_bounded(&running, "large rows, an index that stands still");
    running.kill();
    program.set("ELASTIC_URL", &direct);
    let running = run_within(&program);
    assert_bounded(&running, "large rows");
    assert_eq!(running.terminate().code, 0);
    assert_eq!(index.count(), row_count);
}

#[test]
fn many_small_rows_stay_within_the_bound() {
    let row_count = if is_full() { 2_000_000 } else { 200_000u64 };
    let database = things_database("small_rows", 0);
    database.execute(&format!(
        "insert into thing (id, number, code, day, changed)
         select 't' || n, n, 'code ' || n, '2024-01-01', '2024-01-01 00:00+00' from generate_series(1, {row_count}) n"
    ));
    let index = Index::new("small_rows");
    let mut program = things_program(&database, &index, &things_mapping());
    program.set("VERIFY_INTERVAL", "0");
    let running = run_within(&program);
    let of_load = peak(&running);
    println!("{row_count} small rows: {} MB at most", of_load / MB);
    assert!(of_load < 100 * MB, "{} MB for small rows", of_load / MB);
    assert_eq!(running.terminate().code, 0);
    assert_eq!(index.count(), row_count);
}

#[test]
fn a_root_with_very_many_children_is_held_or_refused() {
    let child_count = if is_full() { 300_000 } else { 30_000 };
    let database = Database::new("children");
    let index = Index::new("children");
    let mut program = heads_program(&database, &index);
    database.execute(&format!(
        "insert into head (id, note) select n, 'head' from generate_series(1, 50) n;
         insert into line (id, head_id, note) select n, 25, 'line ' || n from generate_series(1, {child_count}) n;
         insert into line (id, head_id, note) select {child_count} + n, n, 'line' from generate_series(1, 50) n"
    ));
    let running = run_within(&program);
    assert_bounded(&running, &format!("a root with {child_count} children"));
    assert_eq!(running.terminate().code, 0);
    assert_same(&index.documents(), &heads_documents(&database));
    // What is not allowed is a dead letter, and all others are written.
    program.set("DOCUMENT_MAX_BYTES", "500KB");
    database.execute("update head set note = 'again', changed = now()");
    let running = run_within(&program);
    assert_bounded(&running, "a document over the limit");
    assert_eq!(running.terminate().code, 1, "something was refused");
    let listed = program.command(&["dead-letters", "list"]).output;
    assert!(listed.contains("document_too_large"), "{listed}");
    let mut expected = heads_documents(&database);
    expected.remove("25");
    let mut found = index.documents();
    found.remove("25");
    assert_same(&found, &expected);
}

/// The customer is one row of a megabyte, and its bytes are in each document.
#[test]
fn a_large_row_that_many_documents_share_stays_within_the_bound() {
    let row_count = if is_full() { 1_000 } else { 150u64 };
    let database = Database::new("shared_row");
    let index = Index::new("shared_row");
    let program = heads_program(&database, &index);
    database.execute(&format!(
        "insert into customer (id, note) select 1, {};
         insert into head (id, customer_id, note) select n, 1, 'head' from generate_series(1, {row_count}) n",
        noise(2_000_000)
    ));
    let running = run_within(&program);
    assert_bounded(&running, "a large row that many documents share");
    assert_eq!(running.terminate().code, 0);
    assert_eq!(index.count(), row_count);
}
