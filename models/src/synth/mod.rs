//! Captures with known truth, made of formulas: a head that speaks, frowns and looks around before several cameras, or a person who walks.
//!
//! The template (`grid`, `face`, `template`) is a mesh of about 5,000 vertices under FLAME's parameter names, with expressions and a jaw. What is
//! drawn is not that mesh: hundreds of thousands of small splats (`paint`) follow its triangles (`bind`), with pores, hair and lashes that
//! stand off it, teeth behind its lips, folds that only expressions raise (`wrinkles`), gloss that depends on the view, and light that stays
//! in the room (`truth`). `ict` is another head, from a file. `motion` is the performance, `layout` the files.
//! `figure` is a whole person, whose capture has STGA's layout: posed meshes instead of parameters.

mod bind;
mod face;
mod figure;
mod grid;
mod ict;
mod ict_hair;
mod inside;
mod layout;
mod motion;
mod paint;
mod template;
mod truth;
mod wrinkles;

use std::path::Path;

use gav_formats::{Camera, npy::write_npz, synthetic::Random};
use gav_kernels::raster::Image;
use serde_json::json;

use crate::{
    Error, Result,
    body::{Body, Parameters, Parts, Rotation},
    capture::{TEMPLATE_LICENCE_FILE, stga},
};

pub use layout::{FRONT, mask_path, picture_path};
pub use motion::Moment;
pub use truth::{PosedTruth, Truth};

/// What is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Cameras, at least 1.
    pub cameras: usize,
    /// Time steps, those for tests included.
    pub frames: usize,
    /// The last time steps, held out with all cameras. Fewer than `frames`.
    pub test_frames: usize,
    /// Width and height of the pictures.
    pub size: [u32; 2],
    /// 1 draws about 300,000 splats, 0.1 a tenth of them.
    pub detail: f64,
    /// Error of the tracked parameters, about so many millimetres on the mesh. The pictures show the truth.
    pub noise: f64,
    /// Pictures are drawn so many times as large and averaged.
    pub supersample: u32,
    /// Decides who is seen and how the head moves.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cameras: 16,
            frames: 100,
            test_frames: 20,
            size: [550, 802],
            detail: 1.0,
            noise: 0.0,
            supersample: 2,
            seed: 1,
        }
    }
}

/// Splats at full detail.
const SPLATS: f64 = 300_000.0;
/// Standard deviation of the identity coefficients.
const VARIETY: f64 = 0.7;

/// A capture that is to be drawn.
#[derive(Debug)]
pub struct Synth {
    options: Options,
    parts: Parts<f32>,
    body: Body<f32>,
    truth: Truth,
    cameras: Vec<Camera>,
    /// Identity coefficients of the subject.
    shape: Vec<f32>,
    /// Names of the expressions.
    expressions: Vec<String>,
    performance: Performance,
}

/// What is done in each time step.
#[derive(Debug)]
enum Performance {
    Head(Vec<Moment>),
    Body(Vec<figure::Stride>),
}

impl Synth {
    /// A procedural head.
    ///
    /// # Errors
    /// [`Error::usage`] for options that make no capture.
    pub fn head(options: &Options) -> Result<Self> {
        check(options)?;
        let grid = grid::Grid::head();
        let parts = template::head(&grid);
        let points = paint::head(&grid, splats(options), options.seed);
        let names = face::EXPRESSIONS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let aim = layout::Aim { target: [0.0, -0.032, 0.0], distance: 1.0, height: 0.40, side: 62.0 };
        Self::face(options, parts, names, &points, &aim)
    }

    /// A dressed person who walks, waves and turns. [`Options::noise`] does nothing here: meshes are written, not parameters.
    ///
    /// # Errors
    /// As [`Synth::head`].
    pub fn body(options: &Options) -> Result<Self> {
        check(options)?;
        let person = figure::Figure::new();
        let parts = person.parts();
        let body = Body::new(&parts)?;
        let training = options.frames - options.test_frames;
        let strides = figure::performance(&body, training, options.test_frames, options.seed);
        let aim = layout::Aim { target: [0.0, 0.90, 0.0], distance: 3.4, height: 2.45, side: 180.0 };
        let points = person.points(splats(options), options.seed);
        Ok(Self {
            truth: Truth::new(rest(&parts), parts.faces.clone(), &points, &figure::crease_sizes()),
            body,
            shape: Vec::new(),
            expressions: Vec::new(),
            cameras: layout::ring(options, &aim),
            performance: Performance::Body(strides),
            parts,
            options: options.clone(),
        })
    }

