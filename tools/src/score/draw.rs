//! Pictures of assets: drawn at rest from given cameras.

use std::path::Path;

use gav_formats::{Avatar, Camera, ColorSpace, Frame, ReadOptions, Splats};
use gav_kernels::{
    psnr::displayed_splats,
    raster::{Settings, Shot, render},
};

use super::decode::Picture;
use crate::{
    device::Painter,
    failure::Failure,
    pictures::{linear_from_srgb, srgb_from_linear},
    reading::load,
};

/// An asset as it is drawn.
pub(crate) struct Asset {
    splats: Splats,
    settings: Settings,
    space: ColorSpace,
}

impl Asset {
    /// Reads the asset at `path` and brings it into the axes that the cameras are in (its own when they do not say).
    pub(crate) fn load(path: &Path, options: &ReadOptions, frame: Option<Frame>) -> Result<Self, Failure> {
        Self::of(load(path, options)?.avatar, frame).map_err(|e| Failure::at(path, &e))
    }

    /// An avatar in the axes of `frame`.
    pub(crate) fn of(avatar: Avatar, frame: Option<Frame>) -> gav_formats::Result<Self> {
        let (settings, space) = (avatar.render_model.into(), avatar.color_space);
        let mut shown = Avatar::new(displayed_splats(&avatar)?.into_owned(), avatar.frame);
        if let Some(frame) = frame.filter(|f| *f != shown.frame) {
            shown.reframe(frame)?;
        }
        Ok(Self { splats: shown.splats, settings, space })
    }

    /// What `camera` sees; see [`draw`].
    pub(crate) fn draw(
        &self,
        path: &Path,
        camera: &Camera,
        background: [f32; 3],
        painter: &Painter,
    ) -> Result<Picture, Failure> {
        draw((&self.splats, &self.settings, self.space), path, camera, background, painter)
    }
}

/// What `camera` sees of splats over `background`, display-encoded; values outside of 0…1 are cut there.
///
/// # Errors
/// Colours that are not numbers, and what a device fails in.
pub(super) fn draw(
    (splats, settings, space): (&Splats, &Settings, ColorSpace),
    path: &Path,
    camera: &Camera,
    background: [f32; 3],
    painter: &Painter,
) -> Result<Picture, Failure> {
    let linear = space == ColorSpace::LinearRec709;
    let behind = if linear { background.map(linear_from_srgb) } else { background };
    let shot = Shot { scene: splats.into(), camera, background: behind };
    let drawn = painter.draw_together(&[shot], settings)?.and_then(|mut images| images.pop());
    let mut image = drawn.unwrap_or_else(|| render(splats, camera, settings, behind));
    let bad = image.rgb.iter().filter(|v| !v.is_finite()).count();
    if bad > 0 {
        let message = format!("{}: {bad} values of the picture from {} are not finite", path.display(), camera.name);
        let hint = "`gav validate` says which splats are damaged".to_owned();
        return Err(Failure { code: "NOT_FINITE", message, hint: Some(hint) });
    }
    for value in &mut image.rgb {
        *value = if linear { srgb_from_linear(*value) } else { *value }.clamp(0.0, 1.0);
    }
    Ok(Picture { width: image.width as usize, height: image.height as usize, rgb: image.rgb })
}
