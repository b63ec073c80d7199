//! `gav man`: manual pages, one a command.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};

const EXAMPLES: &str = "\
Examples:
  gav man ~/.local/share/man/man1

Exit codes:
  0  the pages were written
  1  the folder cannot be written to";

/// Write the manual pages into a folder
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Folder for gav.1, gav-convert.1 and so on; it is made if needed
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let folder = &arguments.folder;
    let failed = || format!("{}: cannot write manual pages", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(crate::Cli::command(), folder).with_context(failed)?;
    writeln!(io::stdout(), "manual pages are in {}", folder.display())?;
    Ok(ExitCode::SUCCESS)
}
