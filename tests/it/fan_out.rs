//! One row that very many documents show.

use crate::harness::{
    Cluster, Index, Program, Proxy, Server, Statements, action_count, assert_same, is_full, movies_documents,
};

#[cfg(feature = "faults")]
#[test]
fn a_genre_of_every_film_is_renamed_and_killed_on_the_way() {
    const CHUNK_SIZE: u64 = 1_000;
    let film_count = if is_full() { 500_000u64 } else { 20_000 };
    let cluster = Cluster::new(Statements::SETTINGS);
    let database = cluster.database("fan_out");
    database.run_sql_file(
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/dev/sample.sql")),
        &[("films", &film_count.to_string())],
    );
    database.execute(
        "insert into content.genre (id, name, created, modified)
         values ('00000000-0000-4000-8000-0000000000bb', 'Everything', now(), now());
         insert into content.genre_film_work (id, film_work_id, genre_id, created)
         select gen_random_uuid(), id, '00000000-0000-4000-8000-0000000000bb', now() from content.film_work;
         analyze",
    );
    let index = Index::new("fan_out");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", &CHUNK_SIZE.to_string()).set("CURSOR_SKEW", "0.01").set("VERIFY_INTERVAL", "0");
    program.once();
    let proxy = Proxy::passing(Server::Elasticsearch);
    program.set("ELASTIC_URL", &proxy.url());
    let statements = Statements::of(&database);
    database.execute("update content.genre set name = 'All', modified = now() where name = 'Everything'");
    // So that the first checkpoint is behind it.
    std::thread::sleep(std::time::Duration::from_millis(100));
    statements.reset();
    let points =
        ["fan_out_piece_recorded:2", "before_stale_keys:1", "acknowledged:3", "before_acknowledged:4"];
    for point in points {
        program.set("PGSLUICE_CRASH_AT", point);
        let stopped = program.command(&["once"]);
        assert!(stopped.log.contains("stopping at"), "{point}: {}", stopped.log);
    }
    program.unset("PGSLUICE_CRASH_AT");
    program.once();
    let all = statements.like("%select%");
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    let sent: u64 = proxy.bulks().iter().map(action_count).sum();
    let batches = film_count / CHUNK_SIZE;
    println!("{} statements for {film_count} films, {sent} documents sent", all.calls);
    // A statement for each table and batch and some for each start and poll, and none for each film.
    let limit = i64::try_from(10 * batches + 1_000).unwrap();
    assert!(all.calls < limit, "{} statements for {film_count} films", all.calls);
    // Each of the kills repeats what was in flight at most: 2 × CHANNEL_CAPACITY + 3 batches.
    assert!(sent >= film_count, "{sent} documents sent");
    assert!(sent <= film_count + 4 * 7 * CHUNK_SIZE, "{sent} documents sent for {film_count} films");
}