    /// A head whose mesh and expressions come from a file in the layout of `ict_head.npz`: arrays of the ICT Face Model Light. Its jaw and
    /// eyes move by expressions; the joints that FLAME has for them carry nothing.
    ///
    /// # Errors
    /// As [`Synth::head`]; a file that cannot be read or holds something else.
    pub fn ict(options: &Options, file: &Path) -> Result<Self> {
        check(options)?;
        let head = ict::Ict::read(file)?;
        let points = head.points(splats(options), options.seed);
        let aim = layout::Aim { target: [0.0, -0.012, 0.01], distance: 1.0, height: 0.40, side: 62.0 };
        Self::face(options, head.parts, head.names, &points, &aim)
    }

    fn face(
        options: &Options,
        parts: Parts<f32>,
        expressions: Vec<String>,
        points: &[truth::Point],
        aim: &layout::Aim,
    ) -> Result<Self> {
        let mut random = Random::new(options.seed.wrapping_add(4_711));
        let training = options.frames - options.test_frames;
        Ok(Self {
            truth: Truth::new(rest(&parts), parts.faces.clone(), points, &wrinkles::sizes()),
            body: Body::new(&parts)?,
            shape: (0..parts.identity_columns).map(|_| (VARIETY * random.bell()) as f32).collect(),
            cameras: layout::cameras(options, aim),
            performance: Performance::Head(motion::performance(
                &expressions,
                training,
                options.test_frames,
                options.seed,
            )),
            parts,
            expressions,
            options: options.clone(),
        })
    }

    /// What was asked for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The mesh with its joints, of a head the template whose parameters are tracked.
    pub fn template(&self) -> &Body<f32> {
        &self.body
    }

    /// The splats that are drawn.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// The cameras, in the order of their numbers.
    pub fn cameras(&self) -> &[Camera] {
        &self.cameras
    }

    /// The true parameters of all time steps of a head; a body has none.
    pub fn moments(&self) -> &[Moment] {
        match &self.performance {
            Performance::Head(moments) => moments,
            Performance::Body(_) => &[],
        }
    }

    /// Posed vertices of a time step, metres.
    ///
    /// # Panics
    /// When there is no such time step.
    pub fn mesh(&self, step: usize) -> Vec<[f32; 3]> {
        match &self.performance {
            Performance::Head(moments) => self.face_at(&moments[step]),
            Performance::Body(strides) => self.body.pose(&strides[step].parameters).vertices,
        }
    }

    /// The template of a head, posed as a moment says.
    fn face_at(&self, moment: &Moment) -> Vec<[f32; 3]> {
        let turn = Rotation::AxisAngle;
        let eyes = moment.eyes;
        let rotations =
            [moment.rotation, moment.neck, moment.jaw, [eyes[0], eyes[1], eyes[2]], [eyes[3], eyes[4], eyes[5]]];
        let parameters = Parameters {
            shape: self.shape.clone(),
            expression: moment.expression.clone(),
            rotations: rotations.map(turn).to_vec(),
            translation: moment.translation,
            ..Parameters::default()
        };
        self.body.pose(&parameters).vertices
    }

    /// The truth at a time step.
    ///
    /// # Panics
    /// When there is no such time step.
    pub fn pose(&self, step: usize) -> PosedTruth {
        let mesh = self.mesh(step);
        match &self.performance {
            Performance::Head(moments) => {
                self.truth.pose(&mesh, &wrinkles::strengths(&self.expressions, &moments[step].expression))
            }
            Performance::Body(strides) => self.truth.pose(&mesh, &strides[step].folds),
        }
    }

