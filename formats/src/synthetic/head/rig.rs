//! The head's rig: six joints with smooth weights, expressions as position morphs, drivers and a short clip.

use super::{
    Dab, Part,
    shape::{
        EYE, LID_RADIUS, MOUTH_HALF_WIDTH, MOUTH_HEIGHT, V, add, length, lid_edges, mix, mouth_line, smoothstep, sub,
    },
    skin::{eye_local, on_lid},
};
use crate::{Avatar, Clip, Driver, Interpolation, Joint, MorphTarget, Morphs, RigBase, Skeleton, Skin, Track};

/// Name, VRM bone, parent and place in centimetres of each joint. Sides are the depicted person's: left is +x.
const JOINTS: [(&str, &str, Option<u32>, V); 6] = [
    ("root", "", None, [0.0, -20.0, -3.0]),
    ("neck", "neck", Some(0), [0.0, -13.0, -3.0]),
    ("head", "head", Some(1), [0.0, -4.0, -1.5]),
    ("jaw", "jaw", Some(2), JAW_HINGE),
    ("leftEye", "leftEye", Some(2), EYE),
    ("rightEye", "rightEye", Some(2), [-EYE[0], EYE[1], EYE[2]]),
];
const JAW_HINGE: V = [0.0, -1.5, -0.5];
/// Turn of the jaw at full opening in radians.
const JAW_OPENING: f64 = 0.20;
/// Offsets shorter than this (cm) are left out of the morphs.
const SMALLEST_DELTA: f64 = 0.005;

/// Adds joints, weights, morphs, drivers and the clip `hello`.
pub fn add_rig(avatar: &mut Avatar, dabs: &[Dab]) {
    let skin = Skin::from_rows(dabs.iter().map(weights));
    let expressions: [(&str, fn(&Dab) -> V); 5] = [
        ("arkit.jawOpen", jaw_open),
        ("arkit.eyeBlinkLeft", |dab| blink(dab, 1.0)),
        ("arkit.eyeBlinkRight", |dab| blink(dab, -1.0)),
        ("arkit.mouthSmileLeft", |dab| smile(dab, 1.0)),
        ("arkit.mouthSmileRight", |dab| smile(dab, -1.0)),
    ];
    let targets = expressions
        .map(|(name, offset)| {
            let mut target = MorphTarget { driver: name.into(), ..MorphTarget::default() };
            for (index, dab) in dabs.iter().enumerate() {
                let delta = offset(dab);
                if length(delta) > SMALLEST_DELTA {
                    target.splats.push(index as u32);
                    target.deltas.push(delta.map(|v| (0.01 * v) as f32));
                }
            }
            target
        })
        .into();
    avatar.drivers = expressions.map(|(name, _)| Driver { name: name.into(), min: 0.0, max: 1.0, default: 0.0 }).into();
    avatar.rig.base = RigBase::Skinned { skeleton: skeleton(), skin, morphs: Some(Morphs { targets }) };
    avatar.clips = vec![hello()];
}

fn skeleton() -> Skeleton {
    let joint = |(name, humanoid, parent, place): (&str, &str, Option<u32>, V)| {
        let from = parent.map_or([0.0; 3], |p| JOINTS[p as usize].3);
        let inverse_bind = std::array::from_fn(|r| {
            let mut row = [0.0; 4];
            row[r] = 1.0;
            row[3] = (-0.01 * place[r]) as f32;
            row
        });
        Joint {
            name: name.into(),
            parent,
            humanoid: humanoid.into(),
            translation: sub(place, from).map(|v| (0.01 * v) as f32),
            rotation: [1.0, 0.0, 0.0, 0.0],
            scale: [1.0; 3],
            inverse_bind,
        }
    };
    Skeleton { joints: JOINTS.map(joint).into() }
}

fn weights(dab: &Dab) -> Vec<(u16, f32)> {
    let p = dab.center;
    match dab.part {
        Part::EyeRight => return vec![(4, 1.0)],
        Part::EyeLeft => return vec![(5, 1.0)],
        Part::Shirt => return vec![(0, 1.0)],
        Part::LowerMouth => return vec![(3, 1.0)],
        _ => {}
    }
    // up the neck the weight passes from root to neck to head; the throat follows later than the nape
    let height = p[1] + 0.25 * (p[2] + 3.0) * smoothstep(-8.0, -11.0, p[1]);
    let (neck, head) = (smoothstep(-18.0, -14.0, height), smoothstep(-12.5, -6.5, height));
    let jaw = if dab.part == Part::Skin { jaw_weight(p) } else { 0.0 };
    let above = neck * head;
    [(0, 1.0 - neck), (1, neck * (1.0 - head)), (2, above * (1.0 - jaw)), (3, above * jaw)]
        .into_iter()
        .filter(|(_, weight)| *weight > 1e-3)
        .map(|(joint, weight)| (joint, weight as f32))
        .collect()
}

/// How much skin follows the jaw: all of it below the mouth, none above, with a clean cut between the lips.
fn jaw_weight(p: V) -> f64 {
    let front = smoothstep(-1.0, 5.5, p[2]) * smoothstep(-13.5, -10.5, p[1]);
    let across = p[0].abs() / (MOUTH_HALF_WIDTH + 0.15);
    let below = mouth_line(p[0].clamp(-MOUTH_HALF_WIDTH, MOUTH_HALF_WIDTH)) - p[1];
    let cheek = smoothstep(-2.2, 2.6, below) * smoothstep(9.0, 4.5, p[0].abs());
    if across >= 1.0 || p[2] < 5.0 {
        return front * cheek;
    }
    // the cut closes towards the corners
    let open = 1.0 - across * across;
    let lips = if below > 0.0 { mix(cheek, 1.0, open.sqrt()) } else { cheek * (1.0 - open.sqrt()) };
    front * lips
}

