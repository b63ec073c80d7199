//! Joints, skin and morph targets of a skinned avatar, in the axes of the file already.

use serde_json::{Map, Value, json};

use super::{
    super::accessor::FLOAT,
    builder::{ARRAY_BUFFER, Builder, set_bounds},
    columns::push_floats,
};
use crate::{Avatar, Error, Joint, Morphs, Result, Skeleton, Skin, conventions::normalize_quaternion};

const UNSIGNED_BYTE: u32 = 5121;
const UNSIGNED_SHORT: u32 = 5123;
const UNSIGNED_INT: u32 = 5125;
/// Influences that a vertex can have in the first set of weights, the only one that every viewer reads.
const INFLUENCES: usize = 4;
/// Dropped weight that is worth a note, as a share of a splat's weight.
const NOTABLE_WEIGHT: f64 = 1e-3;

/// Where the joints went.
pub struct JointNodes {
    /// Node of each joint.
    pub nodes: Vec<usize>,
    /// Nodes of the scene.
    pub roots: Vec<usize>,
}

/// Adds a node for each joint. Skins need a common root: several roots get a parent without a transform.
pub fn add_joints(glb: &mut Builder, skeleton: &Skeleton) -> JointNodes {
    let first = glb.nodes.len();
    let mut children = vec![Vec::new(); skeleton.joints.len()];
    let mut roots = Vec::new();
    for (index, joint) in skeleton.joints.iter().enumerate() {
        match joint.parent {
            Some(parent) => children[parent as usize].push(first + index),
            None => roots.push(first + index),
        }
    }
    for (joint, children) in skeleton.joints.iter().zip(children) {
        glb.nodes.push(joint_node(joint, &children));
    }
    if roots.len() > 1 {
        glb.nodes.push(json!({"name": "skeleton", "children": roots}));
        roots = vec![glb.nodes.len() - 1];
    }
    JointNodes { nodes: (first..first + skeleton.joints.len()).collect(), roots }
}

fn joint_node(joint: &Joint, children: &[usize]) -> Value {
    let mut node = Map::new();
    node.insert("name".to_owned(), json!(joint.name));
    let [w, x, y, z] = normalize_quaternion(joint.rotation.map(f64::from)).map(|v| f64::from(v as f32));
    let properties = [
        ("translation", joint.translation.map(f64::from).to_vec(), vec![0.0; 3]),
        ("rotation", vec![x, y, z, w], vec![0.0, 0.0, 0.0, 1.0]),
        ("scale", joint.scale.map(f64::from).to_vec(), vec![1.0; 3]),
    ];
    for (name, value, default) in properties {
        if value != default {
            node.insert(name.to_owned(), json!(value));
        }
    }
    if !children.is_empty() {
        node.insert("children".to_owned(), json!(children));
    }
    if !joint.humanoid.is_empty() {
        node.insert("extras".to_owned(), json!({"humanoid": joint.humanoid}));
    }
    Value::Object(node)
}

/// Weights that a splat keeps: at most four, heaviest first, summing to 1; and the share of the weight that is lost.
fn heaviest(row: impl Iterator<Item = (u16, f32)>) -> (Vec<(u16, f64)>, f64) {
    let mut row: Vec<(u16, f64)> = row.filter(|(_, w)| *w > 0.0).map(|(j, w)| (j, f64::from(w))).collect();
    row.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let total: f64 = row.iter().map(|(_, w)| w).sum();
    row.truncate(INFLUENCES);
    let kept: f64 = row.iter().map(|(_, w)| w).sum();
    row.iter_mut().for_each(|(_, w)| *w /= kept);
    (row, 1.0 - kept / total)
}

