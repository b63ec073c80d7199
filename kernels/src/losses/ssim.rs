//! SSIM and its gradient in f32 (the same code in f64 is what the tests compare it with).
//!
//! With A = μ₁² + μ₂² + C1, B = σ₁² + σ₂² + C2, C = 2 μ₁ μ₂ + C1, D = 2 σ₁₂ + C2, the map m = C D / (A B) has the slopes
//!
//! - ∂m/∂μ₁ = 2 μ₂ (D − C) / (A B) − 2 μ₁ C D / (A² B) + 2 μ₁ C D / (A B²), the means inside σ₁² and σ₁₂ included,
//! - ∂m/∂σ₁² = − C D / (A B²), ∂m/∂σ₁₂ = 2 C / (A B),
//!
//! and with g the window (symmetric, zeros beyond the border), u = weight / n inside the mean and 0 outside,
//! dL/da = g∗(u ∂m/∂μ₁) + 2 a · g∗(u ∂m/∂σ₁²) + b · g∗(u ∂m/∂σ₁₂).

use gav_formats::{Error, Result};
use rayon::prelude::*;

use super::check;
use crate::metrics::{
    ImageView,
    filter::{BAND_ROWS, Border, Real, Window},
    ssim::{C1, C2, RADIUS, SIGMA, moments, products},
};

/// What is averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SsimLoss {
    /// Leave out the border of 5 pixels, whose windows reach beyond the picture (fused-ssim `valid`).
    pub valid: bool,
    /// As fused-ssim: variances not below 0 and the map within ±1, with slope 0 where that cuts. 3DGS's own code does neither.
    pub clamp: bool,
}

/// Mean SSIM of two pictures with peak 1, with an 11 × 11 Gaussian window and zeros beyond the border.
///
/// Adds `weight` · d mean / d a to `gradient`: the loss 0.2 (1 − SSIM) has the weight −0.2.
///
/// # Errors
/// [`Error::Usage`] when pictures or gradient differ in size, or when a side is below 11 with `valid`.
pub fn ssim(a: ImageView, b: ImageView, options: SsimLoss, weight: f32, gradient: Option<&mut [f32]>) -> Result<f64> {
    check(&a, &b, gradient.as_deref())?;
    if options.valid && a.width.min(a.height) <= 2 * RADIUS {
        return Err(Error::usage(format!("{} × {} pixels are too few for a window of 11", a.width, a.height)));
    }
    let size = Size { width: a.width, height: a.height, channels: a.channels };
    Ok(mean_and_gradient(&size, a.data, b.data, options, f64::from(weight), gradient))
}

struct Size {
    width: usize,
    height: usize,
    channels: usize,
}

impl Size {
    /// Row `y` of one channel of an interleaved picture.
    fn row<T: Copy>(&self, data: &[T], channel: usize, y: usize, row: &mut [T]) {
        let values = data[y * self.width * self.channels..].iter().skip(channel).step_by(self.channels);
        row.iter_mut().zip(values).for_each(|(to, &from)| *to = from);
    }
}

fn mean_and_gradient<T: Real>(
    size: &Size,
    a: &[T],
    b: &[T],
    options: SsimLoss,
    weight: f64,
    gradient: Option<&mut [T]>,
) -> f64 {
    let window = Window::gaussian(RADIUS, SIGMA, Border::Zero);
    let margin = if options.valid { RADIUS } else { 0 };
    let &Size { width, height, channels } = size;
    let count = ((width - 2 * margin) * (height - 2 * margin) * channels) as f64;
    let (columns, lines) = (margin..width - margin, margin..height - margin);
    let pixels = width * height;
    let wanted = gradient.is_some();
    // slopes of every channel, plane by plane; empty when no gradient is wanted
    let mut slopes: [Vec<T>; 3] =
        std::array::from_fn(|_| vec![T::default(); if wanted { pixels * channels } else { 0 }]);
    let scale = T::of(weight / count);

    let mut sum = 0.0;
    for channel in 0..channels {
        let part = if wanted { channel * pixels..(channel + 1) * pixels } else { 0..0 };
        let mut bands: Vec<[&mut [T]; 3]> = Vec::new();
        let mut chunks = slopes.each_mut().map(|s| s[part.clone()].chunks_mut(BAND_ROWS * width));
        for _ in 0..height.div_ceil(BAND_ROWS) {
            bands.push(chunks.each_mut().map(|c| c.next().unwrap_or_default()));
        }
        let partial: Vec<f64> = bands
            .into_par_iter()
            .enumerate()
            .map(|(band, mut slopes)| {
                let rows = band * BAND_ROWS..((band + 1) * BAND_ROWS).min(height);
                let filtered = window.band(width, height, rows.clone(), |y, [ra, rb, aa, bb, ab]| {
                    size.row(a, channel, y, ra);
                    size.row(b, channel, y, rb);
                    products(ra, rb, aa, bb, ab);
                });
                let mut sum = 0.0;
                for y in rows.clone().filter(|y| lines.contains(y)) {
                    let start = (y - rows.start) * width;
                    let part = start + columns.start..start + columns.end;
                    let filtered = filtered.each_ref().map(|f| &f[part.clone()]);
                    let mut row = T::default();
                    if wanted {
                        let [by_mean, by_variance, by_covariance] = slopes.each_mut().map(|s| &mut s[part.clone()]);
                        for i in 0..part.len() {
                            let (value, slope) = pixel(filtered.map(|f| f[i]), options.clamp);
                            row += value;
                            by_mean[i] = scale * slope[0];
                            by_variance[i] = scale * slope[1];
                            by_covariance[i] = scale * slope[2];
                        }
                    } else {
                        (0..part.len()).for_each(|i| row += pixel(filtered.map(|f| f[i]), options.clamp).0);
                    }
                    sum += row.into();
                }
                sum
            })
            .collect();
        sum += partial.iter().sum::<f64>();
    }
    if let Some(gradient) = gradient {
        backward(size, &window, a, b, &slopes, gradient);
    }
    sum / count
}

