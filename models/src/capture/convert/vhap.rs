//! INSTA as VHAP: one camera that stands still, files of parameters in which the neck carries the head (`crate::capture::insta`).

use std::{collections::BTreeMap, ffi::OsStr};

use gav_formats::{
    Camera, Pose,
    cameras::CameraAxes,
    conventions::quaternion_from_matrix,
    npy::{NpyArray, write_npz},
};
use serde_json::{Value, json};

use super::{
    Conversion, First, Step, Written,
    cameras::{angle, world_from_camera},
    ending,
};
use crate::{
    Error, Result,
    body::Rotation,
    capture::{FILES, Layout, insta},
};

/// How far the canonical mouth of VHAP is open, radians.
const OPEN: f32 = 0.3;

impl Conversion<'_> {
    pub(super) fn plan_vhap(&mut self) -> Result<()> {
        let capture = self.capture;
        let folder = capture.folder.display();
        if capture.layout != Layout::Insta {
            let name = capture.layout.name();
            return Err(Error::usage(format!("{folder}: VHAP is made of INSTA's checkpoints, and this is {name}")));
        }
        let [pictures, checkpoints] = insta::files(&capture.folder)?;
        if pictures.len() != checkpoints.len() || pictures.is_empty() {
            let (a, b) = (pictures.len(), checkpoints.len());
            return Err(Error::usage(format!(
                "{folder}: {a} pictures and {b} checkpoints, which belong together in order"
            )));
        }
        let name = |path: &std::path::Path| path.file_name().map(OsStr::to_owned);
        let numbers: BTreeMap<_, u32> = pictures.iter().filter_map(|p| name(p)).zip(0..).collect();
        let mut steps: BTreeMap<u32, Step> = BTreeMap::new();
        for (index, (_, view)) in capture.views.iter().enumerate() {
            let found = view.image.as_deref().and_then(name).and_then(|n| numbers.get(&n));
            let Some(&number) = found else {
                let message = format!("{folder}: the picture of view `{}` is not in images", view.camera.name);
                return Err(Error::usage(message));
            };
            let tracked = checkpoints[number as usize].clone();
            // lists of pictures for tests and for validation are often the same
            steps.entry(number).or_insert(Step { timestep: number, number, tracked, views: vec![index] });
        }
        self.steps = steps.into_values().collect();
        let first = &checkpoints[0];
        let origin = insta::origin(first)?;
        let mut camera = self.capture.views.first().map(|(_, view)| view.camera.clone()).unwrap_or_default();
        if let Some([fx, fy, cx, cy]) = insta::checkpoint(first)?.intrinsics {
            (camera.focal, camera.principal) = ([fx, fy], [cx, cy]);
        }
        let [x, y, z] = origin.map(f64::from);
        camera.camera_from_world = [[1.0, 0.0, 0.0, x], [0.0, -1.0, 0.0, y], [0.0, 0.0, -1.0, z]];
        self.first = Some(First { origin, camera });
        self.warnings
            .push("files of VHAP hold no eyelids: blinks that the expression does not have are lost".to_owned());
        Ok(())
    }

    pub(super) fn write_vhap(&self, step: &Step, pose: &Pose) -> Result<Written> {
        let view = &self.view(step.views[0]).1;
        let mut written = Written::default();
        let Some(from) = &view.image else {
            return Err(Error::usage(format!("view `{}` names no picture", view.camera.name)));
        };
        self.place(&mut written, self.picture(step), from, view)?;
        let file = self.parameters_file(pose)?;
        self.put(&mut written, format!("flame_param/{:05}.npz", step.number), &file)?;
        Ok(written)
    }

    pub(super) fn finish_vhap(&self, steps: &[&Step]) -> Result<()> {
        let Some(First { origin, camera }) = &self.first else { return Err(Error::usage("nothing was planned")) };
        let mut neutral = Pose::default();
        if let Some(shape) = insta::pose(&steps[0].tracked, self.body, *origin)?.get("flame.shape") {
            neutral.set("flame.shape", shape);
        }
        neutral.set("flame.jaw_pose", [OPEN, 0.0, 0.0]);
        self.put_last("canonical_flame_param.npz", &self.parameters_file(&neutral)?)?;
        let frame = |step: &&Step| {
            json!({"timestep_index": step.number, "camera_index": 0, "camera_id": "0",
            "file_path": self.picture(step), "flame_param_path": format!("flame_param/{:05}.npz", step.number),
            "transform_matrix": world_from_camera(camera, CameraAxes::OpenGl)})
        };
        for (split, file) in FILES {
            let frames: Vec<Value> =
                steps.iter().filter(|step| self.view(step.views[0]).0 == split).map(frame).collect();
            self.put_last(file, whole(camera, &frames).to_string().as_bytes())?;
        }
        let frames: Vec<Value> = steps.iter().map(frame).collect();
        self.put_last("transforms.json", whole(camera, &frames).to_string().as_bytes())
    }

    fn picture(&self, step: &Step) -> String {
        let from = self.view(step.views[0]).1.image.as_deref();
        format!("images/{:05}_00.{}", step.number, from.map_or_else(|| "png".to_owned(), ending))
    }

    /// A `flame_param` of one frame.
    fn parameters_file(&self, pose: &Pose) -> Result<Vec<u8>> {
        let p = self.body.parameters(&[], pose)?;
        let member = |name: &str, shape: Vec<usize>, values: &[f32]| {
            let mut all = values.to_vec();
            all.resize(shape.iter().product(), 0.0);
            (name.to_owned(), NpyArray::from_f32(shape, &all))
        };
        let turn = |joint: usize| p.rotations.get(joint).map_or([0.0; 3], vector);
        Ok(write_npz(&[
            member("shape", vec![300], &p.shape),
            member("expr", vec![1, 100], &p.expression),
            member("rotation", vec![1, 3], &turn(0)),
            member("neck_pose", vec![1, 3], &turn(1)),
            member("jaw_pose", vec![1, 3], &turn(2)),
            member("eyes_pose", vec![1, 6], &[turn(3), turn(4)].concat()),
            member("translation", vec![1, 3], &p.translation),
        ])?)
    }
}

/// The rotation vector of a joint.
fn vector(rotation: &Rotation<f32>) -> [f32; 3] {
    if let Rotation::AxisAngle(vector) = rotation {
        return *vector;
    }
    let [w, x, y, z] = quaternion_from_matrix(&rotation.matrix().map(|row| row.map(f64::from)));
    let sine = (x * x + y * y + z * z).sqrt();
    let sign = w.signum();
    // angle / sin(angle / 2) tends to 2
    let scale = sign * if sine < 1e-8 { 2.0 } else { 2.0 * sine.atan2(w * sign) / sine };
    [x, y, z].map(|v| (scale * v) as f32)
}

fn whole(camera: &Camera, frames: &[Value]) -> Value {
    let ([fx, fy], [cx, cy]) = (camera.focal, camera.principal);
    json!({"w": camera.width, "h": camera.height, "cx": cx, "cy": cy, "fl_x": fx, "fl_y": fy,
        "camera_angle_x": angle(camera.width, fx), "camera_angle_y": angle(camera.height, fy), "camera_indices": [0], "frames": frames})
}
