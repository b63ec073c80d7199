//! VHAP as INSTA: one camera, pictures with a matte, checkpoints of metrical-tracker.
//!
//! That tracker turns neither root nor neck: the head stands still and the camera moves. What carries the head in VHAP is what its neck
//! joint does to points that follow it alone, H = [R_h | t_h]; with the camera [R_c | t_c] the checkpoint holds R = R_c R_h and
//! t = R_c t_h + t_c, so every vertex that follows the neck, the jaw and the eyes keeps its place in the picture.

use gav_formats::{
    Limits, Pose,
    cameras::{CameraAxes, View},
    npy::NpyArray,
    weights::{Entry, write_arrays},
};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::{
    Conversion, Step, Written,
    cameras::{angle, world_from_camera},
    ending,
};
use crate::{
    Error, Result,
    body::{Body, Layout, Parameters, Rotation},
    capture::{Split, parameters, pictures::read, pose_free},
    picture::{decode, decode_mask8},
};

/// FLAME's joint that carries the head.
const NECK: usize = 1;
/// Frames that trainers keep for tests when the capture has none: 350 (RGBAvatar), but no more than this share.
const TESTED: (usize, f64) = (350, 0.2);
/// Angle by which the canonical mouth is open, degrees.
const OPEN: f32 = 12.0;

