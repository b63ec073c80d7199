//! Linear blend skinning: kind 1 of `spec/gav.md` section 8, in three steps that can be used alone.
//!
//! [`blend`] mixes the joints' matrices for every splat; [`carry`] moves splats rigidly by the polar rotation of the mix;
//! [`carry_covariance`] applies the whole matrix, shear and all.

use gav_formats::Skin;
use rayon::prelude::*;

use super::{
    algebra::{
        Affine, Mat3, Quat, Vec3, add, linear, matrix, matrix_backward, multiply, multiply_backward, normalize4,
        normalize4_backward, outer, product, quaternion, quaternion_backward, transform, transform_transposed,
        transpose,
    },
    geometry::{Geometry, GeometryRef},
    polar,
};
use crate::Real;

/// Sparse weights: splat i owns entries `offsets[i]..offsets[i + 1]`.
#[derive(Debug, Clone, Copy)]
pub struct Influences<'a, T> {
    /// N + 1 ascending offsets.
    pub offsets: &'a [u32],
    /// Joint of each influence.
    pub joints: &'a [u16],
    /// Weight of each influence; those of a splat sum to 1.
    pub weights: &'a [T],
}

impl<'a> From<&'a Skin> for Influences<'a, f32> {
    fn from(skin: &'a Skin) -> Self {
        Self { offsets: &skin.offsets, joints: &skin.joints, weights: &skin.weights }
    }
}

impl<T: Real> Influences<'_, T> {
    fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    fn range(&self, splat: usize) -> std::ops::Range<usize> {
        self.offsets[splat] as usize..self.offsets[splat + 1] as usize
    }
}

/// A = Σ wⱼ Tⱼ for every splat, N × 3 × 4.
///
/// # Panics
/// When an influence names a joint without a matrix.
pub fn blend<T: Real>(influences: &Influences<'_, T>, joints: &[Affine<T>]) -> Vec<Affine<T>> {
    let of_splat = |splat: usize| {
        let mut sum = [[T::zero(); 4]; 3];
        for k in influences.range(splat) {
            let (weight, joint) = (influences.weights[k], &joints[influences.joints[k] as usize]);
            for (s, j) in sum.as_flattened_mut().iter_mut().zip(joint.as_flattened()) {
                *s += weight * *j;
            }
        }
        sum
    };
    (0..influences.len()).into_par_iter().with_min_len(1024).map(of_splat).collect()
}

/// Gradients by the joints' matrices and by the weights, from those by the result of [`blend`].
pub fn blend_backward<T: Real>(
    influences: &Influences<'_, T>,
    joints: &[Affine<T>],
    upstream: &[Affine<T>],
) -> (Vec<Affine<T>>, Vec<T>) {
    assert_eq!(upstream.len(), influences.len(), "gradients of {} splats", influences.len());
    let mut by_joint = vec![[[T::zero(); 4]; 3]; joints.len()];
    let mut by_weight = vec![T::zero(); influences.weights.len()];
    for (splat, g) in upstream.iter().enumerate() {
        for k in influences.range(splat) {
            let (weight, joint) = (influences.weights[k], influences.joints[k] as usize);
            let sum = by_joint[joint].as_flattened_mut().iter_mut();
            for ((s, g), j) in sum.zip(g.as_flattened()).zip(joints[joint].as_flattened()) {
                *s += weight * *g;
                by_weight[k] += *g * *j;
            }
        }
    }
    (by_joint, by_weight)
}

/// μ' = A μ, q' = q(R) ⊗ q/|q| with R the rotation nearest to A; sizes stay.
pub fn carry<T: Real>(blended: &[Affine<T>], rest: GeometryRef<'_, T>) -> Geometry<T> {
    rest.check(blended.len());
    let mut out = Geometry { log_scales: rest.log_scales.to_vec(), ..Geometry::default() };
    (out.means, out.rotations) = (0..blended.len())
        .into_par_iter()
        .with_min_len(1024)
        .map(|i| {
            let turn = quaternion(&polar::rotation(&linear(&blended[i])));
            (apply(&blended[i], rest.means[i]), multiply(turn, normalize4(rest.rotations[i]).0))
        })
        .unzip();
    out
}

