//! Parametric templates: their identity, so that an avatar finds the mesh it was made for.
//!
//! Body models, network blocks and the producers will live in this crate, the only one that depends on burn.

pub mod template;
