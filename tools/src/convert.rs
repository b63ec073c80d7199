//! `gav convert`: files, folders and patterns into any writable format, in parallel, resumable.
//!
//! The plan (inputs, outputs, what is in the way) is made before anything is written; then every item is read, edited and
//! written under a temporary name that is renamed when complete. What was made, from what and with which options is kept in
//! a small record ([`RECORD`]), so that a run which was interrupted at any moment can be continued.

mod edits;
mod plan;
mod rigs;
mod work;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Args, builder::PossibleValuesParser};
use gav_formats::{EncodeOptions, FORMATS, Frame, Profile, WriteOptions, gltf};

use crate::{batch::record::Kind, reading::ReadArguments};

/// What was converted into a folder.
const RECORD: Kind = Kind { file: ".gav-convert.json", field: "gav_convert", what: "conversions" };

const EXAMPLES: &str = "\
Examples:
  gav convert head.ply -o head.gav
  gav convert head.ply --to spz                      writes head.spz beside it
  gav convert captures -o small --to gav --profile small --jobs 4
  gav convert 'scans/**/*.ply' -o out --to sog       patterns in quotes are expanded here
  gav convert captures -o small --to gav --resume    continues an interrupted run
  gav convert body.ply -o bust.gav --crop-box=-1,0.9,-1,1,2,1 --prune
  gav convert y_up.ply -o fixed.ply --rotate x:180

  gav convert head.gav -o head.glb                   rig, morph targets and clips for glTF viewers
  gav convert head.gav -o head.glb --embed           the same, with head.gav inside
  gav convert head.glb -o head.gav --embedded        gets it back

Order of the edits: --static, --crop-box, --crop-sphere, --prune, --min-opacity, --scale, --rotate,
--translate, --sh. Lengths and axes are those of the input.

glTF viewers do not turn view-dependent colour with joints: avatars that move are written with SH
degree 0 there, unless --sh asks for another.

Exit codes:
  0  every item was written or was up to date
  1  some items failed; the others were written
  2  the command line asks for something impossible; nothing was written";

/// Convert files, folders and patterns into another format
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Files, folders (searched for splat files), quoted patterns, or folders that hold one asset (with a meta.json)
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// A file, whose ending says the format; or a folder, which keeps the structure of the inputs [default: beside each input]
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Format to write; `gav formats` lists them
    #[arg(short, long, value_name = "FORMAT")]
    pub to: Option<String>,
    #[command(flatten)]
    pub encode: EncodeArguments,
    #[command(flatten)]
    pub motion: FrameArguments,
    #[command(flatten)]
    pub edits: edits::EditArguments,
    #[command(flatten)]
    pub read: ReadArguments,
    /// Items worked on at the same time; each needs the memory of one avatar [default: one per processor]
    #[arg(short, long, value_name = "N", help_heading = "Running", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Continue: skip outputs that are complete, newer than their input and made with the same options; remake the others
    #[arg(long, help_heading = "Running")]
    pub resume: bool,
    /// Overwrite existing outputs
    #[arg(short, long, help_heading = "Running")]
    pub force: bool,
    /// Say what would be done, and write nothing
    #[arg(short = 'n', long, help_heading = "Running")]
    pub dry_run: bool,
    /// One JSON object a line for each item, and a last one with the sums
    #[arg(long, help_heading = "Running")]
    pub json: bool,
    /// No progress bars, and no lines but errors
    #[arg(short, long, help_heading = "Running")]
    pub quiet: bool,
}

/// Motion in formats that cannot hold a rig.
#[derive(Args, Debug, Clone, Default, PartialEq)]
#[command(next_help_heading = "Motion")]
pub(crate) struct FrameArguments {
    /// glTF: so many still sets of splats that an animation switches, for viewers that move no splats
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub frames: Option<u32>,
    /// glTF: the clip that --frames shows [default: the first]
    #[arg(long, value_name = "NAME", requires = "frames")]
    pub clip: Option<String>,
}

