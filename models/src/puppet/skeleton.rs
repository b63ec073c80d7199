//! Skeletons of parametric bodies: their joints as those of an avatar, their pose groups as joint rotations.

use gav_formats::{Joint, Pose, Skeleton};

use crate::body::{Body, Rotation, SMPL_JOINTS};

/// The joints of a body at rest, in the coordinates of its vertices; rest rotations are the identity.
pub(crate) fn of_body(body: &Body<f32>, rest_joints: &[[f32; 3]]) -> Skeleton {
    let joint = |(j, name): (usize, &String)| {
        let parent = body.parents()[j];
        let here = rest_joints[j];
        let from = parent.map_or([0.0; 3], |p| rest_joints[p as usize]);
        Joint {
            name: name.clone(),
            parent,
            humanoid: humanoid(name),
            translation: std::array::from_fn(|c| here[c] - from[c]),
            rotation: [1.0, 0.0, 0.0, 0.0],
            scale: [1.0; 3],
            inverse_bind: std::array::from_fn(|r| {
                std::array::from_fn(|c| if c == 3 { -here[r] } else { f32::from(u8::from(r == c)) })
            }),
        }
    };
    Skeleton { joints: body.joint_names().iter().enumerate().map(joint).collect() }
}

/// VRM 1.0 bone of a joint with a name of FLAME, SMPL or SMPL-X; empty when there is none.
pub fn humanoid(name: &str) -> String {
    let plain = match name {
        "pelvis" => "hips",
        "spine1" => "spine",
        "spine2" => "chest",
        "spine3" => "upperChest",
        "neck" | "head" | "jaw" => name,
        _ => "",
    };
    if !plain.is_empty() {
        return plain.to_owned();
    }
    let Some((side, part)) = name.split_once('_').filter(|(side, _)| matches!(*side, "left" | "right")) else {
        return String::new();
    };
    let bone = match part {
        "hip" => "UpperLeg",
        "knee" => "LowerLeg",
        "ankle" => "Foot",
        "foot" => "Toes",
        "collar" => "Shoulder",
        "shoulder" => "UpperArm",
        "elbow" => "LowerArm",
        "wrist" => "Hand",
        "eye" => "Eye",
        _ => {
            let Some((finger, joint)) = part.split_at_checked(part.len() - 1) else { return String::new() };
            let finger = match finger {
                "index" => "Index",
                "middle" => "Middle",
                "pinky" => "Little",
                "ring" => "Ring",
                "thumb" => "Thumb",
                _ => return String::new(),
            };
            let joint = match (finger, joint) {
                ("Thumb", "1") => "Metacarpal",
                ("Thumb", "2") | (_, "1") => "Proximal",
                (_, "2") => "Intermediate",
                (_, "3") => "Distal",
                _ => return String::new(),
            };
            return format!("{side}{finger}{joint}");
        }
    };
    format!("{side}{bone}")
}

/// A pose group of a body model, and the joint that three of its numbers turn.
struct Turn {
    group: &'static str,
    /// Numbers in the whole group.
    length: usize,
    /// The first of the three.
    first: usize,
    joint: String,
}

/// Pose groups of one family of body models.
struct Family {
    prefix: &'static str,
    turns: Vec<Turn>,
    /// Group of three numbers that moves the first joint.
    translation: &'static str,
    root: &'static str,
}

