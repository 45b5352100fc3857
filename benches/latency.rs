//! From the commit of a change to the answer of the bulk request that carries its document, by `pgsluice run` with short
//! intervals, from a real PostgreSQL into a null sink.
//!
//! `cargo bench --bench latency` with the settings that `dev/services env` prints; `docs/performance.md` says more.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a benchmark ends at the first surprise and prints"
)]

#[path = "common/servers/mod.rs"]
mod servers;

use std::time::Duration;

use servers::changes::Changes;
use servers::films::Films;
use servers::program::{Place, Running, command};
use servers::report::Report;
use servers::settings::{Defaults, Settings};
use servers::sink::Sink;
use servers::table::{percentile, print_markdown};

/// The interval between two rounds of polling (`REQUEST_INTERVAL`), unless `BENCH_ENV_REQUEST_INTERVAL` says another.
const INTERVAL: &str = "0.2";

fn main() {
    let Some(settings) = Settings::read("latency", Defaults { films: 50_000, rounds: 5 }) else { return };
    let films = Films::own(&settings, settings.film_count);
    let per_second = settings.size("BENCH_CHANGES", 200, 50);
    let seconds = settings.size("BENCH_SECONDS", 10, 1);
    settings.announce(&format!("{per_second} changes a second of {} films", films.count));

    let sink = Sink::start();
    let state = tempfile::tempdir().unwrap();
    let place =
        Place { database: &films.database, url: &sink.url, index_name: "movies", state: state.path() };
    let mut command = command(&settings, None, "run", place);
    if !settings.extra.iter().any(|(name, _)| name == "REQUEST_INTERVAL") {
        command.env("REQUEST_INTERVAL", INTERVAL);
    }
    let mut program = Running::start(command);
    let count = films.count;
    program.wait_until("loaded all films", Duration::from_secs(600), || sink.taken().0 >= count);

    let changes = Changes::watched_by(&sink);
    let keys = films.scattered_keys((per_second * seconds * settings.round_count as u64).min(count));
    let mut report = Report::new(&settings, &format!("{count} films, {per_second} changes a second"));
    let (mut medians, mut nineties, mut longest) = (Vec::new(), Vec::new(), Vec::new());
    let mut lines = Vec::new();
    for (round, keys) in keys.chunks(keys.len().div_ceil(settings.round_count)).enumerate() {
        let cpu = program.cpu_seconds();
        let rate = changes.write(&films, keys, per_second, 1);
        let share = (program.cpu_seconds() - cpu) / (keys.len() as f64 / rate);
        program.wait_until("delivered all changes", Duration::from_secs(60), || changes.pending() == 0);
        let passed = changes.milliseconds(keys);
        medians.push(percentile(&passed, 0.5));
        nineties.push(percentile(&passed, 0.99));
        longest.push(passed[passed.len() - 1]);
        lines.push(vec![
            format!("round {}", round + 1),
            format!("{rate:.0}"),
            format!("{:.0}", medians[round]),
            format!("{:.0}", nineties[round]),
            format!("{:.0}", longest[round]),
            format!("{:.1} %", share * 100.0),
        ]);
    }
    program.stop();
    print_markdown(&["", "changes/s", "p50 ms", "p99 ms", "longest ms", "of a core"], &lines);
    report.lower_is_better("commit to acknowledged, p50, ms", &medians);
    report.lower_is_better("commit to acknowledged, p99, ms", &nineties);
    report.lower_is_better("commit to acknowledged, longest, ms", &longest);
    report.finish();
}
