//! A source that is not the one of before: restored from an older copy, or another cluster under the same name.

use crate::harness::{Cluster, Database, Evidence, Index, Program, assert_settled};

/// Refused, and nothing changed; then loaded again, and kept in sync from there on.
fn is_refused_and_cured(database: &Database, index: &Index, program: &Program, texts: &[&str]) {
    let before = Evidence::of(database, index, program);
    for command in ["once", "run"] {
        program.command(&[command]).assert_refused(2, texts);
    }
    let checked = program.command(&["check"]);
    assert_eq!(checked.code, 2, "{}{}", checked.log, checked.output);
    // Its own difference is no reason to call documents wrong, and to delete them.
    program.command(&["verify", "--repair"]).assert_refused(2, texts);
    assert_eq!(Evidence::of(database, index, program), before);
    let finished = program.command(&["resync"]);
    assert_eq!(finished.code, 0, "{}", finished.log);
    assert_settled(program, index, database);
    database.execute(
        "update content.film_work set title = 'after', modified = now()
          where id in (select id from content.film_work order by id limit 5);
         delete from content.film_work where id = (select max(id::text)::uuid from content.film_work);
         update content.genre set name = name || ' after', modified = now()",
    );
    assert_settled(program, index, database);
}

#[test]
fn a_server_restored_from_an_older_copy_is_refused_and_resync_is_the_cure() {
    let cluster = Cluster::new(&[]);
    let database = cluster.database("restored");
    database.fill_with_films(60);
    cluster.back_up();
    let index = Index::new("restored");
    let program = Program::new(&database, &index);
    program.once();
    // What the copy does not have: changed rows, new rows with their documents, and less of others.
    database.execute(
        "update content.film_work set title = 'lost', modified = now() where rating > 5;
         insert into content.film_work (id, title, type) values (gen_random_uuid(), 'lost too', 'movie');
         delete from content.film_work where id = (select min(id::text)::uuid from content.film_work)",
    );
    assert_settled(&program, &index, &database);
    cluster.restore();
    is_refused_and_cured(&database, &index, &program, &["went back in time", "pgsluice resync"]);
}

#[test]
fn a_source_that_goes_back_under_a_run_ends_it() {
    let cluster = Cluster::new(&[]);
    let database = cluster.database("restored_run");
    database.fill_with_films(30);
    cluster.back_up();
    let index = Index::new("restored_run");
    let program = Program::new(&database, &index);
    let running = program.run();
    database.execute("update content.film_work set title = 'lost', modified = now()");
    running.wait_for_log("30 changed rows");
    // How far the log had come is kept at each connection, and now and then.
    let mut client = database.connect();
    client.batch_execute("checkpoint").unwrap();
    drop(client);
    running.terminate();
    let running = program.run();
    cluster.restore();
    running.finish().assert_refused(2, &["went back in time", "pgsluice resync"]);
    assert_eq!(program.command(&["resync"]).code, 0);
    assert_settled(&program, &index, &database);
}

#[test]
fn another_cluster_under_the_same_name_is_refused_and_resync_is_the_cure() {
    let cluster = Cluster::new(&[]);
    let database = Database::with_films("one_cluster", 20);
    let other = cluster.database(&database.name);
    other.fill_with_films(35);
    let index = Index::new("one_cluster");
    let mut program = Program::new(&database, &index);
    program.once();
    for (name, value) in other.settings() {
        program.set(&name, &value);
    }
    is_refused_and_cured(&other, &index, &program, &["another PostgreSQL cluster", "pgsluice resync"]);
}
