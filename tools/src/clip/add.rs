//! `gav clip add`: recordings become clips of an avatar.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use gav_formats::{
    Avatar, Clip, EncodeOptions, Profile, Source, WriteOptions, format_by_path, gav, save, sink::write_file_atomically,
};
use gav_models::puppet::Puppet;
use serde_json::json;

use super::{
    EXAMPLES,
    changes::{Changes, check_free, describe, facts},
};
use crate::{
    failure::{Failure, print_lines, refuse},
    reading::{ReadArguments, load},
};

/// Add recordings to an avatar; a clip of the same name is replaced, everything else in a .gav stays byte for byte
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Add {
    /// The avatar
    #[arg(value_name = "AVATAR")]
    avatar: PathBuf,
    /// Recordings: files, or folders of frames
    #[arg(required = true, value_name = "CLIP")]
    clips: Vec<PathBuf>,
    /// Where to write the avatar [default: where it is, for a .gav]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name of the clip [default: that of the file]; several are numbered
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Precision of the clips in a lossy .gav: high, standard, small
    #[arg(long, value_name = "PROFILE", default_value = "standard")]
    profile: Profile,
    /// Overwrite an existing output
    #[arg(short, long)]
    force: bool,
    /// One JSON object a line for each recording
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    read: ReadArguments,
}

pub(super) fn run(add: &Add) -> Result<ExitCode> {
    let output = add.output.as_ref().unwrap_or(&add.avatar);
    let format = format_by_path(output)
        .filter(|format| format.write.is_some())
        .ok_or_else(|| refuse(format!("{} is no avatar that can be written", output.display()), "give -o FILE.gav"))?;
    check_free(output, add.force, std::slice::from_ref(&add.avatar))?;
    let options = add.read.options();
    let loaded = load(&add.avatar, &options)?;
    let (mut avatar, is_gav) = (loaded.avatar, loaded.format.id == "gav" && format.id == "gav");
    if add.output.is_none() && !is_gav {
        return Err(refuse(format!("{} is no .gav", add.avatar.display()), "give -o FILE.gav"));
    }
    let prepared = add.changes.prepare(Some(&avatar))?;
    // a template that is not there must not keep anybody from adding clips
    let puppet = Puppet::open(&avatar).ok();
    let mut out = io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    let mut added: Vec<Clip> = Vec::new();
    for path in &add.clips {
        match prepared.read(path, &options.limits) {
            Ok(clips) => {
                for mut clip in clips {
                    rename(&mut clip, add.name.as_deref(), &added);
                    if let Some(puppet) = &puppet {
                        puppet.complete(&mut clip).map_err(|e| Failure::of(Some(path), &e))?;
                    }
                    let known = unknown_targets(&avatar, puppet.as_ref(), &clip);
                    if add.json {
                        writeln!(out, "{}", json!({"file": path, "clip": facts(&clip), "unknown_targets": known}))?;
                    } else {
                        writeln!(out, "{}: {}", path.display(), describe(&clip))?;
                        if let Some(first) = known.first() {
                            let count = known.len();
                            writeln!(
                                out,
                                "  note: nothing in the avatar is named after {count} of its targets, such as {first}"
                            )?;
                        }
                    }
                    added.push(clip);
                }
            }
            Err(failure) => {
                code = ExitCode::FAILURE;
                if add.json {
                    writeln!(out, "{}", json!({"file": path, "error": failure}))?;
                } else {
                    print_lines(&failure.message, failure.hint.as_deref());
                }
            }
        }
    }
    if added.is_empty() {
        return Ok(code);
    }
    let encode = EncodeOptions { profile: add.profile, ..EncodeOptions::default() };
    if is_gav {
        let source = Source::open(&add.avatar).map_err(|e| Failure::at(&add.avatar, &e))?;
        write_file_atomically(output, |sink| gav::add_clips(&source, &added, sink, &options, &encode))
            .map_err(|e| Failure::at(output, &e))?;
    } else {
        drop(puppet);
        avatar.clips.retain(|clip| !added.iter().any(|new| new.name == clip.name));
        avatar.clips.extend(added);
        let write = WriteOptions { gav: encode, ..WriteOptions::default() };
        save(&avatar, output, format, &write).map_err(|e| Failure::at(output, &e))?;
    }
    if !add.json {
        writeln!(out, "{}: written", output.display())?;
    }
    Ok(code)
}

/// Gives the name that was asked for, and a number when it is taken by another new clip.
fn rename(clip: &mut Clip, name: Option<&str>, taken: &[Clip]) {
    let wanted = name.map_or_else(|| clip.name.clone(), str::to_owned);
    let free = |name: &String| !taken.iter().any(|other| other.name == *name);
    let numbered = (2..).map(|number| format!("{wanted} {number}"));
    clip.name = [wanted.clone()].into_iter().chain(numbered).find(free).unwrap_or(wanted);
}

/// Targets of a clip that neither rig nor template of the avatar knows. Without the template, what the avatar says of it has to do.
fn unknown_targets(avatar: &Avatar, puppet: Option<&Puppet<'_>>, clip: &Clip) -> Vec<String> {
    if let Some(puppet) = puppet {
        return puppet.unknown_targets(&clip.pose_at(0.0));
    }
    let joint = |name: &str| match &avatar.rig.base {
        gav_formats::RigBase::Skinned { skeleton, .. } => skeleton.joints.iter().any(|joint| joint.name == name),
        _ => false,
    };
    let known = |target: &str| {
        let group = target.split_once('.').map_or(target, |(_, group)| group);
        let part = format!("{target}.");
        let template = avatar.template.as_ref();
        template.is_some_and(|t| t.parameters.iter().any(|(name, _)| name == group || name == target))
            || avatar.drivers.iter().any(|driver| driver.name == target || driver.name.starts_with(&part))
            || target.strip_prefix("joint/").and_then(|t| t.rsplit_once('/')).is_some_and(|(name, _)| joint(name))
    };
    clip.tracks.iter().map(|track| &track.target).filter(|target| !known(target)).cloned().collect()
}
