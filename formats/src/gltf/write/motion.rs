//! Clips as animations: one channel for each moved property of a joint, one for all morph targets together. Tracks that hold
//! a joint in its bind pose are left out, and those that hold it elsewhere keep two keys: exporters write every bone.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::{builder::Builder, rig::JointNodes};
use crate::{
    Avatar, Clip, Error, Interpolation, Joint, Pose, Result, RigBase, Track, conventions::normalize_quaternion,
};

/// Where a jump of one driver meets smooth motion of others, the value before it is held until this much before it, in
/// ticks.
const BEFORE_JUMP: f64 = 1.0 / 64.0;

/// Adds an animation for each clip; the morph targets are those of node `splats`.
///
/// # Errors
/// [`Error::Usage`] when a track of a joint has not the components of its property.
pub fn add_clips(
    glb: &mut Builder,
    avatar: &Avatar,
    joints: &JointNodes,
    splats: usize,
    notes: &mut Vec<String>,
) -> Result<()> {
    let RigBase::Skinned { skeleton, morphs, .. } = &avatar.rig.base else { return Ok(()) };
    let places: HashMap<&str, usize> =
        skeleton.joints.iter().enumerate().map(|(k, joint)| (joint.name.as_str(), k)).collect();
    let drivers: Vec<(&str, f32)> = morphs
        .iter()
        .flat_map(|m| &m.targets)
        .map(|t| {
            let driver = avatar.drivers.iter().find(|d| d.name == t.driver);
            (t.driver.as_str(), driver.map_or(0.0, |d| d.default))
        })
        .collect();
    for clip in &avatar.clips {
        let mut animation = Animation::default();
        let mut lost: Vec<&str> = Vec::new();
        let mut moved: Vec<&Track> = Vec::new();
        // of two tracks with one target the last holds
        let mut last: HashMap<&str, usize> = HashMap::new();
        last.extend(clip.tracks.iter().enumerate().map(|(k, track)| (track.target.as_str(), k)));
        for (index, track) in clip.tracks.iter().enumerate().filter(|(_, t)| !t.ticks.is_empty()) {
            if last[track.target.as_str()] != index {
                continue;
            }
            let joint = track.target.strip_prefix("joint/").and_then(|t| t.rsplit_once('/'));
            match joint.and_then(|(name, property)| Some((*places.get(name)?, property))) {
                Some((joint, property @ ("translation" | "rotation" | "scale"))) => {
                    if !rests(track, &skeleton.joints[joint], property) {
                        animation.move_joint(glb, clip, track, joints.nodes[joint], property)?;
                    }
                }
                _ if moves_a_driver(track, &drivers) => moved.push(track),
                _ => lost.push(&track.target),
            }
        }
        if !moved.is_empty() {
            animation.move_drivers(glb, clip, &moved, &drivers, splats);
        }
        let name = &clip.name;
        if !lost.is_empty() {
            let list = lost.iter().take(5).copied().collect::<Vec<_>>().join("`, `");
            let more = if lost.len() > 5 { format!(" and {} others", lost.len() - 5) } else { String::new() };
            notes.push(format!("clip `{name}`: no joint and no morph target for the tracks `{list}`{more}"));
        }
        let ends: Vec<u32> =
            clip.tracks.iter().filter(|t| !is_still(t)).filter_map(|t| t.ticks.last().copied()).collect();
        if let (Some(first), Some(last)) = (ends.iter().min(), ends.iter().max())
            && first < last
        {
            let seconds = |tick: &u32| f64::from(*tick) / f64::from(clip.ticks_per_second.max(1));
            let (first, last) = (seconds(first), seconds(last));
            notes.push(format!(
                "clip `{name}`: its tracks end between {first:.2} s and {last:.2} s, the shorter ones hold their last value"
            ));
        }
        if animation.channels.is_empty() {
            notes.push(format!("clip `{name}` moves nothing here and is left out"));
            continue;
        }
        glb.animations.push(json!({"name": name, "channels": animation.channels, "samplers": animation.samplers}));
    }
    Ok(())
}

fn moves_a_driver(track: &Track, drivers: &[(&str, f32)]) -> bool {
    let mut pose = Pose::default();
    pose.set(track.target.clone(), track.sample(0.0));
    drivers.iter().any(|(name, _)| pose.number(name).is_some())
}

/// An animation in the making; tracks of equal times share their accessor.
#[derive(Default)]
struct Animation {
    channels: Vec<Value>,
    samplers: Vec<Value>,
    times: HashMap<Vec<u32>, usize>,
}

