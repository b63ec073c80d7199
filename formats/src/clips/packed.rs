//! SMPL-X parameters as rows of one array, recognised by their length; layouts of SIGMAN, AMASS and THuman data.
//!
//! | numbers | in this order |
//! | --- | --- |
//! | 188 | transl, global_orient, betas 10, body_pose, expression 10, left and right hand 45 each, jaw, left and right eye |
//! | 179 | the same without jaw and eyes |
//! | 175 | global_orient, body_pose, left and right hand 45 each, jaw, left and right eye, betas 10 |
//! | 123 | scale, transl, global_orient, body_pose, betas 10, left and right hand 12 components each, jaw, left and right eye, expression 10 |
//!
//! Rows of 188 and 179 stand where a camera saw them: they are put upright at SIGMAN's place, `transl` (0, 0.35, 0) without global
//! orientation; rows of 175 keep their orientation there. The scale is not used.

use super::{Clip, ClipOptions, array, array::Rows, bad, input::Input};
use crate::{
    Result,
    npy::{MAGIC, NpyArray, read_npy},
};

type Layout = &'static [(&'static str, usize)];

const L188: Layout = &[
    ("", 6),
    ("betas", 10),
    ("body_pose", 63),
    ("expression", 10),
    ("left_hand_pose", 45),
    ("right_hand_pose", 45),
    ("jaw_pose", 3),
    ("leye_pose", 3),
    ("reye_pose", 3),
];
const L175: Layout = &[
    ("global_orient", 3),
    ("body_pose", 63),
    ("left_hand_pose", 45),
    ("right_hand_pose", 45),
    ("jaw_pose", 3),
    ("leye_pose", 3),
    ("reye_pose", 3),
    ("betas", 10),
];
const L123: Layout = &[
    ("", 1),
    ("transl", 3),
    ("global_orient", 3),
    ("body_pose", 63),
    ("betas", 10),
    ("left_hand_pose", 12),
    ("right_hand_pose", 12),
    ("jaw_pose", 3),
    ("leye_pose", 3),
    ("reye_pose", 3),
    ("expression", 10),
];
/// Where SIGMAN puts bodies, in metres.
const PLACE: [f32; 3] = [0.0, 0.35, 0.0];

fn layout(width: usize) -> Option<Layout> {
    match width {
        188 => Some(L188),
        179 => Some(&L188[..6]),
        175 => Some(L175),
        123 => Some(L123),
        _ => None,
    }
}

pub(super) fn sniff(input: &Input) -> bool {
    input.bytes().starts_with(MAGIC) || array::members(input).len() == 1 && !array::sniff(input)
}

pub(super) fn read(input: &Input, options: &ClipOptions) -> Result<Vec<Clip>> {
    let (name, array) = if input.bytes().starts_with(MAGIC) {
        ("array".to_owned(), read_npy(input.bytes(), &options.limits)?)
    } else {
        let single = array::open(input, options)?.arrays.into_iter().next();
        single.ok_or_else(|| bad("the only array holds no numbers"))?
    };
    let rows = whole_rows(&name, &array)?;
    let layout = layout(rows.width).ok_or_else(|| {
        bad(format!("`{name}` has {} numbers a row; 188, 179, 175 or 123 are known for SMPL-X", rows.width))
    })?;
    let mut all = Vec::new();
    let mut from = 0;
    for (group, width) in layout {
        match *group {
            "" => {}
            "betas" if !options.identity => {}
            "betas" => {
                let betas = rows.part("smplx.betas", from, *width);
                all.push(Rows {
                    count: betas.count.min(1),
                    values: betas.values.into_iter().take(*width).collect(),
                    ..betas
                });
            }
            group => all.push(rows.part(format!("smplx.{group}"), from, *width)),
        }
        from += width;
    }
    if !layout.iter().any(|(group, _)| *group == "transl") && rows.count > 0 {
        let target = "smplx.transl".to_owned();
        all.push(Rows { name: name.clone(), target, count: 1, width: 3, values: PLACE.to_vec() });
    }
    Ok(vec![array::clip(String::new(), array::tracks(all)?, None)?])
}

/// One row is often saved without the axis of time.
fn whole_rows(name: &str, array: &NpyArray) -> Result<Rows> {
    let width = if array.shape.len() == 1 { Some(array.len()) } else { None };
    Rows::of(name, "", array, width)
}
