//! FLAME parameters as GaussianAvatars saves them (`flame_param.npz`) and as its tracker VHAP does (one file a frame).
//!
//! Members: `expr` (up to 100), `rotation`, `neck_pose`, `jaw_pose`, `translation` (3 each), `eyes_pose` (6, left then right), each with one
//! row a frame, float32 or float64; `dynamic_offset` (V × 3 a row) may be absent, and is kept only if somebody used it. Rotations are
//! axis-angle vectors in radians. Frames that a folder lacks are interpolated.

use super::{
    Clip, ClipOptions, Track, array,
    array::Rows,
    bad,
    input::{Input, within},
};
use crate::{
    Result, Source,
    npy::{NpyArray, Npz, read_npz},
};

/// What precedes a parameter group in the names of drivers and tracks.
pub(crate) const FAMILY: &str = "flame.";
/// Member of the file, parameter group of the template, length.
pub(crate) const GROUPS: [(&str, &str, usize); 6] = [
    ("expr", "expression", EXPRESSIONS),
    ("rotation", "rotation", 3),
    ("neck_pose", "neck_pose", 3),
    ("jaw_pose", "jaw_pose", 3),
    ("eyes_pose", "eyes_pose", 6),
    ("translation", "translation", 3),
];
/// Expression coefficients of FLAME.
pub(crate) const EXPRESSIONS: usize = 100;
pub(crate) const DYNAMIC_OFFSET: &str = "dynamic_offset";
pub(crate) const SHAPE: &str = "shape";

/// The tracks of a saved performance, one key a frame.
///
/// # Errors
/// `VALUE` for rows of the wrong length, and for members of different numbers of frames.
pub(crate) fn tracks(npz: &Npz) -> Result<Vec<Track>> {
    array::tracks(rows(npz)?)
}

fn rows(npz: &Npz) -> Result<Vec<Rows>> {
    let mut all = Vec::new();
    for (member, group, width) in GROUPS {
        let Some(array) = npz.get(member) else { continue };
        // trackers often give the first 50 coefficients
        let fewer = member == "expr" && (1..width).contains(&last_extent(array));
        let width = if fewer { last_extent(array) } else { width };
        all.push(Rows::of(member, format!("{FAMILY}{group}"), array, Some(width))?);
    }
    if let Some(array) = npz.get(DYNAMIC_OFFSET).filter(|array| array.to_f32().iter().any(|v| *v != 0.0)) {
        all.push(Rows::of(DYNAMIC_OFFSET, format!("{FAMILY}{DYNAMIC_OFFSET}"), array, None)?);
    }
    Ok(all)
}

fn last_extent(array: &NpyArray) -> usize {
    array.shape.last().copied().unwrap_or(0)
}

/// The identity as a track of one key.
fn identity(npz: &Npz, options: &ClipOptions) -> Result<Option<Rows>> {
    let shape = npz.get(SHAPE).filter(|_| options.identity);
    shape.map(|shape| Rows::of(SHAPE, format!("{FAMILY}{SHAPE}"), shape, Some(shape.len()))).transpose()
}

pub(super) fn sniff(input: &Input) -> bool {
    array::members(input).iter().any(|name| name == "expr")
}

pub(super) fn read(input: &Input, options: &ClipOptions) -> Result<Vec<Clip>> {
    let npz = array::open(input, options)?;
    let mut all = rows(&npz)?;
    all.extend(identity(&npz, options)?);
    Ok(vec![array::clip(String::new(), array::tracks(all)?, array::rate(&npz)?)?])
}

const FOLDER: &str = "flame_param";

pub(super) fn sniff_folder(input: &Input) -> bool {
    input.frames(FOLDER, "npz").is_ok_and(|frames| !frames.is_empty())
}

pub(super) fn read_folder(input: &Input, options: &ClipOptions) -> Result<Vec<Clip>> {
    let frames = input.frames(FOLDER, "npz")?;
    let mut joined: Vec<Track> = Vec::new();
    let first = frames.first().map_or(0, |(number, _)| *number);
    let mut spent = 0;
    for (number, path) in &frames {
        let source = Source::open(path)?;
        let npz = within(path, read_npz(&source, &options.limits))?;
        let mut all = within(path, rows(&npz))?;
        if number == &first {
            all.extend(within(path, identity(&npz, options))?);
        }
        for rows in all {
            if rows.count != 1 {
                let message = format!("`{}` has {} rows, a file of one frame has 1", rows.name, rows.count);
                return within(path, Err(bad(message)));
            }
            spent += 4 * rows.width as u64;
            options.limits.check_bytes(spent)?;
            append(&mut joined, number - first, rows).or_else(|error| within(path, Err(error)))?;
        }
    }
    let name = match input.path.file_name() {
        // the folder around it says whose motion it is
        Some(own) if own == FOLDER => {
            Input { path: input.path.parent().unwrap_or(&input.path).into(), source: None }.stem()
        }
        _ => input.stem(),
    };
    Ok(vec![Clip { name, ticks_per_second: 0, tracks: joined }])
}

/// Adds a key to the track of its target.
pub(super) fn append(tracks: &mut Vec<Track>, tick: u32, rows: Rows) -> Result<()> {
    match tracks.iter_mut().find(|track| track.target == rows.target) {
        Some(track) if track.width as usize == rows.width => {
            track.ticks.push(tick);
            track.values.extend(rows.values);
        }
        Some(track) => {
            let message = format!("`{}` has {} values, {} in the frames before", rows.name, rows.width, track.width);
            return Err(bad(message));
        }
        None => tracks.push(Track {
            interpolation: array::interpolation(&rows.target, rows.width),
            target: rows.target,
            width: rows.width as u32,
            ticks: vec![tick],
            values: rows.values,
        }),
    }
    Ok(())
}
