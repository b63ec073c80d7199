//! Reads pictures: PNG, WebP, JPEG, OpenEXR, NPY; decided by the bytes, not by the name.
//!
//! What comes out is display-encoded (sRGB), 1 for the brightest 8-bit value, alpha not multiplied in. OpenEXR is taken as
//! linear Rec. 709 with colours multiplied by A, NPY as display colours, height × width × 1, 3 or 4, the latter multiplied by
//! alpha: what `gav render` writes.

use std::{io::Cursor, path::Path};

use exr::prelude::{ReadChannels, ReadLayers};
use gav_formats::{
    Error, Limits,
    npy::{NpyType, read_npy},
};
use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

/// Endings of the files that are looked for in folders and archives.
pub const ENDINGS: [&str; 6] = ["png", "webp", "jpg", "jpeg", "exr", "npy"];

/// Largest side of a picture.
const MAX_SIDE: usize = 1 << 15;

/// A decoded picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// height × width × 3.
    pub rgb: Vec<f32>,
    /// height × width, when the file has it.
    pub alpha: Option<Vec<f32>>,
}

/// Colours over a background, in 0…1.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// height × width × 3.
    pub rgb: Vec<f32>,
}

impl Decoded {
    /// The picture over `background`; values outside of 0…1 are cut there.
    pub fn over(mut self, background: [f32; 3]) -> Picture {
        if let Some(alpha) = &self.alpha {
            for (color, a) in self.rgb.chunks_exact_mut(3).zip(alpha) {
                for c in 0..3 {
                    color[c] = color[c] * a + background[c] * (1.0 - a);
                }
            }
        }
        self.rgb.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
        Picture { width: self.width, height: self.height, rgb: self.rgb }
    }

    /// The weights that it stands for as a mask: its alpha, or else its red.
    pub fn into_mask(self) -> Vec<f32> {
        let weights = self.alpha.unwrap_or_else(|| self.rgb.iter().step_by(3).copied().collect());
        weights.into_iter().map(|w| w.clamp(0.0, 1.0)).collect()
    }
}

/// 8-bit colours of a picture, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb8 {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// height × width × 3.
    pub rgb: Vec<u8>,
    /// Foreground, height × width, 255 for all of it; when there is one.
    pub mask: Option<Vec<u8>>,
}

/// A picture as its file has it: interleaved samples of 1 (grey), 2 (grey, alpha), 3 or 4 channels, alpha not multiplied in.
struct Raw {
    width: usize,
    height: usize,
    channels: usize,
    samples: Samples,
}

enum Samples {
    Bytes(Vec<u8>),
    Floats(Vec<f32>),
}

impl Raw {
    fn into_floats(self) -> Decoded {
        let Self { width, height, channels, samples } = self;
        let samples: Vec<f32> = match samples {
            Samples::Bytes(bytes) => bytes.into_iter().map(|b| f32::from(b) / 255.0).collect(),
            Samples::Floats(floats) => floats,
        };
        let color = |p: &[f32]| if channels < 3 { [p[0]; 3] } else { [p[0], p[1], p[2]] };
        let rgb = samples.chunks_exact(channels).flat_map(color).collect();
        let has_alpha = channels.is_multiple_of(2);
        let alpha = has_alpha.then(|| samples.iter().skip(channels - 1).step_by(channels).copied().collect());
        Decoded { width, height, rgb, alpha }
    }

