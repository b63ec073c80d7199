//! What motion needs: steps that fit what a track moves, and no tracks that rest.

use crate::{Avatar, Clip, Interpolation, RigBase, Track};

/// Codes are at most this large, so that they and their differences are exact integers.
const MOST_LEVELS: f64 = 16_777_216.0;

/// Step of a track's values, for a coarseness of 1, and what it is in.
///
/// Errors are at most half of it: for rotations 0.05 degrees (fingers 0.2), for places 0.05 mm, for blendshapes 1/256 of their range.
fn natural_step(track: &Track, span: f64) -> f64 {
    let target = track.target.as_str();
    let name = target.rsplit_once('/').map_or_else(|| target.split_once('.').map_or(target, |(_, n)| n), |(_, n)| n);
    let joint = target.starts_with("joint/");
    let group = name.split('.').next().unwrap_or_default();
    let angle = ["Yaw", "Pitch", "Roll"].iter().any(|ending| group.ends_with(ending));
    if track.interpolation == Interpolation::Slerp || group.ends_with("_6d") {
        1.0 / 1024.0
    } else if group.ends_with("hand_pose") {
        // a finger of 10 cm is off by 0.3 mm
        std::f64::consts::TAU / 1024.0
    } else if group.ends_with("_pose") || angle || matches!(group, "rotation" | "global_orient") {
        // radians; 12 bits for the full circle
        std::f64::consts::TAU / 4096.0
    } else if !joint && matches!(group, "translation" | "transl") {
        // metres
        1e-4
    } else if group == "expression" {
        // standard deviations, 10 bits from -3 to 3
        6.0 / 1024.0
    } else if ["arkit.", "vrm."].iter().any(|space| target.starts_with(space)) || group == "eyelids" {
        1.0 / 128.0
    } else {
        // 12 bits of its range, for what is not known
        span / 4095.0
    }
}

/// Step of a track's codes, for a coarseness; 0 when all its keys are equal, and exact.
pub(crate) fn step(track: &Track, coarseness: f64) -> f64 {
    let width = track.width as usize;
    let Some(first) = track.values.get(..width).filter(|_| width > 0) else { return 0.0 };
    if track.values.chunks_exact(width).all(|row| row == first) {
        return 0.0;
    }
    let span_of = |c: usize| {
        let values = || track.values.iter().skip(c).step_by(width).copied();
        f64::from(values().fold(f32::NEG_INFINITY, f32::max)) - f64::from(values().fold(f32::INFINITY, f32::min))
    };
    let span = (0..width).map(span_of).fold(0.0, f64::max);
    let largest = track.values.iter().fold(0.0, |m: f64, v| m.max(f64::from(v.abs())));
    (natural_step(track, span) * coarseness).max(largest / MOST_LEVELS)
}

/// The clip without what it can do without at these steps: tracks that rest at the avatar's rest all the time go, tracks that stay at
/// another value keep one key. It lasts as long as before.
pub(crate) fn simplified(clip: &Clip, avatar: &Avatar, coarseness: f64) -> Clip {
    let last = |clip: &Clip| clip.tracks.iter().filter_map(|t| t.ticks.last()).max().copied();
    let mut out = Clip { name: clip.name.clone(), ticks_per_second: clip.ticks_per_second, tracks: Vec::new() };
    for track in clip.tracks.iter().filter(|track| track.width > 0) {
        let width = track.width as usize;
        let first = &track.values[..width.min(track.values.len())];
        let near = |a: &[f32], b: &[f32]| {
            let half = 0.5 * coarseness * natural_step(track, 0.0);
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| f64::from((a - b).abs()) <= half)
        };
        let constant = track.values.chunks_exact(width).all(|row| near(row, first));
        match rest_of(avatar, &track.target) {
            _ if !constant || track.ticks.is_empty() => out.tracks.push(track.clone()),
            Some(rest) if near(first, &rest) => {}
            _ => out.tracks.push(Track { ticks: vec![track.ticks[0]], values: first.to_vec(), ..track.clone() }),
        }
    }
    if last(&out) != last(clip)
        && let Some(longest) = clip.tracks.iter().filter(|t| t.width > 0).max_by_key(|t| t.ticks.last())
        && let (Some(first), Some(end)) = (longest.ticks.first(), longest.ticks.last())
    {
        let width = longest.width as usize;
        let values = [&longest.values[..width], &longest.values[longest.values.len() - width..]].concat();
        let ends =
            if first == end { longest.clone() } else { Track { ticks: vec![*first, *end], values, ..longest.clone() } };
        out.tracks.retain(|track| track.target != longest.target);
        out.tracks.push(ends);
    }
    out
}

/// What a target rests at: the default of a driver, the bind pose of a joint.
fn rest_of(avatar: &Avatar, target: &str) -> Option<Vec<f32>> {
    if let Some(driver) = avatar.drivers.iter().find(|driver| driver.name == target) {
        return Some(vec![driver.default]);
    }
    let (name, property) = target.strip_prefix("joint/")?.rsplit_once('/')?;
    let RigBase::Skinned { skeleton, .. } = &avatar.rig.base else { return None };
    let joint = skeleton.joints.iter().find(|joint| joint.name == name)?;
    match property {
        "translation" => Some(joint.translation.to_vec()),
        "rotation" => Some(joint.rotation.to_vec()),
        "scale" => Some(joint.scale.to_vec()),
        _ => None,
    }
}