    /// The picture that a camera takes of it over white, with its coverage.
    ///
    /// # Panics
    /// When there is no such camera.
    pub fn draw(&self, posed: &PosedTruth, camera: usize) -> Image {
        self.truth.draw(posed, &self.cameras[camera], self.options.supersample)
    }

    /// Writes what lies beside the pictures into a folder: cameras and splits, tracked parameters with `template.npz` or meshes, and
    /// `synth.json`, which says how the capture was made.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let moments = match &self.performance {
            Performance::Head(moments) => moments,
            Performance::Body(strides) => {
                let name = |step| stga::mesh_path(Path::new(""), step as u32).display().to_string();
                let mesh = |step| (name(step), stga::mesh_json(&self.mesh(step), self.body.faces()));
                let mut files: Vec<(String, Vec<u8>)> = (0..strides.len()).map(mesh).collect();
                files.push(("synth.json".to_owned(), self.recipe().into_bytes()));
                return layout::write(folder, &files, layout::stga_files(&self.options, &self.cameras));
            }
        };
        let mut random = Random::new(self.options.seed.wrapping_add(31_337));
        let mut files = Vec::new();
        for (step, moment) in moments.iter().enumerate() {
            let tracked = moment.disturbed(self.options.noise, &mut random);
            files.push((layout::flame_name(step), layout::flame_file(&self.shape, &tracked)?));
        }
        // the mouth of the canonical head stands open, as VHAP has it
        let canonical = Moment { jaw: [0.3, 0.0, 0.0], expression: Vec::new(), ..Moment::default() };
        files.push(("canonical_flame_param.npz".to_owned(), layout::flame_file(&self.shape, &canonical)?));
        files.push((TEMPLATE_LICENCE_FILE.to_owned(), format!("{}\n", self.parts.licence).into_bytes()));
        files.push(("template.npz".to_owned(), write_npz(&template::archive(&self.parts, &self.expressions))?));
        files.push(("synth.json".to_owned(), self.recipe().into_bytes()));
        layout::write(folder, &files, layout::camera_files(&self.options, &self.cameras))
    }

    /// The options as JSON: the same text gives the same capture.
    pub fn recipe(&self) -> String {
        let o = &self.options;
        let json = json!({"generator": concat!("gav ", env!("CARGO_PKG_VERSION")), "subject": self.parts.name, "cameras": o.cameras,
            "frames": o.frames, "test_frames": o.test_frames, "size": o.size, "detail": o.detail, "noise": o.noise,
            "supersample": o.supersample, "seed": o.seed,
            "splats": self.truth.len(), "vertices": self.parts.vertices.len(), "faces": self.parts.faces.len(),
            "expressions": self.expressions});
        format!("{json:#}\n")
    }
}

/// Most splats, as a multiple of the full detail.
const MAX_DETAIL: f64 = 4.0;

fn rest(parts: &Parts<f32>) -> Vec<[f64; 3]> {
    parts.vertices.iter().map(|v| v.map(f64::from)).collect()
}

fn splats(options: &Options) -> usize {
    (SPLATS * options.detail) as usize
}

fn check(options: &Options) -> Result<()> {
    let bad = |text: String| Err(Error::usage(text));
    if options.cameras == 0 || options.cameras > 100 {
        return bad(format!("{} cameras, 1 to 100 can be named", options.cameras));
    }
    if options.frames == 0 || options.frames > 99_999 || options.test_frames >= options.frames {
        return bad(format!("{} time steps, of them {} for tests", options.frames, options.test_frames));
    }
    if options.size.iter().any(|s| !(16..=8192).contains(s)) {
        return bad(format!("pictures of {} × {} pixels, 16 to 8192 expected", options.size[0], options.size[1]));
    }
    if !(0.001..=MAX_DETAIL).contains(&options.detail) {
        return bad(format!("a detail of {}, 0.001 to {MAX_DETAIL} expected", options.detail));
    }
    if !(1..=8).contains(&options.supersample) {
        return bad(format!("pictures drawn {} times as large, 1 to 8 expected", options.supersample));
    }
    if !(0.0..=100.0).contains(&options.noise) {
        return bad(format!("noise of {} mm, 0 to 100 expected", options.noise));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
