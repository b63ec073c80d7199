//! Peak signal-to-noise ratio of pictures, and of one avatar against another in the orbit views.

use std::borrow::Cow;

use gav_formats::{Avatar, Camera, Error, Frame, Result, RigBase, Splats};
use rayon::prelude::*;

use crate::{
    metrics::{self, ordered_sum},
    orbit::{IMAGE_SIZE, orbit_cameras},
    raster::{Image, WHITE, render},
};

/// Mean squared errors below this count as this: equal pictures have 120 dB.
pub const MSE_FLOOR: f64 = 1e-12;

/// How much two avatars look alike, in dB; higher is closer.
#[derive(Debug, Clone, PartialEq)]
pub struct Psnr {
    /// Average over the views.
    pub mean: f64,
    /// The worst view.
    pub min: f64,
    /// Every view.
    pub views: Vec<f64>,
}

/// PSNR in dB of two pictures of equal size over all pixels and channels, with peak 1; colours above 1 count as 1.
pub fn image_psnr(reference: &Image, test: &Image) -> f64 {
    assert_eq!((reference.width, reference.height), (test.width, test.height), "pictures of different size");
    let clamped = |a: f64, b: f64| {
        let difference = a.min(1.0) - b.min(1.0);
        difference * difference
    };
    let mse = ordered_sum(&reference.rgb, &test.rgb, clamped) / reference.rgb.len().max(1) as f64;
    metrics::psnr(mse.max(MSE_FLOOR))
}

/// Pictures of one avatar that others are compared with, so that they are drawn once.
pub struct Reference {
    frame: Frame,
    cameras: Vec<Camera>,
    pictures: Vec<Image>,
}

impl Reference {
    /// Draws `avatar` on white from the orbit around it at the protocol's size.
    ///
    /// # Errors
    /// [`Error::Usage`] when the avatar has no extent or needs a template that is not there.
    pub fn orbit(avatar: &Avatar) -> Result<Self> {
        Self::views(avatar, orbit_cameras(avatar, IMAGE_SIZE)?)
    }

    /// Draws `avatar` on white from given cameras (in its own coordinates).
    ///
    /// # Errors
    /// As [`Reference::orbit`], and when there is no camera.
    pub fn views(avatar: &Avatar, cameras: Vec<Camera>) -> Result<Self> {
        if cameras.is_empty() {
            return Err(Error::usage("no cameras to compare from"));
        }
        let splats = displayed_splats(avatar)?;
        let pictures =
            cameras.par_iter().map(|camera| render(&*splats, camera, &avatar.render_model.into(), WHITE)).collect();
        Ok(Self { frame: avatar.frame, cameras, pictures })
    }

    /// How much `test` looks like the reference. It is brought into the reference's frame first, drawn at rest, and by its
    /// own render model.
    ///
    /// # Errors
    /// [`Error::Usage`] when it needs a template that is not there, or cannot be brought into the frame.
    pub fn psnr(&self, test: &Avatar) -> Result<Psnr> {
        let mut splats = displayed_splats(test)?;
        if test.frame != self.frame {
            let mut copy = Avatar::new(splats.into_owned(), test.frame);
            copy.reframe(self.frame)?;
            splats = Cow::Owned(copy.splats);
        }
        let pictures = self.cameras.par_iter().zip(&self.pictures);
        let views: Vec<f64> = pictures
            .map(|(camera, expected)| image_psnr(expected, &render(&*splats, camera, &test.render_model.into(), WHITE)))
            .collect();
        Ok(Psnr {
            mean: views.iter().sum::<f64>() / views.len() as f64,
            min: views.iter().copied().fold(f64::INFINITY, f64::min),
            views,
        })
    }
}

/// Compares two avatars by [`Reference::orbit`] pictures of the first.
///
/// # Errors
/// As [`Reference::orbit`] and [`Reference::psnr`].
pub fn orbit_psnr(reference: &Avatar, test: &Avatar) -> Result<Psnr> {
    Reference::orbit(reference)?.psnr(test)
}

/// As [`orbit_psnr`], from given cameras (in the coordinates of `reference`).
pub fn views_psnr(reference: &Avatar, test: &Avatar, cameras: &[Camera]) -> Result<Psnr> {
    Reference::views(reference, cameras.to_vec())?.psnr(test)
}

/// The splats as they are shown at rest: for triangle-bound avatars the stored rest pose.
///
/// # Errors
/// [`Error::Usage`] when a triangle-bound avatar has no stored rest pose.
pub fn displayed_splats(avatar: &Avatar) -> Result<Cow<'_, Splats>> {
    if !matches!(avatar.rig.base, RigBase::Triangle(_)) {
        return Ok(Cow::Borrowed(&avatar.splats));
    }
    let rest = avatar.rest.as_ref().ok_or_else(|| {
        Error::usage("this avatar is bound to a template and has no stored rest pose: pose it with its template first")
    })?;
    Ok(Cow::Owned(Splats {
        means: rest.means.clone(),
        rotations: rest.rotations.clone(),
        log_scales: rest.log_scales.clone(),
        ..avatar.splats.clone()
    }))
}
