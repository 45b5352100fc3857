//! Catching up: scattered stale keys, and one row that makes many documents stale, by the program itself from a real
//! PostgreSQL into a null sink, beside a bare client that reads the same keys.
//!
//! Every round begins with a copy of the same caught-up state, so that each finds the same changes again and none has
//! to be made or undone between them.
//!
//! `cargo bench --bench catch_up` with the settings that `dev/services env` prints; `docs/performance.md` says more.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a benchmark ends at the first surprise and prints"
)]

#[path = "common/servers/mod.rs"]
mod servers;

use std::fs;
use std::path::Path;
use std::time::Duration;

use servers::films::Films;
use servers::meter::{Sample, measure, measure_to_first};
use servers::program::{Place, command};
use servers::report::Report;
use servers::settings::{Defaults, Settings};
use servers::sink::Sink;
use servers::table::Table;

const BARE: &str = "bare `= any` of the same keys";

/// A poll reads again what is younger than this (`CURSOR_SKEW`): changes that are older are not found twice.
const SKEW: Duration = Duration::from_secs(11);

fn main() {
    let Some(settings) = Settings::read("catch_up", Defaults { films: 300_000, rounds: 5 }) else { return };
    let films = Films::own(&settings, settings.film_count);
    let key_count = settings.size("BENCH_KEYS", 50_000, 100).min(films.count);
    let genre_count = settings.size("BENCH_GENRE_FILMS", 200_000, 200).min(films.count);
    settings.announce(&format!("{key_count} of {} films, and a genre of {genre_count} films", films.count));
    let genre = films.add_genre(genre_count);
    let programs: Vec<Program> = [("pgsluice", None), ("BENCH_OTHER", settings.other.clone())]
        .into_iter()
        .filter(|(name, other)| *name == "pgsluice" || other.is_some())
        .map(|(name, other)| Program::caught_up(&settings, &films, name, other))
        .collect();
    let mut bench = Bench { table: Table::default(), settings, films, programs };

    let keys = bench.films.scattered_keys(key_count);
    bench.films.touch(&keys);
    for round in 1..=bench.settings.round_count {
        println!("scattered keys, round {round}");
        bench.scattered(&keys);
    }

    if !bench.settings.is_smoke {
        std::thread::sleep(SKEW);
    }
    for program in &bench.programs {
        program.catch_up(&bench.settings, &bench.films);
    }
    bench.films.rename_genre(&genre);
    for round in 1..=bench.settings.round_count {
        println!("a genre, round {round}");
        bench.genre(genre_count);
    }
    bench.report(&format!("{} films, {key_count} keys, a genre of {genre_count}", bench.films.count));
}

/// A build of pgsluice, with a state that has caught up and the index that belongs to it.
struct Program {
    name: &'static str,
    other: Option<String>,
    sink: Sink,
    state: tempfile::TempDir,
}

impl Program {
    fn caught_up(settings: &Settings, films: &Films, name: &'static str, other: Option<String>) -> Self {
        let program = Self { name, other, sink: Sink::start(), state: tempfile::tempdir().unwrap() };
        let loaded = program.once(settings, films, program.state.path()).1;
        assert_eq!(loaded.documents as u64, films.count, "{name}: documents of the first load");
        program
    }

    /// Catches up from a copy of the state that has caught up; returns the part until the first bulk request, and all.
    fn once_from_copy(&self, settings: &Settings, films: &Films) -> (Sample, Sample) {
        let copy = tempfile::tempdir().unwrap();
        for file in fs::read_dir(self.state.path()).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        self.once(settings, films, copy.path())
    }

    /// Brings the kept state up to the present.
    fn catch_up(&self, settings: &Settings, films: &Films) {
        self.once(settings, films, self.state.path());
    }

    fn once(&self, settings: &Settings, films: &Films, state: &Path) -> (Sample, Sample) {
        self.sink.forget_counts();
        let place = Place { database: &films.database, url: &self.sink.url, index_name: "movies", state };
        let command = command(settings, self.other.as_deref(), "once", place);
        measure_to_first(&films.database, None, command, || self.sink.taken())
    }
}

struct Bench {
    settings: Settings,
    films: Films,
    programs: Vec<Program>,
    table: Table,
}

impl Bench {
    /// Measures everything once; rounds are interleaved, so that other load falls on all rows alike.
    fn scattered(&mut self, keys: &[String]) {
        let films = &self.films;
        if self.settings.wants(BARE) {
            let work = || (keys.len() as u64, films.run_extraction_of(keys));
            self.table.add(BARE, measure(&films.database, None, work));
        }
        for program in &self.programs {
            let name = scattered_name(program.name);
            if self.settings.wants(&name) {
                let (_, sample) = program.once_from_copy(&self.settings, films);
                assert_eq!(sample.documents as usize, keys.len(), "{name}: documents that reached the sink");
                self.table.add(&name, sample);
            }
        }
    }

    fn genre(&mut self, genre_count: u64) {
        for program in &self.programs {
            let (recording, sending) = (recording_name(program.name), sending_name(program.name));
            if self.settings.wants(&recording) || self.settings.wants(&sending) {
                let (first, all) = program.once_from_copy(&self.settings, &self.films);
                // In a smoke run the scattered changes are still young enough to be found again.
                let is_right = all.documents as u64 == genre_count || self.settings.is_smoke;
                assert!(is_right, "{} documents reached the sink", all.documents);
                // Nothing was sent yet, but all of it was recorded.
                let first = Sample { documents: all.documents, bytes: 0.0, ..first };
                self.table.add(&recording, first);
                self.table.add(&sending, all.beyond(&first));
            }
        }
    }

    fn report(&self, sizes: &str) {
        self.table.print();
        let mut report = Report::new(&self.settings, sizes);
        let (own, other) = ("pgsluice", "BENCH_OTHER");
        self.table.ratio_of_rates(&mut report, &scattered_name(own), BARE);
        self.table.ratio_of_rates(&mut report, &scattered_name(own), &scattered_name(other));
        self.table.ratio_of_costs(&mut report, &scattered_name(own), &scattered_name(other));
        self.table.ratio_of_rates(&mut report, &recording_name(own), &sending_name(own));
        self.table.ratio_of_costs(&mut report, &recording_name(own), &sending_name(own));
        self.table.ratio_of_rates(&mut report, &sending_name(own), &sending_name(other));
        self.table.ratio_of_costs(&mut report, &sending_name(own), &sending_name(other));
        report.finish();
    }
}

fn scattered_name(program: &str) -> String {
    format!("{program}, scattered keys")
}

fn recording_name(program: &str) -> String {
    format!("{program}, a genre: until the first request")
}

fn sending_name(program: &str) -> String {
    format!("{program}, a genre: the rest")
}
