//! [`crate::rig`] and parametric bodies on a device, a batch of poses at a time.
//!
//! Every part keeps what does not change in device memory, takes and gives [`Buffer`]s, and only enqueues work. Sums run over lists made
//! beforehand, never through atomic additions: the same input gives the same bits.
//!
//! Arrays of a batch lie pose after pose: row i of pose p of an array with N rows is row p N + i.

pub mod bench;
mod blendshapes;
mod body;
mod lists;
mod morphs;
mod skin;
mod triangle;

use std::sync::Arc;

use super::{
    Buffer, CudaError, Device,
    device::{Kernel, Source, options, text},
    nvrtc::Nvrtc,
};

pub use blendshapes::{Bases, Blended, Blendshapes, Layer, Network};
pub use body::{Body, BodyArrays, RotationForm};
pub use lists::Rows;
pub use morphs::Morphs;
pub use skin::{Carry, Skin, SkinGradients};
pub use triangle::{Binding, BindingArrays};

macro_rules! source {
    ($name:literal) => {
        ($name, include_str!(concat!("../../cuda/", $name)))
    };
}

const COMMON: (&str, &str) = source!("common.cuh");
const RIG: (&str, &str) = source!("rig.cuh");
const BODY: [(&str, &str); 3] = [COMMON, RIG, source!("body.cu")];
const TRIANGLE: [(&str, &str); 3] = [COMMON, RIG, source!("triangle.cu")];
const SKIN: [(&str, &str); 3] = [COMMON, RIG, source!("skin.cu")];
const BLENDSHAPES: [(&str, &str); 3] = [COMMON, RIG, source!("blendshapes.cu")];

/// Threads of a block, where a kernel has no reason for another number.
const THREADS: u32 = 128;

/// Centres, quaternions and log-scales of splats on a device: rows of 3, 4 and 3 numbers.
#[derive(Debug, Clone, Copy)]
pub struct GeometryBuffers<'a> {
    /// Centres.
    pub means: &'a Buffer<f32>,
    /// Quaternions w, x, y, z.
    pub rotations: &'a Buffer<f32>,
    /// Natural logarithms of the standard deviations.
    pub log_scales: &'a Buffer<f32>,
}

impl GeometryBuffers<'_> {
    pub(super) fn check(&self, what: &str, rows: usize) -> Result<(), CudaError> {
        holds(what, self.means, 3 * rows)?;
        holds(what, self.rotations, 4 * rows)?;
        holds(what, self.log_scales, 3 * rows)
    }

    /// Which arrays have rows for each of `poses` poses, as the bits of rig.cuh; the others must have `rows` rows for all.
    fn own(&self, what: &str, poses: usize, rows: usize) -> Result<u32, CudaError> {
        self.check(what, rows)?;
        let own = |buffer: &Buffer<f32>, width: usize| poses > 1 && buffer.len() >= width * poses * rows;
        let bits = [own(self.means, 3), own(self.rotations, 4), own(self.log_scales, 3)];
        Ok(bits.iter().enumerate().map(|(k, own)| u32::from(*own) << k).sum())
    }
}

/// The way back takes splats of which all arrays are shared, or none.
fn all_or_nothing(what: &str, own: u32) -> Result<bool, CudaError> {
    match own {
        0 => Ok(false),
        7 => Ok(true),
        _ => Err(CudaError::Usage(format!("{what}: some arrays have rows for each pose, some for all"))),
    }
}

/// A buffer must be large enough for what a kernel reads or writes.
fn holds<T: cudarc::driver::DeviceRepr + cudarc::driver::ValidAsZeroBits + Clone + Default>(
    what: &str,
    buffer: &Buffer<T>,
    needed: usize,
) -> Result<(), CudaError> {
    if buffer.len() < needed {
        return Err(CudaError::Usage(format!("{what}: {} numbers, {needed} needed", buffer.len())));
    }
    Ok(())
}

fn kernel(
    device: &Arc<Device>,
    name: &'static str,
    parts: &[(&str, &str)],
    defines: &[(&str, i32)],
) -> Result<Kernel, CudaError> {
    Ok(Kernel { name, function: device.function(name, &Source { parts, defines })? })
}

/// Compiles every kernel in every version for `architecture`, such as `sm_90`, without a device. What the compiler said of registers and
/// shared memory, a text for each version; `None` when there is no NVRTC here.
///
/// # Errors
/// [`CudaError::Compile`] with the compiler's messages.
pub fn compile_all(architecture: &str) -> Result<Option<Vec<String>>, CudaError> {
    let Ok(nvrtc) = Nvrtc::find() else { return Ok(None) };
    let none: &[(&str, i32)] = &[];
    let versions: [(&str, &[(&str, &str)], &[(&str, i32)]); 10] = [
        ("body", &BODY, none),
        ("triangle", &TRIANGLE, &[("FRAME", 0)]),
        ("triangle", &TRIANGLE, &[("FRAME", 1)]),
        ("triangle", &TRIANGLE, &[("FRAME", 2)]),
        ("skin", &SKIN, &[("COVARIANCE", 0)]),
        ("skin", &SKIN, &[("COVARIANCE", 1)]),
        ("blendshapes", &BLENDSHAPES, none),
        ("resize", &super::resize::SOURCE, none),
        ("pixels", &super::raster::PIXELS, none),
        ("compare", &super::compare::SOURCE, none),
    ];
    let mut reports = Vec::new();
    for (name, parts, defines) in versions {
        let mut options = options(architecture, defines);
        options.push("--ptxas-options=-v".to_owned());
        let (_, log) = nvrtc.compile(name, &text(parts), &options)?;
        let mut used = Vec::new();
        let mut function = "";
        for line in log.lines() {
            if let Some((_, rest)) = line.split_once("Compiling entry function '") {
                function = rest.split('\'').next().unwrap_or_default();
            } else if line.contains("Used") || (line.contains("stack frame") && !line.contains(" 0 bytes stack frame"))
            {
                used.push(format!("\n    {function}: {}", line.trim_start_matches("ptxas info    : ").trim()));
            }
        }
        // nothing is said of what NVRTC still has from another process
        reports.push(format!("{name} {defines:?}{}", used.concat()));
    }
    Ok(Some(reports))
}
