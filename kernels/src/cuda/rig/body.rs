//! Parametric bodies: coefficients and rotations in, posed vertices out, and back.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    super::{Buffer, CudaError, Device, device::Kernel},
    BODY, THREADS, holds, kernel,
    lists::{DeviceRows, Rows},
};

/// As in body.cu.
const GROUP: usize = 8;
const COLUMNS: usize = 4;
const MOST: usize = 1024;
const JOINTS: usize = 256;

/// How the rotation of a joint is given; the numbers stand first among the nine of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationForm {
    /// Three numbers: axis times angle in radians, by the formula of the SMPL family.
    AxisAngle,
    /// Six numbers: the first two rows, orthonormalised in order.
    SixD,
    /// Nine numbers: the matrix in rows.
    Matrix,
}

/// What does not change: one subject with its directions.
#[derive(Debug, Clone, Copy)]
pub struct BodyArrays<'a> {
    /// Vertices of the subject at rest, V × 3: template, identity and offsets.
    pub base: &'a [[f32; 3]],
    /// Directions of expression and extras, E × V × 3.
    pub directions: &'a [f32],
    /// Pose correctives, F × V × 3 with F = 9 (J − 1), or none.
    pub correctives: &'a [f32],
    /// Vertices that place each joint, J rows.
    pub regressor: Rows<'a>,
    /// Joints that move each vertex, V rows.
    pub weights: Rows<'a>,
    /// Parent of each joint.
    pub parents: &'a [Option<u32>],
    /// All joints, parents before children.
    pub order: &'a [u32],
    /// Form of each joint's rotation.
    pub forms: &'a [RotationForm],
}

/// A body in device memory with room for a number of poses.
pub struct Body {
    device: Arc<Device>,
    kernels: Kernels,
    vertices: usize,
    joints: usize,
    expressions: usize,
    features: usize,
    capacity: usize,
    /// Coefficients, P × E; written by the caller.
    pub expression: Buffer<f32>,
    /// Rotations, P × J × 9, of which a form may use fewer; written by the caller.
    pub rotations: Buffer<f32>,
    /// Translations, P × 3; written by the caller.
    pub translations: Buffer<f32>,
    /// Posed vertices, P × V × 3.
    pub posed: Buffer<f32>,
    /// Posed joints, P × J × 3.
    pub posed_joints: Buffer<f32>,
    /// Gradient by [`Body::expression`].
    pub by_expression: Buffer<f32>,
    /// Gradient by [`Body::rotations`], in the same forms.
    pub by_rotations: Buffer<f32>,
    /// Gradient by [`Body::translations`].
    pub by_translations: Buffer<f32>,
    /// Gradient by the subject's vertices at rest, P × 3 × V: coordinate by coordinate.
    pub by_shaped: Buffer<f32>,
    base: Buffer<f32>,
    directions: Buffer<f32>,
    correctives: Buffer<f32>,
    base_joints: Buffer<f32>,
    joint_directions: Buffer<f32>,
    skin: DeviceRows,
    joint_rows: DeviceRows,
    regressor: DeviceRows,
    parents: Buffer<i32>,
    order: Buffer<u32>,
    forms: Buffer<u32>,
    scratch: Scratch,
}

struct Kernels {
    joints: Kernel,
    vertices: Kernel,
    skin_backward: Kernel,
    transforms_backward: Kernel,
    feature_backward: Kernel,
    chain_backward: Kernel,
    shaped_backward: Kernel,
    expression_backward: Kernel,
}

struct Scratch {
    matrices: Buffer<f32>,
    rest_joints: Buffer<f32>,
    chain: Buffer<f32>,
    transforms: Buffer<f32>,
    feature: Buffer<f32>,
    shaped: Buffer<f32>,
    corrected: Buffer<f32>,
    by_corrected: Buffer<f32>,
    by_transforms: Buffer<f32>,
    by_feature: Buffer<f32>,
    by_joints: Buffer<f32>,
}

/// The struct `Body` of body.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    constants: [u64; 17],
    parameters: [u64; 3],
    results: [u64; 9],
    backward: [u64; 9],
    sizes: [u32; 6],
}

// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for Arguments {}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} vertices, {} joints, {} poses)", self.vertices, self.joints, self.capacity)
    }
}

