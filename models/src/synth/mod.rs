//! Captures with known truth, made of formulas: a head that speaks, frowns and looks around before several cameras.
//!
//! The template (`grid`, `face`, `template`) is a mesh of about 5,000 vertices under FLAME's parameter names, with expressions and a jaw. What is
//! drawn is not that mesh: hundreds of thousands of small splats (`paint`) follow its triangles (`bind`), with pores, hair and lashes that
//! stand off it, teeth behind its lips, folds that only expressions raise (`wrinkles`), gloss that depends on the view, and light that stays
//! in the room (`truth`). `ict` is another head, from a file. `motion` is the performance, `layout` the files.

mod bind;
mod face;
mod grid;
mod ict;
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
    capture::TEMPLATE_LICENCE_FILE,
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
    moments: Vec<Moment>,
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
        Self::new(options, parts, names, &points, &aim)
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
        Self::new(options, head.parts, head.names, &points, &aim)
    }

    fn new(
        options: &Options,
        parts: Parts<f32>,
        expressions: Vec<String>,
        points: &[truth::Point],
        aim: &layout::Aim,
    ) -> Result<Self> {
        let rest = parts.vertices.iter().map(|v| v.map(f64::from)).collect();
        let mut random = Random::new(options.seed.wrapping_add(4_711));
        let training = options.frames - options.test_frames;
        Ok(Self {
            truth: Truth::new(rest, parts.faces.clone(), points),
            body: Body::new(&parts)?,
            shape: (0..parts.identity_columns).map(|_| (VARIETY * random.bell()) as f32).collect(),
            cameras: layout::cameras(options, aim),
            moments: motion::performance(&expressions, training, options.test_frames, options.seed),
            parts,
            expressions,
            options: options.clone(),
        })
    }

    /// What was asked for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The template whose parameters are tracked.
    pub fn body(&self) -> &Body<f32> {
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

    /// The true parameters of all time steps.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// The template, posed as a moment says.
    pub fn mesh(&self, moment: &Moment) -> Vec<[f32; 3]> {
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
        let moment = &self.moments[step];
        self.truth.pose(&self.mesh(moment), &wrinkles::strengths(&self.expressions, &moment.expression))
    }

    /// The picture that a camera takes of it over white, with its coverage.
    ///
    /// # Panics
    /// When there is no such camera.
    pub fn draw(&self, posed: &PosedTruth, camera: usize) -> Image {
        self.truth.draw(posed, &self.cameras[camera], self.options.supersample)
    }

    /// Writes what lies beside the pictures into a folder: cameras and splits, tracked parameters, `template.npz`, and `synth.json`, which
    /// says how the capture was made.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut random = Random::new(self.options.seed.wrapping_add(31_337));
        let mut files = Vec::new();
        for (step, moment) in self.moments.iter().enumerate() {
            let tracked = moment.disturbed(self.options.noise, &mut random);
            files.push((layout::flame_name(step), layout::flame_file(&self.shape, &tracked)?));
        }
        // the mouth of the canonical head stands open, as VHAP has it
        let canonical = Moment { jaw: [0.3, 0.0, 0.0], expression: Vec::new(), ..Moment::default() };
        files.push(("canonical_flame_param.npz".to_owned(), layout::flame_file(&self.shape, &canonical)?));
        files.push((TEMPLATE_LICENCE_FILE.to_owned(), format!("{}\n", self.parts.licence).into_bytes()));
        files.push(("template.npz".to_owned(), write_npz(&template::archive(&self.parts, &self.expressions))?));
        files.push(("synth.json".to_owned(), self.recipe().into_bytes()));
        layout::write(folder, &self.options, &self.cameras, &files)
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
mod tests {
    use super::*;
    use crate::capture::{self, Capture, Layout, Split};

    fn small(seed: u64, noise: f64) -> Synth {
        let options =
            Options { cameras: 4, frames: 6, test_frames: 2, size: [64; 2], detail: 0.01, noise, supersample: 1, seed };
        Synth::head(&options).unwrap()
    }

    #[test]
    fn what_is_written_is_the_capture_that_is_drawn() {
        let synth = small(1, 0.0);
        let folder = tempfile::tempdir().unwrap();
        synth.write(folder.path()).unwrap();
        let capture = Capture::open(folder.path(), &gav_formats::cameras::CameraOptions::default()).unwrap();
        assert_eq!(capture.layout, Layout::Vhap);
        let counts = [Split::Train, Split::Val, Split::Test].map(|split| capture.count(split));
        assert_eq!(counts, [4 * 3, 4, 2 * 4]);
        let body = capture::body(&capture, None).unwrap().unwrap();
        assert_eq!((body.shape_count(), body.expression_count(), body.joint_count()), (10, 20, 5));
        for (_, view) in &capture.views {
            let (step, camera) = (view.timestep.unwrap() as usize, view.camera_index.unwrap() as usize);
            // matrices go through the text of JSON and back, principal points through all conventions of `cy`
            let own = &synth.cameras()[camera];
            let pairs = view.camera.camera_from_world.as_flattened().iter().zip(own.camera_from_world.as_flattened());
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12));
            assert_eq!((view.camera.focal, view.camera.principal), (own.focal, own.principal));
            let pose = capture::parameters(view.parameters.as_deref().unwrap()).unwrap();
            let read = body.pose(&body.parameters(&[], &pose).unwrap()).vertices;
            let made = synth.mesh(&synth.moments()[step]);
            let off = read.iter().flatten().zip(made.iter().flatten()).map(|(a, b)| (a - b).abs());
            assert!(off.fold(0.0, f32::max) < 1e-6, "the parameters of step {step} pose another mesh");
        }
    }

    #[test]
    fn the_mesh_lies_in_what_is_drawn() {
        let synth = small(2, 0.0);
        for (step, camera) in [(0, 3), (3, 0), (5, 1)] {
            let image = synth.draw(&synth.pose(step), camera);
            let view = &synth.cameras()[camera];
            let mesh = synth.mesh(&synth.moments()[step]);
            let (mut inside, mut covered) = (0, 0);
            for v in &mesh {
                let m = &view.camera_from_world;
                let t: [f64; 3] =
                    std::array::from_fn(|r| (0..3).map(|c| m[r][c] * f64::from(v[c])).sum::<f64>() + m[r][3]);
                let [x, y] = [0, 1].map(|k| view.focal[k] * t[k] / t[2] + view.principal[k]);
                if (0.0..64.0).contains(&x) && (0.0..64.0).contains(&y) {
                    inside += 1;
                    covered += usize::from(image.alpha[64 * y as usize + x as usize] > 0.5);
                }
            }
            // some of the shoulders lie beyond the picture's border
            assert!(inside * 10 > mesh.len() * 8, "{inside} of {}", mesh.len());
            assert!(covered * 100 > inside * 97, "{covered} of {inside} vertices lie on the head");
            let share = image.alpha.iter().filter(|a| **a > 0.5).count();
            assert!((600..3300).contains(&share), "{share} pixels");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_capture_and_another_one_another() {
        let (a, b, c) = (small(5, 0.0), small(5, 0.0), small(6, 0.0));
        let draw = |synth: &Synth| synth.draw(&synth.pose(4), 2);
        assert_eq!(draw(&a), draw(&b));
        assert_ne!(draw(&a), draw(&c));
        assert_eq!((a.recipe(), a.moments()), (b.recipe(), b.moments()));
    }

    #[test]
    fn noise_is_in_the_files_and_not_in_the_pictures() {
        let (clean, noisy) = (small(1, 0.0), small(1, 2.0));
        assert_eq!(clean.draw(&clean.pose(3), 0), noisy.draw(&noisy.pose(3), 0));
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        clean.write(folders[0].path()).unwrap();
        noisy.write(folders[1].path()).unwrap();
        let meshes = folders.each_ref().map(|folder| {
            let pose = capture::parameters(&folder.path().join(layout::flame_name(3))).unwrap();
            clean.body().pose(&clean.body().parameters(&[], &pose).unwrap()).vertices
        });
        let distance = |(a, b): (&[f32; 3], &[f32; 3])| (0..3).map(|k| f64::from(a[k] - b[k]).powi(2)).sum::<f64>();
        let mean = (meshes[0].iter().zip(&meshes[1]).map(distance).sum::<f64>() / meshes[0].len() as f64).sqrt();
        assert!((0.0005..0.006).contains(&mean), "{mean} m for noise of 2 mm");
    }

    #[test]
    fn parameters_move_what_they_name() {
        let synth = small(1, 0.0);
        let rest = synth.mesh(&Moment::default());
        let moved = |moment: &Moment| -> Vec<usize> {
            let posed = synth.mesh(moment);
            let far = |v: &usize| (0..3).any(|k| (posed[*v][k] - rest[*v][k]).abs() > 1e-3);
            (0..rest.len()).filter(far).collect()
        };
        let named = |name: &str| {
            let expression = synth.expressions.iter().map(|n| f32::from(u8::from(n == name))).collect();
            moved(&Moment { expression, ..Moment::default() })
        };
        let tags = grid::Grid::head().tags;
        let blink = named("eyeBlink_L");
        assert!(blink.len() > 20 && blink.iter().all(|v| rest[*v][0] > 0.0 && rest[*v][1] > -0.02), "left is +x");
        assert!(named("browInnerUp").iter().all(|v| rest[*v][1] > 0.01));
        let jaw = moved(&Moment { jaw: [0.3, 0.0, 0.0], ..Moment::default() });
        let has = |tag| jaw.iter().any(|v| tags[*v] == tag);
        assert!(has(grid::Region::LowerTeeth) && !has(grid::Region::UpperTeeth) && !has(grid::Region::Eye(true)));
        let chin = jaw.iter().map(|v| rest[*v][1]).fold(0.0, f32::min);
        assert!(chin < -0.09);
        let look = moved(&Moment { eyes: [0.0, 0.3, 0.0, 0.0, 0.0, 0.0], ..Moment::default() });
        assert!(!look.is_empty() && look.iter().all(|v| tags[*v] == grid::Region::Eye(true)));
    }

    #[test]
    fn folds_come_with_expressions() {
        let synth = small(1, 0.0);
        let vertices = synth.mesh(&Moment::default());
        let smooth = synth.truth().pose(&vertices, &[0.0; 9]);
        let raised = synth.truth().pose(&vertices, &[1.0; 9]);
        let changed = smooth.colors().iter().zip(raised.colors()).filter(|(a, b)| a != b).count();
        assert!(changed * 20 > synth.truth().len() && changed * 2 < synth.truth().len(), "{changed}");
    }

    #[test]
    fn what_makes_no_capture_is_refused() {
        for options in [
            Options { cameras: 0, ..Options::default() },
            Options { frames: 3, test_frames: 3, ..Options::default() },
            Options { size: [8, 64], ..Options::default() },
            Options { detail: f64::NAN, ..Options::default() },
            Options { noise: -1.0, ..Options::default() },
            Options { supersample: 0, ..Options::default() },
        ] {
            assert!(matches!(Synth::head(&options), Err(Error::File(gav_formats::Error::Usage(_)))), "{options:?}");
        }
    }
}
