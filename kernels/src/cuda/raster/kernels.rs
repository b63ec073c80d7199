//! The rasteriser's kernels: their sources, and the versions that are compiled.

use std::sync::Arc;

use super::{
    super::{
        CudaError, Device,
        device::{Kernel, Source, options, text},
        nvrtc::Nvrtc,
    },
    splats::Kind,
};
use crate::raster::{Footprint, Saturation, Settings};

macro_rules! source {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../cuda/", $name)))
    };
}

const COMMON: (&str, &str) = source!("common.cuh");
const PROJECT: [(&str, &str); 4] = [COMMON, source!("sh.cuh"), source!("ellipse.cuh"), source!("project.cu")];
const TILES: [(&str, &str); 2] = [COMMON, source!("tiles.cu")];
const BLEND: [(&str, &str); 3] = [COMMON, source!("blend.cuh"), source!("blend.cu")];
const BLEND_BACKWARD: [(&str, &str); 3] = [COMMON, source!("blend.cuh"), source!("blend_backward.cu")];
const PROJECT_BACKWARD: [(&str, &str); 4] =
    [COMMON, source!("sh.cuh"), source!("ellipse.cuh"), source!("project_backward.cu")];

/// Sources of the rasteriser, by the kernel they are for.
pub const KERNELS: [(&str, &[(&str, &str)]); 5] = [
    ("project", &PROJECT),
    ("tiles", &TILES),
    ("blend", &BLEND),
    ("blend_backward", &BLEND_BACKWARD),
    ("project_backward", &PROJECT_BACKWARD),
];

/// The compiled kernels of a batch.
pub(super) struct Kernels {
    pub project: Kernel,
    pub allocate: Kernel,
    pub scatter: Kernel,
    pub sort: Kernel,
    pub blend: Kernel,
    pub blend_backward: Kernel,
    pub project_backward: Kernel,
}

/// Values blended per pixel.
pub(super) fn channels(settings: &Settings) -> i32 {
    match (settings.depth, settings.normals) {
        (false, false) => 3,
        (true, false) => 4,
        (_, true) => 7,
    }
}

impl Kernels {
    /// `single`: each splat is in one picture of its group; `cameras`: gradients of cameras are wanted.
    pub fn new(
        device: &Arc<Device>,
        kind: Kind,
        settings: &Settings,
        single: bool,
        cameras: bool,
    ) -> Result<Self, CudaError> {
        let shape = [
            ("DEGREE", kind.sh_degree.map_or(-1, i32::from)),
            ("COVARIANCE", kind.covariance.into()),
            ("CHANNELS", channels(settings)),
        ];
        let blend = [
            ("CHANNELS", channels(settings)),
            // footprints of whole tiles are enforced by the tile lists
            ("CLIP", (settings.footprint == Footprint::Square).into()),
            ("DROP", (settings.saturation == Saturation::Dropped).into()),
            ("PASSES", settings.alpha_max_passes.into()),
        ];
        let back = [shape[0], shape[1], shape[2], ("SINGLE", single.into()), ("CAMERA", cameras.into())];
        let make = |name: &'static str, parts: &[(&str, &str)], defines: &[(&str, i32)]| {
            Ok::<_, CudaError>(Kernel { name, function: device.function(name, &Source { parts, defines })? })
        };
        Ok(Self {
            project: make("project", &PROJECT, &shape)?,
            allocate: make("allocate", &TILES, &[])?,
            scatter: make("scatter", &TILES, &[])?,
            sort: make("sort", &TILES, &[])?,
            blend: make("blend", &BLEND, &blend)?,
            blend_backward: make("blend_backward", &BLEND_BACKWARD, &blend)?,
            project_backward: make("project_backward", &PROJECT_BACKWARD, &back)?,
        })
    }
}

/// Compiles every kernel in every version for `architecture`, such as `sm_90`, without a device. What the compiler said of
/// registers and shared memory, a line for each version; `None` when there is no NVRTC here.
///
/// # Errors
/// [`CudaError::Compile`] with the compiler's messages.
pub fn compile_all(architecture: &str) -> Result<Option<Vec<String>>, CudaError> {
    let Ok(nvrtc) = Nvrtc::find() else { return Ok(None) };
    let mut reports = Vec::new();
    for (name, parts) in KERNELS {
        let mut versions: Vec<Vec<(&str, i32)>> = vec![Vec::new()];
        let mut each = |key: &'static str, values: &[i32]| {
            versions = versions
                .iter()
                .flat_map(|v| values.iter().map(move |value| [v.as_slice(), &[(key, *value)]].concat()))
                .collect();
        };
        match name {
            "project" | "project_backward" => {
                each("DEGREE", &[-1, 0, 1, 2, 3, 4]);
                each("COVARIANCE", &[0, 1]);
                each("CHANNELS", &[3, 4, 7]);
                if name == "project_backward" {
                    each("SINGLE", &[0, 1]);
                    each("CAMERA", &[0, 1]);
                }
            }
            "blend" | "blend_backward" => {
                each("CHANNELS", &[3, 4, 7]);
                each("CLIP", &[0, 1]);
                each("DROP", &[0, 1]);
                each("PASSES", &[0, 1]);
            }
            _ => {}
        }
        for defines in versions {
            let mut options = options(architecture, &defines);
            options.push("--ptxas-options=-v".to_owned());
            let (_, log) = nvrtc.compile(name, &text(parts), &options)?;
            let used: Vec<&str> = log
                .lines()
                .filter(|line| line.contains("Used") || line.contains("stack frame"))
                .map(|line| line.trim_start_matches("ptxas info    : ").trim())
                .collect();
            reports.push(format!("{name} {defines:?}: {}", used.join("; ")));
        }
    }
    Ok(Some(reports))
}
