//! `gav train`: an avatar from a capture.

mod log;
mod options;
mod preview;
mod session;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, Subcommand};
use gav_formats::cameras::{CameraAxes, PrincipalPoint};
use gav_models::stga::Method;

use crate::{
    device::Choice,
    render::values::{camera_axes, principal_point},
};

pub(crate) use session::train;

const EXAMPLES: &str = "\
Examples:
  gav train stga captures/074 -o 074.gav
  gav train gaussian-avatars captures/306 -o 306.gav --iterations 60000
  gav train stga captures/074 -o 074.gav --resume             go on after an interruption, with the same result
  gav train stga captures/074 -o 074.gav --config paper.toml --densify false --log 074.jsonl --tensorboard runs/074
  gav train gaussian-avatars -s captures/306 -m 306.gav --eval --bind_to_mesh --white_background

Options of the methods have the names of the published programs, with _ or -; --config takes the same names from a TOML file. With
--iterations alone everything that is counted in steps keeps its proportion to it.

Ctrl-C ends the training after the block it is in: checkpoint and avatar are written as they are then, and --resume goes on.

Exit codes:
  0  the avatar was trained and written
  1  something failed; what was trained until the last checkpoint is kept
  2  the command line asks for something impossible; nothing was done";

/// Train avatars on captures
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    method: Which,
}

#[derive(Subcommand)]
enum Which {
    /// Selective training (Guo et al. 2025): blocks of views of one time step, in which the splats of faces that the expression moves are trained
    #[command(after_help = EXAMPLES)]
    Stga(Box<Training>),
    /// GaussianAvatars (Qian et al. 2024): all splats at every step, the tracked parameters too
    #[command(after_help = EXAMPLES)]
    GaussianAvatars(Box<Training>),
}

/// What both methods take.
#[derive(Args, Debug, Clone)]
pub(crate) struct Training {
    /// The folder of a capture; `gav data check` says whether it can be trained on
    #[arg(value_name = "DATA", required_unless_present = "source")]
    pub data: Option<PathBuf>,
    /// The same, under the name of the published programs
    #[arg(
        short = 's',
        long = "source_path",
        alias = "source-path",
        value_name = "DATA",
        hide = true,
        conflicts_with = "data"
    )]
    pub source: Option<PathBuf>,
    /// The avatar to write (.gav); checkpoint and preview lie beside it
    #[arg(short, long, value_name = "FILE", required_unless_present = "model")]
    pub output: Option<PathBuf>,
    /// The same, under the name of the published programs
    #[arg(
        short = 'm',
        long = "model_path",
        alias = "model-path",
        value_name = "FILE",
        hide = true,
        conflicts_with = "output"
    )]
    pub model: Option<PathBuf>,
    /// Overwrite an existing avatar, and begin anew where there is a checkpoint
    #[arg(short, long)]
    pub force: bool,
    /// Go on from the checkpoint beside the avatar
    #[arg(short, long, conflicts_with = "force")]
    pub resume: bool,
    /// Options from a TOML file, by the names of the flags; flags win
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Options of the method.
    #[command(flatten)]
    pub options: options::Overrides,
    /// Where to train
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    pub device: Choice,
    /// Template of the tracked mesh, as `gav template list` names it [default: template.npz in the folder, else FLAME 2023 with teeth]
    #[arg(long, value_name = "NAME")]
    pub template: Option<String>,
    /// SPDX expression under which the template may be passed on inside the avatar; without one the avatar names the template by its hash
    #[arg(long, value_name = "SPDX")]
    pub template_licence: Option<String>,
    /// Leave the offsets of the tracked vertices out
    #[arg(long = "disable_flame_static_offset", alias = "disable-flame-static-offset")]
    pub no_static_offset: bool,
    /// Train on this camera alone
    #[arg(long = "select_camera_id", alias = "select-camera-id", value_name = "N", value_parser = clap::value_parser!(i64).range(-1..))]
    pub camera: Option<i64>,
    /// Train on the held-out cameras too
    #[arg(long)]
    pub train_on_val: bool,
    /// Select faces by their motion even where the capture has lists of them
    #[arg(long)]
    pub ignore_training_faces: bool,
    /// Lists of selected faces, NNNN.npy for every time step, instead of those of the capture
    #[arg(long, value_name = "DIR", conflicts_with = "ignore_training_faces")]
    pub select_files: Option<PathBuf>,
    /// Axes of the cameras of a transforms.json [default: opengl, for INSTA opencv]
    #[arg(long, value_name = "AXES", value_parser = camera_axes)]
    pub camera_axes: Option<CameraAxes>,
    /// Principal point of a transforms.json: file, center (as GaussianAvatars), or flipped (cy from the bottom, as VHAP since 2024-11) [default: file]
    #[arg(long, value_name = "WHICH", value_parser = principal_point)]
    pub principal_point: Option<PrincipalPoint>,
    /// Time steps a second, for the clip of the avatar
    #[arg(long, value_name = "FPS", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub fps: u32,
    /// Gigabytes of decoded pictures to keep in memory; beyond them pictures are read again and again, ahead of their use
    #[arg(long, value_name = "GB", default_value_t = 8.0)]
    pub picture_memory: f64,
    /// Steps between evaluations, previews and checkpoints [default: a twentieth of all]
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u32).range(1..))]
    pub interval: Option<u32>,
    /// Held-out pictures that an evaluation compares
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub eval_views: usize,
    /// Stop after so many seconds of training, as Ctrl-C does
    #[arg(long, value_name = "SECONDS")]
    pub time_limit: Option<f64>,
    /// Also write a PLY: of GaussianAvatars (with flame_param.npz) or STGA, as the frame of the splats is
    #[arg(long, value_name = "FILE")]
    pub ply: Option<PathBuf>,
    /// Keep the checkpoint when the training is done
    #[arg(long)]
    pub keep_checkpoint: bool,
    /// No preview pictures
    #[arg(long)]
    pub no_preview: bool,
    /// Losses and evaluations, one JSON object a line; a resumed training appends
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Losses and evaluations for TensorBoard
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
    /// One JSON object at the end
    #[arg(long)]
    pub json: bool,
    /// No progress bar
    #[arg(short, long)]
    pub quiet: bool,
    /// Of the published programs: held-out pictures are always held out, splats always bound, backgrounds white unless said otherwise
    #[arg(long, hide = true)]
    eval: bool,
    #[arg(long = "bind_to_mesh", alias = "bind-to-mesh", hide = true)]
    bind_to_mesh: bool,
    #[arg(short = 'w', long = "white_background", alias = "white-background", hide = true)]
    white_background: bool,
    #[arg(long, hide = true)]
    dynamic: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.method {
        Which::Stga(training) => train(Method::Stga, training),
        Which::GaussianAvatars(training) => train(Method::GaussianAvatars, training),
    }
}
