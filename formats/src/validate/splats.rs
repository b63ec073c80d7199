//! Checks of the per-splat values and of the scene: finite, unit, in range, units, cameras, user attributes.

use std::collections::HashSet;

use super::{Message, Severity, Tally, splats_have};
use crate::{Avatar, RigBase, conventions::opacity_from_logit};

/// Log-scales outside this range are no sizes of anything: 2 nm to 3 km for units of metres (`spec/gav.md`, quantisers).
const LOG_SCALE_RANGE: (f32, f32) = (-20.0, 8.0);
/// A quaternion this far from length 1 counts as not normalised.
const UNIT_TOLERANCE: f32 = 1e-3;
/// Degree-0 coefficients beyond this are colours 28 times brighter than white.
const SH0_LIMIT: f32 = 100.0;

pub(super) fn check(avatar: &Avatar, messages: &mut Vec<Message>) {
    let splats = &avatar.splats;
    if splats.is_empty() {
        messages.push(Message::new(Severity::Warning, "EMPTY", "/splats", "there are no splats"));
    }
    finite(avatar, messages);
    ranges(avatar, messages);
    if splats.sh_degree > 0 && splats.sh_rest.iter().all(|v| *v == 0.0) && !splats.is_empty() {
        let text = format!("SH degree {} is stored, and every coefficient beyond degree 0 is zero", splats.sh_degree);
        messages.push(Message::new(Severity::Hint, "SH_UNUSED", "/splats/sh", text));
    }
    scene(avatar, messages);
}

fn finite(avatar: &Avatar, messages: &mut Vec<Message>) {
    let splats = &avatar.splats;
    let width = splats.sh_rest_count() * 3;
    let is_finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
    // a log-scale of −∞ is a size of zero, and an infinite logit an opacity of exactly 0 or 1: unusual, but with a meaning
    let scale_ok = |values: &[f32; 3]| values.iter().all(|v| v.is_finite() || *v == f32::NEG_INFINITY);
    let mut tallies: [(&str, Tally); 6] =
        ["mean", "rotation", "scale", "opacity", "sh0", "sh_rest"].map(|name| (name, Tally::default()));
    let (mut flat, mut extreme) = (Tally::default(), Tally::default());
    for i in 0..splats.len() {
        let good = [
            is_finite(&splats.means[i]),
            is_finite(&splats.rotations[i]),
            scale_ok(&splats.log_scales[i]),
            !splats.opacity_logits[i].is_nan(),
            is_finite(&splats.sh0[i]),
            is_finite(&splats.sh_rest[i * width..][..width]),
        ];
        for ((_, tally), good) in tallies.iter_mut().zip(good) {
            if !good {
                tally.add(i);
            }
        }
        if splats.log_scales[i].contains(&f32::NEG_INFINITY) {
            flat.add(i);
        }
        if splats.opacity_logits[i].is_infinite() {
            extreme.add(i);
        }
    }
    for (name, tally) in &tallies {
        tally.report(
            messages,
            Severity::Error,
            "NOT_FINITE",
            |i| format!("/splats/{i}/{name}"),
            |n| format!("{} a {name} that is NaN or infinite", splats_have(n)),
        );
    }
    flat.report(
        messages,
        Severity::Warning,
        "SCALE_ZERO",
        |i| format!("/splats/{i}/scale"),
        |n| format!("{} an axis of size zero", splats_have(n)),
    );
    extreme.report(
        messages,
        Severity::Warning,
        "OPACITY_INFINITE",
        |i| format!("/splats/{i}/opacity"),
        |n| format!("{} an infinite opacity logit (opacity exactly 0 or 1)", splats_have(n)),
    );
    if let Some(rest) = &avatar.rest {
        let mut tally = Tally::default();
        for i in 0..splats.len() {
            if !(is_finite(&rest.means[i]) && is_finite(&rest.rotations[i]) && is_finite(&rest.log_scales[i])) {
                tally.add(i);
            }
        }
        tally.report(
            messages,
            Severity::Error,
            "NOT_FINITE",
            |i| format!("/rest/{i}"),
            |n| format!("{} a rest pose that is NaN or infinite", splats_have(n)),
        );
    }
}

