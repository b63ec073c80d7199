//! Motion: what a [`Clip`] is, the files that clips come from and go to, and what can be done with them.
//!
//! [`read`] takes any file or folder that one of [`KINDS`] recognises. Identities (the shape of a head or body) belong to the avatar and
//! are left out unless [`ClipOptions::identity`] asks for them.

mod amass;
mod arkit;
mod array;
mod edit;
mod export;
pub(crate) mod flame_param;
mod input;
mod json;
mod map;
mod other;
mod packed;
mod retarget;
mod rotation;
mod smplx;
mod table;
#[cfg(test)]
mod tests;
mod time;
mod tracker;
mod types;
mod upright;

pub use amass::WORLD_UP;
pub use arkit::ARKIT;
pub use edit::check_lengths;
pub use export::{to_csv, to_json, to_npz};
pub use map::{apply_map, read_map};
pub use retarget::{Part, Rotations, fit_flame, only, relative_to_neutral};
pub use types::{Clip, Driver, DriverMap, Interpolation, Track};
pub use upright::turn_upright;

pub(crate) use time::time_base;

use std::path::Path;

use crate::{Error, Limits, Result, Source};
use input::Input;

/// A kind of file or folder that holds motion.
pub struct ClipKind {
    /// Short stable name.
    pub id: &'static str,
    /// Full name for people.
    pub name: &'static str,
    sniff: fn(&Input) -> bool,
    read: fn(&Input, &ClipOptions) -> Result<Vec<Clip>>,
    /// Frames per second of files that do not say.
    default_fps: u32,
}

/// How clips are imported.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClipOptions {
    /// Name of the clip; several are numbered. Else that of the file or folder, or the one it holds.
    pub name: Option<String>,
    /// Frames per second: of files that do not say (else 25 for trackers, 30 for others); any other clip is resampled to it.
    pub fps: Option<u32>,
    /// Also take the identity of who was recorded, as tracks of one key: `flame.shape`, `smplx.betas`, `smpl.betas`.
    pub identity: bool,
    /// What decoders may spend.
    pub limits: Limits,
}

/// Every kind, in the order in which they are tried.
pub static KINDS: &[ClipKind] = &[
    ClipKind {
        id: "vhap",
        name: "folder of VHAP's flame_param/00000.npz, or the data set around it",
        sniff: flame_param::sniff_folder,
        read: flame_param::read_folder,
        default_fps: 25,
    },
    ClipKind {
        id: "metrical-tracker",
        name: "folder of metrical-tracker's checkpoint/00000.frame, or the one around it",
        sniff: tracker::sniff,
        read: tracker::read,
        default_fps: 25,
    },
    ClipKind {
        id: "flame-param",
        name: "flame_param.npz of GaussianAvatars",
        sniff: flame_param::sniff,
        read: flame_param::read,
        default_fps: 25,
    },
    ClipKind {
        id: "amass",
        name: "AMASS .npz (SMPL, SMPL-H or SMPL-X)",
        sniff: amass::sniff,
        read: amass::read,
        default_fps: 30,
    },
    ClipKind {
        id: "smplx",
        name: "SMPL-X or SMPL .npz of named groups",
        sniff: smplx::sniff,
        read: smplx::read,
        default_fps: 30,
    },
    ClipKind {
        id: "smplx-packed",
        name: "SMPL-X .npz or .npy of rows with 188, 179, 175 or 123 values",
        sniff: packed::sniff,
        read: packed::read,
        default_fps: 30,
    },
    ClipKind {
        id: "npz",
        name: ".npz of one array a target, as written by `gav clip export`",
        sniff: array::sniff,
        read: array::read,
        default_fps: 30,
    },
    ClipKind {
        id: "arkit-csv",
        name: "CSV of Live Link Face (ARKit)",
        sniff: arkit::sniff,
        read: arkit::read,
        default_fps: 30,
    },
    ClipKind {
        id: "csv",
        name: "CSV of one column a value, with a column `seconds` or `frame`",
        sniff: table::sniff,
        read: table::read,
        default_fps: 30,
    },
    ClipKind {
        id: "json",
        name: "JSON of a clip, as written by `gav clip export`",
        sniff: json::sniff,
        read: json::read,
        default_fps: 30,
    },
    ClipKind {
        id: "gltf",
        name: "animations of a glTF file (LAM's animation.glb is one)",
        sniff: other::sniff_gltf,
        read: other::read_gltf,
        default_fps: 30,
    },
    ClipKind {
        id: "avatar",
        name: "the clips of another avatar (.gav, LAM zip, PLY with flame_param.npz)",
        sniff: other::sniff_avatar,
        read: other::read_avatar,
        default_fps: 30,
    },
];

/// Reads all motion of a file or folder.
///
/// # Errors
/// `UNKNOWN_FORMAT` when no kind fits; `VALUE` for parameters of the wrong length and for parts of different lengths, with both numbers;
/// the errors of the files themselves; [`Error::Usage`] when the avatar or glTF holds no motion.
pub fn read(path: impl AsRef<Path>, options: &ClipOptions) -> Result<Vec<Clip>> {
    read_input(&Input::open(path.as_ref())?, options)
}

/// As [`read`], for a single file that is open already.
///
/// # Errors
/// As [`read`].
pub fn read_source(source: &Source, options: &ClipOptions) -> Result<Vec<Clip>> {
    read_input(&Input::of(source.clone()), options)
}

fn read_input(input: &Input, options: &ClipOptions) -> Result<Vec<Clip>> {
    if options.fps == Some(0) {
        return Err(Error::usage("0 frames per second"));
    }
    let kind = KINDS.iter().find(|kind| (kind.sniff)(input)).ok_or_else(|| {
        let message =
            "no motion that is known: neither a FLAME, SMPL or SMPL-X recording nor CSV, JSON, glTF or an avatar";
        Error::format("clip", "UNKNOWN_FORMAT", 0, message)
    })?;
    let mut clips = (kind.read)(input, options)?;
    for (index, clip) in clips.iter_mut().enumerate() {
        // importers leave 0 where the file does not say
        match (clip.ticks_per_second, options.fps) {
            (0, fps) => clip.ticks_per_second = fps.unwrap_or(kind.default_fps),
            (_, Some(fps)) => *clip = clip.resampled(fps)?,
            (_, None) => {}
        }
        match &options.name {
            Some(name) if index == 0 => clip.name.clone_from(name),
            Some(name) => clip.name = format!("{name} {}", index + 1),
            None if clip.name.is_empty() => clip.name = input.stem(),
            None => {}
        }
        check(clip)?;
    }
    Ok(clips)
}

/// What every importer promises: finite values, keys that fit their width, ascending times.
fn check(clip: &Clip) -> Result<()> {
    for track in &clip.tracks {
        let width = track.width as usize;
        if width == 0 || track.values.len() != track.ticks.len() * width || track.ticks.windows(2).any(|p| p[0] >= p[1])
        {
            let message = format!(
                "track `{}` has {} values for {} ascending keys of width {width}",
                track.target,
                track.values.len(),
                track.ticks.len()
            );
            return Err(bad(message));
        }
        if let Some(at) = track.values.iter().position(|v| !v.is_finite()) {
            let message = format!("track `{}` is {} at key {}", track.target, track.values[at], at / width);
            return Err(bad(message));
        }
    }
    Ok(())
}

/// An error about values.
fn bad(message: impl Into<String>) -> Error {
    Error::format("clip", "VALUE", 0, message)
}
