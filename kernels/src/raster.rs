//! Rasterisation of 3D Gaussians: what is computed, the constants that decide the image, and the types.
//!
//! A splat with mean μ, covariance Σ = R S² Rᵀ and opacity o is seen by a camera as a 2D Gaussian (EWA splatting, Zwicker
//! et al. 2001, in the form of Kerbl et al. 2023):
//!
//! 1. t = `camera_from_world` · μ; dropped when t.z < [`NEAR`].
//! 2. centre u = (fx t.x/t.z + cx, fy t.y/t.z + cy) in pixels; pixel centres lie at .5, rows run down.
//! 3. Σ' = J W Σ Wᵀ Jᵀ + [`DILATION`] · I, with J the Jacobian of the projection at t, whose slopes t.x/t.z and t.y/t.z
//!    are clamped to [`FRUSTUM_MARGIN`] beyond the image borders (the linearisation is useless far outside).
//! 4. Footprint: the square of half width ⌈[`FOOTPRINT_SIGMAS`] · √λ⌉ around u, λ the larger eigenvalue of Σ'.
//! 5. Splats are sorted by t.z (rounded to f32, ties by index) and blended front to back at every pixel centre x:
//!    α = min([`ALPHA_MAX`], o · exp(−½ (x−u)ᵀ Σ'⁻¹ (x−u))), skipped below [`ALPHA_MIN`]; C += T α c; T ← T (1 − α),
//!    until T < [`TRANSMITTANCE_STOP`]. What is left of T shows the background.
//! 6. c = max(0, ½ + Σ SH) along the unit direction from the camera centre to μ, evaluated once per splat.
//!
//! [`RenderModel::Antialiased`](gav_formats::RenderModel) multiplies o by √(det Σ'₀ / det Σ'), Σ'₀ without dilation (Yu et
//! al. 2024). [`RenderModel::Surfel`](gav_formats::RenderModel) flattens the third axis and then proceeds as above: an
//! approximation of the ray–disc intersection of Huang et al. 2024, good for a preview.
//!
//! [`scalar`] is the reference that every faster rasteriser is tested against.

pub mod scalar;

pub use scalar::render;

/// Variance in px² added to both screen axes, so that no splat falls between pixels.
pub const DILATION: f64 = 0.3;
/// Half width of a splat's footprint in standard deviations of its longer screen axis.
pub const FOOTPRINT_SIGMAS: f64 = 3.0;
/// Floor (px⁴) of the discriminant in λ = m + √(m² − det Σ'), m the mean of the diagonal: keeps round footprints generous.
pub const EIGENVALUE_FLOOR: f64 = 0.1;
/// Largest α of one splat: nothing hides what is behind it completely.
pub const ALPHA_MAX: f64 = 0.99;
/// Smallest α that is blended: half a step of an 8-bit display would be 1/510.
pub const ALPHA_MIN: f64 = 1.0 / 255.0;
/// A pixel is finished when less light than this passes.
pub const TRANSMITTANCE_STOP: f64 = 1e-4;
/// Smallest depth drawn, in units of the avatar.
pub const NEAR: f64 = 0.05;
/// Share of half the image by which the slopes in the Jacobian may exceed the image borders.
pub const FRUSTUM_MARGIN: f64 = 0.3;

/// White.
pub const WHITE: [f32; 3] = [1.0; 3];

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
}

impl Image {
    /// The colours as 8-bit values, rounded, row-major RGB.
    pub fn to_rgb8(&self) -> Vec<u8> {
        self.rgb.iter().map(|v| (v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8).collect()
    }
}
