//! [`crate::metrics`] on a device: errors and SSIM of two pictures in f64, the numbers of the host but for the order of their sums.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    Buffer, CudaError, Device,
    device::{Kernel, Source},
};
use crate::metrics::{ImageView, SsimVariant};

pub(super) const SOURCE: [(&str, &str); 2] =
    [("common.cuh", include_str!("../../cuda/common.cuh")), ("compare.cu", include_str!("../../cuda/compare.cu"))];
/// As in compare.cu.
const PIXELS: usize = 4096;
const SIDE: usize = 16;
const MOST: usize = 5;

/// The struct `Compare` of compare.cu.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Arguments {
    pictures: [u64; 2],
    partial: u64,
    sizes: [u32; 8],
    factor: f64,
    taps: [f64; 2 * MOST + 1],
}
// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for Arguments {}

/// Two pictures of equal size in device memory.
pub struct Pair {
    device: Arc<Device>,
    a: Buffer<f32>,
    b: Buffer<f32>,
    width: usize,
    height: usize,
}

/// Errors of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errors {
    /// Mean of (a − b)² in each channel.
    pub channel_mse: [f64; 3],
    /// Mean of |a − b| over all values.
    pub l1: f64,
}

impl Errors {
    /// Mean of (a − b)² over all values.
    pub fn mse(&self) -> f64 {
        self.channel_mse.iter().sum::<f64>() / 3.0
    }
}

impl Pair {
    /// Copies two pictures of three channels to the device.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when they differ in size or have other channels; what the device fails in.
    pub fn new(device: &Arc<Device>, a: ImageView<'_>, b: ImageView<'_>) -> Result<Self, CudaError> {
        let shape = |v: &ImageView<'_>| [v.width, v.height, v.channels];
        if shape(&a) != shape(&b) || a.channels != 3 || a.data.len() != 3 * a.pixels() || a.data.len() != b.data.len() {
            return Err(CudaError::Usage(format!("pictures of {:?} and {:?}", shape(&a), shape(&b))));
        }
        Ok(Self {
            a: Buffer::from_slice(device, a.data)?,
            b: Buffer::from_slice(device, b.data)?,
            width: a.width,
            height: a.height,
            device: Arc::clone(device),
        })
    }

    fn run(
        &self,
        name: &'static str,
        grid: [usize; 2],
        values: usize,
        arguments: Arguments,
    ) -> Result<Vec<f64>, CudaError> {
        let source = Source { parts: &SOURCE, defines: &[] };
        let kernel = Kernel { name, function: self.device.function(name, &source)? };
        let partial: Buffer<f64> = Buffer::new(&self.device, grid[0] * grid[1] * values)?;
        let arguments =
            Arguments { pictures: [self.a.pointer(), self.b.pointer()], partial: partial.pointer(), ..arguments };
        // SAFETY: `Arguments` is the kernels' parameter, and its arrays have the sizes it names
        unsafe { self.device.launch(&kernel, grid, (SIDE * SIDE) as u32, &arguments)? };
        partial.read()
    }

    fn arguments(&self) -> Arguments {
        let sizes = [self.width as u32, self.height as u32, 0, 0, 0, 0, 0, 0];
        Arguments { pictures: [0; 2], partial: 0, sizes, factor: 1.0, taps: [0.0; 2 * MOST + 1] }
    }

    /// Means of the differences.
    ///
    /// # Errors
    /// What the device fails in.
    pub fn errors(&self) -> Result<Errors, CudaError> {
        let pixels = self.width * self.height;
        let sums = self.run("errors", [pixels.div_ceil(PIXELS), 1], 4, self.arguments())?;
        let total = |k: usize| sums.iter().skip(k).step_by(4).sum::<f64>();
        let count = pixels as f64;
        Ok(Errors { channel_mse: std::array::from_fn(|k| total(k) / count), l1: total(3) / (3.0 * count) })
    }

    /// Whether the pictures are large enough for a variant.
    pub fn fits(&self, variant: SsimVariant) -> bool {
        self.width.min(self.height) >= variant.least_side()
    }

    /// Mean SSIM, as [`crate::metrics::ssim`] defines it.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when the pictures are smaller than the window; what the device fails in.
    pub fn ssim(&self, variant: SsimVariant) -> Result<f64, CudaError> {
        let least = variant.least_side();
        if !self.fits(variant) {
            let message =
                format!("{} × {} pixels are too few for this SSIM, which needs {least}", self.width, self.height);
            return Err(CudaError::Usage(message));
        }
        let (taps, crop) = variant.taps();
        let border = match variant {
            SsimVariant::ZeroPad => 0,
            SsimVariant::Valid | SsimVariant::SkimageDefault => 1,
            SsimVariant::TorchMetrics => 2,
        };
        let mut arguments = self.arguments();
        arguments.taps[..taps.len()].copy_from_slice(&taps);
        let [columns, lines] = [self.width, self.height].map(|side| side - 2 * crop);
        let clamp = u32::from(variant == SsimVariant::TorchMetrics);
        arguments.sizes[2..7].copy_from_slice(&[columns as u32, lines as u32, taps.len() as u32 / 2, border, clamp]);
        if variant == SsimVariant::SkimageDefault {
            arguments.factor = 49.0 / 48.0;
        }
        let blocks = columns.div_ceil(SIDE) * lines.div_ceil(SIDE);
        let sums = self.run("similarity", [blocks, 3], 1, arguments)?;
        Ok(sums.iter().sum::<f64>() / (3 * columns * lines) as f64)
    }
}
