//! What can be moved: the drivers of a rig with their ranges, and its joints.

use std::collections::HashSet;

use gav_formats::{Avatar, BlendWeights, Joint, Pose, RigBase, TemplateFamily};
use serde_json::{Value, json};

/// A slider of the page.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Control {
    /// Target in a [`Pose`]: a driver or a component of a parameter group.
    pub name: String,
    pub min: f32,
    pub max: f32,
    /// Value at rest.
    pub default: f32,
}

/// Every driver that changes something: those the avatar lists, those its rig names, and the parameters of its template.
pub(super) fn controls(avatar: &Avatar) -> Vec<Control> {
    let mut out = Controls::default();
    for driver in &avatar.drivers {
        let (min, max) = if driver.min < driver.max { (driver.min, driver.max) } else { (0.0, 1.0) };
        out.add(Control { name: driver.name.clone(), min, max, default: driver.default });
    }
    match &avatar.rig.base {
        RigBase::Skinned { morphs: Some(morphs), .. } => {
            morphs.targets.iter().for_each(|target| out.add(guessed(&target.driver)));
        }
        RigBase::Static | RigBase::Skinned { .. } | RigBase::Triangle(_) | RigBase::Frames(_) => {}
    }
    match avatar.rig.blendshapes.as_ref().map(|b| &b.weights) {
        Some(BlendWeights::Drivers(names)) => names.iter().for_each(|name| out.add(guessed(name))),
        Some(BlendWeights::Mlp(mlp)) => mlp.inputs.iter().for_each(|name| out.add(guessed(name))),
        None => {}
    }
    if let Some(template) = &avatar.template {
        let family = match template.family {
            TemplateFamily::Flame2020 | TemplateFamily::Flame2023 => "flame.",
            TemplateFamily::SmplX => "smplx.",
            TemplateFamily::Smpl => "smpl.",
            TemplateFamily::None | TemplateFamily::Custom => "",
        };
        for (group, width) in &template.parameters {
            let prefix = if group.contains('.') { "" } else { family };
            for index in 0..*width {
                out.add(guessed(&format!("{prefix}{group}.{index}")));
            }
        }
    }
    out.list
}

/// Controls of different names.
#[derive(Default)]
struct Controls {
    list: Vec<Control>,
    names: HashSet<String>,
}

impl Controls {
    fn add(&mut self, control: Control) {
        if self.names.insert(control.name.clone()) {
            self.list.push(control);
        }
    }
}

/// A driver of which only the name is known, with the range that such drivers usually use.
fn guessed(name: &str) -> Control {
    let group = name.rsplit_once('.').map_or(name, |(group, _)| group);
    let (min, max) = match group {
        g if g.starts_with("arkit") || g.starts_with("vrm") => (0.0, 1.0),
        g if g.ends_with("eyelids") => (0.0, 1.0),
        // two standard deviations of the faces and bodies that the models were made from
        g if g.ends_with("expression") || g.ends_with("shape") || g.ends_with("betas") => (-2.0, 2.0),
        g if g.contains("transl") => (-0.2, 0.2),
        // radians
        g if g.contains("pose") || g.contains("rotation") || g.contains("orient") => (-1.0, 1.0),
        g if g.contains('.') => (-1.0, 1.0),
        _ => (0.0, 1.0),
    };
    Control { name: name.to_owned(), min, max, default: 0.0 }
}

/// Values that `pose` gives to `controls`; NaN where it says nothing.
pub(super) fn values(controls: &[Control], pose: &Pose) -> Vec<f32> {
    controls.iter().map(|c| pose.number(&c.name).unwrap_or(f32::NAN)).collect()
}

/// The joints that are worth a slider: those of a humanoid, or all when none has such a name.
pub(super) fn joints(avatar: &Avatar) -> Vec<Value> {
    let RigBase::Skinned { skeleton, .. } = &avatar.rig.base else { return Vec::new() };
    let humanoid = skeleton.joints.iter().any(|j| !j.humanoid.is_empty());
    let chosen = |joint: &&Joint| !humanoid || !joint.humanoid.is_empty();
    let described = |joint: &Joint| json!({"name": joint.name, "humanoid": joint.humanoid, "rotation": joint.rotation});
    skeleton.joints.iter().filter(chosen).map(described).collect()
}

#[cfg(test)]
mod tests {
    use gav_formats::{Driver, Frame, Splats, Template};

    use super::*;

    #[test]
    fn drivers_of_all_origins_are_listed_once() {
        let mut avatar = Avatar::new(Splats::with_len(1, 0), Frame::RUB);
        avatar.drivers = vec![Driver { name: "arkit.jawOpen".into(), min: 0.0, max: 1.0, default: 0.0 }];
        avatar.template = Some(Template {
            family: TemplateFamily::Flame2023,
            parameters: vec![("expression".into(), 2), ("jaw_pose".into(), 3)],
            ..Template::default()
        });
        avatar.rig.blendshapes = Some(gav_formats::Blendshapes {
            bases: 2,
            weights: BlendWeights::Drivers(vec!["arkit.jawOpen".into(), "flame.expression.1".into()]),
            ..Default::default()
        });
        let found = controls(&avatar);
        let names: Vec<&str> = found.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "arkit.jawOpen",
                "flame.expression.1",
                "flame.expression.0",
                "flame.jaw_pose.0",
                "flame.jaw_pose.1",
                "flame.jaw_pose.2"
            ]
        );
        assert_eq!((found[2].min, found[2].max), (-2.0, 2.0));
        let mut pose = Pose::default();
        pose.set("flame.jaw_pose", [0.25, 0.0, 0.5]);
        let values = values(&found, &pose);
        assert_eq!(values[3..], [0.25, 0.0, 0.5]);
        assert!(values[0].is_nan());
    }
}
