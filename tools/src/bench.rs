//! `gav bench`: measures, each number beside a rival's or a limit in the same run.

mod codec;
mod cuda;
mod raster;
mod rig;
mod train;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  gav bench codec angel.ply lam_head.ply.zst
  gav bench codec head.ply --rivals reference-files/ --json
  gav bench raster
  gav bench raster --device cuda
  gav bench rig --seconds 6
  gav bench train capture --iterations 50000

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
    Rig(rig::RigBench),
    Train(train::Train),
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Codec(codec) => codec::run(codec),
        What::Raster(raster) => raster::run(raster),
        What::Rig(rig) => rig::run(rig),
        What::Train(training) => train::run(training),
    }
}

/// Shortest time in seconds of as many runs as fit, at least two.
fn best(seconds: f64, mut run: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut best = f64::INFINITY;
    for count in 0.. {
        if count >= 2 && started.elapsed().as_secs_f64() > seconds {
            break;
        }
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}
