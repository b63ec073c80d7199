//! Recordings whose conversion needs the rig: metrical-tracker moves the camera instead of the head, AMASS has another direction up.

use gav_formats::{Clip, Interpolation, Pose, RigBase, Track, clips::turn_upright};

use super::Puppet;
use crate::{
    Result,
    body::{Body, Layout},
};

/// What a tracked clip holds of the camera (`gav_formats::clips`): rotation w, x, y, z and translation of x_camera = R x + t, with x right, y
/// down, z forward.
const CAMERA: [&str; 2] = ["camera.rotation", "camera.translation"];
const TRANSLATION: &str = "flame.translation";

impl Puppet<'_> {
    /// Finishes a clip that was recorded in coordinates of its own.
    ///
    /// Whole bodies are turned about their pelvis so that they stand upright in the avatar's frame
    /// ([`turn_upright`]). A clip that has a camera's motion and a head that stands still gets `flame.translation`, as RGBAvatar does it: with
    /// D = diag(1, −1, −1), R_g = D R, t_g = D (t − t₀) and J the neck joint of the shaped and expressive, not yet posed head, it is
    /// R_g J − J + t_g. The neck's rotation R_g is in such clips already.
    ///
    /// Returns false, and leaves the clip alone, when it needs nothing or the avatar has no FLAME head.
    ///
    /// # Errors
    /// Parameters of the wrong length.
    pub fn complete(&self, clip: &mut Clip) -> Result<bool> {
        if let Some(pelvis) = self.pelvis()
            && turn_upright(clip, self.avatar.frame.up(), pelvis.map(f64::from))
        {
            return Ok(true);
        }
        let has = |name: &str| clip.tracks.iter().any(|t| t.target == name && !t.ticks.is_empty());
        let Some(body) = self.body.as_ref().filter(|b| b.layout() == Layout::Flame) else { return Ok(false) };
        if has(TRANSLATION) || !CAMERA.iter().all(|name| has(name)) {
            return Ok(false);
        }
        let constants = self.avatar.template.as_ref().map_or(&[][..], |t| &t.constants);
        let track = translation(body, constants, clip)?;
        clip.tracks.push(track);
        Ok(true)
    }

    /// Where the first joint of a whole body rests, when its motion is given in the avatar's coordinates.
    fn pelvis(&self) -> Option<[f32; 3]> {
        if let Some(body) = &self.body {
            let whole = matches!(body.layout(), Layout::Smpl | Layout::SmplX);
            return whole.then(|| self.posed_body(body, &Pose::default()).ok().map(|p| p.rest_joints[0])).flatten();
        }
        let RigBase::Skinned { skeleton, .. } = &self.avatar.rig.base else { return None };
        skeleton.joints.iter().find(|j| j.name == "pelvis" && j.parent.is_none()).map(|j| j.translation)
    }
}

fn translation(body: &Body<f32>, constants: &[(String, Vec<f32>)], clip: &Clip) -> Result<Track> {
    let ticks = clip.tracks.iter().find(|t| t.target == CAMERA[1]).map(|t| t.ticks.clone()).unwrap_or_default();
    let rate = f64::from(clip.ticks_per_second.max(1));
    let mut first = None;
    let mut values = Vec::with_capacity(3 * ticks.len());
    for tick in &ticks {
        let pose = clip.pose_at(f64::from(*tick) / rate);
        let start = first.get_or_insert_with(|| pose.group(CAMERA[1], 3, 0.0));
        values.extend(head_translation(body, constants, &pose, start)?);
    }
    Ok(Track { target: TRANSLATION.to_owned(), width: 3, interpolation: Interpolation::Linear, ticks, values })
}

/// `flame.translation` of a tracked pose, whose first frame had the camera's translation `start`.
///
/// # Errors
/// Parameters of the wrong length.
pub(crate) fn head_translation(
    body: &Body<f32>,
    constants: &[(String, Vec<f32>)],
    pose: &Pose,
    start: &[f32],
) -> Result<[f32; 3]> {
    let (turn, place) = (pose.group(CAMERA[0], 4, 0.0), pose.group(CAMERA[1], 3, 0.0));
    let m = gav_formats::conventions::matrix_from_quaternion(std::array::from_fn(|k| f64::from(turn[k])));
    let flip = [1.0, -1.0, -1.0];
    let mut head = body.parameters(constants, pose)?;
    (head.rotations, head.extras, head.translation) = (Vec::new(), Vec::new(), [0.0; 3]);
    let neck = body.pose(&head).rest_joints[1].map(f64::from);
    Ok(std::array::from_fn(|r| {
        let turned: f64 = (0..3).map(|c| flip[r] * m[r][c] * neck[c]).sum();
        (turned - neck[r] + flip[r] * f64::from(place[r] - start[r])) as f32
    }))
}
