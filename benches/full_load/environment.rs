//! Where the servers are and what is to be measured, from the environment.

use std::env::var;
use std::path::PathBuf;

/// Films by default: all rows of the table take a few minutes on two cores.
const FILMS: u64 = 50_000;

/// Rounds by default: enough for a median and a spread.
const ROUNDS: usize = 3;

#[derive(Clone)]
pub struct Settings {
    pub host: String,
    pub port: String,
    pub user: String,
    pub password: String,
    pub database: String,
    /// Name and address of each index server that is there.
    pub servers: Vec<(&'static str, String)>,
    pub film_count: u64,
    pub round_count: usize,
    /// A command that does the same work, measured beside ours: another build, or another tool.
    pub other: Option<String>,
    /// Settings of pgsluice: `BENCH_ENV_CHUNK_SIZE=500` sets `CHUNK_SIZE`.
    pub extra: Vec<(String, String)>,
    /// Only rows whose name has this in it.
    pub filter: Option<String>,
    pub program: PathBuf,
}

impl Settings {
    /// Nothing if the environment does not say where PostgreSQL is.
    pub fn read() -> Option<Self> {
        let servers = [("Elasticsearch", "ELASTIC_URL"), ("OpenSearch", "OPENSEARCH_URL")];
        Some(Self {
            host: var("PG_DSN__HOST").ok()?,
            port: var("PG_DSN__PORT").unwrap_or_else(|_| "5432".to_owned()),
            user: var("PG_DSN__USER").ok()?,
            password: var("PG_DSN__PASSWORD").unwrap_or_default(),
            database: var("PG_DSN__DBNAME").unwrap_or_else(|_| "postgres".to_owned()),
            servers: servers
                .into_iter()
                .filter_map(|(name, variable)| Some((name, var(variable).ok()?)))
                .collect(),
            film_count: number("BENCH_FILMS").unwrap_or(FILMS),
            round_count: number("BENCH_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize),
            other: var("BENCH_OTHER").ok(),
            extra: std::env::vars()
                .filter_map(|(name, value)| Some((name.strip_prefix("BENCH_ENV_")?.to_owned(), value)))
                .collect(),
            filter: std::env::args().skip(1).find(|argument| !argument.starts_with("--")),
            program: var("BENCH_PROGRAM")
                .map_or_else(|_| PathBuf::from(env!("CARGO_BIN_EXE_pgsluice")), PathBuf::from),
        })
    }

    /// Whether a row of that name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.to_lowercase().contains(&filter.to_lowercase()))
    }
}

fn number(name: &str) -> Option<u64> {
    let text = var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}
