//! The index server stopped and started while the program runs.

use std::time::Duration;

use crate::harness::{Alone, Database, Index, Program, Running, Server, assert_same, movies_documents};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn elasticsearch_stopped_and_started_during_a_run_loses_nothing() {
    let alone = Alone::with(Server::Elasticsearch);
    let load = Load::start(&alone);
    alone.stop();
    load.goes_on_without_its_index();
    alone.start();
    load.loses_nothing();
}

/// One outage for all three, since a start takes long.
#[test]
fn opensearch_away_is_waited_for_and_once_gives_up_and_a_signal_ends_the_wait() {
    let alone = Alone::with(Server::OpenSearch);
    let load = Load::start(&alone);
    let database = Database::with_films("away", 50);
    let index = alone.index("away");
    let mut program = Program::new(&database, &index);
    program.set("RETRY_DEADLINE", "1.5");
    program.once();
    let running = program.run();
    alone.stop();
    database.execute("update content.film_work set title = 'new', modified = now()");
    running.wait_for_log("trying again");
    let finished = running.terminate();
    assert_eq!(finished.code, 0, "{}", finished.log);
    program.command(&["once"]).assert_failed(3, "RETRY_DEADLINE");
    load.goes_on_without_its_index();
    alone.start();
    load.loses_nothing();
    program.once();
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
}

/// A full load that the outage meets.
struct Load {
    running: Running,
    index: Index,
    database: Database,
    _program: Program,
}

impl Load {
    fn start(alone: &Alone) -> Self {
        let database = Database::with_films("outage", 3_000);
        let index = alone.index("outage");
        let mut program = Program::new(&database, &index);
        program.set("CHUNK_SIZE", "50").set("BULK_BYTES", "50000");
        let running = program.start(&["run"]);
        running.wait_for_log("a full load begins");
        Self { running, index, database, _program: program }
    }

    /// Polling does not stand still meanwhile: changes are recorded, whatever the index does.
    fn goes_on_without_its_index(&self) {
        self.database.execute("update content.genre set name = name || ' changed', modified = now()");
        self.running.wait_for_log("stale keys recorded");
        self.running.wait_for_log("trying again");
    }

    fn loses_nothing(self) {
        self.index.wait_for(SOON, || movies_documents(&mut self.database.connect()));
        assert_eq!(self.running.terminate().code, 0);
    }
}
