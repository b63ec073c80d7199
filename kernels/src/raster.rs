//! Rasterisation of 3D Gaussians: what is computed, the rules that decide the image, and the types.
//!
//! A splat with mean μ, covariance Σ = R S² Rᵀ and opacity o is seen by a camera as a 2D Gaussian (EWA splatting, Zwicker
//! et al. 2001, in the form of Kerbl et al. 2023):
//!
//! 1. t = `camera_from_world` · μ; dropped when t.z is outside [`Settings::near`] ..= [`Settings::far`].
//! 2. centre u = (fx t.x/t.z + cx, fy t.y/t.z + cy) in pixels; pixel centres lie at .5, rows run down.
//! 3. Σ' = J W Σ Wᵀ Jᵀ + [`Settings::dilation`] · I, with J the Jacobian of the projection at t, whose slopes t.x/t.z and
//!    t.y/t.z are clamped by [`Settings::slopes`] (the linearisation is useless far outside the image).
//! 4. The pixels it may reach: [`Settings::footprint`].
//! 5. Splats are sorted by t.z (rounded to f32, ties by index) and blended front to back at every pixel centre x:
//!    α = min([`Settings::alpha_max`], o · exp(−½ (x−u)ᵀ Σ'⁻¹ (x−u))), skipped below [`Settings::alpha_min`];
//!    C += T α c; T ← T (1 − α), until T < [`Settings::stop`]. What is left of T shows the background.
//! 6. c = max(0, ½ + Σ SH) along the unit direction from the camera centre to μ, evaluated once per splat.
//!
//! Beside the colour, depth (Σ T α t.z) and normals (Σ T α n, n the shortest axis turned to the camera, in camera
//! coordinates) are blended with the same weights when [`Settings::depth`] and [`Settings::normals`] ask for them.
//!
//! [`RenderModel::Antialiased`] multiplies o by √(det Σ'₀ / det Σ'), Σ'₀ without dilation (Yu et al. 2024).
//! [`RenderModel::Surfel`] flattens the third axis and then proceeds as above: an approximation of the ray–disc
//! intersection of Huang et al. 2024, good for a preview.
//!
//! The trained systems differ in small rules; [`Settings::INRIA`], [`Settings::GSPLAT`] and [`Settings::FASTER_GS`] name
//! their combinations. [`render`] and [`forward`] are the fast rasteriser, [`scalar`] is the readable one in f64 that it is
//! tested against.

mod backward;
mod blend;
mod blend_backward;
mod observed;
mod projection;
mod projection_backward;
mod scene;
mod sh;
mod tiles;

pub mod scalar;

use gav_formats::{Camera, RenderModel};
use rayon::prelude::*;

pub use backward::{Forward, Gradients, ShapeGradients, Upstream, forward};
pub use observed::{MATTE, Observed, SHOWN};
pub use scene::{Color, Scene, Shape};

/// What the rasteriser on a device takes from a camera: fields of `projection::View`.
pub(crate) struct CameraNumbers {
    pub rotation: [[f32; 3]; 3],
    pub world_from_camera: [[f32; 3]; 3],
    pub center: [f32; 3],
    pub focal: [f32; 2],
    pub slopes: [[f32; 2]; 2],
}

impl CameraNumbers {
    pub fn new(camera: &Camera, settings: &Settings) -> Self {
        let projection::View { rotation, world_from_camera, center, focal, slopes, .. } =
            projection::View::new(camera, settings);
        Self { rotation, world_from_camera, center, focal, slopes }
    }
}

/// White.
pub const WHITE: [f32; 3] = [1.0; 3];
/// Floor (px⁴) of the discriminant in λ = m + √(m² − det Σ'), m the mean of the diagonal: keeps round footprints generous.
pub const EIGENVALUE_FLOOR: f64 = 0.1;
/// Half width of a square footprint in standard deviations of the longer screen axis.
pub const FOOTPRINT_SIGMAS: f64 = 3.0;

/// Which pixels a splat may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Footprint {
    /// Every pixel where α reaches `alpha_min`.
    Exact,
    /// Pixels less than r = ⌈3 √λ⌉ from the centre along both axes, λ the larger eigenvalue of Σ'.
    Square,
    /// As `Square`, with the square grown to whole tiles of 16 × 16 pixels (the original rasteriser).
    SquareTiles,
}

/// What becomes of the splat that takes a pixel's transmittance below [`Settings::stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saturation {
    /// It is blended, and is the last one.
    Blended,
    /// It is left out, and nothing follows.
    Dropped,
}

/// How the slopes x/z and y/z in the Jacobian are clamped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Slopes {
    /// To this share of the image's width and height beyond its borders.
    BeyondBorders(f64),
    /// To ± this multiple of tan(fov/2) around the optical axis.
    AroundAxis(f64),
}

/// The rules of one rasteriser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How the screen filter enters.
    pub model: RenderModel,
    /// Smallest depth drawn, in units of the avatar.
    pub near: f64,
    /// Largest depth drawn.
    pub far: f64,
    /// Variance in px² added to both screen axes, so that no splat falls between pixels.
    pub dilation: f64,
    /// Pixels that a splat may reach.
    pub footprint: Footprint,
    /// Smallest α that is blended: half a step of an 8-bit display would be 1/510.
    pub alpha_min: f64,
    /// Largest α of one splat: nothing hides what is behind it completely. At most 0.9999.
    pub alpha_max: f64,
    /// Whether the gradient passes through an α that was cut to `alpha_max` as if it had not been.
    pub alpha_max_passes: bool,
    /// A pixel is finished when less light than this passes.
    pub stop: f64,
    /// The last splat of a finished pixel.
    pub saturation: Saturation,
    /// Clamp of the slopes in the Jacobian.
    pub slopes: Slopes,
    /// Whether quaternions are normalised before use. If not, their length enters as the usual matrix formula has it.
    pub normalize_rotations: bool,
    /// Whether to blend depth.
    pub depth: bool,
    /// Whether to blend normals.
    pub normals: bool,
}

