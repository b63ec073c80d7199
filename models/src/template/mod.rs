//! Where the templates of avatars come from: the hashes that name them in a `.gav` (`spec/gav.md` 9.1), so that files refer to
//! licensed meshes without holding them, and the [`Store`] in which the user keeps them.

mod import;
mod store;

use gav_formats::{Error, Mesh, NamedArray, Result, Template};

use crate::body::Body;

pub use import::{Extras, Kind, import as read};
pub use store::{Added, Manifest, Store};

/// The body that an avatar refers to: its own mesh when that is the template, else the one in the user's store.
///
/// # Errors
/// [`crate::Error::MissingTemplate`] when the user has none that fits; a mesh that is not what the reference says.
pub fn open(template: &Template, mesh: Option<&Mesh>) -> crate::Result<Body<f32>> {
    // a mesh without weights is a shape to show, not a body
    let rigged = |mesh: &&Mesh| mesh.arrays.iter().any(|a| a.name == "weights");
    if template.embedded
        && let Some(mesh) = mesh.filter(rigged)
    {
        check(template, mesh)?;
        let mut parts = crate::body::Parts::from_mesh(template.family, mesh)?;
        parts.name.clone_from(&template.name);
        parts.licence.clone_from(&template.licence);
        return Body::new(&parts);
    }
    Store::user()?.open(template)
}

/// BLAKE3-256 of the faces (F × 3 vertex indices) as little-endian u32 triples.
pub fn faces_hash(faces: &[[u32; 3]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for index in faces.as_flattened() {
        hasher.update(&index.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// BLAKE3-256 of the arrays that define rest shape and deformation: in ascending order of their names, each name's UTF-8 bytes, a
/// zero byte, and the little-endian row-major data.
pub fn arrays_hash(arrays: &[NamedArray]) -> [u8; 32] {
    let mut sorted: Vec<&NamedArray> = arrays.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hasher = blake3::Hasher::new();
    for array in sorted {
        hasher.update(array.name.as_bytes());
        hasher.update(&[0]);
        hasher.update(&array.data);
    }
    *hasher.finalize().as_bytes()
}

/// Checks that `mesh` is the one that `template` refers to: counts, and the hash of the faces when it is known.
///
/// # Errors
/// [`Error::Usage`] that says what differs, with both numbers.
pub fn check(template: &Template, mesh: &Mesh) -> Result<()> {
    for (what, wanted, found) in [
        ("vertices", template.vertex_count as usize, mesh.positions.len()),
        ("faces", template.face_count as usize, mesh.faces.len()),
    ] {
        if wanted != found {
            return Err(Error::usage(format!("the avatar needs a template of {wanted} {what}, this one has {found}")));
        }
    }
    if template.faces_hash != [0; 32] && template.faces_hash != faces_hash(&mesh.faces) {
        return Err(Error::usage("the template has the right size, but its faces are not those of the avatar"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gav_formats::DType;

    fn array(name: &str, data: &[u8]) -> NamedArray {
        NamedArray { name: name.into(), dtype: DType::U8, shape: vec![data.len() as u32], data: data.to_vec() }
    }

    #[test]
    fn hashes_follow_the_specified_bytes() {
        assert_eq!(faces_hash(&[[1, 2, 3]]), *blake3::hash(&[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]).as_bytes());
        let arrays = [array("b", b"yz"), array("a", b"x")];
        assert_eq!(arrays_hash(&arrays), *blake3::hash(b"a\0xb\0yz").as_bytes());
    }

    #[test]
    fn another_mesh_is_named_as_such() {
        let mesh = Mesh { positions: vec![[0.0; 3]; 3], faces: vec![[0, 1, 2]], ..Mesh::default() };
        let mut template = Template { vertex_count: 3, face_count: 1, ..Template::default() };
        check(&template, &mesh).unwrap();
        template.faces_hash = faces_hash(&[[0, 2, 1]]);
        assert!(check(&template, &mesh).unwrap_err().to_string().contains("faces"));
        template.vertex_count = 5023;
        assert!(check(&template, &mesh).unwrap_err().to_string().contains("5023"));
    }
}
