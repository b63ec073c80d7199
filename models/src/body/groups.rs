//! Named parameters (`flame.jaw_pose`, `smplx.betas` …) to the parameters of a body.
//!
//! | layout | groups |
//! | --- | --- |
//! | FLAME, `flame.` | `shape`, `expression`, `rotation` 3, `neck_pose` 3, `jaw_pose` 3, `eyes_pose` 6 (left, right), `translation` 3, `eyelids` 2; instead of a pose `neck_6d`, `jaw_6d`, `left_eye_6d`, `right_eye_6d` 6 each |
//! | SMPL, `smpl.` | `betas`, `expression`, `global_orient` 3, `body_pose` 69, `transl` 3 |
//! | SMPL-X, `smplx.` | `betas`, `expression`, `global_orient` 3, `body_pose` 63, `jaw_pose` 3, `leye_pose` 3, `reye_pose` 3, `left_hand_pose`, `right_hand_pose` 45 or fewer (see [`super::smplx`]), `transl` 3 |
//! | others, `body.` | `shape`, `expression`, `pose` 3 a joint, `translation` 3 |
//!
//! Rotations are axis-angle in radians unless named `6d`. Constants of an avatar have the names without the family, and further
//! `static_offset` (rows × 3) and, for SMPL-X, `flat_hand_mean`. `joint/NAME/rotation` (w x y z, relative to the parent) replaces the
//! rotation of one joint.

use gav_formats::Pose;
use gav_kernels::Real;

use super::{Body, Layout, Parameters, Rotation, smplx::SmplX};
use crate::{Error, Result};

impl Layout {
    /// What precedes a group in the names of tracks and drivers.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Flame => "flame.",
            Self::Smpl => "smpl.",
            Self::SmplX => "smplx.",
            Self::Plain => "body.",
        }
    }
}

impl<T: Real> Body<T> {
    /// The groups of parameters and their lengths, in the order of the module's table, without the prefix of the layout.
    pub fn groups(&self) -> Vec<(&'static str, usize)> {
        let (shape, expression) = (self.shape_count(), self.expression_count());
        let joints = 3 * self.joint_count();
        let groups = match self.layout() {
            Layout::Flame => vec![
                ("shape", shape),
                ("expression", expression),
                ("rotation", 3),
                ("neck_pose", 3),
                ("jaw_pose", 3),
                ("eyes_pose", 6),
                ("translation", 3),
                ("eyelids", self.extras().len()),
            ],
            Layout::Smpl => vec![
                ("betas", shape),
                ("expression", expression),
                ("global_orient", 3),
                ("body_pose", joints - 3),
                ("transl", 3),
            ],
            Layout::SmplX => vec![
                ("betas", shape),
                ("expression", expression),
                ("global_orient", 3),
                ("body_pose", 63),
                ("jaw_pose", 3),
                ("leye_pose", 3),
                ("reye_pose", 3),
                ("left_hand_pose", 45),
                ("right_hand_pose", 45),
                ("transl", 3),
            ],
            Layout::Plain => {
                vec![("shape", shape), ("expression", expression), ("pose", joints), ("translation", 3)]
            }
        };
        groups.into_iter().filter(|(_, length)| *length > 0).collect()
    }
}

impl Body<f32> {
    /// The parameters that a pose and the constants of an avatar name. What the pose names replaces constants; what neither names
    /// rests. Names of other families and unknown ones are left alone, for drivers of other kinds share the pose.
    ///
    /// # Errors
    /// Groups of the wrong length, with both numbers. Coefficients may be fewer than the body has; surplus ones must be zero.
    pub fn parameters(&self, constants: &[(String, Vec<f32>)], pose: &Pose) -> Result<Parameters<f32>> {
        let named = Named { prefix: self.layout().prefix(), constants, pose };
        let mut out = match self.layout() {
            Layout::Flame => self.flame(&named)?,
            Layout::Smpl => Parameters {
                shape: named.coefficients("betas", self.shape_count())?,
                expression: named.coefficients("expression", self.expression_count())?,
                rotations: axis_angles(&[
                    named.exactly("global_orient", 3)?,
                    named.exactly("body_pose", 3 * self.joint_count() - 3)?,
                ]),
                translation: named.triple("transl")?,
                ..Parameters::default()
            },
            Layout::SmplX => self.smplx(&SmplX {
                betas: named.coefficients("betas", self.shape_count())?,
                expression: named.coefficients("expression", self.expression_count())?,
                global_orient: named.triple("global_orient")?,
                body_pose: named.exactly("body_pose", 63)?.as_chunks().0.to_vec(),
                jaw_pose: named.triple("jaw_pose")?,
                leye_pose: named.triple("leye_pose")?,
                reye_pose: named.triple("reye_pose")?,
                left_hand_pose: named.hand("left_hand_pose")?,
                right_hand_pose: named.hand("right_hand_pose")?,
                transl: named.triple("transl")?,
                flat_hand_mean: named.given("flat_hand_mean").and_then(|v| v.first().map(|v| *v != 0.0)),
            })?,
            Layout::Plain => Parameters {
                shape: named.coefficients("shape", self.shape_count())?,
                expression: named.coefficients("expression", self.expression_count())?,
                rotations: axis_angles(&[named.exactly("pose", 3 * self.joint_count())?]),
                translation: named.triple("translation")?,
                ..Parameters::default()
            },
        };
        if let Some(offset) = named.given("static_offset") {
            let rows = offset.as_chunks::<3>();
            if !rows.1.is_empty() {
                return Err(Error::usage(format!("`static_offset` has {} numbers, not rows of 3", offset.len())));
            }
            out.offset = rows.0.to_vec();
        }
        for (name, rotation) in self.joint_names().iter().zip(&mut out.rotations) {
            match pose.get(&format!("joint/{name}/rotation")) {
                None => {}
                Some(&[w, x, y, z]) => *rotation = Rotation::from_quaternion([w, x, y, z]),
                Some(other) => return Err(wrong_length(&format!("joint/{name}/rotation"), other.len(), 4)),
            }
        }
        self.check(&out)?;
        Ok(out)
    }

