//! Where the servers are and what is to be measured, from the environment.

use std::env::var;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Clone)]
pub struct Settings {
    /// The benchmark's name.
    pub bench: &'static str,
    pub host: String,
    pub port: String,
    pub user: String,
    pub password: String,
    pub database: String,
    /// Name and address of each index server that is there.
    pub servers: Vec<(&'static str, String)>,
    pub film_count: u64,
    pub round_count: usize,
    pub is_smoke: bool,
    /// A command that does the same work, measured beside ours: another build, or another tool.
    pub other: Option<String>,
    /// Settings of pgsluice: `BENCH_ENV_CHUNK_SIZE=500` sets `CHUNK_SIZE`.
    pub extra: Vec<(String, String)>,
    /// Only rows whose name has one of these in it; all if there is none.
    pub words: Vec<String>,
    pub program: PathBuf,
    /// A file to which the figures are appended, after they were compared with the last ones in it.
    pub history: Option<PathBuf>,
}

/// What a benchmark measures where nothing else is said.
#[derive(Clone, Copy)]
pub struct Defaults {
    pub films: u64,
    pub rounds: usize,
}

/// The films of a smoke run.
const SMOKE_FILMS: u64 = 500;

impl Settings {
    /// Nothing, and why is printed, if this is not the time for it or the servers are not known.
    ///
    /// `cargo test --benches` starts the benchmarks too; `BENCH_SMOKE=1` makes that a smoke run.
    pub fn read(bench: &'static str, defaults: Defaults) -> Option<Self> {
        if var("PG_DSN__HOST").is_err() || var("PG_DSN__USER").is_err() {
            println!(
                "skipped: PG_DSN__HOST and PG_DSN__USER say where PostgreSQL is, ELASTIC_URL and OPENSEARCH_URL where the index\n\
                 servers are (if any):  dev/services up && eval \"$(dev/services env)\""
            );
            return None;
        }
        Self::without_servers(bench, defaults)
    }

    /// The same for a benchmark that needs no servers.
    pub fn without_servers(bench: &'static str, defaults: Defaults) -> Option<Self> {
        let is_smoke = is_smoke();
        if !is_smoke && !std::env::args().any(|argument| argument == "--bench") {
            println!(
                "skipped: runs by `cargo bench --bench {bench}`, and in a few seconds with BENCH_SMOKE=1"
            );
            return None;
        }
        let servers = [("Elasticsearch", "ELASTIC_URL"), ("OpenSearch", "OPENSEARCH_URL")];
        let film_count = number("BENCH_FILMS").unwrap_or(defaults.films);
        let round_count = number("BENCH_ROUNDS").map_or(defaults.rounds, |rounds| rounds as usize);
        Some(Self {
            bench,
            host: var("PG_DSN__HOST").unwrap_or_default(),
            port: var("PG_DSN__PORT").unwrap_or_else(|_| "5432".to_owned()),
            user: var("PG_DSN__USER").unwrap_or_default(),
            password: var("PG_DSN__PASSWORD").unwrap_or_default(),
            database: var("PG_DSN__DBNAME").unwrap_or_else(|_| "postgres".to_owned()),
            servers: servers
                .into_iter()
                .filter_map(|(name, variable)| Some((name, var(variable).ok()?)))
                // They differ in nothing that a smoke run could show.
                .take(if is_smoke { 1 } else { usize::MAX })
                .collect(),
            film_count: if is_smoke { SMOKE_FILMS } else { film_count },
            round_count: if is_smoke { 1 } else { round_count.max(1) },
            is_smoke,
            other: var("BENCH_OTHER").ok().filter(|command| !command.is_empty()),
            extra: std::env::vars()
                .filter_map(|(name, value)| Some((name.strip_prefix("BENCH_ENV_")?.to_owned(), value)))
                .collect(),
            words: std::env::args()
                .skip(1)
                .filter(|argument| !argument.starts_with("--"))
                .map(|word| word.to_lowercase())
                .collect(),
            program: var("BENCH_PROGRAM")
                .map_or_else(|_| PathBuf::from(env!("CARGO_BIN_EXE_pgsluice")), PathBuf::from),
            history: var("BENCH_HISTORY").ok().filter(|path| !path.is_empty()).map(PathBuf::from),
        })
    }

    /// Whether a row of that name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word))
    }

    /// A size of this benchmark: the variable's, or the default; `smoke` in a smoke run.
    pub fn size(&self, variable: &str, default: u64, smoke: u64) -> u64 {
        if self.is_smoke { smoke } else { number(variable).unwrap_or(default) }
    }

    /// Numbers of this benchmark, with commas between them in the variable; `smoke` in a smoke run.
    pub fn list<T: FromStr + Clone>(&self, variable: &str, default: &[T], smoke: &[T]) -> Vec<T> {
        let number = |text: &str| {
            text.trim().parse().unwrap_or_else(|_| panic!("{variable} is a list of numbers, not {text:?}"))
        };
        match var(variable) {
            _ if self.is_smoke => smoke.to_vec(),
            Ok(text) => text.split(',').map(number).collect(),
            Err(_) => default.to_vec(),
        }
    }

    /// Says what is going to be measured, and where.
    pub fn announce(&self, what: &str) {
        println!("{}: {what}, {} rounds; {}", self.bench, self.round_count, machine());
    }
}

/// Whether all of it is only to be seen working: tiny sizes, in a few seconds.
pub fn is_smoke() -> bool {
    var("BENCH_SMOKE").is_ok_and(|smoke| smoke == "1")
}

fn number(name: &str) -> Option<u64> {
    let text = var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// The machine: figures of another one say nothing about this one.
pub fn machine_name() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores of {}", model.trim_start_matches([' ', '\t', ':']))
}

/// The machine, and how busy it was just before.
fn machine() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("{}, load {}", machine_name(), load.split(' ').next().unwrap_or_default())
}
