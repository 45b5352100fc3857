//! The full load from end to end: the program itself, as a process of its own, from a real PostgreSQL into a null sink
//! and into real index servers, beside the limits of either side, in one run.
//!
//! `cargo bench --bench full_load` with the settings that `dev/services env` prints; `docs/performance.md` says more.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a benchmark ends at the first surprise and prints"
)]

#[path = "../common/servers/mod.rs"]
mod servers;

use std::path::Path;

use servers::films::Films;
use servers::index;
use servers::meter::{Sample, measure, measure_program};
use servers::program::{Place, command};
use servers::report::Report;
use servers::settings::{Defaults, Settings};
use servers::sink::Sink;
use servers::table::Table;

const COPY: &str = "COPY of the five tables";
const EXTRACTION: &str = "extraction's statements alone";
const NULL: &str = "pgsluice, null sink";
const OTHER: &str = "BENCH_OTHER, null sink";

fn main() {
    let Some(settings) = Settings::read("full_load", Defaults { films: 50_000, rounds: 3 }) else { return };
    let films = Films::find_or_make(&settings, settings.film_count);
    settings.announce(&format!("{} films", films.count));
    Bench {
        sink: Sink::start(),
        bodies: tempfile::tempdir().unwrap(),
        table: Table::default(),
        settings,
        films,
    }
    .run();
}

struct Bench {
    settings: Settings,
    films: Films,
    sink: Sink,
    /// The bulk bodies of a load, for the replay.
    bodies: tempfile::TempDir,
    table: Table,
}

impl Bench {
    fn run(mut self) {
        // Not measured: fills the caches and keeps the bodies.
        let body_bytes = self.load_into_sink(None, Some(self.bodies.path())).bytes as u64;
        for round in 1..=self.settings.round_count {
            println!("round {round}");
            self.round(body_bytes);
        }
        self.table.print();
        let mut report = Report::new(&self.settings, &format!("{} films", self.films.count));
        for limit in [COPY, EXTRACTION, OTHER] {
            self.table.ratio_of_rates(&mut report, NULL, limit);
        }
        self.table.ratio_of_costs(&mut report, NULL, OTHER);
        for (server, _) in &self.settings.servers {
            for connection_count in [1, 2] {
                let (name, limit) = (load_name(server), replay_name(server, connection_count));
                self.table.ratio_of_rates(&mut report, &name, &limit);
            }
        }
        report.finish();
    }

    /// Measures everything once; rounds are interleaved, so that other load falls on all rows alike.
    fn round(&mut self, body_bytes: u64) {
        let (database, films) = (self.films.database.clone(), self.films.count);
        if self.settings.wants(COPY) {
            let sample = measure(&database, None, || (films, self.films.copy_tables()));
            self.table.add(COPY, sample);
        }
        if self.settings.wants(EXTRACTION) {
            let sample = measure(&database, None, || (films, self.films.run_extraction()));
            self.table.add(EXTRACTION, sample);
        }
        if self.settings.wants(NULL) {
            let sample = self.load_into_sink(None, None);
            self.table.add(NULL, sample);
        }
        if let Some(other) = self.settings.other.clone().filter(|_| self.settings.wants(OTHER)) {
            let sample = self.load_into_sink(Some(&other), None);
            self.table.add(OTHER, sample);
        }
        for (server, url) in self.settings.servers.clone() {
            let index_name = format!("pgsluice_bench_{}", std::process::id());
            for connection_count in [1, 2] {
                let name = replay_name(server, connection_count);
                if self.settings.wants(&name) {
                    index::make(&url, &index_name);
                    let sample = measure(&database, Some(&url), || {
                        index::replay(&url, &index_name, self.bodies.path(), connection_count);
                        (films, body_bytes)
                    });
                    self.check_count(&url, &index_name);
                    self.table.add(&name, sample);
                }
            }
            let name = load_name(server);
            if self.settings.wants(&name) {
                let state = tempfile::tempdir().unwrap();
                let place =
                    Place { database: &database, url: &url, index_name: &index_name, state: state.path() };
                let command = command(&self.settings, None, "once", place);
                let sample = measure_program(&database, Some(&url), command, || (films, body_bytes));
                self.check_count(&url, &index_name);
                self.table.add(&name, sample);
            }
        }
    }

    fn check_count(&self, url: &str, index_name: &str) {
        let count = index::count(url, index_name);
        index::remove(url, index_name);
        assert_eq!(count, self.films.count, "documents in the index");
    }

    fn load_into_sink(&self, other: Option<&str>, bodies: Option<&Path>) -> Sample {
        self.sink.reset(bodies.map(Path::to_owned));
        let state = tempfile::tempdir().unwrap();
        let database = &self.films.database;
        let place = Place { database, url: &self.sink.url, index_name: "movies", state: state.path() };
        let command = command(&self.settings, other, "once", place);
        let sample = measure_program(database, None, command, || self.sink.taken());
        assert_eq!(sample.documents as u64, self.films.count, "documents that reached the sink");
        sample
    }
}

fn replay_name(server: &str, connection_count: usize) -> String {
    format!("bodies replayed by {connection_count}, {server}")
}

fn load_name(server: &str) -> String {
    format!("pgsluice, {server}")
}
