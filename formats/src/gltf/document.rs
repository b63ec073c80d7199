//! The parts of a glTF 2.0 JSON document that splats and rigs need; everything else in the file is passed over.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Name of the ratified splat extension.
pub const SPLATS: &str = "KHR_gaussian_splatting";

/// A glTF document.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Document {
    pub asset: Asset,
    pub scene: Option<usize>,
    pub scenes: Vec<Scene>,
    pub nodes: Vec<Node>,
    pub meshes: Vec<Mesh>,
    pub skins: Vec<Skin>,
    pub animations: Vec<Animation>,
    pub accessors: Vec<Accessor>,
    pub buffer_views: Vec<BufferView>,
    pub buffers: Vec<Buffer>,
    pub materials: Vec<Material>,
    pub textures: Vec<Texture>,
    pub images: Vec<Image>,
    pub extensions_required: Vec<String>,
    pub extras: Value,
}

/// Who wrote the file, and to which version of glTF.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Asset {
    pub version: String,
    pub generator: String,
    pub copyright: String,
}

/// Root nodes that are shown together.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Scene {
    pub nodes: Vec<usize>,
}

/// A transform with children, and what it carries.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub name: String,
    pub children: Vec<usize>,
    /// Column-major 4 × 4; excludes the three below.
    pub matrix: Option<[f64; 16]>,
    pub translation: Option<[f64; 3]>,
    /// x, y, z, w.
    pub rotation: Option<[f64; 4]>,
    pub scale: Option<[f64; 3]>,
    pub mesh: Option<usize>,
    pub skin: Option<usize>,
    pub extras: Value,
}

/// Primitives, and the rest values of their morph targets.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Mesh {
    pub name: String,
    pub primitives: Vec<Primitive>,
    pub weights: Vec<f32>,
    pub extras: Value,
}

impl Mesh {
    /// `extras.targetNames`, the customary place for the names of morph targets.
    pub fn target_name(&self, index: usize) -> Option<&str> {
        self.extras.get("targetNames")?.get(index)?.as_str()
    }
}

/// What is drawn: attributes by name, as accessor indices.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Primitive {
    pub attributes: BTreeMap<String, usize>,
    pub mode: Option<u32>,
    pub indices: Option<usize>,
    pub material: Option<usize>,
    pub targets: Vec<BTreeMap<String, usize>>,
    pub extensions: PrimitiveExtensions,
}

/// How a surface looks.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Material {
    pub pbr_metallic_roughness: Surface,
}

/// Its base colour: a linear factor and a texture.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Surface {
    pub base_color_factor: Option<[f32; 4]>,
    pub base_color_texture: Option<TextureReference>,
}

/// Which texture.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TextureReference {
    pub index: usize,
}

/// Which image.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Texture {
    pub source: Option<usize>,
}

/// An encoded picture in a buffer view, or elsewhere.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Image {
    pub buffer_view: Option<usize>,
}

/// Extensions of a primitive that concern splats.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PrimitiveExtensions {
    #[serde(rename = "KHR_gaussian_splatting")]
    pub splats: Option<SplatExtension>,
    /// First published name of the SPZ payload, before `KHR_gaussian_splatting` existed.
    #[serde(rename = "KHR_spz_gaussian_splats_compression")]
    pub old_spz: Option<Value>,
}

/// `KHR_gaussian_splatting` on a primitive.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SplatExtension {
    pub kernel: Option<String>,
    pub color_space: Option<String>,
    /// Compression and other extensions of the extension.
    pub extensions: Map<String, Value>,
}

/// Joints as node indices.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Skin {
    pub joints: Vec<usize>,
    pub inverse_bind_matrices: Option<usize>,
}

/// Named motion.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Animation {
    pub name: String,
    pub channels: Vec<Channel>,
    pub samplers: Vec<Sampler>,
}

/// Which sampler moves what.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Channel {
    pub sampler: usize,
    pub target: ChannelTarget,
}

/// A node's property.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ChannelTarget {
    pub node: Option<usize>,
    /// `translation`, `rotation`, `scale` or `weights`.
    pub path: String,
}

/// Key times and values, as accessor indices.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Sampler {
    pub input: usize,
    pub output: usize,
    pub interpolation: Option<String>,
}

/// A typed array.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accessor {
    pub buffer_view: Option<usize>,
    #[serde(default)]
    pub byte_offset: u64,
    pub component_type: u32,
    #[serde(default)]
    pub normalized: bool,
    pub count: u64,
    #[serde(rename = "type")]
    pub kind: String,
    pub sparse: Option<Sparse>,
}

/// Elements that differ from the accessor's base.
#[derive(Debug, Deserialize)]
pub struct Sparse {
    pub count: u64,
    pub indices: SparseIndices,
    pub values: SparseValues,
}

/// Which elements differ.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SparseIndices {
    pub buffer_view: usize,
    #[serde(default)]
    pub byte_offset: u64,
    pub component_type: u32,
}

/// What they are instead.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SparseValues {
    pub buffer_view: usize,
    #[serde(default)]
    pub byte_offset: u64,
}

/// A stretch of a buffer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BufferView {
    pub buffer: usize,
    #[serde(default)]
    pub byte_offset: u64,
    pub byte_length: u64,
    pub byte_stride: Option<u64>,
    #[serde(default)]
    pub extensions: Map<String, Value>,
}

/// Bytes: the BIN chunk (no `uri`), a data URI or a file beside the document.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Buffer {
    pub uri: Option<String>,
    pub byte_length: u64,
}