    /// The samples in 8 bits, floats rounded to the nearest.
    fn into_bytes(self) -> Vec<u8> {
        match self.samples {
            Samples::Bytes(bytes) => bytes,
            Samples::Floats(floats) => floats.into_iter().map(|v| (v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8).collect(),
        }
    }

    /// Divides the colours by alpha, the last of 2 or 4 channels; nothing shows where that is 0.
    fn straighten(&mut self) {
        let (channels, Samples::Floats(samples)) = (self.channels, &mut self.samples) else { return };
        if channels.is_multiple_of(2) {
            for pixel in samples.chunks_exact_mut(channels) {
                let a = pixel[channels - 1];
                pixel[..channels - 1].iter_mut().for_each(|v| *v = if a > 0.0 { *v / a } else { 0.0 });
            }
        }
    }
}

/// Decodes the picture called `name`.
///
/// # Errors
/// [`crate::Error::Picture`] for unknown and damaged files, pictures beyond the limits, values that are not finite.
pub fn decode(name: &Path, bytes: &[u8], limits: &Limits) -> crate::Result<Decoded> {
    Ok(raw(name, bytes, limits)?.into_floats())
}

/// Decodes the picture called `name` to bytes over `background`, without a mask: trunc(255 (c a + b (1 − a))) in f64, as the loader of
/// GaussianAvatars does it. Opaque pixels keep their bytes; floats and 16 bits are rounded to 8 first.
///
/// # Errors
/// As [`decode`].
pub fn decode_rgb8(name: &Path, bytes: &[u8], background: [f32; 3], limits: &Limits) -> crate::Result<Rgb8> {
    let raw = raw(name, bytes, limits)?;
    let (width, height, channels) = (raw.width, raw.height, raw.channels);
    let samples = raw.into_bytes();
    let behind = background.map(f64::from);
    let over = |p: &[u8]| -> [u8; 3] {
        let color = if channels == 2 { [p[0]; 3] } else { [p[0], p[1], p[2]] };
        // the quotients would round
        if p[channels - 1] == 255 {
            return color;
        }
        let a = f64::from(p[channels - 1]) / 255.0;
        std::array::from_fn(|c| (255.0 * (f64::from(color[c]) / 255.0 * a + behind[c] * (1.0 - a))) as u8)
    };
    let rgb = match channels {
        1 => samples.into_iter().flat_map(|v| [v; 3]).collect(),
        3 => samples,
        _ => samples.chunks_exact(channels).flat_map(over).collect(),
    };
    Ok(Rgb8 { width, height, rgb, mask: None })
}

/// Decodes the picture called `name` to bytes, with its alpha as mask where it has one, which the colours are not multiplied by; floats and
/// 16 bits are rounded to 8.
///
/// # Errors
/// As [`decode`].
pub fn decode_straight8(name: &Path, bytes: &[u8], limits: &Limits) -> crate::Result<Rgb8> {
    let raw = raw(name, bytes, limits)?;
    let (width, height, channels) = (raw.width, raw.height, raw.channels);
    let samples = raw.into_bytes();
    let alpha = || samples.iter().skip(channels - 1).step_by(channels).copied().collect();
    let mask = channels.is_multiple_of(2).then(alpha);
    let color = |p: &[u8]| if channels < 3 { [p[0]; 3] } else { [p[0], p[1], p[2]] };
    let rgb = samples.chunks_exact(channels).flat_map(color).collect();
    Ok(Rgb8 { width, height, rgb, mask })
}

/// Decodes the mask called `name`: width, height, and its alpha, or else its red.
///
/// # Errors
/// As [`decode`].
pub fn decode_mask8(name: &Path, bytes: &[u8], limits: &Limits) -> crate::Result<(usize, usize, Vec<u8>)> {
    let raw = raw(name, bytes, limits)?;
    let (width, height, channels) = (raw.width, raw.height, raw.channels);
    let at = if channels.is_multiple_of(2) { channels - 1 } else { 0 };
    Ok((width, height, raw.into_bytes().into_iter().skip(at).step_by(channels).collect()))
}

fn raw(name: &Path, bytes: &[u8], limits: &Limits) -> crate::Result<Raw> {
    let refused = |code, message: &str| Err(Error::format("picture", code, 0, message));
    let attempt = || -> Result<Raw, Error> {
        let raw = match bytes {
            [0x89, b'P', b'N', b'G', ..] => png(bytes, limits),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp(bytes, limits),
            [0xFF, 0xD8, 0xFF, ..] => jpeg(bytes, limits),
            [0x76, 0x2F, 0x31, 0x01, ..] => open_exr(bytes, limits),
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => npy(bytes, limits),
            [] => refused("TRUNCATED", "the file is empty"),
            _ => refused("UNKNOWN_FORMAT", "not a picture of a known format"),
        }?;
        check_finite(&raw)?;
        Ok(raw)
    };
    attempt().map_err(|source| crate::Error::Picture { path: name.to_owned(), source })
}

/// Refuses values that are not finite: they would make every measure undefined.
fn check_finite(raw: &Raw) -> Result<(), Error> {
    let Samples::Floats(samples) = &raw.samples else { return Ok(()) };
    let Some(first) = samples.iter().position(|v| !v.is_finite()) else { return Ok(()) };
    let count = samples.iter().filter(|v| !v.is_finite()).count();
    let (x, y) = (first / raw.channels % raw.width, first / raw.channels / raw.width);
    let message = format!("{count} values are not finite, the first at column {x}, row {y}");
    Err(Error::format("picture", "NOT_FINITE", 0, message))
}

/// The transfer function of sRGB (IEC 61966-2-1), continued above 1.
pub fn linear_from_srgb(value: f32) -> f32 {
    if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

/// The inverse of [`linear_from_srgb`].
pub fn srgb_from_linear(value: f32) -> f32 {
    if value <= 0.003_130_8 { value * 12.92 } else { 1.055 * value.powf(1.0 / 2.4) - 0.055 }
}

/// Checks the size before anything of that size is allocated: four f32 and the decoder's own copy per pixel.
fn check_size(format: &'static str, width: usize, height: usize, limits: &Limits) -> Result<(), Error> {
    if width == 0 || height == 0 {
        return Err(Error::format(format, "VALUE", 0, format!("{width} × {height} pixels")));
    }
    let side = width.max(height);
    if side > MAX_SIDE {
        return Err(Error::Limit { what: "pixels along a side", requested: side as u64, limit: MAX_SIDE as u64 });
    }
    limits.check_bytes((width * height) as u64 * 32).map(|_| ())
}

fn corrupt(format: &'static str, error: impl ToString) -> Error {
    let text = error.to_string();
    let cut_short =
        ["end of file", "eof", "fill whole buffer", "exhausted"].iter().any(|w| text.to_ascii_lowercase().contains(w));
    let code = if cut_short { "TRUNCATED" } else { "CORRUPT" };
    Error::format(format, code, 0, text.trim_end_matches('.').to_owned())
}

fn png(bytes: &[u8], limits: &Limits) -> Result<Raw, Error> {
    let broken = |e: png::DecodingError| corrupt("png", e);
    let budget = png::Limits { bytes: limits.decoded_bytes.min(usize::MAX as u64) as usize };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), budget);
    // palettes and low bit depths to 8 bits
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(broken)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    check_size("png", width, height, limits)?;
    let size = reader.output_buffer_size().ok_or_else(|| corrupt("png", format!("{width} × {height} pixels")))?;
    let mut data = vec![0; size];
    let frame = reader.next_frame(&mut data).map_err(broken)?;
    let channels = frame.color_type.samples();
    data.truncate(frame.buffer_size());
    let samples = match frame.bit_depth {
        png::BitDepth::Sixteen => Samples::Floats(
            data.chunks_exact(2).map(|b| f32::from(u16::from_be_bytes([b[0], b[1]])) / 65535.0).collect(),
        ),
        _ => Samples::Bytes(data),
    };
    Ok(Raw { width, height, channels, samples })
}