impl Conversion<'_> {
    pub(super) fn write_insta(&self, step: &Step, pose: &Pose) -> Result<Written> {
        let view = &self.view(step.views[0]).1;
        let number = step.number;
        let mut written = Written::default();
        self.matted(&mut written, step, view)?;
        let head = Head::of(self.body, pose, view)?;
        let frame = head.checkpoint(&format!("{number:05}"), view)?;
        let lines: Vec<String> = head.parameters.expression.iter().map(|v| format!("{v:?}\n")).collect();
        self.put(&mut written, format!("flame/exp/{number:05}.txt"), lines.concat().as_bytes())?;
        let mesh = obj(&pose_free(self.body, pose)?, self.body.faces());
        self.put(&mut written, format!("meshes/{number:05}.obj"), &mesh)?;
        self.put(&mut written, format!("checkpoint/{number:05}.frame"), &frame)?;
        Ok(written)
    }

    /// The picture with straight alpha: its mask, or the alpha that it has. Colours stay as they are.
    fn matted(&self, written: &mut Written, step: &Step, view: &View) -> Result<()> {
        let limits = Limits::default();
        let name = format!("images/{:05}.png", step.number);
        let Some(from) = &view.image else {
            return Err(Error::usage(format!("view `{}` names no picture", view.camera.name)));
        };
        let mask = view.mask.as_ref().filter(|m| m.is_file());
        let picture = decode(from, &read(from, &limits)?, &limits)?;
        let refused = |path: &std::path::Path, code, message: String| Error::Picture {
            path: path.to_owned(),
            source: gav_formats::Error::format("picture", code, 0, message),
        };
        let alpha = match (mask, picture.alpha) {
            (Some(path), _) => {
                let (width, height, mask) = decode_mask8(path, &read(path, &limits)?, &limits)?;
                if (width, height) != (picture.width, picture.height) {
                    let message =
                        format!("{width} × {height} pixels, {} × {} of its picture", picture.width, picture.height);
                    return Err(refused(path, "SIZE", message));
                }
                mask
            }
            (None, Some(_)) if ending(from) == "png" => return self.place(written, name, from, view),
            (None, Some(alpha)) => alpha.into_iter().map(byte).collect(),
            (None, None) => {
                let message = "neither a mask nor alpha says what its background is, which INSTA takes away";
                return Err(refused(from, "NO_MASK", message.to_owned()));
            }
        };
        let (w, h) = (view.camera.width, view.camera.height);
        if (picture.width, picture.height) != (w as usize, h as usize) {
            let message = format!("{} × {} pixels, {w} × {h} by its camera", picture.width, picture.height);
            return Err(refused(from, "SIZE", message));
        }
        let colors = picture.rgb.chunks_exact(3).zip(alpha);
        let data: Vec<u8> = colors.flat_map(|(c, a)| [byte(c[0]), byte(c[1]), byte(c[2]), a]).collect();
        let failed = |e: png::EncodingError| Error::usage(format!("{name}: {e}"));
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, w, h);
        encoder.set_color(png::ColorType::Rgba);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(&data).and_then(|()| writer.finish()).map_err(failed)?;
        self.put(written, name, &bytes)
    }

    pub(super) fn finish_insta(&self, steps: &[&Step], identity: &Pose) -> Result<()> {
        let first = steps[0];
        if first.number != 0 {
            let message =
                format!("time step {} failed, and all others are placed by the first", self.steps[0].timestep);
            return Err(Error::usage(message));
        }
        let frame = |step: &&Step| -> Result<Value> {
            let view = &self.view(step.views[0]).1;
            let head = Head::of(self.body, &parameters(&step.tracked)?, view)?;
            let mut camera = view.camera.clone();
            camera.camera_from_world = std::array::from_fn(|r| {
                let [x, y, z] = head.rotation[r];
                [x, y, z, head.translation[r]]
            });
            let n = step.number;
            Ok(json!({"file_path": format!("images/{n:05}.png"), "mesh_path": format!("meshes/{n:05}.obj"),
                "exp_path": format!("flame/exp/{n:05}.txt"), "transform_matrix": world_from_camera(&camera, CameraAxes::OpenCv)}))
        };
        let frames: Vec<Value> = steps.par_iter().map(frame).collect::<Result<_>>()?;
        let is_test = |step: &&Step| self.view(step.views[0]).0 == Split::Test;
        let tested = match steps.iter().filter(|s| is_test(s)).count() {
            0 => TESTED.0.min((TESTED.1 * steps.len() as f64) as usize),
            count => count,
        };
        let (train, test) = frames.split_at(frames.len() - tested);
        let camera = &self.view(first.views[0]).1.camera;
        let ([fx, fy], [cx, cy]) = (camera.focal, camera.principal);
        // nothing is kept for a third list: it would count views twice
        for (file, frames) in [("", &frames[..]), ("_train", train), ("_val", &[]), ("_test", test)] {
            let whole = json!({"w": camera.width, "h": camera.height, "cx": cx, "cy": cy, "fl_x": fx, "fl_y": fy,
                "camera_angle_x": angle(camera.width, fx), "camera_angle_y": angle(camera.height, fy),
                "integer_depth_scale": 0.001, "frames": frames});
            self.put_last(&format!("transforms{file}.json"), whole.to_string().as_bytes())?;
        }
        let mut open = Pose::default();
        for name in ["flame.shape", "flame.static_offset"] {
            if let Some(values) = identity.get(name) {
                open.set(name, values);
            }
        }
        open.set("flame.jaw_pose", [OPEN.to_radians(), 0.0, 0.0]);
        self.put_last("canonical.obj", &obj(&pose_free(self.body, &open)?, self.body.faces()))
    }
}

fn byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

/// A mesh as Wavefront OBJ.
fn obj(vertices: &[[f32; 3]], faces: &[[u32; 3]]) -> Vec<u8> {
    let mut text: String = vertices.iter().map(|[x, y, z]| format!("v {x:?} {y:?} {z:?}\n")).collect();
    text.extend(faces.iter().map(|f| format!("f {} {} {}\n", f[0] + 1, f[1] + 1, f[2] + 1)));
    text.into_bytes()
}

/// What a checkpoint says: x_camera = R x + t of points of the head at rest, x right, y down, z forward.
struct Head {
    parameters: Parameters<f32>,
    rotation: [[f64; 3]; 3],
    translation: [f64; 3],
}

