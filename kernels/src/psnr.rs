//! Peak signal-to-noise ratio of pictures, and of one avatar against another in the orbit views.

use std::borrow::Cow;

use gav_formats::{Avatar, Camera, Error, Result, RigBase, Splats};

use crate::{
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
    let sum: f64 = reference
        .rgb
        .iter()
        .zip(&test.rgb)
        .map(|(a, b)| {
            let difference = f64::from(a.min(1.0)) - f64::from(b.min(1.0));
            difference * difference
        })
        .sum();
    -10.0 * (sum / reference.rgb.len().max(1) as f64).max(MSE_FLOOR).log10()
}

/// Renders both avatars on white from the orbit of `reference` at the protocol's size and compares the pictures.
///
/// `test` is brought into the frame of `reference` first. Both are drawn at rest, each by its own render model.
///
/// # Errors
/// [`Error::Usage`] when an avatar has no extent, needs a template that is not there, or cannot be brought into the frame.
pub fn orbit_psnr(reference: &Avatar, test: &Avatar) -> Result<Psnr> {
    let views = orbit_cameras(reference, IMAGE_SIZE)?;
    views_psnr(reference, test, &views)
}

/// As [`orbit_psnr`], from given cameras (in the coordinates of `reference`).
pub fn views_psnr(reference: &Avatar, test: &Avatar, cameras: &[Camera]) -> Result<Psnr> {
    if cameras.is_empty() {
        return Err(Error::usage("no cameras to compare from"));
    }
    let reframed;
    let test = if test.frame == reference.frame {
        test
    } else {
        let mut copy = Avatar::new(displayed_splats(test)?.into_owned(), test.frame);
        copy.render_model = test.render_model;
        copy.reframe(reference.frame)?;
        reframed = copy;
        &reframed
    };
    let (reference_splats, test_splats) = (displayed_splats(reference)?, displayed_splats(test)?);
    let views: Vec<f64> = cameras
        .iter()
        .map(|camera| {
            let expected = render(&reference_splats, camera, reference.render_model, WHITE);
            image_psnr(&expected, &render(&test_splats, camera, test.render_model, WHITE))
        })
        .collect();
    Ok(Psnr {
        mean: views.iter().sum::<f64>() / views.len() as f64,
        min: views.iter().copied().fold(f64::INFINITY, f64::min),
        views,
    })
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
