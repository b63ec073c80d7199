//! Puppets: an avatar together with everything that is needed to move it.
//!
//! A [`Puppet`] takes a [`Pose`] (named values of one instant) and returns the splats as they stand then, in the avatar's own frame. The
//! steps are those of `spec/gav.md` section 8: driver maps, blendshapes, morphs, then skeleton, triangles or recorded frames.

mod bake;
mod device;
mod drivers;
mod skeleton;
#[cfg(test)]
mod tests;
mod tracker;

use std::borrow::Cow;

use gav_formats::{Avatar, BlendWeights, Clip, Driver, Mesh, Pose, RigBase, Splats, Template};
use gav_kernels::rig::{
    self, Geometry, GeometryRef,
    blendshapes::{self, BaseRef, BasesRef},
    network,
    skin::{self, Influences},
    triangle::{self, BindingRef, MeshRef},
};

use crate::{Error, Result, body::Body, template};

pub use bake::{BakeOptions, Baked};
pub use device::DevicePuppet;
pub use drivers::{Control, ControlGroup};
pub(crate) use skeleton::of_body as skeleton_of;
pub(crate) use tracker::head_translation;

/// Target of a [`Pose`] that says when recorded frames (kind 6) are looked at, in seconds.
pub const TIME: &str = "time";

/// An avatar that can be posed.
pub struct Puppet<'a> {
    avatar: &'a Avatar,
    body: Option<Body<f32>>,
    /// Texture coordinates of the corners of every face, for frames that need them.
    corner_uvs: Vec<[[f32; 2]; 3]>,
    /// The canonical splats, or the stored rest pose where there is no template to pose them with.
    rest: Splats,
}

impl<'a> Puppet<'a> {
    /// Finds the template that the avatar names: in the avatar itself, else among those that the user added.
    ///
    /// # Errors
    /// As [`Puppet::new`]; and those of [`template::open`] when the template is not there.
    pub fn open(avatar: &'a Avatar) -> Result<Self> {
        let body = match (&avatar.rig.base, &avatar.template) {
            (RigBase::Triangle(_), Some(template)) => Some(template::open(template, avatar.mesh.as_ref())?),
            _ => None,
        };
        Self::new(avatar, body)
    }

    /// Makes a puppet of an avatar and the body that its triangles belong to.
    ///
    /// # Errors
    /// When a triangle-bound avatar comes without a body, or with one of other counts; when the body has no texture coordinates and the
    /// rig needs them; and what [`Avatar::validate`] refuses.
    pub fn new(avatar: &'a Avatar, body: Option<Body<f32>>) -> Result<Self> {
        avatar.validate()?;
        let mut corner_uvs = Vec::new();
        if let RigBase::Triangle(binding) = &avatar.rig.base {
            let Some(body) = &body else {
                return Err(Error::usage(
                    "this avatar is bound to the triangles of a template, and cannot be posed without it",
                ));
            };
            check_template(avatar.template.as_ref(), body)?;
            let faces = body.faces().len();
            if let Some((splat, triangle)) = binding.triangles.iter().enumerate().find(|(_, t)| **t as usize >= faces) {
                return Err(Error::usage(format!(
                    "splat {splat} is bound to triangle {triangle}, the template has {faces}"
                )));
            }
            if binding.barycentrics.is_some() {
                corner_uvs = corners(body)?;
            }
        }
        let mut puppet = Self { avatar, body, corner_uvs, rest: avatar.splats.clone() };
        puppet.rest = puppet.pose(&Pose::default())?;
        Ok(puppet)
    }

    /// The avatar.
    pub fn avatar(&self) -> &Avatar {
        self.avatar
    }

    /// The body that carries the splats of a triangle-bound avatar.
    pub fn body(&self) -> Option<&Body<f32>> {
        self.body.as_ref()
    }

    /// The splats when nothing is driven: drivers at their defaults, parameters at zero, joints in the bind pose.
    pub fn rest(&self) -> &Splats {
        &self.rest
    }

