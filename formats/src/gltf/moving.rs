//! The rig of a splat primitive: its skin, its morph targets and the animations of both.

use std::collections::HashSet;

use super::{
    container::{Gltf, bad},
    document::{Mesh, Primitive},
    scene::Trs,
};
use crate::{
    Avatar, Driver, Joint, Result, RigBase, Skeleton, Skin,
    conventions::{matrix_from_quaternion, normalize_quaternion},
    lam::names,
};

/// Gives an avatar with the splats of one primitive the rig and the clips that the file has for them.
///
/// Without a skin, the splats have been placed by the node's transform `at`, and morph targets are turned along; one joint
/// that nothing moves carries them all.
pub fn add_rig(
    gltf: &Gltf,
    avatar: &mut Avatar,
    mesh: &Mesh,
    primitive: &Primitive,
    skin: Option<usize>,
    at: &Trs,
) -> Result<()> {
    let count = avatar.splats.len();
    let (skeleton, skin) = match skin {
        Some(index) => {
            let mut map = gltf.read_skeleton(index, &gltf.placed_nodes()?)?;
            name_bones(gltf, &mut map.skeleton);
            let skin = gltf.read_skin(primitive, &map.of_skin)?;
            (map.skeleton, skin)
        }
        None => (Skeleton { joints: vec![still_joint()] }, Skin::from_rows((0..count).map(|_| vec![(0, 1.0)]))),
    };
    let mut morphs = None;
    if !primitive.targets.is_empty() {
        let mut read = gltf.read_morphs(mesh, primitive, names::driver)?;
        let linear = Trs { rotation: normalize_quaternion(at.rotation), ..*at }.affine().linear;
        let unmoved = linear == matrix_from_quaternion([1.0, 0.0, 0.0, 0.0]);
        for delta in read.targets.iter_mut().flat_map(|t| &mut t.deltas).filter(|_| !unmoved) {
            let d = delta.map(f64::from);
            *delta = std::array::from_fn(|r| (0..3).map(|c| linear[r][c] * d[c]).sum::<f64>() as f32);
        }
        avatar.drivers = read
            .targets
            .iter()
            .enumerate()
            .map(|(k, target)| {
                let default = mesh.weights.get(k).copied().unwrap_or(0.0);
                let [min, max] = range(mesh, k);
                Driver { name: target.driver.clone(), min, max, default }
            })
            .collect();
        if let Some(driver) = avatar.drivers.iter().find(|d| !d.default.is_finite()) {
            return Err(bad("VALUE", 0, format!("morph target `{}` rests at {}", driver.name, driver.default)));
        }
        morphs = Some(read);
    }
    let joints: HashSet<&str> = skeleton.joints.iter().map(|j| j.name.as_str()).collect();
    avatar.clips = gltf.read_clips(|node| joints.contains(node).then(|| node.to_owned()), names::driver)?;
    // animations of other meshes move nothing here
    let known: HashSet<&str> = avatar.drivers.iter().map(|d| d.name.as_str()).collect();
    for clip in &mut avatar.clips {
        clip.tracks.retain(|t| t.target.starts_with("joint/") || known.contains(t.target.as_str()));
    }
    avatar.clips.retain(|clip| !clip.tracks.is_empty());
    avatar.rig.base = RigBase::Skinned { skeleton, skin, morphs };
    Ok(())
}

/// Takes over the VRM bone names that our writer keeps in the nodes' `extras`.
fn name_bones(gltf: &Gltf, skeleton: &mut Skeleton) {
    for joint in &mut skeleton.joints {
        let node = gltf.document.nodes.iter().find(|n| n.name == joint.name);
        let bone = node.and_then(|n| n.extras.get("humanoid")?.as_str()).unwrap_or_default();
        if bone.len() <= 64 && bone.chars().all(|c| c.is_ascii_alphanumeric()) {
            joint.humanoid = bone.to_owned();
        }
    }
}

/// `extras.targetRanges` of our writer: smallest and largest value of a morph target; 0 to 1 where it says nothing.
fn range(mesh: &Mesh, index: usize) -> [f32; 2] {
    let pair = mesh.extras.get("targetRanges").and_then(|r| r.get(index));
    let number = |k: usize| pair?.get(k)?.as_f64().map(|v| v as f32).filter(|v| v.is_finite());
    match (number(0), number(1)) {
        (Some(min), Some(max)) if min <= max => [min, max],
        _ => [0.0, 1.0],
    }
}

fn still_joint() -> Joint {
    Joint {
        name: "root".to_owned(),
        parent: None,
        humanoid: String::new(),
        translation: [0.0; 3],
        rotation: [1.0, 0.0, 0.0, 0.0],
        scale: [1.0; 3],
        inverse_bind: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
    }
}
