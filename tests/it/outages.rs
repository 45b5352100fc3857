//! The index server stopped and started while the program runs.

use std::time::Duration;

use crate::harness::{Alone, Database, Program, Server, assert_same, movies_documents, wait_until};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn elasticsearch_stopped_and_started_during_a_run_loses_nothing() {
    outage_loses_nothing(Server::Elasticsearch);
}

#[test]
fn opensearch_stopped_and_started_during_a_run_loses_nothing() {
    outage_loses_nothing(Server::OpenSearch);
}

fn outage_loses_nothing(server: Server) {
    let database = Database::with_films("es_outage", 3_000);
    let alone = Alone::with(server);
    let index = alone.index("es_outage");
    let mut program = Program::new(&database, &index);
    program.set("CHUNK_SIZE", "50").set("BULK_BYTES", "50000");
    let running = program.start(&["run"]);
    running.wait_for_log("a full load begins");
    alone.stop();
    // Polling does not stand still meanwhile: changes are recorded, whatever the index does.
    database.execute("update content.genre set name = name || ' changed', modified = now()");
    running.wait_for_log("stale keys recorded");
    running.wait_for_log("trying again");
    alone.start();
    index.wait_for(SOON, || movies_documents(&mut database.connect()));
    assert_eq!(running.terminate().code, 0);
}

#[test]
fn once_gives_up_after_its_deadline_with_3_and_goes_on_later() {
    let database = Database::with_films("deadline", 50);
    let alone = Alone::with(Server::OpenSearch);
    let index = alone.index("deadline");
    let mut program = Program::new(&database, &index);
    program.set("RETRY_DEADLINE", "1.5");
    program.once();
    database.execute("update content.film_work set title = 'new', modified = now()");
    alone.stop();
    let finished = program.command(&["once"]);
    finished.assert_failed(3, "RETRY_DEADLINE");
    alone.start();
    wait_until(SOON, "the server answers", || index.count() == 50);
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
}

#[test]
fn a_signal_ends_a_run_whose_index_is_away() {
    let database = Database::with_films("away", 50);
    let alone = Alone::with(Server::OpenSearch);
    let index = alone.index("away");
    let program = Program::new(&database, &index);
    let running = program.run();
    alone.stop();
    database.execute("update content.film_work set title = 'new', modified = now()");
    running.wait_for_log("trying again");
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
    alone.start();
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
}
