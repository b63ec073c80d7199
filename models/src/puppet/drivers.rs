//! What of an avatar can be driven, by which names, and how names of one space reach those of another.

use std::borrow::Cow;

use gav_formats::{BlendWeights, Driver, Pose, RigBase};

use super::{Puppet, skeleton};
use crate::body::Rotation;

/// A number that can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// Target in a [`Pose`].
    pub name: String,
    /// Smallest sensible value.
    pub min: f32,
    /// Largest sensible value.
    pub max: f32,
    /// Value at rest.
    pub default: f32,
}

/// Controls that belong together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ControlGroup {
    /// What the names begin with, such as `arkit` or `flame.expression`.
    pub name: String,
    /// The controls, in order.
    pub controls: Vec<Control>,
}

/// Range of a rotation's component, radians.
const TURN: f32 = 0.6;
/// Range of an expression coefficient, standard deviations.
const DEVIATIONS: f32 = 3.0;

impl Puppet<'_> {
    /// Everything that can be driven by a number: drivers of the avatar, parameters of its template. Joints of a skeleton are driven by
    /// `joint/NAME/rotation` and are not listed.
    pub fn controls(&self) -> Vec<ControlGroup> {
        let mut groups: Vec<ControlGroup> = Vec::new();
        let mut add = |control: Control| {
            let name = group_name(&control.name).to_owned();
            match groups.iter_mut().find(|g| g.name == name) {
                Some(group) if group.controls.iter().any(|c| c.name == control.name) => {}
                Some(group) => group.controls.push(control),
                None => groups.push(ControlGroup { name, controls: vec![control] }),
            }
        };
        for Driver { name, min, max, default } in &self.avatar.drivers {
            add(Control { name: name.clone(), min: *min, max: *max, default: *default });
        }
        for map in &self.avatar.driver_maps {
            map.inputs.iter().for_each(|name| add(Control { name: name.clone(), min: 0.0, max: 1.0, default: 0.0 }));
        }
        let mut named: Vec<&str> = Vec::new();
        if let RigBase::Skinned { morphs: Some(morphs), .. } = &self.avatar.rig.base {
            named.extend(morphs.targets.iter().map(|t| t.driver.as_str()));
        }
        match self.avatar.rig.blendshapes.as_ref().map(|b| &b.weights) {
            Some(BlendWeights::Drivers(names)) => named.extend(names.iter().map(String::as_str)),
            Some(BlendWeights::Mlp(mlp)) => named.extend(mlp.inputs.iter().map(String::as_str)),
            None => {}
        }
        for name in named {
            add(Control { name: name.to_owned(), min: 0.0, max: 1.0, default: 0.0 });
        }
        if let Some(body) = &self.body {
            let prefix = body.layout().prefix();
            for (group, length) in body.groups().into_iter().filter(|(g, _)| !matches!(*g, "shape" | "betas")) {
                for index in 0..length {
                    let range = match group {
                        "expression" => DEVIATIONS,
                        "eyelids" => 1.0,
                        _ => TURN,
                    };
                    let name = match group {
                        "expression" | "eyelids" => format!("{prefix}{group}.{index}"),
                        _ if length == 3 => format!("{prefix}{group}.{}", ["x", "y", "z"][index]),
                        _ => format!("{prefix}{group}.{}.{}", index / 3, ["x", "y", "z"][index % 3]),
                    };
                    add(Control { name, min: -range, max: range, default: 0.0 });
                }
            }
        }
        groups
    }

    /// Targets of `pose` that nothing in this avatar listens to, in order.
    pub fn unknown_targets(&self, pose: &Pose) -> Vec<String> {
        let controls = self.controls();
        let known = |target: &str| {
            if target == super::TIME {
                return true;
            }
            if let Some(rest) = target.strip_prefix("joint/") {
                let Some((name, property)) = rest.rsplit_once('/') else { return false };
                return matches!(property, "translation" | "rotation" | "scale") && self.has_joint(name);
            }
            let component = |name: &str| name.strip_prefix(target).is_some_and(|rest| rest.starts_with('.'));
            let mut names = controls.iter().flat_map(|g| &g.controls).map(|c| c.name.as_str());
            names.any(|name| name == target || component(name)) || self.is_parameter(target) || self.is_heard(target)
        };
        pose.iter().map(|(target, _)| target).filter(|t| !known(t)).map(str::to_owned).collect()
    }

    fn has_joint(&self, name: &str) -> bool {
        let skinned = match &self.avatar.rig.base {
            RigBase::Skinned { skeleton, .. } => skeleton.joints.iter().any(|j| j.name == name),
            _ => false,
        };
        skinned || self.body.as_ref().is_some_and(|b| b.joint_names().iter().any(|n| n == name))
    }

    /// Pose groups of body models that joints of a plain skeleton play.
    fn is_heard(&self, target: &str) -> bool {
        let RigBase::Skinned { skeleton, .. } = &self.avatar.rig.base else { return false };
        skeleton::hears(skeleton, target)
    }

    /// Shape groups and other spellings of rotations are no controls, but the template takes them.
    fn is_parameter(&self, target: &str) -> bool {
        let Some(body) = &self.body else { return false };
        let Some(group) = target.strip_prefix(body.layout().prefix()) else { return false };
        let group = group.split('.').next().unwrap_or(group);
        group.ends_with("_6d") || group == "static_offset" || body.groups().iter().any(|(g, _)| *g == group)
    }

    /// The pose with the outputs of driver maps whose inputs it names, and with the joints that its groups mean. What is set outright
    /// stays.
    pub(super) fn mapped<'p>(&self, pose: &'p Pose) -> Cow<'p, Pose> {
        let mut out = Cow::Borrowed(pose);
        for map in &self.avatar.driver_maps {
            if !map.inputs.iter().any(|name| pose.number(name).is_some()) {
                continue;
            }
            let inputs: Vec<f32> = map.inputs.iter().map(|name| self.value(name, pose)).collect();
            let rows = map.matrix.chunks_exact(inputs.len().max(1));
            for ((name, row), offset) in map.outputs.iter().zip(rows).zip(&map.offset) {
                if pose.number(name).is_none() {
                    let sum: f32 = row.iter().zip(&inputs).map(|(a, b)| a * b).sum();
                    out.to_mut().set(name.clone(), [sum + offset]);
                }
            }
        }
        if let RigBase::Skinned { skeleton, .. } = &self.avatar.rig.base
            && let Some(pose) = skeleton::spell_out(skeleton, &out)
        {
            out = Cow::Owned(pose);
        }
        out
    }
}

