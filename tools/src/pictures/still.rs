//! Files of single pictures.

use std::io::Cursor;

use exr::{
    image::{AnyChannel, AnyChannels, Encoding, FlatSamples, Image as ExrImage, Layer, write::WritableImage},
    math::Vec2,
    meta::{attribute::Chromaticities, header::LayerAttributes},
};
use gav_formats::npy::{NpyArray, NpyType, write_npy};

use super::Picture;

/// What can be stored of a picture besides its colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub(crate) struct Extras {
    /// Coverage.
    pub alpha: bool,
    /// Depth along the view axis.
    pub depth: bool,
}

/// PNG: 8-bit sRGB; with alpha that colours are not multiplied by, when the background is open.
pub(crate) fn png(picture: &Picture) -> Result<Vec<u8>, String> {
    let (color, data) = match picture.transparent {
        true => (png::ColorType::Rgba, picture.rgba8().into()),
        false => (png::ColorType::Rgb, picture.rgb8()),
    };
    write_png(picture.image.width, picture.image.height, color, png::BitDepth::Eight, &data)
}

/// PNG of 8-bit sRGB pixels.
pub(crate) fn rgb_png(width: u32, height: u32, rgb: &[u8]) -> Result<Vec<u8>, String> {
    write_png(width, height, png::ColorType::Rgb, png::BitDepth::Eight, rgb)
}

/// PNG of 8-bit grey pixels.
pub(crate) fn gray_png(width: u32, height: u32, gray: &[u8]) -> Result<Vec<u8>, String> {
    write_png(width, height, png::ColorType::Grayscale, png::BitDepth::Eight, gray)
}

/// PNG of the coverage: 16-bit grey, 65535 is opaque.
pub(crate) fn alpha_png(picture: &Picture) -> Result<Vec<u8>, String> {
    let samples = picture.image.alpha.iter().map(|a| (a.clamp(0.0, 1.0) * 65535.0 + 0.5) as u16);
    let data: Vec<u8> = samples.flat_map(u16::to_be_bytes).collect();
    write_png(picture.image.width, picture.image.height, png::ColorType::Grayscale, png::BitDepth::Sixteen, &data)
}

fn write_png(
    width: u32,
    height: u32,
    color: png::ColorType,
    depth: png::BitDepth,
    data: &[u8],
) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    // a head of 512 x 512: 0.7 ms and 99.7 kB, 20.8 ms and 94.1 kB by default
    encoder.set_compression(png::Compression::Fast);
    if color != png::ColorType::Grayscale {
        encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
    }
    let mut writer = encoder.write_header().map_err(|e| e.to_string())?;
    writer.write_image_data(data).map_err(|e| e.to_string())?;
    writer.finish().map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// Lossless WebP of what `png` stores.
pub(crate) fn webp(picture: &Picture) -> Result<Vec<u8>, String> {
    let mut config = webp::WebPConfig::new().map_err(|()| "the WebP encoder is of another version".to_owned())?;
    config.lossless = 1;
    config.exact = 1;
    let (width, height) = (picture.image.width, picture.image.height);
    let data = if picture.transparent { picture.rgba8().into() } else { picture.rgb8() };
    let encoder = match picture.transparent {
        true => webp::Encoder::from_rgba(&data, width, height),
        false => webp::Encoder::from_rgb(&data, width, height),
    };
    let bytes = encoder.encode_advanced(&config).map_err(|e| format!("WebP: {e:?}"))?;
    Ok(bytes.to_vec())
}

/// OpenEXR: linear Rec. 709 in 32-bit floats, R G B, with A when the background is open or asked for, with Z for the depth.
///
/// Colours are multiplied by A only when the background is open, as the format has it. Not clamped above 1.
pub(crate) fn exr(picture: &Picture, extras: Extras) -> Result<Vec<u8>, String> {
    let pixels = picture.image.alpha.len();
    let linear: Vec<[f32; 4]> = (0..pixels).map(|pixel| picture.linear(pixel)).collect();
    let channel = |name: &str, samples: Vec<f32>| AnyChannel::new(name, FlatSamples::F32(samples));
    let mut channels: Vec<_> = ["R", "G", "B"]
        .iter()
        .enumerate()
        .map(|(c, name)| channel(name, linear.iter().map(|p| p[c]).collect()))
        .collect();
    if picture.transparent || extras.alpha {
        channels.push(channel("A", picture.image.alpha.clone()));
    }
    if extras.depth {
        channels.push(channel("Z", picture.image.expected_depth()));
    }
    let size = Vec2(picture.image.width as usize, picture.image.height as usize);
    let channels = AnyChannels::sort(channels.into_iter().collect());
    let layer = Layer::new(size, LayerAttributes::default(), Encoding::SMALL_LOSSLESS, channels);
    let mut image = ExrImage::from_layer(layer);
    image.attributes.chromaticities = Some(Chromaticities {
        red: Vec2(0.64, 0.33),
        green: Vec2(0.30, 0.60),
        blue: Vec2(0.15, 0.06),
        white: Vec2(0.3127, 0.3290),
    });
    let mut bytes = Cursor::new(Vec::new());
    image.write().to_buffered(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes.into_inner())
}

/// NPY of the colours as they were blended, f32, not clamped: height × width × 3; over an open background × 4, with the
/// coverage, and colours multiplied by it.
pub(crate) fn color_npy(picture: &Picture) -> Vec<u8> {
    let image = &picture.image;
    if !picture.transparent {
        return npy(&[image.height, image.width, 3], &image.rgb);
    }
    let rgba: Vec<f32> =
        image.rgb.chunks_exact(3).zip(&image.alpha).flat_map(|(c, a)| [c[0], c[1], c[2], *a]).collect();
    npy(&[image.height, image.width, 4], &rgba)
}

/// NPY of the coverage, f32, height × width.
pub(crate) fn alpha_npy(picture: &Picture) -> Vec<u8> {
    npy(&[picture.image.height, picture.image.width], &picture.image.alpha)
}

/// NPY of the mean depth along the view axis, f32, height × width, in units of the avatar; 0 where nothing is.
pub(crate) fn depth_npy(picture: &Picture) -> Vec<u8> {
    npy(&[picture.image.height, picture.image.width], &picture.image.expected_depth())
}

fn npy(shape: &[u32], values: &[f32]) -> Vec<u8> {
    let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    write_npy(&NpyArray { dtype: NpyType::F32, shape: shape.iter().map(|s| *s as usize).collect(), data })
}
