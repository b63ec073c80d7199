//! Real spherical harmonics of degree 0 to 4 with Condon–Shortley signs, in the order m = −l … +l, and their rotation.
//!
//! Colour of a splat seen along the unit direction d from the camera to its centre: `max(0, 0.5 + Σ basis_k(d) · sh_k)`.

/// Coefficients per channel beyond degree 0: `(degree + 1)² − 1`.
pub const fn sh_rest_count(degree: u8) -> usize {
    (degree as usize + 1) * (degree as usize + 1) - 1
}

/// The 25 basis values of degree 0 to 4 for a unit direction.
pub fn sh_basis([x, y, z]: [f64; 3]) -> [f64; 25] {
    let (xx, yy, zz) = (x * x, y * y, z * z);
    [
        0.282_094_791_773_878_14,
        -0.488_602_511_902_919_9 * y,
        0.488_602_511_902_919_9 * z,
        -0.488_602_511_902_919_9 * x,
        1.092_548_430_592_079_2 * x * y,
        -1.092_548_430_592_079_2 * y * z,
        0.315_391_565_252_520_05 * (2.0 * zz - xx - yy),
        -1.092_548_430_592_079_2 * x * z,
        0.546_274_215_296_039_6 * (xx - yy),
        -0.590_043_589_926_643_5 * y * (3.0 * xx - yy),
        2.890_611_442_640_554 * x * y * z,
        -0.457_045_799_464_465_8 * y * (4.0 * zz - xx - yy),
        0.373_176_332_590_115_4 * z * (2.0 * zz - 3.0 * xx - 3.0 * yy),
        -0.457_045_799_464_465_8 * x * (4.0 * zz - xx - yy),
        1.445_305_721_320_277 * z * (xx - yy),
        -0.590_043_589_926_643_5 * x * (xx - 3.0 * yy),
        2.503_342_941_796_704_7 * x * y * (xx - yy),
        -1.770_130_769_779_930_5 * y * z * (3.0 * xx - yy),
        0.946_174_695_757_560_1 * x * y * (7.0 * zz - 1.0),
        -0.669_046_543_557_289_2 * y * z * (7.0 * zz - 3.0),
        0.105_785_546_915_204_31 * (zz * (35.0 * zz - 30.0) + 3.0),
        -0.669_046_543_557_289_2 * x * z * (7.0 * zz - 3.0),
        0.473_087_347_878_780_06 * (xx - yy) * (7.0 * zz - 1.0),
        -1.770_130_769_779_930_5 * x * z * (xx - 3.0 * yy),
        0.625_835_735_449_176_1 * (xx * (xx - 3.0 * yy) - yy * (3.0 * xx - yy)),
    ]
}

/// The linear maps, one per degree, that carry SH coefficients along with an orthogonal change of coordinates.
///
/// If points move as `p' = M p` then colours seen along `M d` after the change equal those along `d` before it.
#[derive(Debug, Clone)]
pub struct ShRotation {
    /// `blocks[l]` is the (2l+1)² row-major matrix of degree l.
    blocks: [Vec<f64>; 5],
}

impl ShRotation {
    /// Builds the maps for an orthogonal matrix (rows; rotation or reflection) by projecting the rotated basis on itself.
    ///
    /// The product of a 12 × 24 quadrature (Gauss–Legendre in z, uniform in azimuth) is exact for the degree 8 of the products.
    pub fn new(matrix: &[[f64; 3]; 3]) -> Self {
        let mut blocks: [Vec<f64>; 5] = std::array::from_fn(|l| vec![0.0; (2 * l + 1) * (2 * l + 1)]);
        let azimuths = 24;
        for (z, weight) in gauss_legendre::<12>() {
            let radius = (1.0 - z * z).sqrt();
            for step in 0..azimuths {
                let phi = std::f64::consts::TAU * (step as f64 + 0.5) / azimuths as f64;
                let d = [radius * phi.cos(), radius * phi.sin(), z];
                let moved = std::array::from_fn(|r| matrix[r][0] * d[0] + matrix[r][1] * d[1] + matrix[r][2] * d[2]);
                let (before, after) = (sh_basis(d), sh_basis(moved));
                let w = weight * std::f64::consts::TAU / azimuths as f64;
                for (l, block) in blocks.iter_mut().enumerate() {
                    let (size, base) = (2 * l + 1, l * l);
                    for r in 0..size {
                        for c in 0..size {
                            block[r * size + c] += w * after[base + r] * before[base + c];
                        }
                    }
                }
            }
        }
        // products of exact zeros and ones come out as 1e-17: snapping keeps axis flips exact sign changes
        for value in blocks.iter_mut().flatten() {
            for exact in [0.0, 1.0, -1.0] {
                if (*value - exact).abs() < 1e-12 {
                    *value = exact;
                }
            }
        }
        Self { blocks }
    }

