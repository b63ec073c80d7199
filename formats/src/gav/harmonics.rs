//! SH coefficients beyond degree 0: decorrelation by a Karhunen–Loève basis per file, then dead-zone quantisation (`spec/gav.md` 7.8).

use half::f16;

use super::container::bad;
use crate::{Result, Splats};

/// Rounding offset of the quantiser: values below 0.67 steps become 0, which costs less than it saves.
const DEAD_ZONE: f64 = 0.33;
/// Reconstruction lies this far (in steps) above the code, towards the mass of each interval.
pub(crate) const SHIFT: f64 = 0.05;
/// Coarsest class whose step SH uses; beyond it errors show in close-ups.
pub(crate) const MAX_SH_CLASS: u8 = 4;
/// Contexts: the activity of the six columns before, against these bounds.
const ACTIVITY_BOUNDS: [u32; 4] = [1, 3, 6, 10];
/// Number of contexts.
pub(crate) const SH_CONTEXTS: usize = 5;
const ACTIVITY_COLUMNS: usize = 6;
/// Rows the basis is fitted on.
const FIT_ROWS: usize = 20_000;
/// Splats per dimension from which a stored basis pays.
const BASIS_PAYS: usize = 64;

/// Mean and orthonormal basis of the coefficients.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Basis {
    dimensions: usize,
    mean: Vec<f64>,
    /// Row-major; row k is the k-th basis vector. Empty for the identity.
    rows: Vec<f64>,
}

impl Basis {
    /// The basis of the given splats, rounded to what the file can hold.
    pub fn fit(splats: &Splats) -> Self {
        let d = splats.sh_rest_count() * 3;
        if splats.len() < BASIS_PAYS * d || splats.sh_rest.iter().any(|v| v.abs() > 1e4) {
            return Self { dimensions: d, mean: vec![0.0; d], rows: Vec::new() };
        }
        let stride = splats.len().div_ceil(FIT_ROWS).max(1);
        let rows: Vec<&[f32]> = splats.sh_rest.chunks_exact(d).step_by(stride).collect();
        let mut mean = vec![0.0; d];
        for row in &rows {
            (0..d).for_each(|k| mean[k] += f64::from(row[k]) / rows.len() as f64);
        }
        mean.iter_mut().for_each(|v| *v = f16::from_f64(*v).to_f64());
        let mut covariance = vec![0.0; d * d];
        for row in &rows {
            for i in 0..d {
                let x = f64::from(row[i]) - mean[i];
                for j in i..d {
                    covariance[i * d + j] += x * (f64::from(row[j]) - mean[j]);
                }
            }
        }
        for i in 0..d {
            for j in 0..i {
                covariance[i * d + j] = covariance[j * d + i];
            }
        }
        let rows = principal_axes(covariance, d).into_iter().map(|v| f16::from_f64(v).to_f64()).collect();
        Self { dimensions: d, mean, rows }
    }

    /// A flag byte, then mean and basis as float16 unless the basis is the identity.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![u8::from(!self.rows.is_empty())];
        if !self.rows.is_empty() {
            let numbers = self.mean.iter().chain(&self.rows);
            out.extend(numbers.flat_map(|&v| f16::from_f64(v).to_le_bytes()));
        }
        out
    }

    /// Reads what [`Basis::to_bytes`] wrote from the front of `bytes`; also returns how many bytes that took.
    pub fn from_bytes(bytes: &[u8], dimensions: usize, offset: u64) -> Result<(Self, usize)> {
        let wrong = |message: &str| bad("SH_BASIS", offset, message);
        match bytes.first() {
            Some(0) => Ok((Self { dimensions, mean: vec![0.0; dimensions], rows: Vec::new() }, 1)),
            Some(1) => {
                let count = dimensions * (dimensions + 1);
                let body = bytes.get(1..1 + 2 * count).ok_or_else(|| wrong("SH basis is cut short"))?;
                let numbers: Vec<f64> =
                    body.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f64()).collect();
                if numbers.iter().any(|v| !v.is_finite()) {
                    return Err(wrong("SH basis is not finite"));
                }
                let (mean, rows) = numbers.split_at(dimensions);
                Ok((Self { dimensions, mean: mean.to_vec(), rows: rows.to_vec() }, 1 + 2 * count))
            }
            _ => Err(wrong("SH basis flag is not 0 or 1")),
        }
    }

    /// Codes of one splat's coefficients at a step.
    pub fn quantize(&self, rest: &[f32], step: f64, codes: &mut [i32]) {
        let d = self.dimensions;
        for (k, code) in codes.iter_mut().enumerate() {
            let y = match self.rows.get(k * d..(k + 1) * d) {
                Some(row) => (0..d).map(|j| row[j] * (f64::from(rest[j]) - self.mean[j])).sum::<f64>(),
                None => f64::from(rest[k]),
            };
            let magnitude = ((y.abs() / step + DEAD_ZONE).floor()).min(f64::from(1 << 24)) as i32;
            *code = if y < 0.0 { -magnitude } else { magnitude };
        }
    }

    /// Coefficients of one splat's codes.
    pub fn reconstruct(&self, codes: &[i32], step: f64, rest: &mut [f32]) {
        let d = self.dimensions;
        // in f64 from the start: |i32::MIN| is no i32
        let value = |code: i32| f64::from(code.signum()) * (f64::from(code).abs() + SHIFT) * step;
        if self.rows.is_empty() {
            rest.iter_mut().zip(codes).for_each(|(r, &code)| *r = value(code) as f32);
            return;
        }
        let mut sums = [0.0f64; 72];
        sums[..d].copy_from_slice(&self.mean);
        for (k, &code) in codes.iter().enumerate().filter(|(_, code)| **code != 0) {
            let y = value(code);
            for (sum, &weight) in sums[..d].iter_mut().zip(&self.rows[k * d..(k + 1) * d]) {
                *sum += y * weight;
            }
        }
        rest.iter_mut().zip(sums).for_each(|(r, sum)| *r = sum as f32);
    }
}

