//! Connects to PostgreSQL, says how a transaction of ours begins, and decides what an error of the server means.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::time::Duration;

use postgres::config::{Host, SslMode as ClientSslMode};
use postgres::error::{DbError, SqlState};
use tokio_postgres::{Config, NoTls};

use crate::error::{Error, Kind, Result};
use crate::postgres::client::{Client, ConnectError};
use crate::postgres::{server, tls};
use crate::settings::{SourceSettings, SslMode};

/// How long a transaction of ours may do nothing before the server ends it, so that a process that hangs never holds
/// back the server's clean-up for long. Far longer than the wait for any step of ours.
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(600);

/// PostgreSQL's own port, where the settings name none.
const DEFAULT_PORT: u16 = 5432;

/// Opens a connection to a server that is recent enough.
pub(super) fn connect(settings: &SourceSettings) -> Result<Client> {
    let mut config = settings.config.clone();
    let connected = match settings.ssl_mode {
        SslMode::Disable => {
            config.ssl_mode(ClientSslMode::Disable);
            Client::connect(&config, NoTls)
        }
        SslMode::Prefer => {
            config.ssl_mode(ClientSslMode::Prefer);
            Client::connect(&config, tls::connector(settings)?)
        }
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            config.ssl_mode(ClientSslMode::Require);
            Client::connect(&config, tls::connector(settings)?)
        }
    };
    let mut client = connected.map_err(|error| {
        let attempt = format!("cannot connect to PostgreSQL at {}", place(&config));
        let error = match error {
            ConnectError::Server(error) => error,
            ConnectError::Runtime(error) => return Error::unreachable(attempt).because(error),
        };
        if let Some(hint) = tls::hint(&error) {
            return Error::wrong(attempt).because(error).hint(hint);
        }
        let is_answered = error.as_db_error().is_some();
        let error = classify(&error, attempt);
        if is_answered || error.hint_text().is_some() {
            return error;
        }
        error.hint("is it up, and do PG_DSN, or PG_DSN__HOST and PG_DSN__PORT, say where it is?")
    })?;
    server::must_be_supported(&mut client)?;
    Ok(client)
}

/// Where a connection leads, as `host:port, database name, user name`; a password is no part of it.
fn place(config: &Config) -> String {
    let hosts = config.get_hosts();
    let addresses = config.get_hostaddrs();
    let ports = config.get_ports();
    let mut places = Vec::new();
    for position in 0..hosts.len().max(addresses.len()) {
        let port = match ports {
            [] => DEFAULT_PORT,
            [only] => *only,
            several => several.get(position).copied().unwrap_or(DEFAULT_PORT),
        };
        places.push(match (hosts.get(position), addresses.get(position)) {
            (Some(Host::Tcp(host)), _) => format!("{host}:{port}"),
            (Some(Host::Unix(directory)), _) => format!("{}/.s.PGSQL.{port}", directory.display()),
            (None, Some(address)) => SocketAddr::new(*address, port).to_string(),
            (None, None) => continue,
        });
    }
    let mut place = places.join(", ");
    if let Some(database) = config.get_dbname() {
        place.push_str(&format!(", database {database}"));
    }
    if let Some(user) = config.get_user() {
        place.push_str(&format!(", user {user}"));
    }
    place
}

/// The statements that open a snapshot of ours.
///
/// Everything is set for this transaction alone, so that a transaction pooler is no hindrance. `row_security = off`
/// turns rows that a policy hides into an error: they would look deleted. The zone and styles fix how PostgreSQL
/// renders what it renders for us; `jit` costs more than it gives on statements as short as ours.
/// The planner is told to look rows up by their keys: left alone, it read and hashed a whole related table of 240,000
/// rows for each page of 2,000 films (130 ms instead of 40 ms), or walked through its whole index for a merge join.
/// And what can take many pages one after the other needs no parallel workers of a server that others use.
pub(super) fn begin_snapshot_sql(statement_timeout: Duration) -> String {
    format!(
        "begin isolation level repeatable read read only;
         set local row_security = off;
         set local timezone = 'UTC';
         set local datestyle = 'ISO, YMD';
         set local intervalstyle = 'iso_8601';
         set local extra_float_digits = 1;
         set local bytea_output = 'hex';
         set local jit = off;
         set local random_page_cost = 1.1;
         set local enable_mergejoin = off;
         set local max_parallel_workers_per_gather = 0;
         set local application_name = 'pgsluice';
         set local statement_timeout = {};
         set local idle_in_transaction_session_timeout = {}",
        statement_timeout.as_millis(),
        IDLE_IN_TRANSACTION_TIMEOUT.as_millis()
    )
}

