//! LAM web avatar: a zip with a skinned head mesh, one splat per vertex, and motion. Read only.
//!
//! | member | content |
//! | --- | --- |
//! | `skin.glb` | mesh with skin and morph targets named after ARKit blendshapes |
//! | `offset.ply` | one row per mesh vertex, in the mesh's order: `x y z` is the way from the vertex to the splat, `f_dc` holds RGB in 0..1 (not SH), the rest is as in any splat PLY |
//! | `animation.glb` | optional: joint motion for a skeleton with the same names |
//! | `vertex_order.json` | optional: the vertices sorted by height in the mesh LAM exports from; not needed, and not read |
//!
//! **Where a splat rests.** Splat i sits at `POSITION[i] + offset[i]`: the mesh accessor as it stands, before skinning, with
//! the same index on both sides. (Offsets and colours vary smoothly over the mesh edges in that order, and in no other.) This
//! is the space that the inverse bind matrices take to the joints; the pose of the nodes in `skin.glb` is the bind pose, so
//! that skinning it changes positions by rounding only. Morph targets add to the same space, as glTF prescribes: morph, then
//! skin. LAM's viewer adds the offset after skinning; here the offset turns with its joint, as the splat itself does.
//!
//! **Axes** are glTF's: y up, the face looks along +z, its left eye is on the +x side; metres.
//!
//! The triangles stay outside: their topology is FLAME's, and nothing needs them.

mod archive;
pub(crate) mod names;
mod offset;

use std::collections::HashSet;

use crate::{
    Avatar, Clip, Driver, Error, Frame, Morphs, ReadOptions, Result, RigBase, Skeleton, Skin, Source,
    gltf::container::Gltf,
};
use archive::Archive;
use offset::read_offsets;

pub(crate) fn bad(code: &'static str, offset: u64, message: impl Into<String>) -> Error {
    Error::format("lam", code, offset, message)
}

/// Does the file look like a LAM zip? Its local headers name the members, so the first 64 KiB show at least one.
pub fn sniff(_name: &str, head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04")
        && archive::local_names(head).any(|name| {
            [&b"skin.glb"[..], b"offset.ply", b"vertex_order.json"].iter().any(|m| archive::is_member(name, m))
        })
}

/// Reads a LAM zip as a skinned avatar with morph targets and clips.
///
/// # Errors
/// `MISSING` when a member is not there, `CHECKSUM` and `TRUNCATED` for damaged archives, `VALUE` when mesh and offsets do
/// not fit together, and whatever is wrong with the glTF and PLY members (the message names the member).
pub fn read(source: &Source, options: &ReadOptions) -> Result<Avatar> {
    let mut archive = Archive::open(source, &options.limits)?;
    let mut splats = within(archive::OFFSETS, read_offsets(&archive.require(archive::OFFSETS)?, &options.limits))?;
    let skin_bytes = archive.require(archive::SKIN)?;
    let body = within(archive::SKIN, read_body(&skin_bytes, splats.len(), options))?;
    let clips = match archive.get(archive::ANIMATION)? {
        Some(bytes) => within(archive::ANIMATION, read_motion(&bytes, &body.skeleton, options))?,
        None => Vec::new(),
    };
    for (mean, vertex) in splats.means.iter_mut().zip(&body.vertices) {
        *mean = std::array::from_fn(|k| mean[k] + vertex[k]);
    }
    let mut avatar = Avatar::new(splats, options.frame.unwrap_or(Frame::LUF));
    avatar.drivers = body.drivers;
    avatar.rig.base = RigBase::Skinned { skeleton: body.skeleton, skin: body.skin, morphs: Some(body.morphs) };
    avatar.clips = clips;
    avatar.meta.name = archive.folder().to_owned();
    Ok(avatar)
}

/// What `skin.glb` gives.
struct Body {
    vertices: Vec<[f32; 3]>,
    skeleton: Skeleton,
    skin: Skin,
    morphs: Morphs,
    drivers: Vec<Driver>,
}

fn read_body(bytes: &[u8], count: usize, options: &ReadOptions) -> Result<Body> {
    let gltf = Gltf::from_slice(bytes, &options.limits)?;
    let placed = gltf.placed_nodes()?;
    let skinned = placed.iter().find_map(|p| {
        let node = &gltf.document.nodes[p.node];
        Some((gltf.document.meshes.get(node.mesh?)?, node.skin?))
    });
    let (mesh, skin) = skinned.ok_or_else(|| bad("MISSING", 0, "no skinned mesh"))?;
    let primitive = mesh.primitives.first().filter(|_| mesh.primitives.len() == 1);
    let primitive = primitive.ok_or_else(|| {
        bad("VALUE", 0, format!("the skinned mesh has {} primitives, 1 expected", mesh.primitives.len()))
    })?;
    let vertices_there = gltf.vertex_count(primitive)?;
    if vertices_there != count {
        return Err(bad("VALUE", 0, format!("{vertices_there} vertices for {count} offsets")));
    }
    let mut vertices = vec![[0.0f32; 3]; count];
    gltf.read_floats(primitive.attributes["POSITION"], |i, p| vertices[i] = p)?;
    if let Some(i) = vertices.iter().position(|p| !p.iter().all(|v| v.is_finite())) {
        return Err(bad("VALUE", 0, format!("vertex {i} is at {:?}", vertices[i])));
    }
    let mut map = gltf.read_skeleton(skin, &placed)?;
    name_humanoid_bones(&mut map.skeleton);
    let morphs = gltf.read_morphs(mesh, primitive, names::driver)?;
    let drivers = morphs.targets.iter().enumerate().map(|(k, target)| Driver {
        name: target.driver.clone(),
        min: 0.0,
        max: 1.0,
        default: mesh.weights.get(k).copied().filter(|w| w.is_finite()).unwrap_or(0.0),
    });
    Ok(Body {
        drivers: drivers.collect(),
        skin: gltf.read_skin(primitive, &map.of_skin)?,
        skeleton: map.skeleton,
        morphs,
        vertices,
    })
}

fn read_motion(bytes: &[u8], skeleton: &Skeleton, options: &ReadOptions) -> Result<Vec<Clip>> {
    let gltf = Gltf::from_slice(bytes, &options.limits)?;
    let joints: HashSet<&str> = skeleton.joints.iter().map(|j| j.name.as_str()).collect();
    gltf.read_clips(|node| joints.contains(node).then(|| node.to_owned()), names::driver)
}

fn name_humanoid_bones(skeleton: &mut Skeleton) {
    for joint in &mut skeleton.joints {
        joint.humanoid = names::humanoid(&joint.name).to_owned();
    }
}

/// Names the member in an error about its content.
fn within<T>(member: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::Format { code, offset, message, .. } => bad(code, offset, format!("{member}: {message}")),
        other => other,
    })
}

#[cfg(test)]
mod tests;
