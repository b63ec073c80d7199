//! Baking: a rig that needs a template or a network becomes morphs over a skeleton (kind 7), which needs neither.
//!
//! Morph targets are differences of centres at unit values of the drivers; skinning weights are those of the template's vertices, blended
//! over each splat's triangle. What the simpler rig cannot say (turning triangles, pose correctives, changing colours) is measured
//! against the original over the clips.

use gav_formats::{
    Avatar, BlendWeights, Clip, Driver, Interpolation, Joint, MorphTarget, Morphs, Pose, Rig, RigBase, Skeleton, Skin,
    Splats, Track,
};

use gav_kernels::rig::blendshapes::{self, BaseRef, BasesRef};

use super::{Puppet, skeleton};
use crate::{Error, Result, body::Body};

/// What to keep.
#[derive(Debug, Clone)]
pub struct BakeOptions {
    /// Morph targets at most; those that move the splats most over the clips (or at unit value, without clips) are kept.
    pub targets: usize,
    /// Metres below which a splat is left out of a target at unit value.
    pub threshold: f32,
    /// Frames of the clips at which the result is compared with the original.
    pub checks: usize,
}

impl Default for BakeOptions {
    fn default() -> Self {
        // 64 targets fit the texture paths of web viewers; 20 µm is a tenth of a pixel at portrait size
        Self { targets: 64, threshold: 2e-5, checks: 16 }
    }
}

/// A baked avatar.
#[derive(Debug)]
pub struct Baked {
    /// Of kind 1 or 7, without template.
    pub avatar: Avatar,
    /// Drivers that were left out because others move the splats more.
    pub left_out: Vec<String>,
    /// Mean distance of the centres from those of the original over the checked frames, metres; `None` without clips.
    pub mean_error: Option<f64>,
    /// Largest such distance.
    pub max_error: Option<f64>,
    /// What the person who passes the file on must know: set when weights and deltas derive from a licensed template.
    pub notice: Option<String>,
}

