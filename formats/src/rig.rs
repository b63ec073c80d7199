//! `Rig`: how splats follow a driver. Stored and checked here; evaluated by the kernels crate. Equations: `spec/gav.md` section 8.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the splats of an avatar move.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rig {
    /// What carries the splats.
    pub base: RigBase,
    /// Corrections added to the canonical splats before `base` is applied.
    pub blendshapes: Option<Blendshapes>,
}

/// What carries the splats.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum RigBase {
    /// Nothing: the splats stay as stored (kind 0).
    #[default]
    Static,
    /// Linear blend skinning (kind 1), with optional sparse position morphs before it (kind 7).
    Skinned {
        /// Joints, parents before children.
        skeleton: Skeleton,
        /// Weights of each splat.
        skin: Skin,
        /// Sparse position offsets added to the means before skinning.
        morphs: Option<Morphs>,
    },
    /// Each splat sits in the frame of one template triangle (kinds 2, 3, 4).
    Triangle(TriangleBinding),
    /// Recorded frames (kind 6).
    Frames(FrameTracks),
}

/// Joints in an order in which parents come before children.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Skeleton {
    /// The joints.
    pub joints: Vec<Joint>,
}

/// One joint of a [`Skeleton`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joint {
    /// Unique name, by preference that of the source rig.
    pub name: String,
    /// Index of the parent joint, smaller than the joint's own; `None` for roots.
    pub parent: Option<u32>,
    /// VRM 1.0 humanoid bone name such as `head` or `leftUpperArm`; empty when the joint has none.
    #[serde(default)]
    pub humanoid: String,
    /// Bind pose relative to the parent: translation.
    pub translation: [f32; 3],
    /// Bind pose relative to the parent: rotation w, x, y, z.
    pub rotation: [f32; 4],
    /// Bind pose relative to the parent: scale.
    pub scale: [f32; 3],
    /// Rows of the 3 × 4 matrix `joint_from_canonical` at bind time.
    pub inverse_bind: [[f32; 4]; 3],
}

/// Sparse skinning weights, compressed row storage: splat `i` owns entries `offsets[i]..offsets[i + 1]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Skin {
    /// N + 1 ascending offsets into the two other arrays.
    pub offsets: Vec<u32>,
    /// Joint of each influence, heaviest first within a splat.
    pub joints: Vec<u16>,
    /// Weight of each influence, summing to 1 within a splat.
    pub weights: Vec<f32>,
    /// Rotate and scale the full covariance by the blended matrix instead of its polar rotation.
    pub full_covariance: bool,
}

impl Skin {
    /// Builds the sparse form from per-splat lists; drops zero weights, sorts by weight, normalises the sum to 1.
    pub fn from_rows<I: IntoIterator<Item = Vec<(u16, f32)>>>(rows: I) -> Self {
        let mut skin = Self { offsets: vec![0], ..Self::default() };
        for mut row in rows {
            row.retain(|(_, weight)| *weight > 0.0);
            row.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let sum: f32 = row.iter().map(|(_, weight)| weight).sum();
            for (joint, weight) in row {
                skin.joints.push(joint);
                skin.weights.push(weight / sum);
            }
            skin.offsets.push(skin.joints.len() as u32);
        }
        skin
    }

    /// The influences of splat `index`.
    pub fn row(&self, index: usize) -> impl Iterator<Item = (u16, f32)> + '_ {
        let range = self.offsets[index] as usize..self.offsets[index + 1] as usize;
        self.joints[range.clone()].iter().copied().zip(self.weights[range].iter().copied())
    }
}

/// Sparse position offsets driven by named parameters: `mean += Σ driver_k · delta_k`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Morphs {
    /// One target per driver.
    pub targets: Vec<MorphTarget>,
}

/// The splats that one driver moves.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MorphTarget {
    /// Name of the driver, such as `arkit.jawOpen`.
    pub driver: String,
    /// Ascending splat indices.
    pub splats: Vec<u32>,
    /// Offset of each of these splats at driver value 1.
    pub deltas: Vec<[f32; 3]>,
}

/// Which frame a triangle gives its splats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TriangleFrame {
    /// GaussianAvatars: first edge, normal, their cross product; splats scale with the triangle (kind 2).
    GaussianAvatars = 2,
    /// STGA: direction from the centroid to the first vertex, and the normal; no scaling (kind 3).
    Stga = 3,
    /// RGBAvatar: tangent, bitangent, normal from UVs, at a barycentric origin; not orthogonal (kind 4).
    RgbAvatar = 4,
}

