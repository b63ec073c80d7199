//! Parametric templates and networks: template identity, weight files, metric networks.
//!
//! Body models and the producers follow here. This is the only crate that depends on burn.

mod error;
pub mod metrics;
pub mod template;
pub mod weights;

pub use error::{Error, Result};
