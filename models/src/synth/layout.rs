//! Cameras around a subject, and the files of VHAP and GaussianAvatars that describe a capture.

use std::path::Path;

use gav_formats::{
    Camera,
    cameras::View,
    npy::{NpyArray, write_npz},
    sink::write_file_renamed,
    synthetic::head::shape::V,
};
use gav_kernels::orbit::look_at;
use serde_json::{Value, json};

use super::{Moment, Options};
use crate::{
    Error, Result,
    capture::{Split, convert::stga_frame},
};

/// The front camera, on which new views are judged.
pub const FRONT: usize = 8;
/// Coefficients of FLAME's files.
const SHAPE: usize = 300;
const EXPRESSION: usize = 100;

/// Who is looked at, metres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Aim {
    pub target: V,
    pub distance: f64,
    /// Height of the picture at that distance when it is 1.46 times as high as wide.
    pub height: f64,
    /// Cameras stand up to so many degrees to both sides.
    pub side: f64,
}

/// Cameras in an arc in front of the subject, the front one as [`FRONT`] or the last. The principal point is in the middle of the picture,
/// where all conventions of `cy` agree.
pub(super) fn cameras(options: &Options, aim: &Aim) -> Vec<Camera> {
    let count = options.cameras;
    let front = FRONT.min(count - 1);
    let [width, height] = options.size;
    let (w, h) = (f64::from(width), f64::from(height));
    let focal = aim.distance / aim.height * h.min(1.458 * w);
    (0..count)
        .map(|index| {
            // the places of the others run from side to side, at four heights
            let place = if index > front { index - 1 } else { index };
            let across = (place as f64 + 0.5) / (count - 1).max(1) as f64 * 2.0 - 1.0;
            let (azimuth, elevation) = match index == front {
                true => (0.0, 2.0),
                false => (aim.side * across, [14.0, -13.0, 27.0, 1.0][place % 4]),
            };
            let (s, c) = f64::to_radians(azimuth).sin_cos();
            let (up, level) = f64::to_radians(elevation).sin_cos();
            let back = [s * level, up, c * level];
            let center: V = std::array::from_fn(|k| aim.target[k] + aim.distance * back[k]);
            Camera {
                name: format!("camera {index}"),
                ..look_at(center, aim.target, [0.0, 1.0, 0.0], focal, width, height)
            }
        })
        .collect()
}

/// Cameras all around the subject at several heights, the front one as [`FRONT`] or the last.
pub(super) fn ring(options: &Options, aim: &Aim) -> Vec<Camera> {
    let count = options.cameras;
    let front = FRONT.min(count - 1);
    let [width, height] = options.size;
    let focal = aim.distance / aim.height * f64::from(height).min(1.5 * f64::from(width));
    (0..count)
        .map(|index| {
            let place = (index + count - front) % count;
            let azimuth = 360.0 * place as f64 / count as f64;
            let elevation = [3.0, 16.0, -4.0, 24.0][place % 4];
            let (s, c) = azimuth.to_radians().sin_cos();
            let (up, level) = f64::to_radians(elevation).sin_cos();
            let center: V = std::array::from_fn(|k| aim.target[k] + aim.distance * [s * level, up, c * level][k]);
            Camera {
                name: format!("camera {index}"),
                ..look_at(center, aim.target, [0.0, 1.0, 0.0], focal, width, height)
            }
        })
        .collect()
}

/// What the view of a time step by a camera is for; one camera alone is trained on.
pub(super) fn split(options: &Options, step: usize, camera: usize) -> Split {
    if step >= options.frames - options.test_frames {
        Split::Test
    } else if options.cameras > 1 && camera == FRONT.min(options.cameras - 1) {
        Split::Val
    } else {
        Split::Train
    }
}

/// World from camera in the axes of OpenGL, rows.
fn transform_matrix(camera: &Camera) -> [[f64; 4]; 4] {
    let m = &camera.camera_from_world;
    let mut out = [[0.0; 4]; 4];
    for r in 0..3 {
        out[r] = [m[0][r], -m[1][r], -m[2][r], -(0..3).map(|k| m[k][r] * m[k][3]).sum::<f64>()];
    }
    out[3][3] = 1.0;
    out
}

/// Picture of a time step by a camera, relative to the folder.
pub fn picture_path(step: usize, camera: usize) -> String {
    format!("images/{step:05}_{camera:02}.png")
}

/// Its mask of the foreground.
pub fn mask_path(step: usize, camera: usize) -> String {
    format!("fg_masks/{step:05}_{camera:02}.png")
}

fn parameters_path(step: usize) -> String {
    format!("flame_param/{step:05}.npz")
}

fn frame(step: usize, index: usize, camera: &Camera) -> Value {
    let [w, h] = [camera.width, camera.height];
    let angle = |size: u32, focal: f64| 2.0 * (0.5 * f64::from(size) / focal).atan();
    json!({
        "timestep_index": step, "timestep_index_original": step, "timestep_id": format!("frame_{step:05}"),
        "camera_index": index, "camera_id": format!("{index:02}"),
        "cx": camera.principal[0], "cy": camera.principal[1], "fl_x": camera.focal[0], "fl_y": camera.focal[1],
        "h": h, "w": w, "camera_angle_x": angle(w, camera.focal[0]), "camera_angle_y": angle(h, camera.focal[1]),
        "transform_matrix": transform_matrix(camera),
        "file_path": picture_path(step, index), "fg_mask_path": mask_path(step, index),
        "flame_param_path": parameters_path(step),
    })
}

