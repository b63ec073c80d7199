//! Rotations of joints in the three forms in which trackers and networks give them, with gradients.

use gav_kernels::Real;

use super::matrix::{Matrix, Vector, add_to, cross, dot, identity, inner, product, transposed};

/// A rotation relative to the parent joint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rotation<T> {
    /// Axis times angle in radians, by the Rodrigues formula of the SMPL family: the angle is ‖r + 10⁻⁸‖ with 10⁻⁸ added to each
    /// component, the axis r divided by it, so the axis is a little shorter than 1.
    AxisAngle([T; 3]),
    /// The first two rows of the matrix, orthonormalised in order (Gram–Schmidt); the third is their cross product.
    SixD([T; 6]),
    /// The matrix itself, in rows; taken as it is.
    Matrix([[T; 3]; 3]),
}

impl<T: Real> Default for Rotation<T> {
    fn default() -> Self {
        Self::AxisAngle([T::zero(); 3])
    }
}

impl<T: Real> Rotation<T> {
    /// The rotation of a quaternion w, x, y, z of any length but zero.
    pub fn from_quaternion(q: [T; 4]) -> Self {
        let two = T::of(2.0);
        let norm = q.iter().map(|v| *v * *v).sum::<T>();
        let s = if norm > T::zero() { two / norm } else { T::zero() };
        let [w, x, y, z] = q;
        let one = T::one();
        Self::Matrix([
            [one - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
            [s * (x * y + w * z), one - s * (x * x + z * z), s * (y * z - w * x)],
            [s * (x * z - w * y), s * (y * z + w * x), one - s * (x * x + y * y)],
        ])
    }

    /// The matrix in rows.
    pub fn matrix(&self) -> [[T; 3]; 3] {
        match self {
            Self::AxisAngle(r) => rodrigues(r),
            Self::SixD(v) => six_d(v).0,
            Self::Matrix(m) => *m,
        }
    }

    /// The gradient with respect to the numbers of this form, from that with respect to the matrix.
    pub fn gradient(&self, upstream: &[[T; 3]; 3]) -> Self {
        match self {
            Self::AxisAngle(r) => Self::AxisAngle(rodrigues_gradient(r, upstream)),
            Self::SixD(v) => Self::SixD(six_d_gradient(v, upstream)),
            Self::Matrix(_) => Self::Matrix(*upstream),
        }
    }
}

fn skew<T: Real>(d: &Vector<T>) -> Matrix<T> {
    let o = T::zero();
    [[o, -d[2], d[1]], [d[2], o, -d[0]], [-d[1], d[0], o]]
}

/// r + 10⁻⁸ and its length.
fn angle<T: Real>(r: &Vector<T>) -> (Vector<T>, T) {
    let shifted = r.map(|v| v + T::of(1e-8));
    (shifted, dot(&shifted, &shifted).sqrt())
}

/// R = I + sin a K + (1 − cos a) K².
fn rodrigues<T: Real>(r: &Vector<T>) -> Matrix<T> {
    let (_, a) = angle(r);
    let k = skew(&r.map(|v| v / a));
    let mut out = identity();
    add_to(&mut out, &k, a.sin());
    add_to(&mut out, &product(&k, &k), T::one() - a.cos());
    out
}

fn rodrigues_gradient<T: Real>(r: &Vector<T>, upstream: &Matrix<T>) -> Vector<T> {
    let (shifted, a) = angle(r);
    let (sin, cos) = a.sin_cos();
    let k = skew(&r.map(|v| v / a));
    let kt = transposed(&k);
    let mut of_k = [[T::zero(); 3]; 3];
    add_to(&mut of_k, upstream, sin);
    add_to(&mut of_k, &product(upstream, &kt), T::one() - cos);
    add_to(&mut of_k, &product(&kt, upstream), T::one() - cos);
    let of_axis = [of_k[2][1] - of_k[1][2], of_k[0][2] - of_k[2][0], of_k[1][0] - of_k[0][1]];
    let of_angle = cos * inner(upstream, &k) + sin * inner(upstream, &product(&k, &k)) - dot(&of_axis, r) / (a * a);
    std::array::from_fn(|c| of_axis[c] / a + of_angle * shifted[c] / a)
}

/// The matrix, and the lengths by which its first two rows were divided.
fn six_d<T: Real>(v: &[T; 6]) -> (Matrix<T>, [T; 2]) {
    // the length below which nothing is normalised, as in the networks that use this form
    let floor = T::of(1e-12);
    let [first, second] = [[v[0], v[1], v[2]], [v[3], v[4], v[5]]];
    let first_length = dot(&first, &first).sqrt().max(floor);
    let b1 = first.map(|x| x / first_length);
    let along = dot(&b1, &second);
    let rest: Vector<T> = std::array::from_fn(|c| second[c] - along * b1[c]);
    let rest_length = dot(&rest, &rest).sqrt().max(floor);
    let b2 = rest.map(|x| x / rest_length);
    ([b1, b2, cross(&b1, &b2)], [first_length, rest_length])
}

fn six_d_gradient<T: Real>(v: &[T; 6], upstream: &Matrix<T>) -> [T; 6] {
    let ([b1, b2, _], [first_length, rest_length]) = six_d(v);
    let second = [v[3], v[4], v[5]];
    // b3 = b1 × b2
    let of_b2: Vector<T> = {
        let turned = cross(&upstream[2], &b1);
        std::array::from_fn(|c| upstream[1][c] + turned[c])
    };
    let mut of_b1: Vector<T> = {
        let turned = cross(&b2, &upstream[2]);
        std::array::from_fn(|c| upstream[0][c] + turned[c])
    };
    let through = |g: &Vector<T>, b: &Vector<T>, length: T| -> Vector<T> {
        let along = dot(g, b);
        std::array::from_fn(|c| (g[c] - along * b[c]) / length)
    };
    let of_rest = through(&of_b2, &b2, rest_length);
    let along = dot(&b1, &second);
    let of_along = -dot(&of_rest, &b1);
    for c in 0..3 {
        of_b1[c] += of_along * second[c] - along * of_rest[c];
    }
    let of_second: Vector<T> = std::array::from_fn(|c| of_rest[c] + of_along * b1[c]);
    let of_first = through(&of_b1, &b1, first_length);
    [of_first[0], of_first[1], of_first[2], of_second[0], of_second[1], of_second[2]]
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPSTREAM: Matrix<f64> = [[0.3, -1.2, 0.5], [0.9, 0.1, -0.4], [-0.7, 0.6, 1.1]];

    /// Compares a gradient with central differences of Σ upstream · matrix.
    fn check<const N: usize>(values: [f64; N], form: impl Fn([f64; N]) -> Rotation<f64>) {
        let value = |v: [f64; N]| inner(&form(v).matrix(), &UPSTREAM);
        let found: Vec<f64> = match form(values).gradient(&UPSTREAM) {
            Rotation::AxisAngle(g) => g.to_vec(),
            Rotation::SixD(g) => g.to_vec(),
            Rotation::Matrix(g) => g.as_flattened().to_vec(),
        };
        for i in 0..N {
            let step = 1e-6;
            let moved = |by: f64| {
                let mut v = values;
                v[i] += by;
                value(v)
            };
            let expected = (moved(step) - moved(-step)) / (2.0 * step);
            assert!((found[i] - expected).abs() < 1e-8, "{values:?}[{i}]: {} and {expected}", found[i]);
        }
    }

    #[test]
    fn gradients_are_those_of_differences() {
        for r in [[0.3, -0.2, 0.5], [1.9, -1.1, 1.2], [0.02, 0.01, -0.03]] {
            check(r, Rotation::AxisAngle);
        }
        for v in [[1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [0.8, 0.3, -0.2, 0.4, 1.7, 0.3]] {
            check(v, Rotation::SixD);
        }
        check([0.0; 9], |v| Rotation::Matrix([[v[0], v[1], v[2]], [v[3], v[4], v[5]], [v[6], v[7], v[8]]]));
    }

    #[test]
    fn no_rotation_is_the_identity_and_has_a_gradient() {
        assert_eq!(Rotation::<f32>::default().matrix(), identity::<f32>());
        assert_eq!(Rotation::from_quaternion([2.0f32, 0.0, 0.0, 0.0]).matrix(), identity::<f32>());
        let Rotation::AxisAngle(g) = Rotation::default().gradient(&UPSTREAM) else { panic!() };
        for (found, expected) in g.iter().zip([0.6 + 0.4, 0.5 + 0.7, 0.9 + 1.2]) {
            assert!((found - expected).abs() < 1e-7, "{g:?}");
        }
    }

    #[test]
    fn forms_agree() {
        let half = 0.35f64;
        let axis = [2.0 / 3.0, -1.0 / 3.0, 2.0 / 3.0];
        let turn = Rotation::AxisAngle(axis.map(|v| v * 2.0 * half)).matrix();
        let [x, y, z] = axis.map(|v| v * half.sin());
        let six = [turn[0][0], turn[0][1], turn[0][2], turn[1][0], turn[1][1], turn[1][2]];
        for other in [Rotation::from_quaternion([half.cos(), x, y, z]), Rotation::SixD(six)] {
            for (a, b) in turn.as_flattened().iter().zip(other.matrix().as_flattened()) {
                assert!((a - b).abs() < 3e-8, "the axis is short by the 10⁻⁸: {a} {b}");
            }
        }
    }
}