    fn flame(&self, named: &Named<'_>) -> Result<Parameters<f32>> {
        let turn = |six_d: &str, plain: &str, first: usize| -> Result<Rotation<f32>> {
            if named.is_given(six_d) {
                let rest = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
                let values = named.filled(six_d, &rest)?;
                return Ok(Rotation::SixD(std::array::from_fn(|k| values[k])));
            }
            let length = if plain == "eyes_pose" { 6 } else { 3 };
            let values = named.exactly(plain, length)?;
            Ok(Rotation::AxisAngle(std::array::from_fn(|k| values[first + k])))
        };
        Ok(Parameters {
            shape: named.coefficients("shape", self.shape_count())?,
            expression: named.coefficients("expression", self.expression_count())?,
            // a template without eyelids cannot close them, and most trackers give none
            extras: if self.extras().is_empty() { Vec::new() } else { named.coefficients("eyelids", 2)? },
            rotations: vec![
                Rotation::AxisAngle(named.triple("rotation")?),
                turn("neck_6d", "neck_pose", 0)?,
                turn("jaw_6d", "jaw_pose", 0)?,
                turn("left_eye_6d", "eyes_pose", 0)?,
                turn("right_eye_6d", "eyes_pose", 3)?,
            ],
            translation: named.triple("translation")?,
            ..Parameters::default()
        })
    }
}

fn axis_angles(parts: &[Vec<f32>]) -> Vec<Rotation<f32>> {
    parts.iter().flat_map(|p| p.as_chunks::<3>().0).map(|r| Rotation::AxisAngle(*r)).collect()
}

fn wrong_length(name: &str, found: usize, expected: usize) -> Error {
    Error::usage(format!("`{name}` has {found} values, {expected} expected"))
}

/// Where values come from: the pose, else the constants.
struct Named<'a> {
    prefix: &'static str,
    constants: &'a [(String, Vec<f32>)],
    pose: &'a Pose,
}

impl Named<'_> {
    /// A whole group.
    fn given(&self, short: &str) -> Option<&[f32]> {
        let full = format!("{}{short}", self.prefix);
        let constant = |name: &str| self.constants.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_slice());
        self.pose.get(&full).or_else(|| constant(short)).or_else(|| constant(&full))
    }

    /// True when the group or one of its components is set.
    fn is_given(&self, short: &str) -> bool {
        let full = format!("{}{short}", self.prefix);
        let component = |name: &str| name.strip_prefix(full.as_str()).is_some_and(|rest| rest.starts_with('.'));
        self.given(short).is_some() || self.pose.iter().any(|(name, _)| component(name))
    }

    /// As many values as `rest`, which fills in what is not set.
    fn filled(&self, short: &str, rest: &[f32]) -> Result<Vec<f32>> {
        let full = format!("{}{short}", self.prefix);
        let mut out = rest.to_vec();
        if let Some(given) = self.given(short) {
            if given.len() != rest.len() {
                return Err(wrong_length(&full, given.len(), rest.len()));
            }
            out.copy_from_slice(given);
        }
        self.set_components(&full, &mut out);
        Ok(out)
    }

    /// Values that the pose sets one by one, as drivers do.
    fn set_components(&self, full: &str, out: &mut [f32]) {
        // NaN stands for what the pose does not name; a NaN that it does name is no use either
        let named = self.pose.group(full, out.len(), f32::NAN);
        for (value, named) in out.iter_mut().zip(named).filter(|(_, named)| !named.is_nan()) {
            *value = named;
        }
    }

    fn exactly(&self, short: &str, length: usize) -> Result<Vec<f32>> {
        self.filled(short, &vec![0.0; length])
    }

    fn triple(&self, short: &str) -> Result<[f32; 3]> {
        let values = self.exactly(short, 3)?;
        Ok([values[0], values[1], values[2]])
    }

    /// Up to `room` coefficients.
    fn coefficients(&self, short: &str, room: usize) -> Result<Vec<f32>> {
        let full = format!("{}{short}", self.prefix);
        let mut out = vec![0.0; room];
        if let Some(given) = self.given(short) {
            let common = given.len().min(room);
            if given[common..].iter().any(|v| *v != 0.0) {
                return Err(Error::usage(format!(
                    "`{full}` has {} coefficients, but this body has {room}",
                    given.len()
                )));
            }
            out[..common].copy_from_slice(&given[..common]);
        }
        self.set_components(&full, &mut out);
        Ok(out)
    }

    /// The values of a hand as many as there are; 45 when there are none.
    fn hand(&self, short: &str) -> Result<Vec<f32>> {
        let full = format!("{}{short}", self.prefix);
        match self.given(short) {
            None => self.exactly(short, 45),
            Some(given) if given.len() <= 45 && !given.is_empty() => self.exactly(short, given.len()),
            Some(given) => Err(wrong_length(&full, given.len(), 45)),
        }
    }
}
