//! Draws the demonstration head from three sides into one PNG: `cargo run --release --example portrait -- fixtures/demo_head.png`.

use std::{error::Error, fs::File, io::BufWriter};

use gav_formats::synthetic::{HeadOptions, head_with};
use gav_kernels::{orbit::look_at, raster::render};

/// Width and height of one view in pixels.
const SIZE: u32 = 400;
/// Pictures are drawn this much larger and averaged down: splats thinner than a pixel stay fine lines.
const SUPERSAMPLING: u32 = 2;
/// Background of the picture, display values.
const BACKGROUND: [f32; 3] = [0.93, 0.93, 0.925];
/// Azimuths of the views in degrees, 0 in front, and their elevations.
const VIEWS: [(f64, f64); 3] = [(-40.0, 2.0), (0.0, 0.0), (58.0, 4.0)];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "demo_head.png".into());
    let sh_degree = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let avatar = head_with(&HeadOptions { sh_degree, ..HeadOptions::default() });

    let width = SIZE * VIEWS.len() as u32;
    let mut picture = vec![0u8; (width * SIZE * 3) as usize];
    for (index, (azimuth, elevation)) in VIEWS.iter().enumerate() {
        let (azimuth, elevation) = (azimuth.to_radians(), elevation.to_radians());
        let target = [0.0, -0.033, 0.0];
        let direction = [azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()];
        let eye = std::array::from_fn(|k| target[k] + 1.1 * direction[k]);
        let size = SIZE * SUPERSAMPLING;
        let camera = look_at(eye, target, [0.0, 1.0, 0.0], 3.0 * f64::from(size), size, size);
        let image = render(&avatar.splats, &camera, &avatar.render_model.into(), BACKGROUND);
        for y in 0..SIZE {
            for x in 0..SIZE {
                for channel in 0..3 {
                    let mut sum = 0.0;
                    for sub in 0..SUPERSAMPLING * SUPERSAMPLING {
                        let row = y * SUPERSAMPLING + sub / SUPERSAMPLING;
                        let column = x * SUPERSAMPLING + sub % SUPERSAMPLING;
                        sum += image.rgb[((row * size + column) * 3 + channel) as usize].clamp(0.0, 1.0);
                    }
                    let value = sum / (SUPERSAMPLING * SUPERSAMPLING) as f32;
                    let at = (y * width + index as u32 * SIZE + x) * 3 + channel;
                    picture[at as usize] = (value * 255.0 + 0.5) as u8;
                }
            }
        }
    }
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(&path)?), width, SIZE);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.write_header()?.write_image_data(&picture)?;
    println!("{path}: {} splats, {} × {SIZE} pixels", avatar.splats.len(), width);
    Ok(())
}
