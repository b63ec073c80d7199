//! A capture in INSTA's layout as a training wants it: control vectors, posed meshes, one camera that stands still, matted pictures.
//!
//! The tracker moves the camera and leaves the head; here the camera of the first frame stays, and the neck carries the head's motion
//! ([`insta::pose`]): x right, y up, z to the camera, the origin where that of FLAME is in the first frame, metres.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use gav_formats::{Camera, Pose, cameras::View};
use rayon::prelude::*;

use super::{DatasetOptions, ModelOptions, Options, Seat, lattice, options::EXPRESSIONS};
use crate::{
    Error, Result,
    body::{Body, Layout, Parameters, Teeth},
    capture::{Pictures, insta},
};

/// Joint that carries the head.
const NECK: usize = 1;
/// No more than this share of the frames is kept for tests.
const TESTED: f64 = 0.2;

/// One tracked frame.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackedFrame {
    /// Name of its picture, without folder and ending.
    pub name: String,
    /// What drives the head, 129: expression 100, first two rows of the rotations of neck, jaw and both eyes 24, eyelids 2, translation 3 in
    /// metres.
    pub controls: Vec<f32>,
    /// Posed mesh, V × 3.
    pub vertices: Vec<[f32; 3]>,
}

/// A capture, opened for training.
pub struct Dataset {
    /// Where all pictures were taken from.
    pub camera: Camera,
    /// The template, with teeth.
    pub body: Body<f32>,
    /// Identity of the subject.
    pub shape: Vec<f32>,
    /// Texture coordinates of the corners of every face, F × 3 × 2.
    pub corner_uvs: Vec<[[f32; 2]; 3]>,
    /// All frames in the order of their names; the last ones are for tests.
    pub frames: Vec<TrackedFrame>,
    /// Their pictures, straight colours with a matte.
    pub pictures: Pictures,
    /// The part of a frame's controls that is the control vector θ.
    pub inputs: Range<usize>,
    /// False: the whole mesh was turned, and the neck stays straight.
    pub retarget_neck: bool,
    /// Number of frames for tests.
    pub tested: usize,
    /// What was odd and could be lived with.
    pub warnings: Vec<String>,
}

impl Dataset {
    /// Reads a folder with `images` (or `images.HQ`) and `checkpoint`; pictures are read later. FLAME without teeth gets those of RGBAvatar.
    /// `budget` is how many bytes of decoded pictures are kept.
    ///
    /// # Errors
    /// Pictures and checkpoints that are not as many, checkpoints that lack something or hold another template, a template without texture
    /// coordinates.
    pub fn open(folder: &Path, body: Body<f32>, options: &Options, budget: u64) -> Result<Self> {
        let say = |what: String| Error::usage(format!("{}: {what}", folder.display()));
        if body.layout() != Layout::Flame {
            let family = crate::body::family_name(body.family());
            return Err(say(format!("RGBAvatar's checkpoints hold FLAME, the template is {family}")));
        }
        let body = with_teeth(body)?;
        let corner_uvs = corners(&body)?;
        let [mut images, checkpoints] = insta::files(folder)?;
        if options.dataset.hq {
            images = insta::pictures(&folder.join("images.HQ"))?;
        }
        let mut warnings = Vec::new();
        pair(&images, &checkpoints, &mut warnings).map_err(|e| say(e.to_string()))?;
        let camera = camera(&checkpoints[0], options.dataset.hq)?;
        if stem(&checkpoints[0]).parse() != Ok(0u32) {
            let first = checkpoints[0].display();
            warnings
                .push(format!("the first checkpoint is {first}, not 00000.frame: the camera stands where it was then"));
        }
        let origin = insta::origin(&checkpoints[0])?;
        let read = |(image, path): (&PathBuf, &PathBuf)| -> Result<(TrackedFrame, Pose)> {
            let (pose, controls, vertices) = tracked(path, &body, origin, &options.dataset)?;
            Ok((TrackedFrame { name: stem(image), controls, vertices }, pose))
        };
        let (frames, poses): (Vec<_>, Vec<_>) =
            images.par_iter().zip(&checkpoints).map(read).collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let shape = poses[0].get("flame.shape").unwrap_or_default().to_vec();
        if let Some(k) = poses.iter().position(|p| p.get("flame.shape").unwrap_or_default() != shape) {
            warnings.push(format!("{}: another identity than in the first frame", checkpoints[k].display()));
        }
        let view = |(frame, image): (&TrackedFrame, &PathBuf)| View {
            camera: Camera { name: frame.name.clone(), ..camera.clone() },
            image: Some(image.clone()),
            ..View::default()
        };
        let pictures = Pictures::straight(frames.iter().zip(&images).map(view).collect(), budget);
        let tested = (options.dataset.test_frames as usize).min((TESTED * frames.len() as f64) as usize);
        let retarget_neck = options.dataset.retarget_neck;
        let inputs = options.dataset.inputs();
        Ok(Self { camera, body, shape, corner_uvs, frames, pictures, inputs, retarget_neck, tested, warnings })
    }

