//! Test help: where the equations of kinds 1 and 7 (`spec/gav.md` 8) put the splats, in f64 and without haste.

use crate::{
    Avatar, Clip, Pose, RigBase,
    gltf::scene::{Affine, Trs},
};

/// Posed centres of a skinned avatar at a time of a clip; the rest pose without a clip.
pub fn posed_means(avatar: &Avatar, at: Option<(&Clip, f64)>) -> Vec<[f64; 3]> {
    let RigBase::Skinned { skeleton, skin, morphs } = &avatar.rig.base else { panic!("a skinned avatar") };
    let pose = at.map_or_else(Pose::default, |(clip, seconds)| clip.pose_at(seconds));
    let mut means: Vec<[f64; 3]> = avatar.splats.means.iter().map(|m| m.map(f64::from)).collect();
    for target in morphs.iter().flat_map(|m| &m.targets) {
        let rest = avatar.drivers.iter().find(|d| d.name == target.driver).map_or(0.0, |d| d.default);
        let value = f64::from(pose.number(&target.driver).unwrap_or(rest));
        for (splat, delta) in target.splats.iter().zip(&target.deltas) {
            (0..3).for_each(|k| means[*splat as usize][k] += value * f64::from(delta[k]));
        }
    }
    let mut world: Vec<Affine> = Vec::new();
    let mut takes: Vec<Affine> = Vec::new();
    for joint in &skeleton.joints {
        let key = |property: &str| pose.get(&format!("joint/{}/{property}", joint.name));
        let three = |property: &str, rest: [f32; 3]| {
            std::array::from_fn(|k| f64::from(key(property).map_or(rest[k], |v| v[k])))
        };
        let turn = key("rotation").map_or(joint.rotation, |v| std::array::from_fn(|k| v[k]));
        let local = Trs {
            translation: three("translation", joint.translation),
            rotation: turn.map(f64::from),
            scale: three("scale", joint.scale),
        };
        let here = joint.parent.map_or(local.affine(), |p| world[p as usize].after(&local.affine()));
        let b = joint.inverse_bind.map(|row| row.map(f64::from));
        takes.push(here.after(&Affine { linear: b.map(|r| [r[0], r[1], r[2]]), translation: b.map(|r| r[3]) }));
        world.push(here);
    }
    let moved = |i: usize| {
        let mut sum = [0.0; 3];
        for (joint, weight) in skin.row(i) {
            let t = &takes[usize::from(joint)];
            for (r, total) in sum.iter_mut().enumerate() {
                let at = t.translation[r] + (0..3).map(|c| t.linear[r][c] * means[i][c]).sum::<f64>();
                *total += f64::from(weight) * at;
            }
        }
        sum
    };
    (0..means.len()).map(moved).collect()
}

/// Largest difference of two sets of points in any coordinate.
pub fn farthest(a: &[[f64; 3]], b: &[[f64; 3]]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.as_flattened().iter().zip(b.as_flattened()).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}
