//! How far two pictures are apart: the measures that papers report, each variant under its own name.
//!
//! Pictures are linear slices of f32, rows from the top, channels interleaved ([`ImageView`]), with 1 as the brightest value
//! of an 8-bit picture. Nothing is clamped here: clamp first where the protocol says so. Sums are taken in f64, in an order
//! that does not depend on the number of threads.
//!
//! | measure | function | variants |
//! | --- | --- | --- |
//! | mean squared and absolute error | [`mse`], [`l1`] | masked: weighted mean over pixels |
//! | PSNR | [`psnr`], [`PsnrReduction`] | per image, pooled, per channel |
//! | SSIM (Wang et al. 2004) | [`ssim_map`] | [`SsimVariant`] |
//! | MS-SSIM (Wang et al. 2003) | [`ms_ssim`] | [`MsSsimVariant`] |

pub(crate) mod filter;
mod ms_ssim;
mod pointwise;
pub(crate) mod ssim;
mod view;

pub use ms_ssim::{MS_SSIM_WEIGHTS, MsSsimVariant, ms_ssim};
pub use pointwise::{PsnrReduction, channel_mse, l1, masked_l1, masked_mse, mse, psnr, reduce_psnr};
pub use ssim::{SsimMap, SsimVariant, ssim, ssim_map};
pub use view::ImageView;
pub(crate) use {pointwise::ordered_sum, view::same_shape};
