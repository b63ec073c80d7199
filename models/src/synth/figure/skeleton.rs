//! The person as a template: SMPL's 24 joints with smooth skinning weights.

use gav_formats::{
    TemplateFamily,
    synthetic::head::shape::{V, dot, mix, smoothstep, sub},
};

use super::{
    super::{face::regress, template::METRES},
    form::{ANKLE, ELBOW, JOINTS, KNEE, SHOULDER, WRIST, arm_axis, forearm_axis, mirrored, sleeve, trunk},
};
use crate::body::{Parts, SMPL_JOINTS};

const PARENTS: [Option<u32>; 24] = [
    None,
    Some(0),
    Some(0),
    Some(0),
    Some(1),
    Some(2),
    Some(3),
    Some(4),
    Some(5),
    Some(6),
    Some(7),
    Some(8),
    Some(9),
    Some(9),
    Some(9),
    Some(12),
    Some(13),
    Some(14),
    Some(16),
    Some(17),
    Some(18),
    Some(19),
    Some(20),
    Some(21),
];
/// Vertices that say where a joint is: the nearest ones.
const NEAREST: usize = 60;

/// Weights of a place for all joints; they sum to 1.
pub(super) fn weights(point: V) -> [f64; 24] {
    let p = mirrored(point);
    let mut out = [0.0; 24];
    let side = usize::from(point[0] < 0.0);

    // from pelvis to head by height; the chin hangs before the neck
    let high = p[1] + 0.45 * (p[2] - 1.5).max(0.0);
    let steps = [
        (3, smoothstep(99.0, 110.0, p[1])),
        (6, smoothstep(111.0, 123.0, p[1])),
        (9, smoothstep(122.0, 134.0, p[1])),
        (12, smoothstep(143.0, 150.5, high)),
        (15, smoothstep(149.5, 157.0, high)),
    ];
    out[0] = 1.0;
    let mut below = 0;
    for (joint, share) in steps {
        out[joint] = out[below] * share;
        out[below] -= out[joint];
        below = joint;
    }
    let mut move_to = |from: &dyn Fn(usize) -> bool, to: &[(usize, f64)], share: f64| {
        let taken: f64 = (0..24).filter(|j| from(*j)).map(|j| out[j] * share).sum();
        (0..24).filter(|j| from(*j)).for_each(|j| out[j] *= 1.0 - share);
        to.iter().for_each(|(joint, part)| out[*joint] += taken * part);
    };

    // collar bone and arm
    let beyond = dot(sub(p, SHOULDER), arm_axis());
    let arm = smoothstep(-4.5, 7.5, beyond) * smoothstep(-3.0, 4.0, trunk(p) - sleeve(p));
    let arm = if p[0] > 8.0 && p[1] > 70.0 { arm.max(smoothstep(26.0, 30.0, p[0])) } else { 0.0 };
    let collar = 0.8 * smoothstep(4.0, 15.0, p[0]) * smoothstep(124.0, 139.0, p[1]) * smoothstep(150.0, 147.0, p[1]);
    let chest = |joint: usize| joint == 9 || joint == 12;
    move_to(&chest, &[(13 + side, 1.0)], collar);
    let fore = smoothstep(-5.5, 5.5, dot(sub(p, ELBOW), forearm_axis()));
    let out_on = dot(sub(p, WRIST), forearm_axis());
    let (hand, fingers) = (smoothstep(-3.5, 2.5, out_on), smoothstep(6.0, 10.0, out_on));
    let chain = [
        (16 + side, 1.0 - fore),
        (18 + side, fore * (1.0 - hand)),
        (20 + side, fore * hand * (1.0 - fingers)),
        (22 + side, fore * hand * fingers),
    ];
    move_to(&|_| true, &chain, arm);

    // legs, parted over a width that grows towards the waist
    if p[1] < 100.0 && arm < 1.0 {
        let leg = smoothstep(99.0, 76.0, p[1]) * (1.0 - arm);
        let width = mix(1.2, 9.0, smoothstep(76.0, 92.0, p[1]));
        let left = smoothstep(-width, width, point[0]);
        let shank = smoothstep(KNEE[1] + 6.5, KNEE[1] - 6.5, p[1]);
        let foot = smoothstep(ANKLE[1] + 3.5, ANKLE[1] - 2.0, p[1]);
        let toes = smoothstep(4.5, 10.5, p[2]) * foot;
        for (side, share) in [(0, left), (1, 1.0 - left)] {
            let chain = [
                (1 + side, 1.0 - shank),
                (4 + side, shank * (1.0 - foot)),
                (7 + side, shank * foot * (1.0 - toes)),
                (10 + side, shank * foot * toes),
            ];
            // the second side takes what the first has left of the pelvis
            let of_rest = if side == 0 { leg * share } else { leg * share / (1.0 - leg * (1.0 - share)).max(1e-9) };
            move_to(&|joint| joint == 0, &chain, of_rest.min(1.0));
        }
    }
    out
}

/// The template in metres; nothing but joints moves it.
pub(super) fn parts(vertices: &[V], faces: &[[u32; 3]]) -> Parts<f32> {
    let count = vertices.len();
    let mut regressor = vec![0.0f32; 24 * count];
    for (joint, center) in JOINTS.iter().enumerate() {
        let far = |v: &usize| {
            let d = sub(vertices[*v], *center);
            dot(d, d)
        };
        let mut chosen: Vec<usize> = (0..count).collect();
        chosen.sort_by(|a, b| far(a).total_cmp(&far(b)).then(a.cmp(b)));
        chosen.truncate(NEAREST);
        for (vertex, weight) in chosen.iter().zip(regress(vertices, &chosen, *center)) {
            regressor[joint * count + vertex] = weight as f32;
        }
    }
    Parts {
        family: TemplateFamily::Custom,
        name: "procedural body".to_owned(),
        licence: "CC0-1.0".to_owned(),
        vertices: vertices.iter().map(|p| p.map(|v| (METRES * v) as f32)).collect(),
        faces: faces.to_vec(),
        uvs: Vec::new(),
        uv_faces: Vec::new(),
        shapedirs: Vec::new(),
        identity_columns: 0,
        posedirs: Vec::new(),
        extras: Vec::new(),
        regressor,
        weights: vertices.iter().flat_map(|p| weights(*p).map(|w| w as f32)).collect(),
        parents: PARENTS.to_vec(),
        joint_names: SMPL_JOINTS.iter().map(|n| (*n).to_owned()).collect(),
        hands: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_belong_to_the_side() {
        for (p, joint) in [
            ([0.0, 170.0, 8.0], 15),
            ([0.0, 137.0, 10.0], 9),
            ([28.0, 129.0, 3.0], 16),
            ([-44.0, 112.0, 3.0], 19),
            ([60.0, 95.0, -1.0], 22),
            ([10.0, 66.0, 8.0], 1),
            ([-10.6, 30.0, 5.0], 5),
            ([12.6, 2.0, 15.0], 10),
            ([11.0, 2.0, -7.0], 7),
        ] {
            let w = weights(p);
            assert!((w.iter().sum::<f64>() - 1.0).abs() < 1e-9 && w.iter().all(|w| *w >= -1e-12), "{p:?}: {w:?}");
            assert!(w[joint] > 0.6, "{p:?}: {w:?}");
        }
    }
}
