//! Puts splats where their node stands: world transform of centres, ellipsoids and SH.

use super::scene::Trs;
use crate::{
    Splats,
    conventions::{
        ShRotation, matrix_from_quaternion, multiply_quaternions, normalize_quaternion, quaternion_from_matrix,
    },
};

/// Relative difference of scale factors below which a scale counts as uniform.
const UNIFORM_TOLERANCE: f64 = 1e-6;

/// Applies a node's world transform to splats `start..`. The identity leaves every bit as it is.
///
/// With a uniform scale, rotations and log-scales change separately and exactly. A non-uniform scale turns each
/// ellipsoid into another one, whose axes come from the singular values of `M · R · diag(s)` (KHR_gaussian_splatting).
pub fn place(splats: &mut Splats, start: usize, at: &Trs) {
    let rotation = normalize_quaternion(at.rotation);
    let unmoved = at.translation == [0.0; 3] && at.scale == [1.0; 3] && rotation[1..] == [0.0; 3];
    if unmoved {
        return;
    }
    let linear = at.affine().linear;
    for mean in &mut splats.means[start..] {
        let p = mean.map(f64::from);
        *mean = std::array::from_fn(|r| ((0..3).map(|c| linear[r][c] * p[c]).sum::<f64>() + at.translation[r]) as f32);
    }
    let largest = at.scale.iter().fold(0.0f64, |a, b| a.max(*b));
    let uniform = at.scale.iter().all(|s| (largest - s).abs() <= UNIFORM_TOLERANCE * largest);
    if uniform {
        let log_scale = at.scale[0].ln();
        for q in &mut splats.rotations[start..] {
            *q = multiply_quaternions(rotation, q.map(f64::from)).map(|v| v as f32);
        }
        for s in splats.log_scales[start..].iter_mut().flatten() {
            *s = (f64::from(*s) + log_scale) as f32;
        }
    } else {
        for (q, s) in splats.rotations[start..].iter_mut().zip(&mut splats.log_scales[start..]) {
            let turn = matrix_from_quaternion(normalize_quaternion(q.map(f64::from)));
            // scales relative to the largest keep the product within range whatever the size of the splat
            let reference = s.iter().fold(f32::MIN, |a, b| a.max(*b));
            let radii = s.map(|v| f64::from(v - reference).exp());
            let axes: [[f64; 3]; 3] = std::array::from_fn(|r| {
                std::array::from_fn(|c| radii[c] * (0..3).map(|k| linear[r][k] * turn[k][c]).sum::<f64>())
            });
            let (axes, radii) = principal_axes(axes);
            *q = quaternion_from_matrix(&axes).map(|v| v as f32);
            *s = radii.map(|v| (v.max(f64::MIN_POSITIVE).ln() + f64::from(reference)) as f32);
        }
    }
    let (degree, width) = (splats.sh_degree, splats.sh_rest_count() * 3);
    if width > 0 && rotation[1..] != [0.0; 3] {
        let sh = ShRotation::new(&matrix_from_quaternion(rotation));
        splats.sh_rest[start * width..].chunks_exact_mut(width).for_each(|rest| sh.apply(degree, rest));
    }
}

/// Left singular vectors (as the columns of a rotation) and singular values of a 3 × 3 matrix, by one-sided Jacobi
/// rotations of its columns, which keep small values accurate (Demmel and Veselić 1992).
fn principal_axes(mut a: [[f64; 3]; 3]) -> ([[f64; 3]; 3], [f64; 3]) {
    let dot = |a: &[[f64; 3]; 3], i: usize, j: usize| (0..3).map(|r| a[r][i] * a[r][j]).sum::<f64>();
    for _ in 0..30 {
        let mut turned = false;
        for (i, j) in [(0, 1), (0, 2), (1, 2)] {
            let (ii, jj, ij) = (dot(&a, i, i), dot(&a, j, j), dot(&a, i, j));
            if ij.abs() <= 1e-15 * (ii * jj).sqrt() {
                continue;
            }
            turned = true;
            let zeta = (jj - ii) / (2.0 * ij);
            let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
            let c = 1.0 / (1.0 + t * t).sqrt();
            for row in &mut a {
                (row[i], row[j]) = (c * row[i] - t * c * row[j], t * c * row[i] + c * row[j]);
            }
        }
        if !turned {
            break;
        }
    }
    let radii = [0, 1, 2].map(|c| dot(&a, c, c).sqrt());
    // two trustworthy columns fix the third; the shortest is the one to rebuild
    let order = {
        let mut order = [0, 1, 2];
        order.sort_by(|x, y| radii[*y].total_cmp(&radii[*x]));
        order
    };
    let unit = |c: usize| a.map(|row| row[c] / radii[c].max(f64::MIN_POSITIVE));
    let (u, v) = (unit(order[0]), unit(order[1]));
    let w = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    let even = order == [0, 1, 2] || order == [1, 2, 0] || order == [2, 0, 1];
    let mut axes = [[0.0; 3]; 3];
    for r in 0..3 {
        axes[r][order[0]] = u[r];
        axes[r][order[1]] = v[r];
        axes[r][order[2]] = if even { w[r] } else { -w[r] };
    }
    (axes, radii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covariance(q: [f32; 4], s: [f32; 3], m: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
        let r = matrix_from_quaternion(normalize_quaternion(q.map(f64::from)));
        let a: [[f64; 3]; 3] = std::array::from_fn(|i| {
            std::array::from_fn(|j| f64::from(s[j]).exp() * (0..3).map(|k| m[i][k] * r[k][j]).sum::<f64>())
        });
        std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * a[j][k]).sum()))
    }

    #[test]
    fn placed_ellipsoids_have_the_transformed_covariance() {
        let unit = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        for scale in [[2.0, 2.0, 2.0], [0.5, 2.0, 3.0]] {
            let at = Trs { translation: [1.0, 2.0, 3.0], rotation: [0.5, 0.1, -0.7, 0.2], scale };
            for (q, s) in [
                ([0.3, 0.8, -0.2, 0.4], [-1.0, -3.0, -2.0]),
                ([1.0, 0.0, 0.0, 0.0], [-6.0, -0.5, -0.5]),
                ([0.0, 0.6, 0.8, 0.0], [0.0, 0.0, 0.0]),
            ] {
                let mut splats = Splats::with_len(1, 0);
                (splats.rotations[0], splats.log_scales[0]) = (q, s);
                place(&mut splats, 0, &at);
                let expected = covariance(q, s, &at.affine().linear);
                let got = covariance(splats.rotations[0], splats.log_scales[0], &unit);
                let size = expected.iter().flatten().fold(0.0f64, |a, b| a.max(b.abs()));
                for r in 0..3 {
                    assert_eq!(splats.means[0][r], at.translation[r] as f32);
                    assert!((0..3).all(|c| (expected[r][c] - got[r][c]).abs() < 2e-6 * size), "{expected:?} {got:?}");
                }
            }
        }
    }

    #[test]
    fn the_identity_keeps_every_bit() {
        let mut splats = Splats::with_len(1, 1);
        splats.rotations[0] = [0.5, -0.0, 7.0, 1.0];
        let before = splats.clone();
        place(&mut splats, 0, &Trs { translation: [0.0; 3], rotation: [1.0, 0.0, 0.0, 0.0], scale: [1.0; 3] });
        assert_eq!(splats, before);
    }
}
