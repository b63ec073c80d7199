//! SMPL-X and SMPL parameters in named groups, a row a frame (or one for all), with the names of the `smplx` package or of AMASS.

use super::{Clip, ClipOptions, array, array::Rows, input::Input};
use crate::{Result, npy::Npz};

/// Names of the member, group, numbers a row (`None`: any).
const GROUPS: [(&[&str], &str, Option<usize>); 9] = [
    (&["global_orient", "root_orient"], "global_orient", Some(3)),
    (&["body_pose", "pose_body"], "body_pose", Some(63)),
    (&["jaw_pose", "pose_jaw"], "jaw_pose", Some(3)),
    (&["leye_pose"], "leye_pose", Some(3)),
    (&["reye_pose"], "reye_pose", Some(3)),
    // axis-angle (45) or principal components
    (&["left_hand_pose"], "left_hand_pose", None),
    (&["right_hand_pose"], "right_hand_pose", None),
    (&["transl", "trans"], "transl", Some(3)),
    (&["expression"], "expression", None),
];
/// Members of AMASS that hold two groups of equal length.
const PAIRS: [(&str, [&str; 2], usize); 2] =
    [("pose_eye", ["leye_pose", "reye_pose"], 3), ("pose_hand", ["left_hand_pose", "right_hand_pose"], 45)];

pub(super) fn sniff(input: &Input) -> bool {
    let known = ["global_orient", "root_orient", "body_pose", "pose_body"];
    array::members(input).iter().any(|name| known.contains(&name.as_str()))
}

pub(super) fn read(input: &Input, options: &ClipOptions) -> Result<Vec<Clip>> {
    let npz = array::open(input, options)?;
    let family = if body_width(&npz) == Some(69) { "smpl." } else { "smplx." };
    let mut all = Vec::new();
    for (names, group, width) in GROUPS {
        let Some((name, array)) = names.iter().find_map(|name| Some((*name, npz.get(name)?))) else { continue };
        let width = match (family, group) {
            ("smpl.", "body_pose") => Some(69),
            ("smpl.", "global_orient" | "transl") | ("smplx.", _) => width,
            _ => continue,
        };
        // a single vector is one row
        let width = width.or((array.shape.len() == 1).then_some(array.len()));
        all.push(Rows::of(name, format!("{family}{group}"), array, width)?);
    }
    for (name, groups, width) in PAIRS {
        if let Some(array) = npz.get(name).filter(|_| family == "smplx.") {
            let both = Rows::of(name, "", array, Some(2 * width))?;
            all.extend([0, 1].map(|k| both.part(format!("{family}{}", groups[k]), k * width, width)));
        }
    }
    if let Some(betas) = npz.get("betas").filter(|_| options.identity) {
        // files of sequences repeat them every frame
        let rows = Rows::of("betas", format!("{family}betas"), betas, (betas.shape.len() == 1).then_some(betas.len()))?;
        let values = rows.values[..rows.width.min(rows.values.len())].to_vec();
        all.push(Rows { count: 1, values, ..rows });
    }
    Ok(vec![array::clip(String::new(), array::tracks(all)?, array::rate(&npz)?)?])
}

/// Numbers a row of the body's pose, which tell SMPL (23 joints) from SMPL-X (21).
fn body_width(npz: &Npz) -> Option<usize> {
    let array = npz.get("body_pose").or_else(|| npz.get("pose_body"))?;
    match &array.shape[..] {
        [n] => Some(*n),
        [_, rest @ ..] => Some(rest.iter().product()),
        [] => None,
    }
}
