//! What a piece of work costs: time, processor time of everyone who takes part, and memory. Linux only (`/proc`).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::settings::is_smoke;

/// Ticks of `/proc` a second: fixed at 100 on every Linux that runs today.
const TICKS: f64 = 100.0;

/// For how long an index server tells the same processor time again, after it was asked.
const SERVER_CLOCK: Duration = Duration::from_millis(1_050);

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

impl Sample {
    /// Documents a second.
    pub fn rate(&self) -> f64 {
        self.documents / self.seconds
    }

    /// Processor time of the program.
    pub fn program_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }

    /// What this and another took together; of memory, the larger.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            documents: self.documents + other.documents,
            bytes: self.bytes + other.bytes,
            seconds: self.seconds + other.seconds,
            user_seconds: self.user_seconds + other.user_seconds,
            system_seconds: self.system_seconds + other.system_seconds,
            peak_rss: self.peak_rss.max(other.peak_rss),
            postgres_seconds: self.postgres_seconds + other.postgres_seconds,
            server_seconds: self.server_seconds + other.server_seconds,
            others: self.others.max(other.others),
        }
    }

    /// One of so many parts of the same size.
    pub fn share(&self, count: f64) -> Self {
        Self {
            documents: self.documents / count,
            bytes: self.bytes / count,
            seconds: self.seconds / count,
            user_seconds: self.user_seconds / count,
            system_seconds: self.system_seconds / count,
            postgres_seconds: self.postgres_seconds / count,
            server_seconds: self.server_seconds / count,
            ..*self
        }
    }

    /// The same for so many documents.
    pub fn of(&self, documents: f64) -> Self {
        Self { documents, bytes: self.bytes / self.documents * documents, ..*self }
    }

    /// What the whole took beyond a part of it.
    pub fn beyond(&self, part: &Self) -> Self {
        Self {
            seconds: self.seconds - part.seconds,
            user_seconds: self.user_seconds - part.user_seconds,
            system_seconds: self.system_seconds - part.system_seconds,
            postgres_seconds: self.postgres_seconds - part.postgres_seconds,
            ..*self
        }
    }
}

/// User and system seconds, from a `stat` file; also of a process that has ended and was not waited for.
pub fn seconds_of(stat: &str) -> (f64, f64) {
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

/// Memory of a process in bytes: `VmRSS:` now, `VmHWM:` at most; nothing of one that has ended.
pub fn memory_of(pid: u32, line: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|text| text.strip_prefix(line))
        .and_then(|text| text.trim().split(' ').next()?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) * 1024.0
}

/// Processor seconds of a process of PostgreSQL so far: it has one thread.
pub fn backend_seconds(pid: i32) -> f64 {
    let folder = format!("/proc/{pid}");
    exact_seconds_of(&folder).unwrap_or_else(|| {
        let (user, system) = seconds_of(&format!("{folder}/stat"));
        user + system
    })
}

/// Processor seconds of one thread, to the nanosecond, where the kernel counts them.
fn exact_seconds_of(folder: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("{folder}/schedstat")).ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
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

/// How often the processes of a database are looked at: what one uses between the last look and its end is not seen.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The processes of a database, each with its processor time at the beginning and when it was last seen.
#[derive(Default)]
struct Backends(Mutex<Looked>);

#[derive(Default)]
struct Looked {
    known: HashMap<i32, (f64, f64)>,
    /// Processes that were there before and are none of these.
    strangers: HashSet<i32>,
}

impl Backends {
    /// Looks at all of them; returns their processor time since the first look.
    fn look(&self, database: &str, is_first: bool) -> f64 {
        // As PostgreSQL titles them: `postgres: user database host(port) state`.
        let mark = format!(" {database} ");
        let mut looked = self.0.lock().unwrap();
        let Looked { known, strangers } = &mut *looked;
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if strangers.contains(&pid) {
                continue;
            }
            let Ok(title) = fs::read_to_string(entry.path().join("cmdline")) else { continue };
            // Autovacuum comes when it likes.
            let is_client = title.starts_with("postgres: ") && !title.contains("autovacuum");
            if is_client && title.contains(&mark) {
                let seconds = backend_seconds(pid);
                // One that came later has done all it did in the meantime.
                let before = if is_first { seconds } else { 0.0 };
                let first = known.get(&pid).map_or(before, |(first, _)| *first);
                known.insert(pid, (first, seconds));
            } else if is_first {
                strangers.insert(pid);
            }
        }
        known.values().map(|(first, last)| last - first).fold(0.0, |sum, seconds| sum + seconds)
    }
}

