//! `aNIm`, one clip (`spec/gav.md` 6.13): its keys bit for bit, or in steps that fit what a track moves.

use serde_json::{Value, json};

use super::{
    chunk::{blocked, check_name, expect_elements, from_json, parse_json, read_bytes, write_bytes},
    container::{Chunk, Container, Entry, bad},
    floats::{read_floats, write_floats},
    ints::{read_ints, write_ints},
};
use crate::{Avatar, Clip, Interpolation, Limits, Result, RigBase, Track};

/// Codes of a component span at most this many values, so that they and their differences are exact integers.
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

/// Where the codes of a component start, and their step.
fn grid(track: &Track, values: &[f32], coarseness: f64) -> (f64, f64) {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (low, span) = (f64::from(low), f64::from(high) - f64::from(low));
    if values.is_empty() || span <= 0.0 {
        // a constant is exact
        return (if values.is_empty() { 0.0 } else { low }, 1.0);
    }
    let step = (natural_step(track, span) * coarseness).max(span / MOST_LEVELS);
    // a multiple of the step, so that rest, 0, stays rest
    ((low / step).floor() * step, step)
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

/// The chunk of a clip: lossless without a coarseness, else with steps that are this many times the natural ones.
pub(crate) fn clip_chunk(clip: &Clip, coarseness: Option<f64>, level: i32) -> Chunk {
    let tracks: Vec<Value> = clip
        .tracks
        .iter()
        .map(|t| {
            json!({ "target": t.target, "width": t.width, "keys": t.ticks.len(), "interpolation": interpolation_name(t.interpolation) })
        })
        .collect();
    let header = json!({ "name": clip.name, "ticks_per_second": clip.ticks_per_second, "tracks": tracks }).to_string();
    blocked(b"aNIm", u16::from(coarseness.is_some()), Vec::new(), 1, 1, level, |writer, _| {
        write_bytes(writer, header.as_bytes());
        for track in &clip.tracks {
            write_ints(writer, &track.ticks.iter().map(|&t| t as i32).collect::<Vec<_>>());
            let width = track.width as usize;
            let column = |c: usize| track.values.iter().skip(c).step_by(width).copied().collect::<Vec<f32>>();
            let Some(coarseness) = coarseness else {
                write_floats(writer, &(0..width).map(column).collect::<Vec<_>>());
                continue;
            };
            for c in 0..width {
                let values = column(c);
                let (low, step) = grid(track, &values, coarseness);
                writer.raw(&low.to_le_bytes());
                writer.raw(&step.to_le_bytes());
                let code = |v: &f32| ((f64::from(*v) - low) / step).round_ties_even() as i32;
                write_ints(writer, &values.iter().map(code).collect::<Vec<_>>());
            }
        }
    })
}

fn interpolation_name(interpolation: Interpolation) -> &'static str {
    match interpolation {
        Interpolation::Step => "step",
        Interpolation::Linear => "linear",
        Interpolation::Slerp => "slerp",
    }
}

pub(crate) fn read_clip(container: &Container<'_>, entry: &Entry, limits: &Limits) -> Result<Clip> {
    #[derive(serde::Deserialize)]
    struct Header {
        name: String,
        ticks_per_second: u32,
        tracks: Vec<TrackHeader>,
    }
    #[derive(serde::Deserialize)]
    struct TrackHeader {
        target: String,
        width: u32,
        keys: u32,
        interpolation: String,
    }
    expect_elements(entry, 1)?;
    if entry.codec > 1 {
        return Err(bad("CODEC", entry.offset, format!("aNIm: codec {}", entry.codec)));
    }
    let clips = container.decode(entry, |reader, _| {
        let header = read_bytes(reader, limits.header_bytes)?;
        let header: Header = from_json(parse_json(&header, limits, entry)?, entry)?;
        check_name(&header.name, entry)?;
        let mut clip = Clip { name: header.name, ticks_per_second: header.ticks_per_second, tracks: Vec::new() };
        for track in header.tracks {
            check_name(&track.target, entry)?;
            let interpolation = match track.interpolation.as_str() {
                "step" => Interpolation::Step,
                "linear" => Interpolation::Linear,
                "slerp" => Interpolation::Slerp,
                other => return Err(bad("CLIP", entry.offset, format!("aNIm: interpolation `{other}`"))),
            };
            limits.check_bytes(u64::from(track.keys) * (u64::from(track.width) + 1) * 8)?;
            let (keys, width) = (track.keys as usize, track.width as usize);
            let ticks = read_ints(reader, keys)?.into_iter().map(|t| t as u32).collect();
            let mut values = vec![0.0; keys * width];
            if entry.codec == 0 {
                for (c, column) in read_floats(reader, width, keys)?.into_iter().enumerate() {
                    column.into_iter().enumerate().for_each(|(k, v)| values[k * width + c] = v);
                }
            } else {
                for c in 0..width {
                    let range = reader.raw(16)?;
                    let number = |at: usize| f64::from_le_bytes(range[at..at + 8].try_into().expect("eight bytes"));
                    let (low, step) = (number(0), number(8));
                    let column = read_ints(reader, keys)?;
                    column
                        .into_iter()
                        .enumerate()
                        .for_each(|(k, q)| values[k * width + c] = (low + f64::from(q) * step) as f32);
                }
            }
            clip.tracks.push(Track { target: track.target, width: track.width, interpolation, ticks, values });
        }
        Ok(clip)
    })?;
    Ok(clips.into_iter().next().unwrap_or_default())
}
