//! The settings: what an operator says by environment variables and a `.env`.
//!
//! Reading has two steps: raw structs that mirror what was written, and the checked [`Settings`] built from them. The
//! rest of the program sees only the second. Everything that is wrong is said at once, with the setting, its value
//! (never a secret's) and what would be right.

mod connection;
mod defaults;
mod dsn;
mod elastic;
mod environment;
mod secret;
mod source;
mod table;
mod value;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::alias;
use crate::error::{Error, Result};
use crate::settings::value::{Problems, bytes, count, given, instant, seconds};

pub use defaults::*;
pub use elastic::{Credentials, DEFAULT_REQUEST_TIMEOUT, ElasticSettings};
pub use environment::Variables;
pub use secret::Secret;
pub use source::{SourceSettings, SslMode};
pub use table::{SETTINGS, Setting};

/// The longest time that a setting may give.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// The largest size that a setting may give; the sizes bound memory, of which there is rarely more.
const SIZE_MAX: usize = 1 << 30;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// What the environment says, for an error that comes before the settings are known; `.env` may be what is wrong.
    pub fn of_environment() -> Option<Self> {
        std::env::var("LOG_FORMAT").ok().and_then(|text| log_format_named(text.trim()).ok())
    }
}

/// The checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The source.
    pub source: SourceSettings,
    /// The index server.
    pub elastic: ElasticSettings,
    /// The definition files; empty: the built-in movies.
    pub definitions: Vec<PathBuf>,
    /// The alias of the index, in place of the definition's.
    pub index: Option<String>,
    /// The directory of the state.
    pub storage_dir: PathBuf,
    /// The most root rows of a batch.
    pub chunk_size: usize,
    /// The most bytes of a batch's rows, unless a single document needs more.
    pub batch_bytes: usize,
    /// MiB of rows of related tables that a full load keeps in memory.
    pub related_cache_mb: usize,
    /// The most bytes of a bulk request, unless a single document needs more.
    pub bulk_bytes: usize,
    /// The most bulk requests at once.
    pub loaders: usize,
    /// A larger document in bytes becomes a dead letter.
    pub document_max_bytes: usize,
    /// How many batches may wait before each stage of the pipeline.
    pub channel_capacity: usize,
    /// Between the beginnings of two rounds of polling.
    pub request_interval: Duration,
    /// How much older than its transaction's start a written cursor may be; never 0.
    pub cursor_skew: Duration,
    /// How far polls look back where running transactions cannot be seen.
    pub lookback: Duration,
    /// How long `once` waits for a server that is away.
    pub retry_deadline: Duration,
    /// How long one statement on the source may take.
    pub statement_timeout: Duration,
    /// How many delivered rows a cursor feed remembers.
    pub seen_max: usize,
    /// How many stale keys are kept before polling pauses.
    pub stale_keys_max: u64,
    /// How many dead letters are kept with their documents.
    pub dead_letter_max: usize,
    /// How many refusals in a row stop the pipeline.
    pub dead_letter_stop: u64,
    /// In which all of the index is compared with the database; zero: never.
    pub verify_interval: Duration,
    /// How long `once` verifies what is due.
    pub verify_slice: Duration,
    /// More documents without a row than this share of the index are not deleted.
    pub verify_max_delete_percent: u32,
    /// The first load takes root rows whose cursor is at or after this instant, in microseconds since 1970.
    pub initial_timestamp: Option<i64>,
    /// Whether an index that is gone is made anew and loaded in full, instead of ending with an error.
    pub rebuild_missing_index: bool,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What the operator should know, though nothing is wrong.
    pub notices: Vec<String>,
}

/// What was written, without the parts of the source and the index server.
#[derive(Deserialize)]
struct Raw {
    definition: Option<String>,
    storage_subdir: Option<String>,
    chunk_size: Option<String>,
    batch_bytes: Option<String>,
    related_cache_mb: Option<String>,
    bulk_bytes: Option<String>,
    loaders: Option<String>,
    document_max_bytes: Option<String>,
    channel_capacity: Option<String>,
    request_interval: Option<String>,
    cursor_skew: Option<String>,
    lookback: Option<String>,
    retry_deadline: Option<String>,
    statement_timeout: Option<String>,
    seen_max: Option<String>,
    stale_keys_max: Option<String>,
    dead_letter_max: Option<String>,
    dead_letter_stop: Option<String>,
    verify_interval: Option<String>,
    verify_slice: Option<String>,
    verify_max_delete_percent: Option<String>,
    initial_timestamp: Option<String>,
    on_index_missing: Option<String>,
    log_format: Option<String>,
}

