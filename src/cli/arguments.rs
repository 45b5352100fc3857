//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::settings::LogFormat;

/// Keeps Elasticsearch and OpenSearch documents equal to what PostgreSQL says.
///
/// Settings come from the environment and from a file `.env` in the working directory; see `.env.example`. The least
/// that is needed is PG_DSN and ELASTIC_URL; without DEFINITION the movies example is synced.
#[derive(Debug, Parser)]
#[command(
    name = "pgsluice",
    version,
    after_help = "Start with `pgsluice init` for a definition, `pgsluice check`, then `pgsluice once`, then leave `pgsluice run` running.\n\n\
                  Exit codes: 0 done; 1 done, but documents were refused or verify found differences; 2 wrong usage, settings or definition;\n\
                  3 PostgreSQL or the index unreachable for longer than RETRY_DEADLINE; 4 another process runs the\n\
                  pipeline on this state.\n\n\
                  RUST_LOG sets what is logged (error, warn, info, debug, trace; default info)."
)]
pub(super) struct Arguments {
    /// How log lines are written; LOG_FORMAT sets the default.
    #[arg(long, value_enum, global = true)]
    pub(super) log_format: Option<LogFormat>,

    /// Of several definitions, works for this index alone.
    #[arg(long, value_name = "NAME", global = true)]
    pub(super) index: Option<String>,

    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Drafts a definition and its mapping from the keys, foreign keys and types of the database.
    ///
    /// It needs PG_DSN alone, reads the catalogue, writes two new files and overwrites none. What it was unsure of
    /// stands in the comments of the draft. `check` takes the draft as it is; take out what you do not need.
    Init {
        /// The table with one row for each document, as schema.table (public if there is no dot); parts with odd
        /// characters in double quotes, as in a definition.
        #[arg(long, value_name = "TABLE")]
        root: String,
        /// The columns that identify a row, for a view or a table without a primary key; may be given several times.
        #[arg(long, value_name = "COLUMN")]
        key: Vec<String>,
        /// How many relations may hang below one another.
        #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=8))]
        depth: u8,
        /// The files, without their endings: folder/name for folder/name.toml and folder/name.json; default: the
        /// index, in the working directory.
        #[arg(long, value_name = "NAME")]
        output: Option<PathBuf>,
        /// The alias of the index; default: made of the table's name.
        #[arg(long, value_name = "ALIAS")]
        index: Option<String>,
    },
    /// Prints the JSON Schema of the definition file, for editors.
    Schema,
    /// Loads everything if the index is new, then keeps it in sync until SIGTERM or SIGINT.
    ///
    /// Servers that are away are waited for, however long. On a signal it finishes what is under way and ends with 0;
    /// a second signal ends it at once. The next start goes on where this one ended.
    Run {
        #[command(flatten)]
        index: IndexOptions,
    },
    /// Brings the index up to the present and ends: for cron.
    ///
    /// It ends when everything that was committed before its start is in the index. Servers that are away are waited
    /// for until RETRY_DEADLINE.
    Once {
        #[command(flatten)]
        index: IndexOptions,
    },
    /// Loads everything again into the index that exists, and removes documents whose row is gone.
    ///
    /// This is the cure after the definition changed, after the database was restored or replaced, and after the
    /// state was lost.
    Resync {
        #[command(flatten)]
        index: IndexOptions,
    },
    /// Tries settings, definition, connections, rights, columns and mapping; changes nothing.
    ///
    /// Prints each finding with its cure. It ends with 2 if something has to be mended, with 3 if only a server is
    /// away, else with 0.
    Check {
        /// Prints the findings as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints the documents that would be sent; writes nothing.
    ///
    /// Of several definitions, keys are those of the index that --index names.
    /// With --diff it ends with exit code 1 where the index differs.
    Preview {
        /// Keys of root rows, as in the documents' `_id` (several key columns are joined with `|`); the first three
        /// rows if none is given.
        keys: Vec<String>,
        /// Prints beside each document how the index differs from it.
        #[arg(long)]
        diff: bool,
    },
    /// Tells why a document is as it is: its source rows, the checkpoints, what is pending, what the index holds.
    ///
    /// It writes nothing and works beside a running pipeline.
    Explain {
        /// The key of the root row, as in the document's `_id`.
        key: String,
        /// Prints it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Says how far the index is: documents, lag, stale and in-flight keys, dead letters, last runs.
    ///
    /// It reads the state alone and asks the index for its number of documents, so it works beside a running pipeline
    /// and while servers are away.
    Status {
        /// Prints it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compares every document of the index with the database; exits with 1 if there are differences.
    ///
    /// A difference counts when it is still there after a complete poll. Beside a running pipeline its polls are waited
    /// for; else this command polls, and works off the stale keys, itself. Stopped half-way, it goes on where it was.
    Verify {
        /// Records the keys of what differs as stale and waits until they are built anew or deleted.
        #[arg(long)]
        repair: bool,
        /// With --repair: deletes documents without a row however many they are.
        #[arg(long, requires = "repair")]
        force: bool,
        /// Looks at this many rows and documents chosen at random, in place of all.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
        sample: Option<u16>,
        /// Prints the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lists, shows, retries or drops the documents that the index refused.
    DeadLetters {
        #[command(subcommand)]
        command: DeadLettersCommand,
    },
}

/// What may be done to an index before it is written to.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct IndexOptions {
    /// Takes over an index that holds documents which pgsluice did not write.
    #[arg(long)]
    pub(super) adopt: bool,
    /// Loads a new and empty index of ours without refreshes and replicas; they are restored when it is loaded.
    ///
    /// Searches see nothing of it until then. An index that holds documents keeps its settings.
    #[arg(long)]
    pub(super) fresh: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum DeadLettersCommand {
    /// Lists them, newest first.
    List {
        /// Prints one JSON object a line.
        #[arg(long)]
        json: bool,
        /// How many to list.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows one with its document as it was sent.
    Show {
        /// Its number, as `list` prints it.
        id: i64,
    },
    /// Marks their keys stale, so that the next poll or run builds them anew.
    Retry {
        /// Their numbers, as `list` prints them.
        #[arg(required_unless_present = "all")]
        ids: Vec<i64>,
        /// All of them.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
    /// Forgets them; their documents stay as they are.
    Drop {
        /// Their numbers, as `list` prints them.
        #[arg(required_unless_present = "all")]
        ids: Vec<i64>,
        /// All of them.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