/// Binding of each splat to a template triangle; the splats' means, rotations and scales are local to that triangle.
#[derive(Debug, Clone, PartialEq)]
pub struct TriangleBinding {
    /// The frame's definition.
    pub frame: TriangleFrame,
    /// Template triangle of each splat, N.
    pub triangles: Vec<u32>,
    /// Barycentric coordinates of each splat's origin, N × 3 summing to 1; present exactly for [`TriangleFrame::RgbAvatar`].
    pub barycentrics: Option<Vec<[f32; 3]>>,
}

/// Linear bases added to the canonical splats: `attribute += Σ ψ_k · delta_k`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Blendshapes {
    /// Number of bases K.
    pub bases: u32,
    /// Position deltas, K × N × 3, basis-major; empty when no basis moves splats.
    pub means: Vec<[f32; 3]>,
    /// Quaternion deltas w, x, y, z, K × N × 4, added before normalisation; empty when unused.
    pub rotations: Vec<[f32; 4]>,
    /// Degree-0 colour deltas, K × N × 3; empty when unused.
    pub sh0: Vec<[f32; 3]>,
    /// Where the weights ψ come from.
    pub weights: BlendWeights,
}

/// Where blendshape weights come from.
#[derive(Debug, Clone, PartialEq)]
pub enum BlendWeights {
    /// One named driver per basis.
    Drivers(Vec<String>),
    /// A small network from drivers to weights.
    Mlp(Mlp),
}

impl Default for BlendWeights {
    fn default() -> Self {
        Self::Drivers(Vec::new())
    }
}

/// A small fully connected network, at most 8 layers of at most 4096 units.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mlp {
    /// Names of the drivers that form the input vector, in order.
    pub inputs: Vec<String>,
    /// Layers from input to output.
    pub layers: Vec<MlpLayer>,
}

/// `y = activation(W x + b)`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MlpLayer {
    /// Row-major weights, outputs × inputs.
    pub weight: Vec<f32>,
    /// Bias, one per output.
    pub bias: Vec<f32>,
    /// Elementwise function on the result.
    pub activation: Activation,
}

impl MlpLayer {
    /// Number of inputs, from the sizes of weight and bias.
    pub fn inputs(&self) -> usize {
        if self.bias.is_empty() { 0 } else { self.weight.len() / self.bias.len() }
    }
}

/// Activation of an [`MlpLayer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Activation {
    #[default]
    None = 0,
    Relu = 1,
    Sigmoid = 2,
    Tanh = 3,
}

/// Recorded motion of splats without a rig; an attribute that is `None` keeps its canonical value.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FrameTracks {
    /// Time base of `ticks`.
    pub ticks_per_second: u32,
    /// Ascending time of each of the F frames.
    pub ticks: Vec<u32>,
    /// Centres, F × N × 3, frame-major.
    pub means: Option<Vec<[f32; 3]>>,
    /// Rotations w, x, y, z, F × N × 4.
    pub rotations: Option<Vec<[f32; 4]>>,
    /// Degree-0 colours, F × N × 3.
    pub sh0: Option<Vec<[f32; 3]>>,
    /// Opacity logits, F × N.
    pub opacity_logits: Option<Vec<f32>>,
}

/// Limits on rigs that every reader and [`Rig::validate`] enforce (`spec/gav.md` section 10).
pub mod rig_limits {
    /// Joints of a skeleton.
    pub const JOINTS: usize = 4096;
    /// Influences of one splat.
    pub const INFLUENCES: usize = 8;
    /// Bases of a blendshape set.
    pub const BASES: usize = 1024;
    /// Morph targets.
    pub const TARGETS: usize = 4096;
    /// Layers of an MLP.
    pub const MLP_LAYERS: usize = 8;
    /// Inputs or outputs of an MLP layer.
    pub const MLP_WIDTH: usize = 4096;
    /// Frames of a frame track.
    pub const FRAMES: usize = 1 << 20;
    /// Largest deviation of a weight or barycentric sum from 1.
    pub const SUM_TOLERANCE: f32 = 1e-3;
}

impl Rig {
    /// The number of the rig kind in `spec/gav.md` section 8, leaving blendshapes aside.
    pub fn kind(&self) -> u8 {
        match &self.base {
            RigBase::Static => 0,
            RigBase::Skinned { morphs: None, .. } => 1,
            RigBase::Triangle(binding) => binding.frame as u8,
            RigBase::Frames(_) => 6,
            RigBase::Skinned { morphs: Some(_), .. } => 7,
        }
    }