impl Settings {
    /// Reads the settings from the environment and from a `.env` in the working directory.
    ///
    /// # Errors
    /// Everything that is wrong, in one error.
    pub fn load() -> Result<Self> {
        Self::from_variables(environment::read(std::env::vars_os(), Path::new(".env"))?)
    }

    /// Checks the settings that are written in `variables`; names that are none of ours are passed over.
    ///
    /// # Errors
    /// Everything that is wrong, in one error.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let variables: Variables = variables.into_iter().collect();
        let mut notices = environment::near_misses(&variables);
        // Names are compared without case from here on, so only ours, as they are listed, may pass.
        let known: Variables = table::known_names()
            .filter_map(|name| variables.get(&name).map(|value| (name, value.clone())))
            .collect();
        let mut problems = Problems::default();
        let source = source::check(read_raw(&known, "")?, read_raw(&known, "PG_DSN__")?, &mut problems);
        let raw_elastic: elastic::RawElastic = read_raw(&known, "ELASTIC_")?;
        let index = given(raw_elastic.index.clone());
        let elastic = elastic::check(raw_elastic, &mut problems, &mut notices);
        let Raw {
            definition,
            storage_subdir,
            chunk_size,
            batch_bytes,
            related_cache_mb,
            bulk_bytes,
            loaders,
            document_max_bytes,
            channel_capacity,
            request_interval,
            cursor_skew,
            lookback,
            retry_deadline,
            statement_timeout,
            seen_max,
            stale_keys_max,
            dead_letter_max,
            dead_letter_stop,
            verify_interval,
            verify_slice,
            verify_max_delete_percent,
            initial_timestamp,
            on_index_missing,
            log_format,
        } = read_raw(&known, "")?;

        let definitions = definitions(definition, &mut problems);
        if let Some(index) = &index {
            if let Some(problem) = alias::problem_with(index) {
                problems.wrong("ELASTIC_INDEX", index, problem);
            }
            if definitions.len() > 1 {
                problems.wrong(
                    "ELASTIC_INDEX",
                    index,
                    "which cannot be the index of several definitions, set `index` in each",
                );
            }
        }
        let long = Duration::from_millis(1)..=MONTH;
        let checked = Self {
            definitions,
            index,
            storage_dir: given(storage_subdir)
                .map_or_else(|| PathBuf::from(DEFAULT_STORAGE_DIR), PathBuf::from),
            chunk_size: problems.take("CHUNK_SIZE", chunk_size, DEFAULT_CHUNK_SIZE, count(1..=100_000)),
            batch_bytes: problems.take(
                "BATCH_BYTES",
                batch_bytes,
                DEFAULT_BATCH_BYTES,
                bytes(1 << 10..=SIZE_MAX),
            ),
            related_cache_mb: problems.take(
                "RELATED_CACHE_MB",
                related_cache_mb,
                DEFAULT_RELATED_CACHE_MB,
                count(0..=4_000),
            ),
            bulk_bytes: problems.take(
                "BULK_BYTES",
                bulk_bytes,
                DEFAULT_BULK_BYTES,
                bytes(1 << 10..=SIZE_MAX),
            ),
            loaders: problems.take("LOADERS", loaders, DEFAULT_LOADERS, count(1..=64)),
            document_max_bytes: problems.take(
                "DOCUMENT_MAX_BYTES",
                document_max_bytes,
                DEFAULT_DOCUMENT_MAX_BYTES,
                bytes(1 << 10..=SIZE_MAX),
            ),
            channel_capacity: problems.take(
                "CHANNEL_CAPACITY",
                channel_capacity,
                DEFAULT_CHANNEL_CAPACITY,
                count(1..=1_000),
            ),
            request_interval: problems.take(
                "REQUEST_INTERVAL",
                request_interval,
                DEFAULT_REQUEST_INTERVAL,
                seconds(long.clone()),
            ),
            cursor_skew: problems
                .take("CURSOR_SKEW", cursor_skew, DEFAULT_CURSOR_SKEW, |text| skew(text, long.clone())),
            lookback: problems.take("LOOKBACK", lookback, DEFAULT_LOOKBACK, seconds(long.clone())),
            retry_deadline: problems.take(
                "RETRY_DEADLINE",
                retry_deadline,
                DEFAULT_RETRY_DEADLINE,
                seconds(Duration::ZERO..=MONTH),
            ),
            statement_timeout: problems.take(
                "STATEMENT_TIMEOUT",
                statement_timeout,
                DEFAULT_STATEMENT_TIMEOUT,
                seconds(long),
            ),
            seen_max: problems.take("SEEN_MAX", seen_max, DEFAULT_SEEN_MAX, count(0..=100_000_000)),
            stale_keys_max: problems.take(
                "STALE_KEYS_MAX",
                stale_keys_max,
                DEFAULT_STALE_KEYS_MAX,
                count(1..=1_000_000_000),
            ),
            dead_letter_max: problems.take(
                "DEAD_LETTER_MAX",
                dead_letter_max,
                DEFAULT_DEAD_LETTER_MAX,
                count(1..=10_000_000),
            ),
            dead_letter_stop: problems.take(
                "DEAD_LETTER_STOP",
                dead_letter_stop,
                DEFAULT_DEAD_LETTER_STOP,
                count(1..=1_000_000_000),
            ),
            verify_interval: problems.take(
                "VERIFY_INTERVAL",
                verify_interval,
                DEFAULT_VERIFY_INTERVAL,
                seconds(Duration::ZERO..=MONTH),
            ),
            verify_slice: problems.take(
                "VERIFY_SLICE",
                verify_slice,
                DEFAULT_VERIFY_SLICE,
                seconds(Duration::ZERO..=MONTH),
            ),
            verify_max_delete_percent: problems.take(
                "VERIFY_MAX_DELETE_PERCENT",
                verify_max_delete_percent,
                DEFAULT_VERIFY_MAX_DELETE_PERCENT,
                count(0..=100),
            ),
            initial_timestamp: problems
                .take("INITIAL_TIMESTAMP", initial_timestamp, None, |text| instant(text).map(Some)),
            rebuild_missing_index: problems.take(
                "ON_INDEX_MISSING",
                on_index_missing,
                false,
                on_index_missing_named,
            ),
            log_format: problems.take("LOG_FORMAT", log_format, LogFormat::Text, log_format_named),
            source,
            elastic,
            notices,
        };
        if problems.0.is_empty() {
            return Ok(checked);
        }
        Err(Error::wrong(format!("the settings are wrong: {}", problems.0.join("; ")))
            .hint(".env.example lists every setting with its default"))
    }
}

