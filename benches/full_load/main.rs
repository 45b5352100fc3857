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

mod environment;
mod index;
mod meter;
mod sink;
mod source;
mod table;

use std::path::Path;
use std::process::{Command, Stdio};

use environment::Settings;
use meter::{Sample, measure, measure_program};
use sink::Sink;
use source::Films;
use table::Table;

const COPY: &str = "COPY of the five tables";
const EXTRACTION: &str = "extraction's statements alone";
const NULL: &str = "pgsluice, null sink";
const OTHER: &str = "BENCH_OTHER, null sink";

fn main() {
    // `cargo test --benches` starts this too, and it is long.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("skipped: runs by `cargo bench --bench full_load`");
        return;
    }
    let Some(settings) = Settings::read() else {
        println!(
            "skipped: PG_DSN__HOST and PG_DSN__USER say where PostgreSQL is, ELASTIC_URL and OPENSEARCH_URL where the index\n\
             servers are (if any):  dev/services up && eval \"$(dev/services env)\""
        );
        return;
    };
    let films = Films::find_or_make(&settings, settings.film_count);
    println!("{} films, {} rounds; {}", films.count, settings.round_count, machine());
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
        println!();
        self.table.print_ratio(NULL, COPY);
        self.table.print_ratio(NULL, EXTRACTION);
        self.table.print_ratio(NULL, OTHER);
        for (server, _) in &self.settings.servers {
            for connection_count in [1, 2] {
                self.table.print_ratio(&load_name(server), &replay_name(server, connection_count));
            }
        }
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
                let command = self.command(None, state.path(), &url, &index_name);
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
        let command = self.command(other, state.path(), &self.sink.url, "movies");
        let sample = measure_program(&self.films.database, None, command, || self.sink.taken());
        assert_eq!(sample.documents as u64, self.films.count, "documents that reached the sink");
        sample
    }

    /// `pgsluice once`, or another command with the same settings.
    fn command(&self, other: Option<&str>, state: &Path, url: &str, index_name: &str) -> Command {
        let Settings { host, port, user, password, extra, program, .. } = &self.settings;
        let mut command = match other {
            Some(other) => {
                let mut shell = Command::new("sh");
                // In place of the shell, so that the figures are the command's.
                shell.args(["-c", &format!("exec {other}")]);
                shell
            }
            None => {
                let mut own = Command::new(program);
                own.arg("once").env_clear();
                own
            }
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env("PATH", path)
            .envs([("PG_DSN__HOST", host), ("PG_DSN__PORT", port), ("PG_DSN__USER", user)])
            .envs([("PG_DSN__PASSWORD", password), ("PG_DSN__DBNAME", &self.films.database)])
            .envs([("ELASTIC_URL", url), ("ELASTIC_INDEX", index_name), ("RUST_LOG", "warn")])
            .env("RETRY_DEADLINE", "10")
            .env("STORAGE_SUBDIR", state)
            .envs(extra.iter().map(|(name, value)| (name, value)))
            .current_dir(state)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }
}

fn replay_name(server: &str, connection_count: usize) -> String {
    format!("bodies replayed by {connection_count}, {server}")
}

fn load_name(server: &str) -> String {
    format!("pgsluice, {server}")
}

/// The machine, and how busy it was just before.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} cores of {}, load {}",
        model.trim_start_matches([' ', '\t', ':']),
        load.split(' ').next().unwrap_or_default()
    )
}
