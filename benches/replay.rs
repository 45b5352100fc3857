//! What a real index server takes at most, and how near to it a full load comes on processors that everything shares.
//!
//! A bare client sends the bodies of a load again, cut to several sizes, over several connections. The quickest way of these is
//! then measured beside pgsluice itself, in the same rounds: the best of many figures looks better than it is.
//!
//! `cargo bench --bench replay` with the settings that `dev/services env` prints; `docs/performance.md` says more.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a benchmark ends at the first surprise and prints"
)]

#[path = "common/servers/mod.rs"]
mod servers;

use std::ops::Range;

use servers::films::Films;
use servers::loads::{Filled, Loads};
use servers::meter::Sample;
use servers::report::Report;
use servers::settings::{Defaults, Settings};
use servers::table::{Table, middle, print_markdown, sorted, spread};

/// Ends of rows' names; the server's name stands in front.
const BEST: &str = "best replay";
const LOAD: &str = "pgsluice";
const BEST_FRESH: &str = "best replay, settings of --fresh";
const LOAD_FRESH: &str = "pgsluice --fresh";
const COPY: &str = "COPY of the five tables beside the best replay";

fn main() {
    let Some(settings) = Settings::read("replay", Defaults { films: 100_000, rounds: 3 }) else { return };
    if settings.servers.is_empty() {
        println!("skipped: ELASTIC_URL and OPENSEARCH_URL say where index servers are");
        return;
    }
    let films = Films::find_or_make(&settings, settings.film_count);
    settings.announce(&format!("{} films", films.count));
    let loads = Loads::prepare(settings.clone(), films);
    let ways = ways(&settings, &loads);
    let mut report = Report::new(&settings, &format!("{} films", loads.films.count));
    Bench { settings, loads, ways, curve: Table::default(), beside: Table::default() }.run(&mut report);
    report.finish();
}

/// A way of sending the bodies.
struct Way {
    name: String,
    megabytes: f64,
    connection_count: usize,
    pieces: Vec<Range<u64>>,
}

/// Every size with every number of connections that it has enough bodies for.
fn ways(settings: &Settings, loads: &Loads) -> Vec<Way> {
    let sizes = settings.list("BENCH_BODY_MB", &[0.5, 1.0, 2.5, 5.0, 10.0, 20.0], &[0.05, 0.1]);
    let connection_counts = settings.list("BENCH_CONNECTIONS", &[1, 2, 4], &[1, 2]);
    let mut ways = Vec::new();
    for megabytes in sizes {
        let pieces = loads.bodies.cut((megabytes * 1e6) as u64);
        for &connection_count in &connection_counts {
            // With fewer, most of the time is that of the last ones, beside idle connections.
            if pieces.len() >= 2 * connection_count {
                let name = format!("{megabytes} MB by {connection_count}");
                ways.push(Way { name, megabytes, connection_count, pieces: pieces.clone() });
            }
        }
    }
    assert!(!ways.is_empty(), "too few films for bodies of these sizes");
    ways
}

struct Bench {
    settings: Settings,
    loads: Loads,
    ways: Vec<Way>,
    curve: Table,
    /// The best replay and the program.
    beside: Table,
}

impl Bench {
    fn run(mut self, report: &mut Report) {
        let servers = self.settings.servers.clone();
        for round in 1..=self.settings.round_count {
            println!("the curve, round {round}");
            for (server, url) in &servers {
                for way in &self.ways {
                    let sample = self.loads.replayed(url, &way.pieces, way.connection_count, Filled::AsItIs);
                    self.curve.add(&row(server, &way.name), sample);
                }
            }
        }
        for (server, _) in &servers {
            self.print_curve(server);
        }
        let bests: Vec<usize> = servers.iter().map(|(server, _)| self.best(server)).collect();
        for round in 1..=self.settings.round_count {
            println!("beside the best, round {round}");
            for ((server, url), best) in servers.iter().zip(&bests) {
                let Self { loads, beside, ways, .. } = &mut self;
                let Way { pieces, connection_count, .. } = &ways[*best];
                let mut seconds = 0.0;
                for (replay, load, filled) in
                    [(BEST, LOAD, Filled::AsItIs), (BEST_FRESH, LOAD_FRESH, Filled::Fresh)]
                {
                    let sample = loads.replayed(url, pieces, *connection_count, filled);
                    seconds = f64::max(seconds, sample.seconds);
                    beside.add(&row(server, replay), sample);
                    beside.add(&row(server, load), loads.load_server(url, filled));
                }
                let copied = loads.copied_beside(url, pieces, *connection_count, seconds);
                beside.add(&row(server, COPY), copied);
            }
        }
        self.beside.print();
        for ((server, _), best) in servers.iter().zip(&bests) {
            println!("{server}: the best replay is {}", self.ways[*best].name);
        }
        self.explain(report);
    }

