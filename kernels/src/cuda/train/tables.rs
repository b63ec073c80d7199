//! What a step is fed with: a picture as floats, and one row of each table of tracked parameters.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    super::{Buffer, CudaError, Device, device::Kernel},
    kernel,
};

/// Values that one block converts.
const BLOCK: usize = 1024;
/// As in `train.cu`.
const TABLES: usize = 4;

/// The struct `Target` of train.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct TargetArguments {
    bytes: u64,
    out: u64,
    count: u32,
    pad: u32,
}
// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for TargetArguments {}

/// Turns pictures of bytes into floats.
pub struct Targets {
    device: Arc<Device>,
    kernel: Kernel,
}

impl Targets {
    /// # Errors
    /// When the kernel does not compile.
    pub fn new(device: &Arc<Device>) -> Result<Self, CudaError> {
        Ok(Self { kernel: kernel(device, "target")?, device: Arc::clone(device) })
    }

    /// Enqueues `out` = `bytes` / 255.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when they differ in length; what the driver fails in.
    pub fn convert(&self, bytes: &Buffer<u8>, out: &mut Buffer<f32>) -> Result<(), CudaError> {
        if bytes.len() != out.len() || out.len() > u32::MAX as usize - BLOCK {
            return Err(CudaError::Usage(format!("{} bytes for a picture of {} values", bytes.len(), out.len())));
        }
        let arguments = TargetArguments { bytes: bytes.pointer(), out: out.pointer(), count: out.len() as u32, pad: 0 };
        // SAFETY: the kernel's parameter, and both arrays have as many values as it says
        unsafe { self.device.launch(&self.kernel, [out.len().div_ceil(BLOCK), 1], 256, &arguments) }
    }
}

/// A table of rows, of which one goes to a place.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// T × `width`.
    pub from: &'a Buffer<f32>,
    /// Numbers in a row.
    pub width: usize,
    /// Where the row goes.
    pub to: &'a Buffer<f32>,
    /// The first number there.
    pub first: usize,
    /// Distance of groups of three numbers there; 3 when they lie next to each other.
    pub spread: usize,
}

/// The struct `TakeRows` of train.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct TakeArguments {
    from: [u64; TABLES],
    to: [u64; TABLES],
    widths: [u32; TABLES],
    spreads: [u32; TABLES],
    row: u32,
    pad: u32,
}
// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for TakeArguments {}

/// Takes rows out of tables.
pub struct Taker {
    device: Arc<Device>,
    kernel: Kernel,
}

impl Taker {
    /// # Errors
    /// When the kernel does not compile.
    pub fn new(device: &Arc<Device>) -> Result<Self, CudaError> {
        Ok(Self { kernel: kernel(device, "take_rows")?, device: Arc::clone(device) })
    }

    /// Enqueues copies of row `row` of up to four tables.
    ///
    /// # Errors
    /// [`CudaError::Usage`] for rows and places that are not there; what the driver fails in.
    pub fn take(&self, row: usize, tables: &[Table<'_>]) -> Result<(), CudaError> {
        if tables.len() > TABLES {
            return Err(CudaError::Usage(format!("{} tables, at most {TABLES}", tables.len())));
        }
        let mut arguments = TakeArguments {
            from: [0; TABLES],
            to: [0; TABLES],
            widths: [0; TABLES],
            spreads: [3; TABLES],
            row: row as u32,
            pad: 0,
        };
        for (k, table) in tables.iter().enumerate() {
            let last = table.width.saturating_sub(1);
            let end = table.first + last / 3 * table.spread + last % 3 + 1;
            let good = table.spread >= 3 && (row + 1) * table.width <= table.from.len() && end <= table.to.len();
            if table.width > 0 && !good {
                return Err(CudaError::Usage(format!("row {row} of table {k} with {} numbers", table.from.len())));
            }
            arguments.from[k] = table.from.pointer();
            arguments.to[k] = table.to.pointer() + 4 * table.first as u64;
            (arguments.widths[k], arguments.spreads[k]) = (table.width as u32, table.spread as u32);
        }
        // SAFETY: the kernel's parameter, and rows and places were checked
        unsafe { self.device.launch(&self.kernel, [1, 1], 256, &arguments) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn layouts_have_the_sizes_of_the_kernels() {
        assert_eq!(size_of::<super::TakeArguments>(), 104);
        assert_eq!(size_of::<super::TargetArguments>(), 24);
    }
}