    /// Applies the maps to one splat's coefficients beyond degree 0: `rest` is K × 3, colour fastest.
    pub fn apply(&self, degree: u8, rest: &mut [f32]) {
        for l in 1..=degree as usize {
            let (size, base) = (2 * l + 1, l * l - 1);
            let block = &self.blocks[l];
            let mut out = [[0.0f32; 3]; 9];
            for r in 0..size {
                // a row with a single ±1 moves the coefficient untouched, so that flips are exact and keep every bit
                let row = &block[r * size..][..size];
                if let Some(c) = row.iter().position(|v| v.abs() == 1.0) {
                    for channel in 0..3 {
                        let value = rest[(base + c) * 3 + channel];
                        out[r][channel] = if row[c] < 0.0 { -value } else { value };
                    }
                    continue;
                }
                for channel in 0..3 {
                    out[r][channel] =
                        (0..size).map(|c| row[c] * f64::from(rest[(base + c) * 3 + channel])).sum::<f64>() as f32;
                }
            }
            for r in 0..size {
                rest[(base + r) * 3..][..3].copy_from_slice(&out[r]);
            }
        }
    }
}

/// Nodes and weights of Gauss–Legendre quadrature on [−1, 1], by Newton's method on the Legendre polynomial.
fn gauss_legendre<const N: usize>() -> [(f64, f64); N] {
    std::array::from_fn(|i| {
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (N as f64 + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..100 {
            let (mut p0, mut p1) = (1.0, x);
            for k in 2..=N {
                (p0, p1) = (p1, ((2 * k - 1) as f64 * x * p1 - (k - 1) as f64 * p0) / k as f64);
            }
            slope = N as f64 * (x * p1 - p0) / (x * x - 1.0);
            let step = p1 / slope;
            x -= step;
            if step.abs() < 1e-16 {
                break;
            }
        }
        (x, 2.0 / ((1.0 - x * x) * slope * slope))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conventions::{matrix_from_quaternion, normalize_quaternion};

    fn color(rest: &[f32], degree: u8, d: [f64; 3]) -> f64 {
        let basis = sh_basis(d);
        (0..sh_rest_count(degree)).map(|k| basis[k + 1] * f64::from(rest[k * 3])).sum()
    }

    #[test]
    fn rotated_coefficients_show_the_same_colour_along_the_rotated_direction() {
        let m = matrix_from_quaternion(normalize_quaternion([0.3, -0.7, 0.2, 0.6]));
        let rest: Vec<f32> = (0..72).map(|i| ((i * 37 % 23) as f32 - 11.0) / 11.0).collect();
        let mut moved = rest.clone();
        ShRotation::new(&m).apply(4, &mut moved);
        for k in 0..20 {
            let (z, phi) = (k as f64 / 10.0 - 0.95, k as f64 * 2.4);
            let r = f64::sqrt(1.0 - z * z);
            let d = [r * phi.cos(), r * phi.sin(), z];
            let md = std::array::from_fn(|i| m[i][0] * d[0] + m[i][1] * d[1] + m[i][2] * d[2]);
            assert!((color(&rest, 4, d) - color(&moved, 4, md)).abs() < 1e-5);
        }
    }

    #[test]
    fn axis_flips_follow_the_published_sign_table_exactly() {
        // formats specification 1.0: signs of the 24 rest coefficients for flips sx, sy, sz
        let (sx, sy, sz) = (1.0f32, -1.0f32, -1.0f32);
        let table = [
            sy,
            sz,
            sx,
            sx * sy,
            sy * sz,
            1.0,
            sx * sz,
            1.0,
            sy,
            sx * sy * sz,
            sy,
            sz,
            sx,
            sz,
            sx,
            sx * sy,
            sy * sz,
            sx * sy,
            sy * sz,
            1.0,
            sx * sz,
            1.0,
            sx * sz,
            1.0,
        ];
        let m = [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]];
        let mut rest: Vec<f32> = (1..=72).map(|i| i as f32).collect();
        let before = rest.clone();
        ShRotation::new(&m).apply(4, &mut rest);
        // the published table gives m = +4 the sign of y; x⁴ − 6x²y² + y⁴ is even in every axis, so it is +1 here
        for k in 0..24 {
            assert_eq!(rest[k * 3], before[k * 3] * table[k], "coefficient {k}");
        }
    }
}
