//! [`crate::raster`] on a device, a batch of pictures at a time.
//!
//! [`Splats`] are scenes in device memory, [`Batch`] is a list of pictures of them with all the memory that drawing takes,
//! [`SplatGradients`] is where the way back writes. Drawing and the way back only enqueue work: they wait for nothing and read
//! nothing back, so that a training step can be captured as a [`Graph`](super::Graph). What the host has to know is whether
//! the tile lists fit: [`Batch::needed`] says so afterwards, [`Batch::reserve`] makes room, and the step is repeated.
//!
//! [`forward_batch`] and its `backward` are the same for those who have everything on the host; they make room by themselves.

mod batch;
mod host;
mod kernels;
mod layout;
mod pixels;
mod plan;
mod splats;

pub use batch::Batch;
pub use host::{Drawn, draw, draw_views, forward_batch};
pub use kernels::compile_all;
pub(super) use kernels::{COMMON, ELLIPSE};
pub use layout::Needed;
pub(super) use layout::{Rules, ScenePointers};
pub(super) use pixels::SOURCE as PIXELS;
pub use pixels::{Rgb8, draw_rgb8, draw_views_rgb8};
pub use plan::{Options, Planes, View};
pub use splats::{Kind, SplatGradients, Splats};
