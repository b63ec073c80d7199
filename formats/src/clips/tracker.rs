//! Checkpoints of metrical-tracker, one `.frame` file a frame, as an RGBAvatar takes them.
//!
//! | in the file | track |
//! | --- | --- |
//! | `flame.exp` 100 | `flame.expression` |
//! | `flame.jaw` 6 | `flame.jaw_6d` |
//! | `flame.eyes` 12 | `flame.left_eye_6d`, `flame.right_eye_6d` (joints 3 and 4) |
//! | `flame.eyelids` 2 | `flame.eyelids` |
//! | `opencv.R`, `opencv.t` | `flame.neck_6d`, `camera.rotation` (w, x, y, z), `camera.translation` |
//! | `flame.shape` 300 | `flame.shape`, one key, when the identity is asked for |
//!
//! The six numbers of jaw and eyes are what the tracker optimised, and no rotation to the digit; the tracks hold the first two rows of the
//! rotation that they stand for, which RGBAvatar's networks are trained on.
//!
//! The tracker moves the camera and never the head, so the head's motion is that of the camera the other way round: with R, t of a frame
//! (x_camera = R x + t, x right, y down, z forward) and t₀ of the first, R_g = D R and t_g = D (t − t₀), D = diag(1, −1, −1). RGBAvatar turns the neck
//! by R_g (the 6D form is its first two rows) about the neck joint J of the posed shape: its `flame.translation` is R_g J − J + t_g. J needs
//! the FLAME template, so that track is left to whoever has it; `camera.…` hold what it takes.

use std::path::PathBuf;

use super::{
    Clip, ClipOptions,
    array::Rows,
    bad,
    flame_param::append,
    input::{Input, within},
    rotation::{self, Matrix},
};
use crate::{
    Result, Source,
    conventions::quaternion_from_matrix,
    npy::NpyArray,
    weights::{Arrays, Limits, read_arrays},
};

const FOLDER: &str = "checkpoint";

fn frames(input: &Input) -> Result<Vec<(u32, PathBuf)>> {
    if input.has_ending("frame") { Ok(vec![(0, input.path.clone())]) } else { input.frames(FOLDER, "frame") }
}

pub(super) fn sniff(input: &Input) -> bool {
    frames(input).is_ok_and(|frames| !frames.is_empty())
}

pub(super) fn read(input: &Input, options: &ClipOptions) -> Result<Vec<Clip>> {
    let frames = frames(input)?;
    let limits = Limits { array_bytes: options.limits.decoded_bytes, ..Limits::default() };
    let name = match input.path.file_name() {
        // the folder around it says whose motion it is
        Some(own) if own == FOLDER => {
            Input { path: input.path.parent().unwrap_or(&input.path).into(), source: None }.stem()
        }
        _ => input.stem(),
    };
    let mut clip = Clip { name, ticks_per_second: 0, tracks: Vec::new() };
    let first = frames.first().map_or(0, |(number, _)| *number);
    let mut last_quaternion = None;
    for (number, path) in &frames {
        let mut read_one = || -> Result<()> {
            let source = match &input.source {
                Some(source) => source.clone(),
                None => Source::open(path)?,
            };
            let frame = read_arrays(&source, &limits)?;
            let with_identity = options.identity && *number == first;
            for rows in rows(&frame, with_identity, &mut last_quaternion)? {
                append(&mut clip.tracks, number - first, rows)?;
            }
            Ok(())
        };
        within(path, read_one())?;
    }
    Ok(vec![clip])
}

/// Member, target, first number, numbers.
const PARTS: [(&str, &str, usize, usize); 5] = [
    ("flame.exp", "flame.expression", 0, 100),
    ("flame.jaw", "flame.jaw_6d", 0, 6),
    ("flame.eyes", "flame.left_eye_6d", 0, 6),
    ("flame.eyes", "flame.right_eye_6d", 6, 6),
    ("flame.eyelids", "flame.eyelids", 0, 2),
];