/// Reads the catalogue without `jit`: the planner takes such statements for so dear that compiling one took a hundred
/// times as long as running it, for each table of a definition.
///
/// No transaction may be under way.
pub(super) fn read_catalog<T>(client: &mut Client, read: impl FnOnce(&mut Client) -> Result<T>) -> Result<T> {
    let failed = |error: postgres::Error| classify(&error, "cannot read the catalogue".to_owned());
    client.batch_execute("begin read only; set local jit = off").map_err(failed)?;
    let found = read(client);
    let ended = client.batch_execute(if found.is_ok() { "commit" } else { "rollback" });
    let found = found?;
    ended.map_err(failed)?;
    Ok(found)
}

/// Makes an error of ours: what can pass by itself is told from what someone must mend.
pub(super) fn classify(error: &postgres::Error, attempt: String) -> Error {
    let Some(database_error) = error.as_db_error() else {
        return Error::unreachable(attempt).because(cause(error));
    };
    let code = database_error.code();
    let story = Refused(format!("{} (SQLSTATE {})", database_error.message(), code.code()));
    if *code == SqlState::UNDEFINED_DATABASE {
        return Error::unreachable(attempt)
            .because(story)
            .hint("create it, or correct PG_DSN or PG_DSN__DBNAME");
    }
    if passes_by_itself(database_error) {
        return Error::unreachable(attempt).because(story);
    }
    // Class 42 is "syntax error or access rule violation", 3F000 a schema that is missing: our statements are right for
    // the tables that they were written for.
    let is_mismatch = code.code().starts_with("42") || *code == SqlState::INVALID_SCHEMA_NAME;
    let kind = if is_mismatch { Kind::Mismatch } else { Kind::Wrong };
    let error = Error::new(kind, attempt).because(story);
    match *code {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => error.hint(
            "correct PG_DSN, or PG_DSN__USER and PG_DSN__PASSWORD, or let pg_hba.conf admit this role from here",
        ),
        SqlState::INSUFFICIENT_PRIVILEGE => error.hint(
            "grant the role usage on the schema and select on every table of the definition; where a row-level \
             security policy applies to it, give it bypassrls",
        ),
        SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN | SqlState::INVALID_SCHEMA_NAME => {
            error.hint("the definition and the database differ: run `pgsluice check`")
        }
        SqlState::UNDEFINED_FUNCTION | SqlState::DATATYPE_MISMATCH => error.hint(
            "`on` joins columns of types that PostgreSQL can compare, and `where` gives values of the column's type; \
             a view can cast where they differ",
        ),
        _ => error,
    }
}

/// The same for a statement that tries what the definition says in SQL at `place`: only what is wrong with the SQL itself
/// has the definition's `cure`.
pub(super) fn classify_written(error: &postgres::Error, place: &str, cure: &str) -> Error {
    let is_right_missing = error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
    let tried = classify(error, format!("cannot try {place} of the definition"));
    if tried.is_retryable() || is_right_missing {
        return tried;
    }
    classify(error, format!("{place} of the definition is wrong")).hint(cure)
}

/// Whether the same attempt may succeed later without anyone changing the definition, the rights or the settings.
///
/// Classes after PostgreSQL's appendix A: 08 connection, 53 resources, 57 operator intervention (shutdown, crash, not
/// accepting yet, a cancelled statement), 58 system, XX internal; 40 rollback (a conflict with recovery on a standby
/// is 40001); 72000 a snapshot that became too old; 55P03 lock; 25P03 and 25P04 timeouts; 0A000 `cached plan must not change result type`.
fn passes_by_itself(error: &DbError) -> bool {
    let code = error.code().code();
    let class = code.get(..2).unwrap_or_default();
    matches!(class, "08" | "40" | "53" | "57" | "58" | "72" | "XX")
        || matches!(code, "55P03" | "55006" | "25P03" | "25P04")
        || (code == "0A000" && error.message().contains("cached plan"))
}

/// What every layer of the client library says, without the first where it only says "error connecting".
fn cause(error: &postgres::Error) -> Refused {
    let mut told = error.to_string();
    if let Some(rest) = told.strip_prefix("error connecting to server: ") {
        told = rest.to_owned();
    }
    let mut inner = error.source();
    while let Some(source) = inner {
        let text = source.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        inner = source.source();
    }
    Refused(told)
}

/// What the server or the connection said.
#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl StdError for Refused {}
