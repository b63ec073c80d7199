//! The rotation nearest to a matrix, and what it takes to hold the result of a general linear map as rotation and scales.

use super::algebra::{
    Mat3, Quat, Vec3, column, columns, determinant, dot, matrix, normalize4, product, solve, transpose,
};
use crate::Real;

/// Newton steps; each squares the error, 12 suffice for singular values that differ by a factor of 1000.
const STEPS: usize = 16;
/// Determinant of a matrix of unit size below which Newton's inverse is not to be trusted.
const FLAT: f64 = 1e-6;

/// The rotation nearest to `m` in the Frobenius norm: the orthogonal factor of the polar decomposition when the determinant is positive,
/// and its proper counterpart otherwise (a matrix that mirrors).
pub fn rotation<T: Real>(m: &Mat3<T>) -> Mat3<T> {
    let size = m.iter().map(|r| dot(*r, *r)).sum::<T>().sqrt();
    if size == T::zero() {
        return identity();
    }
    let mut r = m.map(|row| row.map(|v| v / size));
    if determinant(&r) <= T::of(FLAT) {
        return matrix(nearest_quaternion(m));
    }
    // Higham's iteration R ← (γ R + R⁻ᵀ / γ) / 2 with the Frobenius scaling in the first steps
    for step in 0..STEPS {
        let inverse_transposed = cofactors(&r);
        let gamma = if step < 4 { (norm(&inverse_transposed) / norm(&r)).sqrt() } else { T::one() };
        let half = T::of(0.5);
        let next: Mat3<T> = std::array::from_fn(|i| {
            std::array::from_fn(|j| half * (gamma * r[i][j] + inverse_transposed[i][j] / gamma))
        });
        let change: T = (0..3)
            .map(|i| (0..3).map(|j| (next[i][j] - r[i][j]).abs()).fold(T::zero(), T::max))
            .fold(T::zero(), T::max);
        r = next;
        if change < T::epsilon() * T::of(4.0) {
            break;
        }
    }
    r
}

/// Gradient of `m` in `r = rotation(m)`: dM = R Z with Z v = z × v and (tr P · I − P) z = axial(RᵀG − GᵀR), P = RᵀM. Only the part of `g` along
/// rotations counts. Zero where the rotation is not unique.
pub fn rotation_backward<T: Real>(m: &Mat3<T>, r: &Mat3<T>, g: &Mat3<T>) -> Mat3<T> {
    let p = product(&transpose(r), m);
    let y = axial(&product(&transpose(r), g));
    let trace = p[0][0] + p[1][1] + p[2][2];
    let k: Mat3<T> = std::array::from_fn(|i| {
        std::array::from_fn(|j| {
            // P is symmetric but for rounding
            let symmetric = (p[i][j] + p[j][i]) * T::of(0.5);
            if i == j { trace - symmetric } else { -symmetric }
        })
    });
    if determinant(&k).abs() <= T::min_positive_value() {
        return [[T::zero(); 3]; 3];
    }
    let [x, y, z] = solve(&k, y);
    let zero = T::zero();
    product(r, &[[zero, -z, y], [z, zero, -x], [-y, x, zero]])
}

/// (m₂₁ − m₁₂, m₀₂ − m₂₀, m₁₀ − m₀₁).
fn axial<T: Real>(m: &Mat3<T>) -> Vec3<T> {
    [m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]]
}

fn identity<T: Real>() -> Mat3<T> {
    std::array::from_fn(|r| std::array::from_fn(|c| if r == c { T::one() } else { T::zero() }))
}

fn norm<T: Real>(m: &Mat3<T>) -> T {
    m.iter().map(|r| dot(*r, *r)).sum::<T>().sqrt()
}

/// The transposed inverse.
fn cofactors<T: Real>(m: &Mat3<T>) -> Mat3<T> {
    use super::algebra::cross;
    let inverse = determinant(m).recip();
    [cross(m[1], m[2]), cross(m[2], m[0]), cross(m[0], m[1])].map(|row| row.map(|v| v * inverse))
}

/// Horn's closed form: the quaternion of the nearest rotation is the eigenvector of the largest eigenvalue of a symmetric 4 × 4 matrix
/// ("Closed-form solution of absolute orientation using unit quaternions", 1987).
fn nearest_quaternion<T: Real>(m: &Mat3<T>) -> Quat<T> {
    let s = |r: usize, c: usize| m[r][c];
    let [a, b, c] = axial(m);
    let k = [
        [s(0, 0) + s(1, 1) + s(2, 2), a, b, c],
        [a, s(0, 0) - s(1, 1) - s(2, 2), s(0, 1) + s(1, 0), s(0, 2) + s(2, 0)],
        [b, s(0, 1) + s(1, 0), s(1, 1) - s(0, 0) - s(2, 2), s(1, 2) + s(2, 1)],
        [c, s(0, 2) + s(2, 0), s(1, 2) + s(2, 1), s(2, 2) - s(0, 0) - s(1, 1)],
    ];
    let (values, vectors) = eigen_symmetric(k);
    let mut best = 0;
    for i in 1..4 {
        if values[i] > values[best] {
            best = i;
        }
    }
    normalize4(std::array::from_fn(|r| vectors[r][best])).0
}

