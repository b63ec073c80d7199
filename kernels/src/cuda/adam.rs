//! [`crate::adam`] on a device: all tensors in one launch.

use std::sync::Arc;

use cudarc::driver::{DeviceRepr, ValidAsZeroBits};

use super::{
    Buffer, CudaError, Device,
    device::{Kernel, Source},
};
use crate::adam::Adam as Constants;

pub(super) const SOURCE: [(&str, &str); 1] = [("adam.cu", include_str!("../../cuda/adam.cu"))];

/// Numbers that one block works on.
const BLOCK: usize = 1024;

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    values: u64,
    means: u64,
    squares: u64,
    gradient: u64,
    mask: u64,
    length: u32,
    width: u32,
    block: u32,
    rate: f32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct AdamArgs {
    tensors: u64,
    step: u64,
    count: u32,
    pad: u32,
    beta1: f32,
    beta2: f32,
    /// 1 − β, rounded once: 1 − 0.999 in f32 is 5e-5 too large.
    rest1: f32,
    rest2: f32,
    log_beta1: f32,
    log_beta2: f32,
    epsilon: f32,
    pad2: u32,
}
// SAFETY: plain numbers in C layout
unsafe impl DeviceRepr for Entry {}
// SAFETY: zero is a value of every field
unsafe impl ValidAsZeroBits for Entry {}
// SAFETY: plain numbers in C layout
unsafe impl DeviceRepr for AdamArgs {}

/// One array of parameters.
pub struct Tensor<'a> {
    /// The parameters.
    pub values: &'a mut Buffer<f32>,
    /// Their gradient.
    pub gradient: &'a Buffer<f32>,
    /// Learning rate.
    pub rate: f32,
    /// Rows to change, one number for each; 0 leaves a row as it is.
    pub mask: Option<&'a Buffer<u32>>,
}

/// Adam's memory of a list of tensors.
pub struct Adam {
    device: Arc<Device>,
    constants: Constants,
    kernel: Kernel,
    count: Kernel,
    /// Mean and mean square of each tensor.
    moments: Vec<[Buffer<f32>; 2]>,
    entries: Vec<Entry>,
    table: Buffer<Entry>,
    step: Buffer<u32>,
}

impl Adam {
    /// For tensors of the given lengths; nothing has been learned yet.
    ///
    /// # Errors
    /// When memory runs out, or a tensor has more than 2³² − 1 numbers.
    pub fn new(device: &Arc<Device>, constants: Constants, lengths: &[usize]) -> Result<Self, CudaError> {
        if let Some(length) = lengths.iter().find(|length| **length > u32::MAX as usize) {
            return Err(CudaError::TooLarge { what: "tensor", size: *length as u64, limit: u32::MAX.into() });
        }
        let make = |name: &'static str| {
            let source = Source { parts: &SOURCE, defines: &[] };
            Ok::<_, CudaError>(Kernel { name, function: device.function(name, &source)? })
        };
        let moments = lengths
            .iter()
            .map(|length| Ok([Buffer::zeros(device, *length)?, Buffer::zeros(device, *length)?]))
            .collect::<Result<Vec<_>, CudaError>>()?;
        Ok(Self {
            kernel: make("adam")?,
            count: make("adam_count")?,
            constants,
            table: Buffer::new(device, moments.len())?,
            entries: Vec::new(),
            moments,
            step: Buffer::zeros(device, 1)?,
            device: Arc::clone(device),
        })
    }

    /// Enqueues a step. The table of tensors is copied to the device when it differs from the last step's, so a step that is
    /// captured has to run once before with the same tensors and rates.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when tensors, gradients or masks differ in length from what was announced.
    pub fn step(&mut self, tensors: &mut [Tensor<'_>]) -> Result<(), CudaError> {
        if tensors.len() != self.moments.len() {
            return Err(CudaError::Usage(format!("{} tensors for {}", tensors.len(), self.moments.len())));
        }
        let mut block = 0;
        let mut entries = Vec::with_capacity(tensors.len());
        for (number, (tensor, [means, squares])) in tensors.iter().zip(&self.moments).enumerate() {
            let length = tensor.values.len();
            let rows = tensor.mask.map_or(1, Buffer::len);
            if means.len() != length || tensor.gradient.len() != length || rows == 0 || length % rows != 0 {
                return Err(CudaError::Usage(format!("tensor {number} of {length} numbers does not fit")));
            }
            entries.push(Entry {
                values: tensor.values.pointer(),
                means: means.pointer(),
                squares: squares.pointer(),
                gradient: tensor.gradient.pointer(),
                mask: tensor.mask.map_or(0, Buffer::pointer),
                length: length as u32,
                width: (length / rows) as u32,
                block: block as u32,
                rate: tensor.rate,
            });
            block += length.div_ceil(BLOCK);
        }
        let same = |a: &Entry, b: &Entry| {
            let key = |e: &Entry| (e.values, e.gradient, e.mask, e.length, e.width, e.rate.to_bits());
            key(a) == key(b)
        };
        if entries.len() != self.entries.len() || !entries.iter().zip(&self.entries).all(|(a, b)| same(a, b)) {
            self.table.write(&entries)?;
            self.entries = entries;
        }
        let args = AdamArgs {
            tensors: self.table.pointer(),
            step: self.step.pointer(),
            count: self.moments.len() as u32,
            pad: 0,
            beta1: self.constants.beta1 as f32,
            beta2: self.constants.beta2 as f32,
            rest1: (1.0 - self.constants.beta1) as f32,
            rest2: (1.0 - self.constants.beta2) as f32,
            log_beta1: self.constants.beta1.ln() as f32,
            log_beta2: self.constants.beta2.ln() as f32,
            epsilon: self.constants.epsilon as f32,
            pad2: 0,
        };
        // SAFETY: the layout is the kernel's, and lengths were checked above
        unsafe {
            self.device.launch(&self.count, [1, 1], 1, &args)?;
            self.device.launch(&self.kernel, [block, 1], 256, &args)
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn layouts_have_the_sizes_of_the_kernel() {
        assert_eq!(size_of::<super::Entry>(), 56);
        assert_eq!(size_of::<super::AdamArgs>(), 56);
    }
}
