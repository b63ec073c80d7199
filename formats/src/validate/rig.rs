//! Checks of what moves: joints, weights, morphs, drivers, clips, template. Sizes and sums are checked by
//! [`crate::Rig::validate`] already; here it is about values that a player would stumble over.

use std::collections::HashSet;

use super::{Message, Severity, Tally, splats_have};
use crate::{Avatar, BlendWeights, Interpolation, Joint, RigBase, Skin};

/// Weights are stored in 8 bits: their sum may be off by one step.
const WEIGHT_TOLERANCE: f32 = 1.0 / 255.0;

pub(super) fn check(avatar: &Avatar, messages: &mut Vec<Message>) {
    match &avatar.rig.base {
        RigBase::Static | RigBase::Frames(_) => {}
        RigBase::Skinned { skeleton, skin, .. } => {
            joints(&skeleton.joints, messages);
            weights(avatar.splats.len(), skin, messages);
        }
        RigBase::Triangle(_) => triangle(avatar, messages),
    }
    drivers(avatar, messages);
    clips(avatar, messages);
    mesh(avatar, messages);
}

fn joints(joints: &[Joint], messages: &mut Vec<Message>) {
    let (mut names, mut roles) = (HashSet::new(), HashSet::new());
    for (index, joint) in joints.iter().enumerate() {
        let pointer = || format!("/rig/joints/{index}");
        let mut push = |severity, code, text| messages.push(Message::new(severity, code, pointer(), text));
        if !names.insert(&joint.name) {
            push(Severity::Warning, "DUPLICATE_NAME", format!("two joints are called `{}`", joint.name));
        }
        if !joint.humanoid.is_empty() && !roles.insert(&joint.humanoid) {
            push(Severity::Warning, "DUPLICATE_NAME", format!("two joints are the humanoid `{}`", joint.humanoid));
        }
        let length = joint.rotation.iter().map(|v| v * v).sum::<f32>().sqrt();
        if (length - 1.0).abs() > 1e-3 {
            let text = format!("joint `{}` rotates by a quaternion of length {length}", joint.name);
            push(Severity::Warning, "ROTATION_NOT_UNIT", text);
        }
        let m = joint.inverse_bind.map(|row| row.map(f64::from));
        let determinant = m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
            - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
        if determinant.abs() < 1e-12 {
            let text = format!("the bind matrix of joint `{}` cannot be inverted", joint.name);
            push(Severity::Error, "BIND_SINGULAR", text);
        }
    }
}

fn weights(count: usize, skin: &Skin, messages: &mut Vec<Message>) {
    let (mut sums, mut order) = (Tally::default(), Tally::default());
    for splat in 0..count {
        let (mut sum, mut previous) = (0.0, f32::INFINITY);
        let mut sorted = true;
        for (_, weight) in skin.row(splat) {
            sum += weight;
            sorted &= weight <= previous;
            previous = weight;
        }
        if (sum - 1.0).abs() > WEIGHT_TOLERANCE || sum.is_nan() {
            sums.add(splat);
        }
        if !sorted {
            order.add(splat);
        }
    }
    sums.report(
        messages,
        Severity::Error,
        "WEIGHT_SUM",
        |i| format!("/rig/skin/{i}"),
        |n| format!("{} skin weights that do not sum to 1", splats_have(n)),
    );
    order.report(
        messages,
        Severity::Info,
        "WEIGHT_ORDER",
        |i| format!("/rig/skin/{i}"),
        |n| format!("{} skin weights that are not sorted, heaviest first", splats_have(n)),
    );
}

fn triangle(avatar: &Avatar, messages: &mut Vec<Message>) {
    if avatar.template.is_none() {
        let text = "the splats are bound to triangles, and no template is named";
        messages.push(Message::new(Severity::Warning, "TEMPLATE_MISSING", "/template", text));
    }
    if avatar.rest.is_none() {
        let text = "no rest pose is stored: without the template nothing can be shown";
        messages.push(Message::new(Severity::Warning, "REST_MISSING", "/rest", text));
    }
}

/// The names of drivers that the rig listens to, with where they are used.
fn used_drivers(avatar: &Avatar) -> Vec<(String, &str)> {
    let mut used = Vec::new();
    if let RigBase::Skinned { morphs: Some(morphs), .. } = &avatar.rig.base {
        used.extend(morphs.targets.iter().enumerate().map(|(i, t)| (format!("/rig/morphs/{i}"), t.driver.as_str())));
    }
    let names = match avatar.rig.blendshapes.as_ref().map(|b| &b.weights) {
        Some(BlendWeights::Drivers(names)) => names.as_slice(),
        Some(BlendWeights::Mlp(mlp)) => mlp.inputs.as_slice(),
        None => &[],
    };
    used.extend(names.iter().enumerate().map(|(i, name)| (format!("/rig/blendshapes/{i}"), name.as_str())));
    used
}

