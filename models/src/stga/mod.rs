//! Heads and bodies of splats that sit on a tracked mesh, trained from a capture: STGA (Guo et al. 2025, arXiv 2503.05196) and
//! GaussianAvatars (Qian et al. 2024).
//!
//! Both bind every splat to a triangle. GaussianAvatars trains all of them at every step, in coordinates that scale with the triangle, and
//! refines the tracked parameters along. STGA takes the mesh as given and works in blocks: all views of one time step, in which only the
//! splats of faces that the expression moves are trained (local blocks); every 20th block trains all of them (global).
//!
//! | step | module |
//! | --- | --- |
//! | views, pictures, meshes, tracked parameters | [`Dataset`] |
//! | what is trained, and what Adam remembers of it | [`State`] |
//! | where splats begin | [`init`] |
//! | which view comes when, and how fast things learn | [`schedule`] |
//! | one training step | [`Engine`]: [`CpuEngine`] |
//! | cloning, splitting and pruning | [`density`] |
//! | everything in order, with checkpoints | [`Trainer`] |
//! | the result | [`avatar`] |
//!
//! What the published program of STGA does and its description does not, and the other way round, is decided by [`Options`].

mod checkpoint;
mod cpu;
mod data;
pub mod density;
mod device;
mod engine;
mod export;
pub mod init;
mod options;
pub mod schedule;
mod state;
#[cfg(test)]
mod tests;
mod tracks;
mod train;

pub use checkpoint::{Checkpoint, Progress};
pub use cpu::CpuEngine;
pub use data::{DataOptions, Dataset, Motion, Tracked, TrainView};
pub use device::DeviceEngine;
pub use engine::{Engine, LossRules, Rates, StepReport};
pub use export::{CLIP, ExportOptions, avatar, rest_pose};
pub(crate) use export::{embed, track};
pub use options::{Freeze, Method, Options, Stage};
pub use state::{NewList, Plan, Row, SPLAT_TENSORS, State, Statistics, Survey, Tables, Tensor, widths};
pub use train::{Advance, Evaluation, Trainer};
