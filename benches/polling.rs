//! What staying in sync costs: polls that find nothing, and a steady stream of changes, by `pgsluice run` from a real
//! PostgreSQL into a null sink.
//!
//! `cargo bench --bench polling` with the settings that `dev/services env` prints; `docs/performance.md` says more.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a benchmark ends at the first surprise and prints"
)]

#[path = "common/servers/mod.rs"]
mod servers;

use std::time::{Duration, Instant};

use postgres::Client;
use servers::changes::Changes;
use servers::films::{Films, TABLES};
use servers::meter::backend_seconds;
use servers::program::{Place, Running, command};
use servers::report::Report;
use servers::settings::{Defaults, Settings};
use servers::sink::Sink;
use servers::table::{percentile, print_markdown, sorted, spread};

/// The interval of the polls that find nothing: short, so that there are many.
const IDLE_INTERVAL: f64 = 0.2;

/// How long PostgreSQL may keep what a connection has counted to itself.
const STATISTICS: Duration = Duration::from_millis(1_500);

/// A table of so few rows is read whole, whatever the index: one page is the quickest way.
const SMALL: i64 = 1_000;

fn main() {
    let Some(settings) = Settings::read("polling", Defaults { films: 50_000, rounds: 5 }) else { return };
    let films = Films::own(&settings, settings.film_count);
    let per_second = settings.size("BENCH_CHANGES", 1_000, 50);
    let seconds = settings.size("BENCH_SECONDS", 10, 1);
    settings.announce(&format!("{} films, {per_second} changed rows a second", films.count));
    let sizes = format!("{} films, {per_second} changed rows a second", films.count);
    let bench = Bench {
        client: films.connect(),
        sink: Sink::start(),
        state: tempfile::tempdir().unwrap(),
        window: Duration::from_secs(seconds),
        report: Report::new(&settings, &sizes),
        settings,
        films,
    };
    bench.run(per_second);
}

struct Bench {
    settings: Settings,
    films: Films,
    client: Client,
    sink: Sink,
    state: tempfile::TempDir,
    /// How long each measurement lasts.
    window: Duration,
    report: Report,
}

impl Bench {
    fn run(mut self, per_second: u64) {
        let program = self.start(Some(IDLE_INTERVAL));
        self.idle(&program);
        program.stop();
        let program = self.start(None);
        self.busy(program, per_second);
        self.report.finish();
    }

    /// Starts it and waits until it has loaded what is there, or has at least polled once.
    fn start(&self, interval: Option<f64>) -> Running {
        let place = Place {
            database: &self.films.database,
            url: &self.sink.url,
            index_name: "movies",
            state: self.state.path(),
        };
        let mut command = command(&self.settings, None, "run", place);
        if let Some(interval) = interval {
            command.env("REQUEST_INTERVAL", interval.to_string());
        }
        let mut program = Running::start(command);
        let count = self.films.count;
        program.wait_until("loaded all films", Duration::from_secs(600), || self.sink.taken().0 >= count);
        std::thread::sleep(STATISTICS);
        program
    }

    fn idle(&mut self, program: &Running) {
        let (mut active, mut cpu, mut own) = (Vec::new(), Vec::new(), Vec::new());
        let scans_before = self.scans();
        for _ in 0..self.settings.round_count {
            let before = (self.active_milliseconds(), self.postgres_seconds(), program.cpu_seconds());
            let began = Instant::now();
            std::thread::sleep(self.window);
            let after = (self.active_milliseconds(), self.postgres_seconds(), program.cpu_seconds());
            // Not told by the scans: the planner also looks into an index, for the largest value in it.
            let polls = began.elapsed().as_secs_f64() / IDLE_INTERVAL;
            active.push((after.0 - before.0) / polls);
            cpu.push((after.1 - before.1) * 1e3 / polls);
            own.push((after.2 - before.2) / began.elapsed().as_secs_f64() * 100.0);
        }
        std::thread::sleep(STATISTICS);
        let scans_after = self.scans();
        let lines: Vec<Vec<String>> = scans_before
            .iter()
            .zip(&scans_after)
            .map(|(before, after)| {
                vec![
                    before.table.clone(),
                    before.rows.to_string(),
                    (after.by_index - before.by_index).to_string(),
                    (after.sequential - before.sequential).to_string(),
                ]
            })
            .collect();
        print_markdown(&["idle polls", "rows", "index scans", "sequential scans"], &lines);
        let sequential = scans_before.iter().zip(&scans_after).filter(|(before, _)| before.rows >= SMALL);
        let sequential: i64 = sequential.map(|(before, after)| after.sequential - before.sequential).sum();
        self.report.lower_is_better("idle poll: PostgreSQL, ms", &active);
        self.report.lower_is_better("idle poll: PostgreSQL's processor, ms", &cpu);
        self.report.lower_is_better(&format!("polls every {IDLE_INTERVAL} s: pgsluice, % of a core"), &own);
        self.report.lower_is_better(
            "sequential scans of tables over 1,000 rows in idle polls",
            &[sequential as f64],
        );
    }

