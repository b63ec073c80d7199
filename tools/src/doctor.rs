//! `gav doctor`: what this machine offers for `--device cuda`, and why something is missing.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use gav_kernels::cuda::{Report, report};

use crate::text::{bytes, table};

const EXAMPLES: &str = "\
Examples:
  gav doctor
  gav doctor --json | jq .devices

Exit codes:
  0  --device cuda works
  1  it does not; the reasons are in the last lines";

/// Show the devices, drivers and libraries that gav can use, and what is missing
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let report = report();
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        write!(out, "{}", text(&report))?;
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn text(report: &Report) -> String {
    let mut rows = vec![["what", "version", "where", "used for"].map(str::to_owned).to_vec()];
    let missing = || "–".to_owned();
    rows.push(vec![
        "driver".to_owned(),
        report.driver.as_ref().map_or_else(missing, |v| format!("CUDA {v}")),
        missing(),
        "everything".to_owned(),
    ]);
    for device in &report.devices {
        rows.push(vec![
            format!("cuda:{}", device.ordinal),
            device.architecture.clone(),
            format!("{}, {}", device.name, bytes(device.memory)),
            format!("{} multiprocessors", device.multiprocessors),
        ]);
    }
    for library in &report.libraries {
        rows.push(vec![
            library.name.to_owned(),
            library.version.clone().unwrap_or_else(missing),
            library.place.clone().unwrap_or_else(|| "not found".to_owned()),
            library.used_for.to_owned(),
        ]);
    }
    let mut text = table(&rows);
    if let Some(cache) = &report.cache {
        text += &format!("\n{} compiled kernels in {}\n", report.cached_kernels, cache.display());
    }
    for library in &report.libraries {
        if let Some(problem) = &library.problem {
            text += &format!("{}: {problem}\n", library.name);
        }
    }
    if report.problems.is_empty() {
        return text + "--device cuda works\n";
    }
    text += "--device cuda does not work:\n";
    for problem in &report.problems {
        text += &format!("  {problem}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_driver_is_told_why() {
        let report = Report {
            driver: None,
            devices: Vec::new(),
            libraries: Vec::new(),
            cache: None,
            cached_kernels: 0,
            problems: vec!["no NVIDIA driver: libcuda was not found".to_owned()],
        };
        let text = text(&report);
        assert!(text.ends_with("does not work:\n  no NVIDIA driver: libcuda was not found\n"), "{text}");
    }
}