/// Eigenvalues and, as columns, eigenvectors of a symmetric matrix, by cyclic Jacobi rotations.
pub(crate) fn eigen_symmetric<T: Real, const N: usize>(mut m: [[T; N]; N]) -> ([T; N], [[T; N]; N]) {
    let mut vectors: [[T; N]; N] =
        std::array::from_fn(|r| std::array::from_fn(|c| if r == c { T::one() } else { T::zero() }));
    // N ≤ 4 converges in 6 to 8 sweeps; the bound only ends loops over NaN
    for _ in 0..24 {
        let off: T = (0..N).flat_map(|r| (0..r).map(move |c| (r, c))).map(|(r, c)| m[r][c] * m[r][c]).sum();
        let all: T = m.iter().flatten().map(|v| *v * *v).sum();
        if off <= all * T::epsilon() * T::epsilon() {
            break;
        }
        for p in 0..N {
            for q in p + 1..N {
                if m[p][q] == T::zero() {
                    continue;
                }
                let theta = (m[q][q] - m[p][p]) / (T::of(2.0) * m[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + T::one()).sqrt());
                let c = (t * t + T::one()).sqrt().recip();
                let s = t * c;
                for k in 0..N {
                    let (a, b) = (m[k][p], m[k][q]);
                    (m[k][p], m[k][q]) = (c * a - s * b, s * a + c * b);
                }
                for k in 0..N {
                    let (a, b) = (m[p][k], m[q][k]);
                    (m[p][k], m[q][k]) = (c * a - s * b, s * a + c * b);
                    let (a, b) = (vectors[k][p], vectors[k][q]);
                    (vectors[k][p], vectors[k][q]) = (c * a - s * b, s * a + c * b);
                }
            }
        }
    }
    (std::array::from_fn(|k| m[k][k]), vectors)
}

/// A covariance (xx, xy, xz, yy, yz, zz) as unit quaternion and natural logarithms of the standard deviations. Eigenvalues below 1e-14
/// of the largest are rounding and are raised to it.
pub fn rotation_scales<T: Real>(covariance: [T; 6]) -> (Quat<T>, Vec3<T>) {
    let [xx, xy, xz, yy, yz, zz] = covariance;
    let (values, vectors) = eigen_symmetric([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]);
    let largest = values.iter().fold(T::min_positive_value(), |m, v| m.max(*v));
    let mut axes = vectors;
    if determinant(&axes) < T::zero() {
        let last = column(&axes, 2).map(|v| -v);
        axes = columns(column(&axes, 0), column(&axes, 1), last);
    }
    let half = T::of(0.5);
    (super::algebra::quaternion(&axes), values.map(|v| v.max(largest * T::of(1e-14)).ln() * half))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::algebra::quaternion;

    const SAMPLE: Mat3<f64> = [[1.2, 0.3, -0.1], [-0.2, 0.9, 0.4], [0.5, -0.1, 1.4]];

    #[test]
    fn the_polar_factor_leaves_a_symmetric_matrix() {
        for m in [SAMPLE, SAMPLE.map(|r| r.map(|v| v * 1e-5)), [[1e-3, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 2.0, 0.0]]] {
            let r = rotation(&m);
            let p = product(&transpose(&r), &m);
            let size = norm(&m);
            for i in 0..3 {
                for j in 0..3 {
                    assert!((p[i][j] - p[j][i]).abs() < 1e-12 * size);
                    let unit = dot(r[i], r[j]) - f64::from(u8::from(i == j));
                    assert!(unit.abs() < 1e-12, "{unit}");
                }
            }
            // both ways to the same rotation
            let q = (nearest_quaternion(&m), quaternion(&r));
            let dot: f64 = q.0.iter().zip(q.1).map(|(a, b)| a * b).sum();
            assert!((dot.abs() - 1.0).abs() < 1e-12);
        }
        // a mirror has no positive determinant, but a nearest rotation
        let r = rotation(&[[-2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]]);
        assert!((determinant(&r) - 1.0f64).abs() < 1e-12 && (r[2][2] - 1.0).abs() < 1e-12);
        assert_eq!(rotation(&[[0.0f32; 3]; 3]), identity::<f32>());
    }

    #[test]
    fn gradient_of_the_polar_factor_is_that_of_differences() {
        let g = [[0.1, 0.9, -0.4], [0.3, -0.8, 0.2], [0.6, 0.5, -0.7]];
        let value = |m: &Mat3<f64>| (0..3).map(|r| dot(rotation(m)[r], g[r])).sum::<f64>();
        let found = rotation_backward(&SAMPLE, &rotation(&SAMPLE), &g);
        for k in 0..9 {
            let at = |h: f64| {
                let mut m = SAMPLE;
                m[k / 3][k % 3] += h;
                value(&m)
            };
            let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((found[k / 3][k % 3] - expected).abs() < 1e-8, "{k}: {} {expected}", found[k / 3][k % 3]);
        }
    }

    #[test]
    fn covariances_come_back_from_rotation_and_scales() {
        let q = normalize4([0.7, -0.2, 0.5, 0.1]).0;
        let r = matrix(q);
        let s = [0.3f64, 0.02, 1.5];
        let full: Mat3<f64> =
            std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| r[i][k] * s[k] * s[k] * r[j][k]).sum()));
        let (q, ln) = rotation_scales([full[0][0], full[0][1], full[0][2], full[1][1], full[1][2], full[2][2]]);
        let r = matrix(q);
        for i in 0..3 {
            for j in 0..3 {
                let back: f64 = (0..3).map(|k| r[i][k] * (2.0 * ln[k]).exp() * r[j][k]).sum();
                assert!((back - full[i][j]).abs() < 1e-12);
            }
        }
    }
}
