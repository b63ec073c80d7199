//! The picture of the demonstration: the avatar from three sides.

use std::path::Path;

use anyhow::{Context, Result};
use gav_formats::{Avatar, Frame};
use gav_kernels::{
    orbit::{Framing, look_at},
    psnr::displayed_splats,
    raster::render,
};

/// Width and height of one view in pixels.
const SIZE: usize = 400;
/// Pictures are drawn this much larger and averaged down: splats thinner than a pixel stay fine lines.
const SUPERSAMPLING: usize = 2;
/// Display values.
const BACKGROUND: [f32; 3] = [0.93, 0.93, 0.925];
/// Azimuths of the views in degrees, 0 in front, and their elevations.
const VIEWS: [(f64, f64); 3] = [(-40.0, 2.0), (0.0, 0.0), (58.0, 4.0)];

/// Draws `avatar` into a PNG of three views.
pub(super) fn write(path: &Path, avatar: &Avatar) -> Result<()> {
    let splats = displayed_splats(avatar)?;
    let framing = Framing::of(&splats).context("the sample has no extent")?;
    let to_frame = avatar.frame.from_frame(Frame::RUB);
    let width = SIZE * VIEWS.len();
    let mut picture = vec![0u8; width * SIZE * 3];
    for (index, (azimuth, elevation)) in VIEWS.iter().enumerate() {
        let (azimuth, elevation) = (azimuth.to_radians(), elevation.to_radians());
        let direction = [azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()];
        // as far as makes the head fill the view at 3 image widths of focal length
        let distance = 6.9 * framing.extent;
        let eye = std::array::from_fn(|r| {
            framing.center[r] + distance * (0..3).map(|c| to_frame[r][c] * direction[c]).sum::<f64>()
        });
        let size = (SIZE * SUPERSAMPLING) as u32;
        let camera = look_at(eye, framing.center, avatar.frame.up(), 3.0 * f64::from(size), size, size);
        let image = render(&*splats, &camera, &avatar.render_model.into(), BACKGROUND);
        for y in 0..SIZE {
            for x in 0..SIZE {
                for channel in 0..3 {
                    let mut sum = 0.0;
                    for sub in 0..SUPERSAMPLING * SUPERSAMPLING {
                        let row = y * SUPERSAMPLING + sub / SUPERSAMPLING;
                        let column = x * SUPERSAMPLING + sub % SUPERSAMPLING;
                        sum += image.rgb[(row * SIZE * SUPERSAMPLING + column) * 3 + channel].clamp(0.0, 1.0);
                    }
                    let value = sum / (SUPERSAMPLING * SUPERSAMPLING) as f32;
                    picture[(y * width + index * SIZE + x) * 3 + channel] = (value * 255.0 + 0.5) as u8;
                }
            }
        }
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, SIZE as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.write_header()?.write_image_data(&picture)?;
    std::fs::write(path, bytes).with_context(|| format!("{}: cannot write the picture", path.display()))
}
