//! What the state costs a batch of 1,000 keys, beside bare SQLite doing as little as could be done.
//!
//! `cargo bench --bench state`; no server is needed. `docs/performance.md` says more. Processor time is measured, and
//! all of it, so also that of copying the write-ahead log into the file once in a while; waiting for the disk is not.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a benchmark ends at the first surprise and prints"
)]

#[path = "common/servers/mod.rs"]
mod servers;
#[path = "common/thread_clock.rs"]
mod thread_clock;

use std::path::Path;

use pgsluice::batch::{Batch, Work};
use pgsluice::key::Key;
use pgsluice::store::{Acknowledgement, GenerationRecord, Purpose, Store};
use rusqlite::{Connection, params};
use servers::report::Report;
use servers::settings::{Defaults, Settings};
use servers::table::{middle, print_markdown, sorted, spread};
use thread_clock::ThreadClock;

const GENERATION: &str = "movies-1";
const FEED: &str = "cursor";
const TABLE: &str = "content.film_work";

/// The keys of a batch.
const KEYS: usize = 1_000;

/// An instant: the state compares them with what it is given, and not with a clock.
const NOW: i64 = 1;

fn main() {
    let Some(settings) = Settings::without_servers("state", Defaults { films: 0, rounds: 5 }) else { return };
    let batch_count = settings.size("BENCH_BATCHES", 200, 3);
    let backlog = settings.size("BENCH_STALE", 300_000, 2_000);
    settings.announce(&format!("{batch_count} batches of {KEYS} keys"));
    let mut bench = Bench { batch_count, clock: ThreadClock::new(), rows: Vec::new() };
    for _ in 0..settings.round_count {
        bench.keys("nothing else is stale", 0);
        bench.keys(&format!("{backlog} stale keys wait"), backlog);
        bench.ranges();
        bench.limits();
    }
    bench.report(&settings, backlog);
}

struct Bench {
    batch_count: u64,
    clock: ThreadClock,
    /// Milliseconds of a batch, by name, a value a round.
    rows: Vec<(String, Vec<f64>)>,
}

