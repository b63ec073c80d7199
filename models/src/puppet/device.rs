//! Puppets on a CUDA device: many poses of one avatar at a time, posed where they are drawn.

use std::sync::Arc;

use gav_formats::{Pose, RigBase};
use gav_kernels::{
    cuda::{
        Buffer, CudaError, Device,
        raster::{Kind, Splats},
        rig::{
            self, Bases, Binding, BindingArrays, Blended, Blendshapes, Carry, GeometryBuffers, Morphs, RotationForm,
            Rows, Skin,
        },
    },
    rig::{blendshapes::BasesRef, skeleton},
};

use super::Puppet;
use crate::{Error, Result, body::Identity};

/// A puppet with its arrays on a device and room for a number of poses.
///
/// Weights of blendshapes and matrices of joints are computed on the host: they are hundreds of numbers, the splats are not.
pub struct DevicePuppet<'a> {
    puppet: &'a Puppet<'a>,
    capacity: usize,
    splats: Splats,
    /// Canonical centres, quaternions, log-scales, N each.
    canonical: [Buffer<f32>; 3],
    shapes: Option<Shapes>,
    morphs: Option<Moved>,
    carrier: Carrier,
}

/// Blendshapes, and what they make of the canonical splats, P × N.
struct Shapes {
    kernels: Blendshapes,
    bases: Bases,
    weights: Buffer<f32>,
    sh0: Buffer<f32>,
    means: Buffer<f32>,
    rotations: Buffer<f32>,
}

/// Sparse morphs, and the centres they make, P × N.
struct Moved {
    kernels: Morphs,
    values: Buffer<f32>,
    means: Buffer<f32>,
}

enum Carrier {
    /// Splats stay where blendshapes put them.
    None,
    Joints {
        skin: Box<Skin>,
        matrices: Buffer<f32>,
    },
    Triangles(Box<Triangles>),
}

struct Triangles {
    body: rig::Body,
    subject: Identity<f32>,
    binding: Binding,
}

impl<'a> DevicePuppet<'a> {
    /// Copies a puppet to a device and makes room for `poses` poses.
    ///
    /// # Errors
    /// [`Error::usage`] for recorded frames, which this does not play; [`Error::Device`] for what the device fails in.
    pub fn new(puppet: &'a Puppet<'a>, device: &Arc<Device>, poses: usize) -> Result<Self> {
        let avatar = puppet.avatar();
        let canonical = &avatar.splats;
        let count = canonical.len();
        let (full, frames) = match &avatar.rig.base {
            RigBase::Skinned { skin, .. } => (skin.full_covariance, false),
            RigBase::Frames(_) => (false, true),
            _ => (false, false),
        };
        if frames {
            return Err(Error::usage("recorded frames are not played on a device"));
        }
        let on = |values: &[f32]| Buffer::from_slice(device, values);
        let every = |values: &[f32]| on(&values.repeat(poses));
        let splats = Splats {
            kind: Kind { covariance: full, sh_degree: Some(canonical.sh_degree) },
            scenes: (0..poses).map(|p| [p * count, count]).collect(),
            means: every(canonical.means.as_flattened())?,
            shape: if full {
                Buffer::new(device, 6 * poses * count)?
            } else {
                every(canonical.rotations.as_flattened())?
            },
            scales: if full { Buffer::new(device, 0)? } else { every(canonical.log_scales.as_flattened())? },
            logits: every(&canonical.opacity_logits)?,
            color: every(canonical.sh0.as_flattened())?,
            rest: every(&canonical.sh_rest)?,
        };
        let shapes = avatar.rig.blendshapes.as_ref().map(|shapes| {
            let bases = BasesRef::from(shapes);
            Ok::<_, CudaError>(Shapes {
                kernels: Blendshapes::new(device, count, bases.count, poses)?,
                bases: Bases {
                    means: on(bases.means.as_flattened())?,
                    rotations: on(bases.rotations.as_flattened())?,
                    sh0: on(bases.sh0.as_flattened())?,
                },
                weights: Buffer::new(device, bases.count * poses)?,
                sh0: on(canonical.sh0.as_flattened())?,
                means: Buffer::new(device, 3 * poses * count)?,
                rotations: Buffer::new(device, 4 * poses * count)?,
            })
        });
        let shapes = shapes.transpose()?;
        let mut morphs = None;
        let carrier = match &avatar.rig.base {
            RigBase::Skinned { skeleton, skin, morphs: targets } => {
                if let Some(targets) = targets {
                    morphs = Some(Moved {
                        kernels: Morphs::new(device, count, targets)?,
                        values: Buffer::new(device, targets.targets.len() * poses)?,
                        means: Buffer::new(device, 3 * poses * count)?,
                    });
                }
                let columns: Vec<u32> = skin.joints.iter().map(|j| u32::from(*j)).collect();
                let rows = Rows { starts: &skin.offsets, columns: &columns, values: &skin.weights };
                let carry = if full { Carry::Covariance } else { Carry::Rigid };
                let joints = skeleton.joints.len();
                Carrier::Joints {
                    skin: Box::new(Skin::new(device, &rows, joints, carry, poses)?),
                    matrices: Buffer::new(device, 12 * joints * poses)?,
                }
            }
            RigBase::Triangle(binding) => {
                let body = puppet.body().expect("puppets refuse triangle-bound avatars without a body");
                let constants = avatar.template.as_ref().map_or(&[][..], |t| &t.constants);
                let parameters = body.parameters(constants, &Pose::default())?;
                let subject = body.identity(&parameters.shape, &parameters.offset);
                let arrays = BindingArrays {
                    frame: binding.frame,
                    vertices: body.vertex_count(),
                    faces: body.faces(),
                    corner_uvs: &puppet.corner_uvs,
                    triangles: &binding.triangles,
                    barycentrics: binding.barycentrics.as_deref().unwrap_or_default(),
                };
                Carrier::Triangles(Box::new(Triangles {
                    body: body.on_device(device, &subject, RotationForm::Matrix, poses)?,
                    subject,
                    binding: Binding::new(device, &arrays, poses)?,
                }))
            }
            RigBase::Static | RigBase::Frames(_) => Carrier::None,
        };
        let canonical = [
            on(canonical.means.as_flattened())?,
            on(canonical.rotations.as_flattened())?,
            on(canonical.log_scales.as_flattened())?,
        ];
        Ok(Self { puppet, capacity: poses, splats, canonical, shapes, morphs, carrier })
    }

