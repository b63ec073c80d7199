//! Clips inside of other assets: animations of glTF files, and clips of avatars.

use super::{Clip, ClipOptions, input::Input};
use crate::{Error, ReadOptions, Result, Source, gltf::container::Gltf, lam::names};

pub(super) fn sniff_gltf(input: &Input) -> bool {
    input.source.is_some() && (input.bytes().starts_with(b"glTF") || input.has_ending("gltf"))
}

/// Nodes become joints of their names; morph targets become drivers, those of ARKit `arkit.…`.
pub(super) fn read_gltf(input: &Input, options: &ClipOptions) -> Result<Vec<Clip>> {
    let Some(source) = &input.source else { return Ok(Vec::new()) };
    let gltf = Gltf::open(source, &options.limits)?;
    let joint = |node: &str| (!node.is_empty()).then(|| node.to_owned());
    some(gltf.read_clips(joint, names::driver)?)
}

pub(super) fn sniff_avatar(input: &Input) -> bool {
    let opened = || Source::open(&input.path).ok();
    input.source.clone().or_else(opened).is_some_and(|source| crate::sniff(&source).is_ok())
}

pub(super) fn read_avatar(input: &Input, options: &ClipOptions) -> Result<Vec<Clip>> {
    let source = match &input.source {
        Some(source) => source.clone(),
        None => Source::open(&input.path)?,
    };
    let read = ReadOptions { limits: options.limits.clone(), ..ReadOptions::default() };
    some(crate::read(&source, &read)?.clips)
}

fn some(clips: Vec<Clip>) -> Result<Vec<Clip>> {
    if clips.is_empty() { Err(Error::usage("there is no motion in this file")) } else { Ok(clips) }
}