impl Bench {
    /// Stale keys as a poll records them, taken as a batch, acknowledged.
    fn keys(&mut self, case: &str, backlog: u64) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        for _ in 0..backlog / KEYS as u64 {
            store.record_stale(GENERATION, &random_keys(), 0, NOW).unwrap();
        }
        let (mut recording, mut recording_again) = (Vec::new(), Vec::new());
        let (mut taking, mut acknowledging) = (Vec::new(), Vec::new());
        for number in 0..self.batch_count {
            let keys = random_keys();
            let position = format!("{{\"page\":{number}}}");
            for costs in [&mut recording, &mut recording_again] {
                costs.push(self.clock.seconds_of(|| {
                    store.record_page(GENERATION, FEED, TABLE, Some(&position), &keys, NOW).unwrap();
                }));
            }
            let mut taken: Option<Batch> = None;
            taking.push(self.clock.seconds_of(|| {
                taken = store.take(GENERATION, KEYS, NOW).unwrap();
                store.next_version(number).unwrap();
            }));
            let batch = taken.unwrap();
            let Work::Keys(applied) = &batch.work else { panic!("a batch of keys was expected") };
            let outcome = outcome(applied);
            acknowledging.push(self.clock.seconds_of(|| {
                store.acknowledge(batch.number, &outcome, NOW).unwrap();
            }));
        }
        self.add(&format!("{case}: record the page of a poll, keys as rows"), &recording);
        self.add(&format!("{case}: record it again, all of it stale already"), &recording_again);
        self.add(&format!("{case}: take, rows to one buffer"), &taking);
        self.add(&format!("{case}: acknowledge the buffer"), &acknowledging);
    }

    /// Ranges of a full load.
    fn ranges(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let applied = random_keys();
        let mut total = Vec::new();
        for number in 0..self.batch_count {
            let high = Key::from_encoded(format!("{number:012}"));
            total.push(self.clock.seconds_of(|| {
                let batch = store.take_range(GENERATION, Some(high), NOW).unwrap();
                store.next_version(number).unwrap();
                store.acknowledge(batch.number, &outcome(&applied), NOW).unwrap();
            }));
        }
        self.add("a range of a full load: take and acknowledge", &total);
    }

    /// The least that SQLite can be asked for.
    fn limits(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = Connection::open(folder.path().join("bare.sqlite3")).unwrap();
        sqlite
            .execute_batch(
                "pragma journal_mode = wal;
                 pragma synchronous = normal;
                 create table buffers (number integer primary key, keys blob not null);
                 create table stale (number integer primary key, key text not null);",
            )
            .unwrap();
        let (mut buffer, mut rows) = (Vec::new(), Vec::new());
        for number in 0..self.batch_count as i64 {
            let keys = random_keys();
            let joined = keys.iter().map(Key::as_str).collect::<Vec<_>>().join("\n");
            buffer.push(self.clock.seconds_of(|| {
                sqlite
                    .execute("insert into buffers values (?1, ?2)", params![number, joined.as_bytes()])
                    .unwrap();
                sqlite.execute("delete from buffers where number = ?1", params![number]).unwrap();
            }));
            rows.push(self.clock.seconds_of(|| {
                let transaction = sqlite.unchecked_transaction().unwrap();
                {
                    let mut insert =
                        transaction.prepare_cached("insert into stale (key) values (?1)").unwrap();
                    for key in &keys {
                        insert.execute(params![key.as_str()]).unwrap();
                    }
                }
                transaction.commit().unwrap();
                sqlite.execute("delete from stale", []).unwrap();
            }));
        }
        self.add(BARE_BUFFER, &buffer);
        self.add(BARE_ROWS, &rows);
    }

    /// Adds the mean of a round.
    fn add(&mut self, name: &str, seconds: &[f64]) {
        let value = seconds.iter().sum::<f64>() / seconds.len() as f64 * 1e3;
        match self.rows.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value),
            None => self.rows.push((name.to_owned(), vec![value])),
        }
    }

    fn report(&self, settings: &Settings, backlog: u64) {
        let lines: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|(name, values)| vec![name.clone(), spread(&sorted(values.clone()), 3)])
            .collect();
        let head = format!("ms of {}, median [min..max]", self.clock.name());
        print_markdown(&["1,000 keys", &head], &lines);
        let mut report = Report::new(settings, &format!("{KEYS} keys, {backlog} stale keys waiting"));
        for (name, values) in
            self.rows.iter().filter(|(name, _)| ![BARE_BUFFER, BARE_ROWS].contains(&&**name))
        {
            report.lower_is_better(&format!("{name}, ms"), values);
        }
        let of = |name: &str| self.rows.iter().find(|(known, _)| known == name).map(|(_, values)| values);
        for (name, limit) in [
            ("nothing else is stale: acknowledge the buffer", BARE_BUFFER),
            ("nothing else is stale: record the page of a poll, keys as rows", BARE_ROWS),
        ] {
            let (Some(own), Some(limit_values)) = (of(name), of(limit)) else { continue };
            let limit_value = middle(&sorted(limit_values.clone()));
            let ratios: Vec<f64> = own.iter().map(|own| own / limit_value).collect();
            report.lower_is_better(&format!("{name} / {limit}"), &ratios);
        }
        report.finish();
    }
}

const BARE_BUFFER: &str = "bare SQLite: a buffer in and out";
const BARE_ROWS: &str = "bare SQLite: rows in and out";

/// A state whose first load has begun.
fn open(folder: &Path) -> Store {
    let store = Store::open(folder).unwrap();
    let record = GenerationRecord {
        name: GENERATION.to_owned(),
        index_alias: "movies".to_owned(),
        write_alias: format!("{GENERATION}-write"),
        definition_hash: String::new(),
    };
    store.begin_generation(&record, Purpose::First, false, NOW).unwrap();
    let checkpoints = [(TABLE.to_owned(), "2026-01-01 00:00:00+00".to_owned())];
    store.stamp_checkpoints(GENERATION, FEED, &checkpoints, "{}").unwrap();
    store
}

fn random_keys() -> Vec<Key> {
    let random = || uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
    (0..KEYS).map(|_| Key::from_encoded(random().to_string())).collect()
}

fn outcome(applied: &[Key]) -> Acknowledgement<'_> {
    Acknowledgement {
        applied,
        refused: &[],
        superseded: &[],
        unknown: &[],
        unknown_due_at: 0,
        dead_letter_max: 10_000,
    }
}
