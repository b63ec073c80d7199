//! Cameras of data sets and paths, from JSON files: where pictures were taken, or shall be taken.
//!
//! | layout | recognised by | axes of a camera |
//! | --- | --- | --- |
//! | ours | a list of [`Camera`]s, or `{"frame": "RUB", "cameras": [ … ]}` | x right, y down, z front |
//! | 3D Gaussian splatting, `cameras.json` | a list with `position`, `rotation` (world from camera), `fx`, `fy` | the same |
//! | NeRF, Blender, GaussianAvatars, STGA: `transforms*.json` | `frames` with `transform_matrix` (world from camera) | x right, y up, z back |
//! | INSTA `transforms*.json` | as NeRF, with `integer_depth_scale` and an `exp_path` in the frames | x right, y down, z front |
//!
//! Ours, one camera (`name` and `orthographic` may be left out); `spec/conventions.md` 4 defines the fields:
//!
//! ```json
//! [{"name": "front", "width": 512, "height": 512, "focal": [960, 960], "principal": [256, 256],
//!   "camera_from_world": [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 3]]}]
//! ```
//!
//! World coordinates are those of the splats that were trained on the data set; only the first layout can say otherwise
//! ([`CameraFile::frame`]).

mod list;
mod transforms;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Camera, Error, Frame, Limits, Result, Source};

/// Short name of these files in errors.
const FORMAT: &str = "cameras";

/// A camera with its picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct View {
    /// Where it was taken; the name is that of the picture, without folder and ending, where there is one.
    pub camera: Camera,
    /// The picture. It need not exist.
    pub image: Option<PathBuf>,
    /// Its foreground mask. It need not exist.
    pub mask: Option<PathBuf>,
    /// Tracked parameters of the subject at that time (`flame_param_path`). The file need not exist.
    pub parameters: Option<PathBuf>,
    /// Time step of a moving subject.
    pub timestep: Option<u32>,
    /// Which of several cameras took it.
    pub camera_index: Option<u32>,
}

/// All views of a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CameraFile {
    /// In the order of the file.
    pub views: Vec<View>,
    /// Axes of the world, when the file says them.
    pub frame: Option<Frame>,
    /// What the file says and is not honoured, such as lens distortion.
    pub warnings: Vec<String>,
}

/// Axes of the cameras of a `transforms.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameraAxes {
    /// x right, y up, z back.
    OpenGl,
    /// x right, y down, z front.
    OpenCv,
}

/// Which principal point counts in a `transforms.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrincipalPoint {
    /// `cx` and `cy` of the file, from the top left corner of the image.
    #[default]
    File,
    /// The middle of the image, as the loader of GaussianAvatars takes it.
    Center,
    /// `cy` counts from the bottom, as in exports of VHAP since November 2024.
    FlippedY,
}

/// How camera files are read.
#[derive(Debug, Clone, Default)]
pub struct CameraOptions {
    /// What may be spent.
    pub limits: Limits,
    /// Axes of the cameras of a `transforms.json`, when they are not those of the table above.
    pub axes: Option<CameraAxes>,
    /// Which principal point counts in a `transforms.json`.
    pub principal: PrincipalPoint,
}

/// Reads the cameras of a JSON file in any of the layouts of the [module's table](self).
///
/// # Errors
/// [`Error::Io`]; [`Error::Limit`]; `JSON` when it is none, `LAYOUT` when no layout fits, `VALUE` for numbers that make no
/// camera (the message names the camera).
pub fn read_cameras(path: &Path, options: &CameraOptions) -> Result<CameraFile> {
    let source = Source::open(path)?;
    options.limits.check_bytes(source.len() as u64)?;
    options.limits.check_json_depth(&source)?;
    let json: Value =
        serde_json::from_slice(&source).map_err(|e| Error::format(FORMAT, "JSON", 0, format!("not JSON: {e}")))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = match &json {
        Value::Object(object) if object.contains_key("frames") => transforms::read(&json, folder, options)?,
        Value::Object(object) if object.contains_key("cameras") => list::read(&json["cameras"], json.get("frame"))?,
        Value::Array(_) => list::read(&json, None)?,
        _ => {
            let message = "neither a list of cameras nor `cameras` or `frames` are in it";
            return Err(Error::format(FORMAT, "LAYOUT", 0, message));
        }
    };
    file.views.iter().enumerate().try_for_each(|(index, view)| check(&view.camera, index))?;
    Ok(file)
}

/// Refuses cameras that cannot take a picture.
fn check(camera: &Camera, index: usize) -> Result<()> {
    let problem = if camera.width == 0 || camera.height == 0 {
        format!("an image of {} × {} pixels", camera.width, camera.height)
    } else if !camera.focal.iter().all(|f| f.is_finite() && *f > 0.0) {
        format!("focal lengths {:?}", camera.focal)
    } else if !camera.principal.iter().all(|c| c.is_finite()) {
        format!("principal point {:?}", camera.principal)
    } else if !is_rigid(&camera.camera_from_world) {
        "its matrix is no rotation and translation".to_owned()
    } else {
        return Ok(());
    };
    let name = if camera.name.is_empty() { String::new() } else { format!(" `{}`", camera.name) };
    Err(bad(format!("camera {index}{name}: {problem}")))
}

/// Published matrices are rounded to 4 digits at the coarsest; a matrix that scales or shears is off by far more.
const RIGID_TOLERANCE: f64 = 1e-2;

fn is_rigid(m: &[[f64; 4]; 3]) -> bool {
    let dot = |a: usize, b: usize| (0..3).map(|k| m[a][k] * m[b][k]).sum::<f64>();
    let orthonormal = (0..3).all(|a| (0..3).all(|b| (dot(a, b) - f64::from(u8::from(a == b))).abs() < RIGID_TOLERANCE));
    orthonormal && m.iter().flatten().all(|v| v.is_finite())
}

/// Rows of the inverse of a rotation `r` (columns: the camera's axes in the world) and a centre.
fn camera_from_world(r: [[f64; 3]; 3], center: [f64; 3]) -> [[f64; 4]; 3] {
    std::array::from_fn(|k| {
        let shift = -(0..3).map(|c| r[c][k] * center[c]).sum::<f64>();
        [r[0][k], r[1][k], r[2][k], shift]
    })
}

fn bad(message: String) -> Error {
    Error::format(FORMAT, "VALUE", 0, message)
}

#[cfg(test)]
mod tests;
