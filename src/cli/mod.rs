//! The commands: what the command line says, and which part of the program answers it.

mod arguments;
mod check;
mod check_mapping;
mod dead_letters;
mod exit_code;
mod explain;
mod init;
mod layout;
mod logging;
mod output;
mod preview;
mod schema;
mod signals;
mod status;
mod sync;
mod target;
mod verify;
mod verify_report;
mod verify_status;

use clap::Parser;

use crate::cli::arguments::{Arguments, Command};
use crate::cli::init::InitOptions;
use crate::cli::verify::VerifyOptions;
use crate::error::Result;
use crate::settings::{LogFormat, Settings};
use crate::verify::Repair;

/// Runs the command that the command line names and returns the exit code of the process.
///
/// 0: done. 1: done, but documents were refused or verify found differences. 2: wrong usage, settings or definition. 3: a server could not be
/// reached for longer than `RETRY_DEADLINE`. 4: another process runs the pipeline on this state.
pub fn main() -> u8 {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no failure; clap writes them to stdout and everything else to stderr.
            let _ = error.print();
            return if error.use_stderr() { 2 } else { 0 };
        }
    };
    match run(&arguments) {
        Ok(exit_code) => exit_code,
        Err(error) => {
            logging::start_quietly(arguments.log_format.or_else(LogFormat::of_environment));
            log::error!("{}", error.story());
            error.exit_code()
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8> {
    // These need no settings, or only those of the source.
    match &arguments.command {
        Command::Schema => return schema::schema(),
        Command::Init { root, key, depth, output, index } => {
            logging::start_quietly(arguments.log_format.or_else(LogFormat::of_environment));
            return init::init(&InitOptions {
                root,
                key,
                depth: usize::from(*depth),
                output: output.as_deref(),
                index: index.as_deref(),
            });
        }
        _ => {}
    }
    let settings = Settings::load()?;
    logging::start(arguments.log_format.unwrap_or(settings.log_format));
    for notice in &settings.notices {
        log::warn!("{notice}");
    }
    let only = arguments.index.as_deref();
    match &arguments.command {
        Command::Run { index } => sync::run(&settings, only, *index),
        Command::Once { index } => sync::once(&settings, only, *index),
        Command::Resync { index } => sync::resync(&settings, only, *index),
        Command::Check { json } => check::check(&settings, only, *json),
        Command::Preview { keys, diff } => preview::preview(&settings, only, keys, *diff),
        Command::Explain { key, json } => explain::explain(&settings, only, key, *json),
        Command::Status { json } => status::status(&settings, only, *json),
        Command::Verify { repair, force, sample, json } => {
            let repair = match (repair, force) {
                (false, _) => Repair::No,
                (true, false) => Repair::Guarded,
                (true, true) => Repair::Forced,
            };
            verify::verify(&settings, only, &VerifyOptions { repair, sample: *sample, as_json: *json })
        }
        // Answered above.
        Command::Schema | Command::Init { .. } => Ok(0),
        Command::DeadLetters { command } => dead_letters::dead_letters(&settings, only, command),
    }
}
