//! Animated GIF: one palette for all pictures, chosen in Oklab, error diffusion against bands.

use gif::{DisposalMethod, Encoder, Frame, Repeat};
use quantette::{ImageRef, PaletteBuf, PaletteSize, Pipeline, deps::palette::Srgb, dither::FloydSteinberg};
use rayon::prelude::*;

/// Pixels from which the palette is chosen; more do not change it visibly.
const SAMPLES: usize = 1 << 20;
/// Index of the open background; the palette then has one colour less.
const OPEN: u8 = 255;
/// Pixels with less coverage than this are open: GIF knows no partial coverage.
const OPEN_BELOW: u8 = 128;
/// Pictures a second that browsers still show at their speed: they stretch delays below two hundredths.
pub(crate) const MAX_RATE: f64 = 50.0;
/// Bytes that all pictures of one animation may take before they are compressed.
pub(crate) const MAX_BYTES: u64 = 4 << 30;

/// Encodes pictures of 8-bit straight RGBA, `rate` a second, repeated for ever.
pub(crate) fn encode(
    [width, height]: [u32; 2],
    frames: &[Vec<u8>],
    transparent: bool,
    rate: f64,
) -> Result<Vec<u8>, String> {
    let side = |value: u32| u16::try_from(value).map_err(|_| format!("GIF: {width} × {height} pixels, 65535 at most"));
    let (short_width, short_height) = (side(width)?, side(height)?);
    let colors = palette(frames, transparent)?;
    let table: Vec<u8> = colors.iter().flat_map(|c| [c.red, c.green, c.blue]).collect();
    let indexed: Vec<Result<Frame<'static>, String>> = frames
        .par_iter()
        .map(|rgba| {
            let pixels: Vec<Srgb<u8>> = rgba.chunks_exact(4).map(|p| Srgb::new(p[0], p[1], p[2])).collect();
            let image = ImageRef::new(width, height, &pixels).map_err(|e| format!("GIF: {e}"))?;
            let custom = PaletteBuf::try_from(colors.clone()).map_err(|e| format!("GIF: {e}"))?;
            let pipeline = Pipeline::new().quantize_method(custom).ditherer(FloydSteinberg::new());
            let (own, mut indices) = pipeline.input_image(image).output_srgb8_indexed_image().into_parts();
            if transparent {
                let open = rgba.chunks_exact(4).map(|p| p[3] < OPEN_BELOW);
                indices.iter_mut().zip(open).filter(|(_, open)| *open).for_each(|(index, _)| *index = OPEN);
            }
            let mut frame = Frame::from_indexed_pixels(short_width, short_height, indices, transparent.then_some(OPEN));
            if own != colors {
                frame.palette = Some(own.iter().flat_map(|c| [c.red, c.green, c.blue]).collect());
            }
            frame.dispose = if transparent { DisposalMethod::Background } else { DisposalMethod::Keep };
            Ok(frame)
        })
        .collect();
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, short_width, short_height, &table).map_err(|e| e.to_string())?;
    encoder.set_repeat(Repeat::Infinite).map_err(|e| e.to_string())?;
    // delays are hundredths of a second: rounding the times, not the delays, keeps the pace
    let hundredths = |index: usize| (index as f64 * 100.0 / rate).round();
    for (index, frame) in indexed.into_iter().enumerate() {
        let mut frame = frame?;
        frame.delay = (hundredths(index + 1) - hundredths(index)).min(f64::from(u16::MAX)) as u16;
        encoder.write_frame(&frame).map_err(|e| e.to_string())?;
    }
    drop(encoder);
    Ok(bytes)
}

/// At most 256 colours of all pictures.
fn palette(frames: &[Vec<u8>], transparent: bool) -> Result<Vec<Srgb<u8>>, String> {
    let pixels: usize = frames.iter().map(|f| f.len() / 4).sum();
    // an odd stride does not fall into step with the columns
    let stride = (pixels / SAMPLES) | 1;
    let seen = frames.iter().flat_map(|f| f.chunks_exact(4)).step_by(stride);
    let seen: Vec<Srgb<u8>> =
        seen.filter(|p| !transparent || p[3] >= OPEN_BELOW).map(|p| Srgb::new(p[0], p[1], p[2])).collect();
    if seen.is_empty() {
        return Ok(vec![Srgb::new(0, 0, 0)]);
    }
    let size = PaletteSize::from_u16_clamped(if transparent { 255 } else { 256 });
    let pipeline = Pipeline::new().palette_size(size).ditherer(None);
    Ok(pipeline.input_slice(&seen).map_err(|e| format!("GIF: {e}"))?.output_srgb8_palette().into_vec())
}
