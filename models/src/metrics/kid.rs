//! Kernel distance of features (Bińkowski et al. 2018) with k(x, y) = (x·y/d + 1)³, unbiased, in f64; and Inception Score.

use faer::{Mat, MatRef};
use rayon::prelude::*;

use super::fid::check_rows;
use crate::{Error, Result};

/// How subsets are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KidOptions {
    /// How many subsets.
    pub subsets: usize,
    /// Rows of each, at most; fewer when a side has fewer.
    pub subset_rows: usize,
    /// Seed of the draws. The published code draws from an unseeded stream, so its own figures vary by about their deviation / √subsets.
    pub seed: u64,
}

impl Default for KidOptions {
    fn default() -> Self {
        Self { subsets: 100, subset_rows: 1000, seed: 0 }
    }
}

/// The estimates over all subsets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kid {
    /// Their mean: KID of StyleGAN and of torch-fidelity.
    pub mean: f64,
    /// Their standard deviation (of the population), which torch-fidelity reports beside the mean.
    pub deviation: f64,
    /// Rows of each subset.
    pub subset_rows: usize,
}

/// KID of rows of `length` features. Each side draws its subsets without replacement.
///
/// # Errors
/// Parts of rows, features that are not finite, fewer than two rows on a side.
pub fn kid(a: &[f32], b: &[f32], length: usize, options: &KidOptions) -> Result<Kid> {
    check_rows(a, length)?;
    check_rows(b, length)?;
    let rows = [a.len() / length, b.len() / length];
    let subset_rows = options.subset_rows.min(rows[0]).min(rows[1]);
    if subset_rows < 2 || options.subsets == 0 {
        let [a, b] = rows;
        return Err(Error::usage(format!("KID of {a} and {b} pictures in {} subsets", options.subsets)));
    }
    // when a subset is a whole side on both sides, all subsets are the same
    let subsets = if rows == [subset_rows; 2] { 1 } else { options.subsets };
    let estimates: Vec<f64> = (0..subsets as u64)
        .into_par_iter()
        .map(|subset| {
            let side = |features: &[f32], rows: usize, side: u64| {
                gather(features, length, &draw(rows, subset_rows, options.seed, 2 * subset + side))
            };
            estimate(&side(a, rows[0], 0), &side(b, rows[1], 1), length)
        })
        .collect();
    let mean = estimates.iter().sum::<f64>() / subsets as f64;
    let variance = estimates.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / subsets as f64;
    Ok(Kid { mean, deviation: variance.sqrt(), subset_rows })
}

/// The unbiased estimate of two subsets of equal size: Σ_{i≠j}(K_aa + K_bb)/(m(m−1)) − 2·mean K_ab.
pub fn estimate(a: &[f64], b: &[f64], length: usize) -> f64 {
    let m = a.len() / length;
    assert_eq!((a.len(), b.len()), (m * length, m * length), "two subsets of equal size");
    let matrix = |values: &'_ [f64]| MatRef::from_row_major_slice(values, m, length).to_owned();
    let (a, b) = (matrix(a), matrix(b));
    let kernel = |x: &Mat<f64>, y: &Mat<f64>, diagonal: bool| -> f64 {
        let products = x * y.transpose();
        let mut sum = 0.0;
        for j in 0..m {
            for i in 0..m {
                if diagonal || i != j {
                    sum += (products[(i, j)] / length as f64 + 1.0).powi(3);
                }
            }
        }
        sum
    };
    let m = m as f64;
    (kernel(&a, &a, false) + kernel(&b, &b, false)) / (m * (m - 1.0)) - 2.0 * kernel(&a, &b, true) / (m * m)
}

fn gather(features: &[f32], length: usize, rows: &[usize]) -> Vec<f64> {
    rows.iter().flat_map(|row| features[row * length..][..length].iter().map(|v| f64::from(*v))).collect()
}

/// `count` of the numbers below `all` without replacement: the start of a Fisher–Yates shuffle on splitmix64.
fn draw(all: usize, count: usize, seed: u64, stream: u64) -> Vec<usize> {
    let mut state = seed ^ stream.wrapping_mul(0xD134_2543_DE82_EF95);
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let mut numbers: Vec<usize> = (0..all).collect();
    for i in 0..count {
        // the bias of the multiplication is below 2^-40 for any data set
        let j = i + ((u128::from(next()) * (all - i) as u128) >> 64) as usize;
        numbers.swap(i, j);
    }
    numbers.truncate(count);
    numbers
}

/// Inception Score (Salimans et al. 2016): over `splits` equal parts of the rows, mean and standard deviation of exp(mean KL(p ‖ mean p)).
/// The published protocol is 50,000 pictures in 10 parts.
///
/// # Errors
/// Parts of rows, values that are not finite, fewer rows than splits.
pub fn inception_score(probabilities: &[f32], classes: usize, splits: usize) -> Result<(f64, f64)> {
    check_rows(probabilities, classes)?;
    let rows = probabilities.len() / classes;
    if splits == 0 || rows < splits {
        return Err(Error::usage(format!("Inception Score of {rows} pictures in {splits} parts")));
    }
    let score = |split: usize| {
        let part = &probabilities[split * rows / splits * classes..(split + 1) * rows / splits * classes];
        let count = (part.len() / classes) as f64;
        let mut mean = vec![0f64; classes];
        for row in part.chunks_exact(classes) {
            mean.iter_mut().zip(row).for_each(|(mean, p)| *mean += f64::from(*p) / count);
        }
        let divergence = |row: &[f32]| -> f64 {
            let terms = row.iter().zip(&mean).filter(|(p, _)| **p > 0.0);
            terms.map(|(p, mean)| f64::from(*p) * (f64::from(*p).ln() - mean.ln())).sum()
        };
        (part.chunks_exact(classes).map(divergence).sum::<f64>() / count).exp()
    };
    let scores: Vec<f64> = (0..splits).map(score).collect();
    let mean = scores.iter().sum::<f64>() / splits as f64;
    let variance = scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / splits as f64;
    Ok((mean, variance.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_distinct_and_repeat() {
        let drawn = draw(50, 20, 3, 7);
        let mut sorted = drawn.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 20);
        assert!(sorted.iter().all(|n| *n < 50));
        assert_eq!(drawn, draw(50, 20, 3, 7));
        assert_ne!(drawn, draw(50, 20, 3, 8));
        assert_ne!(drawn, draw(50, 20, 4, 7));
    }

    #[test]
    fn inception_score_of_certain_and_of_equal_rows() {
        // four certain rows of different classes: exp(ln 4); equal rows: 1
        let certain: Vec<f32> = (0..16).map(|i| f32::from(u8::from(i % 5 == 0))).collect();
        let (mean, deviation) = inception_score(&certain, 4, 1).unwrap();
        assert!((mean - 4.0).abs() < 1e-12 && deviation == 0.0);
        let (mean, _) = inception_score(&[0.25; 16], 4, 2).unwrap();
        assert!((mean - 1.0).abs() < 1e-12);
        assert!(inception_score(&certain, 4, 5).is_err());
        assert!(inception_score(&certain[1..], 4, 1).is_err());
    }
}