fn jaw_open(dab: &Dab) -> V {
    let amount = match dab.part {
        Part::LowerMouth => 1.0,
        Part::Skin => {
            jaw_weight(dab.center) * smoothstep(-12.5, -6.5, dab.center[1]).max(smoothstep(3.0, 6.0, dab.center[2]))
        }
        _ => 0.0,
    };
    let (sine, cosine) = JAW_OPENING.sin_cos();
    let arm = sub(dab.center, JAW_HINGE);
    // about x, chin down and back
    let turned = [arm[0], cosine * arm[1] - sine * arm[2], sine * arm[1] + cosine * arm[2]];
    sub(turned, arm).map(|v| amount * v)
}

fn blink(dab: &Dab, side: f64) -> V {
    let p = dab.center;
    let e = eye_local(p);
    let moving = matches!(dab.part, Part::Skin | Part::UpperLid);
    if p[0] * side < 0.0 || !moving || e[2] < 0.2 || length(e) > 2.2 || on_lid(p) > 0.75 {
        return [0.0; 3];
    }
    let (upper, lower) = lid_edges(e[0]).unwrap_or((0.0, 0.0));
    let gap = (upper - lower).max(0.0) + 0.04;
    // the strip of skin above the edge follows, less and less, so that it covers the eye evenly
    let above = e[1] - upper;
    if above < -0.15 {
        return [0.0; 3];
    }
    let follow = if dab.part == Part::UpperLid { 1.0 } else { 1.0 - smoothstep(-0.1, 1.1, above) };
    let y = e[1] - follow * gap;
    // along the lids' sphere, at the splat's own height over it
    let radius = length(e).max(LID_RADIUS - 0.1);
    let z = (radius * radius - e[0] * e[0] - y * y).max(0.0).sqrt();
    [0.0, y - e[1], follow * (z - e[2]).max(0.0)]
}

fn smile(dab: &Dab, side: f64) -> V {
    let p = dab.center;
    if dab.part != Part::Skin || p[2] < 1.0 {
        return [0.0; 3];
    }
    let corner = [side * MOUTH_HALF_WIDTH, MOUTH_HEIGHT + 0.3, 7.6];
    let near = 1.0 - smoothstep(0.0, 3.4, length(sub(p, corner)));
    let cheek = 1.0 - smoothstep(0.0, 2.8, length(sub(p, [side * 4.0, -2.6, 6.6])));
    let own = smoothstep(-0.4, 1.2, side * p[0]);
    let pull = [side * 0.42, 0.46, -0.28].map(|v| v * near * own);
    add(pull, [side * 0.05, 0.22, 0.14].map(|v| v * cheek * own))
}

/// Three seconds: look around, say something, blink twice, smile.
fn hello() -> Clip {
    let keys = |values: &[(u32, f32)], target: &str| Track {
        target: target.into(),
        width: 1,
        interpolation: Interpolation::Linear,
        ticks: values.iter().map(|k| k.0).collect(),
        values: values.iter().map(|k| k.1).collect(),
    };
    let blinks = [(0, 0.0), (18, 0.0), (20, 1.0), (23, 0.0), (70, 0.0), (72, 1.0), (75, 0.0), (90, 0.0)];
    let speech = [(0, 0.0), (30, 0.0), (34, 0.55), (38, 0.1), (42, 0.7), (47, 0.15), (52, 0.45), (58, 0.0), (90, 0.0)];
    let smile = [(0, 0.0), (50, 0.0), (62, 1.0), (80, 1.0), (90, 0.0)];
    // yaw and pitch in radians
    let poses: [(u32, f64, f64); 6] =
        [(0, 0.0, 0.0), (15, 0.30, 0.02), (30, 0.05, -0.05), (48, -0.22, 0.06), (66, -0.06, -0.04), (90, 0.0, 0.0)];
    let turn = |yaw: f64, pitch: f64| {
        let ((sy, cy), (sp, cp)) = ((0.5 * yaw).sin_cos(), (0.5 * pitch).sin_cos());
        [cy * cp, cy * sp, sy * cp, -sy * sp].map(|v| v as f32)
    };
    let rotation = |target: &str, share: f64| Track {
        target: format!("joint/{target}/rotation"),
        width: 4,
        interpolation: Interpolation::Slerp,
        ticks: poses.iter().map(|p| p.0).collect(),
        values: poses.iter().flat_map(|p| turn(share * p.1, share * p.2)).collect(),
    };
    Clip {
        name: "hello".into(),
        ticks_per_second: 30,
        tracks: vec![
            rotation("neck", 0.4),
            rotation("head", 0.6),
            rotation("leftEye", -0.35),
            rotation("rightEye", -0.35),
            keys(&speech, "arkit.jawOpen"),
            keys(&blinks, "arkit.eyeBlinkLeft"),
            keys(&blinks, "arkit.eyeBlinkRight"),
            keys(&smile, "arkit.mouthSmileLeft"),
            keys(&smile, "arkit.mouthSmileRight"),
        ],
    }
}
