//! How splats follow what drives them: every rig kind of `spec/gav.md` section 8, forward and backward.
//!
//! Arrays in, arrays out; where values come from (clips, templates, networks' inputs) is the business of the models crate. Arithmetic is
//! generic over [`Real`](crate::Real): tests run in `f64`, avatars in `f32`. The steps, in the order in which they are applied:
//!
//! | step | forward | backward |
//! | --- | --- | --- |
//! | weights of blendshapes | [`network::forward`] | [`network::backward`] |
//! | Gaussian blendshapes (5) | [`blendshapes::blend`] | [`blendshapes::blend_backward`] |
//! | position morphs (7) | [`blendshapes::add_morphs`] | [`blendshapes::add_morphs_backward`] |
//! | joints | [`skeleton::skinning`] | [`skeleton::skinning_backward`] |
//! | skin (1) | [`skin::blend`], then [`skin::carry`] or [`skin::carry_covariance`] | their `_backward` |
//! | triangles (2, 3, 4) | [`triangle::faces`], then [`triangle::bind`] | [`triangle::bind_backward`] |
//! | frames (6) | [`frames::apply`] | recorded, nothing to learn |
//!
//! Transforms are rows of 3 × 4 matrices, quaternions are w, x, y, z, sizes natural logarithms of standard deviations.

pub(crate) mod algebra;
pub mod blendshapes;
pub mod frames;
mod geometry;
pub mod network;
pub mod polar;
pub mod skeleton;
pub mod skin;
pub mod triangle;

pub use algebra::{Affine, Mat3, Quat, Vec3};
pub use geometry::{Geometry, GeometryRef};
