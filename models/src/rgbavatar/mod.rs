//! Heads of splats with reduced Gaussian blendshapes, from a video of one camera: RGBAvatar (Li et al., CVPR 2025, arXiv 2503.12886).
//!
//! Splats sit on the texels of the template's UV map and never change their number. A small network turns what the tracker says of a
//! frame, 129 numbers, into the weights of 20 bases of their positions, rotations and colours.
//!
//! | step | module |
//! | --- | --- |
//! | frames, camera, matted pictures, meshes | [`Dataset`] |
//! | which splat sits where | [`seats`] |
//! | control vector to splats, and back | [`place`], [`place_backward`] |
//! | what is trained, and what Adam remembers of it | [`State`] |
//! | which frames come when, and how fast things learn | [`schedule`] |
//! | one training step | [`CpuEngine`] |
//! | the result, and published models | [`avatar`], [`import`] |

mod checkpoint;
mod config;
mod cpu;
mod data;
mod export;
mod lattice;
mod loss;
mod model;
mod options;
pub mod schedule;
mod state;
#[cfg(test)]
mod tests;

pub use checkpoint::Checkpoint;
pub use cpu::{CpuEngine, SETTINGS, StepReport};
pub use data::{Dataset, TrackedFrame};
pub use export::{ExportOptions, avatar, import};
pub use lattice::{Seat, seats};
pub use loss::{orthogonality, sparsity};
pub use model::{FIRST_BASES, Ground, Placed, Shape, TENSORS, Upstream, Values, Weighing, place, place_backward};
pub use options::{DatasetOptions, ModelOptions, Options, ReconOptions, SamplerOptions, TemplateType, TrainOptions};
pub use state::{SEEN, State, UNSEEN_LOGIT};
