//! The defaults of the settings, and why they are what they are.

use std::time::Duration;

/// Where the state lies by default: beside the process, ignored by version control.
pub const DEFAULT_STORAGE_DIR: &str = "state";

/// Root rows of a batch: one request of documents of 1 kB, and the statements for it cost PostgreSQL little beside the rows.
pub const DEFAULT_CHUNK_SIZE: usize = 4_000;

/// Bytes of a batch's rows: several batches are in memory at once, and more gains nothing.
pub const DEFAULT_BATCH_BYTES: usize = 16 << 20;

/// MiB of related rows that a full load keeps: the names of a million persons, and small beside the servers.
pub const DEFAULT_RELATED_CACHE_MB: usize = 48;

/// Bytes of a bulk request: Elasticsearch's own advice begins at 5 to 15 MB and warns of more.
pub const DEFAULT_BULK_BYTES: usize = 5 << 20;

/// Bulk requests at once: so many are tried, and as many used as gain something, which on a small server is one.
pub const DEFAULT_LOADERS: usize = 4;

/// Bytes of one document: half of what a server takes as a request by default (`http.max_content_length`, 100 MB).
pub const DEFAULT_DOCUMENT_MAX_BYTES: usize = 50 << 20;

/// Batches that wait before each stage: the lanes of the loader hold those that they will send next besides.
pub const DEFAULT_CHANNEL_CAPACITY: usize = 1;

/// Between the beginnings of polls: changes are seen within a second or two, and a poll of an idle table is cheap.
pub const DEFAULT_REQUEST_INTERVAL: Duration = Duration::from_secs(1);

/// How old a written cursor may be: clocks of applications are rarely further apart, and the remembered rows make it
/// nearly free.
pub const DEFAULT_CURSOR_SKEW: Duration = Duration::from_secs(10);

/// The fixed window where running transactions cannot be seen: longer than transactions of applications usually are.
pub const DEFAULT_LOOKBACK: Duration = Duration::from_secs(900);

/// How long `once` waits: longer than a restart of a server, shorter than the usual interval of a cron job.
pub const DEFAULT_RETRY_DEADLINE: Duration = Duration::from_secs(300);

/// How long a statement may take: a page of keys takes milliseconds, a wrong plan on a big table minutes.
pub const DEFAULT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(300);

/// Rows that a feed remembers: some tens of megabytes at most.
pub const DEFAULT_SEEN_MAX: usize = 200_000;

/// Stale keys in the state: some hundred megabytes of SQLite at most.
pub const DEFAULT_STALE_KEYS_MAX: u64 = 1_000_000;

/// Dead letters in the state: more than anyone reads.
pub const DEFAULT_DEAD_LETTER_MAX: usize = 10_000;

/// Refusals in a row that stop the pipeline: so many are a wrong mapping, not wrong documents.
pub const DEFAULT_DEAD_LETTER_STOP: u64 = 1_000;

/// How long a comparison of everything is spread over: what nothing else notices is wrong for a day at most, and the
/// load of it is not felt.
pub const DEFAULT_VERIFY_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// How long `once` verifies: half of the shortest interval of cron.
pub const DEFAULT_VERIFY_SLICE: Duration = Duration::from_secs(30);

/// The share of documents that may turn out to have no row: more look like a table that was emptied or swapped.
pub const DEFAULT_VERIFY_MAX_DELETE_PERCENT: u32 = 10;
