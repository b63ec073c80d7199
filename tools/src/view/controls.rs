//! What can be moved: the numbers that drive a puppet, and its joints.

use gav_formats::{Avatar, Joint, Pose, RigBase};
use gav_models::puppet::{Control, Puppet};
use serde_json::{Value, json};

/// The controls of a puppet, group by group.
pub(super) fn controls(puppet: &Puppet<'_>) -> Vec<Control> {
    puppet.controls().into_iter().flat_map(|group| group.controls).map(with_range).collect()
}

/// A slider needs two ends.
fn with_range(control: Control) -> Control {
    let fits = control.min < control.max && (control.min..=control.max).contains(&control.default);
    let finite = control.min.is_finite() && control.max.is_finite();
    if fits && finite { control } else { Control { min: -1.0, max: 1.0, default: 0.0, ..control } }
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

/// What plays: clips, and recorded frames, which are no clip and need no name to be played.
pub(super) fn clips(avatar: &Avatar, puppet: &Puppet<'_>) -> Vec<Value> {
    let recorded = puppet.recorded_seconds().map(|seconds| {
        let RigBase::Frames(frames) = &avatar.rig.base else { return Value::Null };
        json!({"name": "recorded frames", "seconds": seconds, "rate": frames.ticks_per_second, "recorded": true})
    });
    let clips = avatar
        .clips
        .iter()
        .map(|c| json!({"name": c.name, "seconds": c.seconds(), "rate": c.ticks_per_second, "recorded": false}));
    recorded.into_iter().chain(clips).collect()
}

#[cfg(test)]
mod tests {
    use gav_formats::synthetic::{RigSample, every_rig};

    use super::*;

    #[test]
    fn every_slider_has_two_ends_with_its_rest_between_them() {
        let control = |min, max, default| Control { name: "a".into(), min, max, default };
        for odd in
            [control(0.0, 0.0, 0.0), control(1.0, 0.0, 0.5), control(0.0, 1.0, 2.0), control(0.0, f32::INFINITY, 0.0)]
        {
            assert_eq!(with_range(odd), control(-1.0, 1.0, 0.0));
        }
        assert_eq!(with_range(control(0.0, 1.0, 0.5)), control(0.0, 1.0, 0.5));
    }

    #[test]
    fn values_follow_a_pose_and_are_open_elsewhere() {
        let avatar = every_rig(RigSample::MorphSkinned);
        let puppet = Puppet::open(&avatar).unwrap();
        let controls = controls(&puppet);
        let mut pose = Pose::default();
        pose.set(controls[1].name.clone(), [0.25]);
        let values = values(&controls, &pose);
        assert!(values[0].is_nan());
        assert_eq!(values[1], 0.25);
    }

    #[test]
    fn recorded_frames_play_like_a_clip() {
        let avatar = every_rig(RigSample::Frames);
        let clips = clips(&avatar, &Puppet::open(&avatar).unwrap());
        assert_eq!(clips[0]["recorded"], true);
        assert!(clips[0]["seconds"].as_f64().unwrap() > 0.0);
    }
}
