//! Vectors, matrices and quaternions of one splat, in both directions. A function `x_backward` takes the gradient of a scalar by the
//! result of `x` and returns those by its arguments.

use crate::Real;

/// A column of three numbers.
pub type Vec3<T> = [T; 3];
/// Rows of a 3 × 3 matrix.
pub type Mat3<T> = [[T; 3]; 3];
/// Rows of a 3 × 4 matrix: linear part and translation.
pub type Affine<T> = [[T; 4]; 3];
/// A quaternion w, x, y, z.
pub type Quat<T> = [T; 4];

/// Squared lengths below this are taken for it, so that a triangle without area gives finite frames (as GaussianAvatars does).
const TINY: f64 = 1e-20;

pub(crate) fn add<T: Real>(a: Vec3<T>, b: Vec3<T>) -> Vec3<T> {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub(crate) fn sub<T: Real>(a: Vec3<T>, b: Vec3<T>) -> Vec3<T> {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(crate) fn scale<T: Real>(a: Vec3<T>, s: T) -> Vec3<T> {
    [a[0] * s, a[1] * s, a[2] * s]
}

pub(crate) fn dot<T: Real>(a: Vec3<T>, b: Vec3<T>) -> T {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Also its own derivative: for c = a × b with gradient g, the gradient of a is b × g, that of b is g × a.
pub(crate) fn cross<T: Real>(a: Vec3<T>, b: Vec3<T>) -> Vec3<T> {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// `v / |v|` and `1 / |v|`.
pub(crate) fn normalize<T: Real>(v: Vec3<T>) -> (Vec3<T>, T) {
    let inverse = dot(v, v).max(T::of(TINY)).sqrt().recip();
    (scale(v, inverse), inverse)
}

/// From the unit vector `n` and the inverse length that [`normalize`] returned.
pub(crate) fn normalize_backward<T: Real>(n: Vec3<T>, inverse: T, g: Vec3<T>) -> Vec3<T> {
    scale(sub(g, scale(n, dot(n, g))), inverse)
}

pub(crate) fn transform<T: Real>(m: &Mat3<T>, v: Vec3<T>) -> Vec3<T> {
    [dot(m[0], v), dot(m[1], v), dot(m[2], v)]
}

/// `mᵀ v`.
pub(crate) fn transform_transposed<T: Real>(m: &Mat3<T>, v: Vec3<T>) -> Vec3<T> {
    std::array::from_fn(|c| m[0][c] * v[0] + m[1][c] * v[1] + m[2][c] * v[2])
}

pub(crate) fn outer<T: Real>(a: Vec3<T>, b: Vec3<T>) -> Mat3<T> {
    a.map(|a| scale(b, a))
}

pub(crate) fn product<T: Real>(a: &Mat3<T>, b: &Mat3<T>) -> Mat3<T> {
    std::array::from_fn(|r| std::array::from_fn(|c| a[r][0] * b[0][c] + a[r][1] * b[1][c] + a[r][2] * b[2][c]))
}

pub(crate) fn transpose<T: Real>(m: &Mat3<T>) -> Mat3<T> {
    std::array::from_fn(|r| std::array::from_fn(|c| m[c][r]))
}

pub(crate) fn columns<T: Real>(x: Vec3<T>, y: Vec3<T>, z: Vec3<T>) -> Mat3<T> {
    std::array::from_fn(|r| [x[r], y[r], z[r]])
}

pub(crate) fn column<T: Real>(m: &Mat3<T>, c: usize) -> Vec3<T> {
    [m[0][c], m[1][c], m[2][c]]
}

pub(crate) fn linear<T: Real>(a: &Affine<T>) -> Mat3<T> {
    a.map(|r| [r[0], r[1], r[2]])
}

pub(crate) fn determinant<T: Real>(m: &Mat3<T>) -> T {
    dot(m[0], cross(m[1], m[2]))
}

/// Solves `m x = b` by Cramer's rule; the determinant must not be 0.
pub(crate) fn solve<T: Real>(m: &Mat3<T>, b: Vec3<T>) -> Vec3<T> {
    let t = transpose(m);
    let inverse = determinant(m).recip();
    [dot(b, cross(t[1], t[2])) * inverse, dot(t[0], cross(b, t[2])) * inverse, dot(t[0], cross(t[1], b)) * inverse]
}

/// The Hamilton product `a ⊗ b`.
pub(crate) fn multiply<T: Real>(a: Quat<T>, b: Quat<T>) -> Quat<T> {
    [
        a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
        a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
        a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
        a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
    ]
}

pub(crate) fn conjugate<T: Real>(q: Quat<T>) -> Quat<T> {
    [q[0], -q[1], -q[2], -q[3]]
}

/// Gradients of `a` and `b` in `a ⊗ b`: g ⊗ b̄ and ā ⊗ g.
pub(crate) fn multiply_backward<T: Real>(a: Quat<T>, b: Quat<T>, g: Quat<T>) -> (Quat<T>, Quat<T>) {
    (multiply(g, conjugate(b)), multiply(conjugate(a), g))
}

fn dot4<T: Real>(a: Quat<T>, b: Quat<T>) -> T {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]
}

/// `q / |q|` and `1 / |q|`.
pub(crate) fn normalize4<T: Real>(q: Quat<T>) -> (Quat<T>, T) {
    let inverse = dot4(q, q).max(T::of(TINY)).sqrt().recip();
    (q.map(|v| v * inverse), inverse)
}

pub(crate) fn normalize4_backward<T: Real>(n: Quat<T>, inverse: T, g: Quat<T>) -> Quat<T> {
    let along = dot4(n, g);
    std::array::from_fn(|k| (g[k] - n[k] * along) * inverse)
}

/// The rotation matrix of a unit quaternion.
pub(crate) fn matrix<T: Real>([w, x, y, z]: Quat<T>) -> Mat3<T> {
    let (one, two) = (T::one(), T::of(2.0));
    [
        [one - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y)],
        [two * (x * y + w * z), one - two * (x * x + z * z), two * (y * z - w * x)],
        [two * (x * z - w * y), two * (y * z + w * x), one - two * (x * x + y * y)],
    ]
}

/// Gradient of the quaternion in [`matrix`].
pub(crate) fn matrix_backward<T: Real>([w, x, y, z]: Quat<T>, g: &Mat3<T>) -> Quat<T> {
    let two = T::of(2.0);
    let skew = [g[2][1] - g[1][2], g[0][2] - g[2][0], g[1][0] - g[0][1]];
    let sum = [g[2][1] + g[1][2], g[0][2] + g[2][0], g[1][0] + g[0][1]];
    [
        two * (x * skew[0] + y * skew[1] + z * skew[2]),
        two * (w * skew[0] + y * sum[2] + z * sum[1] - two * x * (g[1][1] + g[2][2])),
        two * (w * skew[1] + x * sum[2] + z * sum[0] - two * y * (g[0][0] + g[2][2])),
        two * (w * skew[2] + x * sum[1] + y * sum[0] - two * z * (g[0][0] + g[1][1])),
    ]
}

/// The quaternion of a matrix by the branch of the largest of m₀₀, m₁₁, m₂₂, trace (the first wins ties), before it is divided by its
/// length. Also defined for matrices that are no rotations (`spec/gav.md` section 8, kind 4). The branch is returned beside it.
fn raw_quaternion<T: Real>(m: &Mat3<T>) -> (Quat<T>, usize) {
    let trace = m[0][0] + m[1][1] + m[2][2];
    let candidates = [m[0][0], m[1][1], m[2][2], trace];
    let mut branch = 0;
    for k in 1..4 {
        if candidates[k] > candidates[branch] {
            branch = k;
        }
    }
    if branch == 3 {
        let q = [T::one() + trace, m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]];
        return (q, branch);
    }
    let (i, j, k) = (branch, (branch + 1) % 3, (branch + 2) % 3);
    let mut q = [m[k][j] - m[j][k], T::zero(), T::zero(), T::zero()];
    q[1 + i] = T::one() - trace + T::of(2.0) * m[i][i];
    q[1 + j] = m[j][i] + m[i][j];
    q[1 + k] = m[k][i] + m[i][k];
    (q, branch)
}

/// The unit quaternion of a matrix, see `raw_quaternion`.
pub(crate) fn quaternion<T: Real>(m: &Mat3<T>) -> Quat<T> {
    normalize4(raw_quaternion(m).0).0
}

/// Gradient of the matrix in [`quaternion`].
pub(crate) fn quaternion_backward<T: Real>(m: &Mat3<T>, g: Quat<T>) -> Mat3<T> {
    let (raw, branch) = raw_quaternion(m);
    let (unit, inverse) = normalize4(raw);
    let g = normalize4_backward(unit, inverse, g);
    let mut out = [[T::zero(); 3]; 3];
    if branch == 3 {
        for (k, row) in out.iter_mut().enumerate() {
            row[k] += g[0];
        }
        for (q, (r, c)) in [(2, 1), (0, 2), (1, 0)].into_iter().enumerate() {
            out[r][c] += g[1 + q];
            out[c][r] -= g[1 + q];
        }
        return out;
    }
    let (i, j, k) = (branch, (branch + 1) % 3, (branch + 2) % 3);
    out[k][j] += g[0];
    out[j][k] -= g[0];
    for axis in 0..3 {
        out[axis][axis] -= g[1 + i];
    }
    out[i][i] += T::of(2.0) * g[1 + i];
    for (axis, value) in [(j, g[1 + j]), (k, g[1 + k])] {
        out[axis][i] += value;
        out[i][axis] += value;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Central differences of `f` at `x`, h = 1e-6: truncation about 1e-12, rounding about 1e-10.
    fn differences<const N: usize>(x: [f64; N], f: impl Fn([f64; N]) -> f64) -> [f64; N] {
        std::array::from_fn(|k| {
            let at = |h: f64| {
                let mut y = x;
                y[k] += h;
                f(y)
            };
            (at(1e-6) - at(-1e-6)) / 2e-6
        })
    }

    #[test]
    fn every_branch_of_the_quaternion_and_its_gradient() {
        let g = [0.3, -0.7, 0.2, 0.9];
        for q in [[0.9f64, 0.2, -0.3, 0.1], [0.1, 0.9, 0.2, -0.3], [0.1, -0.2, 0.9, 0.3], [0.2, 0.1, -0.3, 0.9]] {
            let unit = normalize4(q).0;
            let m = matrix(unit);
            let back = quaternion(&m);
            assert!((dot4(unit, back).abs() - 1.0).abs() < 1e-12);
            // a matrix that is no rotation: the formula itself is what counts
            let m: Mat3<f64> =
                std::array::from_fn(|r| std::array::from_fn(|c| m[r][c] * (1.0 + 0.02 * (r + 2 * c) as f64)));
            let flat: [f64; 9] = std::array::from_fn(|k| m[k / 3][k % 3]);
            let f = |x: [f64; 9]| dot4(quaternion(&std::array::from_fn(|r| std::array::from_fn(|c| x[3 * r + c]))), g);
            let expected = differences(flat, f);
            let found = quaternion_backward(&m, g);
            for k in 0..9 {
                assert!((found[k / 3][k % 3] - expected[k]).abs() < 1e-8, "{q:?} {k}");
            }
        }
    }

    #[test]
    fn gradients_of_products_and_matrices() {
        let (a, b, g) = ([0.4f64, -0.2, 0.8, 0.1], [0.3, 0.5, -0.6, 0.2], [1.0, -2.0, 0.5, 0.7]);
        let (da, db) = multiply_backward(a, b, g);
        let (ea, eb) = (differences(a, |a| dot4(multiply(a, b), g)), differences(b, |b| dot4(multiply(a, b), g)));
        let gm = [[0.1, 0.9, -0.4], [0.3, -0.8, 0.2], [0.6, 0.5, -0.7]];
        let em = differences(a, |q| (0..3).map(|r| dot(matrix(q)[r], gm[r])).sum());
        let dm = matrix_backward(a, &gm);
        for k in 0..4 {
            assert!((da[k] - ea[k]).abs() < 1e-8 && (db[k] - eb[k]).abs() < 1e-8 && (dm[k] - em[k]).abs() < 1e-8);
        }
        let m = [[2.0f64, 0.3, -0.1], [0.2, 1.5, 0.4], [-0.3, 0.1, 1.1]];
        let x = solve(&m, [1.0, 2.0, 3.0]);
        assert!(sub(transform(&m, x), [1.0, 2.0, 3.0]).iter().all(|v| v.abs() < 1e-14));
    }
}