fn ranges(avatar: &Avatar, messages: &mut Vec<Message>) {
    let splats = &avatar.splats;
    let (mut zero, mut unit, mut scale, mut invisible, mut bright) =
        (Tally::default(), Tally::default(), Tally::default(), Tally::default(), Tally::default());
    for i in 0..splats.len() {
        let length = splats.rotations[i].iter().map(|v| v * v).sum::<f32>().sqrt();
        if length == 0.0 {
            zero.add(i);
        } else if (length - 1.0).abs() > UNIT_TOLERANCE {
            unit.add(i);
        }
        let (low, high) = LOG_SCALE_RANGE;
        if splats.log_scales[i].iter().any(|s| s.is_finite() && !(low..=high).contains(s)) {
            scale.add(i);
        }
        if opacity_from_logit(splats.opacity_logits[i]) < 1.0 / 255.0 {
            invisible.add(i);
        }
        if splats.sh0[i].iter().any(|v| v.is_finite() && v.abs() > SH0_LIMIT) {
            bright.add(i);
        }
    }
    zero.report(
        messages,
        Severity::Error,
        "ROTATION_ZERO",
        |i| format!("/splats/{i}/rotation"),
        |n| format!("{} a quaternion of length zero", splats_have(n)),
    );
    // training code normalises on use, so that its files need not; deltas added to a base do need a unit base
    let severity = if avatar.rig.blendshapes.is_some() { Severity::Warning } else { Severity::Info };
    unit.report(
        messages,
        severity,
        "ROTATION_NOT_UNIT",
        |i| format!("/splats/{i}/rotation"),
        |n| format!("{} a quaternion that is not normalised", splats_have(n)),
    );
    scale.report(
        messages,
        Severity::Warning,
        "SCALE_RANGE",
        |i| format!("/splats/{i}/scale"),
        |n| format!("{} a log-scale outside −20 to 8", splats_have(n)),
    );
    bright.report(
        messages,
        Severity::Warning,
        "COLOR_RANGE",
        |i| format!("/splats/{i}/sh0"),
        |n| format!("{} a degree-0 coefficient beyond ±{SH0_LIMIT}", splats_have(n)),
    );
    let fades = matches!(&avatar.rig.base, RigBase::Frames(frames) if frames.opacity_logits.is_some());
    if !fades {
        invisible.report(
            messages,
            Severity::Hint,
            "INVISIBLE",
            |i| format!("/splats/{i}/opacity"),
            |n| format!("{} an opacity below 1/255 and cannot be seen", splats_have(n)),
        );
    }
}

fn scene(avatar: &Avatar, messages: &mut Vec<Message>) {
    if !(avatar.metres_per_unit.is_finite() && avatar.metres_per_unit > 0.0) {
        let text = format!("one unit is {} metres", avatar.metres_per_unit);
        messages.push(Message::new(Severity::Error, "UNITS", "/metresPerUnit", text));
    }
    if !avatar.frame.is_right_handed() {
        let text = format!("the axes {} are left-handed", avatar.frame);
        messages.push(Message::new(Severity::Info, "LEFT_HANDED", "/frame", text));
    }
    for (index, camera) in avatar.cameras.iter().enumerate() {
        let m = &camera.camera_from_world;
        let orthonormal = (0..3).all(|r| {
            (0..3).all(|c| {
                let dot: f64 = (0..3).map(|k| m[r][k] * m[c][k]).sum();
                (dot - f64::from(u8::from(r == c))).abs() < 1e-3
            })
        });
        let numbers = m.iter().flatten().chain(&camera.focal).chain(&camera.principal);
        let sized = camera.width > 0 && camera.height > 0 && camera.focal.iter().all(|f| *f > 0.0);
        if !(orthonormal && sized && numbers.into_iter().all(|v| v.is_finite())) {
            let text = format!(
                "camera `{}` ({} × {}, focal {:?}) has no size, no focal length or no rotation",
                camera.name, camera.width, camera.height, camera.focal
            );
            messages.push(Message::new(Severity::Warning, "CAMERA", format!("/cameras/{index}"), text));
        }
    }
    let mut names = HashSet::new();
    for (index, attribute) in avatar.attributes.iter().enumerate() {
        if !names.insert(&attribute.name) {
            let text = format!("two user attributes are called `{}`", attribute.name);
            messages.push(Message::new(Severity::Warning, "DUPLICATE_NAME", format!("/attributes/{index}"), text));
        }
    }
}