impl SourceSettings {
    /// Reads only how the source is reached, for commands that need nothing else.
    ///
    /// # Errors
    /// Everything that is wrong with it, in one error.
    pub fn load() -> Result<Self> {
        let variables = environment::read(std::env::vars_os(), Path::new(".env"))?;
        let known: Variables = table::known_names()
            .filter_map(|name| variables.get(&name).map(|value| (name, value.clone())))
            .collect();
        let mut problems = Problems::default();
        let source = source::check(read_raw(&known, "")?, read_raw(&known, "PG_DSN__")?, &mut problems);
        if problems.0.is_empty() {
            return Ok(source);
        }
        Err(Error::wrong(format!("the settings are wrong: {}", problems.0.join("; ")))
            .hint(".env.example lists every setting with its default"))
    }
}

/// Fills a raw struct from the variables with `prefix`, which its fields leave out.
fn read_raw<T: serde::de::DeserializeOwned>(known: &Variables, prefix: &str) -> Result<T> {
    let pairs = known.iter().map(|(name, value)| (name.clone(), value.clone()));
    // Every field is an optional text, so nothing can fail to be read; what fails is a mistake of ours.
    envy::prefixed(prefix)
        .from_iter(pairs)
        .map_err(|error| Error::wrong(format!("cannot read the settings {prefix}…")).because(error))
}

fn definitions(written: Option<String>, problems: &mut Problems) -> Vec<PathBuf> {
    let Some(written) = given(written) else { return Vec::new() };
    let files: Vec<PathBuf> = written.split(',').map(|file| PathBuf::from(file.trim())).collect();
    if files.iter().any(|file| file.as_os_str().is_empty()) {
        problems.wrong("DEFINITION", &written, "write files separated by single commas");
    }
    if files.iter().enumerate().any(|(position, file)| files[..position].contains(file)) {
        problems.wrong("DEFINITION", &written, "which names a file twice");
    }
    files
}

fn skew(text: &str, allowed: std::ops::RangeInclusive<Duration>) -> Result<Duration, String> {
    if seconds(Duration::ZERO..=Duration::ZERO)(text).is_ok() {
        return Err(
            "which would lose rows whose cursor was set a moment before their transaction began; write more than 0".to_owned()
        );
    }
    seconds(allowed)(text)
}

fn on_index_missing_named(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "stop" => Ok(false),
        "rebuild" => Ok(true),
        _ => Err("write stop or rebuild".to_owned()),
    }
}

fn log_format_named(text: &str) -> Result<LogFormat, String> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("write text or json".to_owned()),
    }
}

#[cfg(test)]
mod tests;