fn drivers(avatar: &Avatar, messages: &mut Vec<Message>) {
    let mut names = HashSet::new();
    for (index, driver) in avatar.drivers.iter().enumerate() {
        let pointer = || format!("/drivers/{index}");
        if !names.insert(driver.name.as_str()) {
            let text = format!("two drivers are called `{}`", driver.name);
            messages.push(Message::new(Severity::Warning, "DUPLICATE_NAME", pointer(), text));
        }
        let (min, max, default) = (driver.min, driver.max, driver.default);
        if !(min <= default && default <= max && min.is_finite() && max.is_finite()) {
            let text = format!("driver `{}` rests at {default}, outside its range {min} to {max}", driver.name);
            messages.push(Message::new(Severity::Warning, "DRIVER_RANGE", pointer(), text));
        }
    }
    for (pointer, name) in used_drivers(avatar) {
        if !names.contains(name) {
            let text = format!("`{name}` is not among the {} drivers", avatar.drivers.len());
            messages.push(Message::new(Severity::Warning, "DRIVER_UNKNOWN", pointer, text));
        }
    }
    for (index, map) in avatar.driver_maps.iter().enumerate() {
        let (inputs, outputs) = (map.inputs.len(), map.outputs.len());
        if map.matrix.len() != inputs * outputs || map.offset.len() != outputs {
            let text = format!(
                "driver map `{}` holds {} + {} values, {inputs} × {outputs} + {outputs} expected",
                map.name,
                map.matrix.len(),
                map.offset.len()
            );
            messages.push(Message::new(Severity::Error, "DRIVER_MAP", format!("/driverMaps/{index}"), text));
        } else if !map.matrix.iter().chain(&map.offset).all(|v| v.is_finite()) {
            let text = format!("driver map `{}` is not finite", map.name);
            messages.push(Message::new(Severity::Error, "NOT_FINITE", format!("/driverMaps/{index}"), text));
        }
    }
}

fn clips(avatar: &Avatar, messages: &mut Vec<Message>) {
    let known_joint = |name: &str| match &avatar.rig.base {
        RigBase::Skinned { skeleton, .. } => skeleton.joints.iter().any(|j| j.name == name),
        _ => false,
    };
    let known = |target: &str| {
        let joint = target.strip_prefix("joint/").and_then(|rest| rest.rsplit_once('/'));
        let group = |t: &crate::Template| {
            // groups are named with their family in tracks, `flame.expression`, and without in templates
            let name = target.split_once('.').map_or(target, |(_, name)| name);
            t.parameters.iter().any(|(group, _)| group == target || group == name)
        };
        joint.is_some_and(|(name, _)| known_joint(name))
            || avatar.drivers.iter().any(|d| d.name == target)
            || avatar.template.as_ref().is_some_and(group)
    };
    let mut names = HashSet::new();
    for (index, clip) in avatar.clips.iter().enumerate() {
        if !names.insert(&clip.name) {
            let text = format!("two clips are called `{}`", clip.name);
            messages.push(Message::new(Severity::Warning, "DUPLICATE_NAME", format!("/clips/{index}"), text));
        }
        if clip.ticks_per_second == 0 {
            let text = format!("clip `{}` has no time base", clip.name);
            messages.push(Message::new(Severity::Error, "TIME_BASE", format!("/clips/{index}"), text));
        }
        for (number, track) in clip.tracks.iter().enumerate() {
            let mut push = |severity, code, text: String| {
                messages.push(Message::new(severity, code, format!("/clips/{index}/tracks/{number}"), text));
            };
            if !track.values.iter().all(|v| v.is_finite()) {
                push(Severity::Error, "NOT_FINITE", format!("track `{}` is not finite", track.target));
            }
            if !known(&track.target) {
                push(Severity::Warning, "TRACK_TARGET", format!("`{}` names no driver and no joint", track.target));
            }
            let unit = |q: &[f32]| (q.iter().map(|v| v * v).sum::<f32>().sqrt() - 1.0).abs() < 1e-2;
            if track.interpolation == Interpolation::Slerp
                && (track.width % 4 != 0 || !track.values.chunks_exact(4).all(unit))
            {
                let text = format!("track `{}` turns, and its values are not unit quaternions", track.target);
                push(Severity::Warning, "ROTATION_NOT_UNIT", text);
            }
        }
    }
}

fn mesh(avatar: &Avatar, messages: &mut Vec<Message>) {
    let Some(mesh) = &avatar.mesh else { return };
    let mut push = |code, text: String| messages.push(Message::new(Severity::Error, code, "/mesh", text));
    if !mesh.positions.iter().flatten().chain(mesh.uvs.iter().flatten()).all(|v| v.is_finite()) {
        push("NOT_FINITE", "the mesh has a vertex that is NaN or infinite".to_owned());
    }
    let vertices = mesh.positions.len();
    if let Some(face) = mesh.faces.iter().position(|f| f.iter().any(|&v| v as usize >= vertices)) {
        push("MESH_INDEX", format!("face {face} of the mesh names a vertex beyond {vertices}"));
    }
    if let Some(face) = mesh.uv_faces.iter().position(|f| f.iter().any(|&v| v as usize >= mesh.uvs.len())) {
        push("MESH_INDEX", format!("face {face} of the mesh names a texture coordinate beyond {}", mesh.uvs.len()));
    }
}
