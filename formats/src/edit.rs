//! Edits that converters need: choose splats, change axes, move, scale.

use crate::{
    Avatar, Error, Frame, Joint, Mesh, Result, Rig, RigBase, Skin, TriangleBinding,
    conventions::{ShRotation, multiply_quaternions, normalize_quaternion, quaternion_from_matrix},
    rig::{Blendshapes, FrameTracks, MorphTarget},
};

impl Avatar {
    /// Keeps the splats for which `keep` is true, with everything that belongs to them. Unknown chunks that are not
    /// safe to copy are dropped, because they may count splats.
    pub fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        let indices: Vec<u32> = (0..self.splats.len()).filter(|&i| keep(i)).map(|i| i as u32).collect();
        if indices.len() < self.splats.len() {
            self.reorder(&indices);
        }
    }

    /// Replaces the splats by those at `indices`, in that order (a permutation or a selection without repeats).
    pub fn reorder(&mut self, indices: &[u32]) {
        let old_count = self.splats.len();
        self.splats = self.splats.gather(indices);
        self.rig = gather_rig(&self.rig, indices, old_count);
        if let Some(rest) = &mut self.rest {
            rest.means = indices.iter().map(|&i| rest.means[i as usize]).collect();
            rest.rotations = indices.iter().map(|&i| rest.rotations[i as usize]).collect();
            rest.log_scales = indices.iter().map(|&i| rest.log_scales[i as usize]).collect();
        }
        for attribute in &mut self.attributes {
            *attribute = attribute.gather(indices);
        }
        self.unknown.retain(|chunk| chunk.kind[3].is_ascii_lowercase());
    }

    /// Changes the axes to those of `frame`. Axis flips are exact: applied twice they give back every bit.
    ///
    /// # Errors
    /// [`Error::Usage`] for triangle-bound avatars (their axes are the template's) unless they are in `frame` already.
    pub fn reframe(&mut self, frame: Frame) -> Result<()> {
        if frame == self.frame {
            return Ok(());
        }
        let matrix = frame.from_frame(self.frame);
        let pure_flip = (0..3).all(|k| matrix[k][k] != 0.0);
        if pure_flip {
            self.refuse_triangle("change the axes of")?;
            self.flip([0, 1, 2].map(|k| matrix[k][k] < 0.0));
        } else if determinant(&matrix) < 0.0 {
            // a mirrored permutation is a rotation after a flip, and flips carry skeletons over
            self.refuse_triangle("change the axes of")?;
            self.flip([true, false, false]);
            self.transform(&matrix.map(|[x, y, z]| [-x, y, z]), 1.0, [0.0; 3])?;
        } else {
            self.transform(&matrix, 1.0, [0.0; 3])?;
        }
        self.frame = frame;
        Ok(())
    }

    /// Moves the avatar: `p' = scale · M p + translation`, M orthogonal (rows), scale > 0. Turns SH along.
    ///
    /// # Errors
    /// [`Error::Usage`] for triangle-bound avatars, or when M is not orthogonal.
    pub fn transform(&mut self, matrix: &[[f64; 3]; 3], scale: f64, translation: [f64; 3]) -> Result<()> {
        self.refuse_triangle("transform")?;
        for r in 0..3 {
            for c in 0..3 {
                let dot: f64 = (0..3).map(|k| matrix[r][k] * matrix[c][k]).sum();
                if (dot - f64::from(u8::from(r == c))).abs() > 1e-6 {
                    return Err(Error::usage("the transform is not a rotation or reflection with uniform scale"));
                }
            }
        }
        if !(scale.is_finite() && scale > 0.0) {
            return Err(Error::usage(format!("scale {scale} is not positive")));
        }
        let det = determinant(matrix);
        // a reflection −M turns ellipsoids exactly as M does, and only a proper rotation has a quaternion
        let proper = matrix.map(|row| row.map(|v| v * det.signum()));
        let turn = quaternion_from_matrix(&proper);
        let point = |p: [f32; 3], t: [f64; 3]| -> [f32; 3] {
            std::array::from_fn(|r| (scale * (0..3).map(|c| matrix[r][c] * f64::from(p[c])).sum::<f64>() + t[r]) as f32)
        };
        let rotate = |q: [f32; 4]| multiply_quaternions(turn, q.map(f64::from)).map(|v| v as f32);
        let log_scale = scale.ln() as f32;
        let sh = ShRotation::new(matrix);

        let splats = &mut self.splats;
        splats.means.iter_mut().for_each(|p| *p = point(*p, translation));
        splats.rotations.iter_mut().for_each(|q| *q = rotate(*q));
        splats.log_scales.iter_mut().flatten().for_each(|s| *s += log_scale);
        let (degree, width) = (splats.sh_degree, splats.sh_rest_count() * 3);
        if width > 0 {
            splats.sh_rest.chunks_exact_mut(width).for_each(|rest| sh.apply(degree, rest));
        }
        if let Some(rest) = &mut self.rest {
            rest.means.iter_mut().for_each(|p| *p = point(*p, translation));
            rest.rotations.iter_mut().for_each(|q| *q = rotate(*q));
            rest.log_scales.iter_mut().flatten().for_each(|s| *s += log_scale);
        }
        if let Some(blend) = &mut self.rig.blendshapes {
            blend.means.iter_mut().for_each(|p| *p = point(*p, [0.0; 3]));
            blend.rotations.iter_mut().for_each(|q| *q = rotate(*q));
        }
        if let Some(mesh) = self.free_mesh() {
            mesh.positions.iter_mut().for_each(|p| *p = point(*p, translation));
            if det < 0.0 {
                mesh.faces.iter_mut().chain(&mut mesh.uv_faces).for_each(|face| face.swap(1, 2));
            }
        }
        match &mut self.rig.base {
            RigBase::Static | RigBase::Triangle(_) => {}
            RigBase::Frames(frames) => {
                frames.means.iter_mut().flatten().for_each(|p| *p = point(*p, translation));
                frames.rotations.iter_mut().flatten().for_each(|q| *q = rotate(*q));
            }
            RigBase::Skinned { skeleton, morphs, .. } => {
                if det < 0.0 {
                    return Err(Error::usage("a skinned avatar cannot be mirrored: its joints have no mirror image"));
                }
                let targets = morphs.iter_mut().flat_map(|m| &mut m.targets);
                targets.flat_map(|t| &mut t.deltas).for_each(|d| *d = point(*d, [0.0; 3]));
                for joint in &mut skeleton.joints {
                    if joint.parent.is_none() {
                        joint.translation = point(joint.translation, translation);
                        joint.rotation = normalize_quaternion(rotate(joint.rotation).map(f64::from)).map(|v| v as f32);
                        joint.scale = joint.scale.map(|s| s * scale as f32);
                    }
                    joint.inverse_bind = compose_inverse(&joint.inverse_bind, matrix, scale, translation);
                }
            }
        }
        self.change_joint_tracks(|joint, property, values| match property {
            "translation" if joint.parent.is_none() => {
                values.copy_from_slice(&point([values[0], values[1], values[2]], translation))
            }
            "rotation" if joint.parent.is_none() => {
                values.copy_from_slice(&rotate([values[0], values[1], values[2], values[3]]));
            }
            "scale" if joint.parent.is_none() => values.iter_mut().for_each(|v| *v *= scale as f32),
            _ => {}
        });
        transform_cameras(self, matrix, scale, translation);
        Ok(())
    }

    fn refuse_triangle(&self, verb: &str) -> Result<()> {
        if matches!(self.rig.base, RigBase::Triangle(_)) {
            return Err(Error::usage(format!(
                "cannot {verb} a triangle-bound avatar: its splats are local to the template; make it static first"
            )));
        }
        Ok(())
    }

    /// The proxy mesh, which lies in the avatar's axes; a template's own mesh keeps those of the template.
    fn free_mesh(&mut self) -> Option<&mut Mesh> {
        self.mesh.as_mut().filter(|_| !self.template.as_ref().is_some_and(|t| t.embedded))
    }

    /// Negates axes by flipping sign bits only.
    fn flip(&mut self, negate: [bool; 3]) {
        let [sx, sy, sz] = negate;
        let point = |p: &mut [f32; 3]| (0..3).filter(|&k| negate[k]).for_each(|k| p[k] = -p[k]);
        // conjugation of the rotation matrix by the sign matrix (formats specification 1.0)
        let quaternion = |q: &mut [f32; 4]| {
            for (k, odd) in [(1, sy != sz), (2, sx != sz), (3, sx != sy)] {
                if odd {
                    q[k] = -q[k];
                }
            }
        };
        let sign = |flip: bool| if flip { -1.0 } else { 1.0 };
        let matrix = [[sign(sx), 0.0, 0.0], [0.0, sign(sy), 0.0], [0.0, 0.0, sign(sz)]];
        let splats = &mut self.splats;
        splats.means.iter_mut().for_each(point);
        splats.rotations.iter_mut().for_each(quaternion);
        let (degree, width) = (splats.sh_degree, splats.sh_rest_count() * 3);
        if width > 0 {
            let sh = ShRotation::new(&matrix);
            splats.sh_rest.chunks_exact_mut(width).for_each(|rest| sh.apply(degree, rest));
        }
        if let Some(rest) = &mut self.rest {
            rest.means.iter_mut().for_each(point);
            rest.rotations.iter_mut().for_each(quaternion);
        }
        if let Some(blend) = &mut self.rig.blendshapes {
            blend.means.iter_mut().for_each(point);
            blend.rotations.iter_mut().for_each(quaternion);
        }
        if let Some(mesh) = self.free_mesh() {
            mesh.positions.iter_mut().for_each(point);
            if sx ^ sy ^ sz {
                mesh.faces.iter_mut().chain(&mut mesh.uv_faces).for_each(|face| face.swap(1, 2));
            }
        }
        match &mut self.rig.base {
            RigBase::Static | RigBase::Triangle(_) => {}
            RigBase::Frames(frames) => {
                frames.means.iter_mut().flatten().for_each(point);
                frames.rotations.iter_mut().flatten().for_each(quaternion);
            }
            RigBase::Skinned { skeleton, morphs, .. } => {
                let targets = morphs.iter_mut().flat_map(|m| &mut m.targets);
                targets.flat_map(|t| &mut t.deltas).for_each(point);
                for joint in &mut skeleton.joints {
                    point(&mut joint.translation);
                    quaternion(&mut joint.rotation);
                    // S B S: negated where exactly one of row and column is negated; the translation column has no column sign
                    for row in 0..3 {
                        for column in 0..4 {
                            if negate[row] != (column < 3 && negate[column]) {
                                joint.inverse_bind[row][column] = -joint.inverse_bind[row][column];
                            }
                        }
                    }
                }
            }
        }
        self.change_joint_tracks(|_, property, values| {
            if let ("translation", Ok(translation)) = (property, <&mut [f32; 3]>::try_from(&mut *values)) {
                point(translation);
            }
            if let ("rotation", Ok(rotation)) = (property, <&mut [f32; 4]>::try_from(&mut *values)) {
                quaternion(rotation);
            }
        });
        transform_cameras(self, &matrix, 1.0, [0.0; 3]);
    }

    /// Calls `change` on every key of clip tracks that move joints, with the joint and `translation`, `rotation` or `scale`.
    fn change_joint_tracks(&mut self, change: impl Fn(&Joint, &str, &mut [f32])) {
        let RigBase::Skinned { skeleton, .. } = &self.rig.base else { return };
        for track in self.clips.iter_mut().flat_map(|clip| &mut clip.tracks) {
            let Some((name, property)) = track.target.strip_prefix("joint/").and_then(|t| t.rsplit_once('/')) else {
                continue;
            };
            let width = match property {
                "rotation" => 4,
                _ => 3,
            };
            let Some(joint) = skeleton.joints.iter().find(|j| j.name == name) else { continue };
            if track.width == width {
                track.values.chunks_exact_mut(width as usize).for_each(|values| change(joint, property, values));
            }
        }
    }

    /// Drops the rig and everything that belongs to it, leaving the splats as they are shown at rest.
    ///
    /// # Errors
    /// [`Error::Usage`] when a triangle-bound avatar has no stored rest pose.
    pub fn make_static(&mut self) -> Result<()> {
        if let RigBase::Triangle(_) = self.rig.base {
            let Some(rest) = self.rest.take() else {
                return Err(Error::usage(
                    "this avatar is bound to the triangles of a template and has no stored rest pose: its splats cannot be shown without the template",
                ));
            };
            self.splats.means = rest.means;
            self.splats.rotations = rest.rotations;
            self.splats.log_scales = rest.log_scales;
        }
        self.rest = None;
        self.rig = Rig::default();
        self.template = None;
        self.mesh = None;
        self.drivers.clear();
        self.driver_maps.clear();
        self.clips.clear();
        Ok(())
    }
}

