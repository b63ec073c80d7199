//! `gav render`: pictures of assets, from cameras around them, in them, or of a data set; in parallel, resumable.
//!
//! `views` says where the cameras stand, `plan` which files are made, `draw` makes those of one asset, `work` goes through
//! all assets and keeps the record that `--resume` needs.

mod draw;
mod plan;
pub(crate) mod values;
mod views;
mod work;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, ValueEnum};
use gav_formats::{
    Frame, RenderModel,
    cameras::{CameraAxes, PrincipalPoint},
};

use crate::{
    batch::record::Kind,
    device::Choice,
    motion::MotionArguments,
    reading::ReadArguments,
    render::values::{Background, Size},
};

/// What was rendered into a folder.
const RECORD: Kind = Kind { file: ".gav-render.json", field: "gav_render", what: "renders" };

const EXAMPLES: &str = "\
Examples:
  gav render head.gav -o head.png                           one picture from the front
  gav render head.gav -o head.mp4                           a turntable; .gif for the web
  gav render head.gav -o talk.mp4 --clip talk               its clip, from the front
  gav render head.gav -o smile.png --set arkit.mouthSmileLeft=1 --set arkit.mouthSmileRight=1
  gav render captures -o out --frames 36 --size 1024        36 pictures of every asset, in a folder each
  gav render captures -o overview.png --sheet all           one sheet that shows them all
  gav render head.spz -o out --cameras orbit --frames 8 --elevation=-20,10,40
  gav render head.ply -o out --cameras data/transforms_test.json --format png,npy --depth
  gav render head.gav -o out --background transparent --format webp,exr --resume

A clip is shown from the front, or from the cameras that are asked for, spread over its time; --frames says how many
pictures are taken of it instead of --fps. With --time or --set alone the asset holds still in that pose.

Files in the folder of --output, for an asset NAME: NAME/000.png … for several pictures, NAME.png for one, NAME.mp4,
NAME.sheet.png. Pictures from the cameras of a data set are named as its own.

What is stored: PNG and WebP 8-bit sRGB, alpha straight (not multiplied in); EXR 32-bit linear Rec. 709, multiplied by A
where the background is open, depth as Z; NPY the blended colours as they are, height x width x 3 (x 4 and multiplied by
alpha where open). --alpha adds NAME.alpha.png (16-bit) or .alpha.npy, --depth NAME.depth.npy: alpha-weighted distance
along the view axis, in units of the asset. GIF knows no partial transparency, MP4 none; sheets are white there.

Camera files: {\"frame\": \"RUB\", \"cameras\": [{\"name\", \"width\", \"height\", \"focal\": [x, y], \"principal\": [x, y],
\"camera_from_world\": three rows of four, \"orthographic\"}]} or the list alone, axes x right, y down, z front; the
cameras.json of 3D Gaussian splatting; transforms.json of NeRF, Blender, GaussianAvatars, STGA and INSTA.

Exit codes:
  0  every picture was written or was up to date
  1  some assets failed; the pictures of the others were written
  2  the command line asks for something impossible; nothing was written";

/// Render pictures, films and contact sheets of assets
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Files, folders (searched for splat files), quoted patterns, or folders that hold one asset (with a meta.json)
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// A file, whose ending says the format; or a folder, which keeps the structure of the inputs
    #[arg(short, long, value_name = "PATH", default_value = "gav-render")]
    pub output: PathBuf,
    /// Formats to write, separated by commas [default: the ending of --output, or png; none beside --sheet]
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    pub format: Vec<FileKind>,
    /// A contact sheet of each asset, or one of all
    #[arg(long, value_name = "WHICH")]
    pub sheet: Option<Sheet>,
    #[command(flatten)]
    pub motion: MotionArguments,
    #[command(flatten)]
    pub cameras: CameraArguments,
    #[command(flatten)]
    pub picture: PictureArguments,
    #[command(flatten)]
    pub read: ReadArguments,
    /// Where to draw: auto (a GPU for many pictures, where there is one), cpu, cuda
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Running", hide_possible_values = true)]
    pub device: Choice,
    /// Assets worked on at the same time; views of one asset are drawn in parallel anyway [default: as memory allows, at most 4]
    #[arg(short, long, value_name = "N", help_heading = "Running", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Continue: skip assets whose pictures are complete and were made from the same file with the same options
    #[arg(long, help_heading = "Running")]
    pub resume: bool,
    /// Overwrite existing pictures
    #[arg(short, long, help_heading = "Running")]
    pub force: bool,
    /// Say what would be done, and write nothing
    #[arg(short = 'n', long, help_heading = "Running")]
    pub dry_run: bool,
    /// One JSON object a line for each asset, and a last one with the sums
    #[arg(long, help_heading = "Running")]
    pub json: bool,
    /// No progress bars, and no lines but errors
    #[arg(short, long, help_heading = "Running")]
    pub quiet: bool,
}