impl Animation {
    fn move_joint(&mut self, glb: &mut Builder, clip: &Clip, track: &Track, node: usize, property: &str) -> Result<()> {
        let width = if property == "rotation" { 4 } else { 3 };
        if track.width != width {
            return Err(Error::usage(format!(
                "clip `{}`: track `{}` has {} components, {width} expected",
                clip.name, track.target, track.width
            )));
        }
        let ticks = used_keys(track);
        let (keys, times) = distinct_times(ticks.iter().map(|k| f64::from(track.ticks[*k])), clip);
        let keys = keys.into_iter().map(|k| ticks[k]);
        let output = if property == "rotation" {
            let turn = |k: usize| {
                let q = std::array::from_fn(|c| f64::from(track.values[k * 4 + c]));
                let [w, x, y, z] = normalize_quaternion(q).map(|v| v as f32);
                [x, y, z, w]
            };
            let turns: Vec<[f32; 4]> = keys.map(turn).collect();
            glb.floats("VEC4", &turns, false, None)
        } else {
            let value = |k: usize| -> [f32; 3] { std::array::from_fn(|c| track.values[k * 3 + c]) };
            let values: Vec<[f32; 3]> = keys.map(value).collect();
            glb.floats("VEC3", &values, false, None)
        };
        let stepped = track.interpolation == Interpolation::Step;
        self.add(glb, &times, output, stepped, json!({"node": node, "path": property}));
        Ok(())
    }

    /// One channel for all morph targets: keys wherever any of their tracks has one.
    fn move_drivers(
        &mut self,
        glb: &mut Builder,
        clip: &Clip,
        tracks: &[&Track],
        drivers: &[(&str, f32)],
        node: usize,
    ) {
        let stepped = tracks.iter().all(|t| t.interpolation == Interpolation::Step);
        // key times in units of the hold before a jump, so that they sort and compare exactly
        let unit = |tick: u32| (f64::from(tick) / BEFORE_JUMP) as u64;
        let mut keys = BTreeSet::new();
        for track in tracks {
            for (k, tick) in track.ticks.iter().enumerate() {
                keys.insert(unit(*tick));
                if !stepped && k > 0 && track.interpolation == Interpolation::Step {
                    keys.insert(unit(*tick) - 1);
                }
            }
        }
        let ticks: Vec<f64> = keys.into_iter().map(|key| key as f64 * BEFORE_JUMP).collect();
        let (chosen, times) = distinct_times(ticks.iter().copied(), clip);
        let mut values = Vec::with_capacity(chosen.len() * drivers.len());
        for key in chosen {
            let mut pose = Pose::default();
            tracks.iter().for_each(|track| pose.set(track.target.clone(), track.sample(ticks[key])));
            values.extend(drivers.iter().map(|(name, rest)| [pose.number(name).unwrap_or(*rest)]));
        }
        let output = glb.floats("SCALAR", &values, false, None);
        self.add(glb, &times, output, stepped, json!({"node": node, "path": "weights"}));
    }

    fn add(&mut self, glb: &mut Builder, times: &[[f32; 1]], output: usize, stepped: bool, target: Value) {
        let key = times.iter().map(|[t]| t.to_bits()).collect();
        let input = *self.times.entry(key).or_insert_with(|| glb.floats("SCALAR", times, true, None));
        let interpolation = if stepped { "STEP" } else { "LINEAR" };
        self.channels.push(json!({"sampler": self.samplers.len(), "target": target}));
        self.samplers.push(json!({"input": input, "output": output, "interpolation": interpolation}));
    }
}

/// The keys of a track that are needed: all, or the first and the last of one that stands still.
fn used_keys(track: &Track) -> Vec<usize> {
    let last = track.ticks.len() - 1;
    if is_still(track) && last > 0 { vec![0, last] } else { (0..=last).collect() }
}

fn is_still(track: &Track) -> bool {
    let Some((first, others)) = track.values.split_at_checked(track.width as usize) else { return true };
    others.chunks_exact(track.width as usize).all(|key| key == first)
}

/// Does a track hold a joint in its bind pose all the time? Then nothing need be said about it.
fn rests(track: &Track, joint: &Joint, property: &str) -> bool {
    let bind: &[f32] = match property {
        "translation" => &joint.translation,
        "rotation" => &joint.rotation,
        _ => &joint.scale,
    };
    track.values.starts_with(bind) && track.width as usize == bind.len() && is_still(track)
}

/// Key times in seconds that ascend in f32 too, and the keys they belong to. Of two keys within one f32 the later holds.
fn distinct_times(ticks: impl Iterator<Item = f64>, clip: &Clip) -> (Vec<usize>, Vec<[f32; 1]>) {
    let (mut keys, mut times) = (Vec::new(), Vec::<[f32; 1]>::new());
    for (key, tick) in ticks.enumerate() {
        let time = (tick / f64::from(clip.ticks_per_second.max(1))) as f32;
        if times.last() == Some(&[time]) {
            keys.pop();
            times.pop();
        }
        keys.push(key);
        times.push([time]);
    }
    (keys, times)
}
