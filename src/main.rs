//! The `pgsluice` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(pgsluice::cli::main())
}
