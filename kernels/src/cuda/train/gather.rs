//! Rows of tensors in another order.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    super::{Buffer, CudaError, Device, device::Kernel},
    kernel,
};

/// The struct `GatherRows` of train.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    from: u64,
    to: u64,
    rows: u64,
    count: u32,
    width: u32,
    forget: u32,
    pad: u32,
}
// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for Arguments {}

/// The highest bit of a row marks a copy.
const COPY: u32 = 1 << 31;

/// A new list of rows, each with the old one that it is taken from.
pub struct Gather {
    device: Arc<Device>,
    kernel: Kernel,
    rows: Buffer<u32>,
    before: usize,
}

impl Gather {
    /// `rows` are old rows, below `before`, and whether the new one is a copy of which nothing is remembered.
    ///
    /// # Errors
    /// [`CudaError::Usage`] for rows that do not exist; when memory runs out or the kernel does not compile.
    pub fn new(
        device: &Arc<Device>,
        before: usize,
        rows: impl Iterator<Item = (usize, bool)>,
    ) -> Result<Self, CudaError> {
        let mut list = Vec::new();
        for (from, copy) in rows {
            if from >= before || from >= COPY as usize {
                return Err(CudaError::Usage(format!("row {from} of {before}")));
            }
            list.push(from as u32 | if copy { COPY } else { 0 });
        }
        let rows = Buffer::from_slice(device, &list)?;
        Ok(Self { kernel: kernel(device, "gather_rows")?, device: Arc::clone(device), rows, before })
    }

    /// Number of new rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows of a tensor of `width` numbers a row. With `forget` copies are zero.
    ///
    /// # Errors
    /// [`CudaError::Usage`] for a tensor of other rows; when memory runs out.
    pub fn take(&self, from: &Buffer<f32>, width: usize, forget: bool) -> Result<Buffer<f32>, CudaError> {
        if from.len() != self.before * width {
            return Err(CudaError::Usage(format!("{} numbers in {} rows of {width}", from.len(), self.before)));
        }
        let to = Buffer::new(&self.device, self.len() * width)?;
        let arguments = Arguments {
            from: from.pointer(),
            to: to.pointer(),
            rows: self.rows.pointer(),
            count: self.len() as u32,
            width: width as u32,
            forget: forget.into(),
            pad: 0,
        };
        // SAFETY: `Arguments` is the kernel's parameter, rows and lengths were checked
        unsafe { self.device.launch(&self.kernel, [to.len().div_ceil(256), 1], 256, &arguments)? };
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_layout_has_the_size_of_the_kernel() {
        assert_eq!(size_of::<super::Arguments>(), 40);
    }
}
