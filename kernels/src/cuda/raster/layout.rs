//! Structures that host and kernels share; the same as in `kernels/cuda/common.cuh` and the kernels' own.

use cudarc::driver::{DeviceRepr, ValidAsZeroBits};
use gav_formats::{Camera, RenderModel};

use crate::raster::{CameraNumbers, Footprint, Settings};

/// A picture of a batch.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Picture {
    pub rotation: [[f32; 3]; 3],
    pub world_from_camera: [[f32; 3]; 3],
    pub center: [f32; 3],
    pub focal: [f32; 2],
    pub principal: [f32; 2],
    pub slopes: [[f32; 2]; 2],
    pub background: [f32; 3],
    pub width: u32,
    pub height: u32,
    pub orthographic: u32,
    pub splats: u32,
    pub count: u32,
    pub records: u32,
    pub tiles: u32,
    pub columns: u32,
    pub tile_count: u32,
    pub pixels: u32,
    pub pad: u32,
}

/// Pixels along a side of a tile.
pub(super) const TILE: u32 = 16;

impl Picture {
    /// What depends on the camera; places in the batch are zero.
    pub fn new(camera: &Camera, settings: &Settings, background: [f32; 3]) -> Self {
        let view = CameraNumbers::new(camera, settings);
        Self {
            rotation: view.rotation,
            world_from_camera: view.world_from_camera,
            center: view.center,
            focal: view.focal,
            principal: camera.principal.map(|v| v as f32),
            slopes: view.slopes,
            background,
            width: camera.width,
            height: camera.height,
            orthographic: camera.orthographic.into(),
            columns: camera.width.div_ceil(TILE),
            tile_count: camera.width.div_ceil(TILE) * camera.height.div_ceil(TILE),
            ..Self::default()
        }
    }
}

/// The rules, as numbers.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Rules {
    pub near: f32,
    pub far: f32,
    pub dilation: f32,
    pub alpha_min: f32,
    pub threshold: f32,
    pub alpha_max: f32,
    pub stop: f32,
    pub model: i32,
    pub footprint: i32,
    pub normalize: i32,
}

impl From<&Settings> for Rules {
    fn from(settings: &Settings) -> Self {
        // the smallest normal number stands for "everything", so that its logarithm is finite
        let alpha_min = (settings.alpha_min as f32).max(f32::MIN_POSITIVE);
        Self {
            near: settings.near as f32,
            far: settings.far as f32,
            dilation: settings.dilation as f32,
            alpha_min,
            threshold: alpha_min.log2(),
            alpha_max: settings.alpha_max as f32,
            stop: settings.stop as f32,
            model: match settings.model {
                RenderModel::Classic => 0,
                RenderModel::Antialiased => 1,
                RenderModel::Surfel => 2,
            },
            footprint: match settings.footprint {
                Footprint::Exact => 0,
                Footprint::Square => 1,
                Footprint::SquareTiles => 2,
            },
            normalize: settings.normalize_rotations.into(),
        }
    }
}

/// Addresses of the arrays of the scenes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct ScenePointers {
    pub means: u64,
    pub shape: u64,
    pub scales: u64,
    pub logits: u64,
    pub color: u64,
    pub rest: u64,
}

/// How much room the tile lists of a batch needed.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needed {
    /// Entries of all lists together.
    pub entries: u64,
    /// Entries of the longest.
    pub longest: u32,
    pad: u32,
}

impl Needed {
    /// From the words that the device counts in.
    pub(super) fn from_words(words: &[u32]) -> Self {
        Self { entries: u64::from(words[0]) | u64::from(words[1]) << 32, longest: words[2], pad: 0 }
    }
}

/// A scene and the pictures whose gradients are added up.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Group {
    pub splats: u32,
    pub count: u32,
    pub out: u32,
    pub first: u32,
    pub pictures: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct ProjectArgs {
    pub scene: ScenePointers,
    pub pictures: u64,
    pub rules: Rules,
    pub records: u64,
    pub normals: u64,
    pub reaches: u64,
    pub counts: u64,
    pub picture_count: u32,
    pub pad: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct TilesArgs {
    pub pictures: u64,
    pub rules: Rules,
    pub records: u64,
    pub reaches: u64,
    pub counts: u64,
    pub tile_picture: u64,
    pub cursors: u64,
    pub tiles: u32,
    pub picture_count: u32,
    pub capacity: u32,
    pub pad: u32,
    pub stats: u64,
    pub bins: u64,
    pub queue: u64,
    pub works: u64,
    pub keys: u64,
    pub spare: u64,
    pub order: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct BlendArgs {
    pub pictures: u64,
    pub rules: Rules,
    pub records: u64,
    pub normals: u64,
    pub order: u64,
    pub works: u64,
    pub deepest: u64,
    pub touched: u64,
    pub rgb: u64,
    pub alpha: u64,
    pub depth: u64,
    pub normal: u64,
    pub light: u64,
    pub last: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct BlendBackwardArgs {
    pub forward: BlendArgs,
    pub rgb: u64,
    pub alpha: u64,
    pub depth: u64,
    pub normal: u64,
    pub sums: u64,
    pub extras: u64,
    pub background: u64,
    pub flags: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct ProjectBackwardArgs {
    pub scene: ScenePointers,
    pub pictures: u64,
    pub groups: u64,
    pub members: u64,
    pub rules: Rules,
    pub records: u64,
    pub sums: u64,
    pub extras: u64,
    pub means: u64,
    pub shape: u64,
    pub scales: u64,
    pub logits: u64,
    pub color: u64,
    pub rest: u64,
    pub centers: u64,
    pub cameras: u64,
    pub flags: u64,
}

macro_rules! device_types {
    ($($name:ty),*) => {
        // SAFETY: plain numbers in C layout, without padding that is read
        $(unsafe impl DeviceRepr for $name {})*
    };
}
device_types!(Picture, Group, ProjectArgs, TilesArgs, BlendArgs, BlendBackwardArgs, ProjectBackwardArgs);
// SAFETY: zero is a value of every field
unsafe impl ValidAsZeroBits for Picture {}
// SAFETY: as above
unsafe impl ValidAsZeroBits for Group {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_have_the_sizes_of_the_kernels() {
        // each number is asserted in the kernels as well
        assert_eq!(size_of::<Picture>(), 172);
        assert_eq!(size_of::<Rules>(), 40);
        assert_eq!(size_of::<ProjectArgs>(), 136);
        assert_eq!(size_of::<TilesArgs>(), 160);
        assert_eq!(size_of::<BlendArgs>(), 144);
        assert_eq!(size_of::<BlendBackwardArgs>(), 208);
        assert_eq!(size_of::<ProjectBackwardArgs>(), 208);
    }
}
