//! What can go wrong with a device.

use cudarc::driver::DriverError;

/// An error of the device, its driver, or the compiler of kernels.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// The driver's library is not on this machine.
    #[error("no NVIDIA driver: libcuda was not found")]
    NoDriver,
    /// The driver is older than what the bindings were made for.
    #[error("the driver runs CUDA {}.{}, and {}.{} is needed", found / 1000, found % 1000 / 10, needed / 1000, needed % 1000 / 10)]
    OldDriver {
        /// What it runs, as 1000 · major + 10 · minor.
        found: i32,
        /// What is needed.
        needed: i32,
    },
    /// The driver finds fewer devices than asked for.
    #[error("no CUDA device {ordinal}: the driver finds {found}")]
    NoDevice {
        /// The number asked for.
        ordinal: usize,
        /// How many there are.
        found: usize,
    },
    /// NVRTC was not found.
    #[error("NVRTC, which compiles the kernels, was not found; searched {searched}")]
    NoNvrtc {
        /// Where it was looked for.
        searched: String,
    },
    /// NVRTC refused a kernel.
    #[error("{kernel} does not compile: {log}")]
    Compile {
        /// The kernel.
        kernel: String,
        /// The compiler's messages.
        log: String,
    },
    /// A call of the driver failed.
    #[error("{what}: {source}")]
    Driver {
        /// What was tried.
        what: String,
        /// The driver's answer.
        source: DriverError,
    },
    /// More than the device's arithmetic can number.
    #[error("{what}: {size} is more than {limit}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How much it would be.
        size: u64,
        /// How much there may be.
        limit: u64,
    },
    /// Arrays that do not belong together.
    #[error("{0}")]
    Usage(String),
}

/// Adds what was tried to a driver's error.
pub(super) trait Tried<T> {
    fn tried(self, what: &str) -> Result<T, CudaError>;
}

impl<T> Tried<T> for Result<T, DriverError> {
    fn tried(self, what: &str) -> Result<T, CudaError> {
        self.map_err(|source| CudaError::Driver { what: what.to_owned(), source })
    }
}
