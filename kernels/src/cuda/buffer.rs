//! Arrays on a device.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, ValidAsZeroBits, result};

use super::{CudaError, Device, error::Tried};

/// An array on the device.
pub struct Buffer<T> {
    device: Arc<Device>,
    slice: CudaSlice<T>,
    len: usize,
}

impl<T> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({})", self.len)
    }
}

impl<T: DeviceRepr + ValidAsZeroBits + Clone + Default> Buffer<T> {
    /// An array whose contents are not defined; all bits set in debug mode, which is NaN for floats.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(device: &Arc<Device>, len: usize) -> Result<Self, CudaError> {
        // SAFETY: every bit pattern is a value of the types used, and kernels write before they read
        let slice = unsafe { device.stream().alloc::<T>(len.max(1)) }
            .tried(&format!("taking {} bytes of device memory", len * size_of::<T>()))?;
        let mut buffer = Self { device: Arc::clone(device), slice, len };
        buffer.poison()?;
        Ok(buffer)
    }

    /// An array of zeros.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn zeros(device: &Arc<Device>, len: usize) -> Result<Self, CudaError> {
        let mut buffer = Self::new(device, len)?;
        buffer.clear()?;
        Ok(buffer)
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn from_slice(device: &Arc<Device>, values: &[T]) -> Result<Self, CudaError> {
        let mut buffer = Self::new(device, values.len())?;
        buffer.write(values)?;
        Ok(buffer)
    }

    /// Copies `values` to the beginning.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when there are too many.
    pub fn write(&mut self, values: &[T]) -> Result<(), CudaError> {
        if values.len() > self.len {
            return Err(CudaError::Usage(format!("{} values for an array of {}", values.len(), self.len)));
        }
        if values.is_empty() {
            return Ok(());
        }
        self.device
            .stream()
            .memcpy_htod(values, &mut self.slice.slice_mut(..values.len()))
            .tried("copying to the device")
    }

    /// Waits, and copies everything.
    ///
    /// # Errors
    /// Whatever a kernel did wrong before.
    pub fn read(&self) -> Result<Vec<T>, CudaError> {
        self.read_first(self.len)
    }

    /// Waits, and copies the first `count` values.
    pub(super) fn read_first(&self, count: usize) -> Result<Vec<T>, CudaError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut values = vec![T::default(); count];
        self.device.stream().memcpy_dtoh(&self.slice.slice(..count), &mut values).tried("copying from the device")?;
        self.device.synchronize()?;
        Ok(values)
    }

    /// Enqueues a copy of `other`.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when the lengths differ.
    pub fn copy_from(&mut self, other: &Self) -> Result<(), CudaError> {
        if self.len != other.len {
            return Err(CudaError::Usage(format!("{} values for an array of {}", other.len, self.len)));
        }
        self.device.stream().memcpy_dtod(&other.slice, &mut self.slice).tried("copying on the device")
    }

    /// Sets everything to zero.
    ///
    /// # Errors
    /// When the driver fails.
    pub fn clear(&mut self) -> Result<(), CudaError> {
        self.device.stream().memset_zeros(&mut self.slice).tried("clearing device memory")
    }

    /// In debug mode, sets all bits.
    ///
    /// # Errors
    /// When the driver fails.
    pub(super) fn poison(&mut self) -> Result<(), CudaError> {
        if !self.device.debug() {
            return Ok(());
        }
        // SAFETY: the whole allocation, and every bit pattern is a value
        unsafe {
            result::memset_d8_async(
                self.pointer(),
                0xff,
                self.slice.len() * size_of::<T>(),
                self.device.stream().cu_stream(),
            )
        }
        .tried("poisoning device memory")
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Address on the device.
    pub(super) fn pointer(&self) -> u64 {
        self.slice.device_ptr(self.device.stream()).0
    }
}