/// Adds the filtered slopes to the gradient, a band of rows at a time.
fn backward<T: Real>(size: &Size, window: &Window<T>, a: &[T], b: &[T], slopes: &[Vec<T>; 3], gradient: &mut [T]) {
    let &Size { width, height, channels } = size;
    gradient.par_chunks_mut(BAND_ROWS * width * channels).enumerate().for_each(|(band, output)| {
        let first = band * BAND_ROWS;
        let rows = first..first + output.len() / (width * channels);
        for channel in 0..channels {
            let plane = channel * width * height;
            let [mean, variance, covariance] = window.band(width, height, rows.clone(), |y, targets| {
                for (target, slope) in targets.into_iter().zip(slopes) {
                    target.copy_from_slice(&slope[plane + y * width..plane + (y + 1) * width]);
                }
            });
            let offset = first * width * channels;
            for i in 0..mean.len() {
                let k = i * channels + channel;
                let (a, b) = (a[offset + k], b[offset + k]);
                output[k] += mean[i] + (a + a) * variance[i] + b * covariance[i];
            }
        }
    });
}

/// The map's value and its slopes by μ₁, σ₁² and σ₁₂.
#[inline(always)]
fn pixel<T: Real>(filtered: [T; 5], clamp: bool) -> (T, [T; 3]) {
    let [m1, m2, mut s11, mut s22, s12] = moments(filtered);
    let (zero, one, two) = (T::default(), T::of(1.0), T::of(2.0));
    // the slope through σ₁² ends where it is clamped
    let mut follows = one;
    if clamp {
        if s11 < zero {
            (s11, follows) = (zero, zero);
        }
        if s22 < zero {
            s22 = zero;
        }
    }
    let a = m1 * m1 + m2 * m2 + T::of(C1);
    let b = s11 + s22 + T::of(C2);
    let c = two * m1 * m2 + T::of(C1);
    let d = two * s12 + T::of(C2);
    let inverse = one / (a * b);
    let mut value = c * d * inverse;
    if clamp && !(value >= -one && value <= one) {
        value = if value > one {
            one
        } else if value < -one {
            -one
        } else {
            value
        };
        return (value, [zero; 3]);
    }
    let by_variance = -follows * value / b;
    let by_mean = two * m2 * (d - c) * inverse - two * m1 * (value / a + by_variance);
    (value, [by_mean, by_variance, two * c * inverse])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize, seed: u32) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24)
        };
        (0..count).map(|_| next()).collect()
    }

    /// The definition, term by term: one sum over 11 × 11 weights for every moment of every pixel.
    fn by_definition(size: &Size, a: &[f64], b: &[f64], options: SsimLoss) -> f64 {
        let g: Vec<f64> = (-5..=5).map(|i| (-f64::from(i * i) / 4.5).exp()).collect();
        let total: f64 = g.iter().sum();
        let margin = if options.valid { 5 } else { 0 };
        let (mut sum, mut count) = (0.0, 0.0);
        for y in margin..size.height - margin {
            for x in margin..size.width - margin {
                for c in 0..size.channels {
                    let mut filtered = [0.0; 5];
                    for (j, gy) in g.iter().enumerate() {
                        for (i, gx) in g.iter().enumerate() {
                            let (v, u) = ((y + j).wrapping_sub(5), (x + i).wrapping_sub(5));
                            if v < size.height && u < size.width {
                                let k = (v * size.width + u) * size.channels + c;
                                let weight = gx * gy / (total * total);
                                for (f, p) in
                                    filtered.iter_mut().zip([a[k], b[k], a[k] * a[k], b[k] * b[k], a[k] * b[k]])
                                {
                                    *f += weight * p;
                                }
                            }
                        }
                    }
                    let [m1, m2, aa, bb, ab] = filtered;
                    let clamp = |v: f64| if options.clamp { v.max(0.0) } else { v };
                    let (s11, s22, s12) = (clamp(aa - m1 * m1), clamp(bb - m2 * m2), ab - m1 * m2);
                    let value =
                        (2.0 * m1 * m2 + 1e-4) * (2.0 * s12 + 9e-4) / ((m1 * m1 + m2 * m2 + 1e-4) * (s11 + s22 + 9e-4));
                    sum += if options.clamp { value.clamp(-1.0, 1.0) } else { value };
                    count += 1.0;
                }
            }
        }
        sum / count
    }

    const OPTIONS: [SsimLoss; 4] = [
        SsimLoss { valid: false, clamp: false },
        SsimLoss { valid: true, clamp: false },
        SsimLoss { valid: false, clamp: true },
        SsimLoss { valid: true, clamp: true },
    ];

    /// Sizes around the window, the band of 32 rows and the 16 lanes.
    const SIZES: [[usize; 3]; 5] = [[11, 11, 1], [16, 12, 3], [12, 33, 2], [40, 65, 1], [17, 32, 4]];

    #[test]
    fn value_is_the_definition_and_the_gradient_its_finite_difference() {
        for [width, height, channels] in SIZES {
            let size = Size { width, height, channels };
            let (a, b) = (noise(width * height * channels, 1), noise(width * height * channels, 2));
            for options in OPTIONS {
                let mut gradient = vec![0.0; a.len()];
                let value = mean_and_gradient(&size, &a, &b, options, 1.0, Some(&mut gradient));
                let expected = by_definition(&size, &a, &b, options);
                // f64 rounding of a few hundred additions
                assert!((value - expected).abs() < 1e-13, "{width}×{height} {options:?}: {value} {expected}");
                for k in (0..a.len()).step_by(a.len() / 7) {
                    let moved = |step: f64| {
                        let mut a = a.clone();
                        a[k] += step;
                        mean_and_gradient(&size, &a, &b, options, 1.0, None)
                    };
                    let difference = (moved(1e-4) - moved(-1e-4)) / 2e-4;
                    let largest = gradient.iter().fold(0.0f64, |m, g| m.max(g.abs()));
                    // central differences of step 1e-4: truncation about 1e-6 of the slope
                    assert!((difference - gradient[k]).abs() < 1e-5 * largest, "{k}: {difference} {}", gradient[k]);
                }
            }
        }
    }

    #[test]
    fn f32_follows_f64() {
        for [width, height, channels] in SIZES {
            let size = Size { width, height, channels };
            let (a, b) = (noise(width * height * channels, 3), noise(width * height * channels, 4));
            let narrow = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<f32>>();
            let (a32, b32) = (narrow(&a), narrow(&b));
            for options in OPTIONS {
                let (mut wide, mut fast) = (vec![0.0; a.len()], vec![0.0; a.len()]);
                let expected = mean_and_gradient(&size, &a, &b, options, -0.2, Some(&mut wide));
                let view = |data| ImageView::new(width, height, channels, data).unwrap();
                let value = ssim(view(&a32), view(&b32), options, -0.2, Some(&mut fast)).unwrap();
                // a² − μ² loses 7 bits on noise of variance 1/12
                assert!((value - expected).abs() < 1e-5, "{options:?}: {value} {expected}");
                let largest = wide.iter().fold(0.0f64, |m, g| m.max(g.abs()));
                for (wide, fast) in wide.iter().zip(&fast) {
                    assert!((wide - f64::from(*fast)).abs() < 2e-5 * largest, "{wide} {fast}");
                }
            }
        }
    }

    #[test]
    fn golden_gradient_of_autograd_in_f64() {
        let root = std::env::var_os("GAV_SHARED")
            .map_or_else(|| std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), Into::into);
        let path = root.join("parity/metrics/parity_metrics.safetensors");
        let Ok(bytes) = std::fs::read(&path) else {
            eprintln!("SKIPPED: {} is not there; set GAV_SHARED to the folder of reference data", path.display());
            return;
        };
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let doubles = |name: &str| -> Vec<f64> {
            let data = file.tensor(name).unwrap().data().to_vec();
            data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
        };
        // the first 24 rows and 40 columns of picture 0, as channels-last
        let crop = |name: &str| -> Vec<f64> {
            let data = file.tensor(name).unwrap().data().to_vec();
            let index = |i: usize| (i % 3 * 192 + i / 3 / 40) * 208 + i / 3 % 40;
            (0..24 * 40 * 3).map(|i| f64::from(data[index(i)]) / 255.0).collect()
        };
        let (a, b) = (crop("img.a"), crop("img.b"));
        let size = Size { width: 40, height: 24, channels: 3 };
        let mut gradient = vec![0.0; a.len()];
        let mean = mean_and_gradient(&size, &a, &b, SsimLoss::default(), 1.0, Some(&mut gradient));
        let expected = doubles("ssim.crop.grad_img1");
        let peak = expected.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        println!("mean {mean} against {}", doubles("ssim.crop.mean")[0]);
        // the reference's window is built in f32 somewhere or not: what is left is rounding either way
        assert!((mean - doubles("ssim.crop.mean")[0]).abs() < 1e-12);
        let worst = (0..a.len()).map(|i| (gradient[i] - expected[i % 3 * 960 + i / 3]).abs()).fold(0.0, f64::max);
        println!("largest difference {worst:e} of {peak:e}");
        assert!(worst < 1e-12 * peak.max(1.0));
    }
}
