//! Rows of which far fewer fit into a batch than `CHUNK_SIZE`.

use std::path::Path;

use crate::harness::{Cluster, Index, Program, Statements, assert_same, movies_documents};

#[test]
fn the_server_sends_large_rows_hardly_more_than_once() {
    const FILM_COUNT: i64 = 600;
    let cluster = Cluster::new(Statements::SETTINGS);
    let database = cluster.database("large_rows");
    let sample = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dev/sample.sql"));
    database.run_sql_file(sample, &[("films", &FILM_COUNT.to_string())]);
    // Fifty of them have more bytes than a batch may have.
    database.execute("update content.film_work set description = repeat(md5(id::text), 640); analyze");
    let index = Index::new("large_rows");
    let mut program = Program::new(&database, &index);
    program.set("BATCH_BYTES", "1000000").set("VERIFY_INTERVAL", "0");
    let statements = Statements::of(&database);
    statements.reset();
    program.once();
    let sent = statements.like("select t.\"id\"%\"description\" from%").rows;
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    assert!(sent >= FILM_COUNT, "{sent} rows sent for {FILM_COUNT} films");
    assert!(sent < FILM_COUNT * 3 / 2, "{sent} rows sent for {FILM_COUNT} films");
}
