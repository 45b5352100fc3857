//! What people use today, beside pgsluice: the same films, the same null sink, one after the other in each round.
//!
//! `dev/bench peers`, or `cargo bench --bench peers` with the settings that `dev/services env` prints. It installs
//! pgsync and Redis by `benches/peers/install`. PostgreSQL must have `wal_level = logical`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a benchmark ends at the first surprise and prints"
)]

#[path = "../common/servers/mod.rs"]
mod servers;

mod losses;
mod pgsync;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pgsync::{Pgsync, Redis};
use servers::changes::Changes;
use servers::films::Films;
use servers::meter::{Sample, measure_program};
use servers::program::{Place, Running, command};
use servers::report::Report;
use servers::settings::{Defaults, Settings};
use servers::sink::Sink;
use servers::table::{Table, percentile, print_markdown};

const OWN: &str = "pgsluice";
const SCRIPT: &str = "Python script, flat join";
const POLLING: &str = "Python script, polling like Logstash";
const PGSYNC: &str = "pgsync";

/// How long a program may take to get ready, and to deliver what was changed.
const PATIENCE: Duration = Duration::from_secs(900);

fn main() {
    let Some(settings) = Settings::read("peers", Defaults { films: 50_000, rounds: 3 }) else { return };
    if settings.is_smoke {
        println!("skipped: it installs other programs, which no smoke run should");
        return;
    }
    let peers = install();
    let films = Films::own(&settings, settings.film_count);
    settings.announce(&format!("{} films", films.count));
    let redis = Redis::start();
    let mut report = Report::new(&settings, &format!("{} films", films.count));
    let pgsync = Pgsync::new(&settings, &films, &peers, &redis);
    let bench = Bench { settings: &settings, films: &films, peers: &peers, pgsync };
    bench.loads(&mut report);
    bench.changes(&mut report);
    bench.losses();
    report.finish();
}

/// Installs the others, if they are not there; returns where they are.
fn install() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/install");
    let output = Command::new(script).stderr(std::process::Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "benches/peers/install failed");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

struct Bench<'a> {
    settings: &'a Settings,
    films: &'a Films,
    peers: &'a Path,
    pgsync: Pgsync<'a>,
}

impl Bench<'_> {
    /// Full loads, in turns.
    fn loads(&self, report: &mut Report) {
        let sink = Sink::start();
        let mut table = Table::default();
        let database = &self.films.database;
        if self.settings.wants(PGSYNC) {
            self.pgsync.bootstrap(&sink.url);
        }
        for round in 1..=self.settings.round_count {
            println!("round {round}");
            for name in [OWN, SCRIPT, POLLING, PGSYNC] {
                if !self.settings.wants(name) {
                    continue;
                }
                sink.reset();
                let state = tempfile::tempdir().unwrap();
                let place = Place { database, url: &sink.url, index_name: "movies", state: state.path() };
                let command = match name {
                    OWN => command(self.settings, None, "once", place),
                    SCRIPT => self.script("flat_join.py", place),
                    POLLING => self.script("polling.py --once", place),
                    _ => self.pgsync.load(&sink.url),
                };
                let sample: Sample = measure_program(database, None, command, || sink.taken());
                assert_eq!(sample.documents as u64, self.films.count, "{name}: documents in the sink");
                table.add(name, sample);
            }
        }
        table.print();
        for peer in [PGSYNC, SCRIPT, POLLING] {
            table.ratio_of_rates(report, OWN, peer);
            table.ratio_of_costs(report, OWN, peer);
            table.ratio_of_memory(report, OWN, peer);
        }
    }

    /// A script of `benches/peers`, with its arguments.
    fn script(&self, script: &str, place: Place<'_>) -> Command {
        let python = self.peers.join("script/bin/python");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
        let script = format!("{} -B {}/{script}", python.display(), folder.display());
        command(self.settings, Some(&script), "", place)
    }

    /// Few changes a second, by each program that follows changes.
    fn changes(&self, report: &mut Report) {
        let per_second = self.settings.size("BENCH_CHANGES", 20, 20);
        let seconds = self.settings.size("BENCH_SECONDS", 20, 2);
        let names = [OWN, POLLING, PGSYNC];
        let count = names.len() as u64 * per_second * seconds;
        let keys = self.films.scattered_keys(count.min(self.films.count));
        let mut lines = Vec::new();
        for (name, keys) in names.into_iter().zip(keys.chunks(keys.len() / names.len())) {
            let (probes, keys) = keys.split_at(3);
            if !self.settings.wants(name) {
                continue;
            }
            let sink = Sink::start();
            let state = tempfile::tempdir().unwrap();
            let database = &self.films.database;
            let place = Place { database, url: &sink.url, index_name: "movies", state: state.path() };
            let mut command = match name {
                OWN => command(self.settings, None, "run", place),
                POLLING => self.script("polling.py", place),
                _ => self.pgsync.follow(&sink.url),
            };
            if name == OWN {
                command.env("REQUEST_INTERVAL", "0.2");
            }
            let mut program = Running::start(command);
            let count = self.films.count;
            program.wait_until("loaded all films", PATIENCE, || sink.taken().0 >= count);
            let changes = Changes::watched_by(&sink);
            // Until it follows changes: pgsync loads first, then reads its slot, and only then listens.
            for probe in probes.chunks(1) {
                changes.write(self.films, probe, 1, 1);
                program.wait_until("delivered a change", PATIENCE, || changes.pending() == 0);
            }
            let rate = changes.write(self.films, keys, per_second, 1);
            program.wait_until("delivered all changes", PATIENCE, || changes.pending() == 0);
            let passed = changes.milliseconds(keys);
            let (median, late) = (percentile(&passed, 0.5), percentile(&passed, 0.99));
            let memory = program.memory().0 / 1e6;
            // pgsync does not end by itself when it is asked to.
            drop(program);
            lines.push(vec![
                name.to_owned(),
                format!("{rate:.0}"),
                format!("{median:.0}"),
                format!("{late:.0}"),
                format!("{:.0}", passed[passed.len() - 1]),
                format!("{memory:.1}"),
            ]);
            report.lower_is_better(&format!("{name}: commit to acknowledged, p50, ms"), &[median]);
            report.lower_is_better(&format!("{name}: commit to acknowledged, p99, ms"), &[late]);
        }
        print_markdown(&["changes", "changes/s", "p50 ms", "p99 ms", "longest ms", "memory MB"], &lines);
    }
}
