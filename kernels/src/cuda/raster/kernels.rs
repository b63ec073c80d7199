//! The rasteriser's kernels: their sources, and the versions that are compiled.

use std::sync::Arc;

use super::{
    super::{
        CudaError, Device, adam,
        device::{Kernel, Source, options, text},
        knn, loss,
        nvrtc::Nvrtc,
        radix, train,
    },
    plan::Options,
    splats::Kind,
};
use crate::raster::{Footprint, Saturation, Settings};

macro_rules! source {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../cuda/", $name)))
    };
}

pub(in super::super) const COMMON: (&str, &str) = source!("common.cuh");
/// A splat's ellipse on the screen.
pub(in super::super) const ELLIPSE: (&str, &str) = source!("ellipse.cuh");
const PROJECT: [(&str, &str); 4] = [COMMON, source!("sh.cuh"), ELLIPSE, source!("project.cu")];
const TILES: [(&str, &str); 2] = [COMMON, source!("tiles.cu")];
const BLEND: [(&str, &str); 3] = [COMMON, source!("blend.cuh"), source!("blend.cu")];
const BLEND_BACKWARD: [(&str, &str); 3] = [COMMON, source!("blend.cuh"), source!("blend_backward.cu")];
const PROJECT_BACKWARD: [(&str, &str); 4] = [COMMON, source!("sh.cuh"), ELLIPSE, source!("project_backward.cu")];

/// Sources, by the kernel they are for.
const KERNELS: [(&str, &[(&str, &str)]); 11] = [
    ("loss", &loss::SOURCE),
    ("adam", &adam::SOURCE),
    ("knn", &knn::SOURCE),
    ("radix", &radix::SOURCE),
    ("train", &train::SOURCE),
    ("density", &train::DENSITY),
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
    /// The two ways back for splats with a flag.
    pub selected: Option<[Kernel; 2]>,
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
    /// `degree`: up to which harmonics are used; `single`: each splat is in one picture of its group; of `options`, whether
    /// gradients of cameras are wanted, and ways back of some of the splats.
    pub fn new(
        device: &Arc<Device>,
        kind: Kind,
        degree: Option<u8>,
        settings: &Settings,
        single: bool,
        options: Options,
    ) -> Result<Self, CudaError> {
        let mut shape = vec![
            ("DEGREE", degree.map_or(-1, i32::from)),
            ("COVARIANCE", kind.covariance.into()),
            ("CHANNELS", channels(settings)),
        ];
        if let Some(stored) = kind.sh_degree.filter(|_| degree != kind.sh_degree) {
            shape.push(("STORED", stored.into()));
        }
        let blend = [
            ("CHANNELS", channels(settings)),
            // footprints of whole tiles are enforced by the tile lists
            ("CLIP", (settings.footprint == Footprint::Square).into()),
            ("DROP", (settings.saturation == Saturation::Dropped).into()),
            ("PASSES", settings.alpha_max_passes.into()),
        ];
        let back = [&shape[..], &[("SINGLE", single.into()), ("CAMERA", options.cameras.into())]].concat();
        let make = |name: &'static str, parts: &[(&str, &str)], defines: &[(&str, i32)]| {
            Ok::<_, CudaError>(Kernel { name, function: device.function(name, &Source { parts, defines })? })
        };
        let selected = if options.select {
            let select = |defines: &[(&'static str, i32)]| [defines, &[("SELECT", 1)]].concat();
            let blend_backward = make("blend_backward", &BLEND_BACKWARD, &select(&blend))?;
            Some([blend_backward, make("project_backward", &PROJECT_BACKWARD, &select(&back))?])
        } else {
            None
        };
        Ok(Self {
            selected,
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
        // every value of every definition at least once, beside the usual values of the others
        let choices: &[(&str, &[i32])] = match name {
            "project" => &[("DEGREE", &[3, -1, 0, 1, 2, 4]), ("COVARIANCE", &[0, 1]), ("CHANNELS", &[3, 4, 7])],
            "project_backward" => &[
                ("DEGREE", &[3, -1, 0, 1, 2, 4]),
                ("COVARIANCE", &[0, 1]),
                ("CHANNELS", &[3, 4, 7]),
                ("SINGLE", &[1, 0]),
                ("CAMERA", &[0, 1]),
                ("SELECT", &[0, 1]),
            ],
            "blend" => &[("CHANNELS", &[3, 4, 7]), ("CLIP", &[0, 1]), ("DROP", &[0, 1]), ("PASSES", &[1, 0])],
            "blend_backward" => &[
                ("CHANNELS", &[3, 4, 7]),
                ("CLIP", &[0, 1]),
                ("DROP", &[0, 1]),
                ("PASSES", &[1, 0]),
                ("SELECT", &[0, 1]),
            ],
            "loss" => &[("CLAMP", &[0, 1])],
            "knn" => &[("K", &[3, 1, 16])],
            _ => &[],
        };
        let usual: Vec<(&str, i32)> = choices.iter().map(|(key, values)| (*key, values[0])).collect();
        let mut versions = vec![usual.clone()];
        for (i, (_, values)) in choices.iter().enumerate() {
            for value in &values[1..] {
                let mut version = usual.clone();
                version[i].1 = *value;
                versions.push(version);
            }
        }
        // rows with room for more than is used
        if name.starts_with("project") {
            for degree in 0..3 {
                let mut version = usual.clone();
                version[0].1 = degree;
                version.push(("STORED", 3));
                versions.push(version);
            }
        }
        // what trainings draw with
        if name.ends_with("backward") {
            let mut version = usual.clone();
            version.iter_mut().filter(|(key, _)| *key == "SELECT" || *key == "CLIP").for_each(|(_, value)| *value = 1);
            versions.push(version);
        }
        // the heaviest
        versions.push(choices.iter().map(|(key, values)| (*key, values[values.len() - 1])).collect());
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
