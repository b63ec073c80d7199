//! Linear blend skinning of splats.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    super::{Buffer, CudaError, Device, device::Kernel},
    GeometryBuffers, SKIN, THREADS, all_or_nothing, holds, kernel,
    lists::{DeviceRows, Rows},
};

/// What becomes of the shape of a splat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carry {
    /// It turns by the rotation nearest to the blended matrix, and keeps its size.
    Rigid,
    /// The whole matrix acts on its covariance.
    Covariance,
}

/// Skinning weights in device memory with room for a number of poses.
pub struct Skin {
    device: Arc<Device>,
    carry: Carry,
    forward: Kernel,
    backward: Kernel,
    weights_backward: Kernel,
    joints_backward: Kernel,
    influences: DeviceRows,
    by_joint: DeviceRows,
    by_affine: Buffer<f32>,
    splats: usize,
    joints: usize,
    capacity: usize,
}

/// Where [`Skin::backward`] writes.
#[derive(Debug, Clone, Copy)]
pub struct SkinGradients<'a> {
    /// By the splats at rest, as many rows as they have; log-scales are left alone by [`Carry::Rigid`], whose gradient is the upstream.
    pub rest: GeometryBuffers<'a>,
    /// By the matrices, P × J × 12.
    pub matrices: &'a Buffer<f32>,
    /// By the weights, a number for each influence; empty when it is not wanted.
    pub weights: &'a Buffer<f32>,
}

/// The struct `Skin` of skin.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    influences: [u64; 3],
    by_joint: [u64; 3],
    matrices: u64,
    rest: [u64; 3],
    out: [u64; 3],
    upstream: [u64; 3],
    by_affine: u64,
    by_rest: [u64; 3],
    by_weights: u64,
    by_matrices: u64,
    sizes: [u32; 4],
}

// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for Arguments {}

impl std::fmt::Debug for Skin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Skin({} splats, {} joints, {} poses)", self.splats, self.joints, self.capacity)
    }
}

impl Skin {
    /// Copies weights to the device (a row for each splat, a column for each joint) and makes room for `poses` poses.
    ///
    /// # Errors
    /// [`CudaError::Usage`] for joints that do not exist; what the device fails in.
    pub fn new(
        device: &Arc<Device>,
        influences: &Rows<'_>,
        joints: usize,
        carry: Carry,
        poses: usize,
    ) -> Result<Self, CudaError> {
        let splats = influences.starts.len().saturating_sub(1);
        influences.check("skinning weights", splats, joints)?;
        let make = |name| kernel(device, name, &SKIN, &[("COVARIANCE", i32::from(carry == Carry::Covariance))]);
        Ok(Self {
            carry,
            forward: make("skin")?,
            backward: make("skin_backward")?,
            weights_backward: make("skin_weights_backward")?,
            joints_backward: make("skin_joints_backward")?,
            influences: DeviceRows::new(device, influences)?,
            by_joint: DeviceRows::transposed(device, influences, joints)?,
            by_affine: Buffer::new(device, 12 * poses * splats)?,
            splats,
            joints,
            capacity: poses,
            device: Arc::clone(device),
        })
    }

    fn arguments(
        &self,
        poses: usize,
        matrices: &Buffer<f32>,
        rest: &GeometryBuffers<'_>,
    ) -> Result<Arguments, CudaError> {
        if poses > self.capacity {
            return Err(CudaError::Usage(format!("{poses} poses, there is room for {}", self.capacity)));
        }
        holds("matrices of joints", matrices, 12 * poses * self.joints)?;
        let own = rest.own("splats at rest", poses, self.splats)?;
        let rows = |rows: &DeviceRows| [rows.starts.pointer(), rows.columns.pointer(), rows.values.pointer()];
        Ok(Arguments {
            influences: rows(&self.influences),
            by_joint: rows(&self.by_joint),
            matrices: matrices.pointer(),
            rest: [rest.means, rest.rotations, rest.log_scales].map(Buffer::pointer),
            out: [0; 3],
            upstream: [0; 3],
            by_affine: self.by_affine.pointer(),
            by_rest: [0; 3],
            by_weights: 0,
            by_matrices: 0,
            sizes: [self.splats as u32, self.joints as u32, poses as u32, own],
        })
    }

    fn run(&self, kernel: &Kernel, grid: [usize; 2], threads: u32, arguments: &Arguments) -> Result<(), CudaError> {
        // SAFETY: `Arguments` is the kernels' parameter, and its arrays have the sizes it names
        unsafe { self.device.launch(kernel, grid, threads, arguments) }
    }

    /// Where the shape of posed splats goes: quaternions or covariances.
    fn shape(&self, poses: usize, means: &Buffer<f32>, shape: &Buffer<f32>) -> Result<[u64; 3], CudaError> {
        holds("posed means", means, 3 * poses * self.splats)?;
        let width = if self.carry == Carry::Rigid { 4 } else { 6 };
        holds("posed shapes", shape, width * poses * self.splats)?;
        Ok(match self.carry {
            Carry::Rigid => [means.pointer(), shape.pointer(), 0],
            Carry::Covariance => [means.pointer(), 0, shape.pointer()],
        })
    }

    /// Carries the splats (N rows for all poses, or P × N) by the joints' matrices (P × J × 12): centres and, by [`Carry`], quaternions or
    /// covariances, P × N.
    ///
    /// # Errors
    /// Buffers that are too small, more poses than there is room for, and what the device fails in.
    pub fn forward(
        &self,
        poses: usize,
        matrices: &Buffer<f32>,
        rest: &GeometryBuffers<'_>,
        means: &Buffer<f32>,
        shape: &Buffer<f32>,
    ) -> Result<(), CudaError> {
        let out = self.shape(poses, means, shape)?;
        let arguments = Arguments { out, ..self.arguments(poses, matrices, rest)? };
        self.run(&self.forward, [self.splats.div_ceil(THREADS as usize), poses], THREADS, &arguments)
    }

    /// Gradients of what [`Skin::forward`] takes, from those by what it gives.
    ///
    /// # Errors
    /// As there.
    pub fn backward(
        &self,
        poses: usize,
        matrices: &Buffer<f32>,
        rest: &GeometryBuffers<'_>,
        by_means: &Buffer<f32>,
        by_shape: &Buffer<f32>,
        gradients: &SkinGradients<'_>,
    ) -> Result<(), CudaError> {
        let upstream = self.shape(poses, by_means, by_shape)?;
        let arguments = self.arguments(poses, matrices, rest)?;
        let own = all_or_nothing("splats at rest", arguments.sizes[3])?;
        gradients.rest.check("gradients at rest", if own { poses * self.splats } else { self.splats })?;
        holds("gradients of matrices", gradients.matrices, 12 * poses * self.joints)?;
        let arguments = Arguments {
            upstream,
            by_rest: [gradients.rest.means, gradients.rest.rotations, gradients.rest.log_scales].map(Buffer::pointer),
            by_weights: gradients.weights.pointer(),
            by_matrices: gradients.matrices.pointer(),
            ..arguments
        };
        let blocks = self.splats.div_ceil(THREADS as usize);
        self.run(&self.backward, [blocks, if own { poses } else { 1 }], THREADS, &arguments)?;
        if !gradients.weights.is_empty() {
            holds("gradients of weights", gradients.weights, self.influences.values.len())?;
            self.run(&self.weights_backward, [blocks, 1], THREADS, &arguments)?;
        }
        self.run(&self.joints_backward, [self.joints, poses], 256, &arguments)
    }
}
