//! Spherical harmonics in f32 and the gradient with respect to the direction: `gav_formats::conventions::sh_basis`, which
//! is the reference, differentiated term by term.

const L1: f32 = 0.488_602_5;
const L2: [f32; 3] = [1.092_548_4, 0.315_391_57, 0.546_274_2];
const L3: [f32; 5] = [0.590_043_6, 2.890_611_4, 0.457_045_8, 0.373_176_34, 1.445_305_7];
const L4: [f32; 7] = [2.503_343, 1.770_130_8, 0.946_174_7, 0.669_046_54, 0.105_785_55, 0.473_087_35, 0.625_835_74];
/// The constant basis function.
pub(super) const L0: f32 = 0.282_094_8;

/// The basis values of degree 1 up to `degree`, 0 beyond.
#[inline(always)]
pub(super) fn basis([x, y, z]: [f32; 3], degree: u8) -> [f32; 24] {
    let mut out = [0.0; 24];
    if degree == 0 {
        return out;
    }
    out[..3].copy_from_slice(&[-L1 * y, L1 * z, -L1 * x]);
    if degree == 1 {
        return out;
    }
    let (xx, yy, zz) = (x * x, y * y, z * z);
    let [a, b, c] = L2;
    out[3..8].copy_from_slice(&[a * x * y, -a * y * z, b * (2.0 * zz - xx - yy), -a * x * z, c * (xx - yy)]);
    if degree == 2 {
        return out;
    }
    let [a, b, c, d, e] = L3;
    out[8..15].copy_from_slice(&[
        -a * y * (3.0 * xx - yy),
        b * x * y * z,
        -c * y * (4.0 * zz - xx - yy),
        d * z * (2.0 * zz - 3.0 * xx - 3.0 * yy),
        -c * x * (4.0 * zz - xx - yy),
        e * z * (xx - yy),
        -a * x * (xx - 3.0 * yy),
    ]);
    if degree == 3 {
        return out;
    }
    let [a, b, c, d, e, f, g] = L4;
    out[15..24].copy_from_slice(&[
        a * x * y * (xx - yy),
        -b * y * z * (3.0 * xx - yy),
        c * x * y * (7.0 * zz - 1.0),
        -d * y * z * (7.0 * zz - 3.0),
        e * (zz * (35.0 * zz - 30.0) + 3.0),
        -d * x * z * (7.0 * zz - 3.0),
        f * (xx - yy) * (7.0 * zz - 1.0),
        -b * x * z * (xx - 3.0 * yy),
        g * (xx * (xx - 3.0 * yy) - yy * (3.0 * xx - yy)),
    ]);
    out
}

/// Gradient of Σ `v[k] · basis[k]` with respect to the direction, the basis taken as polynomials of x, y, z.
#[inline(always)]
pub(super) fn direction_gradient([x, y, z]: [f32; 3], degree: u8, v: &[f32; 24]) -> [f32; 3] {
    let mut out = [0.0; 3];
    if degree == 0 {
        return out;
    }
    let mut add = |k: usize, gradient: [f32; 3]| {
        for axis in 0..3 {
            out[axis] += v[k] * gradient[axis];
        }
    };
    add(0, [0.0, -L1, 0.0]);
    add(1, [0.0, 0.0, L1]);
    add(2, [-L1, 0.0, 0.0]);
    if degree >= 2 {
        let [a, b, c] = L2;
        add(3, [a * y, a * x, 0.0]);
        add(4, [0.0, -a * z, -a * y]);
        add(5, [-2.0 * b * x, -2.0 * b * y, 4.0 * b * z]);
        add(6, [-a * z, 0.0, -a * x]);
        add(7, [2.0 * c * x, -2.0 * c * y, 0.0]);
    }
    let (xx, yy, zz) = (x * x, y * y, z * z);
    if degree >= 3 {
        let [a, b, c, d, e] = L3;
        add(8, [-6.0 * a * x * y, -3.0 * a * (xx - yy), 0.0]);
        add(9, [b * y * z, b * x * z, b * x * y]);
        add(10, [2.0 * c * x * y, -c * (4.0 * zz - xx - 3.0 * yy), -8.0 * c * y * z]);
        add(11, [-6.0 * d * x * z, -6.0 * d * y * z, d * (6.0 * zz - 3.0 * xx - 3.0 * yy)]);
        add(12, [-c * (4.0 * zz - 3.0 * xx - yy), 2.0 * c * x * y, -8.0 * c * x * z]);
        add(13, [2.0 * e * x * z, -2.0 * e * y * z, e * (xx - yy)]);
        add(14, [-3.0 * a * (xx - yy), 6.0 * a * x * y, 0.0]);
    }
    if degree >= 4 {
        let [a, b, c, d, e, f, g] = L4;
        add(15, [a * y * (3.0 * xx - yy), a * x * (xx - 3.0 * yy), 0.0]);
        add(16, [-6.0 * b * x * y * z, -3.0 * b * z * (xx - yy), -b * y * (3.0 * xx - yy)]);
        add(17, [c * y * (7.0 * zz - 1.0), c * x * (7.0 * zz - 1.0), 14.0 * c * x * y * z]);
        add(18, [0.0, -d * z * (7.0 * zz - 3.0), -d * y * (21.0 * zz - 3.0)]);
        add(19, [0.0, 0.0, e * z * (140.0 * zz - 60.0)]);
        add(20, [-d * z * (7.0 * zz - 3.0), 0.0, -d * x * (21.0 * zz - 3.0)]);
        add(21, [2.0 * f * x * (7.0 * zz - 1.0), -2.0 * f * y * (7.0 * zz - 1.0), 14.0 * f * z * (xx - yy)]);
        add(22, [-3.0 * b * z * (xx - yy), 6.0 * b * x * y * z, -b * x * (xx - 3.0 * yy)]);
        add(23, [4.0 * g * x * (xx - 3.0 * yy), 4.0 * g * y * (yy - 3.0 * xx), 0.0]);
    }
    out
}

#[cfg(test)]
mod tests {
    use gav_formats::conventions::sh_basis;

    #[test]
    fn basis_and_gradient_agree_with_the_reference() {
        for direction in [[0.6f32, -0.48, 0.64], [-0.36, 0.8, 0.48], [0.0, 0.0, 1.0]] {
            let expected = sh_basis(direction.map(f64::from));
            for degree in 0..=4u8 {
                let values = super::basis(direction, degree);
                let count = (usize::from(degree) + 1).pow(2) - 1;
                for k in 0..24 {
                    let expected = if k < count { expected[k + 1] } else { 0.0 };
                    assert!((f64::from(values[k]) - expected).abs() < 1e-6, "{degree} {k}");
                    let mut v = [0.0; 24];
                    v[k] = 1.0;
                    let gradient = super::direction_gradient(direction, degree, &v);
                    for axis in 0..3 {
                        let step = 1e-5;
                        let at = |sign: f64| {
                            let mut d = direction.map(f64::from);
                            d[axis] += sign * step;
                            if k < count { sh_basis(d)[k + 1] } else { 0.0 }
                        };
                        let difference = (at(1.0) - at(-1.0)) / (2.0 * step);
                        assert!((f64::from(gradient[axis]) - difference).abs() < 3e-6, "{degree} {k} {axis}");
                    }
                }
            }
        }
    }
}
