//! Writes a GLB: splats by `KHR_gaussian_splatting`, which every other viewer shows as coloured points, and around them what
//! makes both move: joints, skin, sparse morph targets, animations.
//!
//! | part | how it is written |
//! | --- | --- |
//! | axes | glTF's: y up, the subject's front +z, its left +x ([`Frame::GLTF`]); metres |
//! | splats | one `POINTS` primitive: `POSITION`, the attributes of the extension, `COLOR_0` (linear light, alpha = opacity) for viewers without it |
//! | joints | nodes with the bind pose as translation, rotation, scale; `extras.humanoid` keeps the VRM bone name |
//! | weights | `JOINTS_0`, `WEIGHTS_0`: the four heaviest, renormalised |
//! | morph targets | `POSITION` deltas as sparse accessors without a base; `extras.targetNames` without the prefix `arkit.`; `mesh.weights` are the drivers' defaults |
//! | clips | animations: a channel for each moved property of a joint, one `weights` channel for all morph targets |
//! | proxy | with [`Options::proxy`] a skinned triangle mesh in a second scene, so that viewers show one or the other |
//! | VRM | with [`Options::vrm`] the extension `VRMC_vrm`: humanoid bones, expressions, licence |
//! | `.gav` | with [`Options::embed`] the bytes of the file it came from, in the buffer view `extras.gav.bufferView` |
//! | SH | degree 0 for avatars that move, since no viewer turns SH with the joints; as stored otherwise |
//!
//! A rig that glTF cannot express (triangle binding, blendshapes, frames) is refused: bake it into morphs and skin first, or
//! write it as a series of stills with [`write_frames`], or ask for the rest pose alone.

mod builder;
mod columns;
mod frames;
mod motion;
mod proxy;
mod rig;
mod vrm;

use std::borrow::Cow;

use serde_json::json;

use crate::{Avatar, Error, Frame, Result, RigBase, WriteOptions, sink::WriteSeek};
use builder::Builder;
use columns::{SplatSource, to_axes_and_metres};
pub use frames::{Still, write_frames};

/// How glTF is written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// Keep the SH of an avatar that moves, although no viewer turns them with the joints.
    pub keep_sh: bool,
    /// Write the splats as they rest, without rig and clips, whatever the rig.
    pub rest_only: bool,
    /// Add the proxy mesh of the avatar, skinned, as a second scene `proxy`.
    pub proxy: bool,
    /// Add VRM 1.0: humanoid bones, expressions, the licence.
    pub vrm: bool,
    /// Bytes of a `.gav` to keep inside: the buffer view that `extras.gav.bufferView` of the document names.
    pub embed: Option<Vec<u8>>,
}

/// Writes a GLB, in the axes of glTF unless `options.frame` says otherwise.
///
/// # Errors
/// [`Error::Usage`] when there is no splat to write, when glTF cannot express the rig, when a clip does not fit the rig, or when
/// the file would pass the 4 GiB that a GLB can hold.
pub fn write(avatar: &Avatar, sink: &mut dyn WriteSeek, options: &WriteOptions) -> Result<()> {
    let mut notes = Vec::new();
    let subject = prepare(avatar, options, &mut notes)?;
    let mut glb = compose(&subject, avatar, options, &mut notes)?;
    if let Some(bytes) = &options.gltf.embed {
        let view = glb.view(bytes.as_slice(), None);
        glb.extras.insert("gav".to_owned(), json!({"bufferView": view}));
    }
    glb.finish(sink)
}

/// What [`write()`] leaves out or changes of this avatar, a sentence each: weights beyond the fourth, SH, tracks without a target.
///
/// # Errors
/// Those of [`write()`].
pub fn notes(avatar: &Avatar, options: &WriteOptions) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let subject = prepare(avatar, options, &mut notes)?;
    compose(&subject, avatar, options, &mut notes)?;
    Ok(notes)
}