impl Puppet<'_> {
    /// Makes an avatar of kind 1 or 7 that moves like this one.
    ///
    /// # Errors
    /// [`Error::usage`] for recorded frames, which have no drivers.
    pub fn bake(&self, options: &BakeOptions) -> Result<Baked> {
        let (skeleton, skin) = self.carrier()?;
        let mut avatar = self.avatar.clone();
        avatar.splats = self.rest.clone();
        avatar.rest = None;
        avatar.mesh = None;
        avatar.template = None;
        avatar.driver_maps = Vec::new();
        avatar.clips = self.avatar.clips.iter().map(|clip| self.spelled_out(clip)).collect::<Result<_>>()?;
        let (mut targets, left_out) = self.targets(&avatar.clips, options)?;
        targets.sort_by_key(|a| natural(&a.driver));
        let driver = |target: &MorphTarget| {
            let known = self.controls().into_iter().flat_map(|g| g.controls).find(|c| c.name == target.driver);
            let (min, max, default) = known.map_or((0.0, 1.0, 0.0), |c| (c.min, c.max, c.default));
            Driver { name: target.driver.clone(), min, max, default }
        };
        avatar.drivers = targets.iter().map(driver).collect();
        for clip in &mut avatar.clips {
            clip.tracks.retain(|t| t.target.starts_with("joint/") || targets.iter().any(|m| m.driver == t.target));
        }
        let morphs = if targets.is_empty() { None } else { Some(Morphs { targets }) };
        avatar.rig = Rig { base: RigBase::Skinned { skeleton, skin, morphs }, blendshapes: None };
        avatar.validate()?;
        let (mean_error, max_error) = self.compare(&avatar, options.checks)?.unzip();
        let licensed = self.avatar.template.as_ref().filter(|t| !t.embedded && self.body.is_some());
        let notice = licensed.map(|t| {
            format!(
                "weights and deltas derive from the template `{}`: its licence also governs this file",
                if t.name.is_empty() { "unnamed" } else { &t.name }
            )
        });
        Ok(Baked { avatar, left_out, mean_error, max_error, notice })
    }

    /// What carries the splats in the baked avatar.
    fn carrier(&self) -> Result<(Skeleton, Skin)> {
        match (&self.avatar.rig.base, &self.body) {
            (RigBase::Skinned { skeleton, skin, .. }, _) => Ok((skeleton.clone(), skin.clone())),
            (RigBase::Triangle(binding), Some(body)) => {
                let posed = self.posed_body(body, &Pose::default())?;
                let row = |(splat, triangle): (usize, &u32)| {
                    let coordinates = binding.barycentrics.as_ref().map_or([1.0 / 3.0; 3], |b| b[splat]);
                    vertex_weights(body, body.faces()[*triangle as usize], coordinates)
                };
                let skin = Skin::from_rows(binding.triangles.iter().enumerate().map(row));
                Ok((skeleton::of_body(body, &posed.rest_joints), skin))
            }
            (RigBase::Static, _) => {
                let root = Joint {
                    name: "root".to_owned(),
                    parent: None,
                    humanoid: String::new(),
                    translation: [0.0; 3],
                    rotation: [1.0, 0.0, 0.0, 0.0],
                    scale: [1.0; 3],
                    inverse_bind: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
                };
                let rows = (0..self.avatar.splats.len()).map(|_| vec![(0, 1.0)]);
                Ok((Skeleton { joints: vec![root] }, Skin::from_rows(rows)))
            }
            (RigBase::Frames(_), _) => Err(Error::usage(
                "recorded frames have no drivers and cannot become morphs; write frames instead (`--frames`)",
            )),
            (RigBase::Triangle(_), None) => unreachable!("new() refuses triangle-bound avatars without a body"),
        }
    }

    pub(super) fn posed_body(&self, body: &Body<f32>, pose: &Pose) -> Result<crate::body::Posed<f32>> {
        let constants = self.avatar.template.as_ref().map_or(&[][..], |t| &t.constants);
        Ok(body.pose(&body.parameters(constants, pose)?))
    }

    /// Drivers whose unit value moves splats other than by joints.
    fn candidates(&self) -> Vec<String> {
        let mut names = Vec::new();
        if let RigBase::Skinned { morphs: Some(morphs), .. } = &self.avatar.rig.base {
            names.extend(morphs.targets.iter().map(|t| t.driver.clone()));
        }
        match self.avatar.rig.blendshapes.as_ref().map(|b| &b.weights) {
            Some(BlendWeights::Drivers(drivers)) => names.extend(drivers.iter().cloned()),
            // rotations and translation move joints; what they change beyond that is lost
            Some(BlendWeights::Mlp(mlp)) => {
                names.extend(mlp.inputs.iter().filter(|n| !n.contains("_6d.") && !n.contains("translation")).cloned());
            }
            None => {}
        }
        if let Some(body) = &self.body {
            let prefix = body.layout().prefix();
            let groups = body.groups().into_iter().filter(|(g, _)| matches!(*g, "expression" | "eyelids"));
            names.extend(groups.flat_map(|(g, n)| (0..n).map(move |k| format!("{prefix}{g}.{k}"))));
        }
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    /// The targets to keep, and the names of the others that move anything.
    fn targets(&self, clips: &[Clip], options: &BakeOptions) -> Result<(Vec<MorphTarget>, Vec<String>)> {
        let mut all: Vec<(f64, MorphTarget)> = Vec::new();
        for name in self.candidates() {
            let rest = self.value(&name, &Pose::default());
            let (mut splats, mut deltas) = (Vec::new(), Vec::new());
            for (index, delta) in self.deltas(&name, rest)?.iter().enumerate() {
                if delta.iter().map(|v| v * v).sum::<f32>() > options.threshold * options.threshold {
                    splats.push(index as u32);
                    deltas.push(*delta);
                }
            }
            if splats.is_empty() {
                continue;
            }
            let most = |clip: &Clip| {
                let track = clip.tracks.iter().find(|t| t.target == name);
                track.map_or(0.0f32, |t| t.values.iter().fold(0.0, |m: f32, v| m.max(v.abs())))
            };
            let reach = if clips.is_empty() { 1.0 } else { clips.iter().map(most).fold(0.0, f32::max) };
            let size: f64 = deltas.iter().flatten().map(|v| f64::from(*v) * f64::from(*v)).sum();
            all.push((f64::from(reach) * size.sqrt(), MorphTarget { driver: name, splats, deltas }));
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let left_out = all.split_off(all.len().min(options.targets));
        Ok((
            all.into_iter().map(|(_, target)| target).collect(),
            left_out.into_iter().map(|(_, target)| target.driver).collect(),
        ))
    }

    /// What a driver at one above `rest` adds to the centres, before the skin where there is one.
    fn deltas(&self, name: &str, rest: f32) -> Result<Vec<[f32; 3]>> {
        let mut pose = Pose::default();
        pose.set(name, [rest + 1.0]);
        let RigBase::Skinned { morphs, .. } = &self.avatar.rig.base else {
            // at rest the joints of bodies are the identity
            return Ok(difference(&self.pose(&pose)?, &self.rest));
        };
        let mut deltas = vec![[0.0; 3]; self.avatar.splats.len()];
        if let Some(shapes) = &self.avatar.rig.blendshapes {
            let canonical = &self.avatar.splats;
            let base = BaseRef { means: &canonical.means, rotations: &canonical.rotations, sh0: &canonical.sh0 };
            let at = |pose: &Pose| {
                blendshapes::blend(base, &BasesRef::from(shapes), &self.blend_weights(&shapes.weights, pose)).means
            };
            for (delta, (a, b)) in deltas.iter_mut().zip(at(&pose).iter().zip(&at(&Pose::default()))) {
                *delta = std::array::from_fn(|c| a[c] - b[c]);
            }
        }
        if let Some(target) = morphs.as_ref().and_then(|m| m.targets.iter().find(|t| t.driver == name)) {
            for (splat, delta) in target.splats.iter().zip(&target.deltas) {
                let sum = &mut deltas[*splat as usize];
                *sum = std::array::from_fn(|c| sum[c] + delta[c]);
            }
        }
        Ok(deltas)
    }

    /// The avatar's clips as tracks of joints and drivers only, which glTF knows: groups of a body model and the inputs of driver maps are
    /// spelled out. Tracks that never leave the rest value are dropped.
    ///
    /// # Errors
    /// Groups of a length that the template does not take, with both numbers.
    pub fn spelled_out_clips(&self) -> Result<Vec<Clip>> {
        self.avatar.clips.iter().map(|clip| self.spelled_out(clip)).collect()
    }

    fn spelled_out(&self, clip: &Clip) -> Result<Clip> {
        let Some(body) = &self.body else { return Ok(self.spelled_out_for_skeleton(clip)) };
        let ticks = ticks(&clip.tracks);
        let constants = self.avatar.template.as_ref().map_or(&[][..], |t| &t.constants);
        let rest = body.pose(&body.parameters(constants, &Pose::default())?);
        let candidates = self.candidates();
        let joints = body.joint_names();
        let mut tracks: Vec<Track> = Vec::new();
        let track = |target: String, width: u32, interpolation| Track {
            target,
            width,
            interpolation,
            ticks: ticks.clone(),
            values: Vec::with_capacity(ticks.len() * width as usize),
        };
        tracks.extend(joints.iter().map(|n| track(format!("joint/{n}/translation"), 3, Interpolation::Linear)));
        tracks.extend(joints.iter().map(|n| track(format!("joint/{n}/rotation"), 4, Interpolation::Slerp)));
        tracks.extend(candidates.iter().map(|name| track(name.clone(), 1, Interpolation::Linear)));
        let bind = skeleton::of_body(body, &rest.rest_joints);
        for tick in &ticks {
            let pose = clip.pose_at(f64::from(*tick) / f64::from(clip.ticks_per_second.max(1)));
            let pose = self.mapped(&pose);
            let parameters = body.parameters(constants, &pose)?;
            let posed = body.pose(&parameters);
            // G_j = A_j B_j⁻¹: expressions move the joints of a body, those of the baked skeleton rest where they are
            let place = |j: usize| -> [f32; 3] {
                let (a, at) = (&posed.transforms[j], rest.rest_joints[j]);
                std::array::from_fn(|r| (0..3).map(|c| a[r][c] * at[c]).sum::<f32>() + a[r][3])
            };
            for (j, parent) in body.parents().iter().enumerate() {
                let here = place(j);
                let local: [f32; 3] = match parent {
                    None => here,
                    Some(p) => {
                        let (a, from) = (&posed.transforms[*p as usize], place(*p as usize));
                        std::array::from_fn(|c| (0..3).map(|r| a[r][c] * (here[r] - from[r])).sum())
                    }
                };
                tracks[j].values.extend(local);
            }
            for (track, rotation) in tracks[joints.len()..].iter_mut().zip(&parameters.rotations) {
                track.values.extend(skeleton::from_rotation(rotation));
            }
            for (track, name) in tracks[2 * joints.len()..].iter_mut().zip(&candidates) {
                track.values.push(self.value(name, &pose));
            }
        }
        let mut translations = bind.joints.iter().map(|j| j.translation);
        tracks.retain(|t| match t.width {
            1 => t.values.iter().any(|v| *v != 0.0),
            4 => t.values.chunks_exact(4).any(|q| q != [1.0, 0.0, 0.0, 0.0]),
            _ => {
                let still = translations.next().unwrap_or_default();
                // a thousandth of a millimetre is rounding
                t.values.chunks_exact(3).any(|v| (0..3).any(|c| (v[c] - still[c]).abs() > 1e-6))
            }
        });
        Ok(Clip { name: clip.name.clone(), ticks_per_second: clip.ticks_per_second, tracks })
    }

    /// As [`Puppet::spelled_out_clips`], without a body: what joints and drivers already say stays as it is.
    fn spelled_out_for_skeleton(&self, clip: &Clip) -> Clip {
        let candidates = self.candidates();
        let native = |target: &str| target.starts_with("joint/") || candidates.iter().any(|name| name == target);
        let (mut tracks, groups): (Vec<Track>, Vec<Track>) =
            clip.tracks.iter().cloned().partition(|track| native(&track.target));
        if groups.is_empty() {
            return clip.clone();
        }
        let mut added: Vec<Track> = Vec::new();
        for (row, tick) in ticks(&groups).into_iter().enumerate() {
            let recorded = clip.pose_at(f64::from(tick) / f64::from(clip.ticks_per_second.max(1)));
            let pose = self.mapped(&recorded);
            let joints = pose.iter().filter(|(target, _)| target.starts_with("joint/"));
            let mut values: Vec<(&str, Vec<f32>)> = joints.map(|(target, values)| (target, values.to_vec())).collect();
            values
                .extend(candidates.iter().filter_map(|n| Some((n.as_str(), vec![super::drivers::number(&pose, n)?]))));
            for (target, mut values) in values.into_iter().filter(|(target, _)| recorded.get(target).is_none()) {
                let known = added.iter().position(|track| track.target == target);
                // a value that a group gives at one time it gives at all times
                let track = match known {
                    Some(known) => &mut added[known],
                    None if row == 0 => {
                        let interpolation = match target.ends_with("/rotation") {
                            true => Interpolation::Slerp,
                            false => Interpolation::Linear,
                        };
                        let (target, width) = (target.to_owned(), values.len() as u32);
                        added.push(Track { target, width, interpolation, ticks: Vec::new(), values: Vec::new() });
                        added.last_mut().expect("just pushed")
                    }
                    None => continue,
                };
                let last = &track.values[track.values.len().saturating_sub(values.len())..];
                if values.len() == 4 && last.iter().zip(&values).map(|(a, b)| a * b).sum::<f32>() < 0.0 {
                    // the other sign is the same rotation, and the way from key to key shorter
                    values.iter_mut().for_each(|v| *v = -*v);
                }
                track.ticks.push(tick);
                track.values.extend(values);
            }
        }
        let joints = match &self.avatar.rig.base {
            RigBase::Skinned { skeleton, .. } => skeleton.joints.as_slice(),
            _ => &[],
        };
        added.retain(|track| match track.target.strip_prefix("joint/").and_then(|t| t.rsplit_once('/')) {
            Some((name, property)) => joints.iter().find(|j| j.name == name).is_some_and(|joint| {
                let still: &[f32] = if property == "rotation" { &joint.rotation } else { &joint.translation };
                track.values.chunks_exact(still.len()).any(|value| value != still)
            }),
            None => {
                let still = self.value(&track.target, &Pose::default());
                track.values.iter().any(|v| *v != still)
            }
        });
        tracks.append(&mut added);
        Clip { name: clip.name.clone(), ticks_per_second: clip.ticks_per_second, tracks }
    }

    /// Mean and largest distance of centres over frames spread evenly over all clips.
    fn compare(&self, baked: &Avatar, frames: usize) -> Result<Option<(f64, f64)>> {
        let clips: Vec<(&Clip, &Clip)> =
            self.avatar.clips.iter().zip(&baked.clips).filter(|(c, _)| !c.tracks.is_empty()).collect();
        if clips.is_empty() || frames == 0 {
            return Ok(None);
        }
        let puppet = Puppet::new(baked, None)?;
        let (mut sum, mut count, mut largest) = (0.0, 0u64, 0.0f64);
        let each = frames.div_ceil(clips.len());
        for (clip, baked) in clips {
            for k in 0..each {
                let seconds = clip.seconds() * (k as f64 + 0.5) / each as f64;
                let (a, b) = (self.pose(&clip.pose_at(seconds))?, puppet.pose(&baked.pose_at(seconds))?);
                for (a, b) in a.means.iter().zip(&b.means) {
                    let distance = (0..3).map(|c| f64::from(a[c] - b[c]).powi(2)).sum::<f64>().sqrt();
                    sum += distance;
                    largest = largest.max(distance);
                    count += 1;
                }
            }
        }
        Ok(Some((sum / count.max(1) as f64, largest)))
    }
}

/// Every time at which one of the tracks has a key.
fn ticks(tracks: &[Track]) -> Vec<u32> {
    let mut ticks: Vec<u32> = tracks.iter().flat_map(|t| t.ticks.iter().copied()).collect();
    ticks.sort_unstable();
    ticks.dedup();
    ticks
}

/// Weights of a point of a triangle: those of its corners, the eight largest.
fn vertex_weights(body: &Body<f32>, face: [u32; 3], coordinates: [f32; 3]) -> Vec<(u16, f32)> {
    let mut row: Vec<(u16, f32)> = Vec::new();
    for (vertex, share) in face.iter().zip(coordinates) {
        let (joints, weights) = body.weights().row(*vertex as usize);
        for (joint, weight) in joints.iter().zip(weights) {
            match row.iter_mut().find(|(j, _)| u32::from(*j) == *joint) {
                Some((_, sum)) => *sum += share * weight,
                None => row.push((*joint as u16, share * weight)),
            }
        }
    }
    row.sort_by(|a, b| b.1.total_cmp(&a.1));
    row.truncate(gav_formats::rig::rig_limits::INFLUENCES);
    row
}

fn difference(a: &Splats, b: &Splats) -> Vec<[f32; 3]> {
    a.means.iter().zip(&b.means).map(|(a, b)| std::array::from_fn(|c| a[c] - b[c])).collect()
}

/// Sorts `expression.10` behind `expression.9`.
fn natural(name: &str) -> (String, u32) {
    match name.rsplit_once('.') {
        Some((head, index)) => match index.parse() {
            Ok(index) => (head.to_owned(), index),
            Err(_) => (name.to_owned(), 0),
        },
        None => (name.to_owned(), 0),
    }
}
