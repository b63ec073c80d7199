//! Timing of posing on a device: a body of FLAME's size, and splats bound to it.

use std::sync::Arc;

use gav_formats::{TriangleFrame, synthetic::uniform};

use super::{
    Bases, Binding, BindingArrays, Blended, Blendshapes, Body, BodyArrays, Carry, GeometryBuffers, RotationForm, Rows,
    Skin, SkinGradients,
};
use crate::cuda::{Buffer, CudaError, Device};

/// FLAME with teeth (5,143 vertices, 10,144 triangles, 100 expressions, 36 correctives) and splats bound to it, with room for a batch of
/// poses.
#[derive(Debug)]
pub struct FlameAndSplats {
    body: Body,
    binding: Binding,
    poses: usize,
    local: [Buffer<f32>; 3],
    posed: [Buffer<f32>; 3],
    upstream: [Buffer<f32>; 3],
    by_local: [Buffer<f32>; 3],
    by_vertices: Buffer<f32>,
}

impl FlameAndSplats {
    /// `splats` splats and `poses` poses, all different.
    ///
    /// # Errors
    /// What the device fails in.
    pub fn new(device: &Arc<Device>, splats: usize, poses: usize) -> Result<Self, CudaError> {
        let (vertices, joints, turn) = (5143usize, 5usize, 71usize);
        let noise = |count: usize, seed: u64, size: f64| -> Vec<f32> {
            (0..count as u64).map(|i| (size * (2.0 * uniform(i, seed) - 1.0)) as f32).collect()
        };
        let base: Vec<[f32; 3]> = (0..vertices)
            .map(|v| {
                let (angle, polar) = (
                    v as f64 / turn as f64 * std::f64::consts::TAU,
                    (v as f64 + 0.5) / vertices as f64 * std::f64::consts::PI,
                );
                [0.1 * polar.sin() * angle.cos(), 0.1 * polar.cos(), 0.1 * polar.sin() * angle.sin()].map(|x| x as f32)
            })
            .collect();
        let faces: Vec<[u32; 3]> = (0..vertices - turn - 1)
            .flat_map(|v| [[v, v + 1, v + turn], [v + 1, v + turn + 1, v + turn]])
            .map(|f| f.map(|v| v as u32))
            .collect();
        let starts: Vec<u32> = (0..=vertices as u32).map(|v| 2 * v).collect();
        let columns: Vec<u32> = (0..vertices as u32).flat_map(|v| [v % 3, 1 + v % 4]).collect();
        let weights = vec![0.5; 2 * vertices];
        let regressor: Vec<u32> = (0..=joints as u32).map(|j| 20 * j).collect();
        let placed: Vec<u32> = (0..20 * joints as u32).map(|k| k * 51).collect();
        let arrays = BodyArrays {
            base: &base,
            directions: &noise(100 * 3 * vertices, 1, 1e-3),
            correctives: &noise(36 * 3 * vertices, 2, 1e-3),
            regressor: Rows { starts: &regressor, columns: &placed, values: &vec![0.05; 20 * joints] },
            weights: Rows { starts: &starts, columns: &columns, values: &weights },
            parents: &[None, Some(0), Some(1), Some(1), Some(1)],
            order: &[0, 1, 2, 3, 4],
            forms: &[RotationForm::AxisAngle; 5],
        };
        let mut body = Body::new(device, &arrays, poses)?;
        body.expression.write(&noise(100 * poses, 3, 1.0))?;
        body.rotations.write(&noise(9 * joints * poses, 4, 0.3))?;
        body.translations.write(&noise(3 * poses, 5, 0.1))?;
        let triangles: Vec<u32> = (0..splats).map(|i| (i % faces.len()) as u32).collect();
        let binding = Binding::new(
            device,
            &BindingArrays {
                frame: TriangleFrame::GaussianAvatars,
                vertices,
                faces: &faces,
                corner_uvs: &[],
                triangles: &triangles,
                barycentrics: &[],
            },
            poses,
        )?;
        let arrays = |rows: usize, seed: u64| -> Result<[Buffer<f32>; 3], CudaError> {
            let part = |width: usize, k: u64| Buffer::from_slice(device, &noise(width * rows, seed + k, 1.0));
            Ok([part(3, 0)?, part(4, 1)?, part(3, 2)?])
        };
        let (local, posed, upstream) = (arrays(splats, 10)?, arrays(splats * poses, 20)?, arrays(splats * poses, 30)?);
        Ok(Self {
            poses,
            local,
            posed,
            upstream,
            by_local: arrays(splats, 40)?,
            by_vertices: Buffer::new(device, 3 * vertices * poses)?,
            body,
            binding,
        })
    }