/// How `.gav` and other formats are encoded.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Encoding")]
pub(crate) struct EncodeArguments {
    /// Trade-off between size, quality and speed of .gav [default: standard]
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Profile::ALL.map(|(name, _)| name)))]
    pub profile: Option<String>,
    /// zstd level, 1 (fast) to 22 (small)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=22))]
    pub level: Option<i32>,
    /// Grid step of positions, in units of the file
    #[arg(long, value_name = "LENGTH", value_parser = edits::positive)]
    pub position_step: Option<f64>,
    /// Largest rms error of view-dependent colour (SH degree 1 and up)
    #[arg(long, value_name = "ERROR", value_parser = edits::positive)]
    pub sh_rms: Option<f64>,
    /// 1, or 2 for a coarse first layer that viewers can show early
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub layers: Option<u8>,
    /// Keep splats that are too transparent to be seen
    #[arg(long)]
    pub keep_invisible: bool,
    /// Keep the order of the splats
    #[arg(long)]
    pub keep_order: bool,
    /// Axes to write: where +x, +y, +z point, such as RDF, RUB or LUF [default: what the format prescribes]
    #[arg(long, value_name = "FRAME")]
    pub to_frame: Option<Frame>,
    /// SPZ: bits of SH degree 1, and of the degrees above
    #[arg(long, value_name = "B1,B2", value_parser = parse_sh_bits)]
    pub spz_sh_bits: Option<[u8; 2]>,
    /// SPZ: fractional bits of positions [default: by the size of the splats, at least 12]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=24))]
    pub spz_fractional_bits: Option<u8>,
    /// SPZ: version to write, 2 or 3 for viewers that do not know 4 [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=4))]
    pub spz_version: Option<u8>,
    /// glTF: only the splats as they rest, without rig and clips
    #[arg(long)]
    pub rest_only: bool,
    /// glTF: add the avatar's proxy mesh, skinned, as a second scene
    #[arg(long)]
    pub proxy: bool,
    /// glTF: add VRM 1.0: bones, expressions, licence
    #[arg(long)]
    pub vrm: bool,
    /// glTF: keep the whole .gav inside; --embedded reads it back
    #[arg(long)]
    pub embed: bool,
}

impl EncodeArguments {
    /// As the library takes them.
    pub(crate) fn options(&self) -> WriteOptions {
        let named = |name: &String| Profile::ALL.iter().find(|(n, _)| n == name).map(|(_, profile)| *profile);
        WriteOptions {
            frame: self.to_frame,
            gav: EncodeOptions {
                profile: self.profile.as_ref().and_then(named).unwrap_or_default(),
                level: self.level,
                position_step: self.position_step,
                sh_rms: self.sh_rms,
                layers: self.layers,
                keep_invisible: self.keep_invisible,
                keep_order: self.keep_order,
            },
            spz_sh_bits: self.spz_sh_bits,
            spz_fractional_bits: self.spz_fractional_bits,
            spz_version: self.spz_version,
            gltf: gltf::Options {
                keep_sh: false,
                rest_only: self.rest_only,
                proxy: self.proxy,
                vrm: self.vrm,
                embed: None,
            },
        }
    }
}

impl Arguments {
    /// How outputs are written. Asking for an SH degree keeps it in glTF too, where avatars that move have none by default.
    fn write_options(&self) -> WriteOptions {
        let mut options = self.encode.options();
        options.gltf.keep_sh = self.edits.sh.is_some();
        options
    }
}

fn parse_sh_bits(text: &str) -> Result<[u8; 2], String> {
    let [first, others] = edits::numbers::<2>(text)?;
    let bits = |v: f64| (v.fract() == 0.0 && (1.0..=8.0).contains(&v)).then_some(v as u8);
    match (bits(first), bits(others)) {
        (Some(first), Some(others)) => Ok([first, others]),
        _ => Err("bits are whole numbers from 1 to 8".to_owned()),
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if FORMATS.iter().all(|f| f.write.is_none()) {
        anyhow::bail!("this build can write no format");
    }
    let plan = plan::make(arguments)?;
    work::carry_out(arguments, plan)
}
