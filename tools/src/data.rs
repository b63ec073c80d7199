//! `gav data`: captures, before avatars are trained on them.

mod check;
mod convert;

use std::{path::Path, process::ExitCode};

use anyhow::Result;
use clap::{Args, Subcommand};
use gav_formats::cameras::{CameraAxes, CameraOptions, PrincipalPoint};
use gav_models::capture::Capture;

use crate::{
    failure::Failure,
    render::values::{camera_axes, principal_point},
};

const EXAMPLES: &str = "\
Examples:
  gav data check captures/306                                  what would spoil a training
  gav data check captures/306 --overlay mesh.png               the tracked mesh drawn over six pictures, to be looked at
  gav data check captures/306 --json | jq .findings
  gav data convert captures/306 -o stga/306 --to stga --link   meshes, lists of moving faces, points; pictures are not copied
  gav data convert captures/306 -o insta/306 --to insta --camera 8
  gav data convert insta/bala -o bala --to vhap                parameters of a monocular tracker as those of VHAP

Read are the folders of VHAP and GaussianAvatars (unions of sequences too), STGA, INSTA, and others with transforms_train.json or
transforms.json. The tracked mesh needs FLAME in the store: gav template add FLAME flame2023.pkl.

Exit codes:
  0  nothing that stops a training was found; everything was converted
  1  something was; some time step was not
  2  the command line asks for something impossible, or the folder is no capture";

/// Check and convert captures: pictures, cameras, tracked meshes
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Check(check::Check),
    Convert(convert::Convert),
}

/// How captures are read.
#[derive(Args)]
struct Reading {
    /// Template of the tracked mesh, as `gav template list` names it [default: template.npz in the folder, else FLAME 2023 with teeth, as GaussianAvatars has it]
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// Axes of the cameras of a transforms.json [default: opengl, for INSTA opencv]
    #[arg(long, value_name = "AXES", value_parser = camera_axes)]
    camera_axes: Option<CameraAxes>,
    /// Principal point of a transforms.json: file, center (as GaussianAvatars), or flipped (cy from the bottom, as VHAP since 2024-11) [default: file]
    #[arg(long, value_name = "WHICH", value_parser = principal_point)]
    principal_point: Option<PrincipalPoint>,
}

impl Reading {
    fn open(&self, folder: &Path) -> Result<Capture, Failure> {
        let options = CameraOptions {
            axes: self.camera_axes,
            principal: self.principal_point.unwrap_or_default(),
            ..CameraOptions::default()
        };
        Capture::open(folder, &options).map_err(|e| Failure::of(None, &e))
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Check(check) => check::run(check),
        What::Convert(convert) => convert::run(convert),
    }
}
