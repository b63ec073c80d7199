//! [`crate::losses::hinges`] on a device.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    super::{
        Buffer, CudaError, Device,
        device::Kernel,
        rig::{Binding, GeometryBuffers},
    },
    Control, Selection, kernel,
};
use crate::losses::Hinges;

/// The struct `Hinges` of train.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    values: [u64; 2],
    rows: u64,
    radii: u64,
    frames_and_triangles: [u64; 2],
    gradients: [u64; 2],
    control: u64,
    count: u32,
    weights_and_thresholds: [f32; 4],
    metric: [u32; 2],
    pad: u32,
}
// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for Arguments {}

/// Hinges on the centres and sizes of bound splats.
pub struct HingeRows {
    device: Arc<Device>,
    kernel: Kernel,
}

impl HingeRows {
    /// # Errors
    /// When the kernel does not compile.
    pub fn new(device: &Arc<Device>) -> Result<Self, CudaError> {
        Ok(Self { kernel: kernel(device, "hinges")?, device: Arc::clone(device) })
    }

    /// Enqueues the hinges of the selected rows of `local`: their gradients are added to `by_local` (rotations are not looked
    /// at), their values to `control`. With `radii`, one for each splat, only rows with a radius above 0 count, as many as
    /// [`Density::footprints`](super::Density::footprints) found in this step. Metric hinges take the triangles' sizes from the
    /// last [`Binding::frames`].
    ///
    /// # Errors
    /// [`CudaError::Usage`] for arrays of other lengths; what the driver fails in.
    #[allow(clippy::too_many_arguments)] // what a step has at hand
    pub fn add(
        &self,
        rules: &Hinges<f32>,
        rows: &Selection,
        radii: Option<&Buffer<u32>>,
        binding: &Binding,
        local: &GeometryBuffers<'_>,
        by_local: &GeometryBuffers<'_>,
        control: &mut Control,
    ) -> Result<(), CudaError> {
        let count = binding.splat_count();
        if rows.total() != count || radii.is_some_and(|r| r.len() < count) {
            return Err(CudaError::Usage(format!("a selection of {} splats for {count}", rows.total())));
        }
        local.check("local splats", count)?;
        by_local.check("gradients of local splats", count)?;
        let arguments = Arguments {
            values: [local.means.pointer(), local.log_scales.pointer()],
            rows: rows.rows(),
            radii: radii.map_or(0, Buffer::pointer),
            frames_and_triangles: binding.frames_and_triangles(),
            gradients: [by_local.means.pointer(), by_local.log_scales.pointer()],
            control: control.pointer(),
            count: rows.len() as u32,
            weights_and_thresholds: [rules.centers, rules.centers_threshold, rules.sizes, rules.sizes_threshold],
            metric: [rules.metric_centers.into(), rules.metric_sizes.into()],
            pad: 0,
        };
        // SAFETY: `Arguments` is the kernel's parameter, and lengths were checked
        unsafe { self.device.launch(&self.kernel, [rows.len().div_ceil(256), 1], 256, &arguments) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_layout_has_the_size_of_the_kernel() {
        assert_eq!(size_of::<super::Arguments>(), 104);
    }
}