    /// A readable name of the kind, such as `lbs + blendshapes`.
    pub fn name(&self) -> String {
        let base = match &self.base {
            RigBase::Static => "static",
            RigBase::Skinned { morphs: None, .. } => "lbs",
            RigBase::Skinned { morphs: Some(_), .. } => "morph + lbs",
            RigBase::Triangle(b) => match b.frame {
                TriangleFrame::GaussianAvatars => "triangle (GaussianAvatars)",
                TriangleFrame::Stga => "triangle (STGA)",
                TriangleFrame::RgbAvatar => "triangle (RGBAvatar)",
            },
            RigBase::Frames(_) => "frames",
        };
        if self.blendshapes.is_some() { format!("{base} + blendshapes") } else { base.to_owned() }
    }

    /// True when nothing moves.
    pub fn is_static(&self) -> bool {
        matches!(self.base, RigBase::Static) && self.blendshapes.is_none()
    }

    /// Checks sizes, ranges and sums against `count` splats; the message names the offending index.
    pub fn validate(&self, count: usize) -> Result<()> {
        match &self.base {
            RigBase::Static => {}
            RigBase::Skinned { skeleton, skin, morphs } => {
                skeleton.validate()?;
                skin.validate(count, skeleton.joints.len())?;
                if let Some(morphs) = morphs {
                    morphs.validate(count)?;
                }
            }
            RigBase::Triangle(binding) => binding.validate(count)?,
            RigBase::Frames(frames) => frames.validate(count)?,
        }
        self.blendshapes.as_ref().map_or(Ok(()), |b| b.validate(count))
    }
}

fn check(condition: bool, message: impl FnOnce() -> String) -> Result<()> {
    if condition { Ok(()) } else { Err(Error::usage(message())) }
}

impl Skeleton {
    fn validate(&self) -> Result<()> {
        check(self.joints.len() <= rig_limits::JOINTS, || format!("{} joints, at most 4096", self.joints.len()))?;
        for (index, joint) in self.joints.iter().enumerate() {
            check(joint.parent.is_none_or(|p| (p as usize) < index), || {
                format!("joint {index} has parent {:?}, which does not come before it", joint.parent)
            })?;
            let numbers = joint.translation.iter().chain(&joint.rotation).chain(&joint.scale);
            check(numbers.chain(joint.inverse_bind.iter().flatten()).all(|v| v.is_finite()), || {
                format!("joint {index} has a transform that is not finite")
            })?;
        }
        Ok(())
    }
}

impl Skin {
    fn validate(&self, count: usize, joints: usize) -> Result<()> {
        check(self.offsets.len() == count + 1 && self.offsets.first() == Some(&0), || {
            format!("skin has {} offsets for {count} splats", self.offsets.len())
        })?;
        check(
            self.offsets.last().copied() == Some(self.joints.len() as u32) && self.joints.len() == self.weights.len(),
            || format!("skin has {} joints and {} weights", self.joints.len(), self.weights.len()),
        )?;
        for (splat, pair) in self.offsets.windows(2).enumerate() {
            check(
                pair[0] <= pair[1] && (pair[1] - pair[0]) as usize <= rig_limits::INFLUENCES && pair[1] > pair[0],
                || format!("splat {splat} has {} influences, 1 to 8 allowed", i64::from(pair[1]) - i64::from(pair[0])),
            )?;
            let mut sum = 0.0;
            for (joint, weight) in self.row(splat) {
                check((joint as usize) < joints, || format!("splat {splat} names joint {joint} of {joints}"))?;
                check(weight >= 0.0, || format!("splat {splat} has weight {weight}"))?;
                sum += weight;
            }
            check((sum - 1.0).abs() <= rig_limits::SUM_TOLERANCE, || format!("weights of splat {splat} sum to {sum}"))?;
        }
        Ok(())
    }
}

impl Morphs {
    fn validate(&self, count: usize) -> Result<()> {
        check(self.targets.len() <= rig_limits::TARGETS, || format!("{} morph targets", self.targets.len()))?;
        for target in &self.targets {
            let name = &target.driver;
            check(target.splats.len() == target.deltas.len(), || format!("morph target `{name}` has unequal arrays"))?;
            check(target.splats.windows(2).all(|p| p[0] < p[1]), || {
                format!("morph target `{name}`: splat indices do not ascend")
            })?;
            check(target.splats.last().is_none_or(|&s| (s as usize) < count), || {
                format!("morph target `{name}` names a splat beyond {count}")
            })?;
            check(target.deltas.iter().flatten().all(|v| v.is_finite()), || {
                format!("morph target `{name}` is not finite")
            })?;
        }
        Ok(())
    }
}