/// Watches the processes of a database until it is stopped: connections end with their figures.
pub struct PostgresWatch {
    database: String,
    backends: Arc<Backends>,
    is_over: Arc<AtomicBool>,
    watcher: JoinHandle<()>,
}

impl PostgresWatch {
    pub fn start(database: &str) -> Self {
        let database = database.to_owned();
        let (backends, is_over) = (Arc::new(Backends::default()), Arc::new(AtomicBool::new(false)));
        backends.look(&database, true);
        let (shared, over, watched) = (Arc::clone(&backends), Arc::clone(&is_over), database.clone());
        let watcher = std::thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                shared.look(&watched, false);
                std::thread::sleep(LOOK_INTERVAL);
            }
        });
        Self { database, backends, is_over, watcher }
    }

    /// Their processor time so far.
    pub fn seconds(&self) -> f64 {
        self.backends.look(&self.database, false)
    }

    pub fn stop(self) -> f64 {
        let seconds = self.seconds();
        self.is_over.store(true, Ordering::SeqCst);
        self.watcher.join().unwrap();
        seconds
    }
}

/// Measures `work`, which returns documents and bytes; processor time of this process counts as the program's.
pub fn measure(database: &str, server: Option<&str>, work: impl FnOnce() -> (u64, u64)) -> Sample {
    surround(database, server, |sample, _| {
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
    command: Command,
    taken: impl Fn() -> (u64, u64),
) -> Sample {
    measure_to_first(database, server, command, taken).1
}

/// Measures a program, and its part until the first documents were `taken`.
pub fn measure_to_first(
    database: &str,
    server: Option<&str>,
    mut command: Command,
    taken: impl Fn() -> (u64, u64),
) -> (Sample, Sample) {
    let mut first = None;
    let sample = surround(database, server, |sample, watch| {
        let began = Instant::now();
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
            if first.is_none() && taken().0 > 0 {
                let (user_seconds, system_seconds) = seconds_of(&format!("{folder}/stat"));
                let seconds = began.elapsed().as_secs_f64();
                let postgres_seconds = watch.seconds();
                first = Some(Sample { seconds, user_seconds, system_seconds, postgres_seconds, ..*sample });
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
    });
    (first.unwrap_or(sample), sample)
}

fn surround(
    database: &str,
    server: Option<&str>,
    work: impl FnOnce(&mut Sample, &PostgresWatch) -> (u64, u64),
) -> Sample {
    let mut sample = Sample::default();
    if server.is_some() && !is_smoke() {
        std::thread::sleep(SERVER_CLOCK);
    }
    let server_before = server.map_or(0.0, super::index::server_seconds);
    let watch = PostgresWatch::start(database);
    let (busy, own) = (busy_seconds(), seconds_of("/proc/self/stat"));
    let began = Instant::now();
    let (documents, bytes) = work(&mut sample, &watch);
    sample.seconds = began.elapsed().as_secs_f64();
    let own_after = seconds_of("/proc/self/stat");
    let busy = busy_seconds() - busy;
    sample.postgres_seconds = watch.stop();
    sample.server_seconds = server.map_or(0.0, super::index::server_seconds) - server_before;
    let own = own_after.0 + own_after.1 - own.0 - own.1;
    let is_own_work = sample.peak_rss == 0.0;
    let program = if is_own_work { 0.0 } else { sample.program_seconds() };
    let known = own + program + sample.postgres_seconds + sample.server_seconds;
    sample.others = ((busy - known) / sample.seconds).max(0.0);
    (sample.documents, sample.bytes) = (documents as f64, bytes as f64);
    sample
}
