//! `transforms.json` of NeRF and its descendants: intrinsics at the top or in every frame, world-from-camera matrices.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{CameraAxes, CameraFile, CameraOptions, PrincipalPoint, View, bad, camera_from_world};
use crate::{Camera, Result};

/// Keys of lens distortion, in the names of COLMAP and instant-ngp.
const DISTORTION: [&str; 6] = ["k1", "k2", "k3", "k4", "p1", "p2"];
/// Endings that are tried where `file_path` has none.
const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// Reads the frames; paths are relative to `folder`.
pub(super) fn read(json: &Value, folder: &Path, options: &CameraOptions) -> Result<CameraFile> {
    let frames = json["frames"].as_array().ok_or_else(|| bad("`frames` is no list".to_owned()))?;
    let insta = json.get("integer_depth_scale").is_some() && frames.iter().any(|f| f.get("exp_path").is_some());
    let axes = options.axes.unwrap_or(if insta { CameraAxes::OpenCv } else { CameraAxes::OpenGl });
    // pictures of one data set mostly have one size, and finding it means opening files
    let mut size_of_first = None;
    let mut views = Vec::with_capacity(frames.len());
    for (index, frame) in frames.iter().enumerate() {
        let numbers = Numbers { top: json, frame, index };
        let image = frame["file_path"].as_str().map(|text| picture(folder, text));
        let size = match (numbers.get("w")?, numbers.get("h")?) {
            (Some(w), Some(h)) => [w, h],
            _ => match size_of_first {
                Some(size) => size,
                None => *size_of_first.insert(size(image.as_deref(), index)?),
            },
        };
        let camera = Camera {
            name: image.as_deref().map(name).unwrap_or_default(),
            width: pixels(size[0], "w", index)?,
            height: pixels(size[1], "h", index)?,
            camera_from_world: pose(frame, axes, index)?,
            orthographic: false,
            ..numbers.intrinsics(size, options.principal)?
        };
        views.push(View {
            camera,
            image,
            mask: frame["fg_mask_path"].as_str().map(|text| folder.join(text)),
            parameters: frame["flame_param_path"].as_str().map(|text| folder.join(text)),
            timestep: ["timestep_index", "keyframe"].iter().find_map(|key| frame[*key].as_u64()).map(|t| t as u32),
            camera_index: frame["camera_index"].as_u64().map(|c| c as u32),
        });
    }
    let mut warnings = Vec::new();
    let bent = |object: &Value| DISTORTION.iter().any(|key| object[*key].as_f64().is_some_and(|v| v != 0.0));
    if bent(json) || frames.iter().any(bent) {
        warnings.push("lens distortion is given and not applied: pictures are those of a pinhole".to_owned());
    }
    Ok(CameraFile { views, frame: None, warnings })
}

/// Numbers of a frame, or of the whole file where the frame has none.
struct Numbers<'a> {
    top: &'a Value,
    frame: &'a Value,
    index: usize,
}