/// Contexts of column `column` for every splat of a block: how active the columns just before it are.
/// `magnitudes` holds |code| of the earlier columns, column by column.
pub(crate) fn contexts(magnitudes: &[Vec<u32>], column: usize, count: usize) -> Vec<u8> {
    let mut sums = vec![0u32; count];
    for earlier in &magnitudes[column.saturating_sub(ACTIVITY_COLUMNS)..column] {
        sums.iter_mut().zip(earlier).for_each(|(sum, &m)| *sum = sum.saturating_add(m));
    }
    sums.into_iter().map(|s| ACTIVITY_BOUNDS.iter().filter(|&&bound| s >= bound).count() as u8).collect()
}

/// Eigenvectors (as rows, largest eigenvalue first) of a symmetric matrix by cyclic Jacobi rotations. At most 72 × 72, and the
/// order of operations is fixed, so that every machine writes the same file.
fn principal_axes(mut a: Vec<f64>, d: usize) -> Vec<f64> {
    let mut v = vec![0.0; d * d];
    (0..d).for_each(|k| v[k * d + k] = 1.0);
    let total: f64 = (0..d).map(|k| a[k * d + k].abs()).sum::<f64>().max(f64::MIN_POSITIVE);
    for _sweep in 0..30 {
        let off: f64 = (0..d).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i * d + j].abs()).sum();
        if off < 1e-10 * total {
            break;
        }
        for p in 0..d {
            for q in p + 1..d {
                let apq = a[p * d + q];
                if apq.abs() < 1e-300 {
                    continue;
                }
                let theta = (a[q * d + q] - a[p * d + p]) / (2.0 * apq);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let t = if theta == 0.0 { 1.0 } else { t };
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..d {
                    let (x, y) = (a[k * d + p], a[k * d + q]);
                    a[k * d + p] = c * x - s * y;
                    a[k * d + q] = s * x + c * y;
                }
                for k in 0..d {
                    let (x, y) = (a[p * d + k], a[q * d + k]);
                    a[p * d + k] = c * x - s * y;
                    a[q * d + k] = s * x + c * y;
                    let (x, y) = (v[p * d + k], v[q * d + k]);
                    v[p * d + k] = c * x - s * y;
                    v[q * d + k] = s * x + c * y;
                }
            }
        }
    }
    let mut order: Vec<usize> = (0..d).collect();
    order.sort_by(|&i, &j| a[j * d + j].total_cmp(&a[i * d + i]).then(i.cmp(&j)));
    order.into_iter().flat_map(|k| v[k * d..(k + 1) * d].to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principal_axes_diagonalise() {
        let d = 9;
        let m: Vec<f64> = (0..d * d).map(|k| f64::from((k as u32 * 7919) % 17) / 17.0 - 0.4).collect();
        let product = |a: usize, b: usize| (0..d).map(|k| m[a * d + k] * m[b * d + k]).sum::<f64>();
        let a: Vec<f64> = (0..d * d).map(|k| product(k / d, k % d)).collect();
        let v = principal_axes(a.clone(), d);
        let mut last = f64::INFINITY;
        for i in 0..d {
            for j in 0..d {
                let dot: f64 = (0..d).map(|k| v[i * d + k] * v[j * d + k]).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-9);
                let form: f64 = (0..d * d).map(|k| v[i * d + k / d] * a[k] * v[j * d + k % d]).sum();
                if i == j {
                    assert!(form <= last + 1e-9);
                    last = form;
                } else {
                    assert!(form.abs() < 1e-8);
                }
            }
        }
    }
}
