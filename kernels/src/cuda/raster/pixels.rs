//! Pictures as they are stored: 8 bits a colour, a sixth of what the planes of a batch take on their way to the host.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;
use gav_formats::Camera;

use super::{
    super::{
        Buffer, CudaError, Device,
        device::{Kernel, Source},
    },
    batch::Batch,
    plan::{Options, View},
    splats::{Kind, Splats},
};
use crate::raster::{Settings, Shot};

pub(in super::super) const SOURCE: [(&str, &str); 2] =
    [("common.cuh", include_str!("../../../cuda/common.cuh")), ("pixels.cu", include_str!("../../../cuda/pixels.cu"))];
/// Values of a block: four for each of 256 threads.
const BLOCK: usize = 1024;

/// The struct `Pixels` of pixels.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    from: u64,
    to: u64,
    count: u64,
}

// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for Arguments {}

/// What a picture of a device is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb8 {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Red, green, blue, rounded, row-major: what [`Image::to_rgb8`](crate::raster::Image::to_rgb8) gives.
    pub rgb: Vec<u8>,
}

/// The colours of [`draw`](super::draw) in 8 bits.
///
/// # Errors
/// As there; [`CudaError::Usage`] when the scenes are not of one kind.
pub fn draw_rgb8(device: &Arc<Device>, shots: &[Shot<'_>], settings: &Settings) -> Result<Vec<Rgb8>, CudaError> {
    let mut scenes = Vec::new();
    let mut views = Vec::with_capacity(shots.len());
    for (number, shot) in shots.iter().enumerate() {
        // neighbours that show the same arrays share them on the device
        let same = number > 0 && std::ptr::eq(shots[number - 1].scene.means, shot.scene.means);
        if !same || Kind::of(&shot.scene) != Kind::of(&shots[number - 1].scene) {
            scenes.push(shot.scene);
        }
        views.push(View { scene: scenes.len() - 1, camera: shot.camera, background: shot.background });
    }
    draw_views_rgb8(device, &Splats::upload(device, &scenes)?, &views, settings)
}

/// The colours of [`draw_views`](super::draw_views) in 8 bits.
///
/// # Errors
/// As there.
pub fn draw_views_rgb8(
    device: &Arc<Device>,
    splats: &Splats,
    views: &[View<'_>],
    settings: &Settings,
) -> Result<Vec<Rgb8>, CudaError> {
    let mut batch = Batch::new(device, splats, views, settings, Options::default())?;
    batch.draw(splats)?;
    let count = batch.rgb.len();
    let bytes: Buffer<u8> = Buffer::new(device, count.next_multiple_of(4))?;
    let source = Source { parts: &SOURCE, defines: &[] };
    let kernel = Kernel { name: "to_rgb8", function: device.function("to_rgb8", &source)? };
    let arguments = Arguments { from: batch.rgb.pointer(), to: bytes.pointer(), count: count as u64 };
    // SAFETY: `Arguments` is the kernel's parameter, and both arrays have as many values as it says
    unsafe { device.launch(&kernel, [count.div_ceil(BLOCK), 1], 256, &arguments)? };
    let bytes = bytes.read()?;
    let mut rest = bytes.as_slice();
    let mut picture = |camera: &Camera| {
        let (own, others) = rest.split_at(camera.width as usize * camera.height as usize * 3);
        rest = others;
        Rgb8 { width: camera.width, height: camera.height, rgb: own.to_vec() }
    };
    Ok(views.iter().map(|view| picture(view.camera)).collect())
}
