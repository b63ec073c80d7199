//! Sorting pairs of numbers on a device: what `sort_by_key` does on the host.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    Buffer, CudaError, Device,
    device::{Kernel, Source},
};

pub(super) const SOURCE: [(&str, &str); 1] = [("radix.cu", include_str!("../../cuda/radix.cu"))];

/// Values of a digit, and pairs that a block moves.
const DIGITS: usize = 256;
const PART: usize = 4096;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct RadixArgs {
    keys: u64,
    values: u64,
    out_keys: u64,
    out_values: u64,
    counts: u64,
    totals: u64,
    count: u32,
    blocks: u32,
    shift: u32,
    pad: u32,
}
// SAFETY: plain numbers in C layout
unsafe impl DeviceRepr for RadixArgs {}

/// Sorts so many pairs by their keys, smallest first; equal keys keep their order.
pub struct Sort {
    device: Arc<Device>,
    count_kernel: Kernel,
    places_kernel: Kernel,
    move_kernel: Kernel,
    count: usize,
    other_keys: Buffer<u32>,
    other_values: Buffer<u32>,
    counts: Buffer<u32>,
    totals: Buffer<u32>,
}

impl Sort {
    /// For `count` pairs.
    ///
    /// # Errors
    /// [`CudaError::TooLarge`] beyond 2³¹ pairs; when memory runs out.
    pub fn new(device: &Arc<Device>, count: usize) -> Result<Self, CudaError> {
        if count > 1 << 31 {
            return Err(CudaError::TooLarge { what: "pairs to sort", size: count as u64, limit: 1 << 31 });
        }
        let make = |name: &'static str| {
            let source = Source { parts: &SOURCE, defines: &[] };
            Ok::<_, CudaError>(Kernel { name, function: device.function(name, &source)? })
        };
        Ok(Self {
            count_kernel: make("radix_count")?,
            places_kernel: make("radix_places")?,
            move_kernel: make("radix_move")?,
            count,
            other_keys: Buffer::new(device, count)?,
            other_values: Buffer::new(device, count)?,
            counts: Buffer::new(device, count.div_ceil(PART) * DIGITS)?,
            totals: Buffer::new(device, DIGITS)?,
            device: Arc::clone(device),
        })
    }

    /// Enqueues the sort of `keys` and `values` in place. Only the lowest `bits` of the keys are looked at, rounded up to a
    /// multiple of 16: passes come in twos, the second of which brings the pairs back.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when the arrays have another length, or `bits` is beyond 32.
    pub fn run(&mut self, keys: &mut Buffer<u32>, values: &mut Buffer<u32>, bits: u32) -> Result<(), CudaError> {
        if keys.len() != self.count || values.len() != self.count || bits > 32 {
            return Err(CudaError::Usage(format!("{} keys and {} values of {bits} bits", keys.len(), values.len())));
        }
        let blocks = self.count.div_ceil(PART);
        let mut from = [keys.pointer(), values.pointer()];
        let mut to = [self.other_keys.pointer(), self.other_values.pointer()];
        for shift in (0..bits.div_ceil(16) * 16).step_by(8) {
            let args = RadixArgs {
                keys: from[0],
                values: from[1],
                out_keys: to[0],
                out_values: to[1],
                counts: self.counts.pointer(),
                totals: self.totals.pointer(),
                count: self.count as u32,
                blocks: blocks as u32,
                shift,
                pad: 0,
            };
            if blocks == 0 {
                continue;
            }
            // SAFETY: the layout is the kernels', and all arrays have the lengths checked above
            unsafe {
                self.device.launch(&self.count_kernel, [blocks, 1], 256, &args)?;
                self.device.launch(&self.places_kernel, [DIGITS, 1], 256, &args)?;
                self.device.launch(&self.move_kernel, [blocks, 1], 256, &args)?;
            }
            std::mem::swap(&mut from, &mut to);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_layout_has_the_size_of_the_kernels() {
        assert_eq!(size_of::<super::RadixArgs>(), 64);
    }
}