impl Body {
    /// Copies a body to the device and makes room for `poses` poses.
    ///
    /// # Errors
    /// [`CudaError::Usage`] for arrays that do not fit together, and what the device fails in.
    pub fn new(device: &Arc<Device>, arrays: &BodyArrays<'_>, poses: usize) -> Result<Self, CudaError> {
        let (vertices, joints) = (arrays.base.len(), arrays.parents.len());
        let [expressions, features] = [arrays.directions, arrays.correctives].map(|d| d.len() / (3 * vertices).max(1));
        check(arrays, expressions, features)?;
        let make = |name| kernel(device, name, &BODY, &[]);
        let buffer = |width: usize| Buffer::new(device, poses * width);
        let forms: Vec<u32> = arrays.forms.iter().map(|form| *form as u32).collect();
        let parents: Vec<i32> = arrays.parents.iter().map(|p| p.map_or(-1, |p| p as i32)).collect();
        let planes = |rows: &[f32]| -> Vec<f32> {
            let planes_of = |row: &[f32]| -> Vec<f32> {
                (0..3).flat_map(|c| row.iter().skip(c).step_by(3).copied().collect::<Vec<_>>()).collect()
            };
            rows.chunks_exact((3 * vertices).max(1)).flat_map(planes_of).collect()
        };
        // in f64: sums over a thousand vertices
        let regress = |row: &[f32]| -> Vec<f32> {
            let joint = |j: usize| {
                let entries = arrays.regressor.starts[j] as usize..arrays.regressor.starts[j + 1] as usize;
                let mut sum = [0.0f64; 3];
                for k in entries {
                    let (vertex, value) = (arrays.regressor.columns[k] as usize, f64::from(arrays.regressor.values[k]));
                    (0..3).for_each(|c| sum[c] += value * f64::from(row[3 * vertex + c]));
                }
                sum.map(|v| v as f32)
            };
            (0..joints).flat_map(joint).collect()
        };
        let joint_directions: Vec<f32> =
            arrays.directions.chunks_exact((3 * vertices).max(1)).flat_map(regress).collect();
        let base = arrays.base.as_flattened();
        Ok(Self {
            kernels: Kernels {
                joints: make("body_joints")?,
                vertices: make("body_vertices")?,
                skin_backward: make("body_skin_backward")?,
                transforms_backward: make("body_transforms_backward")?,
                feature_backward: make("body_feature_backward")?,
                chain_backward: make("body_chain_backward")?,
                shaped_backward: make("body_shaped_backward")?,
                expression_backward: make("body_expression_backward")?,
            },
            expression: Buffer::zeros(device, poses * expressions)?,
            rotations: Buffer::zeros(device, poses * joints * 9)?,
            translations: Buffer::zeros(device, poses * 3)?,
            posed: buffer(3 * vertices)?,
            posed_joints: buffer(3 * joints)?,
            by_expression: buffer(expressions)?,
            by_rotations: buffer(9 * joints)?,
            by_translations: buffer(3)?,
            by_shaped: buffer(3 * vertices)?,
            base: Buffer::from_slice(device, &planes(base))?,
            directions: Buffer::from_slice(device, &planes(arrays.directions))?,
            correctives: Buffer::from_slice(device, &planes(arrays.correctives))?,
            base_joints: Buffer::from_slice(device, &regress(base))?,
            joint_directions: Buffer::from_slice(device, &joint_directions)?,
            skin: DeviceRows::new(device, &arrays.weights)?,
            joint_rows: DeviceRows::transposed(device, &arrays.weights, joints)?,
            regressor: DeviceRows::transposed(device, &arrays.regressor, vertices)?,
            parents: Buffer::from_slice(device, &parents)?,
            order: Buffer::from_slice(device, arrays.order)?,
            forms: Buffer::from_slice(device, &forms)?,
            scratch: Scratch {
                matrices: buffer(9 * joints)?,
                rest_joints: buffer(3 * joints)?,
                chain: buffer(12 * joints)?,
                transforms: buffer(12 * joints)?,
                feature: buffer(features)?,
                shaped: buffer(3 * vertices)?,
                corrected: buffer(3 * vertices)?,
                by_corrected: buffer(3 * vertices)?,
                by_transforms: buffer(12 * (joints + 1))?,
                by_feature: buffer(features)?,
                by_joints: buffer(3 * joints)?,
            },
            device: Arc::clone(device),
            vertices,
            joints,
            expressions,
            features,
            capacity: poses,
        })
    }

    /// Vertices V.
    pub fn vertex_count(&self) -> usize {
        self.vertices
    }