    /// Body and binding of all poses.
    ///
    /// # Errors
    /// What the device fails in.
    pub fn forward(&self) -> Result<(), CudaError> {
        self.body.forward(self.poses)?;
        self.binding.forward(self.poses, &self.body.posed, &geometry(&self.local), &geometry(&self.posed))
    }

    /// The way back, after [`Self::forward`].
    ///
    /// # Errors
    /// What the device fails in.
    pub fn backward(&self) -> Result<(), CudaError> {
        let [local, upstream, by_local] = [&self.local, &self.upstream, &self.by_local].map(geometry);
        self.binding.backward(self.poses, &self.body.posed, &local, &upstream, &by_local, &self.by_vertices)?;
        self.body.backward(self.poses, &self.by_vertices)
    }
}

fn geometry(b: &[Buffer<f32>; 3]) -> GeometryBuffers<'_> {
    GeometryBuffers { means: &b[0], rotations: &b[1], log_scales: &b[2] }
}

/// Skinning by 55 joints with four influences each, and 20 blendshapes of every attribute: milliseconds of a batch by kernel, forward and
/// backward.
///
/// # Errors
/// What the device fails in.
pub fn skin_and_blendshapes(
    device: &Arc<Device>,
    splats: usize,
    poses: usize,
) -> Result<Vec<(&'static str, f64)>, CudaError> {
    let noise = |count: usize, seed: u64| -> Result<Buffer<f32>, CudaError> {
        let values: Vec<f32> = (0..count as u64).map(|i| (2.0 * uniform(i, seed) - 1.0) as f32).collect();
        Buffer::from_slice(device, &values)
    };
    let arrays = |rows: usize, seed: u64| {
        Ok::<_, CudaError>([noise(3 * rows, seed)?, noise(4 * rows, seed + 1)?, noise(3 * rows, seed + 2)?])
    };
    fn blended(b: &[Buffer<f32>; 3]) -> Blended<'_> {
        Blended { means: &b[0], rotations: &b[1], sh0: &b[2] }
    }
    let (joints, bases) = (55, 20);
    let starts: Vec<u32> = (0..=splats as u32).map(|i| 4 * i).collect();
    let columns: Vec<u32> = (0..4 * splats as u32).map(|k| (k / 4 / 1100 + k % 4 * 3) % joints).collect();
    let rows = Rows { starts: &starts, columns: &columns, values: &vec![0.25; 4 * splats] };
    let skin = Skin::new(device, &rows, joints as usize, Carry::Rigid, poses)?;
    let turn = |j: u64| {
        let (sine, cosine) = uniform(j, 7).sin_cos();
        [cosine, -sine, 0.0, 0.0, sine, cosine, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0].map(|v| v as f32)
    };
    let matrices: Vec<f32> = (0..(joints as usize * poses) as u64).flat_map(turn).collect();
    let matrices = Buffer::from_slice(device, &matrices)?;
    let (rest, out, upstream, by_rest) =
        (arrays(splats, 1)?, arrays(splats * poses, 4)?, arrays(splats * poses, 7)?, arrays(splats, 10)?);
    let (by_matrices, by_weights) =
        (Buffer::new(device, 12 * joints as usize * poses)?, Buffer::new(device, 4 * splats)?);
    let shapes = Blendshapes::new(device, splats, bases, poses)?;
    let deltas = |seed: u64| -> Result<Bases, CudaError> {
        let [means, rotations, sh0] = arrays(bases * splats, seed)?;
        Ok(Bases { means, rotations, sh0 })
    };
    let (bases_on, by_bases, weights, by_psi) =
        (deltas(20)?, deltas(30)?, noise(bases * poses, 40)?, noise(bases * poses, 41)?);
    let work = || -> Result<(), CudaError> {
        skin.forward(poses, &matrices, &geometry(&rest), &out[0], &out[1])?;
        let gradients = SkinGradients { rest: geometry(&by_rest), matrices: &by_matrices, weights: &by_weights };
        skin.backward(poses, &matrices, &geometry(&rest), &upstream[0], &upstream[1], &gradients)?;
        shapes.forward(poses, &blended(&rest), &bases_on, &weights, &blended(&out))?;
        let gradients = (&blended(&by_rest), &by_bases, &by_psi);
        shapes.backward(poses, &blended(&rest), &bases_on, &weights, &blended(&upstream), gradients)
    };
    work()?;
    device.synchronize()?;
    device.profile(work)
}
