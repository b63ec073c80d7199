//! Structural similarity (Wang et al. 2004), in the variants that code in this field computes.

use gav_formats::{Error, Result};
use rayon::prelude::*;

use super::{
    ImageView,
    filter::{BAND_ROWS, Border, Real, Window},
    pointwise::check_mask,
    same_shape,
};

/// (0.01 L)² with L = 1.
pub(crate) const C1: f64 = 1e-4;
/// (0.03 L)² with L = 1.
pub(crate) const C2: f64 = 9e-4;
/// Standard deviation of the Gaussian window in pixels.
pub(crate) const SIGMA: f64 = 1.5;
/// Half the Gaussian window: 11 taps.
pub(crate) const RADIUS: usize = 5;

/// Which SSIM. They differ in the third digit, so a number without this name means little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SsimVariant {
    /// 11 × 11 Gaussian, zeros beyond the border, population covariance, mean over all pixels and channels: 3DGS and
    /// fused-ssim `same`.
    ZeroPad,
    /// As `ZeroPad` with the border of 5 left out: fused-ssim `valid`, pytorch-msssim, scikit-image with Gaussian weights.
    Valid,
    /// Uniform 7 × 7 window, sample covariance (× 49/48), border of 3 left out: scikit-image's default.
    SkimageDefault,
    /// 11 × 11 Gaussian, reflected border, variances not below 0, mean over the whole map: torchmetrics 1.9.
    TorchMetrics,
}

impl SsimVariant {
    /// Every variant.
    pub const ALL: [Self; 4] = [Self::ZeroPad, Self::Valid, Self::SkimageDefault, Self::TorchMetrics];

    fn window(self) -> Window<f64> {
        match self {
            Self::ZeroPad => Window::gaussian(RADIUS, SIGMA, Border::Zero),
            Self::Valid => Window::gaussian(RADIUS, SIGMA, Border::Valid),
            Self::SkimageDefault => Window::uniform(3, Border::Valid),
            Self::TorchMetrics => Window::gaussian(RADIUS, SIGMA, Border::Reflect),
        }
    }

    /// Weights along a side, and the pixels that the map lacks at each border.
    pub(crate) fn taps(self) -> (Vec<f64>, usize) {
        let window = self.window();
        (window.taps().to_vec(), window.crop())
    }

    /// Least width and height in pixels.
    pub fn least_side(self) -> usize {
        self.window().least_side()
    }
}

/// The similarity around every pixel.
#[derive(Debug, Clone, PartialEq)]
pub struct SsimMap {
    /// Columns of the map.
    pub width: usize,
    /// Rows of the map.
    pub height: usize,
    /// Pixels of the pictures that are missing at each border of the map.
    pub crop: usize,
    /// One plane of height × width for each channel.
    pub planes: Vec<Vec<f64>>,
}

impl SsimMap {
    /// Mean over all pixels and channels.
    pub fn mean(&self) -> f64 {
        let plane = |p: &Vec<f64>| p.iter().sum::<f64>() / p.len() as f64;
        self.planes.iter().map(plane).sum::<f64>() / self.planes.len() as f64
    }

    /// Mean with one weight per pixel of the picture `a` (full size; the map's border is left out).
    ///
    /// # Errors
    /// [`Error::Usage`] when the mask has another size, a negative or undefined weight, or none inside the map.
    pub fn masked_mean(&self, a: ImageView, mask: &[f32]) -> Result<f64> {
        check_mask(&a, mask)?;
        let (mut sum, mut weight) = (0.0, 0.0);
        for y in 0..self.height {
            let weights = &mask[(y + self.crop) * a.width + self.crop..][..self.width];
            for (x, &m) in weights.iter().enumerate().filter(|(_, m)| **m > 0.0) {
                weight += f64::from(m);
                sum += f64::from(m) * self.planes.iter().map(|p| p[y * self.width + x]).sum::<f64>();
            }
        }
        if weight == 0.0 {
            return Err(Error::usage("the mask is empty inside the border that this SSIM leaves out"));
        }
        Ok(sum / (weight * self.planes.len() as f64))
    }
}

