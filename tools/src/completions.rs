//! `gav completions`: tab completion for shells.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

const EXAMPLES: &str = "\
Examples:
  gav completions bash > ~/.local/share/bash-completion/completions/gav
  gav completions zsh > \"${fpath[1]}/_gav\"
  gav completions fish > ~/.config/fish/completions/gav.fish

Exit codes:
  0  always";

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut crate::Cli::command(), "gav", &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
