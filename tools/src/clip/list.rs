//! `gav clip list`: what moves in an avatar or a recording.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use gav_formats::{Clip, Source, clips};
use serde_json::json;

use super::{
    EXAMPLES,
    changes::{describe, facts},
};
use crate::{
    failure::{Failure, print_lines},
    reading::{ReadArguments, load},
};

/// Show the clips of avatars and recordings
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct List {
    /// Avatars, recordings, folders of frames
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object a line for each file
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArguments,
}

pub(super) fn run(list: &List) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    for path in &list.files {
        match clips_of(path, &list.read) {
            Ok(clips) if list.json => {
                let clips: Vec<_> = clips.iter().map(facts).collect();
                writeln!(out, "{}", json!({"file": path, "clips": clips}))?;
            }
            Ok(clips) => {
                if clips.is_empty() {
                    writeln!(out, "{}: no clips", path.display())?;
                }
                for clip in &clips {
                    writeln!(out, "{}: {}", path.display(), describe(clip))?;
                }
            }
            Err(failure) => {
                code = ExitCode::FAILURE;
                if list.json {
                    writeln!(out, "{}", json!({"file": path, "error": failure}))?;
                } else {
                    print_lines(&failure.message, failure.hint.as_deref());
                }
            }
        }
    }
    Ok(code)
}

/// An avatar may have none, a recording has some.
fn clips_of(path: &Path, read: &ReadArguments) -> Result<Vec<Clip>, Failure> {
    let avatar = Source::open(path).is_ok_and(|source| gav_formats::sniff(&source).is_ok_and(|f| f.id == "gav"));
    if avatar {
        return Ok(load(path, &read.options())?.avatar.clips);
    }
    let options = clips::ClipOptions { limits: read.options().limits, ..clips::ClipOptions::default() };
    clips::read(path, &options).map_err(|e| Failure::at(path, &e))
}
