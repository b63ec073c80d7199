//! From a training to an avatar that others can pose: triangles, template, the tracked motion as a clip, and where it all comes from.

use gav_formats::{
    Avatar, Clip, Frame, Interpolation, Provenance, RestPose, Rig, RigBase, Template, Track, TriangleBinding,
};
use serde_json::json;

use super::{Checkpoint, Dataset, Motion, State, Tracked, tracks::MeshBasis};
use crate::{
    Result,
    body::{Body, Layout},
    puppet::Puppet,
};

/// Name of the clip with the motion of the capture.
pub const CLIP: &str = "tracked";

/// What the capture does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportOptions {
    /// Name for people.
    pub name: String,
    /// Time steps a second.
    pub frames_per_second: u32,
    /// SPDX expression under which the template may be passed on inside the file; `None` for what the template itself says.
    pub template_licence: Option<String>,
    /// Name of the capture, without folders.
    pub source: String,
}

/// What a mesh of a capture without a template is under: the terms of the capture, which its files do not say.
const UNKNOWN_TERMS: &str = "LicenseRef-capture";

/// The avatar of a training as it stands, at rest and in motion.
///
/// # Errors
/// Templates that cannot be posed.
pub fn avatar(data: &Dataset, checkpoint: &Checkpoint, options: &ExportOptions) -> Result<Avatar> {
    let state = &checkpoint.state;
    // captures of heads have y up and the face towards +z
    let mut avatar = Avatar::new(state.to_splats(), Frame::RUB);
    let frame = checkpoint.options.frame.into();
    let binding = TriangleBinding { frame, triangles: state.triangles.clone(), barycentrics: None };
    avatar.rig = Rig { base: RigBase::Triangle(binding), blendshapes: None };
    let (body, clip) = match &data.motion.tracked {
        Some(tracked) => of_body(&mut avatar, data, tracked, state, options)?,
        None => of_meshes(&mut avatar, data, &data.motion, options)?,
    };
    avatar.clips.push(clip);
    avatar.rest = Some(rest_pose(&avatar, body)?);
    describe(&mut avatar, data, checkpoint, options);
    Ok(avatar)
}

/// The splats in world coordinates with the template at rest.
///
/// # Errors
/// Those of [`Puppet::new`].
pub fn rest_pose(avatar: &Avatar, body: Body<f32>) -> Result<RestPose> {
    let puppet = Puppet::new(avatar, Some(body))?;
    let rest = puppet.rest();
    Ok(RestPose { means: rest.means.clone(), rotations: rest.rotations.clone(), log_scales: rest.log_scales.clone() })
}

fn describe(avatar: &mut Avatar, data: &Dataset, checkpoint: &Checkpoint, options: &ExportOptions) {
    let meta = &mut avatar.meta;
    meta.name.clone_from(&options.name);
    meta.background = Some(checkpoint.options.background);
    meta.training_resolution = data.views.first().map(|v| [v.camera.width, v.camera.height]);
    meta.provenance.push(Provenance {
        action: "trained".to_owned(),
        agent: format!("gav {}", env!("CARGO_PKG_VERSION")),
        source: options.source.clone(),
        hash: checkpoint.capture.clone(),
    });
    let progress = &checkpoint.progress;
    let settings = serde_json::to_value(&checkpoint.options).unwrap_or_default();
    let training = json!({
        "method": settings["method"],
        "steps": progress.step,
        "seconds": (progress.seconds * 10.0).round() / 10.0,
        "skipped_steps": progress.skipped,
        "held_out": progress.evaluations.last(),
        "options": settings,
    });
    meta.extra.insert("training".to_owned(), training);
}

/// The reference to a template, which the avatar holds itself where its licence is known.
pub(crate) fn embed(avatar: &mut Avatar, body: &Body<f32>, licence: Option<&str>) -> Template {
    let mut template = body.template();
    if let Some(licence) = licence {
        licence.clone_into(&mut template.licence);
    }
    if !template.licence.is_empty() {
        template.embedded = true;
        avatar.mesh = Some(body.to_mesh());
    }
    template
}

pub(crate) fn track(target: String, width: usize, ticks: &[u32], values: Vec<f32>) -> Track {
    Track { target, width: width as u32, interpolation: Interpolation::Linear, ticks: ticks.to_vec(), values }
}

/// Time steps as ticks from the first one.
fn ticks(data: &Dataset) -> Vec<u32> {
    let first = data.times.first().copied().unwrap_or(0);
    data.times.iter().map(|t| t - first).collect()
}

