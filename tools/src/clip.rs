//! `gav clip`: the motion inside of avatars, from and to the files that trackers and other programs use.

mod add;
mod changes;
mod export;
mod list;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  gav clip list head.gav                                      the clips of an avatar
  gav clip list talk.npz                                      what is in a recording
  gav clip add head.gav flame_param.npz --name talk           into the avatar itself
  gav clip add head.gav checkpoint --only expression,jaw,eyes -o talking.gav
  gav clip add head.gav face.csv --map arkit_to_flame.json    Live Link Face, through a linear map of yours
  gav clip retarget face.csv --map map.csv --fps 30 -o face.npz
  gav clip export head.gav talk -o talk.npz                   .npz, .csv or .json

Recordings: flame_param.npz, folders of VHAP (flame_param/*.npz) and metrical-tracker (checkpoint/*.frame), AMASS and SMPL-X .npz,
CSV of Live Link Face or of one column a value, glTF animations, clips of other avatars, and what `gav clip export` writes.

A map is linear: JSON {\"inputs\", \"outputs\", \"matrix\", \"offset\"}; CSV with the inputs in the first line and an output a line; or .npz with an array
of 52 rows (ARKit's blendshapes) a group of outputs, such as flame.expression.

Exit codes:
  0  everything was done
  1  a file could not be read, or does not fit; the others were done, and no output is half-written
  2  the command line asks for something impossible; nothing was done";

/// List, add, retarget and export the motion of avatars
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    List(list::List),
    Add(add::Add),
    Retarget(export::Retarget),
    Export(export::Export),
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::List(list) => list::run(list),
        What::Add(add) => add::run(add),
        What::Retarget(retarget) => export::retarget(retarget),
        What::Export(export) => export::run(export),
    }
}
