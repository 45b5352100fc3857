//! The tables, step by step, and whose file it is.
//!
//! A step is never changed once it was released: a new need is a new step at the end. Each runs in a transaction of
//! its own together with the new `user_version`, so a file is always at one whole version.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::Error;
use crate::store::failure::{Attempt, MOVE_AWAY};

/// Marks the file as ours ("pgsl"), so that another program's database is never taken for a state.
const APPLICATION_ID: i32 = 0x7067_736c;

const STEPS: &[&str] = &[FIRST, VERIFY];

/// Generations are named by a small number in the rows that come in thousands.
const FIRST: &str = "
create table meta (
    key text primary key,
    value text not null
) without rowid, strict;

create table generations (
    id integer primary key autoincrement,
    name text not null unique,
    -- null until the index was made or adopted
    index_alias text,
    write_alias text,
    definition_hash text,
    created_at integer,
    is_current integer not null default 0
) strict;

create unique index current_generations on generations (index_alias) where is_current = 1;

create table checkpoints (
    generation integer not null,
    feed text not null,
    table_name text not null,
    last_modified text not null,
    position text,
    primary key (generation, feed, table_name)
) without rowid, strict;

create table feed_states (
    generation integer not null,
    feed text not null,
    state text not null,
    -- when the last complete poll was recorded
    polled_at integer,
    primary key (generation, feed)
) without rowid, strict;

-- in the order in which they are taken; the process knows which keys there are
create table stale_keys (
    generation integer not null,
    number integer not null,
    key text not null,
    attempts integer not null,
    recorded_at integer not null,
    primary key (generation, number)
) without rowid, strict;

-- a table of its own, so that the same key can be stale now and once more later
create table delayed_stale_keys (
    generation integer not null,
    key text not null,
    due_at integer not null,
    primary key (generation, key)
) without rowid, strict;
create index delayed_stale_keys_by_due on delayed_stale_keys (generation, due_at);

create table in_flight_batches (
    number integer primary key autoincrement,
    generation integer not null,
    kind text not null check (kind in ('keys', 'range')),
    keys blob,
    key_count integer not null default 0,
    low text,
    high text,
    attempts integer not null,
    taken_at integer not null
) strict;

create table open_ranges (
    number integer primary key,
    generation integer not null,
    low text,
    high text,
    attempts integer not null
) strict;
create index open_ranges_by_generation on open_ranges (generation, number);

create table full_loads (
    generation integer primary key,
    purpose text not null check (purpose in ('first', 'resync')),
    frontier text,
    reached_end integer not null default 0,
    extras_pending integer not null,
    document_count integer not null default 0,
    started_at integer not null,
    finished_at integer
) strict;

create table dead_letters (
    id integer primary key autoincrement,
    generation integer not null,
    key text not null,
    error_type text not null,
    reason text not null,
    document text,
    attempts integer not null,
    first_at integer not null,
    last_at integer not null,
    unique (generation, key)
) strict;
create index dead_letters_by_age on dead_letters (last_at, id);
create index dead_letters_with_document on dead_letters (last_at, id) where document is not null;

create table runs (
    number integer primary key autoincrement,
    command text not null,
    started_at integer not null,
    ended_at integer,
    outcome text,
    counts text
) strict;
";

/// How far verify is, and what it has seen; `state` is its own.
const VERIFY: &str = "
create table verify_progress (
    generation integer not null,
    caller text not null check (caller in ('schedule', 'command')),
    pass text not null check (pass in ('documents', 'extras')),
    state text not null,
    primary key (generation, caller, pass)
) without rowid, strict;

create table verify_differences (
    generation integer not null,
    caller text not null,
    pass text not null,
    key text not null,
    kind text not null check (kind in ('missing', 'different', 'extra')),
    fields text not null,
    seen text not null,
    is_confirmed integer not null,
    primary key (generation, caller, pass, key)
) without rowid, strict;
";

/// What an opened file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A file without content.
    Nothing,
    /// A state whose first so many steps are made.
    State(usize),
}

/// Looks whose file it is, and refuses another program's and a newer pgsluice's; `name` is for the message.
pub(super) fn inspect(connection: &Connection, name: &str) -> Attempt<Found> {
    let application_id: i32 = connection.query_row("pragma application_id", [], |row| row.get(0))?;
    let version = version(connection)?;
    let table_count: i64 =
        connection.query_row("select count(*) from sqlite_schema", [], |row| row.get(0))?;
    if application_id == 0 && version == 0 && table_count == 0 {
        return Ok(Found::Nothing);
    }
    if application_id != APPLICATION_ID {
        return Err(Error::wrong(format!("{name} is another program's database")).hint(MOVE_AWAY).into());
    }
    if version > STEPS.len() {
        let message = format!(
            "{name} is a state of version {version}, and this pgsluice knows versions up to {}",
            STEPS.len()
        );
        let hint = format!("use the newer pgsluice that wrote it, or {MOVE_AWAY}");
        return Err(Error::wrong(message).hint(hint).into());
    }
    Ok(Found::State(version))
}

/// Whether every step is made.
pub(super) fn is_current(found: Found) -> bool {
    found == Found::State(STEPS.len())
}

/// Makes the steps that are missing.
pub(super) fn migrate(connection: &mut Connection) -> Attempt<()> {
    migrate_through(connection, STEPS)
}

fn migrate_through(connection: &mut Connection, steps: &[&str]) -> Attempt<()> {
    while version(connection)? < steps.len() {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have made it while we waited for the file.
        let made = version(&transaction)?;
        if let Some(step) = steps.get(made) {
            transaction.execute_batch(step)?;
            transaction.execute_batch(&format!(
                "pragma application_id = {APPLICATION_ID}; pragma user_version = {}",
                made + 1
            ))?;
        }
        transaction.commit()?;
    }
    Ok(())
}

fn version(connection: &Connection) -> Attempt<usize> {
    let version: i32 = connection.query_row("pragma user_version", [], |row| row.get(0))?;
    // A negative number was never ours; as a huge one it is refused like every other number that we do not know.
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        let steps = ["create table a (x)", "create table b (x); create table a (x)"];
        assert!(migrate_through(&mut connection, &steps).is_err());
        assert_eq!(version(&connection).unwrap(), 1);
        let tables: i64 =
            connection.query_row("select count(*) from sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 1);
        let steps = ["create table a (x)", "create table b (x)"];
        migrate_through(&mut connection, &steps).unwrap();
        assert_eq!(version(&connection).unwrap(), 2);
    }

    #[test]
    fn another_programs_database_is_refused() {
        let connection = Connection::open_in_memory().unwrap();
        assert_eq!(inspect(&connection, "x").unwrap(), Found::Nothing);
        connection.execute_batch("create table a (x)").unwrap();
        assert!(inspect(&connection, "x").is_err());
    }
}
