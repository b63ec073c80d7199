//! What a training step does beside drawing, on a device: the picture it is compared with, hinges, the check of gradients, Adam
//! over the rows that train, and what density control looks at.
//!
//! Nothing here waits. [`Control`] lives on the device: [`RowAdam::check`] and [`Control::judge`] decide there whether a step
//! counts, and [`RowAdam::step`] and [`Density::count`] do nothing when it does not. The host reads it once in a while.
//!
//! ```text
//! bind_rows → Batch::forward → target → Loss::backward → Batch::backward_of → bind_rows_backward
//!           → footprints → hinges → check → judge → step, count
//! ```

mod control;
mod density;
mod gather;
mod hinge;
mod rows;
mod selection;
mod tables;

use std::sync::Arc;

use super::{
    CudaError, Device,
    device::{Kernel, Source},
    raster::{COMMON, ELLIPSE},
};

pub use control::{Control, Totals};
pub use density::Density;
pub use gather::Gather;
pub use hinge::HingeRows;
pub use rows::{RowAdam, RowTensor, Which};
pub use selection::Selection;
pub use tables::{Table, Taker, Targets};

const CONTROL: (&str, &str) = ("control.cuh", include_str!("../../cuda/control.cuh"));
pub(super) const SOURCE: [(&str, &str); 3] = [COMMON, CONTROL, ("train.cu", include_str!("../../cuda/train.cu"))];
pub(super) const DENSITY: [(&str, &str); 4] =
    [COMMON, ELLIPSE, CONTROL, ("density.cu", include_str!("../../cuda/density.cu"))];

fn kernel(device: &Arc<Device>, name: &'static str) -> Result<Kernel, CudaError> {
    Ok(Kernel { name, function: device.function(name, &Source { parts: &SOURCE, defines: &[] })? })
}