fn rows(frame: &Arrays, identity: bool, last: &mut Option<[f64; 4]>) -> Result<Vec<Rows>> {
    let mut all = Vec::new();
    for (member, target, from, width) in PARTS {
        let total = if member == "flame.eyes" { 12 } else { width };
        if let Some(array) = frame.get(member) {
            let mut rows = Rows::of(member, "", array, Some(total))?.part(target, from, width);
            if width == 6 {
                for six in rows.values.as_chunks_mut::<6>().0 {
                    let turn = rotation::from_six(six.map(f64::from));
                    let turn = turn.ok_or_else(|| bad(format!("`{member}` holds {six:?}, which is no rotation")))?;
                    *six = rotation::to_six(&turn).map(|v| v as f32);
                }
            }
            all.push(rows);
        }
    }
    if identity && let Some(shape) = frame.get("flame.shape") {
        all.push(Rows::of("flame.shape", "flame.shape", shape, Some(shape.len()))?);
    }
    let (rotation, translation) = camera(frame)?;
    let mut quaternion = quaternion_from_matrix(&rotation);
    // both signs mean the same; neighbours of one sign are coded in fewer bits
    if last.is_some_and(|last| last.iter().zip(&quaternion).map(|(a, b)| a * b).sum::<f64>() < 0.0) {
        quaternion = quaternion.map(|v| -v);
    }
    *last = Some(quaternion);
    let head: Matrix = [rotation[0], rotation[1].map(|v| -v), rotation[2].map(|v| -v)];
    for (target, values) in [
        ("flame.neck_6d", rotation::to_six(&head).to_vec()),
        ("camera.rotation", quaternion.to_vec()),
        ("camera.translation", translation.to_vec()),
    ] {
        let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
        all.push(Rows {
            name: "opencv.R".to_owned(),
            target: target.to_owned(),
            count: 1,
            width: values.len(),
            values,
        });
    }
    if let Some(rows) = all.iter().find(|rows| rows.count != 1) {
        return Err(bad(format!("`{}` has {} rows, a file of one frame has 1", rows.name, rows.count)));
    }
    Ok(all)
}

/// Rotation and translation from the head to the camera in the axes of OpenCV: `opencv.R`, `opencv.t`, or where these lack
/// `camera.R` (6D, row vectors, x left, y up) and `camera.t`.
fn camera(frame: &Arrays) -> Result<(Matrix, [f64; 3])> {
    if let (Some(rotation), Some(translation)) = (frame.get("opencv.R"), frame.get("opencv.t")) {
        let m = numbers::<9>("opencv.R", rotation)?;
        let m: Matrix = [[m[0], m[1], m[2]], [m[3], m[4], m[5]], [m[6], m[7], m[8]]];
        let square = rotation::product(&m, &rotation::transposed(&m));
        let error = (0..9).map(|k| (square[k / 3][k % 3] - f64::from(u8::from(k % 4 == 0))).abs()).fold(0.0, f64::max);
        // stored as float32
        if error.is_nan() || error > 1e-3 {
            return Err(bad(format!("`opencv.R` is {error:.2e} away from a rotation")));
        }
        return Ok((m, numbers::<3>("opencv.t", translation)?));
    }
    let (Some(six), Some(translation)) = (frame.get("camera.R"), frame.get("camera.t")) else {
        return Err(bad("neither `opencv.R` and `opencv.t` nor `camera.R` and `camera.t`"));
    };
    let m = rotation::from_six(numbers::<6>("camera.R", six)?).ok_or_else(|| bad("`camera.R` is no rotation"))?;
    let turned = m.map(|[x, y, z]| [-x, -y, z]);
    let [x, y, z] = numbers::<3>("camera.t", translation)?;
    Ok((rotation::transposed(&turned), [-x, -y, z]))
}

fn numbers<const N: usize>(name: &str, array: &NpyArray) -> Result<[f64; N]> {
    let values = array.to_f64();
    let found = values.len();
    values.try_into().map_err(|_| bad(format!("`{name}` has {found} numbers, {N} expected")))
}
