//! Skeleton, skinning weights and morph targets of a glTF file, as parts of a [`crate::Rig`].

use std::collections::HashSet;

use super::{
    container::{Gltf, bad},
    document::{Mesh, Primitive},
    scene::{Affine, Placed, Trs},
};
use crate::{
    Joint, MorphTarget, Morphs, Result, Skeleton, Skin,
    conventions::{IDENTITY_QUATERNION, normalize_quaternion},
    rig::rig_limits,
};

/// A skeleton, and where the skin's joints and the document's nodes went in it.
pub struct SkeletonMap {
    pub skeleton: Skeleton,
    /// Skeleton index of each joint of the glTF skin.
    pub of_skin: Vec<u16>,
}

impl Gltf<'_> {
    /// The joints of a skin together with all nodes above them, parents first. The nodes above carry no weights, but their
    /// transforms (a scene's unit and axis changes) are part of every joint's pose, and animations are local to them.
    ///
    /// Inverse bind matrices take the coordinates of the skinned mesh, which are the canonical ones, to the joint's.
    pub fn read_skeleton(&self, skin: usize, placed: &[Placed]) -> Result<SkeletonMap> {
        let document = &self.document;
        let entry = document.skins.get(skin);
        let entry = entry.ok_or_else(|| bad("VALUE", 0, format!("skin {skin} of {}", document.skins.len())))?;
        let count = entry.joints.len();
        if count == 0 || count > rig_limits::JOINTS {
            return Err(bad(
                "VALUE",
                0,
                format!("skin {skin} has {count} joints, 1 to {} allowed", rig_limits::JOINTS),
            ));
        }
        let mut place_of_node = vec![None; document.nodes.len()];
        placed.iter().enumerate().for_each(|(place, p)| place_of_node[p.node] = Some(place));
        let mut wanted = vec![false; placed.len()];
        let mut places = Vec::with_capacity(count);
        for node in &entry.joints {
            let place = place_of_node.get(*node).copied().flatten();
            let place = place.ok_or_else(|| bad("VALUE", 0, format!("joint node {node} is not in the scene")))?;
            places.push(place);
            let mut above = Some(place);
            while let Some(p) = above.filter(|p| !wanted[*p]) {
                wanted[p] = true;
                above = placed[p].parent;
            }
        }
        let mut binds: Vec<Option<Affine>> = vec![None; placed.len()];
        match entry.inverse_bind_matrices {
            None => places.iter().for_each(|p| binds[*p] = Some(Affine::IDENTITY)),
            Some(accessor) => self.read_floats(accessor, |i, m: [f32; 16]| {
                let m = m.map(f64::from);
                if let Some(place) = places.get(i) {
                    binds[*place] = Some(Affine {
                        linear: std::array::from_fn(|r| std::array::from_fn(|c| m[c * 4 + r])),
                        translation: [m[12], m[13], m[14]],
                    });
                }
            })?,
        }
        self.assemble(placed, &wanted, &binds, &places)
    }

    fn assemble(
        &self,
        placed: &[Placed],
        wanted: &[bool],
        binds: &[Option<Affine>],
        places: &[usize],
    ) -> Result<SkeletonMap> {
        let total = wanted.iter().filter(|w| **w).count();
        if total > rig_limits::JOINTS {
            return Err(bad("VALUE", 0, format!("{total} joints, at most {} allowed", rig_limits::JOINTS)));
        }
        let mut index_of_place = vec![0u16; placed.len()];
        let mut joints: Vec<Joint> = Vec::with_capacity(total);
        let mut names = HashSet::new();
        for (place, here) in placed.iter().enumerate().filter(|(place, _)| wanted[*place]) {
            let node = &self.document.nodes[here.node];
            let local = if node.matrix.is_some() { node.local().decompose() } else { Some(node.trs()) };
            let local: Trs =
                local.ok_or_else(|| bad("TRANSFORM", 0, format!("joint node {} shears or mirrors", here.node)))?;
            let bind = match binds[place] {
                Some(bind) => bind,
                None => here.world.inverse().ok_or_else(|| {
                    bad("TRANSFORM", 0, format!("node {} above the joints has no inverse", here.node))
                })?,
            };
            let rotation = normalize_quaternion(local.rotation);
            let row = |r: usize| [bind.linear[r][0], bind.linear[r][1], bind.linear[r][2], bind.translation[r]];
            index_of_place[place] = joints.len() as u16;
            joints.push(Joint {
                name: unique_name(&mut names, &node.name, here.node),
                parent: here.parent.map(|p| u32::from(index_of_place[p])),
                humanoid: String::new(),
                translation: local.translation.map(|v| v as f32),
                rotation: if rotation == IDENTITY_QUATERNION {
                    [1.0, 0.0, 0.0, 0.0]
                } else {
                    rotation.map(|v| v as f32)
                },
                scale: local.scale.map(|v| v as f32),
                inverse_bind: [row(0), row(1), row(2)].map(|r| r.map(|v| v as f32)),
            });
        }
        let of_skin = places.iter().map(|p| index_of_place[*p]).collect();
        Ok(SkeletonMap { skeleton: Skeleton { joints }, of_skin })
    }

    /// Skinning weights of a primitive's vertices; a vertex without weights goes with the first root.
    pub fn read_skin(&self, primitive: &Primitive, of_skin: &[u16]) -> Result<Skin> {
        let count = self.vertex_count(primitive)?;
        let mut rows: Vec<Vec<(u16, f32)>> = vec![Vec::with_capacity(4); count];
        for set in 0.. {
            let accessors = (
                primitive.attributes.get(&format!("JOINTS_{set}")),
                primitive.attributes.get(&format!("WEIGHTS_{set}")),
            );
            let (Some(joints), Some(weights)) = accessors else { break };
            if set == 2 {
                return Err(bad("UNSUPPORTED", 0, "more than 8 joints for one vertex"));
            }
            for accessor in [joints, weights] {
                self.expect_count(*accessor, count)?;
            }
            let mut which = vec![[0u32; 4]; count];
            self.read_indices(*joints, |i, v| which[i] = v)?;
            let mut amounts = vec![[0.0f32; 4]; count];
            self.read_floats(*weights, |i, v| amounts[i] = v)?;
            for (i, row) in rows.iter_mut().enumerate() {
                for (joint, weight) in which[i].into_iter().zip(amounts[i]).filter(|(_, w)| *w != 0.0) {
                    let index = of_skin.get(joint as usize).filter(|_| weight.is_finite() && weight > 0.0);
                    let index = index.ok_or_else(|| {
                        bad("VALUE", 0, format!("vertex {i} follows joint {joint} of {} by {weight}", of_skin.len()))
                    })?;
                    row.push((*index, weight));
                }
            }
        }
        rows.iter_mut().filter(|row| row.is_empty()).for_each(|row| row.push((0, 1.0)));
        Ok(Skin::from_rows(rows))
    }

    /// The `POSITION` offsets of a primitive's morph targets, without those that are zero; `driver` names a target.
    pub fn read_morphs(&self, mesh: &Mesh, primitive: &Primitive, driver: impl Fn(&str) -> String) -> Result<Morphs> {
        let count = self.vertex_count(primitive)?;
        let targets = primitive.targets.len();
        if targets > rig_limits::TARGETS {
            return Err(bad("VALUE", 0, format!("{targets} morph targets, at most {} allowed", rig_limits::TARGETS)));
        }
        let mut names = HashSet::new();
        let mut deltas = vec![[0.0f32; 3]; count];
        let mut morphs = Morphs::default();
        let mut kept = 0u64;
        for (index, target) in primitive.targets.iter().enumerate() {
            deltas.fill([0.0; 3]);
            if let Some(accessor) = target.get("POSITION") {
                self.expect_count(*accessor, count)?;
                self.read_floats(*accessor, |i, d| deltas[i] = d)?;
            }
            if let Some(i) = deltas.iter().position(|d| !d.iter().all(|v| v.is_finite())) {
                return Err(bad("VALUE", 0, format!("morph target {index} moves vertex {i} by {:?}", deltas[i])));
            }
            let splats: Vec<u32> = (0..count).filter(|i| deltas[*i] != [0.0; 3]).map(|i| i as u32).collect();
            kept = kept.saturating_add(splats.len() as u64 * 16);
            self.limits.check_bytes(kept)?;
            let moved = splats.iter().map(|i| deltas[*i as usize]).collect();
            let name = unique_name(&mut names, mesh.target_name(index).unwrap_or_default(), index);
            morphs.targets.push(MorphTarget { driver: driver(&name), splats, deltas: moved });
        }
        Ok(morphs)
    }

    /// Vertices of a primitive, within the limits.
    pub fn vertex_count(&self, primitive: &Primitive) -> Result<usize> {
        let position = primitive.attributes.get("POSITION");
        let position = position.ok_or_else(|| bad("VALUE", 0, "a primitive lacks the attribute POSITION"))?;
        self.limits.check_splats(self.count(*position)? as u64, 64)
    }

    /// Refuses an accessor whose length is not `count`.
    pub fn expect_count(&self, accessor: usize, count: usize) -> Result<()> {
        let have = self.accessor(accessor)?.count;
        if have == count as u64 {
            return Ok(());
        }
        Err(bad("VALUE", 0, format!("accessor {accessor} has {have} elements, {count} expected")))
    }
}

/// A name without control characters that no other entry has yet; empty ones are called by their index.
fn unique_name(taken: &mut HashSet<String>, name: &str, index: usize) -> String {
    let clean: String = name.chars().filter(|c| !c.is_control()).collect();
    let base = if clean.is_empty() { index.to_string() } else { clean };
    let mut unique = base.clone();
    let mut suffix = 1;
    while !taken.insert(unique.clone()) {
        suffix += 1;
        unique = format!("{base}.{suffix}");
    }
    unique
}