    /// The clip of that name.
    ///
    /// # Errors
    /// [`Error::usage`] that lists the clips there are.
    pub fn clip(&self, name: &str) -> Result<&Clip> {
        self.avatar.clips.iter().find(|c| c.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.avatar.clips.iter().map(|c| c.name.as_str()).collect();
            let list = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
            Error::usage(format!("the avatar has no clip `{name}`: {list}"))
        })
    }

    /// Seconds that recorded frames last; `None` for other rigs.
    pub fn recorded_seconds(&self) -> Option<f64> {
        let RigBase::Frames(tracks) = &self.avatar.rig.base else { return None };
        let last = tracks.ticks.last().copied().unwrap_or(0);
        Some(f64::from(last) / f64::from(tracks.ticks_per_second.max(1)))
    }

    /// The pose of a clip at a time, which also sets [`TIME`].
    pub fn pose_of(&self, clip: Option<&Clip>, seconds: f64) -> Pose {
        let mut pose = clip.map(|c| c.pose_at(seconds)).unwrap_or_default();
        pose.set(TIME, [seconds as f32]);
        pose
    }

    /// The posed splats, in the avatar's frame and order.
    ///
    /// # Errors
    /// Parameter groups of a length that the template does not take, with both numbers.
    pub fn pose(&self, pose: &Pose) -> Result<Splats> {
        let mut splats = self.avatar.splats.clone();
        self.pose_into(pose, &mut splats)?;
        Ok(splats)
    }

    /// As [`Puppet::pose`], into splats that came from this puppet: only what the rig changes is written.
    ///
    /// # Errors
    /// As there.
    pub fn pose_into(&self, pose: &Pose, splats: &mut Splats) -> Result<()> {
        let rig = &self.avatar.rig;
        let pose = self.mapped(pose);
        let canonical = &self.avatar.splats;
        let (mut means, mut rotations) = (Cow::Borrowed(&canonical.means), Cow::Borrowed(&canonical.rotations));
        if let Some(shapes) = &rig.blendshapes {
            let base = BaseRef { means: &canonical.means, rotations: &canonical.rotations, sh0: &canonical.sh0 };
            let weights = self.blend_weights(&shapes.weights, &pose);
            let blended = blendshapes::blend(base, &BasesRef::from(shapes), &weights);
            (means, rotations) = (Cow::Owned(blended.means), Cow::Owned(blended.rotations));
            splats.sh0 = blended.sh0;
        }
        let posed = match &rig.base {
            RigBase::Static => {
                splats.means = means.into_owned();
                splats.rotations = rotations.into_owned();
                return Ok(());
            }
            RigBase::Frames(tracks) => {
                splats.means = means.into_owned();
                splats.rotations = rotations.into_owned();
                rig::frames::apply(tracks, f64::from(pose.number(TIME).unwrap_or(0.0)), splats);
                return Ok(());
            }
            RigBase::Skinned { skeleton, skin, morphs } => {
                if let Some(morphs) = morphs {
                    let values: Vec<f32> = morphs.targets.iter().map(|t| self.value(&t.driver, &pose)).collect();
                    blendshapes::add_morphs(morphs, &values, means.to_mut());
                }
                let rest = GeometryRef { means: &means, rotations: &rotations, log_scales: &canonical.log_scales };
                let joints = rig::skeleton::skinning(skeleton, &rig::skeleton::locals::<f32>(skeleton, &pose));
                let blended = skin::blend(&Influences::from(skin), &joints);
                if skin.full_covariance {
                    let (means, covariances) = skin::carry_covariance(&blended, rest);
                    let (rotations, log_scales) = covariances.iter().map(|c| rig::polar::rotation_scales(*c)).unzip();
                    Geometry { means, rotations, log_scales }
                } else {
                    skin::carry(&blended, rest)
                }
            }
            RigBase::Triangle(binding) => {
                let local = GeometryRef { means: &means, rotations: &rotations, log_scales: &canonical.log_scales };
                let body = self.body.as_ref().expect("new() refuses triangle-bound avatars without a body");
                let constants = self.avatar.template.as_ref().map_or(&[][..], |t| &t.constants);
                let posed = body.pose(&body.parameters(constants, &pose)?);
                let mesh = MeshRef { vertices: &posed.vertices, faces: body.faces(), corner_uvs: &self.corner_uvs };
                let binding = BindingRef {
                    frame: binding.frame,
                    triangles: &binding.triangles,
                    barycentrics: binding.barycentrics.as_deref().unwrap_or_default(),
                };
                triangle::bind(&binding, &triangle::faces(binding.frame, &mesh), local)
            }
        };
        Geometry { means: splats.means, rotations: splats.rotations, log_scales: splats.log_scales } = posed;
        Ok(())
    }

    /// What weighs the bases: drivers, or the network on its inputs.
    fn blend_weights(&self, weights: &BlendWeights, pose: &Pose) -> Vec<f32> {
        match weights {
            BlendWeights::Drivers(names) => names.iter().map(|name| self.value(name, pose)).collect(),
            BlendWeights::Mlp(mlp) => {
                let input: Vec<f32> = mlp.inputs.iter().map(|name| self.value(name, pose)).collect();
                network::forward(&network::layers(mlp), &input).pop().unwrap_or_default()
            }
        }
    }

    /// A driver's value: from the pose, else its default, else 0.
    fn value(&self, name: &str, pose: &Pose) -> f32 {
        let driver = || self.avatar.drivers.iter().find(|d| d.name == name).map_or(0.0, |d: &Driver| d.default);
        drivers::number(pose, name).unwrap_or_else(driver)
    }
}

/// The counts and hashes that the avatar wants are those of the body.
fn check_template(template: Option<&Template>, body: &Body<f32>) -> Result<()> {
    let Some(template) = template.filter(|t| t.vertex_count > 0) else { return Ok(()) };
    let mesh = Mesh { positions: body.rest_vertices().to_vec(), faces: body.faces().to_vec(), ..Mesh::default() };
    Ok(template::check(template, &mesh)?)
}

fn corners(body: &Body<f32>) -> Result<Vec<[[f32; 2]; 3]>> {
    if body.uvs().is_empty() {
        return Err(Error::usage(
            "this rig needs the texture coordinates of its template, which has none (`gav template add … --uv FILE`)",
        ));
    }
    if body.uv_faces().len() != body.faces().len() {
        return Err(Error::usage(format!(
            "the template has {} faces, but texture coordinates for {}",
            body.faces().len(),
            body.uv_faces().len()
        )));
    }
    Ok(body.uv_faces().iter().map(|f| f.map(|v| body.uvs()[v as usize])).collect())
}
