//! `gav clip export` and `gav clip retarget`: clips as files for other programs.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use gav_formats::{Clip, Limits, clips, sink::write_file_atomically};
use serde_json::json;

use super::{
    EXAMPLES,
    changes::{Changes, check_free, describe, facts},
};
use crate::{
    failure::{Failure, refuse},
    reading::{ReadArguments, load},
};

/// Write a clip of an avatar as .npz, .csv or .json
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Export {
    /// The avatar
    #[arg(value_name = "AVATAR")]
    avatar: PathBuf,
    /// The clip's name
    #[arg(value_name = "NAME")]
    name: String,
    /// File to write; its ending (.npz, .csv, .json) says how
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Resample to this many frames a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=90_000))]
    fps: Option<u32>,
    /// Overwrite an existing output
    #[arg(short, long)]
    force: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArguments,
}

/// Change a recording without an avatar: rate, span, map, parts, form of rotations
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Retarget {
    /// The recording, with one clip
    #[arg(value_name = "CLIP")]
    clip: PathBuf,
    /// File to write; its ending (.npz, .csv, .json) says how
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Overwrite an existing output
    #[arg(short, long)]
    force: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Clone, Copy)]
enum Kind {
    Npz,
    Csv,
    Json,
}

pub(super) fn run(export: &Export) -> Result<ExitCode> {
    let kind = kind_of(&export.output)?;
    check_free(&export.output, export.force, &[])?;
    let avatar = load(&export.avatar, &export.read.options())?.avatar;
    let clip = avatar.clips.iter().find(|clip| clip.name == export.name).ok_or_else(|| {
        let names: Vec<&str> = avatar.clips.iter().map(|clip| clip.name.as_str()).collect();
        let known = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        refuse(format!("{}: no clip is called `{}`", export.avatar.display(), export.name), known)
    })?;
    let clip = match export.fps {
        Some(fps) => clip.resampled(fps).map_err(|e| Failure::at(&export.avatar, &e))?,
        None => clip.clone(),
    };
    write(&clip, &export.output, kind, export.json)
}

pub(super) fn retarget(retarget: &Retarget) -> Result<ExitCode> {
    let kind = kind_of(&retarget.output)?;
    check_free(&retarget.output, retarget.force, &[])?;
    let prepared = retarget.changes.prepare(None)?;
    let clips = prepared.read(&retarget.clip, &Limits::default())?;
    let [clip] = &clips[..] else {
        let names: Vec<&str> = clips.iter().map(|clip| clip.name.as_str()).collect();
        let message =
            format!("{}: {} clips ({}), one is expected", retarget.clip.display(), clips.len(), names.join(", "));
        return Err(refuse(message, "`gav clip export` writes one of them"));
    };
    write(clip, &retarget.output, kind, retarget.json)
}

fn kind_of(path: &Path) -> Result<Kind> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match ending.as_str() {
        "npz" => Ok(Kind::Npz),
        "csv" => Ok(Kind::Csv),
        "json" => Ok(Kind::Json),
        _ => Err(refuse(format!("{}: the ending says no format of clips", path.display()), "use .npz, .csv or .json")),
    }
}

fn write(clip: &Clip, path: &Path, kind: Kind, json: bool) -> Result<ExitCode> {
    let bytes = match kind {
        Kind::Npz => clips::to_npz(clip),
        Kind::Csv => clips::to_csv(clip).map(String::into_bytes),
        Kind::Json => clips::to_json(clip).map(String::into_bytes),
    };
    let bytes = bytes.map_err(|error| {
        let mut failure = Failure::at(path, &error);
        failure.hint = Some("--fps puts a key on every frame".to_owned());
        failure
    })?;
    write_file_atomically(path, |sink| Ok(sink.write_all(&bytes)?)).map_err(|e| Failure::at(path, &e))?;
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", json!({"file": path, "bytes": bytes.len(), "clip": facts(clip)}))?;
    } else {
        writeln!(out, "{}: {}", path.display(), describe(clip))?;
    }
    Ok(ExitCode::SUCCESS)
}