fn webp(bytes: &[u8], limits: &Limits) -> Result<Raw, Error> {
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(|e| corrupt("webp", e))?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    check_size("webp", width, height, limits)?;
    let size = decoder.output_buffer_size().ok_or_else(|| corrupt("webp", format!("{width} × {height} pixels")))?;
    let mut data = vec![0; size];
    decoder.read_image(&mut data).map_err(|e| corrupt("webp", e))?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    Ok(Raw { width, height, channels, samples: Samples::Bytes(data) })
}

fn jpeg(bytes: &[u8], limits: &Limits) -> Result<Raw, Error> {
    // strict: half a photo is no reference
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let broken = |e: zune_jpeg::errors::DecodeErrors| corrupt("jpeg", format!("{e:?}"));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(broken)?;
    let (width, height) = decoder.dimensions().ok_or_else(|| corrupt("jpeg", "no size"))?;
    check_size("jpeg", width, height, limits)?;
    let data = decoder.decode().map_err(broken)?;
    if data.len() != width * height * 3 {
        return Err(corrupt("jpeg", format!("{} bytes for {width} × {height} pixels", data.len())));
    }
    Ok(Raw { width, height, channels: 3, samples: Samples::Bytes(data) })
}

fn open_exr(bytes: &[u8], limits: &Limits) -> Result<Raw, Error> {
    let broken = |e: exr::error::Error| corrupt("exr", e);
    let meta = exr::meta::MetaData::read_from_buffered(Cursor::new(bytes), false).map_err(broken)?;
    for header in &meta.headers {
        check_size("exr", header.layer_size.width(), header.layer_size.height(), limits)?;
    }
    let has_alpha = |header: &exr::meta::header::Header| header.channels.list.iter().any(|c| c.name.eq("A"));
    let alpha = meta.headers.first().is_some_and(has_alpha);
    let image = exr::prelude::read()
        .no_deep_data()
        .largest_resolution_level()
        .rgba_channels(
            |size, _| (size.width(), vec![[0f32; 4]; size.width() * size.height()]),
            |(width, pixels), place, (r, g, b, a): (f32, f32, f32, f32)| {
                pixels[place.y() * *width + place.x()] = [r, g, b, a];
            },
        )
        .first_valid_layer()
        .all_attributes()
        .non_parallel()
        .from_buffered(Cursor::new(bytes))
        .map_err(broken)?;
    let size = image.layer_data.size;
    let (_, pixels) = image.layer_data.channel_data.pixels;
    let channels = if alpha { 4 } else { 3 };
    let samples = pixels.iter().flat_map(|p| &p[..channels]).copied().collect();
    let mut raw = Raw { width: size.width(), height: size.height(), channels, samples: Samples::Floats(samples) };
    raw.straighten();
    if let Samples::Floats(samples) = &mut raw.samples {
        for pixel in samples.chunks_exact_mut(channels) {
            pixel[..3].iter_mut().for_each(|v| *v = srgb_from_linear(*v));
        }
    }
    Ok(raw)
}

