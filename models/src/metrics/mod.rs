//! Metrics that need a network or its features: LPIPS, the FID Inception network, face embeddings; FID, KID and Inception Score.
//!
//! The networks are generic over burn's backend. [`networks`] wraps them for callers that have pictures as plain slices and want numbers.

pub mod align;
pub mod arcface;
pub mod fid;
pub mod inception;
pub mod kid;
pub(crate) mod layers;
pub mod lpips;
pub mod networks;
