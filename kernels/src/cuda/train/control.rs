//! The verdict on each step, and sums over them.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    super::{Buffer, CudaError, Device, device::Kernel, loss::Loss, raster::Batch},
    kernel,
};

/// 64-bit words of the struct in `control.cuh`.
const WORDS: usize = 11;

/// Counters on the device.
pub struct Control {
    device: Arc<Device>,
    judge: Kernel,
    words: Buffer<u64>,
}

/// What has become of the steps since [`Control::restart`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// Adam's steps, those before [`Control::restart`] included.
    pub step: u32,
    /// Steps left out because a loss or a gradient was not finite.
    pub bad: u32,
    /// Steps left out because the tile lists had not enough room.
    pub cut: u32,
    /// Steps that counted.
    pub counted: u32,
    /// Sums over them: mean L1, mean SSIM, weighted hinges of centres and of sizes.
    pub sums: [f64; 4],
    /// Most entries that the tile lists of a step needed.
    pub entries: u64,
}

/// The struct `Judge` of train.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    control: u64,
    stats: u64,
    losses: u64,
    capacity: u64,
}
// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for Arguments {}

impl Control {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// When memory runs out or a kernel does not compile.
    pub fn new(device: &Arc<Device>) -> Result<Self, CudaError> {
        Ok(Self { judge: kernel(device, "judge")?, words: Buffer::zeros(device, WORDS)?, device: Arc::clone(device) })
    }

    /// Counts anew, after `step` steps of Adam.
    ///
    /// # Errors
    /// When the driver fails.
    pub fn restart(&mut self, step: u32) -> Result<(), CudaError> {
        let mut words = [0; WORDS];
        words[4] = u64::from(step);
        self.words.write(&words)
    }

    /// Enqueues the verdict on a step whose pictures `batch` drew and `loss` compared, and whose gradients have been checked.
    ///
    /// # Errors
    /// [`CudaError::Usage`] for several pictures; what the driver fails in.
    pub fn judge(&mut self, batch: &Batch, loss: &Loss) -> Result<(), CudaError> {
        if loss.values.len() != 2 {
            return Err(CudaError::Usage(format!("a step on {} pictures", loss.values.len() / 2)));
        }
        let arguments = Arguments {
            control: self.pointer(),
            stats: batch.stats(),
            losses: loss.values.pointer(),
            capacity: batch.room() as u64,
        };
        // SAFETY: `Arguments` is the kernel's parameter, and what it points to was checked
        unsafe { self.device.launch(&self.judge, [1, 1], 32, &arguments) }
    }

    /// Waits, and reads the counters.
    ///
    /// # Errors
    /// Whatever a kernel did wrong before.
    pub fn read(&self) -> Result<Totals, CudaError> {
        let words = self.words.read()?;
        let pair = |k: usize| [words[k] as u32, (words[k] >> 32) as u32];
        let ([step, bad], [cut, counted]) = (pair(4), pair(5));
        let sums = std::array::from_fn(|k| f64::from_bits(words[6 + k]));
        Ok(Totals { step, bad, cut, counted, sums, entries: words[10] })
    }

    pub(in super::super) fn pointer(&self) -> u64 {
        self.words.pointer()
    }
}