    /// Poses at a time.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The splats of each pose as a scene, in the order of `poses`; scenes behind them are left over from earlier calls. What
    /// [`Puppet::pose`] makes of each pose, but for rounding.
    ///
    /// # Errors
    /// More poses than there is room for, a change of identity, parameters of the wrong length, and what the device fails in.
    pub fn pose(&mut self, poses: &[Pose]) -> Result<&Splats> {
        let count = poses.len();
        if count > self.capacity {
            return Err(Error::usage(format!("{count} poses, there is room for {}", self.capacity)));
        }
        let puppet = self.puppet;
        let rig = &puppet.avatar().rig;
        let poses: Vec<_> = poses.iter().map(|pose| puppet.mapped(pose)).collect();
        let (mut means, mut rotations) = (&self.canonical[0], &self.canonical[1]);
        if let (Some(on), Some(shapes)) = (&mut self.shapes, &rig.blendshapes) {
            let weights: Vec<f32> = poses.iter().flat_map(|pose| puppet.blend_weights(&shapes.weights, pose)).collect();
            on.weights.write(&weights)?;
            let still = matches!(self.carrier, Carrier::None);
            let out = Blended {
                means: if still { &self.splats.means } else { &on.means },
                rotations: if still { &self.splats.shape } else { &on.rotations },
                sh0: &self.splats.color,
            };
            let base = Blended { means, rotations, sh0: &on.sh0 };
            on.kernels.forward(count, &base, &on.bases, &on.weights, &out)?;
            (means, rotations) = (out.means, out.rotations);
        }
        if let (Some(on), RigBase::Skinned { morphs: Some(morphs), .. }) = (&mut self.morphs, &rig.base) {
            let value =
                |pose: &_| -> Vec<f32> { morphs.targets.iter().map(|t| puppet.value(&t.driver, pose)).collect() };
            let values: Vec<f32> = poses.iter().flat_map(|pose| value(pose)).collect();
            on.values.write(&values)?;
            on.kernels.forward(count, means, &on.values, &on.means)?;
            means = &on.means;
        }
        match (&mut self.carrier, &rig.base) {
            (Carrier::Joints { skin, matrices }, RigBase::Skinned { skeleton, .. }) => {
                let of = |pose: &Pose| skeleton::skinning(skeleton, &skeleton::locals::<f32>(skeleton, pose));
                let all: Vec<f32> =
                    poses.iter().flat_map(|pose| of(pose).as_flattened().as_flattened().to_vec()).collect();
                matrices.write(&all)?;
                let rest = GeometryBuffers { means, rotations, log_scales: &self.canonical[2] };
                skin.forward(count, matrices, &rest, &self.splats.means, &self.splats.shape)?;
            }
            (Carrier::Triangles(on), RigBase::Triangle(_)) => {
                let Triangles { body, subject, binding } = &mut **on;
                let on_host = puppet.body().expect("puppets refuse triangle-bound avatars without a body");
                let constants = puppet.avatar().template.as_ref().map_or(&[][..], |t| &t.constants);
                let (mut coefficients, mut turns, mut places) = (Vec::new(), Vec::new(), Vec::new());
                for pose in &poses {
                    let parameters = on_host.parameters(constants, pose)?;
                    if !subject.is(&parameters) {
                        return Err(Error::usage("the identity changes within the clip, which a device does not play"));
                    }
                    coefficients.extend(on_host.direction_coefficients(&parameters));
                    turns.extend(on_host.rotation_matrices(&parameters).as_flattened().as_flattened());
                    places.extend(parameters.translation);
                }
                body.expression.write(&coefficients)?;
                body.rotations.write(&turns)?;
                body.translations.write(&places)?;
                body.forward(count)?;
                let local = GeometryBuffers { means, rotations, log_scales: &self.canonical[2] };
                let out = GeometryBuffers {
                    means: &self.splats.means,
                    rotations: &self.splats.shape,
                    log_scales: &self.splats.scales,
                };
                binding.forward(count, &body.posed, &local, &out)?;
            }
            _ => {}
        }
        Ok(&self.splats)
    }
}
