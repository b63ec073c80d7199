//! The same arithmetic on an NVIDIA device.
//!
//! Kernels are CUDA C++ in `kernels/cuda/`, embedded in the library and compiled by NVRTC for the device found; what comes out
//! is kept in the user's cache folder. Driver and NVRTC are loaded when a [`Device`] is opened, so the same binary runs on a
//! machine without either. Everything runs on one stream with stream-ordered memory.
//!
//! Environment variables:
//!
//! - `GAV_NVRTC`: the NVRTC library, or the folder that holds it;
//! - `GAV_CUDA_CACHE`: where compiled kernels are kept;
//! - `GAV_CUDA_DEBUG=1`: new memory and outputs are filled with NaN, and every launch is waited for and checked;
//! - `GAV_CUDA_DEFINES=NAME=VALUE,…`: definitions for all kernels, to compare variants (`kernels/NOTES.md`).

pub mod adam;
pub mod bench;
mod buffer;
mod cache;
pub mod compare;
mod device;
mod error;
pub mod knn;
pub mod loss;
mod nvrtc;
pub mod radix;
pub mod raster;
mod report;
pub mod resize;
pub mod rig;
pub mod train;

pub use buffer::Buffer;
pub use device::{Device, Graph, Timer};
pub use error::CudaError;
pub use report::{DeviceReport, LibraryReport, Report, report};