/// The avatar as it is going to be written; one that moves is converted whole, so that rig and splats stay together.
fn prepare<'a>(avatar: &'a Avatar, options: &WriteOptions, notes: &mut Vec<String>) -> Result<Cow<'a, Avatar>> {
    let rest_only = options.gltf.rest_only;
    let moves = matches!(avatar.rig.base, RigBase::Skinned { .. }) && !rest_only;
    if !rest_only && (avatar.rig.blendshapes.is_some() || !(moves || matches!(avatar.rig.base, RigBase::Static))) {
        return Err(Error::usage(format!(
            "glTF cannot express a rig of kind {} ({}): bake it into morph targets and skin first, or write the rest pose only",
            avatar.rig.kind(),
            avatar.rig.name()
        )));
    }
    if options.gltf.vrm && !moves {
        return Err(Error::usage("VRM describes avatars with a skeleton, and none is written"));
    }
    if !moves {
        if rest_only && !avatar.rig.is_static() {
            notes.push(format!("only the rest pose is written: no rig ({}), no clips", avatar.rig.name()));
        }
        return Ok(Cow::Borrowed(avatar));
    }
    let frame = options.frame.unwrap_or(Frame::GLTF);
    let mut subject = avatar.clone();
    let keep: Vec<bool> = {
        let source = SplatSource::at_rest(avatar, frame)?;
        (0..avatar.splats.len()).map(|i| source.is_writable(i)).collect()
    };
    subject.retain(|i| keep[i]);
    if subject.splats.sh_degree > 0 && !options.gltf.keep_sh {
        notes.push(format!(
            "SH degree {} is reduced to 0, because viewers do not turn view-dependent colour with the joints",
            subject.splats.sh_degree
        ));
        subject.splats.set_sh_degree(0);
    }
    to_axes_and_metres(&mut subject, frame)?;
    Ok(Cow::Owned(subject))
}

/// Puts the file together from what [`prepare`] made of the `original`.
fn compose<'a>(
    subject: &'a Avatar,
    original: &Avatar,
    options: &WriteOptions,
    notes: &mut Vec<String>,
) -> Result<Builder<'a>> {
    let frame = options.frame.unwrap_or(Frame::GLTF);
    let moves = matches!(subject.rig.base, RigBase::Skinned { .. }) && !options.gltf.rest_only;
    // one that moves has been converted already
    let source = SplatSource::at_rest(subject, if moves { subject.frame } else { frame })?;
    let dropped = original.splats.len() - source.len();
    let mut glb = begin(subject);
    let mut primitive = glb.splat_primitive(source)?;
    let mut mesh = json!({});
    let mut node = json!({"name": node_name(subject), "mesh": 0});
    let mut roots = vec![0];
    let mut carried = None;
    // the splats' node is the first, so that readers find it at once
    glb.nodes.push(json!(null));
    if let (RigBase::Skinned { skeleton, skin, morphs }, true) = (&subject.rig.base, moves) {
        let joints = rig::add_joints(&mut glb, skeleton);
        node["skin"] = json!(rig::add_skin(&mut glb, skeleton, skin, &joints, &mut primitive, notes)?);
        if let Some(morphs) = morphs {
            rig::add_morphs(&mut glb, morphs, subject, &mut primitive, &mut mesh);
        }
        motion::add_clips(&mut glb, subject, &joints, 0, notes)?;
        if options.gltf.vrm {
            let drivers: Vec<&str> = morphs.iter().flat_map(|m| &m.targets).map(|t| t.driver.as_str()).collect();
            vrm::add(&mut glb, subject, skeleton, &joints, &drivers, 0, notes)?;
        }
        roots.extend(&joints.roots);
        carried = Some(joints);
    } else if !subject.clips.is_empty() && !options.gltf.rest_only {
        notes.push(format!("{} clips of an avatar without rig are left out", subject.clips.len()));
    }
    if dropped > 0 {
        mesh["extras"]["droppedSplats"] = json!(dropped);
        notes.push(format!("{dropped} splats with numbers that are not finite are left out"));
    }
    mesh["primitives"] = json!([primitive]);
    glb.meshes.push(mesh);
    glb.nodes[0] = node;
    glb.scenes.push(json!({"nodes": roots}));
    if options.gltf.proxy {
        // a template's mesh keeps its axes when the avatar changes them
        let embedded = subject.template.as_ref().is_some_and(|t| t.embedded);
        let owner = if embedded { original } else { subject };
        proxy::add(&mut glb, subject, (owner.frame, owner.metres_per_unit), frame, carried.as_ref())?;
    }
    Ok(glb)
}

/// A GLB that says who made it and whom to name.
fn begin(avatar: &Avatar) -> Builder<'static> {
    let mut glb = Builder::default();
    glb.asset.insert("version".to_owned(), json!("2.0"));
    glb.asset.insert("generator".to_owned(), json!(concat!("gav ", env!("CARGO_PKG_VERSION"))));
    if !avatar.meta.attribution.is_empty() {
        glb.asset.insert("copyright".to_owned(), json!(avatar.meta.attribution));
    }
    glb
}

fn node_name(avatar: &Avatar) -> &str {
    if avatar.meta.name.is_empty() { "splats" } else { &avatar.meta.name }
}