    /// The way with the best median.
    fn best(&self, server: &str) -> usize {
        let median = |way: &Way| {
            let samples = self.curve.samples(&row(server, &way.name));
            middle(&sorted(samples.iter().map(Sample::rate).collect()))
        };
        let medians = self.ways.iter().map(median).enumerate();
        medians.max_by(|left, right| left.1.total_cmp(&right.1)).map_or(0, |(place, _)| place)
    }

    fn print_curve(&self, server: &str) {
        let mut connection_counts: Vec<usize> = self.ways.iter().map(|way| way.connection_count).collect();
        connection_counts.sort_unstable();
        connection_counts.dedup();
        let mut heads = vec![format!("{server}: body")];
        heads.extend(connection_counts.iter().map(|count| format!("documents/s by {count}")));
        heads.extend(connection_counts.iter().map(|count| format!("its s/100,000 by {count}")));
        let mut lines: Vec<Vec<String>> = Vec::new();
        for way in &self.ways {
            let name = format!("{} MB", way.megabytes);
            if lines.last().is_none_or(|line| line[0] != name) {
                let mut line = vec!["-".to_owned(); heads.len()];
                line[0] = name;
                lines.push(line);
            }
            let place = connection_counts.iter().position(|count| *count == way.connection_count).unwrap();
            let samples = self.curve.samples(&row(server, &way.name));
            let of = |value: fn(&Sample) -> f64| sorted(samples.iter().map(value).collect());
            let line = lines.last_mut().unwrap();
            line[1 + place] = spread(&of(Sample::rate), 0);
            line[1 + connection_counts.len() + place] = spread(&of(|sample| server_cost(sample) * 1e5), 1);
        }
        print_markdown(&heads.iter().map(String::as_str).collect::<Vec<_>>(), &lines);
        println!(
            "\nits s: processor seconds of the index server. -: too few bodies for so many connections.\n"
        );
    }

    /// How much of the best replay's rate each load has, and how much of what the server can take on what is left of the
    /// processors.
    fn explain(&self, report: &mut Report) {
        let mut lines = Vec::new();
        for (server, _) in &self.settings.servers {
            for (replay, load) in [(BEST, LOAD), (BEST_FRESH, LOAD_FRESH)] {
                let samples = self.beside.samples(&row(server, load));
                let pairs: Vec<Shared> = samples
                    .iter()
                    .zip(self.beside.samples(&row(server, replay)))
                    .map(|(load, replay)| Shared::of(load, replay))
                    .collect();
                let of = |value: fn(&Shared) -> f64| sorted(pairs.iter().map(value).collect());
                lines.push(vec![
                    row(server, load),
                    spread(&of(|shared| shared.load), 0),
                    spread(&of(|shared| shared.replay), 0),
                    spread(&of(|shared| shared.load / shared.replay), 2),
                    spread(&of(|shared| shared.used * 100.0), 0),
                    spread(&of(|shared| shared.idle * 100.0), 0),
                    spread(&of(|shared| shared.possible), 0),
                    spread(&of(|shared| shared.load / shared.possible), 2),
                ]);
                let (load, replay) = (row(server, load), row(server, replay));
                self.beside.ratio_of_rates(report, &load, &replay);
                self.beside.ratio_of_postgres(report, &load, &row(server, COPY));
                let name = format!("{load} / what the server can take beside it");
                report.higher_is_better(&name, &of(|shared| shared.load / shared.possible));
            }
        }
        let heads = [
            "median [min..max]",
            "documents/s",
            "best replay",
            "ratio",
            "% used",
            "% idle",
            "possible on the rest",
            "ratio to that",
        ];
        print_markdown(&heads, &lines);
        println!(
            "\n% used: of the processors, by pgsluice and its connections to PostgreSQL; % idle: by nobody. possible on the rest:\n\
             the documents/s of the best replay if it had had only the processors that pgsluice, PostgreSQL and other work left,\n\
             at the processor time that a document cost the index server in that replay; never more than the replay had.\n"
        );
    }
}

/// A load beside a replay, on the same processors.
struct Shared {
    /// Documents a second.
    load: f64,
    replay: f64,
    /// The part of the processors that pgsluice and PostgreSQL used, and that nobody used.
    used: f64,
    idle: f64,
    /// Documents a second that the replay would have had on the rest.
    possible: f64,
}

impl Shared {
    fn of(load: &Sample, replay: &Sample) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let used = (load.program_seconds() + load.postgres_seconds) / load.seconds;
        let left = (processors - used - load.others).max(0.0);
        let idle = (left - load.server_seconds / load.seconds).max(0.0);
        // Where the clock's ticks are too coarse for so little work, nothing is explained by it.
        let possible = (left / server_cost(replay)).min(replay.rate());
        Self {
            load: load.rate(),
            replay: replay.rate(),
            used: used / processors,
            idle: idle / processors,
            possible,
        }
    }
}

/// Processor seconds of the index server for a document.
fn server_cost(sample: &Sample) -> f64 {
    sample.server_seconds / sample.documents
}

fn row(server: &str, name: &str) -> String {
    format!("{name}, {server}")
}