    /// Changes rows steadily; the interval of the polls is the default.
    fn busy(&mut self, mut program: Running, per_second: u64) {
        let changes = Changes::watched_by(&self.sink);
        let wanted = per_second * self.window.as_secs() * self.settings.round_count as u64;
        let keys = self.films.scattered_keys(wanted.min(self.films.count));
        let (mut own, mut postgres, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        let (mut late, mut lines) = (Vec::new(), Vec::new());
        for (round, keys) in keys.chunks(keys.len().div_ceil(self.settings.round_count)).enumerate() {
            let before = (self.postgres_seconds(), program.cpu_seconds(), self.sink.taken().0);
            let began = Instant::now();
            let rate = changes.write(&self.films, keys, per_second, (per_second as usize / 20).max(1));
            let seconds = began.elapsed().as_secs_f64();
            let after = (self.postgres_seconds(), program.cpu_seconds(), self.sink.taken().0);
            let pending = changes.pending();
            postgres.push((after.0 - before.0) / seconds * 100.0);
            own.push((after.1 - before.1) / seconds * 100.0);
            rates.push((after.2 - before.2) as f64 / seconds);
            program.wait_until("delivered all changes", Duration::from_secs(60), || changes.pending() == 0);
            let passed = changes.milliseconds(keys);
            late.push(percentile(&passed, 0.99));
            lines.push(vec![
                format!("round {}", round + 1),
                format!("{rate:.0}"),
                format!("{:.0}", rates[round]),
                pending.to_string(),
                format!("{:.1} %", own[round]),
                format!("{:.1} %", postgres[round]),
            ]);
        }
        program.stop();
        let heads = [
            "",
            "changed rows/s",
            "documents/s",
            "under way at the end",
            "pgsluice, of a core",
            "PostgreSQL",
        ];
        print_markdown(&heads, &lines);
        println!("\ndocuments/s: {}\n", spread(&sorted(rates), 0));
        self.report.lower_is_better("changed rows: pgsluice, % of a core", &own);
        self.report.lower_is_better("changed rows: PostgreSQL for pgsluice, % of a core", &postgres);
        self.report.lower_is_better("changed rows: commit to acknowledged, p99, ms", &late);
    }

    /// Processor seconds of pgsluice's connections.
    fn postgres_seconds(&mut self) -> f64 {
        let statement = "select pid from pg_stat_activity
                          where datname = current_database() and application_name = 'pgsluice'";
        let pids = self.client.query(statement, &[]).unwrap();
        pids.iter().map(|row| backend_seconds(row.get::<_, i32>(0))).sum()
    }

    /// How long statements have run in the database: pgsluice's, as no one else uses it. Since PostgreSQL 14.
    fn active_milliseconds(&mut self) -> f64 {
        let statement = "select (to_jsonb(counted) ->> 'active_time')::float8
                           from pg_stat_database counted where datname = current_database()";
        let counted: Option<f64> = self.client.query_one(statement, &[]).unwrap().get(0);
        counted.unwrap_or(f64::NAN)
    }

    fn scans(&mut self) -> Vec<Scans> {
        let tables: Vec<String> = TABLES.iter().map(|table| (*table).to_owned()).collect();
        let rows = self
            .client
            .query(
                "select s.relname::text, c.reltuples::int8, coalesce(s.idx_scan, 0), coalesce(s.seq_scan, 0)
                   from pg_stat_user_tables s join pg_class c on c.oid = s.relid
                  where s.schemaname = 'content' and s.relname = any($1)
                  order by 1",
                &[&tables],
            )
            .unwrap();
        rows.iter()
            .map(|row| Scans {
                table: row.get(0),
                rows: row.get(1),
                by_index: row.get(2),
                sequential: row.get(3),
            })
            .collect()
    }
}

/// How a table was read so far.
struct Scans {
    table: String,
    rows: i64,
    by_index: i64,
    sequential: i64,
}