impl Numbers<'_> {
    fn get(&self, key: &str) -> Result<Option<f64>> {
        match self.frame.get(key).or_else(|| self.top.get(key)) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(bad(format!("frame {}: `{key}` is {value}, a number expected", self.index))),
            },
        }
    }

    /// Focal lengths from `K`, `fl_x` and `fl_y`, or the angles; principal point as asked for.
    fn intrinsics(&self, [width, height]: [f64; 2], principal: PrincipalPoint) -> Result<Camera> {
        let matrix = match self.frame.get("K").or_else(|| self.top.get("K")) {
            None | Some(Value::Null) => None,
            Some(value) => Some(
                serde_json::from_value::<[[f64; 3]; 3]>(value.clone())
                    .map_err(|e| bad(format!("frame {}: `K` is no 3 × 3 matrix: {e}", self.index)))?,
            ),
        };
        let from_angle = |angle: f64, size: f64| size / (2.0 * (0.5 * angle).tan());
        let focal_x = match (matrix, self.get("fl_x")?, self.get("camera_angle_x")?) {
            (Some(k), ..) => k[0][0],
            (None, Some(focal), _) => focal,
            (None, None, Some(angle)) => from_angle(angle, width),
            (None, None, None) => {
                let message = "neither `fl_x`, `camera_angle_x` nor `K` says the focal length";
                return Err(bad(format!("frame {}: {message}", self.index)));
            }
        };
        let focal_y = match (matrix, self.get("fl_y")?) {
            (Some(k), _) => k[1][1],
            (None, Some(focal)) => focal,
            // pixels are square unless said otherwise: `camera_angle_y` is often that of another image size
            (None, None) => focal_x,
        };
        let file = match matrix {
            Some(k) => [k[0][2], k[1][2]],
            None => [self.get("cx")?.unwrap_or(0.5 * width), self.get("cy")?.unwrap_or(0.5 * height)],
        };
        let principal = match principal {
            PrincipalPoint::File => file,
            PrincipalPoint::Center => [0.5 * width, 0.5 * height],
            PrincipalPoint::FlippedY => [file[0], height - file[1]],
        };
        Ok(Camera { focal: [focal_x, focal_y], principal, ..Camera::default() })
    }
}

/// Camera from world of a frame, in axes x right, y down, z front.
fn pose(frame: &Value, axes: CameraAxes, index: usize) -> Result<[[f64; 4]; 3]> {
    let rows: Vec<Vec<f64>> = serde_json::from_value(frame["transform_matrix"].clone())
        .map_err(|e| bad(format!("frame {index}: `transform_matrix`: {e}")))?;
    if !(3..=4).contains(&rows.len()) || rows.iter().any(|row| row.len() != 4) {
        return Err(bad(format!("frame {index}: `transform_matrix` is neither 4 × 4 nor 3 × 4")));
    }
    let sign = match axes {
        CameraAxes::OpenGl => [1.0, -1.0, -1.0],
        CameraAxes::OpenCv => [1.0; 3],
    };
    // a common factor of all axes is a scale of the scene that the centre already has
    let length = (0..3).map(|r| rows[r][0] * rows[r][0]).sum::<f64>().sqrt();
    if !(length.is_finite() && length > 0.0) {
        return Err(bad(format!("frame {index}: `transform_matrix` has no rotation")));
    }
    let rotation = std::array::from_fn(|r| std::array::from_fn(|c| rows[r][c] * sign[c] / length));
    Ok(camera_from_world(rotation, std::array::from_fn(|r| rows[r][3])))
}

/// `file_path`, which often lacks its ending.
fn picture(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join(text);
    let known = |e: &std::ffi::OsStr| ENDINGS.iter().any(|ending| e.eq_ignore_ascii_case(ending));
    if path.extension().is_some_and(known) || path.is_file() {
        return path;
    }
    let with = |ending: &str| PathBuf::from(format!("{}.{ending}", path.display()));
    ENDINGS.iter().map(|e| with(e)).find(|p| p.is_file()).unwrap_or_else(|| with(ENDINGS[0]))
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Width and height of a picture, from its header.
fn size(image: Option<&Path>, index: usize) -> Result<[f64; 2]> {
    let Some(path) = image else {
        return Err(bad(format!("frame {index}: neither `w` and `h` nor a picture says the size")));
    };
    let size = imagesize::size(path)
        .map_err(|e| bad(format!("frame {index}: `w` and `h` are missing, and {}: {e}", path.display())))?;
    Ok([size.width as f64, size.height as f64])
}

/// Largest width and height of a picture.
const MAX_SIDE: f64 = 65_536.0;

fn pixels(value: f64, key: &str, index: usize) -> Result<u32> {
    if !(1.0..=MAX_SIDE).contains(&value) {
        return Err(bad(format!("frame {index}: `{key}` is {value}, 1 to {MAX_SIDE} expected")));
    }
    Ok(value.round() as u32)
}
