//! Rigged triangle meshes of a glTF file: what splats can be sampled on.

use super::{
    container::{Gltf, bad},
    document::{Document, Primitive},
    scene::Affine,
};
use crate::{Clip, Driver, Limits, Mesh, Morphs, Result, Skeleton, Skin, Source};

const TRIANGLES: u32 = 4;

/// A mesh with its skeleton, in the coordinates of its vertices (the canonical ones of `spec/gav.md` section 8).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RiggedMesh {
    /// Positions, faces and, when there are any, texture coordinates of every vertex.
    pub mesh: Mesh,
    /// Joints; empty for a mesh without skin.
    pub skeleton: Skeleton,
    /// Joints and weights of the vertices; empty for a mesh without skin.
    pub skin: Skin,
    /// Position morphs of the vertices.
    pub morphs: Morphs,
    /// One driver for each morph.
    pub drivers: Vec<Driver>,
    /// Motion of joints and drivers.
    pub clips: Vec<Clip>,
    /// Linear RGBA that the texture is multiplied with.
    pub base_color: [f32; 4],
    /// An encoded PNG, JPEG or WebP, sRGB; `None` when the base colour is all.
    pub texture: Option<Vec<u8>>,
}

/// Reads the skinned mesh of a `.glb` or `.gltf`, or the first mesh when none is skinned. All its triangle primitives are joined; the
/// material of the first one counts.
///
/// # Errors
/// `NO_MESH` when there is no triangle; `VALUE`, `TRUNCATED`, … for malformed files.
pub fn read_rigged_mesh(source: &Source, limits: &Limits) -> Result<RiggedMesh> {
    let gltf = Gltf::open(source, limits)?;
    let placed = gltf.placed_nodes()?;
    let document = &gltf.document;
    let with_mesh = |skinned: bool| {
        placed.iter().find(|p| {
            let node = &document.nodes[p.node];
            node.mesh.is_some_and(|m| has_triangles(document, m)) && (!skinned || node.skin.is_some())
        })
    };
    let found = with_mesh(true).or_else(|| with_mesh(false));
    let place = found.ok_or_else(|| bad("NO_MESH", 0, "no mesh with triangles in the default scene"))?;
    let node = &document.nodes[place.node];
    let mesh = &document.meshes[node.mesh.unwrap_or_default()];

    let mut out = RiggedMesh { base_color: [1.0; 4], ..RiggedMesh::default() };
    let skeleton = node.skin.map(|skin| gltf.read_skeleton(skin, &placed)).transpose()?;
    let mut rows: Vec<Vec<(u16, f32)>> = Vec::new();
    let primitives: Vec<&Primitive> = mesh.primitives.iter().filter(|p| is_triangles(p)).collect();
    for (index, primitive) in primitives.iter().enumerate() {
        let first = out.mesh.positions.len();
        let count = gltf.vertex_count(primitive)?;
        gltf.read_vertices(primitive, count, &mut out.mesh)?;
        gltf.read_faces(primitive, first, count, &mut out.mesh.faces)?;
        if let Some(map) = &skeleton {
            let skin = gltf.read_skin(primitive, &map.of_skin)?;
            rows.extend((0..count).map(|i| skin.row(i).collect::<Vec<_>>()));
        }
        let morphs = gltf.read_morphs(mesh, primitive, str::to_owned)?;
        for (k, mut target) in morphs.targets.into_iter().enumerate() {
            target.splats.iter_mut().for_each(|s| *s += first as u32);
            match out.morphs.targets.get_mut(k) {
                None if index == 0 => out.morphs.targets.push(target),
                None => {}
                Some(known) => {
                    known.splats.extend(target.splats);
                    known.deltas.extend(target.deltas);
                }
            }
        }
        if index == 0 {
            (out.base_color, out.texture) = gltf.material(primitive)?;
        }
    }
    let driver = |(k, target): (usize, &crate::MorphTarget)| Driver {
        name: target.driver.clone(),
        min: 0.0,
        max: 1.0,
        default: mesh.weights.get(k).copied().filter(|w| w.is_finite()).unwrap_or(0.0),
    };
    out.drivers = out.morphs.targets.iter().enumerate().map(driver).collect();
    if out.mesh.uvs.len() != out.mesh.positions.len() {
        out.mesh.uvs.clear();
    }
    match skeleton {
        Some(map) => {
            out.skin = Skin::from_rows(rows);
            out.skeleton = map.skeleton;
        }
        // without a skin the node says where the mesh stands
        None => out.mesh.positions.iter_mut().for_each(|p| *p = moved(&place.world, *p)),
    }
    let joints = &out.skeleton.joints;
    let joint = |node: &str| joints.iter().any(|j| j.name == node).then(|| node.to_owned());
    out.clips = gltf.read_clips(joint, str::to_owned)?;
    Ok(out)
}