fn of_body(
    avatar: &mut Avatar,
    data: &Dataset,
    tracked: &Tracked,
    state: &State,
    options: &ExportOptions,
) -> Result<(Body<f32>, Clip)> {
    let body = &tracked.body;
    let mut template = embed(avatar, body, options.template_licence.as_deref());
    let subject = &tracked.fixed[0];
    let shape = if matches!(body.layout(), Layout::Smpl | Layout::SmplX) { "betas" } else { "shape" };
    if !subject.shape.is_empty() {
        template.constants.push((shape.to_owned(), subject.shape.clone()));
    }
    if !subject.offset.is_empty() {
        template.constants.push(("static_offset".to_owned(), subject.offset.as_flattened().to_vec()));
    }
    avatar.template = Some(template);

    let tables = state.tables.as_ref().unwrap_or(&tracked.tables);
    let (ticks, prefix) = (ticks(data), body.layout().prefix());
    let (times, joints) = (tracked.fixed.len(), body.joint_count());
    let pose = &tables.pose.values;
    let turns = |first: usize, count: usize| -> Vec<f32> {
        (0..times).flat_map(|t| &pose[3 * (t * joints + first)..][..3 * count]).copied().collect()
    };
    let groups: &[(&str, usize, usize)] = match body.layout() {
        Layout::Flame => &[("rotation", 0, 1), ("neck_pose", 1, 1), ("jaw_pose", 2, 1), ("eyes_pose", 3, 2)],
        Layout::Smpl => &[("global_orient", 0, 1), ("body_pose", 1, 23)],
        Layout::Plain => &[("pose", 0, usize::MAX)],
        Layout::SmplX => &[],
    };
    let mut tracks = Vec::new();
    let mut push = |name: &str, values: Vec<f32>| {
        let width = values.len() / times.max(1);
        if width > 0 {
            tracks.push(track(format!("{prefix}{name}"), width, &ticks, values));
        }
    };
    push("expression", tables.expression.values.clone());
    for (name, first, count) in groups {
        push(name, turns(*first, (*count).min(joints - first)));
    }
    let moved = if matches!(body.layout(), Layout::Smpl | Layout::SmplX) { "transl" } else { "translation" };
    push(moved, tables.translation.values.clone());
    if tracked.fixed.iter().any(|p| !p.extras.is_empty()) {
        let width = body.extras().len();
        let row = |p: &crate::body::Parameters<f32>| {
            let mut row = p.extras.clone();
            row.resize(width, 0.0);
            row
        };
        push("eyelids", tracked.fixed.iter().flat_map(row).collect());
    }
    if groups.is_empty() {
        // hands are relative to a mean there: whole rotations leave no doubt
        for (joint, name) in body.joint_names().iter().enumerate() {
            let values = turns(joint, 1).as_chunks::<3>().0.iter().flat_map(quaternion).collect();
            let mut turn = track(format!("joint/{name}/rotation"), 4, &ticks, values);
            turn.interpolation = Interpolation::Slerp;
            tracks.push(turn);
        }
    }
    let copy = Body::new(&body.parts())?;
    Ok((copy, Clip { name: CLIP.to_owned(), ticks_per_second: options.frames_per_second.max(1), tracks }))
}

fn quaternion(r: &[f32; 3]) -> [f32; 4] {
    let r = r.map(f64::from);
    let angle = r.iter().map(|v| v * v).sum::<f64>().sqrt();
    let factor = if angle > 1e-9 { (0.5 * angle).sin() / angle } else { 0.5 };
    [(0.5 * angle).cos() as f32, (r[0] * factor) as f32, (r[1] * factor) as f32, (r[2] * factor) as f32]
}

/// Captures that have meshes and no template: a template of their own, whose expressions are the principal components of the meshes.
fn of_meshes(
    avatar: &mut Avatar,
    data: &Dataset,
    motion: &Motion,
    options: &ExportOptions,
) -> Result<(Body<f32>, Clip)> {
    let basis = MeshBasis::new(&motion.vertices, motion.neutral)?;
    let body = basis.body(&motion.faces, &options.name)?;
    avatar.template = Some(embed(avatar, &body, Some(options.template_licence.as_deref().unwrap_or(UNKNOWN_TERMS))));
    avatar.meta.extra.insert("template_error_millimetres".to_owned(), json!(basis.error * 1e3));
    let ticks = ticks(data);
    let prefix = body.layout().prefix();
    let mut tracks = vec![
        track(format!("{prefix}pose"), 3, &ticks, basis.rotations.as_flattened().to_vec()),
        track(format!("{prefix}translation"), 3, &ticks, basis.translations.as_flattened().to_vec()),
    ];
    if basis.count > 0 {
        tracks.push(track(format!("{prefix}expression"), basis.count, &ticks, basis.coefficients.clone()));
    }
    Ok((body, Clip { name: CLIP.to_owned(), ticks_per_second: options.frames_per_second.max(1), tracks }))
}
