//! Which body the tracked parameters of a capture belong to.

use gav_formats::{Template, TemplateFamily};

use super::{Capture, Layout};
use crate::{
    Result,
    body::Body,
    template::{self, Extras, Kind, Store, read},
};

/// A template that lies beside the pictures, under the names of FLAME's arrays.
pub const FILES: [&str; 2] = ["template.npz", "template.safetensors"];

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
    if let Some(file) = FILES.iter().map(|name| capture.folder.join(name)).find(|path| path.is_file()) {
        return Ok(Some(Body::new(&read(Kind::Custom, &file, &Extras::default())?)?));
    }
    let wanted = Template {
        family: TemplateFamily::Flame2023,
        name: "FLAME 2023 with teeth".to_owned(),
        vertex_count: 5143,
        face_count: 10_144,
        ..Template::default()
    };
    template::open(&wanted, None).map(Some)
}
