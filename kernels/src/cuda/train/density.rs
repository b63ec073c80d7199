//! What density control looks at: footprints, and how hard centres are pulled.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    super::{
        Buffer, CudaError, Device,
        device::{Kernel, Source},
        raster::{Batch, Rules, ScenePointers, Splats},
    },
    Control, DENSITY, Selection,
};

/// The struct `DensityArgs` of density.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    scene: ScenePointers,
    picture: u64,
    rules: Rules,
    rows: u64,
    centers: u64,
    radii: u64,
    pulls: u64,
    views: u64,
    largest: u64,
    control: u64,
    count: u32,
    pad: u32,
}
// SAFETY: plain numbers in the layout of the kernels' parameter
unsafe impl DeviceRepr for Arguments {}

/// Statistics of N splats.
pub struct Density {
    device: Arc<Device>,
    footprints: Kernel,
    count: Kernel,
    /// Half widths of the square footprints in the last picture in pixels, 0 for splats that it does not meet, N: what
    /// [`Forward::radii`](crate::raster::Forward::radii) gives. Only rows that [`Self::footprints`] was asked for.
    pub radii: Buffer<u32>,
    /// Sums over pictures of |∂L/∂centre|, centres in normalised device coordinates (the picture is 2 wide and 2 high), N.
    pub pulls: Buffer<f32>,
    /// Pictures that met the footprint, N.
    pub views: Buffer<u32>,
    /// Largest of the radii, pixels, N.
    pub largest: Buffer<u32>,
}

impl Density {
    /// Nothing seen yet.
    ///
    /// # Errors
    /// When memory runs out or a kernel does not compile.
    pub fn new(device: &Arc<Device>, splats: usize) -> Result<Self, CudaError> {
        let make = |name: &'static str| {
            let source = Source { parts: &DENSITY, defines: &[("COVARIANCE", 0)] };
            Ok::<_, CudaError>(Kernel { name, function: device.function(name, &source)? })
        };
        Ok(Self {
            footprints: make("footprints")?,
            count: make("density")?,
            radii: Buffer::zeros(device, splats)?,
            pulls: Buffer::zeros(device, splats)?,
            views: Buffer::zeros(device, splats)?,
            largest: Buffer::zeros(device, splats)?,
            device: Arc::clone(device),
        })
    }

    /// Enqueues the radii of the selected rows in the picture of `batch`, and how many are above 0.
    ///
    /// # Errors
    /// [`CudaError::Usage`] for arrays of other lengths; what the driver fails in.
    pub fn footprints(
        &mut self,
        batch: &Batch,
        splats: &Splats,
        rows: &Selection,
        control: &mut Control,
    ) -> Result<(), CudaError> {
        self.run(&self.footprints, batch, splats, rows, control)
    }

    /// Enqueues the counting of a step after [`Self::footprints`] and the way back, unless the verdict is that it does not
    /// count.
    ///
    /// # Errors
    /// As there.
    pub fn count(
        &mut self,
        batch: &Batch,
        splats: &Splats,
        rows: &Selection,
        control: &Control,
    ) -> Result<(), CudaError> {
        self.run(&self.count, batch, splats, rows, control)
    }

    fn run(
        &self,
        kernel: &Kernel,
        batch: &Batch,
        splats: &Splats,
        rows: &Selection,
        control: &Control,
    ) -> Result<(), CudaError> {
        let count = self.radii.len();
        let centers = batch.centers.len() / 2;
        if splats.kind.covariance || [splats.len(), rows.total(), centers].iter().any(|n| *n != count) {
            return Err(CudaError::Usage(format!(
                "statistics of {count} splats from {} with {centers} gradients of centres",
                splats.len()
            )));
        }
        let arguments = Arguments {
            scene: splats.pointers(),
            picture: batch.pictures(),
            rules: batch.rules(),
            rows: rows.rows(),
            centers: batch.centers.pointer(),
            radii: self.radii.pointer(),
            pulls: self.pulls.pointer(),
            views: self.views.pointer(),
            largest: self.largest.pointer(),
            control: control.pointer(),
            count: rows.len() as u32,
            pad: 0,
        };
        // SAFETY: `Arguments` is the kernels' parameter, and lengths were checked
        unsafe { self.device.launch(kernel, [rows.len().div_ceil(128), 1], 128, &arguments) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_layout_has_the_size_of_the_kernels() {
        assert_eq!(size_of::<super::Arguments>(), 160);
    }
}