/// Adds the skin with the joints that carry weight, and the weights to the primitive. Returns the skin's index.
///
/// # Errors
/// [`Error::Usage`] when the weights of a splat are all zero.
pub fn add_skin(
    glb: &mut Builder,
    skeleton: &Skeleton,
    skin: &Skin,
    joints: &JointNodes,
    primitive: &mut Value,
    notes: &mut Vec<String>,
) -> Result<usize> {
    let count = skin.offsets.len() - 1;
    let (mut worst, mut lost, mut cut) = ((0, 0.0f64), 0.0, 0usize);
    let mut rows = Vec::with_capacity(count);
    let mut palette = vec![usize::MAX; skeleton.joints.len()];
    for splat in 0..count {
        let (row, dropped) = heaviest(skin.row(splat));
        if row.is_empty() {
            return Err(Error::usage(format!("splat {splat} has no weight above 0")));
        }
        cut += usize::from(dropped > NOTABLE_WEIGHT);
        lost += dropped;
        worst = if dropped > worst.1 { (splat, dropped) } else { worst };
        row.iter().for_each(|(joint, _)| palette[usize::from(*joint)] = 0);
        rows.push(row);
    }
    let used: Vec<usize> = (0..palette.len()).filter(|j| palette[*j] == 0).collect();
    used.iter().enumerate().for_each(|(place, joint)| palette[*joint] = place);
    let (mut indices, mut weights) = (Vec::with_capacity(count * 4), Vec::with_capacity(count));
    let wide = used.len() > 256;
    for row in &rows {
        for k in 0..INFLUENCES {
            // unused slots must name joint 0
            let place = row.get(k).map_or(0, |(joint, _)| palette[usize::from(*joint)]);
            if wide {
                indices.extend_from_slice(&(place as u16).to_le_bytes());
            } else {
                indices.push(place as u8);
            }
        }
        weights.push(rounded_weights(row));
    }
    let view = glb.view(indices, Some(ARRAY_BUFFER));
    let component = if wide { UNSIGNED_SHORT } else { UNSIGNED_BYTE };
    let accessor = json!({"bufferView": view, "componentType": component, "count": count, "type": "VEC4"});
    primitive["attributes"]["JOINTS_0"] = json!(glb.accessor(accessor));
    primitive["attributes"]["WEIGHTS_0"] = json!(glb.floats("VEC4", &weights, false, Some(ARRAY_BUFFER)));

    let binds: Vec<[f32; 16]> = used
        .iter()
        .map(|joint| {
            let m = skeleton.joints[*joint].inverse_bind;
            // columns
            std::array::from_fn(|k| if k % 4 < 3 { m[k % 4][k / 4] } else { f32::from(u8::from(k == 15)) })
        })
        .collect();
    let matrices = glb.floats("MAT4", &binds, false, None);
    let nodes: Vec<usize> = used.iter().map(|joint| joints.nodes[*joint]).collect();
    glb.skins.push(json!({"joints": nodes, "inverseBindMatrices": matrices}));
    if worst.1 > 0.0 {
        notes.push(format!(
            "of more than {INFLUENCES} joints a splat the heaviest are kept: {cut} splats lose more than {}% of their weight, splat {} the most with {:.2}%, all together {:.3}%",
            NOTABLE_WEIGHT * 100.0,
            worst.0,
            worst.1 * 100.0,
            lost / count as f64 * 100.0
        ));
    }
    Ok(glb.skins.len() - 1)
}

/// Weights in f32 whose sum is 1 to the last bit: the heaviest takes the rounding of the others.
fn rounded_weights(row: &[(u16, f64)]) -> [f32; 4] {
    let mut weights = [0.0f32; 4];
    for (weight, (_, w)) in weights.iter_mut().zip(row) {
        *weight = *w as f32;
    }
    weights[0] = (1.0 - weights[1..].iter().map(|w| f64::from(*w)).sum::<f64>()) as f32;
    weights
}

