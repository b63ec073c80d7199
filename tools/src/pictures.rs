//! Pictures and the files they go to: stills (PNG, WebP, EXR, NPY), moving pictures (GIF, MP4), sheets of many.

pub(crate) mod gif;
mod mp4;
pub(crate) mod sheet;
pub(crate) mod still;
pub(crate) mod video;

use std::borrow::Cow;

use gav_formats::ColorSpace;
use gav_kernels::raster::Image;
pub(crate) use gav_models::picture::{linear_from_srgb, srgb_from_linear};

/// A rendered picture, and what its numbers mean.
pub(crate) struct Picture {
    /// Colours over the background; over black, that is multiplied by the coverage, when `transparent`.
    pub image: Image,
    /// Is the background left open?
    pub transparent: bool,
    /// How the colours are encoded: as those of the splats.
    pub space: ColorSpace,
    /// 8-bit RGB, when that is all there is: `image` has its size alone then.
    pub rgb8: Option<Vec<u8>>,
}

impl Picture {
    /// Display colour (sRGB-encoded, not clamped) and coverage of a pixel, colours not multiplied by it.
    fn display(&self, pixel: usize) -> [f32; 4] {
        let coverage = if self.transparent { self.image.alpha[pixel] } else { 1.0 };
        let color: [f32; 3] = std::array::from_fn(|c| {
            let value = self.image.rgb[pixel * 3 + c];
            let straight = if coverage > 0.0 { value / coverage } else { 0.0 };
            match self.space {
                ColorSpace::SrgbRec709 => straight,
                ColorSpace::LinearRec709 => srgb_from_linear(straight),
            }
        });
        [color[0], color[1], color[2], coverage]
    }

    /// Linear colour multiplied by the coverage, and the coverage.
    fn linear(&self, pixel: usize) -> [f32; 4] {
        let [r, g, b, coverage] = self.display(pixel);
        let [r, g, b] = [r, g, b].map(|v| linear_from_srgb(v) * coverage);
        [r, g, b, coverage]
    }

    /// 8-bit RGBA as displayed, colours not multiplied by alpha, row-major.
    pub(crate) fn rgba8(&self) -> Vec<u8> {
        (0..self.image.alpha.len()).flat_map(|pixel| self.display(pixel).map(eight_bits)).collect()
    }

    /// 8-bit RGB as displayed, row-major; an open background is white.
    pub(crate) fn rgb8(&self) -> Cow<'_, [u8]> {
        if let Some(rgb8) = &self.rgb8 {
            return Cow::Borrowed(rgb8);
        }
        let over_white = |pixel| {
            let [r, g, b, coverage] = self.display(pixel);
            [r, g, b].map(|v| eight_bits(v * coverage + 1.0 - coverage))
        };
        Cow::Owned((0..self.image.alpha.len()).flat_map(over_white).collect())
    }
}

/// Width, height and 8-bit RGB.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pixels {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<u8>,
}

fn eight_bits(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_backgrounds_give_straight_colours() {
        // a red splat that covers a quarter, over nothing
        let image = Image {
            width: 2,
            height: 1,
            rgb: vec![0.25, 0.0, 0.0, 0.0, 0.0, 0.0],
            alpha: vec![0.25, 0.0],
            ..Image::default()
        };
        let picture = Picture { image, transparent: true, space: ColorSpace::SrgbRec709, rgb8: None };
        assert_eq!(picture.rgba8(), [255, 0, 0, 64, 0, 0, 0, 0]);
        assert_eq!(*picture.rgb8(), [255, 191, 191, 255, 255, 255]);
        assert_eq!(picture.linear(0), [0.25, 0.0, 0.0, 0.25]);
    }
}