impl TriangleBinding {
    fn validate(&self, count: usize) -> Result<()> {
        check(self.triangles.len() == count, || format!("{} triangle ids for {count} splats", self.triangles.len()))?;
        check(self.barycentrics.is_some() == (self.frame == TriangleFrame::RgbAvatar), || {
            "barycentric coordinates belong to the RGBAvatar frame, and to it only".to_owned()
        })?;
        if let Some(coordinates) = &self.barycentrics {
            check(coordinates.len() == count, || format!("{} barycentrics for {count} splats", coordinates.len()))?;
            for (splat, b) in coordinates.iter().enumerate() {
                let sum = b[0] + b[1] + b[2];
                check((sum - 1.0).abs() <= rig_limits::SUM_TOLERANCE, || {
                    format!("barycentric coordinates of splat {splat} sum to {sum}")
                })?;
            }
        }
        Ok(())
    }
}

impl Blendshapes {
    fn validate(&self, count: usize) -> Result<()> {
        let expected = self.bases as usize * count;
        check(self.bases as usize <= rig_limits::BASES, || format!("{} bases, at most 1024", self.bases))?;
        for (name, length) in
            [("means", self.means.len()), ("rotations", self.rotations.len()), ("sh0", self.sh0.len())]
        {
            check(length == 0 || length == expected, || {
                format!("blendshape {name} has {length} rows, 0 or {expected} expected")
            })?;
        }
        let finite =
            self.means.iter().flatten().chain(self.rotations.iter().flatten()).chain(self.sh0.iter().flatten());
        check(finite.into_iter().all(|v| v.is_finite()), || "blendshapes are not finite".to_owned())?;
        match &self.weights {
            BlendWeights::Drivers(names) => check(names.len() == self.bases as usize, || {
                format!("{} drivers for {} bases", names.len(), self.bases)
            }),
            BlendWeights::Mlp(mlp) => mlp.validate(self.bases as usize),
        }
    }
}

impl Mlp {
    fn validate(&self, outputs: usize) -> Result<()> {
        check(!self.layers.is_empty() && self.layers.len() <= rig_limits::MLP_LAYERS, || {
            format!("{} MLP layers, 1 to 8 allowed", self.layers.len())
        })?;
        let mut width = self.inputs.len();
        for (index, layer) in self.layers.iter().enumerate() {
            check(width <= rig_limits::MLP_WIDTH && layer.bias.len() <= rig_limits::MLP_WIDTH, || {
                format!("MLP layer {index} is wider than 4096")
            })?;
            check(layer.weight.len() == width * layer.bias.len() && !layer.bias.is_empty(), || {
                format!(
                    "MLP layer {index}: {} weights for {width} inputs, {} outputs",
                    layer.weight.len(),
                    layer.bias.len()
                )
            })?;
            check(layer.weight.iter().chain(&layer.bias).all(|v| v.is_finite()), || {
                format!("MLP layer {index} is not finite")
            })?;
            width = layer.bias.len();
        }
        check(width == outputs, || format!("MLP gives {width} weights for {outputs} bases"))
    }
}

impl FrameTracks {
    fn validate(&self, count: usize) -> Result<()> {
        let frames = self.ticks.len();
        check(self.ticks_per_second > 0, || "frame track without a time base".to_owned())?;
        check(frames > 0 && frames <= rig_limits::FRAMES, || format!("{frames} frames"))?;
        check(self.ticks.windows(2).all(|p| p[0] < p[1]), || "frame times do not ascend".to_owned())?;
        let expected = frames * count;
        for (name, length) in [
            ("means", self.means.as_ref().map(Vec::len)),
            ("rotations", self.rotations.as_ref().map(Vec::len)),
            ("sh0", self.sh0.as_ref().map(Vec::len)),
            ("opacity_logits", self.opacity_logits.as_ref().map(Vec::len)),
        ] {
            check(length.is_none_or(|l| l == expected), || {
                format!("frame {name} has {length:?} rows, {expected} expected")
            })?;
        }
        Ok(())
    }
}