fn npy(bytes: &[u8], limits: &Limits) -> Result<Raw, Error> {
    let array = read_npy(bytes, limits)?;
    let (height, width, channels) = match array.shape[..] {
        [height, width] => (height, width, 1),
        [height, width, channels @ (1 | 3 | 4)] => (height, width, channels),
        _ => {
            let message = format!("an array of shape {:?} is no picture of height × width × 1, 3 or 4", array.shape);
            return Err(Error::format("npy", "VALUE", 0, message));
        }
    };
    check_size("npy", width, height, limits)?;
    let scale = match array.dtype {
        NpyType::U8 => 255.0,
        NpyType::U16 => 65535.0,
        NpyType::F16 | NpyType::F32 | NpyType::F64 => 1.0,
        other => return Err(Error::format("npy", "VALUE", 0, format!("elements of type {other:?} are no colours"))),
    };
    let samples = Samples::Floats(array.to_f32().into_iter().map(|v| v / scale).collect());
    let mut raw = Raw { width, height, channels, samples };
    raw.straighten();
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use gav_formats::npy::{NpyArray, write_npy};

    use super::*;

    fn name() -> &'static Path {
        Path::new("a/b.xyz")
    }

    fn encode_png(color: png::ColorType, depth: png::BitDepth, data: &[u8], width: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        bytes
    }

    #[test]
    fn png_of_every_kind_gives_the_same_numbers() {
        let limits = Limits::default();
        let get = |bytes: &[u8]| decode(name(), bytes, &limits).unwrap();
        let rgb = get(&encode_png(png::ColorType::Rgb, png::BitDepth::Eight, &[255, 51, 0, 0, 0, 255], 2));
        assert_eq!((rgb.width, rgb.height, rgb.alpha), (2, 1, None));
        assert_eq!(rgb.rgb, [1.0, 0.2, 0.0, 0.0, 0.0, 1.0]);
        let deep = get(&encode_png(png::ColorType::Rgb, png::BitDepth::Sixteen, &[255, 255, 51, 51, 0, 0], 1));
        assert_eq!(deep.rgb, [1.0, 0.2, 0.0]);
        let grey = get(&encode_png(png::ColorType::GrayscaleAlpha, png::BitDepth::Eight, &[51, 255], 1));
        assert_eq!((grey.rgb, grey.alpha), (vec![0.2; 3], Some(vec![1.0])));
        let open = get(&encode_png(png::ColorType::Rgba, png::BitDepth::Eight, &[255, 0, 0, 51], 1));
        let over = open.clone().over([0.0, 1.0, 1.0]).rgb;
        assert!((over[0] - 0.2).abs() < 1e-6 && (over[1] - 0.8).abs() < 1e-6, "{over:?}");
        assert_eq!(open.into_mask(), [0.2]);
    }

    #[test]
    fn bytes_over_a_background_are_those_of_gaussian_avatars() {
        let limits = Limits::default();
        let every: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, 7]).collect();
        let opaque = encode_png(png::ColorType::Rgb, png::BitDepth::Eight, &every, 256);
        let get = |bytes: &[u8], background| decode_rgb8(name(), bytes, background, &limits).unwrap();
        assert_eq!(get(&opaque, [1.0; 3]).rgb, every);
        let rgba: Vec<u8> = every.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
        let rgba = encode_png(png::ColorType::Rgba, png::BitDepth::Eight, &rgba, 256);
        assert_eq!(get(&rgba, [1.0; 3]).rgb, every);
        // 255 (100/255 · 51/255 + 1 − 51/255) = 224, 255 (0.2 · 7/255) = 1.4
        let open = encode_png(png::ColorType::Rgba, png::BitDepth::Eight, &[100, 7, 7, 51], 1);
        assert_eq!(get(&open, [1.0, 0.0, 0.0]).rgb, [224, 1, 1]);
        assert_eq!(decode_mask8(name(), &open, &limits).unwrap(), (1, 1, vec![51]));
        let grey = encode_png(png::ColorType::Grayscale, png::BitDepth::Eight, &[9, 200], 2);
        assert_eq!(get(&grey, [1.0; 3]).rgb, [9, 9, 9, 200, 200, 200]);
        assert_eq!(decode_mask8(name(), &grey, &limits).unwrap(), (2, 1, vec![9, 200]));
        let deep = encode_png(png::ColorType::Rgb, png::BitDepth::Sixteen, &[255, 255, 51, 51, 0, 0], 1);
        assert_eq!(get(&deep, [1.0; 3]).rgb, [255, 51, 0]);
    }

    #[test]
    fn transfer_functions_are_inverse() {
        for step in 0..=300 {
            let value = step as f32 / 200.0;
            assert!((srgb_from_linear(linear_from_srgb(value)) - value).abs() < 1e-5, "{value}");
        }
        assert!((linear_from_srgb(0.5) - 0.214_041).abs() < 1e-5);
    }

    #[test]
    fn float_pictures_keep_their_range_until_they_are_compared() {
        let npy = |shape: &[usize], values: &[f32]| write_npy(&NpyArray::from_f32(shape.to_vec(), values));
        let limits = Limits::default();
        // multiplied by alpha, as `gav render` writes it
        let picture = decode(name(), &npy(&[1, 2, 4], &[0.5, 0.25, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0]), &limits).unwrap();
        assert_eq!(picture.rgb, [1.0, 0.5, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(picture.over([1.0; 3]).rgb, [1.0, 0.75, 0.5, 1.0, 1.0, 1.0]);
        let bright = decode(name(), &npy(&[1, 1, 3], &[1.5, -0.5, 0.5]), &limits).unwrap();
        assert_eq!(bright.over([0.0; 3]).rgb, [1.0, 0.0, 0.5]);
        let error = decode(name(), &npy(&[2, 2, 1], &[0.0, 0.0, f32::NAN, 0.0]), &limits).unwrap_err();
        assert_eq!(error.code(), "NOT_FINITE");
        let text = error.to_string();
        assert!(text.contains("a/b.xyz") && text.contains("column 0, row 1"), "{text}");
        assert!(decode(name(), &npy(&[2, 2, 2], &[0.0; 8]), &limits).is_err());
    }

    #[test]
    fn exr_is_linear_and_its_colours_are_multiplied_by_alpha() {
        let mut bytes = Cursor::new(Vec::new());
        let image = exr::prelude::Image::from_channels(
            (2, 1),
            exr::prelude::SpecificChannels::rgba(|p: exr::prelude::Vec2<usize>| {
                if p.x() == 0 { (0.25f32, 0.0f32, 0.0f32, 0.5f32) } else { (0.0, 0.0, 0.0, 0.0) }
            }),
        );
        exr::prelude::WritableImage::write(&image).to_buffered(&mut bytes).unwrap();
        let picture = decode(name(), bytes.get_ref(), &Limits::default()).unwrap();
        assert!((picture.rgb[0] - 0.735_357).abs() < 1e-4, "{:?}", picture.rgb);
        assert_eq!(picture.alpha, Some(vec![0.5, 0.0]));
    }

    #[test]
    fn damaged_and_oversized_files_are_refused_by_name() {
        let whole = encode_png(png::ColorType::Rgb, png::BitDepth::Eight, &[7; 300], 100);
        for length in [0, 3, 20, whole.len() / 2, whole.len() - 14] {
            let text = decode(name(), &whole[..length], &Limits::default()).unwrap_err().to_string();
            assert!(text.starts_with("a/b.xyz: "), "{length}: {text}");
        }
        let limits = Limits { decoded_bytes: 1000, ..Limits::default() };
        assert_eq!(decode(name(), &whole, &limits).unwrap_err().code(), "LIMIT");
        assert_eq!(decode(name(), b"GIF89a", &limits).unwrap_err().code(), "UNKNOWN_FORMAT");
        for start in [&b"\xFF\xD8\xFF\xE0 no photo"[..], b"RIFF\0\0\0\0WEBPxxxx", b"\x76\x2f\x31\x01xxxx"] {
            assert!(decode(name(), start, &Limits::default()).is_err());
        }
    }
}