/// The camera files of all splits, by name.
pub(super) fn camera_files(options: &Options, cameras: &[Camera]) -> Vec<(&'static str, Value)> {
    let file = |wanted: &dyn Fn(usize, usize) -> bool| {
        let mut frames = Vec::new();
        for step in 0..options.frames {
            let of_step = cameras.iter().enumerate().filter(|(index, _)| wanted(step, *index));
            frames.extend(of_step.map(|(index, camera)| frame(step, index, camera)));
        }
        let mut steps: Vec<Value> = frames.iter().map(|f| f["timestep_index"].clone()).collect();
        steps.dedup();
        let mut top = frames.last().cloned().unwrap_or_else(|| json!({}));
        for key in [
            "timestep_index",
            "timestep_index_original",
            "timestep_id",
            "camera_index",
            "camera_id",
            "transform_matrix",
            "file_path",
            "fg_mask_path",
            "flame_param_path",
        ] {
            top.as_object_mut().map(|o| o.shift_remove(key));
        }
        let mut indices: Vec<u64> = frames.iter().filter_map(|f| f["camera_index"].as_u64()).collect();
        indices.sort_unstable();
        indices.dedup();
        top["timestep_indices"] = steps.into();
        top["camera_indices"] = indices.into();
        top["frames"] = frames.into();
        top
    };
    vec![
        ("transforms.json", file(&|_, _| true)),
        ("transforms_train.json", file(&|step, camera| split(options, step, camera) == Split::Train)),
        ("transforms_val.json", file(&|step, camera| split(options, step, camera) == Split::Val)),
        ("transforms_test.json", file(&|step, camera| split(options, step, camera) == Split::Test)),
    ]
}

/// FLAME's file of one time step.
pub(super) fn flame_file(shape: &[f32], moment: &Moment) -> Result<Vec<u8>> {
    let padded = |values: &[f32], length: usize| {
        let mut out = values.to_vec();
        out.resize(length.max(values.len()), 0.0);
        out
    };
    let shape = padded(shape, SHAPE);
    let expression = padded(&moment.expression, EXPRESSION);
    let row = |values: &[f32]| NpyArray::from_f32(vec![1, values.len()], values);
    let arrays = [
        ("shape".to_owned(), NpyArray::from_f32(vec![shape.len()], &shape)),
        ("expr".into(), row(&expression)),
        ("rotation".into(), row(&moment.rotation)),
        ("neck_pose".into(), row(&moment.neck)),
        ("jaw_pose".into(), row(&moment.jaw)),
        ("eyes_pose".into(), row(&moment.eyes)),
        ("translation".into(), row(&moment.translation)),
    ];
    Ok(write_npz(&arrays)?)
}

/// The camera files of STGA, by name.
pub(super) fn stga_files(options: &Options, cameras: &[Camera]) -> Vec<(&'static str, Value)> {
    let frames = |wanted: Split| {
        let all = (0..options.frames).flat_map(|step| cameras.iter().enumerate().map(move |(index, _)| (step, index)));
        let of_split = all.filter(|(step, index)| split(options, *step, *index) == wanted);
        let frames: Vec<Value> = of_split
            .map(|(step, index)| {
                let view = View {
                    camera: cameras[index].clone(),
                    image: None,
                    mask: None,
                    parameters: None,
                    timestep: Some(step as u32),
                    camera_index: Some(index as u32),
                };
                stga_frame(&view, step as u32, &picture_path(step, index), Some(&mask_path(step, index)))
            })
            .collect();
        json!({ "frames": frames })
    };
    vec![
        ("transforms_train.json", frames(Split::Train)),
        ("transforms_val.json", frames(Split::Val)),
        ("transforms_test.json", frames(Split::Test)),
    ]
}

/// Writes everything but the pictures: the camera files last.
pub(super) fn write(folder: &Path, files: &[(String, Vec<u8>)], cameras: Vec<(&'static str, Value)>) -> Result<()> {
    let put = |name: &str, bytes: &[u8]| {
        write_file_renamed(&folder.join(name), |sink| sink.write_all(bytes).map_err(gav_formats::Error::from))
    };
    for (name, bytes) in files {
        put(name, bytes)?;
    }
    for (name, json) in cameras {
        let text = serde_json::to_vec(&json).map_err(|e| Error::usage(format!("{name}: {e}")))?;
        put(name, &text)?;
    }
    Ok(())
}

/// The file of a time step, relative to the folder.
pub(super) fn flame_name(step: usize) -> String {
    parameters_path(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gav_formats::synthetic::head::shape::{cross, dot, sub};

    #[test]
    fn cameras_look_at_the_subject_and_the_front_one_from_the_front() {
        let aim = Aim { target: [0.0, -0.02, 0.0], distance: 1.0, height: 0.4, side: 60.0 };
        for count in [1, 2, 4, 16] {
            let options = Options { cameras: count, ..Options::default() };
            let all = cameras(&options, &aim);
            assert_eq!(all.len(), count);
            for camera in &all {
                let m = &camera.camera_from_world;
                let t: V = std::array::from_fn(|r| dot([m[r][0], m[r][1], m[r][2]], aim.target) + m[r][3]);
                assert!(t[0].abs() < 1e-12 && t[1].abs() < 1e-12 && (t[2] - 1.0).abs() < 1e-12);
                assert!(m[1][1] < 0.0, "y runs down");
                let [x, y, z] = [0, 1, 2].map(|k| [m[k][0], m[k][1], m[k][2]]);
                let off = sub(cross(x, y), z);
                assert!(dot(off, off) < 1e-20, "right-handed");
            }
            let front = &all[FRONT.min(count - 1)];
            assert!(front.camera_from_world[2][2] < -0.99);
        }
    }
}