    fn arguments(&self, poses: usize, by_posed: u64) -> Arguments {
        let s = &self.scratch;
        Arguments {
            constants: [
                self.base.pointer(),
                self.directions.pointer(),
                self.correctives.pointer(),
                self.base_joints.pointer(),
                self.joint_directions.pointer(),
                self.skin.starts.pointer(),
                self.skin.columns.pointer(),
                self.skin.values.pointer(),
                self.joint_rows.starts.pointer(),
                self.joint_rows.columns.pointer(),
                self.joint_rows.values.pointer(),
                self.regressor.starts.pointer(),
                self.regressor.columns.pointer(),
                self.regressor.values.pointer(),
                self.parents.pointer(),
                self.order.pointer(),
                self.forms.pointer(),
            ],
            parameters: [self.expression.pointer(), self.rotations.pointer(), self.translations.pointer()],
            results: [
                s.matrices.pointer(),
                s.rest_joints.pointer(),
                s.chain.pointer(),
                s.transforms.pointer(),
                self.posed_joints.pointer(),
                s.feature.pointer(),
                s.shaped.pointer(),
                s.corrected.pointer(),
                self.posed.pointer(),
            ],
            backward: [
                by_posed,
                s.by_corrected.pointer(),
                self.by_shaped.pointer(),
                s.by_transforms.pointer(),
                s.by_feature.pointer(),
                self.by_expression.pointer(),
                s.by_joints.pointer(),
                self.by_rotations.pointer(),
                self.by_translations.pointer(),
            ],
            sizes: [self.vertices, self.joints, self.expressions, self.features, poses, 0].map(|n| n as u32),
        }
    }

    fn run(&self, kernel: &Kernel, grid: [usize; 2], threads: u32, arguments: &Arguments) -> Result<(), CudaError> {
        // SAFETY: `Arguments` is the kernels' parameter, and its arrays have the sizes it names
        unsafe { self.device.launch(kernel, grid, threads, arguments) }
    }

    fn fits(&self, poses: usize) -> Result<(), CudaError> {
        if poses > self.capacity {
            return Err(CudaError::Usage(format!("{poses} poses, there is room for {}", self.capacity)));
        }
        Ok(())
    }

    /// Poses the first `poses` rows of the parameters.
    ///
    /// # Errors
    /// More poses than there is room for, and what the device fails in.
    pub fn forward(&self, poses: usize) -> Result<(), CudaError> {
        self.fits(poses)?;
        let arguments = self.arguments(poses, 0);
        let blocks = self.vertices.div_ceil(THREADS as usize);
        self.run(&self.kernels.joints, [poses, 1], 256, &arguments)?;
        self.run(&self.kernels.vertices, [blocks, poses.div_ceil(GROUP)], THREADS, &arguments)
    }

    /// Gradients by all parameters, from those by [`Body::posed`] (P × V × 3), after [`Body::forward`] of as many poses.
    ///
    /// # Errors
    /// As there.
    pub fn backward(&self, poses: usize, by_posed: &Buffer<f32>) -> Result<(), CudaError> {
        self.fits(poses)?;
        holds("gradients of posed vertices", by_posed, 3 * poses * self.vertices)?;
        let arguments = self.arguments(poses, by_posed.pointer());
        let (k, blocks) = (&self.kernels, self.vertices.div_ceil(THREADS as usize));
        self.run(&k.skin_backward, [blocks, poses], THREADS, &arguments)?;
        self.run(&k.transforms_backward, [self.joints + 1, poses], 256, &arguments)?;
        let columns = |count: usize| [count.div_ceil(COLUMNS), poses.div_ceil(GROUP)];
        self.run(&k.feature_backward, columns(self.features), 512, &arguments)?;
        self.run(&k.chain_backward, [poses, 1], 64, &arguments)?;
        self.run(&k.shaped_backward, [blocks, poses], THREADS, &arguments)?;
        self.run(&k.expression_backward, columns(self.expressions), 512, &arguments)
    }
}

fn check(arrays: &BodyArrays<'_>, expressions: usize, features: usize) -> Result<(), CudaError> {
    let (vertices, joints) = (arrays.base.len(), arrays.parents.len());
    arrays.regressor.check("joint regressor", joints, vertices)?;
    arrays.weights.check("skinning weights", vertices, joints)?;
    let wrong = |message: String| Err(CudaError::Usage(message));
    if joints > JOINTS || expressions + features > MOST {
        return wrong(format!("{joints} joints and {expressions} + {features} columns, at most {JOINTS} and {MOST}"));
    }
    for (what, rows, columns) in
        [("directions", arrays.directions.len(), expressions), ("correctives", arrays.correctives.len(), features)]
    {
        if rows != 3 * vertices * columns {
            return wrong(format!("{what}: {rows} numbers are no whole columns of {vertices} vertices"));
        }
    }
    if features != 0 && features != 9 * joints.saturating_sub(1) {
        return wrong(format!("{features} correctives of {joints} joints, 9 for each but the first expected"));
    }
    let mut placed = vec![false; joints];
    for joint in arrays.order {
        let ready = arrays
            .parents
            .get(*joint as usize)
            .is_some_and(|p| p.is_none_or(|p| placed.get(p as usize) == Some(&true)));
        if !ready || std::mem::replace(&mut placed[*joint as usize], true) {
            return wrong(format!("joint {joint} comes twice or before its parent"));
        }
    }
    if !placed.iter().all(|p| *p) || arrays.forms.len() != joints {
        return wrong(format!("{} joints in order and {} forms of {joints}", arrays.order.len(), arrays.forms.len()));
    }
    Ok(())
}