impl Head {
    fn of(body: &Body<f32>, pose: &Pose, view: &View) -> Result<Self> {
        if body.layout() != Layout::Flame {
            let family = crate::body::family_name(body.family());
            return Err(Error::usage(format!("checkpoints of INSTA hold FLAME, not {family}")));
        }
        let parameters = body.parameters(&[], pose)?;
        let head = body.pose(&parameters).transforms[NECK].map(|row| row.map(f64::from));
        let camera = &view.camera.camera_from_world;
        let apply = |r: usize, column: usize| (0..3).map(|k| camera[r][k] * head[k][column]).sum::<f64>();
        Ok(Self {
            rotation: std::array::from_fn(|r| std::array::from_fn(|c| apply(r, c))),
            translation: std::array::from_fn(|r| apply(r, 3) + camera[r][3]),
            parameters,
        })
    }

    /// The bytes of the file: FLAME as the tracker counts it, the camera in its own and in OpenCV's axes.
    fn checkpoint(&self, id: &str, view: &View) -> Result<Vec<u8>> {
        let floats = |name: &str, shape: &[usize], values: &[f32]| {
            let mut all = values.to_vec();
            all.resize(shape.iter().product(), 0.0);
            (name.to_owned(), Entry::Array(NpyArray::from_f32(shape.to_vec(), &all)))
        };
        let group = |name: &str, entries: Vec<(String, Entry)>| (name.to_owned(), Entry::Group(entries));
        let p = &self.parameters;
        let six = |joint: usize| -> [f32; 6] {
            let m = p.rotations.get(joint).map_or_else(|| Rotation::default().matrix(), Rotation::matrix);
            [m[0][0], m[0][1], m[0][2], m[1][0], m[1][1], m[1][2]]
        };
        let (w, h) = (view.camera.width, view.camera.height);
        let ([fx, fy], [cx, cy]) = (view.camera.focal, view.camera.principal);
        let half = 0.5 * f64::from(w.min(h));
        let (r, t) = (&self.rotation, &self.translation);
        // row vectors, x left, y up: columns of R with the signs of its first two rows turned
        let rows = [[-r[0][0], -r[1][0], r[2][0]], [-r[0][1], -r[1][1], r[2][1]]];
        let narrow = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<f32>>();
        let shown = [-t[0], -t[1], t[2]];
        let point = [(0.5 * f64::from(w) - cx) / half, (0.5 * f64::from(h) - cy) / half];
        let matrix = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0];
        let entries = [
            group(
                "flame",
                vec![
                    floats("exp", &[1, 100], &p.expression),
                    floats("shape", &[1, 300], &p.shape),
                    floats("tex", &[1, 140], &[]),
                    floats("sh", &[1, 9, 3], &[]),
                    floats("eyes", &[1, 12], &[six(3), six(4)].concat()),
                    floats("eyelids", &[1, 2], &p.extras),
                    floats("jaw", &[1, 6], &six(2)),
                ],
            ),
            group(
                "camera",
                vec![
                    floats("R", &[1, 6], &narrow(rows.as_flattened())),
                    floats("t", &[1, 3], &narrow(&shown)),
                    floats("fl", &[1, 1], &narrow(&[fx / half])),
                    floats("pp", &[1, 2], &narrow(&point)),
                ],
            ),
            group(
                "opencv",
                vec![
                    floats("R", &[1, 3, 3], &narrow(r.as_flattened())),
                    floats("t", &[1, 3], &narrow(t)),
                    floats("K", &[1, 3, 3], &narrow(&matrix)),
                ],
            ),
            ("img_size".to_owned(), Entry::Array(NpyArray::from_i64(vec![2], &[i64::from(h), i64::from(w)]))),
            ("frame_id".to_owned(), Entry::Text(id.to_owned())),
            ("global_step".to_owned(), Entry::Whole(0)),
        ];
        if p.expression.len() > 100 || p.shape.len() > 300 {
            let (e, s) = (p.expression.len(), p.shape.len());
            return Err(Error::usage(format!(
                "{e} expression and {s} identity coefficients, a checkpoint holds 100 and 300"
            )));
        }
        Ok(write_arrays(id, &entries)?)
    }
}
