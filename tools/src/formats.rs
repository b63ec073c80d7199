//! `gav formats`: the table of formats, straight from the library's registry.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use gav_formats::{FORMATS, Writer};
use serde_json::json;

use crate::text::table;

const EXAMPLES: &str = "\
Examples:
  gav formats
  gav formats --json | jq -r 'select(.write) | .id'

Exit codes:
  0  always";

/// List the formats that can be read and written
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let folder = |writer: &Option<Writer>| matches!(writer, Some(Writer::Folder(_)));
    if arguments.json {
        for format in FORMATS {
            let line = json!({"id": format.id, "name": format.name, "extensions": format.extensions,
                "read": format.read.is_some(), "write": format.write.is_some(), "folder": folder(&format.write),
                "lossless": format.lossless});
            writeln!(out, "{line}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["format", "read", "write", "lossless", "endings", "name"].map(str::to_owned).to_vec()];
    for format in FORMATS {
        let yes = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
        let write = if folder(&format.write) { "folder".to_owned() } else { yes(format.write.is_some()) };
        let endings = format.extensions.iter().map(|e| format!(".{e}")).collect::<Vec<_>>().join(" ");
        let lossless = if format.write.is_some() { yes(format.lossless) } else { "–".to_owned() };
        rows.push(vec![
            format.id.to_owned(),
            yes(format.read.is_some()),
            write,
            lossless,
            endings,
            format.name.to_owned(),
        ]);
    }
    write!(out, "{}", table(&rows))?;
    Ok(ExitCode::SUCCESS)
}
