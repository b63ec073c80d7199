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

/// Adds joint rotations for the pose groups of SMPL(-X) and FLAME when the skeleton has joints of those names, so that an avatar with a
/// plain skeleton plays the clips of its body model. Joints that the pose names itself stay.
///
/// Hands in principal components need the model and are passed over; so are joints whose bind rotation is not the identity, for the
/// groups are relative to a rest pose without rotations.
pub(super) fn spell_out(skeleton: &Skeleton, pose: &Pose) -> Option<Pose> {
    let groups = |family: &str| pose.iter().any(|(target, _)| target.starts_with(family));
    let mut out = pose.clone();
    let mut set = |name: &str, turn: &[f32]| {
        let target = format!("joint/{name}/rotation");
        let joint = skeleton.joints.iter().find(|j| j.name == name && j.rotation == [1.0, 0.0, 0.0, 0.0]);
        if let ([x, y, z], Some(_), None) = (turn, joint, pose.get(&target)) {
            out.set(target, quaternion([*x, *y, *z]));
        }
    };
    let root = if groups("smplx.") {
        let body = pose.group("smplx.body_pose", 63, 0.0);
        SMPL_JOINTS[1..22].iter().zip(body.chunks_exact(3)).for_each(|(name, turn)| set(name, turn));
        for (group, name) in [("jaw_pose", "jaw"), ("leye_pose", "left_eye"), ("reye_pose", "right_eye")] {
            set(name, &pose.group(&format!("smplx.{group}"), 3, 0.0));
        }
        for side in ["left", "right"] {
            let group = format!("smplx.{side}_hand_pose");
            if pose.get(&group).is_none_or(|v| v.len() == 45) {
                let fingers = ["index", "middle", "pinky", "ring", "thumb"];
                let joints = fingers.iter().flat_map(|f| (1..4).map(move |k| format!("{side}_{f}{k}")));
                joints.zip(pose.group(&group, 45, 0.0).chunks_exact(3)).for_each(|(name, turn)| set(&name, turn));
            }
        }
        set("pelvis", &pose.group("smplx.global_orient", 3, 0.0));
        ("pelvis", pose.group("smplx.transl", 3, 0.0))
    } else if groups("smpl.") {
        let body = pose.group("smpl.body_pose", 69, 0.0);
        SMPL_JOINTS[1..].iter().zip(body.chunks_exact(3)).for_each(|(name, turn)| set(name, turn));
        set("pelvis", &pose.group("smpl.global_orient", 3, 0.0));
        ("pelvis", pose.group("smpl.transl", 3, 0.0))
    } else if groups("flame.") {
        for (group, first, name) in [
            ("rotation", 0, "root"),
            ("neck_pose", 0, "neck"),
            ("jaw_pose", 0, "jaw"),
            ("eyes_pose", 0, "left_eye"),
            ("eyes_pose", 3, "right_eye"),
        ] {
            set(name, &pose.group(&format!("flame.{group}"), first + 3, 0.0)[first..]);
        }
        ("root", pose.group("flame.translation", 3, 0.0))
    } else {
        return None;
    };
    let target = format!("joint/{}/translation", root.0);
    if let (Some(joint), None) = (skeleton.joints.iter().find(|j| j.name == root.0), pose.get(&target)) {
        out.set(target, std::array::from_fn::<f32, 3, _>(|c| joint.translation[c] + root.1[c]));
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
