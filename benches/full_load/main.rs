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

use servers::films::Films;
use servers::loads::{Filled, Loads};
use servers::meter::measure;
use servers::report::Report;
use servers::settings::{Defaults, Settings};
use servers::table::Table;

const COPY: &str = "COPY of the five tables";
const EXTRACTION: &str = "extraction's statements alone";
const NULL: &str = "pgsluice, null sink";
const OTHER: &str = "BENCH_OTHER, null sink";

fn main() {
    let Some(settings) = Settings::read("full_load", Defaults { films: 50_000, rounds: 3 }) else { return };
    let films = Films::find_or_make(&settings, settings.film_count);
    settings.announce(&format!("{} films", films.count));
    Bench { loads: Loads::prepare(settings, films), table: Table::default() }.run();
}

struct Bench {
    loads: Loads,
    table: Table,
}

impl Bench {
    fn run(mut self) {
        let settings = self.loads.settings.clone();
        for round in 1..=settings.round_count {
            println!("round {round}");
            self.round(&settings);
        }
        self.table.print();
        let mut report = Report::new(&settings, &format!("{} films", self.loads.films.count));
        for limit in [COPY, EXTRACTION, OTHER] {
            self.table.ratio_of_rates(&mut report, NULL, limit);
        }
        self.table.ratio_of_costs(&mut report, NULL, OTHER);
        for limit in [COPY, OTHER] {
            self.table.ratio_of_postgres(&mut report, NULL, limit);
        }
        for (server, _) in &settings.servers {
            for connection_count in [1, 2] {
                let (name, limit) = (load_name(server), replay_name(server, connection_count));
                self.table.ratio_of_rates(&mut report, &name, &limit);
            }
        }
        report.finish();
    }

    /// Measures everything once; rounds are interleaved, so that other load falls on all rows alike.
    fn round(&mut self, settings: &Settings) {
        let Self { loads, table } = self;
        let films = &loads.films;
        if settings.wants(COPY) {
            table.add(COPY, measure(&films.database, None, || (films.count, films.copy_tables())));
        }
        if settings.wants(EXTRACTION) {
            table.add(EXTRACTION, measure(&films.database, None, || (films.count, films.run_extraction())));
        }
        if settings.wants(NULL) {
            table.add(NULL, loads.load_sink(None));
        }
        if let Some(other) = settings.other.as_deref().filter(|_| settings.wants(OTHER)) {
            table.add(OTHER, loads.load_sink(Some(other)));
        }
        for (server, url) in &settings.servers {
            for connection_count in [1, 2] {
                let name = replay_name(server, connection_count);
                if settings.wants(&name) {
                    let pieces = loads.bodies.as_they_came();
                    table.add(&name, loads.replayed(url, &pieces, connection_count, Filled::AsItIs));
                }
            }
            let name = load_name(server);
            if settings.wants(&name) {
                table.add(&name, loads.load_server(url, Filled::AsItIs));
            }
        }
    }
}

fn replay_name(server: &str, connection_count: usize) -> String {
    format!("bodies replayed by {connection_count}, {server}")
}

fn load_name(server: &str) -> String {
    format!("pgsluice, {server}")
}
