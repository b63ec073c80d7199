//! Pictures beside what the training makes of them.

use std::path::Path;

use gav_formats::sink::write_file_renamed;
use gav_models::stga::{Dataset, Trainer};

use crate::{
    failure::Failure,
    pictures::{
        Pixels,
        sheet::{Cell, compose, shrink},
        still::rgb_png,
    },
};

/// Side of the pictures on the strip.
const SIDE: usize = 320;

/// Writes a strip: pictures above, the avatar below.
pub(super) fn write(
    trainer: &mut Trainer<'_>,
    data: &Dataset,
    views: &[usize],
    title: &str,
    path: &Path,
) -> Result<(), Failure> {
    let failed = |e: gav_models::Error| Failure::of(None, &e);
    let (mut photos, mut drawn) = (Vec::new(), Vec::new());
    for view in views {
        let photo = data.pictures.get(*view).map_err(failed)?;
        let image = trainer.draw(*view).map_err(failed)?;
        let name = &data.views[*view].camera.name;
        let (width, height) = (photo.width, photo.height);
        let pixels = |rgb: Vec<u8>| shrink(&Pixels { width, height, rgb }, SIDE);
        photos.push(Cell { label: name.clone(), picture: pixels(photo.rgb.clone()) });
        let rgb = image.rgb.iter().map(|v| (255.0 * v.clamp(0.0, 1.0) + 0.5) as u8).collect();
        drawn.push(Cell { label: String::new(), picture: pixels(rgb) });
    }
    let sheet = compose(title, &[&photos, &drawn]);
    let encoder = |message: String| Failure { code: "ENCODER", message, hint: None };
    let png = rgb_png(sheet.width as u32, sheet.height as u32, &sheet.rgb).map_err(encoder)?;
    write_file_renamed(path, |sink| sink.write_all(&png).map_err(gav_formats::Error::from))
        .map_err(|e| Failure::at(path, &e))
}
