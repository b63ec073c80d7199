//! Lossless WebP images as tables of RGBA texels.

use std::io::Cursor;

use super::FORMAT;
use crate::{Error, Limits, Result};

/// Largest width and height of WebP.
pub(super) const MAX_SIDE: u32 = 16_383;

/// A table of RGBA texels, row by row.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub width: u32,
    pub height: u32,
    pub rgba: Vec<[u8; 4]>,
}

impl Image {
    /// The smallest table of the shape that other writers use (sides divisible by 4) with room for `count` texels.
    pub fn for_count(count: usize) -> Result<Self> {
        let side = (count as f64).sqrt();
        let width = 4 * ((side / 4.0).ceil() as u32).max(1);
        let height = 4 * (count.div_ceil(width as usize).div_ceil(4) as u32).max(1);
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(Error::usage(format!("{count} splats do not fit an image of {MAX_SIDE} × {MAX_SIDE} texels")));
        }
        Ok(Self::filled(width, height))
    }

    /// Black opaque texels.
    pub fn filled(width: u32, height: u32) -> Self {
        Self { width, height, rgba: vec![[0, 0, 0, 255]; width as usize * height as usize] }
    }

    /// Decodes the image called `name`, which must hold at least `count` texels and not absurdly more.
    pub fn decode(name: &str, bytes: &[u8], count: usize, limits: &Limits) -> Result<Self> {
        let fail = |code, message: String| Error::format(FORMAT, code, 0, format!("{name}: {message}"));
        let broken = |error: image_webp::DecodingError| match error {
            image_webp::DecodingError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                fail("TRUNCATED", format!("ends after {} bytes", bytes.len()))
            }
            error => fail("CORRUPT", error.to_string()),
        };
        let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(broken)?;
        if decoder.is_lossy() || decoder.is_animated() {
            return Err(fail(
                "UNSUPPORTED",
                "lossy or animated WebP: its values are not those that were stored".into(),
            ));
        }
        let (width, height) = decoder.dimensions();
        let texels = u64::from(width) * u64::from(height);
        let few = count as u64;
        if texels < few {
            return Err(fail("VALUE", format!("{width} × {height} texels for {count} entries")));
        }
        // a few bytes can claim an image of a gigabyte: allow the slack of any sane writer and no more
        if texels > few.saturating_mul(16).saturating_add(1 << 20) {
            return Err(fail("VALUE", format!("{width} × {height} texels are far too many for {count} entries")));
        }
        limits.check_bytes(texels.saturating_mul(8))?;
        let size = decoder.output_buffer_size().ok_or_else(|| fail("VALUE", format!("{width} × {height} texels")))?;
        let mut buffer = vec![0; size];
        decoder.read_image(&mut buffer).map_err(broken)?;
        let rgba = if decoder.has_alpha() {
            buffer.chunks_exact(4).map(|p| [p[0], p[1], p[2], p[3]]).collect()
        } else {
            buffer.chunks_exact(3).map(|p| [p[0], p[1], p[2], 255]).collect()
        };
        Ok(Self { width, height, rgba })
    }

    /// Encodes without any loss, including the colour of transparent texels.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let refused = |what: &str| Error::usage(format!("WebP encoder: {what}"));
        let mut config = webp::WebPConfig::new().map_err(|()| refused("version mismatch"))?;
        config.lossless = 1;
        config.exact = 1;
        config.method = 4;
        config.quality = 75.0;
        let encoder = webp::Encoder::from_rgba(self.rgba.as_flattened(), self.width, self.height);
        let bytes = encoder.encode_advanced(&config).map_err(|error| refused(&format!("{error:?}")))?;
        Ok(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transparent_texels_keep_their_colour() {
        let mut image = Image::for_count(50).unwrap();
        assert_eq!((image.width, image.height), (8, 8));
        for (i, texel) in image.rgba.iter_mut().enumerate() {
            *texel = [i as u8, 255 - i as u8, (i * 7) as u8, if i % 3 == 0 { 0 } else { 200 }];
        }
        let bytes = image.encode().unwrap();
        let back = Image::decode("x", &bytes, 50, &Limits::default()).unwrap();
        assert_eq!(back.rgba, image.rgba);
        assert_eq!(Image::decode("x", &bytes, 65, &Limits::default()).unwrap_err().code(), "VALUE");
        for length in 0..bytes.len() {
            // the padding byte of an odd chunk is not needed
            assert!(Image::decode("x", &bytes[..length], 50, &Limits::default()).is_err() || length + 1 == bytes.len());
        }
    }

    #[test]
    fn lossy_and_oversized_images_are_refused() {
        let image = Image::filled(64, 64);
        let lossy = webp::Encoder::from_rgba(image.rgba.as_flattened(), 64, 64).encode(50.0).to_vec();
        assert_eq!(Image::decode("x", &lossy, 1, &Limits::default()).unwrap_err().code(), "UNSUPPORTED");
        let huge = Image::filled(2048, 1024).encode().unwrap();
        assert!(huge.len() < 1000);
        assert_eq!(Image::decode("x", &huge, 9, &Limits::default()).unwrap_err().code(), "VALUE");
        let limits = Limits { decoded_bytes: 1000, ..Limits::default() };
        assert_eq!(Image::decode("x", &huge, 1 << 21, &limits).unwrap_err().code(), "LIMIT");
    }
}