/// What groups a control: all but the last part, and all but the index of a joint.
fn group_name(name: &str) -> &str {
    let head = name.rsplit_once('.').map_or(name, |(head, _)| head);
    match head.rsplit_once('.') {
        Some((group, index)) if index.bytes().all(|b| b.is_ascii_digit()) => group,
        _ => head,
    }
}

/// One number of a pose; the 6D rotations that RGBAvatar's network listens to also follow from axis-angles.
pub(super) fn number(pose: &Pose, name: &str) -> Option<f32> {
    if let Some(value) = pose.number(name) {
        return Some(value);
    }
    let (group, component) = name.strip_prefix("flame.")?.rsplit_once('.')?;
    let (plain, first) = match group {
        "neck_6d" => ("flame.neck_pose", 0),
        "jaw_6d" => ("flame.jaw_pose", 0),
        "left_eye_6d" => ("flame.eyes_pose", 0),
        "right_eye_6d" => ("flame.eyes_pose", 3),
        _ => return None,
    };
    let index: usize = component.parse().ok().filter(|k| *k < 6)?;
    pose.iter()
        .find(|(target, _)| *target == plain || target.strip_prefix(plain).is_some_and(|r| r.starts_with('.')))?;
    let values = pose.group(plain, first + 3, 0.0);
    let rows = Rotation::AxisAngle([values[first], values[first + 1], values[first + 2]]).matrix();
    // the first two rows
    Some(rows[index / 3][index % 3])
}
