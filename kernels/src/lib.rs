//! The arithmetic of Gaussian avatars: rasterise, compare, pose. See `ARCHITECTURE.md` at the repository root.

pub mod adam;
pub mod cuda;
pub mod knn;
pub mod losses;
pub mod metrics;
pub mod orbit;
pub mod peak;
pub mod psnr;
pub mod raster;
mod real;
pub mod resize;
pub mod rig;
pub mod stage;

pub use real::Real;
