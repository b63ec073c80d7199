//! [`crate::losses`] on a device: a weighted sum of L1 and SSIM over pictures of one size, with its gradient.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    Buffer, CudaError, Device,
    device::{Kernel, Source},
};
use crate::{
    losses::SsimLoss,
    metrics::ssim::{RADIUS, SIGMA},
};

pub(super) const SOURCE: [(&str, &str); 1] = [("loss.cu", include_str!("../../cuda/loss.cu"))];

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct LossArgs {
    a: u64,
    b: u64,
    slopes: u64,
    gradient: u64,
    values: u64,
    width: u32,
    height: u32,
    channels: u32,
    first: u32,
    l1: f32,
    ssim: f32,
    valid: u32,
    pad0: u32,
    window: [f32; 11],
    pad: u32,
}
// SAFETY: plain numbers in C layout
unsafe impl DeviceRepr for LossArgs {}

// as in `loss.cu`
const WIDE: usize = 32;
const HIGH: usize = 54;
const ROWS: usize = HIGH + 2 * RADIUS;

const PITCH: usize = WIDE + 2 * RADIUS + 1;
const FILTERED: usize = WIDE + 1;

/// Bytes of shared memory for what is read and then, in its place, what is filtered; two rows more are read than written.
const fn shared_bytes(planes: usize, moments: usize) -> usize {
    let (read, filtered) = (planes * ROWS * PITCH, (moments * ROWS + 2) * FILTERED);
    4 * if read > filtered { read } else { filtered }
}

/// Of the first kernel without and with clamping, which filters four moments and five.
const SLOPES_BYTES: [usize; 2] = [shared_bytes(2, 4), shared_bytes(2, 5)];
const GRADIENT_BYTES: usize = shared_bytes(3, 3);

/// Bytes of slopes that one pair of launches leaves between its kernels: they are read back from L2, which has 50 to 60 MB
/// on the devices this was measured on.
const KEPT: usize = 40 << 20;

/// Weights and rules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossWeights {
    /// Weight of the mean |a − b| of each picture.
    pub l1: f32,
    /// Weight of the mean SSIM of each picture: −0.2 for 0.2 (1 − SSIM).
    pub ssim: f32,
    /// What SSIM averages.
    pub options: SsimLoss,
}

impl Default for LossWeights {
    /// 0.8 L1 + 0.2 (1 − SSIM), as 3DGS trains.
    fn default() -> Self {
        Self { l1: 0.8, ssim: -0.2, options: SsimLoss::default() }
    }
}

/// L1 and SSIM of pictures of one size.
pub struct Loss {
    device: Arc<Device>,
    /// Without and with clamping.
    slopes_kernels: [Kernel; 2],
    gradient_kernel: Kernel,
    pictures: usize,
    size: [usize; 3],
    at_once: usize,
    slopes: Buffer<f32>,
    window: [f32; 11],
    /// Mean |a − b| and mean SSIM of each picture after [`Self::backward`], pictures × 2.
    pub values: Buffer<f64>,
    /// Gradient with respect to the first pictures, as they are laid out.
    pub gradient: Buffer<f32>,
}

impl Loss {
    /// For `pictures` pictures of width × height × channels, interleaved, one after the other.
    ///
    /// # Errors
    /// When memory runs out or a kernel does not compile.
    pub fn new(
        device: &Arc<Device>,
        pictures: usize,
        [width, height, channels]: [usize; 3],
    ) -> Result<Self, CudaError> {
        let make = |name: &'static str, clamp: i32, bytes: usize| {
            let source = Source { parts: &SOURCE, defines: &[("CLAMP", clamp)] };
            let kernel = Kernel { name, function: device.function(name, &source)? };
            kernel.allow_shared(bytes)?;
            Ok::<_, CudaError>(kernel)
        };
        let one = width * height * channels;
        if one > i32::MAX as usize / 8 {
            // offsets inside a picture are 32-bit numbers
            return Err(CudaError::TooLarge {
                what: "values of a picture",
                size: one as u64,
                limit: i32::MAX as u64 / 8,
            });
        }
        let at_once = (KEPT / (one * 12).max(1)).clamp(1, pictures.max(1));
        let weights: Vec<f64> =
            (0..11).map(|i| (-(i as f64 - RADIUS as f64).powi(2) / (2.0 * SIGMA * SIGMA)).exp()).collect();
        let total: f64 = weights.iter().sum();
        Ok(Self {
            slopes_kernels: [make("ssim_slopes", 0, SLOPES_BYTES[0])?, make("ssim_slopes", 1, SLOPES_BYTES[1])?],
            gradient_kernel: make("ssim_gradient", 0, GRADIENT_BYTES)?,
            pictures,
            size: [width, height, channels],
            at_once,
            slopes: Buffer::new(device, at_once * one * 3)?,
            window: std::array::from_fn(|i| (weights[i] / total) as f32),
            values: Buffer::new(device, pictures * 2)?,
            gradient: Buffer::new(device, pictures * one)?,
            device: Arc::clone(device),
        })
    }

    /// Enqueues values and gradient of pictures `a` against `b`.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when the arrays have not the size, or a side is below 11 with [`SsimLoss::valid`].
    pub fn backward(&mut self, a: &Buffer<f32>, b: &Buffer<f32>, weights: LossWeights) -> Result<(), CudaError> {
        let [width, height, channels] = self.size;
        let total = self.pictures * width * height * channels;
        if a.len() != total || b.len() != total {
            return Err(CudaError::Usage(format!("pictures of {} and {} values for {total}", a.len(), b.len())));
        }
        if weights.options.valid && width.min(height) <= 2 * RADIUS {
            return Err(CudaError::Usage(format!("{width} × {height} pixels are too few for a window of 11")));
        }
        self.gradient.poison()?;
        self.values.clear()?;
        let clamp = usize::from(weights.options.clamp);
        let slopes = &self.slopes_kernels[clamp];
        let blocks = width.div_ceil(WIDE) * height.div_ceil(HIGH);
        for first in (0..self.pictures).step_by(self.at_once) {
            let args = LossArgs {
                a: a.pointer(),
                b: b.pointer(),
                slopes: self.slopes.pointer(),
                gradient: self.gradient.pointer(),
                values: self.values.pointer(),
                width: width as u32,
                height: height as u32,
                channels: channels as u32,
                first: first as u32,
                l1: weights.l1,
                ssim: weights.ssim,
                valid: weights.options.valid.into(),
                pad0: 0,
                window: self.window,
                pad: 0,
            };
            let grid = [blocks, self.at_once.min(self.pictures - first) * channels];
            // SAFETY: the layout is the kernels', and the sizes were checked above
            unsafe {
                self.device.launch_shared(slopes, grid, 256, SLOPES_BYTES[clamp], &args)?;
                self.device.launch_shared(&self.gradient_kernel, grid, 256, GRADIENT_BYTES, &args)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_layout_has_the_size_of_the_kernel() {
        assert_eq!(size_of::<super::LossArgs>(), 120);
    }
}
