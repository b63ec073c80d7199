//! Adam over some rows of many tensors at a time, and the check of their gradients.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    super::{Buffer, CudaError, Device, device::Kernel},
    Control, Selection, kernel,
};
use crate::adam::Adam as Constants;

/// As in `train.cu`.
const TENSORS: usize = 6;
/// Numbers that one block works on.
const BLOCK: usize = 1024;

/// One array of rows.
#[derive(Debug, Clone, Copy)]
pub struct RowTensor<'a> {
    /// The parameters, changed by a step.
    pub values: &'a Buffer<f32>,
    /// Their gradient, laid out like them; with [`Which::One`] that of the one row.
    pub gradient: &'a Buffer<f32>,
    /// First numbers of each row that are meant; the others stay as they are.
    pub columns: usize,
    /// With [`Which::One`], the distance of groups of three numbers in `gradient`; 3 when they lie next to each other.
    pub spread: usize,
    /// Learning rate.
    pub rate: f32,
}

/// Which rows a step is about.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// All of them.
    All,
    /// The selected ones; the others stay as they are, and so does what is remembered of them.
    Rows(&'a Selection),
    /// All of them; the gradient of those that are not selected counts as zero.
    Released(&'a Selection),
    /// All of them; the gradient is zero but for this row.
    One(usize),
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    values: u64,
    means: u64,
    squares: u64,
    gradient: u64,
    width: u32,
    columns: u32,
    block: u32,
    spread: u32,
    rate: f32,
    pad: u32,
}

/// The struct `RowArgs` of train.cu.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Arguments {
    entries: [Entry; TENSORS],
    rows: u64,
    flags: u64,
    control: u64,
    count: u32,
    tensors: u32,
    only: u32,
    beta1: f32,
    beta2: f32,
    /// 1 − β, rounded once: 1 − 0.999 in f32 is 5e-5 too large.
    rest1: f32,
    rest2: f32,
    log_beta1: f32,
    log_beta2: f32,
    epsilon: f32,
}
// SAFETY: plain numbers in the layout of the kernels' parameter
unsafe impl DeviceRepr for Arguments {}

/// Adam's memory of up to six tensors with the same number of rows. The count of steps is that of [`Control`].
pub struct RowAdam {
    device: Arc<Device>,
    check: Kernel,
    step: Kernel,
    constants: Constants,
    rows: usize,
    widths: Vec<usize>,
    /// Mean of the gradient and of its square, for each tensor.
    pub moments: Vec<[Buffer<f32>; 2]>,
}

impl RowAdam {
    /// For tensors of `rows` rows of the given widths; nothing has been learned yet.
    ///
    /// # Errors
    /// [`CudaError::Usage`] for more than six tensors, [`CudaError::TooLarge`] beyond 2³² − 1 numbers; when memory runs out.
    pub fn new(device: &Arc<Device>, constants: Constants, rows: usize, widths: &[usize]) -> Result<Self, CudaError> {
        if widths.len() > TENSORS {
            return Err(CudaError::Usage(format!("{} tensors, at most {TENSORS}", widths.len())));
        }
        if let Some(width) = widths.iter().find(|width| rows * **width > u32::MAX as usize) {
            let limit = u32::MAX.into();
            return Err(CudaError::TooLarge { what: "tensor", size: (rows * width) as u64, limit });
        }
        let zeros = |width: &usize| Buffer::zeros(device, rows * width);
        Ok(Self {
            check: kernel(device, "check")?,
            step: kernel(device, "adam_rows")?,
            constants,
            moments: widths.iter().map(|w| Ok([zeros(w)?, zeros(w)?])).collect::<Result<_, CudaError>>()?,
            rows,
            widths: widths.to_vec(),
            device: Arc::clone(device),
        })
    }

    /// Enqueues a look at all gradients of the rows in question; [`Control::judge`] hears of those that are not finite.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when tensors or rows are not those announced.
    pub fn check(&self, tensors: &[RowTensor<'_>], which: Which<'_>, control: &mut Control) -> Result<(), CudaError> {
        let (arguments, blocks) = self.arguments(tensors, which, control)?;
        // SAFETY: `Arguments` is the kernel's parameter, and lengths were checked
        unsafe { self.device.launch(&self.check, [blocks, 1], 256, &arguments) }
    }

    /// Enqueues a step, which does nothing when [`Control::judge`] decided so.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn step(&self, tensors: &[RowTensor<'_>], which: Which<'_>, control: &Control) -> Result<(), CudaError> {
        let (arguments, blocks) = self.arguments(tensors, which, control)?;
        // SAFETY: as in `check`
        unsafe { self.device.launch(&self.step, [blocks, 1], 256, &arguments) }
    }

    fn arguments(
        &self,
        tensors: &[RowTensor<'_>],
        which: Which<'_>,
        control: &Control,
    ) -> Result<(Arguments, usize), CudaError> {
        if tensors.len() != self.widths.len() {
            return Err(CudaError::Usage(format!("{} tensors for {}", tensors.len(), self.widths.len())));
        }
        let (rows, flags, count, only) = match which {
            Which::All => (0, 0, self.rows, u32::MAX),
            Which::Rows(selection) => (selection.rows(), 0, selection.len(), u32::MAX),
            Which::Released(selection) => (0, selection.flags().pointer(), self.rows, u32::MAX),
            Which::One(row) => (0, 0, self.rows, row as u32),
        };
        if let Which::Rows(selection) | Which::Released(selection) = which
            && selection.total() != self.rows
        {
            return Err(CudaError::Usage(format!("a selection of {} rows for {}", selection.total(), self.rows)));
        }
        let mut entries = [Entry::default(); TENSORS];
        let mut block = 0;
        for (k, (tensor, width)) in tensors.iter().zip(&self.widths).enumerate() {
            let last = tensor.columns.saturating_sub(1);
            let gradient = match which {
                Which::One(row) if row < self.rows && tensor.spread >= 3 => last / 3 * tensor.spread + last % 3 + 1,
                Which::One(row) => return Err(CudaError::Usage(format!("row {row} of {}", self.rows))),
                _ => self.rows * width,
            };
            if tensor.values.len() != self.rows * width
                || (tensor.columns > 0 && tensor.gradient.len() < gradient)
                || tensor.columns > *width
            {
                return Err(CudaError::Usage(format!("tensor {k} of {} numbers does not fit", tensor.values.len())));
            }
            let [means, squares] = &self.moments[k];
            entries[k] = Entry {
                values: tensor.values.pointer(),
                means: means.pointer(),
                squares: squares.pointer(),
                gradient: tensor.gradient.pointer(),
                width: *width as u32,
                columns: tensor.columns as u32,
                block: block as u32,
                spread: tensor.spread as u32,
                rate: tensor.rate,
                pad: 0,
            };
            block += (count * tensor.columns).div_ceil(BLOCK);
        }
        let arguments = Arguments {
            entries,
            rows,
            flags,
            control: control.pointer(),
            count: count as u32,
            tensors: tensors.len() as u32,
            only,
            beta1: self.constants.beta1 as f32,
            beta2: self.constants.beta2 as f32,
            rest1: (1.0 - self.constants.beta1) as f32,
            rest2: (1.0 - self.constants.beta2) as f32,
            log_beta1: self.constants.beta1.ln() as f32,
            log_beta2: self.constants.beta2.ln() as f32,
            epsilon: self.constants.epsilon as f32,
        };
        Ok((arguments, block))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn layouts_have_the_sizes_of_the_kernels() {
        assert_eq!(size_of::<super::Entry>(), 56);
        assert_eq!(size_of::<super::Arguments>(), 400);
    }
}
