//! Errors of single values: mean squared and absolute error, PSNR.

use gav_formats::{Error, Result};
use rayon::prelude::*;

use super::{ImageView, same_shape};

/// Values summed by one task; the partial sums are added in order, so that threads do not change the result.
const CHUNK: usize = 1 << 15;

/// How the PSNR of several pictures becomes one number. The three differ, by decibels when the pictures differ in quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PsnrReduction {
    /// One PSNR per picture over all its channels, then their mean.
    PerImage,
    /// One mean squared error over all values of all pictures.
    Pooled,
    /// One PSNR per channel of each picture, then the mean of all (3DGS on a picture without batch dimension).
    PerChannel,
}

/// Σ f(a, b) over pairs of values.
pub(crate) fn ordered_sum(a: &[f32], b: &[f32], f: impl Fn(f64, f64) -> f64 + Sync) -> f64 {
    let chunk = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(&a, &b)| f(f64::from(a), f64::from(b))).sum::<f64>();
    let partial: Vec<f64> = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).map(chunk).collect();
    partial.iter().sum()
}

fn squared(a: f64, b: f64) -> f64 {
    (a - b) * (a - b)
}

/// Mean of (a − b)² over all values.
///
/// # Errors
/// [`Error::Usage`] when the pictures differ in size.
pub fn mse(a: ImageView, b: ImageView) -> Result<f64> {
    same_shape(&a, &b)?;
    Ok(ordered_sum(a.data, b.data, squared) / a.data.len() as f64)
}

/// Mean of |a − b| over all values.
///
/// # Errors
/// As [`mse`].
pub fn l1(a: ImageView, b: ImageView) -> Result<f64> {
    same_shape(&a, &b)?;
    Ok(ordered_sum(a.data, b.data, |a, b| (a - b).abs()) / a.data.len() as f64)
}

/// Mean of (a − b)² over the pixels of each channel by itself.
///
/// # Errors
/// As [`mse`].
pub fn channel_mse(a: ImageView, b: ImageView) -> Result<Vec<f64>> {
    same_shape(&a, &b)?;
    let (channels, pixels) = (a.channels, a.pixels() as f64);
    let step = CHUNK.div_ceil(channels) * channels;
    let partial: Vec<Vec<f64>> = a
        .data
        .par_chunks(step)
        .zip(b.data.par_chunks(step))
        .map(|(a, b)| {
            let mut sums = vec![0.0; channels];
            for (a, b) in a.chunks_exact(channels).zip(b.chunks_exact(channels)) {
                for c in 0..channels {
                    sums[c] += squared(f64::from(a[c]), f64::from(b[c]));
                }
            }
            sums
        })
        .collect();
    Ok((0..channels).map(|c| partial.iter().map(|sums| sums[c]).sum::<f64>() / pixels).collect())
}

/// Σ m (a − b)² / (C Σ m), with one weight m ≥ 0 per pixel.
///
/// # Errors
/// As [`mse`]; when the mask has another size, a negative or undefined weight, or no weight at all.
pub fn masked_mse(a: ImageView, b: ImageView, mask: &[f32]) -> Result<f64> {
    masked(a, b, mask, squared)
}

/// Σ m |a − b| / (C Σ m), with one weight m ≥ 0 per pixel.
///
/// # Errors
/// As [`masked_mse`].
pub fn masked_l1(a: ImageView, b: ImageView, mask: &[f32]) -> Result<f64> {
    masked(a, b, mask, |a, b| (a - b).abs())
}

fn masked(a: ImageView, b: ImageView, mask: &[f32], f: impl Fn(f64, f64) -> f64) -> Result<f64> {
    same_shape(&a, &b)?;
    let weight = check_mask(&a, mask)?;
    let pixels = a.data.chunks_exact(a.channels).zip(b.data.chunks_exact(b.channels)).zip(mask);
    let sum: f64 = pixels
        .filter(|(_, m)| **m > 0.0)
        .map(|((a, b), &m)| f64::from(m) * a.iter().zip(b).map(|(&a, &b)| f(f64::from(a), f64::from(b))).sum::<f64>())
        .sum();
    Ok(sum / (weight * a.channels as f64))
}

/// The sum of a mask's weights.
pub(super) fn check_mask(a: &ImageView, mask: &[f32]) -> Result<f64> {
    if mask.len() != a.pixels() {
        return Err(Error::usage(format!("a mask of {} weights for {} pixels", mask.len(), a.pixels())));
    }
    if let Some(bad) = mask.iter().find(|m| !(m.is_finite() && **m >= 0.0)) {
        return Err(Error::usage(format!("a mask with the weight {bad}")));
    }
    let weight: f64 = mask.iter().map(|&m| f64::from(m)).sum();
    if weight > 0.0 { Ok(weight) } else { Err(Error::usage("the mask is empty")) }
}

/// 10 log₁₀(1 / mse) in dB, for pictures with peak 1: +∞ for equal ones.
pub fn psnr(mse: f64) -> f64 {
    -10.0 * mse.log10()
}

/// The PSNR of a batch from the mean squared errors of each picture's channels (all pictures of equal size).
///
/// NaN for an empty batch; +∞ as soon as one term is, except when pooled.
pub fn reduce_psnr(channel_mses: &[Vec<f64>], reduction: PsnrReduction) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let images: Vec<f64> = channel_mses.iter().map(|c| mean(c)).collect();
    match reduction {
        PsnrReduction::PerImage => mean(&images.iter().map(|&m| psnr(m)).collect::<Vec<_>>()),
        PsnrReduction::Pooled => psnr(mean(&images)),
        PsnrReduction::PerChannel => mean(&channel_mses.iter().flatten().map(|&m| psnr(m)).collect::<Vec<_>>()),
    }
}