    /// Control vector of a frame.
    pub fn theta(&self, frame: usize) -> &[f32] {
        &self.frames[frame].controls[self.inputs.clone()]
    }

    /// Number of frames to train on, which come first.
    pub fn trained(&self) -> usize {
        self.frames.len() - self.tested
    }

    /// Where splats sit.
    ///
    /// # Errors
    /// A grid of which no texel lies on the template.
    pub fn seats(&self, options: &ModelOptions) -> Result<Vec<Seat>> {
        let wide: Vec<[[f64; 2]; 3]> = self.corner_uvs.iter().map(|c| c.map(|uv| uv.map(f64::from))).collect();
        let seats = lattice::seats(&wide, options.tex_size as usize);
        if seats.is_empty() {
            return Err(Error::usage(format!("no texel of a {0} × {0} grid lies on the template", options.tex_size)));
        }
        Ok(seats)
    }

    /// Hash of camera, frames and faces: another capture, or another template, has another one.
    pub fn fingerprint(&self) -> String {
        let mut hash = blake3::Hasher::new();
        let camera = &self.camera;
        for number in camera.camera_from_world.as_flattened().iter().chain(&camera.focal).chain(&camera.principal) {
            hash.update(&number.to_le_bytes());
        }
        for face in self.body.faces().as_flattened() {
            hash.update(&face.to_le_bytes());
        }
        hash.update(&(self.tested as u64).to_le_bytes());
        for frame in &self.frames {
            hash.update(frame.name.as_bytes());
            for number in frame.controls.iter().chain(frame.vertices.as_flattened()) {
                hash.update(&number.to_le_bytes());
            }
        }
        format!("blake3:{}", hash.finalize().to_hex())
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// FLAME without teeth gets them; other templates stay as they are.
fn with_teeth(body: Body<f32>) -> Result<Body<f32>> {
    if body.vertex_count() != 5023 {
        return Ok(body);
    }
    let mut parts = body.parts();
    parts.add_teeth(Teeth::RgbAvatar)?;
    Body::new(&parts)
}

fn corners(body: &Body<f32>) -> Result<Vec<[[f32; 2]; 3]>> {
    if body.uvs().is_empty() || body.uv_faces().len() != body.faces().len() {
        return Err(Error::usage(format!(
            "splats sit on a grid in texture coordinates, of which the template has {} for {} of its {} faces (`gav template add … --uv FILE`)",
            body.uvs().len(),
            if body.uvs().is_empty() { 0 } else { body.uv_faces().len() },
            body.faces().len()
        )));
    }
    Ok(body.uv_faces().iter().map(|f| f.map(|v| body.uvs()[v as usize])).collect())
}

/// Pictures and checkpoints belong together in the order of their names.
fn pair(images: &[PathBuf], checkpoints: &[PathBuf], warnings: &mut Vec<String>) -> Result<()> {
    if images.is_empty() || checkpoints.is_empty() {
        let what = if images.is_empty() { "pictures" } else { "checkpoints (`checkpoint/00000.frame` …)" };
        return Err(Error::usage(format!("there are no {what}")));
    }
    let differing = images.iter().zip(checkpoints).find(|(image, checkpoint)| stem(image) != stem(checkpoint));
    let beside =
        differing.map(|(image, checkpoint)| format!("{} lies beside {}", file_name(image), file_name(checkpoint)));
    if images.len() != checkpoints.len() {
        let (i, c) = (images.len(), checkpoints.len());
        let more = if i > c { &images[c.min(i - 1)] } else { &checkpoints[i.min(c - 1)] };
        let where_ = beside.unwrap_or_else(|| format!("{} has no counterpart", file_name(more)));
        return Err(Error::usage(format!("{i} pictures and {c} checkpoints: {where_}")));
    }
    warnings.extend(beside.map(|beside| format!("names of pictures and checkpoints differ: {beside}")));
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The camera of the first frame, for all of them.
fn camera(path: &Path, hq: bool) -> Result<Camera> {
    let wrong = |what: &str| Error::usage(format!("{}: {what}", path.display()));
    let checkpoint = insta::checkpoint(path)?;
    let [fx, fy, cx, cy] =
        checkpoint.intrinsics.ok_or_else(|| wrong("neither `opencv.K` nor `camera.fl`, `camera.pp` and `img_size`"))?;
    // height, width
    let [height, width] = checkpoint.size.ok_or_else(|| wrong("`img_size` is missing"))?;
    let pixels = |side: i64| u32::try_from(side).ok().filter(|s| (1..=1 << 14).contains(s));
    let (Some(width), Some(height)) = (pixels(width), pixels(height)) else {
        return Err(wrong(&format!("`img_size` says {width} × {height} pixels")));
    };
    if ![fx, fy, cx, cy].iter().all(|v| v.is_finite()) || fx <= 0.0 || fy <= 0.0 {
        return Err(wrong(&format!("focal lengths {fx}, {fy} and principal point {cx}, {cy} are no camera")));
    }
    let [x, y, z] = insta::origin(path)?.map(f64::from);
    let factor = if hq { 2 } else { 1 };
    let scale = f64::from(factor);
    Ok(Camera {
        name: stem(path),
        width: width * factor,
        height: height * factor,
        focal: [fx * scale, fy * scale],
        principal: [cx * scale, cy * scale],
        camera_from_world: [[1.0, 0.0, 0.0, x], [0.0, -1.0, 0.0, y], [0.0, 0.0, -1.0, z]],
        ..Camera::default()
    })
}

/// Pose, control vector and mesh of a checkpoint.
fn tracked(
    path: &Path,
    body: &Body<f32>,
    origin: [f32; 3],
    options: &DatasetOptions,
) -> Result<(Pose, Vec<f32>, Vec<[f32; 3]>)> {
    let wrong = |what: String| Error::usage(format!("{}: {what}", path.display()));
    let missing = insta::checkpoint(path)?.missing;
    if !missing.is_empty() {
        return Err(wrong(format!("no checkpoint of metrical-tracker that is known: {} missing", missing.join(", "))));
    }
    let mut pose = insta::pose(path, body, origin)?;
    if !options.retarget_neck {
        let place = pose.group("camera.translation", 3, 0.0);
        pose.set("flame.translation", [place[0] - origin[0], origin[1] - place[1], origin[2] - place[2]]);
    }
    let mut controls = pose.group("flame.expression", EXPRESSIONS, 0.0);
    for name in ["flame.neck_6d", "flame.jaw_6d", "flame.left_eye_6d", "flame.right_eye_6d"] {
        controls.extend(pose.group(name, 6, 0.0));
    }
    controls.extend(pose.group("flame.eyelids", 2, 0.0));
    controls.extend(pose.group("flame.translation", 3, 0.0));
    let parameters = body.parameters(&[], &pose).map_err(|e| wrong(e.to_string()))?;
    let vertices = if options.retarget_neck { body.pose(&parameters).vertices } else { turned(body, parameters) };
    if !controls.iter().chain(vertices.as_flattened()).all(|v| v.is_finite()) {
        return Err(wrong("parameters that are not finite".to_owned()));
    }
    Ok((pose, controls, vertices))
}

/// The mesh with the rotation of its neck and its translation applied to all of it.
fn turned(body: &Body<f32>, mut parameters: Parameters<f32>) -> Vec<[f32; 3]> {
    let rotation = std::mem::take(&mut parameters.rotations[NECK]).matrix();
    let translation = std::mem::take(&mut parameters.translation);
    let mut vertices = body.pose(&parameters).vertices;
    for vertex in &mut vertices {
        *vertex = std::array::from_fn(|r| (0..3).map(|c| rotation[r][c] * vertex[c]).sum::<f32>() + translation[r]);
    }
    vertices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Parts;

    #[test]
    fn flame_without_teeth_gets_them_and_others_stay() {
        // the counts of FLAME and nothing of its shape
        let count = 5023;
        let place = |v: usize| [(v % 71) as f32 * 1e-3, (v / 71) as f32 * 1e-3, 0.0];
        let mut regressor = vec![0.0; 5 * count];
        (0..5).for_each(|j| regressor[j * count] = 1.0);
        let parts = Parts {
            family: gav_formats::TemplateFamily::Flame2020,
            name: String::new(),
            licence: String::new(),
            vertices: (0..count).map(place).collect(),
            faces: (0..9976).map(|f| [f % 5000, f % 5000 + 1, f % 5000 + 20]).collect(),
            uvs: (0..5118).map(|v| [(v % 72) as f32 / 72.0, 0.9 * (v / 72) as f32 / 72.0]).collect(),
            uv_faces: (0..9976).map(|f| [f % 5000, f % 5000 + 1, f % 5000 + 73]).collect(),
            shapedirs: vec![0.001; 3 * count * 2],
            identity_columns: 1,
            posedirs: Vec::new(),
            extras: Vec::new(),
            regressor,
            weights: (0..count).flat_map(|_| [0.0, 1.0, 0.0, 0.0, 0.0]).collect(),
            parents: vec![None, Some(0), Some(1), Some(1), Some(1)],
            joint_names: ["root", "neck", "jaw", "left_eye", "right_eye"].map(str::to_owned).to_vec(),
            hands: None,
        };
        let body = with_teeth(Body::new(&parts).unwrap()).unwrap();
        assert_eq!((body.vertex_count(), body.faces().len(), body.uvs().len()), (5083, 10_032, 5178));
        let corners = corners(&body).unwrap();
        assert_eq!(corners.len(), 10_032);
        // the strips of the teeth lie above all else in this map
        let wide: Vec<[[f64; 2]; 3]> = corners.iter().map(|c| c.map(|uv| uv.map(f64::from))).collect();
        let teeth = lattice::seats(&wide, 256).iter().filter(|s| s.face >= 9976).count();
        // 1,408 are known of the published map, whose rows of texels are the same there
        assert_eq!(teeth, 1408);
        let again = with_teeth(body).unwrap();
        assert_eq!(again.vertex_count(), 5083);
    }
}
