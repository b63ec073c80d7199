//! SSIM over five scales (Wang, Simoncelli and Bovik 2003).

use gav_formats::{Error, Result};

use super::{
    ImageView,
    filter::{Border, Window},
    same_shape,
    ssim::{RADIUS, SIGMA, map_plane, similarity},
};

/// Exponent of each scale, finest first.
pub const MS_SSIM_WEIGHTS: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];

/// Which MS-SSIM. They differ in the fifth digit on pictures of a few hundred pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MsSsimVariant {
    /// pytorch-msssim 1.0: border left out, one product per channel, then their mean; odd sides are padded with zeros
    /// that count in the average.
    PytorchMsssim,
    /// torchmetrics 1.9 with its default `relu`: reflected border, contrast averaged 5 pixels further inside, one product per
    /// picture; odd rows and columns are dropped.
    TorchMetrics,
}

impl MsSsimVariant {
    /// Least width and height in pixels.
    pub fn least_side(self) -> usize {
        match self {
            Self::PytorchMsssim => 161,
            Self::TorchMetrics => 176,
        }
    }
}

/// One channel.
struct Plane {
    width: usize,
    height: usize,
    data: Vec<f64>,
}

impl Plane {
    fn of(view: &ImageView, channel: usize) -> Self {
        let values = view.data.iter().skip(channel).step_by(view.channels);
        Self { width: view.width, height: view.height, data: values.map(|&v| f64::from(v)).collect() }
    }

    /// Means of 2 × 2 blocks. With `pad`, odd sides get a zero on both ends before, which moves the blocks by one.
    fn halved(&self, pad: bool) -> Self {
        let shift = |side: usize| if pad { side % 2 } else { 0 };
        let (sx, sy) = (shift(self.width), shift(self.height));
        let (width, height) = ((self.width + 2 * sx) / 2, (self.height + 2 * sy) / 2);
        let at = |x: usize, y: usize| {
            let inside = x >= sx && y >= sy && x - sx < self.width && y - sy < self.height;
            if inside { self.data[(y - sy) * self.width + x - sx] } else { 0.0 }
        };
        let block = |i: usize| {
            let (x, y) = (2 * (i % width), 2 * (i / width));
            0.25 * (at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1))
        };
        Self { width, height, data: (0..width * height).map(block).collect() }
    }
}

/// MS-SSIM of two pictures with peak 1.
///
/// # Errors
/// [`Error::Usage`] when the pictures differ in size or are smaller than [`MsSsimVariant::least_side`].
pub fn ms_ssim(a: ImageView, b: ImageView, variant: MsSsimVariant) -> Result<f64> {
    same_shape(&a, &b)?;
    let least = variant.least_side();
    if a.width.min(a.height) < least {
        return Err(Error::usage(format!(
            "{} × {} pixels are too few for five scales of SSIM, which need {least}",
            a.width, a.height
        )));
    }
    // means of (ssim, contrast) for each channel and scale
    let channels: Vec<[[f64; 2]; 5]> = (0..a.channels).map(|c| scales(&a, &b, c, variant)).collect();
    let product = |terms: [f64; 5]| -> f64 {
        terms.iter().zip(MS_SSIM_WEIGHTS).map(|(term, weight)| term.max(0.0).powf(weight)).product()
    };
    let term = |scale: usize, means: &[[f64; 2]; 5]| means[scale][usize::from(scale < 4)];
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    Ok(match variant {
        MsSsimVariant::PytorchMsssim => {
            mean(&channels.iter().map(|c| product(std::array::from_fn(|s| term(s, c)))).collect::<Vec<_>>())
        }
        MsSsimVariant::TorchMetrics => {
            product(std::array::from_fn(|s| mean(&channels.iter().map(|c| term(s, c)).collect::<Vec<_>>())))
        }
    })
}

/// Mean SSIM and mean contrast term of one channel at each scale.
fn scales(a: &ImageView, b: &ImageView, channel: usize, variant: MsSsimVariant) -> [[f64; 2]; 5] {
    let (mut a, mut b) = (Plane::of(a, channel), Plane::of(b, channel));
    let pytorch = variant == MsSsimVariant::PytorchMsssim;
    let window = Window::gaussian(RADIUS, SIGMA, if pytorch { Border::Valid } else { Border::Reflect });
    let mut means = [[0.0; 2]; 5];
    for (scale, out) in means.iter_mut().enumerate() {
        if scale > 0 {
            (a, b) = (a.halved(pytorch), b.halved(pytorch));
        }
        let (width, height) = (a.width, a.height);
        let row = |y: usize| y * width..(y + 1) * width;
        let map = |pick: &(dyn Fn([f64; 2]) -> f64 + Sync)| {
            map_plane(
                &window,
                width,
                height,
                |y, ra, rb| {
                    ra.copy_from_slice(&a.data[row(y)]);
                    rb.copy_from_slice(&b.data[row(y)]);
                },
                |mut m| {
                    if !pytorch {
                        m[2] = m[2].max(0.0);
                        m[3] = m[3].max(0.0);
                    }
                    pick(similarity(m))
                },
            )
        };
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, count) = values.fold((0.0, 0usize), |(sum, count), v| (sum + v, count + 1));
            sum / count as f64
        };
        // only the last scale uses the luminance
        if scale == 4 {
            out[0] = mean(&mut map(&|[l, c]| l * c).into_iter());
        } else {
            let contrast = map(&|[_, c]| c);
            let columns = window.output(width);
            let margin = if pytorch { 0 } else { RADIUS };
            let inside = |side: usize, i: usize| (margin..side - margin).contains(&i);
            let lines = contrast.len() / columns;
            let kept = contrast.iter().enumerate();
            let kept = kept.filter(|(i, _)| inside(columns, i % columns) && inside(lines, i / columns));
            out[1] = mean(&mut kept.map(|(_, &c)| c));
        }
    }
    means
}
