//! Which body the tracked parameters of a capture belong to.

use std::fs;

use gav_formats::{Template, TemplateFamily};

use super::{Capture, Layout};
use crate::{
    Result,
    body::Body,
    template::{self, Extras, Kind, Store, read},
};

/// A template that lies beside the pictures, under the names of FLAME's arrays.
pub const FILES: [&str; 2] = ["template.npz", "template.safetensors"];
/// The SPDX expression under which that template may be passed on, in its first line.
pub const LICENCE_FILE: &str = "template.licence";

/// The body of a capture: the template of that name in the user's store, else the one that lies in the folder ([`FILES`]), else FLAME 2023
/// with teeth, as GaussianAvatars has it. `None` for layouts without tracked parameters.
///
/// # Errors
/// [`crate::Error::MissingTemplate`] when the user does not have it; a file in the folder that is no template.
pub fn body(capture: &Capture, named: Option<&str>) -> Result<Option<Body<f32>>> {
    if let Some(name) = named {
        return Ok(Some(Store::user()?.open_named(name)?.2));
    }
    if capture.layout != Layout::Vhap {
        return Ok(None);
    }
    let counts = (TemplateFamily::Flame2023, "FLAME 2023 with teeth", 5143, 10_144);
    in_folder_or(capture, counts).map(Some)
}

/// As [`body`], and for INSTA's layout with checkpoints FLAME 2020 without teeth, as metrical-tracker has it.
///
/// # Errors
/// As there.
pub fn tracked_body(capture: &Capture, named: Option<&str>) -> Result<Option<Body<f32>>> {
    if named.is_none() && capture.layout == Layout::Insta && capture.folder.join("checkpoint").is_dir() {
        return in_folder_or(capture, (TemplateFamily::Flame2020, "FLAME 2020", 5023, 9976)).map(Some);
    }
    body(capture, named)
}

fn in_folder_or(
    capture: &Capture,
    (family, name, vertex_count, face_count): (TemplateFamily, &str, u32, u32),
) -> Result<Body<f32>> {
    if let Some(file) = FILES.iter().map(|name| capture.folder.join(name)).find(|path| path.is_file()) {
        // a first line such as CC0-1.0: avatars of the capture may then hold the template
        let terms = fs::read_to_string(capture.folder.join(LICENCE_FILE)).unwrap_or_default();
        let licence = terms.lines().next().map(str::trim).filter(|line| !line.is_empty());
        return Body::new(&read(Kind::Custom, &file, &Extras { licence, ..Extras::default() })?);
    }
    let wanted = Template { family, name: name.to_owned(), vertex_count, face_count, ..Template::default() };
    template::open(&wanted, None)
}