fn is_triangles(primitive: &Primitive) -> bool {
    primitive.mode.unwrap_or(TRIANGLES) == TRIANGLES && primitive.attributes.contains_key("POSITION")
}

fn has_triangles(document: &Document, mesh: usize) -> bool {
    document.meshes.get(mesh).is_some_and(|m| m.primitives.iter().any(is_triangles))
}

fn moved(world: &Affine, p: [f32; 3]) -> [f32; 3] {
    std::array::from_fn(|r| {
        let linear: f64 = (0..3).map(|c| world.linear[r][c] * f64::from(p[c])).sum();
        (linear + world.translation[r]) as f32
    })
}

impl Gltf<'_> {
    fn read_vertices(&self, primitive: &Primitive, count: usize, mesh: &mut Mesh) -> Result<()> {
        let first = mesh.positions.len();
        mesh.positions.resize(first + count, [0.0; 3]);
        self.read_floats(primitive.attributes["POSITION"], |i, p| mesh.positions[first + i] = p)?;
        if let Some(i) = mesh.positions[first..].iter().position(|p| !p.iter().all(|v| v.is_finite())) {
            return Err(bad("VALUE", 0, format!("vertex {i} is at {:?}", mesh.positions[first + i])));
        }
        if let Some(uvs) = primitive.attributes.get("TEXCOORD_0") {
            self.expect_count(*uvs, count)?;
            mesh.uvs.resize(first + count, [0.0; 2]);
            self.read_floats(*uvs, |i, uv| mesh.uvs[first + i] = uv)?;
        }
        Ok(())
    }

    fn read_faces(&self, primitive: &Primitive, first: usize, count: usize, faces: &mut Vec<[u32; 3]>) -> Result<()> {
        let mut indices: Vec<u32> = match primitive.indices {
            None => (0..count as u32).collect(),
            Some(accessor) => {
                let length = self.count(accessor)?;
                self.limits.check_bytes(length as u64 * 4)?;
                let mut indices = vec![0; length];
                self.read_indices(accessor, |i, [v]: [u32; 1]| indices[i] = v)?;
                indices
            }
        };
        if let Some(index) = indices.iter().find(|v| **v as usize >= count) {
            return Err(bad("VALUE", 0, format!("a triangle names vertex {index} of {count}")));
        }
        indices.iter_mut().for_each(|v| *v += first as u32);
        faces.extend(indices.as_chunks::<3>().0);
        Ok(())
    }

    /// Base colour and encoded texture of a primitive's material.
    fn material(&self, primitive: &Primitive) -> Result<([f32; 4], Option<Vec<u8>>)> {
        let document = &self.document;
        let Some(material) = primitive.material.and_then(|m| document.materials.get(m)) else {
            return Ok(([1.0; 4], None));
        };
        let surface = &material.pbr_metallic_roughness;
        let color = surface.base_color_factor.unwrap_or([1.0; 4]);
        let texture = surface.base_color_texture.as_ref().and_then(|t| document.textures.get(t.index));
        let image = texture.and_then(|t| t.source).and_then(|s| document.images.get(s));
        // images outside the file are not fetched: the file names no paths that we follow
        let view = image.and_then(|i| i.buffer_view);
        Ok((color, view.map(|v| self.view(v).map(|(bytes, ..)| bytes.to_vec())).transpose()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walking_man_has_joints_texture_and_a_clip() {
        let Some(path) = super::super::tests::shared("data/cesium-man/CesiumMan.glb") else { return };
        let source = Source::open(&path).unwrap();
        let man = read_rigged_mesh(&source, &Limits::default()).unwrap();
        assert_eq!((man.mesh.positions.len(), man.mesh.faces.len()), (3273, 14_016 / 3));
        assert_eq!(man.mesh.uvs.len(), 3273);
        assert_eq!(man.skin.offsets.len(), 3274);
        // 19 joints and the two nodes above them that turn the axes
        assert!(man.skeleton.joints.len() >= 19, "{}", man.skeleton.joints.len());
        assert_eq!(man.clips.len(), 1);
        assert!(man.clips[0].tracks.len() >= 57 - 19, "{}", man.clips[0].tracks.len());
        assert!(man.texture.is_some_and(|t| t.starts_with(b"\x89PNG") || t.starts_with(b"\xff\xd8")));
    }
}
