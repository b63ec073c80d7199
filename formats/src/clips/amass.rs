//! AMASS: whole-body motion as `poses`, `trans` and a frame rate.
//!
//! 156 numbers a row are SMPL-H (root 3, body 63, left and right hand 45 each), 165 SMPL-X (root 3, body 63, jaw 3, eyes 3 and 3, hands), 72
//! SMPL (root 3, body 69). Rotations are axis-angle vectors; hands turn from the flat hand. The body of SMPL-H has the joints of
//! SMPL-X, so both become `smplx.…`; its `betas` belong to another shape space. AMASS stands upright along +z. Turning a body needs its
//! pelvis, so the motion is left as it is, and [`WORLD_UP`] says where up was.

use super::{Clip, ClipOptions, Interpolation, Track, array, array::Rows, bad, input::Input};
use crate::Result;

/// Target of a track of one key: the direction that was up where a clip was recorded, if that is not the avatar's.
pub const WORLD_UP: &str = "world.up";

const HANDS: usize = 45;

/// Groups of a row by its length.
fn layout(width: usize) -> Option<(&'static str, &'static [(&'static str, usize)])> {
    Some(match width {
        72 => ("smpl.", &[("global_orient", 3), ("body_pose", 69)]),
        156 => (
            "smplx.",
            &[("global_orient", 3), ("body_pose", 63), ("left_hand_pose", HANDS), ("right_hand_pose", HANDS)],
        ),
        165 => (
            "smplx.",
            &[
                ("global_orient", 3),
                ("body_pose", 63),
                ("jaw_pose", 3),
                ("leye_pose", 3),
                ("reye_pose", 3),
                ("left_hand_pose", HANDS),
                ("right_hand_pose", HANDS),
            ],
        ),
        _ => return None,
    })
}

pub(super) fn sniff(input: &Input) -> bool {
    array::members(input).iter().any(|name| name == "poses")
}

pub(super) fn read(input: &Input, options: &ClipOptions) -> Result<Vec<Clip>> {
    let npz = array::open(input, options)?;
    let poses = npz.get("poses").ok_or_else(|| bad("`poses` holds no numbers"))?;
    let poses = Rows::of("poses", "", poses, None)?;
    let (family, groups) = layout(poses.width)
        .ok_or_else(|| bad(format!("`poses` has {} numbers a frame, 72, 156 or 165 expected", poses.width)))?;
    let mut all = Vec::new();
    let mut from = 0;
    for (group, width) in groups {
        all.push(poses.part(format!("{family}{group}"), from, *width));
        from += width;
    }
    if let Some(trans) = npz.get("trans") {
        all.push(Rows::of("trans", format!("{family}transl"), trans, Some(3))?);
    }
    if let Some(betas) = npz.get("betas").filter(|_| options.identity && poses.width != 156) {
        all.push(Rows::of("betas", format!("{family}betas"), betas, Some(betas.len()))?);
    }
    let mut tracks = array::tracks(all)?;
    tracks.push(Track {
        target: WORLD_UP.to_owned(),
        width: 3,
        interpolation: Interpolation::Step,
        ticks: vec![0],
        values: vec![0.0, 0.0, 1.0],
    });
    Ok(vec![array::clip(String::new(), tracks, array::rate(&npz)?)?])
}
