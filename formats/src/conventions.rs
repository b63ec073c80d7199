//! The one place for conventions: coordinate frames, quaternions, colour and spherical harmonics.
//!
//! The text of the same rules, for readers in other languages, is `spec/conventions.md`.

mod frame;
mod quaternion;
mod sh;

pub use frame::{Axis, Frame};
pub use quaternion::{
    IDENTITY_QUATERNION, matrix_from_quaternion, multiply_quaternions, normalize_quaternion, quaternion_from_matrix,
};
pub use sh::{ShRotation, sh_basis, sh_rest_count};

/// Degree-0 SH basis value, `1 / (2 √π)`.
pub const SH_C0: f64 = 0.282_094_791_773_878_14;

/// Linear opacity in 0..1 of a logit.
pub fn opacity_from_logit(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Logit of a linear opacity, clamped so that the result is finite: opacities 0 and 1 give about ∓13.8.
pub fn logit_from_opacity(opacity: f32) -> f32 {
    let alpha = f64::from(opacity).clamp(1e-6, 1.0 - 1e-6);
    (alpha / (1.0 - alpha)).ln() as f32
}

/// Display colour (sRGB-encoded unless the avatar says otherwise) of a degree-0 coefficient.
pub fn color_from_sh0(sh0: f32) -> f32 {
    (0.5 + SH_C0 * f64::from(sh0)) as f32
}

/// Degree-0 coefficient of a display colour.
pub fn sh0_from_color(color: f32) -> f32 {
    ((f64::from(color) - 0.5) / SH_C0) as f32
}
