//! Lists of cameras: our own, and the `cameras.json` that the trainer of 3D Gaussian splatting leaves beside its results.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::{CameraFile, FORMAT, View, bad, camera_from_world};
use crate::{Camera, Error, Frame, Result};

/// A camera of 3DGS' `cameras.json`.
#[derive(Deserialize)]
struct Trained {
    #[serde(default)]
    img_name: String,
    width: u32,
    height: u32,
    /// Centre in the world.
    position: [f64; 3],
    /// World from camera, rows.
    rotation: [[f64; 3]; 3],
    fx: f64,
    fy: f64,
}

#[derive(Deserialize)]
struct Own {
    #[serde(default)]
    name: String,
    width: u32,
    height: u32,
    focal: [f64; 2],
    principal: [f64; 2],
    camera_from_world: [[f64; 4]; 3],
    #[serde(default)]
    orthographic: bool,
}

/// Reads `list`; `frame` is what stands beside it.
pub(super) fn read(list: &Value, frame: Option<&Value>) -> Result<CameraFile> {
    let layout = |message: String| Error::format(FORMAT, "LAYOUT", 0, message);
    let list = list.as_array().ok_or_else(|| layout("`cameras` is no list".to_owned()))?;
    let frame = match frame {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.parse::<Frame>().map_err(|e| bad(e.to_string()))?),
        Some(other) => return Err(bad(format!("`frame` is {other}, three letters expected"))),
    };
    let view = |(index, value): (usize, &Value)| -> Result<View> {
        let broken = |e: serde_json::Error| layout(format!("camera {index}: {e}"));
        if value.get("camera_from_world").is_some() {
            let Own { name, width, height, focal, principal, camera_from_world, orthographic } =
                Own::deserialize(value).map_err(broken)?;
            let camera = Camera { name, width, height, focal, principal, camera_from_world, orthographic };
            return Ok(View { camera, ..View::default() });
        }
        if value.get("position").is_none() {
            return Err(layout(format!("camera {index} has neither `camera_from_world` nor `position`")));
        }
        let trained = Trained::deserialize(value).map_err(broken)?;
        let camera = Camera {
            name: trained.img_name.clone(),
            width: trained.width,
            height: trained.height,
            focal: [trained.fx, trained.fy],
            principal: [0.5 * f64::from(trained.width), 0.5 * f64::from(trained.height)],
            camera_from_world: camera_from_world(trained.rotation, trained.position),
            orthographic: false,
        };
        let image = (!trained.img_name.is_empty()).then(|| PathBuf::from(trained.img_name));
        Ok(View { camera, image, ..View::default() })
    };
    let views = list.iter().enumerate().map(view).collect::<Result<_>>()?;
    Ok(CameraFile { views, frame, warnings: Vec::new() })
}