/// The families whose groups a plain skeleton can play, by the names of its joints.
fn families() -> [Family; 3] {
    let turn = |group, length, first, joint: &str| Turn { group, length, first, joint: joint.to_owned() };
    let body = |group, names: &[&str]| -> Vec<Turn> {
        names.iter().enumerate().map(|(k, name)| turn(group, 3 * names.len(), 3 * k, name)).collect()
    };
    let hand = |group, side: &str| -> Vec<Turn> {
        let fingers = ["index", "middle", "pinky", "ring", "thumb"];
        let joints = fingers.iter().flat_map(|f| (1..4).map(move |k| format!("{side}_{f}{k}")));
        joints.enumerate().map(|(k, joint)| Turn { group, length: 45, first: 3 * k, joint }).collect()
    };
    let mut smplx = body("body_pose", &SMPL_JOINTS[1..22]);
    smplx.extend([
        turn("global_orient", 3, 0, "pelvis"),
        turn("jaw_pose", 3, 0, "jaw"),
        turn("leye_pose", 3, 0, "left_eye"),
        turn("reye_pose", 3, 0, "right_eye"),
    ]);
    smplx.extend(hand("left_hand_pose", "left"));
    smplx.extend(hand("right_hand_pose", "right"));
    let mut smpl = body("body_pose", &SMPL_JOINTS[1..]);
    smpl.push(turn("global_orient", 3, 0, "pelvis"));
    let flame = vec![
        turn("rotation", 3, 0, "root"),
        turn("neck_pose", 3, 0, "neck"),
        turn("jaw_pose", 3, 0, "jaw"),
        turn("eyes_pose", 6, 0, "left_eye"),
        turn("eyes_pose", 6, 3, "right_eye"),
    ];
    [
        Family { prefix: "smplx.", turns: smplx, translation: "transl", root: "pelvis" },
        Family { prefix: "smpl.", turns: smpl, translation: "transl", root: "pelvis" },
        Family { prefix: "flame.", turns: flame, translation: "translation", root: "root" },
    ]
}

/// Where the groups of a body model apply: joints whose bind rotation is the identity, for they are relative to a rest pose without
/// rotations.
fn joint<'s>(skeleton: &'s Skeleton, name: &str) -> Option<&'s Joint> {
    skeleton.joints.iter().find(|j| j.name == name && j.rotation == [1.0, 0.0, 0.0, 0.0])
}

/// Whether [`spell_out`] makes something of this target, a group or one of its numbers.
pub(super) fn hears(skeleton: &Skeleton, target: &str) -> bool {
    families().iter().any(|family| {
        let Some(group) = target.strip_prefix(family.prefix) else { return false };
        let is = |name: &str| group.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        family.turns.iter().any(|turn| is(turn.group) && joint(skeleton, &turn.joint).is_some())
            || (is(family.translation) && skeleton.joints.iter().any(|j| j.name == family.root))
    })
}

/// Adds joint rotations for the pose groups of SMPL(-X) and FLAME when the skeleton has joints of those names, so that an avatar with a
/// plain skeleton plays the clips of its body model. Joints that the pose names itself stay. Hands in principal components need the model
/// and are passed over.
pub(super) fn spell_out(skeleton: &Skeleton, pose: &Pose) -> Option<Pose> {
    let named = |family: &Family| pose.iter().any(|(target, _)| target.starts_with(family.prefix));
    let family = families().into_iter().find(named)?;
    let mut out = pose.clone();
    for Turn { group, length, first, joint: name } in &family.turns {
        let (group, target) = (format!("{}{group}", family.prefix), format!("joint/{name}/rotation"));
        // hands in principal components are shorter
        let fits = !group.ends_with("hand_pose") || pose.get(&group).is_none_or(|v| v.len() == *length);
        if fits && joint(skeleton, name).is_some() && pose.get(&target).is_none() {
            let values = pose.group(&group, *length, 0.0);
            out.set(target, quaternion([values[*first], values[first + 1], values[first + 2]]));
        }
    }
    let target = format!("joint/{}/translation", family.root);
    if let (Some(joint), None) = (skeleton.joints.iter().find(|j| j.name == family.root), pose.get(&target)) {
        let by = pose.group(&format!("{}{}", family.prefix, family.translation), 3, 0.0);
        out.set(target, std::array::from_fn::<f32, 3, _>(|c| joint.translation[c] + by[c]));
    }
    Some(out)
}

/// The unit quaternion w, x, y, z of an axis-angle vector.
pub(super) fn quaternion(turn: [f32; 3]) -> [f32; 4] {
    from_rotation(&Rotation::AxisAngle(turn))
}

pub(super) fn from_rotation(rotation: &Rotation<f32>) -> [f32; 4] {
    let m = rotation.matrix().map(|r| r.map(f64::from));
    gav_formats::conventions::quaternion_from_matrix(&m).map(|v| v as f32)
}
