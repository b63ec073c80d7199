//! What is drawn, as borrowed arrays.

use gav_formats::{Splats, conventions::sh_rest_count};

/// Extent and orientation of the splats.
#[derive(Debug, Clone, Copy)]
pub enum Shape<'a> {
    /// Hamilton quaternions w, x, y, z (N × 4) and natural logarithms of the standard deviations (N × 3).
    RotationScale(&'a [[f32; 4]], &'a [[f32; 3]]),
    /// Symmetric 3D covariances xx, xy, xz, yy, yz, zz (N × 6), positive semidefinite, in squared units of the avatar.
    Covariance(&'a [[f32; 6]]),
}

/// Colour of the splats.
#[derive(Debug, Clone, Copy)]
pub enum Color<'a> {
    /// Spherical harmonics: degree 0 (N × 3) and the rest (N × K × 3, K = (degree + 1)² − 1), as in [`Splats`].
    Sh(&'a [[f32; 3]], &'a [f32], u8),
    /// Red, green, blue as they are blended (N × 3).
    Rgb(&'a [[f32; 3]]),
}

/// N Gaussians, posed, in the coordinates that cameras look at.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Centres, N × 3.
    pub means: &'a [[f32; 3]],
    /// Extents and orientations.
    pub shape: Shape<'a>,
    /// Logits of the opacities, N.
    pub opacity_logits: &'a [f32],
    /// Colours.
    pub color: Color<'a>,
}

impl Scene<'_> {
    /// Number of splats.
    pub fn len(&self) -> usize {
        self.means.len()
    }

    /// True when there is no splat.
    pub fn is_empty(&self) -> bool {
        self.means.is_empty()
    }

    /// Panics when the arrays do not belong together: that is a mistake of the caller, not of the data.
    pub(crate) fn check(&self) {
        let count = self.len();
        assert_eq!(self.opacity_logits.len(), count, "opacities of {count} splats");
        match self.shape {
            Shape::RotationScale(rotations, log_scales) => {
                assert_eq!(
                    (rotations.len(), log_scales.len()),
                    (count, count),
                    "rotations and scales of {count} splats"
                );
            }
            Shape::Covariance(covariances) => assert_eq!(covariances.len(), count, "covariances of {count} splats"),
        }
        match self.color {
            Color::Sh(sh0, rest, degree) => {
                assert!(degree <= 4, "SH degree {degree}");
                assert_eq!((sh0.len(), rest.len()), (count, count * sh_rest_count(degree) * 3), "SH of {count} splats");
            }
            Color::Rgb(rgb) => assert_eq!(rgb.len(), count, "colours of {count} splats"),
        }
    }
}

impl<'a> From<&'a Splats> for Scene<'a> {
    fn from(splats: &'a Splats) -> Self {
        Self {
            means: &splats.means,
            shape: Shape::RotationScale(&splats.rotations, &splats.log_scales),
            opacity_logits: &splats.opacity_logits,
            color: Color::Sh(&splats.sh0, &splats.sh_rest, splats.sh_degree),
        }
    }
}
