//! [`crate::resize`] on a device: pictures for networks.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    Buffer, CudaError, Device,
    device::{Kernel, Source},
};
use crate::resize::Rule;

pub(super) const SOURCE: [(&str, &str); 2] =
    [("common.cuh", include_str!("../../cuda/common.cuh")), ("resize.cu", include_str!("../../cuda/resize.cu"))];
const THREADS: u32 = 256;

/// How pictures lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Plane after plane.
    Planes,
    /// Red, green, blue of each pixel side by side, as the rasteriser leaves them.
    Interleaved,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct ResizeArgs {
    pointers: [u64; 6],
    sizes: [u32; 4],
    planes: u64,
    interleaved: u32,
    pad: u32,
}
// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for ResizeArgs {}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct WarpArgs {
    pointers: [u64; 3],
    sizes: [u32; 6],
}
// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for WarpArgs {}

/// Resizing from one size to another.
pub struct Resize {
    device: Arc<Device>,
    kernel: Kernel,
    taps: [Buffer<u32>; 2],
    weights: [Buffer<f32>; 2],
    from: [usize; 2],
    to: [usize; 2],
}

impl Resize {
    /// From height and width to others, by the rules of [`crate::resize::bilinear`].
    ///
    /// # Errors
    /// [`CudaError::Usage`] for a side of 0; what the device fails in.
    pub fn new(device: &Arc<Device>, from: [usize; 2], to: [usize; 2], rule: Rule) -> Result<Self, CudaError> {
        if from.contains(&0) || to.contains(&0) {
            return Err(CudaError::Usage(format!("resizing {from:?} to {to:?}")));
        }
        let source = Source { parts: &SOURCE, defines: &[] };
        let side = |k: usize| -> Result<(Buffer<u32>, Buffer<f32>), CudaError> {
            let taps = rule.taps(from[k], to[k]);
            let positions: Vec<u32> = taps.iter().flat_map(|(a, b, _)| [*a as u32, *b as u32]).collect();
            let weights: Vec<f32> = taps.iter().map(|tap| tap.2).collect();
            Ok((Buffer::from_slice(device, &positions)?, Buffer::from_slice(device, &weights)?))
        };
        let ((rows, down), (columns, across)) = (side(0)?, side(1)?);
        Ok(Self {
            kernel: Kernel { name: "resize", function: device.function("resize", &source)? },
            taps: [rows, columns],
            weights: [down, across],
            from,
            to,
            device: Arc::clone(device),
        })
    }

    /// Resizes every plane of `pictures` into `out`, plane after plane.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when the arrays do not have the sizes; what the device fails in.
    pub fn run(&self, pictures: &Buffer<f32>, layout: Layout, out: &Buffer<f32>) -> Result<(), CudaError> {
        let ([height, width], [out_height, out_width]) = (self.from, self.to);
        let planes = pictures.len() / (height * width);
        let whole = if layout == Layout::Interleaved { planes.is_multiple_of(3) } else { true };
        if planes * height * width != pictures.len() || !whole || out.len() < planes * out_height * out_width {
            let message = format!(
                "{} values are no pictures of {width} × {height}, or {} no room for {out_width} × {out_height}",
                pictures.len(),
                out.len()
            );
            return Err(CudaError::Usage(message));
        }
        let arguments = ResizeArgs {
            pointers: [
                pictures.pointer(),
                out.pointer(),
                self.taps[0].pointer(),
                self.taps[1].pointer(),
                self.weights[0].pointer(),
                self.weights[1].pointer(),
            ],
            sizes: [width, height, out_width, out_height].map(|n| n as u32),
            planes: planes as u64,
            interleaved: (layout == Layout::Interleaved).into(),
            pad: 0,
        };
        let blocks = (planes * out_height * out_width).div_ceil(THREADS as usize);
        // SAFETY: the arguments are the kernel's parameter, and its arrays have the sizes it names
        unsafe { self.device.launch(&self.kernel, [blocks, 1], THREADS, &arguments) }
    }
}

/// Warps interleaved RGB pictures (B × height × width × 3), each by its map (B × 2 × 3, see [`crate::resize::warp`]), into planes (B × 3).
///
/// # Errors
/// [`CudaError::Usage`] when the arrays do not have the sizes; what the device fails in.
pub fn warp(
    device: &Arc<Device>,
    pictures: &Buffer<f32>,
    [height, width]: [usize; 2],
    maps: &Buffer<f64>,
    out: &Buffer<f32>,
    [out_height, out_width]: [usize; 2],
) -> Result<(), CudaError> {
    let count = maps.len() / 6;
    if pictures.len() != 3 * count * height * width || out.len() < 3 * count * out_height * out_width {
        let message = format!("{count} maps for {} values of pictures of {width} × {height}", pictures.len());
        return Err(CudaError::Usage(message));
    }
    let kernel = Kernel { name: "warp", function: device.function("warp", &Source { parts: &SOURCE, defines: &[] })? };
    let arguments = WarpArgs {
        pointers: [pictures.pointer(), out.pointer(), maps.pointer()],
        sizes: [width, height, out_width, out_height, count, 0].map(|n| n as u32),
    };
    let blocks = (out_height * out_width).div_ceil(THREADS as usize);
    // SAFETY: the arguments are the kernel's parameter, and its arrays have the sizes it names
    unsafe { device.launch(&kernel, [blocks, count], THREADS, &arguments) }
}
