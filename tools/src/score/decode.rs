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

use crate::{failure::Failure, pictures::srgb_from_linear};

/// Endings of the files that are looked for in folders and archives.
pub(crate) const ENDINGS: [&str; 6] = ["png", "webp", "jpg", "jpeg", "exr", "npy"];

/// Largest side of a picture.
const MAX_SIDE: usize = 1 << 15;

/// A decoded picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decoded {
    pub width: usize,
    pub height: usize,
    /// height × width × 3.
    pub rgb: Vec<f32>,
    /// height × width, when the file has it.
    pub alpha: Option<Vec<f32>>,
}

/// Colours over a background, in 0…1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Picture {
    pub width: usize,
    pub height: usize,
    /// height × width × 3.
    pub rgb: Vec<f32>,
}

impl Decoded {
    /// The picture over `background`; values outside of 0…1 are cut there.
    pub(crate) fn over(mut self, background: [f32; 3]) -> Picture {
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
    pub(crate) fn into_mask(self) -> Vec<f32> {
        let weights = self.alpha.unwrap_or_else(|| self.rgb.iter().step_by(3).copied().collect());
        weights.into_iter().map(|w| w.clamp(0.0, 1.0)).collect()
    }

    /// Interleaved samples of 1 (grey), 2 (grey, alpha), 3 or 4 channels.
    fn interleaved(width: usize, height: usize, channels: usize, samples: impl Iterator<Item = f32>) -> Self {
        let samples: Vec<f32> = samples.collect();
        let color = |p: &[f32]| if channels < 3 { [p[0]; 3] } else { [p[0], p[1], p[2]] };
        let rgb = samples.chunks_exact(channels).flat_map(color).collect();
        let has_alpha = channels.is_multiple_of(2);
        let alpha = has_alpha.then(|| samples.iter().skip(channels - 1).step_by(channels).copied().collect());
        Self { width, height, rgb, alpha }
    }

    /// Divides the colours by alpha; nothing shows where that is 0.
    fn straighten(&mut self) {
        if let Some(alpha) = &self.alpha {
            for (color, &a) in self.rgb.chunks_exact_mut(3).zip(alpha) {
                color.iter_mut().for_each(|v| *v = if a > 0.0 { *v / a } else { 0.0 });
            }
        }
    }
}

/// Decodes the picture called `name`.
///
/// # Errors
/// Unknown and damaged files, pictures beyond the limits, values that are not finite; the message names the file.
pub(crate) fn decode(name: &Path, bytes: &[u8], limits: &Limits) -> Result<Decoded, Failure> {
    let decoder = match bytes {
        [0x89, b'P', b'N', b'G', ..] => png,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp,
        [0xFF, 0xD8, 0xFF, ..] => jpeg,
        [0x76, 0x2F, 0x31, 0x01, ..] => open_exr,
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => npy,
        [] => return Err(failure(name, "TRUNCATED", "the file is empty", None)),
        _ => {
            let hint = "PNG, WebP, JPEG, OpenEXR and NPY are read";
            return Err(failure(name, "UNKNOWN_FORMAT", "not a picture of a known format", Some(hint)));
        }
    };
    let picture = decoder(bytes, limits).map_err(|error| Failure::at(name, &error))?;
    check_finite(name, &picture)?;
    Ok(picture)
}

fn failure(name: &Path, code: &'static str, message: &str, hint: Option<&str>) -> Failure {
    Failure { code, message: format!("{}: {message}", name.display()), hint: hint.map(str::to_owned) }
}

/// Refuses values that are not finite: they would make every measure undefined.
fn check_finite(name: &Path, picture: &Decoded) -> Result<(), Failure> {
    let bad = |values: &[f32]| values.iter().filter(|v| !v.is_finite()).count();
    let count = bad(&picture.rgb) + picture.alpha.as_deref().map_or(0, bad);
    if count == 0 {
        return Ok(());
    }
    let first = picture.rgb.iter().position(|v| !v.is_finite()).unwrap_or(0) / 3;
    let (x, y) = (first % picture.width, first / picture.width);
    let message = format!("{count} values are not finite, the first at column {x}, row {y}");
    Err(failure(name, "NOT_FINITE", &message, Some("the program that rendered it divided by zero or overflowed")))
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

fn png(bytes: &[u8], limits: &Limits) -> Result<Decoded, Error> {
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
    let data = &data[..frame.buffer_size()];
    Ok(match frame.bit_depth {
        png::BitDepth::Sixteen => {
            let samples = data.chunks_exact(2).map(|b| f32::from(u16::from_be_bytes([b[0], b[1]])) / 65535.0);
            Decoded::interleaved(width, height, channels, samples)
        }
        _ => Decoded::interleaved(width, height, channels, data.iter().map(|b| f32::from(*b) / 255.0)),
    })
}

fn webp(bytes: &[u8], limits: &Limits) -> Result<Decoded, Error> {
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(|e| corrupt("webp", e))?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    check_size("webp", width, height, limits)?;
    let size = decoder.output_buffer_size().ok_or_else(|| corrupt("webp", format!("{width} × {height} pixels")))?;
    let mut data = vec![0; size];
    decoder.read_image(&mut data).map_err(|e| corrupt("webp", e))?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    Ok(Decoded::interleaved(width, height, channels, data.iter().map(|b| f32::from(*b) / 255.0)))
}

fn jpeg(bytes: &[u8], limits: &Limits) -> Result<Decoded, Error> {
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
    Ok(Decoded::interleaved(width, height, 3, data.iter().map(|b| f32::from(*b) / 255.0)))
}

fn open_exr(bytes: &[u8], limits: &Limits) -> Result<Decoded, Error> {
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
    let mut picture = Decoded::interleaved(size.width(), size.height(), 4, pixels.into_iter().flatten());
    if alpha {
        picture.straighten();
    } else {
        picture.alpha = None;
    }
    picture.rgb.iter_mut().for_each(|v| *v = srgb_from_linear(*v));
    Ok(picture)
}

fn npy(bytes: &[u8], limits: &Limits) -> Result<Decoded, Error> {
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
    let samples = array.to_f32().into_iter().map(|v| v / scale);
    let mut picture = Decoded::interleaved(width, height, channels, samples);
    picture.straighten();
    Ok(picture)
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
    fn float_pictures_keep_their_range_until_they_are_compared() {
        let npy = |shape: &[usize], values: &[f32]| write_npy(&NpyArray::from_f32(shape.to_vec(), values));
        let limits = Limits::default();
        // multiplied by alpha, as `gav render` writes it
        let picture = decode(name(), &npy(&[1, 2, 4], &[0.5, 0.25, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0]), &limits).unwrap();
        assert_eq!(picture.rgb, [1.0, 0.5, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(picture.over([1.0; 3]).rgb, [1.0, 0.75, 0.5, 1.0, 1.0, 1.0]);
        let bright = decode(name(), &npy(&[1, 1, 3], &[1.5, -0.5, 0.5]), &limits).unwrap();
        assert_eq!(bright.over([0.0; 3]).rgb, [1.0, 0.0, 0.5]);
        let failure = decode(name(), &npy(&[2, 2, 1], &[0.0, 0.0, f32::NAN, 0.0]), &limits).unwrap_err();
        assert_eq!(failure.code, "NOT_FINITE");
        assert!(failure.message.contains("a/b.xyz") && failure.message.contains("column 0, row 1"), "{failure}");
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
            let failure = decode(name(), &whole[..length], &Limits::default()).unwrap_err();
            assert!(failure.message.starts_with("a/b.xyz: "), "{length}: {}", failure.message);
        }
        let limits = Limits { decoded_bytes: 1000, ..Limits::default() };
        assert_eq!(decode(name(), &whole, &limits).unwrap_err().code, "LIMIT");
        assert_eq!(decode(name(), b"GIF89a", &limits).unwrap_err().code, "UNKNOWN_FORMAT");
        for start in [&b"\xFF\xD8\xFF\xE0 no photo"[..], b"RIFF\0\0\0\0WEBPxxxx", b"\x76\x2f\x31\x01xxxx"] {
            assert!(decode(name(), start, &Limits::default()).is_err());
        }
    }
}
