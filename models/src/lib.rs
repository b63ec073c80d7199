//! Parametric templates and networks: body models, where their templates come from, weight files, metric networks.
//!
//! The producers follow here. This is the only crate that depends on burn.

pub mod body;
pub mod capture;
mod error;
pub mod metrics;
pub mod picture;
pub mod puppet;
pub mod rgbavatar;
pub mod sample;
mod saved;
pub mod stga;
pub mod synth;
pub mod template;
pub mod weights;

pub use error::{Error, Result};
