//! The metric networks and statistics against golden values (`parity/metrics` of the shared reference data).
//! One binary, because every further one would instantiate the networks again.

mod arcface;
mod distances;
mod golden;
mod inception;
mod lpips;
mod store;
