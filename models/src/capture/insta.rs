//! What INSTA keeps beside the pictures: a checkpoint of metrical-tracker for each of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gav_formats::{
    Pose, Source,
    clips::{ClipOptions, read_source},
    weights::{Arrays, Limits, read_arrays},
};

use crate::{Error, Result, body::Body, puppet::head_translation};

/// Pictures and checkpoints, each in the order of their names, in which they belong together.
///
/// # Errors
/// Folders that cannot be read.
pub fn files(folder: &Path) -> Result<[Vec<PathBuf>; 2]> {
    Ok([pictures(&folder.join("images"))?, list(&folder.join("checkpoint"), &["frame"])?])
}

/// The pictures of a folder, in the order of their names; none when it is not there.
///
/// # Errors
/// Folders that cannot be read.
pub fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    list(folder, &["png", "jpg", "jpeg", "webp"])
}

fn list(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(gav_formats::Error::io(folder, e).into()),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|e| gav_formats::Error::io(folder, e))?.path());
    }
    let fits =
        |path: &PathBuf| path.extension().is_some_and(|e| endings.iter().any(|ending| e.eq_ignore_ascii_case(ending)));
    paths.retain(fits);
    paths.sort_unstable();
    Ok(paths)
}

/// The camera of a checkpoint, and what it says of its picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Rows of `opencv.R`: x right, y down, z forward from the head at rest. Files that lack it have none here; [`pose`] knows their other form.
    pub rotation: Option<[[f64; 3]; 3]>,
    /// `opencv.K`, or what `camera.fl` and `camera.pp` say: focal lengths and principal point, pixels.
    pub intrinsics: Option<[f64; 4]>,
    /// `img_size`: height, width.
    pub size: Option<[i64; 2]>,
    /// Names of FLAME's members that are missing.
    pub missing: Vec<&'static str>,
}

/// Members without which a checkpoint is none.
const NEEDED: [&str; 4] = ["flame.exp", "flame.shape", "flame.jaw", "flame.eyes"];

/// Reads what [`gav_formats::clips`] does not give.
///
/// # Errors
/// Files that cannot be read, and that hold something else.
pub fn checkpoint(path: &Path) -> Result<Checkpoint> {
    let arrays: Arrays = read_arrays(&Source::open(path)?, &Limits::default())
        .map_err(|e| Error::usage(format!("{}: {e}", path.display())))?;
    let numbers = |name: &str, count: usize| arrays.get(name).map(|a| a.to_f64()).filter(|v| v.len() == count);
    let size = numbers("img_size", 2).map(|s| [s[0] as i64, s[1] as i64]);
    // files without `opencv.K`: halves of the shorter side, the principal point from the middle to the left and up
    let from_halves = || {
        let (focal, point, [height, width]) = (numbers("camera.fl", 1)?, numbers("camera.pp", 2)?, size?);
        let half = 0.5 * width.min(height) as f64;
        let middle = [0.5 * width as f64, 0.5 * height as f64];
        Some([focal[0] * half, focal[0] * half, middle[0] - point[0] * half, middle[1] - point[1] * half])
    };
    Ok(Checkpoint {
        rotation: numbers("opencv.R", 9).map(|m| std::array::from_fn(|r| std::array::from_fn(|c| m[3 * r + c]))),
        intrinsics: numbers("opencv.K", 9).map(|k| [k[0], k[4], k[2], k[5]]).or_else(from_halves),
        size,
        missing: NEEDED.into_iter().filter(|name| arrays.get(name).is_none()).collect(),
    })
}

/// What a checkpoint says of the head, with its identity and the camera's motion (`camera.rotation`, `camera.translation`).
///
/// # Errors
/// Files that cannot be read and hold something else.
pub fn tracked(path: &Path) -> Result<Pose> {
    let options = ClipOptions { identity: true, ..ClipOptions::default() };
    let clips =
        read_source(&Source::open(path)?, &options).map_err(|e| Error::usage(format!("{}: {e}", path.display())))?;
    Ok(clips.first().map(|clip| clip.pose_at(0.0)).unwrap_or_default())
}

/// Where the camera of the first checkpoint is: `opencv.t`, the origin of all others.
///
/// # Errors
/// As [`tracked`].
pub fn origin(path: &Path) -> Result<[f32; 3]> {
    let place = tracked(path)?.group("camera.translation", 3, 0.0);
    Ok([place[0], place[1], place[2]])
}

/// The parameters of a frame in a world in which the camera stands still: the neck carries the motion of the head, x right, y up, z to
/// the camera, the origin where that of FLAME is in the first frame ([`origin`]).
///
/// # Errors
/// As [`tracked`]; parameters that do not fit the body.
pub fn pose(path: &Path, body: &Body<f32>, origin: [f32; 3]) -> Result<Pose> {
    let mut pose = tracked(path)?;
    let translation = head_translation(body, &[], &pose, &origin)?;
    pose.set("flame.translation", translation);
    Ok(pose)
}