/// Adds the morph targets to the primitive, their names and values at rest to the mesh.
///
/// All rows of all targets lie in two buffer views, indices and values. A target that moves more than three quarters of the
/// splats is smaller as a full array.
pub fn add_morphs(glb: &mut Builder, morphs: &Morphs, avatar: &Avatar, primitive: &mut Value, mesh: &mut Value) {
    if morphs.targets.is_empty() {
        return;
    }
    let count = avatar.splats.len();
    let wide = count > 1 << 16;
    let is_sparse = |rows: usize| rows * if wide { 16 } else { 14 } < count * 12;
    let (mut indices, mut values, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    let mut pending: Vec<(usize, Value)> = Vec::new();
    for target in &morphs.targets {
        let mut bounded = target.deltas.clone();
        if target.splats.len() < count {
            bounded.push([0.0; 3]);
        }
        let index = if is_sparse(target.splats.len()) || target.splats.is_empty() {
            let mut accessor = json!({"componentType": FLOAT, "count": count, "type": "VEC3"});
            set_bounds(&mut accessor, &bounded);
            let index = glb.accessor(json!(null));
            if !target.splats.is_empty() {
                accessor["sparse"] = json!({
                    "count": target.splats.len(),
                    "indices": {"byteOffset": indices.len(), "componentType": if wide { UNSIGNED_INT } else { UNSIGNED_SHORT }},
                    "values": {"byteOffset": values.len()}
                });
            }
            pending.push((index, accessor));
            for splat in &target.splats {
                if wide {
                    indices.extend_from_slice(&splat.to_le_bytes());
                } else {
                    indices.extend_from_slice(&(*splat as u16).to_le_bytes());
                }
            }
            push_floats(&mut values, target.deltas.as_flattened());
            index
        } else {
            let mut full = vec![[0.0f32; 3]; count];
            target.splats.iter().zip(&target.deltas).for_each(|(splat, delta)| full[*splat as usize] = *delta);
            glb.floats("VEC3", &full, true, Some(ARRAY_BUFFER))
        };
        targets.push(json!({"POSITION": index}));
    }
    if !values.is_empty() {
        let views = [glb.view(indices, None), glb.view(values, None)];
        for (_, accessor) in &mut pending {
            if let Some(sparse) = accessor.get_mut("sparse") {
                sparse["indices"]["bufferView"] = json!(views[0]);
                sparse["values"]["bufferView"] = json!(views[1]);
            }
        }
    }
    pending.into_iter().for_each(|(index, accessor)| glb.set_accessor(index, accessor));
    primitive["targets"] = json!(targets);
    let driver = |name: &str| avatar.drivers.iter().find(|d| d.name == name);
    let rest = |name: &str| driver(name).map_or(0.0, |d| f64::from(d.default));
    mesh["weights"] = json!(morphs.targets.iter().map(|t| rest(&t.driver)).collect::<Vec<_>>());
    mesh["extras"]["targetNames"] = json!(morphs.targets.iter().map(|t| target_name(&t.driver)).collect::<Vec<_>>());
    let range = |name: &str| driver(name).map_or([0.0, 1.0], |d| [d.min, d.max].map(f64::from));
    let ranges: Vec<[f64; 2]> = morphs.targets.iter().map(|t| range(&t.driver)).collect();
    if ranges.iter().any(|r| *r != [0.0, 1.0]) {
        mesh["extras"]["targetRanges"] = json!(ranges);
    }
}

/// The name of a morph target: ARKit's plain name, which viewers and trackers look for, or the driver's full name.
pub fn target_name(driver: &str) -> &str {
    driver.strip_prefix("arkit.").unwrap_or(driver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_heaviest_weights_stay_and_sum_to_one() {
        let row = [(3, 0.1), (0, 0.3), (7, 0.05), (2, 0.25), (9, 0.3)];
        let (kept, lost) = heaviest(row.into_iter());
        assert_eq!(kept.iter().map(|(joint, _)| *joint).collect::<Vec<_>>(), [0, 9, 2, 3]);
        assert!((lost - 0.05).abs() < 1e-6, "{lost}");
        let weights = rounded_weights(&kept);
        let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        // the validator allows 2e-7 a weight
        assert!((sum - 1.0).abs() < 6e-8 && (weights[0] - 0.3 / 0.95).abs() < 1e-6, "{weights:?}");
        assert_eq!(rounded_weights(&heaviest([(5, 0.25)].into_iter()).0), [1.0, 0.0, 0.0, 0.0]);
    }
}
