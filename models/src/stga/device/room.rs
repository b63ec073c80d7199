//! How much device memory a training needs, said before it is taken.

use std::{collections::BTreeSet, sync::Arc};

use gav_kernels::cuda::{CudaError, Device};

use super::{
    super::{Dataset, Options, State, widths},
    ENTRIES, LEAST_ENTRIES,
};
use crate::{Error, Result};

/// Bytes of an entry of the tile lists: key, spare key, order, blocks touched.
const ENTRY: u64 = 8 + 8 + 4 + 2;
/// Bytes of a splat beside parameters and entries: record 48, reach 16, sums 36, gradient of the centre 8, world and local
/// geometry and their gradients 120, selection 8, statistics 16, triangle and its list 8.
const SPLAT: u64 = 48 + 16 + 36 + 8 + 120 + 8 + 16 + 8;
/// Bytes of a pixel: what is drawn 24, the picture it is compared with 12, gradient 12, slopes of SSIM 36.
const PIXEL: u64 = 24 + 12 + 12 + 36;
/// Bytes of a tile: queue 512, counters 256, the rest 28.
const TILE: u64 = 512 + 256 + 28;

/// What a training needs by its sizes.
#[derive(Debug, Clone)]
pub(super) struct Room {
    numbers: u64,
    sizes: Vec<[u64; 2]>,
    mesh: u64,
    /// What was free at the beginning.
    total: u64,
}

impl Room {
    pub fn new(device: &Arc<Device>, data: &Dataset, options: &Options, state: &State) -> Result<Self, CudaError> {
        let sizes: BTreeSet<[u64; 2]> =
            data.views.iter().map(|v| [u64::from(v.camera.width), u64::from(v.camera.height)]).collect();
        let motion = &data.motion;
        let vertices = motion.vertices.first().map_or(0, Vec::len) as u64;
        let columns =
            motion.tracked.as_ref().map_or(0, |t| t.body.expression_count() + 9 * t.body.joint_count()) as u64;
        let tables = state.tables.is_some();
        // directions and correctives of a body, or a mesh for every time step; frames and corners of the triangles
        let mesh = vertices * 12 * if tables { columns + 8 } else { motion.vertices.len() as u64 };
        Ok(Self {
            numbers: widths(options.sh_degree).iter().sum::<usize>() as u64,
            sizes: sizes.into_iter().collect(),
            mesh: mesh + motion.faces.len() as u64 * 148,
            total: device.free_memory()?,
        })
    }

    #[cfg(test)]
    pub fn of(numbers: u64, sizes: Vec<[u64; 2]>, mesh: u64, total: u64) -> Self {
        Self { numbers, sizes, mesh, total }
    }

    /// Bytes of splats with everything of theirs, of pictures as they are drawn and compared, of the mesh.
    fn bytes(&self, splats: usize) -> [(&'static str, u64); 4] {
        let splats = splats as u64;
        let entries = splats * ENTRIES as u64 + LEAST_ENTRIES as u64;
        let of = |[width, height]: &[u64; 2]| width * height * PIXEL + width.div_ceil(16) * height.div_ceil(16) * TILE;
        [
            // twice: density control replaces all of it
            ("splats, gradients, Adam", 2 * splats * (16 * self.numbers + SPLAT)),
            ("tile lists", entries * ENTRY * self.sizes.len() as u64),
            ("drawn pictures", self.sizes.iter().map(of).sum()),
            ("meshes", self.mesh),
        ]
    }

    /// Megabytes by part.
    pub fn parts(&self, splats: usize) -> Vec<(&'static str, f64)> {
        self.bytes(splats).into_iter().map(|(name, bytes)| (name, bytes as f64 / 1e6)).collect()
    }

    /// Bytes that pictures may take, when there is to be room for so many splats: nine tenths of what is left.
    pub fn for_pictures(&self, device: &Device, most_splats: usize) -> Result<u64, CudaError> {
        let needed: u64 = self.bytes(most_splats).iter().map(|part| part.1).sum();
        Ok(device.free_memory()?.saturating_sub(needed) / 10 * 9)
    }

    /// # Errors
    /// When so many splats do not fit beside `pictures` bytes of pictures into what was free at the beginning; with all parts.
    pub fn check(&self, splats: usize, pictures: u64) -> Result<()> {
        let parts = self.bytes(splats);
        let needed = parts.iter().map(|part| part.1).sum::<u64>() + pictures;
        if needed <= self.total {
            return Ok(());
        }
        let mb = |bytes: u64| bytes.div_ceil(1_000_000);
        let list: Vec<String> = parts.iter().map(|(name, bytes)| format!("{name} {} MB", mb(*bytes))).collect();
        Err(Error::usage(format!(
            "{splats} splats need {} MB of device memory, of which {} MB were free: {}, pictures {} MB; lower --max-splats or \
             --init-grid-k, or train with --device cpu",
            mb(needed),
            mb(self.total),
            list.join(", "),
            mb(pictures)
        )))
    }
}