/// Gradients by the matrices and by the splats at rest, from those by the result of [`carry`].
pub fn carry_backward<T: Real>(
    blended: &[Affine<T>],
    rest: GeometryRef<'_, T>,
    upstream: GeometryRef<'_, T>,
) -> (Vec<Affine<T>>, Geometry<T>) {
    rest.check(blended.len());
    upstream.check(blended.len());
    let mut out = Geometry { log_scales: upstream.log_scales.to_vec(), ..Geometry::default() };
    let matrices;
    (matrices, (out.means, out.rotations)) = (0..blended.len())
        .into_par_iter()
        .with_min_len(1024)
        .map(|i| {
            let a = linear(&blended[i]);
            let rotation = polar::rotation(&a);
            let (unit, inverse) = normalize4(rest.rotations[i]);
            let (by_turn, by_unit) = multiply_backward(quaternion(&rotation), unit, upstream.rotations[i]);
            let by_rotation = quaternion_backward(&rotation, by_turn);
            let by_linear = polar::rotation_backward(&a, &rotation, &by_rotation);
            let g = upstream.means[i];
            let by_matrix = with_translation(&by_linear, g, rest.means[i]);
            (by_matrix, (transform_transposed(&a, g), normalize4_backward(unit, inverse, by_unit)))
        })
        .unzip();
    (matrices, out)
}

/// μ' = A μ and Σ' = A Σ Aᵀ, as xx, xy, xz, yy, yz, zz.
pub fn carry_covariance<T: Real>(blended: &[Affine<T>], rest: GeometryRef<'_, T>) -> (Vec<Vec3<T>>, Vec<[T; 6]>) {
    rest.check(blended.len());
    (0..blended.len())
        .into_par_iter()
        .with_min_len(1024)
        .map(|i| {
            let m = swept(&linear(&blended[i]), rest.rotations[i], rest.log_scales[i]);
            (apply(&blended[i], rest.means[i]), upper(&product(&m, &transpose(&m))))
        })
        .unzip()
}

/// Gradients by the matrices and by the splats at rest, from those by means and covariances; an off-diagonal number of `covariances`
/// stands for both places of the matrix.
pub fn carry_covariance_backward<T: Real>(
    blended: &[Affine<T>],
    rest: GeometryRef<'_, T>,
    means: &[Vec3<T>],
    covariances: &[[T; 6]],
) -> (Vec<Affine<T>>, Geometry<T>) {
    rest.check(blended.len());
    assert_eq!(
        (means.len(), covariances.len()),
        (blended.len(), blended.len()),
        "gradients of {} splats",
        blended.len()
    );
    let mut out = Geometry::zeros(blended.len());
    let mut matrices = vec![[[T::zero(); 4]; 3]; blended.len()];
    (&mut out.means, &mut out.rotations, &mut out.log_scales, &mut matrices)
        .into_par_iter()
        .enumerate()
        .with_min_len(1024)
        .for_each(|(i, (mean, rotation, log_scale, by_matrix))| {
            let a = linear(&blended[i]);
            let (unit, inverse) = normalize4(rest.rotations[i]);
            let (turn, s) = (matrix(unit), rest.log_scales[i].map(T::exp));
            let local: Mat3<T> = turn.map(|row| [row[0] * s[0], row[1] * s[1], row[2] * s[2]]);
            let m = product(&a, &local);
            // Σ = M Mᵀ: dM = (G + Gᵀ) M
            let [xx, xy, xz, yy, yz, zz] = covariances[i];
            let two = T::of(2.0);
            let symmetric = [[two * xx, xy, xz], [xy, two * yy, yz], [xz, yz, two * zz]];
            let by_m = product(&symmetric, &m);
            let by_linear = product(&by_m, &transpose(&local));
            let by_local = product(&transpose(&a), &by_m);
            let by_turn: Mat3<T> = by_local.map(|row| [row[0] * s[0], row[1] * s[1], row[2] * s[2]]);
            *rotation = normalize4_backward(unit, inverse, matrix_backward(unit, &by_turn));
            *log_scale = std::array::from_fn(|c| (0..3).map(|r| by_local[r][c] * local[r][c]).sum());
            *mean = transform_transposed(&a, means[i]);
            *by_matrix = with_translation(&by_linear, means[i], rest.means[i]);
        });
    (matrices, out)
}

fn apply<T: Real>(a: &Affine<T>, v: Vec3<T>) -> Vec3<T> {
    add(transform(&linear(a), v), [a[0][3], a[1][3], a[2][3]])
}

/// A R(q) diag(s).
fn swept<T: Real>(a: &Mat3<T>, q: Quat<T>, log_scales: Vec3<T>) -> Mat3<T> {
    let turned = product(a, &matrix(normalize4(q).0));
    let s = log_scales.map(T::exp);
    turned.map(|row| [row[0] * s[0], row[1] * s[1], row[2] * s[2]])
}

fn upper<T: Real>(m: &Mat3<T>) -> [T; 6] {
    [m[0][0], m[0][1], m[0][2], m[1][1], m[1][2], m[2][2]]
}

/// Gradient of A in A μ, added to that of its linear part.
fn with_translation<T: Real>(by_linear: &Mat3<T>, g: Vec3<T>, mean: Vec3<T>) -> Affine<T> {
    let by_mean = outer(g, mean);
    std::array::from_fn(|r| {
        let row = add(by_linear[r], by_mean[r]);
        [row[0], row[1], row[2], g[r]]
    })
}
