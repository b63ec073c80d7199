//! A borrowed picture.

use gav_formats::{Error, Result};

use crate::raster::Image;

/// A picture of `height` rows of `width` pixels of `channels` values each, row-major, channels interleaved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageView<'a> {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Values of a pixel.
    pub channels: usize,
    /// height × width × channels values; 1 is the brightest value of an 8-bit picture.
    pub data: &'a [f32],
}

impl<'a> ImageView<'a> {
    /// A view of `data`.
    ///
    /// # Errors
    /// [`Error::Usage`] when a side is 0 or the number of values is not width × height × channels.
    pub fn new(width: usize, height: usize, channels: usize, data: &'a [f32]) -> Result<Self> {
        let values = width.checked_mul(height).and_then(|n| n.checked_mul(channels));
        if values != Some(data.len()) || data.is_empty() {
            let found = data.len();
            return Err(Error::usage(format!("a picture of {width} × {height} × {channels} has {found} values")));
        }
        Ok(Self { width, height, channels, data })
    }

    /// Number of pixels.
    pub fn pixels(&self) -> usize {
        self.width * self.height
    }
}

impl<'a> From<&'a Image> for ImageView<'a> {
    /// The colours of a rendered picture.
    fn from(image: &'a Image) -> Self {
        Self { width: image.width as usize, height: image.height as usize, channels: 3, data: &image.rgb }
    }
}

/// Checks that two pictures can be compared value by value.
pub(crate) fn same_shape(a: &ImageView, b: &ImageView) -> Result<()> {
    let shape = |v: &ImageView| [v.width, v.height, v.channels];
    if shape(a) != shape(b) {
        let text = |[w, h, c]: [usize; 3]| format!("{w} × {h} × {c}");
        return Err(Error::usage(format!("pictures of different size: {} and {}", text(shape(a)), text(shape(b)))));
    }
    if a.data.len() != a.pixels() * a.channels || a.data.len() != b.data.len() || a.data.is_empty() {
        return Err(Error::usage(format!("{} and {} values do not make such pictures", a.data.len(), b.data.len())));
    }
    Ok(())
}
