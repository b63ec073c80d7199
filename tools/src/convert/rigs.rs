//! What converting does to rigs: rest poses that only the template knows, baking for formats without triangles, frames, joints that move
//! nothing.

use std::path::Path;

use gav_formats::{
    Avatar, Profile, RestPose, RigBase, WriteOptions,
    gltf::{Still, write_frames},
    sink::write_file_atomically,
};
use gav_models::{
    Error,
    puppet::{BakeOptions, Puppet},
};

use super::Arguments;
use crate::failure::Failure;

/// Brings the rig into a form that the format can hold; gives what the user should know about it.
///
/// # Errors
/// A rig that needs a template which is not there, when the format cannot do without.
pub(super) fn prepare(
    avatar: &mut Avatar,
    input: &Path,
    format: &str,
    arguments: &Arguments,
) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    let failed = |e: Error| Failure::of(Some(input), &e);
    let bound = matches!(avatar.rig.base, RigBase::Triangle(_));
    if bound && avatar.rest.is_none() {
        match Puppet::open(avatar) {
            Ok(puppet) => avatar.rest = Some(rest_of(&puppet)),
            // .gav and the dialects of PLY hold local splats; others say themselves what they lack
            Err(e @ Error::MissingTemplate { .. }) if format == "gav" => {
                notes.push(format!("{e}: without it, the file has no rest pose to show"));
            }
            Err(Error::MissingTemplate { .. }) => {}
            Err(e) => return Err(failed(e)),
        }
    }
    let moves = bound || avatar.rig.blendshapes.is_some();
    if format == "gltf" && moves && !arguments.encode.rest_only && arguments.motion.frames.is_none() {
        let puppet = Puppet::open(avatar).map_err(failed)?;
        let baked = puppet.bake(&BakeOptions::default()).map_err(failed)?;
        if let (Some(mean), Some(max)) = (baked.mean_error, baked.max_error) {
            let millimetres = 1000.0 * avatar.metres_per_unit;
            notes.push(format!(
                "baked to morphs over a skeleton: centres are off by {:.3} mm on average over the clips, {:.2} mm at most",
                mean * millimetres,
                max * millimetres
            ));
        }
        if !baked.left_out.is_empty() {
            notes.push(format!("{} drivers that move the splats least were left out", baked.left_out.len()));
        }
        notes.extend(baked.notice);
        *avatar = baked.avatar;
    } else if format == "gltf" && matches!(avatar.rig.base, RigBase::Skinned { .. }) {
        // glTF has no groups of body models: its clips turn joints
        let clips = Puppet::open(avatar).and_then(|puppet| puppet.spelled_out_clips());
        avatar.clips = clips.map_err(failed)?;
    }
    let lossy = arguments.write_options().gav.profile != Profile::Lossless;
    if format == "gav" && lossy && !arguments.edits.keep_joints {
        let removed = avatar.prune_joints();
        if removed > 0 {
            notes.push(format!("{removed} joints that move no splat were left out (--keep-joints keeps them)"));
        }
    }
    Ok(notes)
}

fn rest_of(puppet: &Puppet<'_>) -> RestPose {
    let rest = puppet.rest();
    RestPose { means: rest.means.clone(), rotations: rest.rotations.clone(), log_scales: rest.log_scales.clone() }
}

/// Writes a glTF that switches between posed sets of splats, for viewers that animate nothing else.
///
/// # Errors
/// An unknown clip; and those of [`write_frames`].
pub(super) fn save_frames(
    avatar: &Avatar,
    input: &Path,
    output: &Path,
    count: u32,
    arguments: &Arguments,
    options: &WriteOptions,
) -> Result<(), Failure> {
    let failed = |e: Error| Failure::of(Some(input), &e);
    let puppet = Puppet::open(avatar).map_err(failed)?;
    let clip = match (&arguments.motion.clip, avatar.clips.first()) {
        (Some(name), _) => Some(puppet.clip(name).map_err(failed)?),
        (None, first) => first,
    };
    let seconds = clip.map(gav_formats::Clip::seconds).or(puppet.recorded_seconds()).unwrap_or(0.0);
    if seconds <= 0.0 {
        let message = format!("{}: there is no motion to take {count} frames of", input.display());
        return Err(Failure { code: "NOT_POSSIBLE", message, hint: Some("add a clip with `gav clip add`".to_owned()) });
    }
    let still = |k: u32| {
        let [start, end] = [k, k + 1].map(|k| seconds * f64::from(k) / f64::from(count));
        let splats = puppet.pose(&puppet.pose_of(clip, start))?;
        Ok(Still { splats, shown: start..end })
    };
    let stills: Vec<Still> = (0..count).map(still).collect::<Result<_, Error>>().map_err(failed)?;
    let name = clip.map_or("frames", |c| c.name.as_str());
    write_file_atomically(output, |sink| write_frames(avatar, name, &stills, sink, options))
        .map_err(|e| Failure::at(output, &e))
}
