//! Sizes: the cost of a document in small and large tables, and what the program needs to start, to lie on a disk and to
//! wait for something to do.
//!
//! `cargo bench --bench scale` with the settings that `dev/services env` prints; `docs/performance.md` says more.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a benchmark ends at the first surprise and prints"
)]

#[path = "common/servers/mod.rs"]
mod servers;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use servers::films::Films;
use servers::meter::{Sample, measure_program};
use servers::program::{Place, Running, command};
use servers::report::Report;
use servers::settings::{Defaults, Settings};
use servers::sink::Sink;
use servers::table::{Table, middle, sorted};

/// So many documents at least are loaded for a figure, by loading small tables several times.
const DOCUMENTS: u64 = 100_000;

fn main() {
    let Some(settings) = Settings::read("scale", Defaults { films: 0, rounds: 5 }) else { return };
    // Films in each of the databases.
    let sizes = settings.list("BENCH_SIZES", &[10_000, 100_000], &[settings.film_count]);
    let databases: Vec<Films> = sizes.iter().map(|size| Films::find_or_make(&settings, *size)).collect();
    settings.announce(&format!("{sizes:?} films"));
    let mut report = Report::new(&settings, &format!("{sizes:?} films"));
    let bench = Bench { settings, sink: Sink::start(), databases };
    let starts = bench.starts(&mut report);
    bench.loads(&mut report, &starts);
    report.finish();
}

struct Bench {
    settings: Settings,
    sink: Sink,
    /// From the smallest to the largest.
    databases: Vec<Films>,
}

impl Bench {
    /// The program at rest: on the disk, when it starts, when there is nothing to do. Returns what runs with nothing
    /// to do cost.
    fn starts(&self, report: &mut Report) -> Vec<Sample> {
        let films = &self.databases[0];
        let state = tempfile::tempdir().unwrap();
        self.sink.reset();
        self.once(films, state.path());
        let (mut version, mut requests, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.settings.round_count {
            let began = Instant::now();
            let mut asked = command(&self.settings, None, "--version", self.place(films, state.path()));
            assert!(asked.stdout(Stdio::null()).status().unwrap().success());
            version.push(began.elapsed().as_secs_f64() * 1e3);

            self.sink.forget_counts();
            let began = Instant::now();
            let mut program =
                Running::start(command(&self.settings, None, "run", self.place(films, state.path())));
            // PostgreSQL was asked for everything by then, and the state read.
            program.wait_until("asked the index", Duration::from_secs(60), || self.sink.requests() > 0);
            requests.push(began.elapsed().as_secs_f64() * 1e3);
            program.stop();
            whole.push(self.once(films, state.path()));
        }
        let mut program =
            Running::start(command(&self.settings, None, "run", self.place(films, state.path())));
        self.sink.forget_counts();
        program.wait_until("asked the index", Duration::from_secs(60), || self.sink.requests() > 0);
        std::thread::sleep(Duration::from_secs(if self.settings.is_smoke { 1 } else { 5 }));
        let idle = program.memory().0 / 1e6;
        program.stop();
        let size = std::fs::metadata(&self.settings.program).unwrap().len() as f64 / 1e6;
        report.lower_is_better("the program's file, MB", &[size]);
        report.lower_is_better("idle memory, MB", &[idle]);
        report.lower_is_better("start of `pgsluice --version`, ms", &version);
        report.lower_is_better("start to the first request at the index, ms", &requests);
        let millis = |value: fn(&Sample) -> f64| whole.iter().map(value).collect::<Vec<_>>();
        report.lower_is_better("`once` with nothing to do, ms", &millis(|sample| sample.seconds * 1e3));
        report.lower_is_better(
            "`once` with nothing to do, pgsluice's processor, ms",
            &millis(|sample| sample.program_seconds() * 1e3),
        );
        report.lower_is_better(
            "`once` with nothing to do, PostgreSQL's processor, ms",
            &millis(|sample| sample.postgres_seconds * 1e3),
        );
        whole
    }

    /// Full loads of all sizes in turns; what a document costs in each, and each one more from size to size.
    fn loads(&self, report: &mut Report, starts: &[Sample]) {
        let start = |value: fn(&Sample) -> f64| middle(&sorted(starts.iter().map(value).collect()));
        let start = Sample {
            seconds: start(|sample| sample.seconds),
            user_seconds: start(|sample| sample.user_seconds),
            system_seconds: start(|sample| sample.system_seconds),
            postgres_seconds: start(|sample| sample.postgres_seconds),
            ..Sample::default()
        };
        let mut table = Table::default();
        for round in 1..=self.settings.round_count {
            println!("round {round}");
            let mut smaller = Sample::default();
            for films in &self.databases {
                // The clock of a process is too coarse for a small load.
                let load_count = (DOCUMENTS / films.count.max(1)).clamp(1, 10);
                let mut whole = Sample::default();
                for _ in 0..load_count {
                    self.sink.reset();
                    let state = tempfile::tempdir().unwrap();
                    let sample = self.once(films, state.path());
                    assert_eq!(sample.documents as u64, films.count, "documents that reached the sink");
                    whole = whole.plus(&sample);
                }
                let load = whole.share(load_count as f64);
                table.add(&name(films), load.beyond(&start));
                if smaller.documents > 0.0 {
                    table.add(
                        &step(smaller.documents, films),
                        load.beyond(&smaller).of(load.documents - smaller.documents),
                    );
                }
                smaller = load;
            }
        }
        table.print();
        let smallest = name(&self.databases[0]);
        for films in self.databases.iter().skip(1) {
            table.ratio_of_rates(report, &name(films), &smallest);
            table.ratio_of_costs(report, &name(films), &smallest);
        }
        let steps: Vec<String> =
            self.databases.windows(2).map(|pair| step(pair[0].count as f64, &pair[1])).collect();
        for next in steps.iter().skip(1) {
            table.ratio_of_costs(report, next, &steps[0]);
        }
    }

    fn once(&self, films: &Films, state: &Path) -> Sample {
        let command = command(&self.settings, None, "once", self.place(films, state));
        measure_program(&films.database, None, command, || self.sink.taken())
    }

    fn place<'a>(&'a self, films: &'a Films, state: &'a Path) -> Place<'a> {
        Place { database: &films.database, url: &self.sink.url, index_name: "movies", state }
    }
}

fn name(films: &Films) -> String {
    format!("{} films, beyond the start", films.count)
}

fn step(smaller: f64, films: &Films) -> String {
    format!("each film from {smaller} to {}", films.count)
}