fn determinant(m: &[[f64; 3]; 3]) -> f64 {
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

/// `B · A⁻¹` for the similarity A: p ↦ scale · M p + t, whose inverse is p ↦ Mᵀ (p − t) / scale.
fn compose_inverse(bind: &[[f32; 4]; 3], matrix: &[[f64; 3]; 3], scale: f64, t: [f64; 3]) -> [[f32; 4]; 3] {
    std::array::from_fn(|r| {
        let linear: [f64; 3] =
            std::array::from_fn(|c| (0..3).map(|k| f64::from(bind[r][k]) * matrix[c][k]).sum::<f64>() / scale);
        let offset = f64::from(bind[r][3]) - (0..3).map(|c| linear[c] * t[c]).sum::<f64>();
        [linear[0] as f32, linear[1] as f32, linear[2] as f32, offset as f32]
    })
}

fn transform_cameras(avatar: &mut Avatar, matrix: &[[f64; 3]; 3], scale: f64, t: [f64; 3]) {
    for camera in &mut avatar.cameras {
        let old = camera.camera_from_world;
        for r in 0..3 {
            // R p + c with p = Mᵀ (p' − t) / scale, times scale so that the camera keeps unit axes
            let linear: [f64; 3] = std::array::from_fn(|c| (0..3).map(|k| old[r][k] * matrix[c][k]).sum());
            let offset = old[r][3] * scale - (0..3).map(|c| linear[c] * t[c]).sum::<f64>();
            camera.camera_from_world[r] = [linear[0], linear[1], linear[2], offset];
        }
    }
}

fn gather_rig(rig: &Rig, indices: &[u32], old_count: usize) -> Rig {
    let frames_of = |len: usize| len.checked_div(old_count).unwrap_or(0);
    fn rows<T: Copy>(values: &[T], indices: &[u32], old_count: usize, blocks: usize) -> Vec<T> {
        (0..blocks).flat_map(|b| indices.iter().map(move |&i| values[b * old_count + i as usize])).collect()
    }
    let base = match &rig.base {
        RigBase::Static => RigBase::Static,
        RigBase::Triangle(b) => RigBase::Triangle(TriangleBinding {
            frame: b.frame,
            triangles: rows(&b.triangles, indices, old_count, 1),
            barycentrics: b.barycentrics.as_ref().map(|v| rows(v, indices, old_count, 1)),
        }),
        RigBase::Frames(f) => RigBase::Frames(FrameTracks {
            ticks_per_second: f.ticks_per_second,
            ticks: f.ticks.clone(),
            means: f.means.as_ref().map(|v| rows(v, indices, old_count, frames_of(v.len()))),
            rotations: f.rotations.as_ref().map(|v| rows(v, indices, old_count, frames_of(v.len()))),
            sh0: f.sh0.as_ref().map(|v| rows(v, indices, old_count, frames_of(v.len()))),
            opacity_logits: f.opacity_logits.as_ref().map(|v| rows(v, indices, old_count, frames_of(v.len()))),
        }),
        RigBase::Skinned { skeleton, skin, morphs } => {
            let mut new_skin = Skin { offsets: vec![0], full_covariance: skin.full_covariance, ..Skin::default() };
            for &i in indices {
                for (joint, weight) in skin.row(i as usize) {
                    new_skin.joints.push(joint);
                    new_skin.weights.push(weight);
                }
                new_skin.offsets.push(new_skin.joints.len() as u32);
            }
            let mut new_index = vec![u32::MAX; old_count];
            for (new, &old) in indices.iter().enumerate() {
                new_index[old as usize] = new as u32;
            }
            let morphs = morphs.as_ref().map(|m| crate::rig::Morphs {
                targets: m
                    .targets
                    .iter()
                    .map(|target| {
                        let mut pairs: Vec<(u32, [f32; 3])> = target
                            .splats
                            .iter()
                            .zip(&target.deltas)
                            .map(|(&s, &d)| (new_index[s as usize], d))
                            .filter(|(s, _)| *s != u32::MAX)
                            .collect();
                        pairs.sort_unstable_by_key(|(s, _)| *s);
                        let (splats, deltas) = pairs.into_iter().unzip();
                        MorphTarget { driver: target.driver.clone(), splats, deltas }
                    })
                    .collect(),
            });
            RigBase::Skinned { skeleton: skeleton.clone(), skin: new_skin, morphs }
        }
    };
    let blendshapes = rig.blendshapes.as_ref().map(|b| Blendshapes {
        bases: b.bases,
        means: rows(&b.means, indices, old_count, frames_of(b.means.len())),
        rotations: rows(&b.rotations, indices, old_count, frames_of(b.rotations.len())),
        sh0: rows(&b.sh0, indices, old_count, frames_of(b.sh0.len())),
        weights: b.weights.clone(),
    });
    Rig { base, blendshapes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        posed::{farthest, posed_means},
        synthetic::{RigSample, every_rig},
    };

    /// Joint tracks say the same pose after the axes changed and changed back, and follow the skeleton in between.
    #[test]
    fn clips_of_joints_change_axes_with_the_skeleton() {
        let before = every_rig(RigSample::Skinned);
        let mut avatar = before.clone();
        avatar.reframe(Frame::RDF).unwrap();
        assert_ne!(avatar.clips, before.clips);
        avatar.reframe(Frame::RUB).unwrap();
        assert_eq!(avatar, before);
    }

    /// Posing, then changing axes and units, puts the splats where changing first and posing then does.
    #[test]
    fn axes_and_units_change_before_a_pose_as_after_it() {
        let mut before = every_rig(RigSample::MorphSkinned);
        before.mesh = Some(Mesh { positions: vec![[1.0, 2.0, 3.0]; 3], faces: vec![[0, 1, 2]], ..Mesh::default() });
        let RigBase::Skinned { skeleton, .. } = &mut before.rig.base else { panic!("a skinned sample") };
        skeleton.joints[1].rotation = [0.5, 0.5, -0.5, 0.5];
        skeleton.joints[0].scale = [0.8, 1.0, 1.3];
        let clip = &mut before.clips[0];
        let mut scales = clip.tracks[1].clone();
        scales.target = "joint/neck/scale".into();
        scales.values = (0..15).map(|k| 1.0 + 0.03 * k as f32).collect();
        clip.tracks.push(scales);
        for letters in ["RDF", "LUF", "LUB", "RFU", "RBU", "UBR", "DBR", "BLD"] {
            let mut after = before.clone();
            let frame: Frame = letters.parse().unwrap();
            after.reframe(frame).unwrap();
            let shift = [0.25, -0.5, 1.0];
            after.transform(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], 0.01, shift).unwrap();
            let m = frame.from_frame(before.frame);
            let change = |p: [f64; 3]| -> [f64; 3] {
                std::array::from_fn(|r| 0.01 * (0..3).map(|c| m[r][c] * p[c]).sum::<f64>() + shift[r])
            };
            for seconds in [0.0, 0.31, 0.5, 2.0] {
                let expected: Vec<[f64; 3]> =
                    posed_means(&before, Some((&before.clips[0], seconds))).into_iter().map(change).collect();
                let got = posed_means(&after, Some((&after.clips[0], seconds)));
                let worst = farthest(&expected, &got);
                // f32 at coordinates of about 1
                assert!(worst < 3e-7, "{letters} at {seconds} s: {worst}");
            }
            let vertex = after.mesh.unwrap().positions[0].map(f64::from);
            assert!(farthest(&[vertex], &[change([1.0, 2.0, 3.0])]) < 1e-6);
        }
    }

    #[test]
    fn a_moved_root_takes_its_track_along() {
        let mut avatar = every_rig(RigSample::Skinned);
        let RigBase::Skinned { skeleton, .. } = &avatar.rig.base else { panic!("a skinned sample") };
        let root = skeleton.joints[0].clone();
        let target = format!("joint/{}/translation", root.name);
        avatar.clips[0].tracks.push(crate::Track {
            target,
            width: 3,
            ticks: vec![0],
            values: root.translation.to_vec(),
            ..crate::Track::default()
        });
        avatar.transform(&[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], 2.0, [1.0, 2.0, 3.0]).unwrap();
        let RigBase::Skinned { skeleton, .. } = &avatar.rig.base else { panic!("still skinned") };
        let track = avatar.clips[0].tracks.last().unwrap();
        assert_eq!(track.values, skeleton.joints[0].translation);
    }
}
