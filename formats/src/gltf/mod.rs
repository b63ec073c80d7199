//! glTF 2.0 with `KHR_gaussian_splatting`: `.glb` and `.gltf`, read and written.
//!
//! A splat is a vertex of a `POINTS` primitive; what it is beyond a coloured point stands in attributes named
//! `KHR_gaussian_splatting:…`. Axes are glTF's (y up, the subject faces +z with its left on +x, metres: [`crate::Frame::GLTF`]),
//! scale and opacity are linear, quaternions are x, y, z, w. Files from before ratification spell the attributes `_ROTATION`, `_SCALE`, `_SH_DEGREE_l_COEF_n` and
//! keep degree 0 and opacity in `COLOR_0`; both spellings are read, the ratified one is written.
//!
//! The same few types serve [`crate::lam`], which reads skins, morph targets and animations with them.

mod accessor;
pub(crate) mod animation;
pub(crate) mod container;
mod cubic;
pub(crate) mod document;
mod mesh;
mod moving;
mod placement;
mod read;
pub(crate) mod scene;
pub(crate) mod skin;
#[cfg(test)]
pub(crate) mod tests;
mod write;

pub use mesh::{RiggedMesh, read_rigged_mesh};
pub use read::read;
pub use write::{Options, Still, notes, write, write_frames};

/// Does the file look like glTF? GLB has a magic number; the JSON form is known by its name or its top-level keys.
pub fn sniff(name: &str, head: &[u8]) -> bool {
    if head.starts_with(b"glTF") {
        return true;
    }
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    let has = |key: &[u8]| text.windows(key.len()).any(|window| window == key);
    text.starts_with(b"{")
        && (name.ends_with(".gltf") || has(b"\"asset\"") && (has(b"\"bufferViews\"") || has(b"\"scenes\"")))
}
