//! `gav validate`: reports in the manner of glTF-Validator.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use gav_formats::{
    Error, ReadOptions, Source,
    validate::{Message, Report, validate},
};

use crate::{
    failure::io_text,
    inputs::{Input, expand},
    reading::{ReadArguments, disk_bytes},
    text::plural,
};

const EXAMPLES: &str = "\
Examples:
  gav validate head.gav
  gav validate captures --json | jq 'select(.issues.numErrors > 0) | .uri'

Exit codes:
  0  no errors (with --strict: and no warnings)
  1  errors were found, or a file could not be read";

/// Check files: structure, values, rig
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Files, folders or quoted patterns
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON report a line for each file
    #[arg(long)]
    json: bool,
    /// Count warnings as errors
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    read: ReadArguments,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let options = arguments.read.options();
    let mut out = io::stdout().lock();
    let mut sound = true;
    for input in expand(&arguments.files, None)? {
        let report = examine(&input, &options);
        sound &= report.is_valid() && !(arguments.strict && report.issues.num_warnings > 0);
        if arguments.json {
            writeln!(out, "{}", serde_json::to_string(&report)?)?;
        } else {
            print(&mut out, &report)?;
        }
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn examine(input: &Input, options: &ReadOptions) -> Report {
    let uri = input.path.display().to_string();
    let mut report = match Source::open(&input.path) {
        Ok(source) => validate(&source, options),
        Err(error) => {
            let mut report = Report::new("");
            let mut message = Message::from(&error);
            if let Error::Io { source, .. } = &error {
                message.message = io_text(source);
            }
            report.push(message);
            report
        }
    };
    report.uri = uri;
    // folder formats: the report's own figure counts the entry file only
    if let Some(splats) = report.info.get("splats").and_then(serde_json::Value::as_u64) {
        let bytes = disk_bytes(&input.path);
        report.info.insert("bytes".into(), bytes.into());
        if splats > 0 {
            report.info.insert("bytesPerSplat".into(), (bytes as f64 / splats as f64).into());
        }
    }
    report
}

fn print(out: &mut impl Write, report: &Report) -> Result<()> {
    let issues = &report.issues;
    let counts: Vec<String> = [
        (issues.num_errors, "error"),
        (issues.num_warnings, "warning"),
        (issues.num_infos, "info"),
        (issues.num_hints, "hint"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| plural(*count as usize, word))
    .collect();
    let verdict = if report.is_valid() { "valid" } else { "invalid" };
    let counts = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
    writeln!(out, "{}: {verdict} ({}){counts}", report.uri, report.version)?;
    for message in &issues.messages {
        let offset = message.offset.filter(|o| *o > 0).map(|o| format!(" (byte {o})")).unwrap_or_default();
        let pointer = if message.pointer.is_empty() { String::new() } else { format!(" at {}", message.pointer) };
        writeln!(out, "  {:<8}{}: {}{pointer}{offset}", message.severity.name(), message.code, message.message)?;
    }
    Ok(())
}