/// Where the cameras stand.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Cameras")]
pub(crate) struct CameraArguments {
    /// turntable, orbit (a turn at each elevation), front, stored (those in the asset), or a JSON file [default: front for one picture, else turntable]
    #[arg(long, value_name = "WHICH")]
    pub cameras: Option<String>,
    /// Pictures of a turn; of stored cameras and camera files, so many of them, evenly spread [default: 24, films 75, orbit 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub frames: Option<u32>,
    /// Degrees above the horizon; for orbit several, separated by commas [default: 0 for front, 10 for turntable, -20,10,40 for orbit]
    #[arg(long, value_name = "DEG", allow_hyphen_values = true, value_delimiter = ',', value_parser = values::elevation)]
    pub elevation: Vec<f64>,
    /// Degrees to turn the first camera to the viewer's right [default: 0]
    #[arg(long, value_name = "DEG", allow_hyphen_values = true, value_parser = values::finite)]
    pub azimuth: Option<f64>,
    /// Vertical field of view in degrees [default: 30]
    #[arg(long, value_name = "DEG", value_parser = values::field_of_view)]
    pub fov: Option<f64>,
    /// Pixels: WxH, or N for a square; for stored cameras and camera files N is the longer side [default: 512, or as the cameras say]
    #[arg(long, value_name = "SIZE")]
    pub size: Option<Size>,
    /// Axes of the world of a camera file, where they are not those of the asset (such as RDF for an SPZ of a PLY)
    #[arg(long, value_name = "FRAME")]
    pub cameras_frame: Option<Frame>,
    /// Axes of the cameras of a transforms.json [default: opengl, for INSTA opencv]
    #[arg(long, value_name = "AXES", value_parser = values::camera_axes)]
    pub camera_axes: Option<CameraAxes>,
    /// Principal point of a transforms.json: file, center (as GaussianAvatars), or flipped (cy from the bottom, as VHAP since 2024-11) [default: file]
    #[arg(long, value_name = "WHICH", value_parser = values::principal_point)]
    pub principal_point: Option<PrincipalPoint>,
}

/// How pictures look and what is stored of them.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Pictures")]
pub(crate) struct PictureArguments {
    /// white, black, RRGGBB, or transparent
    #[arg(long, value_name = "COLOUR", default_value = "white")]
    pub background: Background,
    /// classic or antialiased [default: what the asset says]; flat splats (2DGS) have a model of their own
    #[arg(long, value_name = "MODEL", value_parser = values::render_model)]
    pub model: Option<RenderModel>,
    /// Store the coverage, too
    #[arg(long)]
    pub alpha: bool,
    /// Store the depth, too
    #[arg(long)]
    pub depth: bool,
    /// Pictures a second of films
    #[arg(long, value_name = "N", default_value = "25", value_parser = values::rate)]
    pub fps: f64,
}

/// A format of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileKind {
    Png,
    Webp,
    Exr,
    Npy,
    Gif,
    Mp4,
}

impl FileKind {
    /// Ending of its files.
    fn ending(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Exr => "exr",
            Self::Npy => "npy",
            Self::Gif => "gif",
            Self::Mp4 => "mp4",
        }
    }

    /// Does one file hold all pictures?
    fn is_film(self) -> bool {
        matches!(self, Self::Gif | Self::Mp4)
    }
}

/// Which contact sheets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sheet {
    /// One beside the pictures of each asset
    Each,
    /// One that shows all assets
    All,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let plan = plan::make(arguments)?;
    work::carry_out(arguments, plan)
}
