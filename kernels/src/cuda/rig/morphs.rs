//! Sparse position morphs.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    super::{Buffer, CudaError, Device, device::Kernel},
    BLENDSHAPES, THREADS, holds, kernel,
    lists::by_column,
};

/// Morph targets in device memory, splat by splat.
pub struct Morphs {
    device: Arc<Device>,
    morph: Kernel,
    starts: Buffer<u32>,
    targets: Buffer<u32>,
    deltas: Buffer<f32>,
    splats: usize,
    count: usize,
}

/// The struct `Morphs` of blendshapes.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    pointers: [u64; 6],
    sizes: [u32; 4],
}

// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for Arguments {}

impl std::fmt::Debug for Morphs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Morphs({} targets, {} splats)", self.count, self.splats)
    }
}

impl Morphs {
    /// Copies targets over `splats` splats to the device.
    ///
    /// # Errors
    /// [`CudaError::Usage`] for a splat that does not exist; what the device fails in.
    pub fn new(device: &Arc<Device>, splats: usize, morphs: &gav_formats::Morphs) -> Result<Self, CudaError> {
        let mut starts = vec![0u32];
        let (mut rows, mut deltas) = (Vec::new(), Vec::new());
        for target in &morphs.targets {
            if let Some(splat) = target.splats.iter().find(|splat| **splat as usize >= splats) {
                return Err(CudaError::Usage(format!("a morph target moves splat {splat} of {splats}")));
            }
            rows.extend_from_slice(&target.splats);
            deltas.extend_from_slice(&target.deltas);
            starts.push(rows.len() as u32);
        }
        let (by_splat, targets, places) = by_column(&starts, &rows, splats);
        let deltas: Vec<f32> = places.iter().flat_map(|place| deltas[*place]).collect();
        Ok(Self {
            morph: kernel(device, "morph", &BLENDSHAPES, &[])?,
            starts: Buffer::from_slice(device, &by_splat)?,
            targets: Buffer::from_slice(device, &targets)?,
            deltas: Buffer::from_slice(device, &deltas)?,
            splats,
            count: morphs.targets.len(),
            device: Arc::clone(device),
        })
    }

    /// Adds the targets by their values (P × K) to the centres (N rows for all poses, or P × N); `out` gets P × N.
    ///
    /// # Errors
    /// Buffers that are too small, and what the device fails in.
    pub fn forward(
        &self,
        poses: usize,
        means: &Buffer<f32>,
        values: &Buffer<f32>,
        out: &Buffer<f32>,
    ) -> Result<(), CudaError> {
        holds("centres", means, 3 * self.splats)?;
        holds("values of morph targets", values, poses * self.count)?;
        holds("morphed centres", out, 3 * poses * self.splats)?;
        let own = poses > 1 && means.len() >= 3 * poses * self.splats;
        let pointers = [&self.starts, &self.targets].map(Buffer::pointer);
        let arrays = [&self.deltas, values, means, out].map(Buffer::pointer);
        let arguments = Arguments {
            pointers: [pointers[0], pointers[1], arrays[0], arrays[1], arrays[2], arrays[3]],
            sizes: [self.splats as u32, self.count as u32, poses as u32, own.into()],
        };
        let grid = [self.splats.div_ceil(THREADS as usize), poses];
        // SAFETY: `Arguments` is the kernel's parameter, and its arrays have the sizes it names
        unsafe { self.device.launch(&self.morph, grid, THREADS, &arguments) }
    }
}
