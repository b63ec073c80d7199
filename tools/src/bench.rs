//! `gav bench`: measures, each number beside a rival's or a limit in the same run.

mod codec;
mod raster;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  gav bench codec angel.ply lam_head.ply.zst
  gav bench codec head.ply --rivals reference-files/ --json
  gav bench raster

Exit codes:
  0  measured
  1  a file could not be read";

/// Measure sizes, errors and speeds
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Codec(codec::Codec),
    Raster(raster::Raster),
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Codec(codec) => codec::run(codec),
        What::Raster(raster) => raster::run(raster),
    }
}
