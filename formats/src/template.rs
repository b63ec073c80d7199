//! The parametric mesh a rig needs, referenced by hash so that licensed data stays out of the file.

use serde::{Deserialize, Serialize};

use crate::attribute::DType;

/// Family of parametric meshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
#[allow(missing_docs)]
pub enum TemplateFamily {
    #[default]
    None = 0,
    Flame2020 = 1,
    Flame2023 = 2,
    SmplX = 3,
    Smpl = 4,
    Custom = 5,
}

/// Reference to the mesh whose triangles or joints drive the splats.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Template {
    /// Family, to find a template when only its name is known.
    pub family: TemplateFamily,
    /// Free name, such as `FLAME 2023 Open with teeth`.
    pub name: String,
    /// Vertices of the mesh.
    pub vertex_count: u32,
    /// Triangles of the mesh.
    pub face_count: u32,
    /// BLAKE3 of the faces as little-endian u32 triples; all zero when unknown.
    #[serde(with = "hex")]
    pub faces_hash: [u8; 32],
    /// BLAKE3 of the template's canonical arrays (`spec/gav.md` 9.1); all zero when unknown.
    #[serde(with = "hex")]
    pub arrays_hash: [u8; 32],
    /// Driver groups and their lengths in the order the template takes them, such as `("expression", 100)`.
    pub parameters: Vec<(String, u32)>,
    /// Identity coefficients of this avatar, as named groups of the same kind.
    pub constants: Vec<(String, Vec<f32>)>,
    /// SPDX expression or text under which an embedded mesh may be passed on; must be given when [`crate::Avatar::mesh`] holds the template.
    pub licence: String,
    /// Where a licensed copy can be had.
    pub how_to_obtain: String,
    /// True when [`crate::Avatar::mesh`] is this template rather than a free proxy.
    pub embedded: bool,
}

/// A triangle mesh: a licensed copy of the template, or a free proxy for viewers without splats.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mesh {
    /// Vertex positions, V × 3.
    pub positions: Vec<[f32; 3]>,
    /// Triangles, F × 3 vertex indices.
    pub faces: Vec<[u32; 3]>,
    /// Texture coordinates, T × 2; empty when there are none.
    pub uvs: Vec<[f32; 2]>,
    /// Triangles in the index space of `uvs`; empty when it equals `faces`.
    pub uv_faces: Vec<[u32; 3]>,
    /// Further arrays by name: skinning weights, blendshapes, regressors.
    pub arrays: Vec<NamedArray>,
}

/// An array with a name, a type and a shape; `data` is little-endian, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedArray {
    /// Name, unique in its list.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extent of each dimension.
    pub shape: Vec<u32>,
    /// `product(shape) · size_of(dtype)` bytes.
    pub data: Vec<u8>,
}

/// Hashes in JSON: 64 hexadecimal digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&bytes.iter().map(|b| format!("{b:02x}")).collect::<String>())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bad = || D::Error::custom("a hash has 64 hexadecimal digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(bad());
        }
        let mut out = [0; 32];
        for (k, byte) in out.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * k..2 * k + 2], 16).map_err(|_| bad())?;
        }
        Ok(out)
    }
}
