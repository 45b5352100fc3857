//! What a piece of work costs: time, processor time of everyone who takes part, and memory. Linux only (`/proc`).

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Ticks of `/proc` a second: fixed at 100 on every Linux that runs today.
const TICKS: f64 = 100.0;

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    pub documents: f64,
    pub bytes: f64,
    pub seconds: f64,
    /// Of the program measured (or of this process, where it does the work itself).
    pub user_seconds: f64,
    pub system_seconds: f64,
    pub peak_rss: f64,
    pub postgres_seconds: f64,
    pub server_seconds: f64,
    /// Processors that others used meanwhile.
    pub others: f64,
}

/// User and system seconds, from a `stat` file; also of a process that has ended and was not waited for.
fn seconds_of(stat: &str) -> (f64, f64) {
    // The name in brackets may hold anything, also spaces.
    let Some((_, rest)) = fs::read_to_string(stat).ok().and_then(|text| {
        let (name, rest) = text.rsplit_once(')')?;
        Some((name.len(), rest.to_owned()))
    }) else {
        return (0.0, 0.0);
    };
    let field = |place: usize| {
        rest.split_whitespace().nth(place).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0)
    };
    (field(11) / TICKS, field(12) / TICKS)
}

/// Busy seconds of all processors since the machine started.
fn busy_seconds() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let numbers: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|number| number.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq
    let busy = |places: &[usize]| places.iter().filter_map(|place| numbers.get(*place)).sum::<f64>();
    busy(&[0, 1, 2, 5, 6]) / TICKS
}

/// Watches the processes of a database until it is stopped: connections end with their figures.
struct PostgresWatch {
    seconds: Arc<Mutex<HashMap<String, (f64, f64)>>>,
    is_over: Arc<AtomicBool>,
    watcher: JoinHandle<()>,
}

impl PostgresWatch {
    fn start(database: &str) -> Self {
        let seconds = Arc::new(Mutex::new(HashMap::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, over) = (Arc::clone(&seconds), Arc::clone(&is_over));
        // As PostgreSQL titles them: `postgres: user database host(port) state`.
        let mark = format!(" {database} ");
        let watcher = std::thread::spawn(move || {
            loop {
                let is_last = over.load(Ordering::SeqCst);
                for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
                    let path = entry.path();
                    let Ok(title) = fs::read_to_string(path.join("cmdline")) else { continue };
                    if title.starts_with("postgres: ") && title.contains(&mark) {
                        let stat = path.join("stat").display().to_string();
                        let (user, system) = seconds_of(&stat);
                        let mut known = shared.lock().unwrap();
                        let first = known.get(&stat).map_or(user + system, |(first, _)| *first);
                        known.insert(stat, (first, user + system));
                    }
                }
                if is_last {
                    return;
                }
                std::thread::sleep(Duration::from_millis(250));
            }
        });
        Self { seconds, is_over, watcher }
    }

    fn stop(self) -> f64 {
        self.is_over.store(true, Ordering::SeqCst);
        self.watcher.join().unwrap();
        self.seconds.lock().unwrap().values().map(|(first, last)| last - first).sum()
    }
}

/// Measures `work`, which returns documents and bytes; processor time of this process counts as the program's.
pub fn measure(database: &str, server: Option<&str>, work: impl FnOnce() -> (u64, u64)) -> Sample {
    surround(database, server, |sample| {
        let (user, system) = seconds_of("/proc/self/stat");
        let (documents, bytes) = work();
        let (user_after, system_after) = seconds_of("/proc/self/stat");
        sample.user_seconds = user_after - user;
        sample.system_seconds = system_after - system;
        (documents, bytes)
    })
}

/// Measures a program; `taken` says afterwards how many documents and bytes it has delivered.
pub fn measure_program(
    database: &str,
    server: Option<&str>,
    mut command: Command,
    taken: impl FnOnce() -> (u64, u64),
) -> Sample {
    surround(database, server, |sample| {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let folder = format!("/proc/{}", child.id());
        // What has ended keeps its times until it is waited for, but not its memory.
        loop {
            let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
            let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let Some(kilobytes) =
                line("VmHWM:").and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
            {
                sample.peak_rss = kilobytes * 1024.0;
            }
            if line("State:").is_none_or(|state| state.starts_with('Z')) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        (sample.user_seconds, sample.system_seconds) = seconds_of(&format!("{folder}/stat"));
        let status = child.wait().unwrap();
        assert!(status.success(), "{command:?}: {status}");
        taken()
    })
}

fn surround(database: &str, server: Option<&str>, work: impl FnOnce(&mut Sample) -> (u64, u64)) -> Sample {
    let mut sample = Sample::default();
    let server_before = server.map_or(0.0, crate::index::server_seconds);
    let watch = PostgresWatch::start(database);
    let (busy, own) = (busy_seconds(), seconds_of("/proc/self/stat"));
    let began = Instant::now();
    let (documents, bytes) = work(&mut sample);
    sample.seconds = began.elapsed().as_secs_f64();
    let own_after = seconds_of("/proc/self/stat");
    let busy = busy_seconds() - busy;
    sample.postgres_seconds = watch.stop();
    sample.server_seconds = server.map_or(0.0, crate::index::server_seconds) - server_before;
    let own = own_after.0 + own_after.1 - own.0 - own.1;
    let is_own_work = sample.peak_rss == 0.0;
    let program = if is_own_work { 0.0 } else { sample.user_seconds + sample.system_seconds };
    let known = own + program + sample.postgres_seconds + sample.server_seconds;
    sample.others = ((busy - known) / sample.seconds).max(0.0);
    (sample.documents, sample.bytes) = (documents as f64, bytes as f64);
    sample
}