impl Settings {
    /// What `gav` draws with: the rules behind the published qualities of splat formats.
    pub const DEFAULT: Self = Self {
        model: RenderModel::Classic,
        near: 0.05,
        far: f64::INFINITY,
        dilation: 0.3,
        footprint: Footprint::Square,
        alpha_min: 1.0 / 255.0,
        alpha_max: 0.99,
        alpha_max_passes: true,
        stop: 1e-4,
        saturation: Saturation::Blended,
        slopes: Slopes::BeyondBorders(0.15),
        normalize_rotations: true,
        depth: false,
        normals: false,
    };

    /// The original CUDA rasteriser (Kerbl et al. 2023) and its forks: CGS-GAN, GaussianAvatars, STGA, RGBAvatar.
    pub const INRIA: Self = Self {
        near: 0.2,
        footprint: Footprint::SquareTiles,
        saturation: Saturation::Dropped,
        slopes: Slopes::AroundAxis(1.3),
        normalize_rotations: false,
        ..Self::DEFAULT
    };

    /// gsplat 1.6, classic mode.
    pub const GSPLAT: Self = Self {
        near: 0.01,
        footprint: Footprint::Exact,
        alpha_max_passes: false,
        saturation: Saturation::Dropped,
        ..Self::DEFAULT
    };

    /// Faster-GS. It does not cut α; here 0.9999 leaves f32 enough to find T again on the way back.
    pub const FASTER_GS: Self = Self { near: 0.01, footprint: Footprint::Exact, alpha_max: 0.9999, ..Self::DEFAULT };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl From<RenderModel> for Settings {
    fn from(model: RenderModel) -> Self {
        Self { model, ..Self::DEFAULT }
    }
}

/// A rendered picture: display colours (not clamped above 1) over the background, and coverage.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Image {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green, blue of each pixel, row-major from the top left: height × width × 3.
    pub rgb: Vec<f32>,
    /// Coverage `1 − T`, height × width.
    pub alpha: Vec<f32>,
    /// Σ T α t.z, height × width; empty unless [`Settings::depth`].
    pub depth: Vec<f32>,
    /// Σ T α n in camera coordinates (x right, y down, z front), height × width × 3; empty unless [`Settings::normals`].
    pub normals: Vec<f32>,
}

impl Image {
    /// An image of `camera`'s size that shows nothing but `background`.
    pub fn blank(camera: &Camera, settings: &Settings, background: [f32; 3]) -> Self {
        let pixels = camera.width as usize * camera.height as usize;
        Self {
            width: camera.width,
            height: camera.height,
            rgb: background.repeat(pixels),
            alpha: vec![0.0; pixels],
            depth: vec![0.0; if settings.depth { pixels } else { 0 }],
            normals: vec![0.0; if settings.normals { pixels * 3 } else { 0 }],
        }
    }

    /// The colours as 8-bit values, rounded, row-major RGB.
    pub fn to_rgb8(&self) -> Vec<u8> {
        self.rgb.iter().map(|v| (v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8).collect()
    }

    /// Mean depth of what covers each pixel, `depth / alpha`, height × width; 0 where nothing does.
    pub fn expected_depth(&self) -> Vec<f32> {
        self.depth.iter().zip(&self.alpha).map(|(d, a)| if *a > 0.0 { d / a } else { 0.0 }).collect()
    }
}

/// Draws `scene` as `camera` sees it over `background`.
///
/// Splats with an attribute that is not a number, an infinite mean or an infinite size are left out; infinite opacity
/// logits and log-scales of −∞ are legal and mean opaque and flat. The image does not depend on the number of threads.
pub fn render<'a>(scene: impl Into<Scene<'a>>, camera: &Camera, settings: &Settings, background: [f32; 3]) -> Image {
    forward(&scene.into(), camera, settings, background).image
}

/// One picture of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Shot<'a> {
    /// What is drawn.
    pub scene: Scene<'a>,
    /// From where.
    pub camera: &'a Camera,
    /// Over what.
    pub background: [f32; 3],
}

/// Draws many pictures, of one avatar or of many, at once: pictures and their tiles share the threads. In the order of
/// `shots`; each equals what [`forward`] makes of it alone.
pub fn forward_batch(shots: &[Shot<'_>], settings: &Settings) -> Vec<Forward> {
    shots.par_iter().map(|shot| forward(&shot.scene, shot.camera, settings, shot.background)).collect()
}

/// The way back of [`forward_batch`], one gradient for each picture.
///
/// # Panics
/// As [`Forward::backward`], and when the lists differ in length.
pub fn backward_batch(batch: &[Forward], shots: &[Shot<'_>], upstream: &[Upstream<'_>]) -> Vec<Gradients> {
    assert_eq!((batch.len(), batch.len()), (shots.len(), upstream.len()), "pictures, scenes and gradients of a batch");
    let pictures = batch.par_iter().zip(shots).zip(upstream);
    pictures.map(|((forward, shot), upstream)| forward.backward(&shot.scene, upstream)).collect()
}
