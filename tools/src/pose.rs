//! `gav pose`: the splats of a moment, in world space, as a file of their own.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use gav_formats::{Avatar, FORMATS, Format, RigBase, Splats, WriteOptions, format_by_name, format_by_path, save};
use gav_models::puppet::{BakeOptions, Puppet};
use serde_json::json;

use crate::{
    batch::bars::Bars,
    failure::{Failure, refuse},
    motion::{MotionArguments, puppet},
    reading::{ReadArguments, load},
    text::plural,
};

const EXAMPLES: &str = "\
Examples:
  gav pose head.gav --clip talk --time 1.5 -o head.ply         one moment, for any splat viewer
  gav pose point_cloud.ply -o rest.spz                         GaussianAvatars' local splats in world space
  gav pose head.gav --set arkit.jawOpen=0.8 -o open.ply
  gav pose head.gav --clip talk --to ply -o frames --fps 30    every frame of a clip, frames/000.ply …
  gav pose head.ply --bake -o head.gav                         morphs over a skeleton, which need no template

Splats of a triangle-bound avatar are local to its template, which is found among those of `gav template add`.

Exit codes:
  0  everything was written
  1  the file could not be read or posed, or an output could not be written
  2  the command line asks for something impossible; nothing was written";

/// Write an avatar as it stands at a moment, or with its rig baked
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The avatar
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// A file, whose ending says the format; for a whole clip a folder
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    #[command(flatten)]
    motion: MotionArguments,
    /// Format of the files in a folder, as `gav formats` names them
    #[arg(long, value_name = "FORMAT", default_value = "ply")]
    to: String,
    /// Poses a second of a clip
    #[arg(long, value_name = "N", default_value = "25", value_parser = crate::render::values::rate)]
    fps: f64,
    /// Keep it movable: write morphs over a skeleton instead of a moment; clips come along
    #[arg(long, conflicts_with_all = ["clip", "time", "set"])]
    bake: bool,
    /// Morph targets at most, with --bake
    #[arg(long, value_name = "N", default_value_t = BakeOptions::default().targets, requires = "bake")]
    targets: usize,
    /// Overwrite existing files
    #[arg(short, long)]
    force: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArguments,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let folder = arguments.motion.plays();
    let format = if folder { named(&arguments.to)? } else { of_path(&arguments.output)? };
    if format.write.is_none() {
        return Err(refuse(
            format!("{} can be read, not written", format.name),
            "`gav formats` lists what can be written",
        ));
    }
    let avatar = load(&arguments.input, &arguments.read.options())?.avatar;
    let puppet = puppet(&arguments.input, &avatar)?;
    if arguments.bake {
        return bake(arguments, &puppet, format);
    }
    let moments = moments(arguments, &puppet, format)?;
    check_free(arguments, moments.iter().map(|(path, _)| path.as_path()))?;
    let bars = Bars::new(moments.len(), 1, arguments.json || moments.len() < 2);
    for (path, seconds) in &moments {
        bars.line(0).show(&path.display());
        let pose = arguments.motion.pose(&puppet, *seconds)?;
        let splats = puppet.pose(&pose).map_err(|e| Failure::of(Some(&arguments.input), &e))?;
        save(&moment(&avatar, splats), path, format, &WriteOptions::default()).map_err(|e| Failure::at(path, &e))?;
        bars.suspend(|| ());
    }
    bars.clear();
    let mut out = io::stdout().lock();
    let files: Vec<&PathBuf> = moments.iter().map(|(path, _)| path).collect();
    if arguments.json {
        writeln!(out, "{}", json!({"input": arguments.input, "files": files, "splats": avatar.splats.len()}))?;
    } else {
        let what = plural(avatar.splats.len(), "splat");
        match files.as_slice() {
            [one] => writeln!(out, "{}: {what}", one.display())?,
            _ => writeln!(out, "{}: {}, {what} each", arguments.output.display(), plural(files.len(), "pose"))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Files to write and their instants.
fn moments(arguments: &Arguments, puppet: &Puppet<'_>, format: &Format) -> Result<Vec<(PathBuf, f64)>> {
    if !arguments.motion.plays() {
        return Ok(vec![(arguments.output.clone(), 0.0)]);
    }
    let seconds = arguments.motion.duration(puppet)?;
    let count = (seconds * arguments.fps).floor() as usize + 1;
    let digits = (count - 1).to_string().len().max(3);
    let path = |k: usize| arguments.output.join(format!("{k:0digits$}.{}", format.extensions[0]));
    Ok((0..count).map(|k| (path(k), k as f64 / arguments.fps)).collect())
}

/// A static avatar of splats in world space, with what else is known of the original.
fn moment(avatar: &Avatar, splats: Splats) -> Avatar {
    Avatar {
        metres_per_unit: avatar.metres_per_unit,
        color_space: avatar.color_space,
        render_model: avatar.render_model,
        cameras: avatar.cameras.clone(),
        attributes: avatar.attributes.clone(),
        meta: avatar.meta.clone(),
        ..Avatar::new(splats, avatar.frame)
    }
}

fn bake(arguments: &Arguments, puppet: &Puppet<'_>, format: &Format) -> Result<ExitCode> {
    check_free(arguments, [arguments.output.as_path()])?;
    let options = BakeOptions { targets: arguments.targets, ..BakeOptions::default() };
    let baked = puppet.bake(&options).map_err(|e| Failure::of(Some(&arguments.input), &e))?;
    let path = &arguments.output;
    save(&baked.avatar, path, format, &WriteOptions::default()).map_err(|e| Failure::at(path, &e))?;
    let RigBase::Skinned { skeleton, morphs, .. } = &baked.avatar.rig.base else { unreachable!("bake() makes a skin") };
    let targets = morphs.as_ref().map_or(0, |m| m.targets.len());
    let mut out = io::stdout().lock();
    if arguments.json {
        let line = json!({"input": arguments.input, "files": [path], "splats": baked.avatar.splats.len(),
            "joints": skeleton.joints.len(), "targets": targets, "left_out": baked.left_out,
            "mean_error": baked.mean_error, "max_error": baked.max_error, "notice": baked.notice});
        writeln!(out, "{line}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let (joints, targets) = (plural(skeleton.joints.len(), "joint"), plural(targets, "morph target"));
    writeln!(out, "{}: {joints}, {targets}", path.display())?;
    if let (Some(mean), Some(max)) = (baked.mean_error, baked.max_error) {
        let unit = 1000.0 * baked.avatar.metres_per_unit;
        writeln!(
            out,
            "over the clips, centres are off by {:.3} mm on average, {:.2} mm at most",
            mean * unit,
            max * unit
        )?;
    }
    if !baked.left_out.is_empty() {
        writeln!(out, "left out, because they move the splats least: {}", plural(baked.left_out.len(), "driver"))?;
    }
    if let Some(notice) = &baked.notice {
        writeln!(out, "note: {notice}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check_free<'a>(arguments: &Arguments, paths: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    match paths.into_iter().find(|p| p.symlink_metadata().is_ok()) {
        Some(path) if !arguments.force => Err(refuse(format!("{} exists", path.display()), "--force overwrites it")),
        _ => Ok(()),
    }
}

fn named(name: &str) -> Result<&'static Format> {
    format_by_name(name).ok_or_else(|| {
        let names: Vec<&str> = FORMATS.iter().filter(|f| f.write.is_some()).map(|f| f.id).collect();
        refuse(format!("`{name}` is no format"), format!("known are {}", names.join(", ")))
    })
}

fn of_path(path: &Path) -> Result<&'static Format> {
    format_by_path(path).ok_or_else(|| {
        refuse(format!("the ending of {} names no format", path.display()), "`gav formats` lists the endings")
    })
}
