//! Rotations as vectors, matrices and pairs of rows.

use crate::conventions::{matrix_from_quaternion, quaternion_from_matrix};

/// Rows of a rotation matrix.
pub(super) type Matrix = [[f64; 3]; 3];

/// From a rotation vector: its direction is the axis, its length the angle in radians.
pub(super) fn from_vector(v: [f64; 3]) -> Matrix {
    let angle = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    // sin(a/2)/a, whose series is exact to double precision below 1e-4
    let s = if angle < 1e-4 { 0.5 - angle * angle / 48.0 } else { (0.5 * angle).sin() / angle };
    matrix_from_quaternion([(0.5 * angle).cos(), s * v[0], s * v[1], s * v[2]])
}

/// The shortest rotation vector.
pub(super) fn to_vector(m: &Matrix) -> [f64; 3] {
    let [w, x, y, z] = quaternion_from_matrix(m);
    let sign = if w < 0.0 { -1.0 } else { 1.0 };
    let sine = (x * x + y * y + z * z).sqrt();
    let angle = 2.0 * sine.atan2(w * sign);
    // angle / sin(angle/2) tends to 2
    let scale = sign * if sine < 1e-8 { 2.0 } else { angle / sine };
    [x * scale, y * scale, z * scale]
}

/// From the first two rows of a matrix, made orthonormal (Zhou et al. 2019); `None` when they are parallel or zero.
pub(super) fn from_six(six: [f64; 6]) -> Option<Matrix> {
    let [a, b, c, d, e, f] = six;
    let first = unit([a, b, c])?;
    let along: f64 = dot(first, [d, e, f]);
    let second = unit([d - along * first[0], e - along * first[1], f - along * first[2]])?;
    let third = [
        first[1] * second[2] - first[2] * second[1],
        first[2] * second[0] - first[0] * second[2],
        first[0] * second[1] - first[1] * second[0],
    ];
    Some([first, second, third])
}

/// The first two rows.
pub(super) fn to_six(m: &Matrix) -> [f64; 6] {
    [m[0][0], m[0][1], m[0][2], m[1][0], m[1][1], m[1][2]]
}

pub(super) fn product(a: &Matrix, b: &Matrix) -> Matrix {
    std::array::from_fn(|r| std::array::from_fn(|c| (0..3).map(|k| a[r][k] * b[k][c]).sum()))
}

pub(super) fn transposed(m: &Matrix) -> Matrix {
    std::array::from_fn(|r| std::array::from_fn(|c| m[c][r]))
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(&b).map(|(x, y)| x * y).sum()
}

fn unit(v: [f64; 3]) -> Option<[f64; 3]> {
    let length = dot(v, v).sqrt();
    (length > 1e-9 && length.is_finite()).then(|| v.map(|x| x / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_gives_the_same_rotation() {
        for v in [[0.0; 3], [1e-9, 0.0, -2e-9], [0.1, -0.2, 0.3], [2.0, 1.0, -1.5], [0.0, 3.1, 0.0], [-3.0, 0.5, 0.0]] {
            let m = from_vector(v);
            let back = to_vector(&m);
            assert!(v.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-8), "{v:?} {back:?}");
            let again = from_six(to_six(&m)).unwrap();
            let same = product(&again, &transposed(&m));
            for r in 0..3 {
                for c in 0..3 {
                    assert!((same[r][c] - f64::from(u8::from(r == c))).abs() < 1e-12);
                }
            }
        }
        // a positive turn about z takes x to y
        let m = from_vector([0.0, 0.0, std::f64::consts::FRAC_PI_2]);
        assert!((m[1][0] - 1.0).abs() < 1e-12);
        assert!(from_six([1.0, 0.0, 0.0, 2.0, 0.0, 0.0]).is_none());
        assert!(from_six([0.0; 6]).is_none());
    }
}