/// The five local moments μ₁, μ₂, σ₁², σ₂², σ₁₂ from the filtered a, b, a², b², ab.
pub(crate) fn moments<T: Real>([a, b, aa, bb, ab]: [T; 5]) -> [T; 5] {
    [a, b, aa - a * a, bb - b * b, ab - a * b]
}

/// The luminance term (2 μ₁ μ₂ + C1) / (μ₁² + μ₂² + C1) and the contrast-structure term (2 σ₁₂ + C2) / (σ₁² + σ₂² + C2).
pub(crate) fn similarity([m1, m2, s11, s22, s12]: [f64; 5]) -> [f64; 2] {
    [(2.0 * m1 * m2 + C1) / (m1 * m1 + m2 * m2 + C1), (2.0 * s12 + C2) / (s11 + s22 + C2)]
}

/// The SSIM map of two pictures with peak 1.
///
/// # Errors
/// [`Error::Usage`] when the pictures differ in size or are smaller than the window.
pub fn ssim_map(a: ImageView, b: ImageView, variant: SsimVariant) -> Result<SsimMap> {
    same_shape(&a, &b)?;
    let window = variant.window();
    let least = window.least_side();
    if a.width.min(a.height) < least {
        return Err(Error::usage(format!(
            "{} × {} pixels are too few for this SSIM, which needs {least}",
            a.width, a.height
        )));
    }
    let adjust = |mut m: [f64; 5]| {
        match variant {
            SsimVariant::SkimageDefault => m[2..].iter_mut().for_each(|s| *s *= 49.0 / 48.0),
            SsimVariant::TorchMetrics => m[2..4].iter_mut().for_each(|s| *s = s.max(0.0)),
            SsimVariant::ZeroPad | SsimVariant::Valid => {}
        }
        m
    };
    let plane = |channel: usize| {
        let row = |view: &ImageView, y: usize, row: &mut [f64]| {
            let values = view.data[y * view.width * view.channels..].iter().skip(channel).step_by(view.channels);
            row.iter_mut().zip(values).for_each(|(to, &from)| *to = f64::from(from));
        };
        map_plane(
            &window,
            a.width,
            a.height,
            |y, ra, rb| (row(&a, y, ra), row(&b, y, rb)),
            |m| {
                let [luminance, contrast] = similarity(adjust(m));
                luminance * contrast
            },
        )
    };
    Ok(SsimMap {
        width: window.output(a.width),
        height: window.output(a.height),
        crop: window.crop(),
        planes: (0..a.channels).map(plane).collect(),
    })
}

/// Mean SSIM of two pictures with peak 1.
///
/// # Errors
/// As [`ssim_map`].
pub fn ssim(a: ImageView, b: ImageView, variant: SsimVariant) -> Result<f64> {
    Ok(ssim_map(a, b, variant)?.mean())
}

/// `pixel` of the five moments, for every output pixel of one channel whose rows of both pictures `rows` writes.
pub(super) fn map_plane<R>(
    window: &Window<f64>,
    width: usize,
    height: usize,
    rows: impl Fn(usize, &mut [f64], &mut [f64]) -> R + Sync,
    pixel: impl Fn([f64; 5]) -> f64 + Sync,
) -> Vec<f64> {
    let (columns, lines) = (window.output(width), window.output(height));
    let mut plane = vec![0.0; columns * lines];
    plane.par_chunks_mut(BAND_ROWS * columns).enumerate().for_each(|(band, output)| {
        let first = band * BAND_ROWS;
        let filtered = window.band(width, height, first..first + output.len() / columns, |y, [a, b, aa, bb, ab]| {
            rows(y, a, b);
            products(a, b, aa, bb, ab);
        });
        for (i, value) in output.iter_mut().enumerate() {
            *value = pixel(moments(filtered.each_ref().map(|f| f[i])));
        }
    });
    plane
}

/// a², b², ab.
pub(crate) fn products<T: Real>(a: &[T], b: &[T], aa: &mut [T], bb: &mut [T], ab: &mut [T]) {
    for x in 0..a.len() {
        aa[x] = a[x] * a[x];
        bb[x] = b[x] * b[x];
        ab[x] = a[x] * b[x];
    }
}
