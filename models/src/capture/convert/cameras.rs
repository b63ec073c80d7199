//! Cameras as the frames of a `transforms.json`.

use gav_formats::{
    Camera,
    cameras::{CameraAxes, View},
};
use serde_json::{Value, json};

use super::super::Capture;
use crate::{Error, Result};

/// The camera that was asked for, or the only one.
pub(super) fn the_one(capture: &Capture, wanted: Option<u32>) -> Result<u32> {
    let all = capture.cameras();
    let list = || all.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    match (wanted, all.first()) {
        (Some(camera), _) if all.contains(&camera) => Ok(camera),
        (Some(camera), _) => Err(Error::usage(format!("no camera {camera}: there is {}", list()))),
        (None, Some(only)) if all.len() == 1 => Ok(*only),
        (None, None) => Err(Error::usage(format!("{}: the views have no `camera_index`", capture.folder.display()))),
        (None, Some(_)) => Err(Error::usage(format!("one camera is to be chosen: there is {}", list()))),
    }
}

/// World from camera, 4 × 4, in the axes that a file has.
pub(super) fn world_from_camera(camera: &Camera, axes: CameraAxes) -> [[f64; 4]; 4] {
    let m = &camera.camera_from_world;
    let sign = match axes {
        CameraAxes::OpenGl => [1.0, -1.0, -1.0],
        CameraAxes::OpenCv => [1.0; 3],
    };
    std::array::from_fn(|r| {
        if r == 3 {
            return [0.0, 0.0, 0.0, 1.0];
        }
        let center = -(0..3).map(|k| m[k][r] * m[k][3]).sum::<f64>();
        [m[0][r] * sign[0], m[1][r] * sign[1], m[2][r] * sign[2], center]
    })
}

/// Angle that `size` pixels fill.
pub(super) fn angle(size: u32, focal: f64) -> f64 {
    2.0 * (0.5 * f64::from(size) / focal).atan()
}

/// A frame of STGA.
pub(crate) fn stga_frame(view: &View, keyframe: u32, picture: &str, mask: Option<&str>) -> Value {
    let camera = &view.camera;
    let ([fx, fy], [cx, cy]) = (camera.focal, camera.principal);
    let mut frame = json!({
        "keyframe": keyframe,
        "file_path": picture,
        "w": camera.width,
        "h": camera.height,
        "camera_angle_x": angle(camera.width, fx),
        "camera_angle_y": angle(camera.height, fy),
        "K": [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]],
        "transform_matrix": world_from_camera(camera, CameraAxes::OpenGl),
    });
    if let Some(index) = view.camera_index {
        frame["camera_index"] = json!(index);
    }
    if let Some(mask) = mask {
        frame["fg_mask_path"] = json!(mask);
    }
    frame
}
