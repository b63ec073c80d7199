//! From parameters to vertices and joints.

use std::sync::Arc;

use gav_kernels::Real;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{
    Body, Rotation,
    basis::{LANES, blocks_of, load, store},
    matrix::{Matrix, apply, identity, minus, plus, product},
};
use crate::{Error, Result};

/// How a body is posed; also the gradient with respect to that, each number in its place.
///
/// Every list may be shorter than the body has coefficients or rows, the rest is zero; lists that are too long are an error of
/// [`Body::check`].
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters<T> {
    /// Identity coefficients ("shape", "betas").
    pub shape: Vec<T>,
    /// Expression coefficients.
    pub expression: Vec<T>,
    /// Coefficients of the further directions ([`Body::extras`]): left eyelid, right eyelid.
    pub extras: Vec<T>,
    /// Displacement of the rest vertices of this subject, V × 3.
    pub offset: Vec<[T; 3]>,
    /// Rotation of every joint relative to its parent; empty for none.
    pub rotations: Vec<Rotation<T>>,
    /// Added to everything at the end, metres.
    pub translation: [T; 3],
}

impl<T: Real> Default for Parameters<T> {
    fn default() -> Self {
        Self {
            shape: Vec::new(),
            expression: Vec::new(),
            extras: Vec::new(),
            offset: Vec::new(),
            rotations: Vec::new(),
            translation: [T::zero(); 3],
        }
    }
}

/// The rest vertices of one subject: what of a pose stays the same from frame to frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity<T> {
    pub(super) shape: Vec<T>,
    pub(super) offset: Vec<[T; 3]>,
    /// `v_template + Σ shape + offset`, V × 3.
    pub vertices: Vec<[T; 3]>,
}

/// A posed body, with what the gradients need.
#[derive(Debug, Clone, PartialEq)]
pub struct Posed<T> {
    /// V × 3, metres.
    pub vertices: Vec<[T; 3]>,
    /// Joints, J × 3.
    pub joints: Vec<[T; 3]>,
    /// What carries a point that follows joint j alone from rest to its place, J × 3 × 4, the translation included.
    pub transforms: Vec<[[T; 4]; 3]>,
    /// Rest vertices of this subject with this expression, V × 3: `v_shaped` of the papers, before pose correctives.
    pub shaped: Vec<[T; 3]>,
    /// The same with pose correctives: `v_posed`.
    pub corrected: Vec<[T; 3]>,
    /// Joints of `shaped`, J × 3.
    pub rest_joints: Vec<[T; 3]>,
    /// Rotation of each joint relative to its parent, J × 3 × 3.
    pub rotations: Vec<[[T; 3]; 3]>,
}

impl<T: Real> Body<T> {
    /// Checks that no list is longer than the body has room for.
    ///
    /// # Errors
    /// A usage error with both numbers.
    pub fn check(&self, parameters: &Parameters<T>) -> Result<()> {
        for (what, found, room) in [
            ("identity coefficients", parameters.shape.len(), self.shape_count()),
            ("expression coefficients", parameters.expression.len(), self.expression_count()),
            ("eyelid coefficients", parameters.extras.len(), self.extras.len()),
            ("rows of offsets", parameters.offset.len(), self.vertex_count()),
        ] {
            if found > room {
                return Err(Error::usage(format!("{found} {what}, but this body has {room}")));
            }
        }
        let (found, joints) = (parameters.rotations.len(), self.joint_count());
        if found != 0 && found != joints {
            return Err(Error::usage(format!("{found} rotations, but this body has {joints} joints")));
        }
        Ok(())
    }

    /// The rest vertices of a subject.
    pub fn identity(&self, shape: &[T], offset: &[[T; 3]]) -> Identity<T> {
        let mut vertices = self.vertices.clone();
        Arch::new().dispatch(AddIdentity { body: self, shape, vertices: &mut vertices });
        for (vertex, by) in vertices.iter_mut().zip(offset) {
            *vertex = plus(vertex, by);
        }
        Identity { shape: shape.to_vec(), offset: offset.to_vec(), vertices }
    }

    /// Poses the body. The identity of the last call is kept and used again when shape and offset are the same.
    ///
    /// Surplus coefficients are ignored, missing ones are zero; [`Body::check`] tells.
    ///
    /// # Panics
    /// When there are rotations, but not one for each joint.
    pub fn pose(&self, parameters: &Parameters<T>) -> Posed<T> {
        self.pose_subject(&self.cached_identity(parameters), parameters)
    }

    /// Poses the body many times, in parallel.
    pub fn pose_all(&self, parameters: &[Parameters<T>]) -> Vec<Posed<T>> {
        parameters.par_iter().map(|p| self.pose(p)).collect()
    }

    fn cached_identity(&self, parameters: &Parameters<T>) -> Arc<Identity<T>> {
        let same = |i: &&Arc<Identity<T>>| i.shape == parameters.shape && i.offset == parameters.offset;
        // a poisoned lock only means that another thread panicked while it held a finished value
        let lock = || self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let last = lock().clone();
        if let Some(identity) = last.as_ref().filter(same) {
            return identity.clone();
        }
        let identity = Arc::new(self.identity(&parameters.shape, &parameters.offset));
        *lock() = Some(identity.clone());
        identity
    }

    /// Poses a subject: `shape` and `offset` of the parameters are ignored.
    ///
    /// # Panics
    /// As [`Body::pose`].
    pub fn pose_subject(&self, subject: &Identity<T>, parameters: &Parameters<T>) -> Posed<T> {
        let joints = self.joint_count();
        let rotations: Vec<Matrix<T>> = if parameters.rotations.is_empty() {
            vec![identity(); joints]
        } else {
            assert_eq!(parameters.rotations.len(), joints, "one rotation for each joint");
            parameters.rotations.iter().map(Rotation::matrix).collect()
        };
        // the directions beyond the expression are driven by the numbers behind it
        let mut expression = parameters.expression.clone();
        expression.resize(self.expression_columns, T::zero());
        expression.extend(parameters.extras.iter().take(self.extras.len()));
        let mut shaped = subject.vertices.clone();
        let mut corrected = vec![[T::zero(); 3]; shaped.len()];
        let feature = pose_feature(&rotations);
        let (expression, feature) = (&expression, &feature);
        Arch::new().dispatch(Deform {
            body: self,
            expression,
            feature,
            shaped: &mut shaped,
            corrected: &mut corrected,
        });

        let rest_joints = self.regress(&shaped);
        let chain = self.chain(&rotations, &rest_joints);
        let mut out = Posed {
            vertices: vec![[T::zero(); 3]; shaped.len()],
            joints: chain.iter().map(|(_, t)| plus(t, &parameters.translation)).collect(),
            transforms: Vec::with_capacity(joints),
            shaped,
            corrected,
            rest_joints,
            rotations,
        };
        // skinning without the translation, which is added once: weights sum to 1 only up to rounding
        let local: Vec<[[T; 4]; 3]> = chain
            .iter()
            .zip(&out.rest_joints)
            .map(|((rotation, translation), joint)| {
                let moved = minus(translation, &apply(rotation, joint));
                std::array::from_fn(|r| [rotation[r][0], rotation[r][1], rotation[r][2], moved[r]])
            })
            .collect();
        Arch::new().dispatch(Skinning {
            weights: &self.weights,
            transforms: &local,
            translation: parameters.translation,
            from: &out.corrected,
            to: &mut out.vertices,
        });
        out.transforms = local;
        for transform in &mut out.transforms {
            for r in 0..3 {
                transform[r][3] += parameters.translation[r];
            }
        }
        out
    }

    /// Joints of rest vertices.
    pub fn regress(&self, vertices: &[[T; 3]]) -> Vec<[T; 3]> {
        let joint = |j| {
            let (columns, values) = self.regressor.row(j);
            let mut sum = [T::zero(); 3];
            for (column, value) in columns.iter().zip(values) {
                let vertex = &vertices[*column as usize];
                sum = std::array::from_fn(|c| sum[c] + *value * vertex[c]);
            }
            sum
        };
        (0..self.joint_count()).map(joint).collect()
    }

    /// Rotation and place of each joint in the frame of the body.
    pub(super) fn chain(&self, rotations: &[Matrix<T>], rest_joints: &[[T; 3]]) -> Vec<(Matrix<T>, [T; 3])> {
        let mut out = vec![(identity(), [T::zero(); 3]); rotations.len()];
        for &joint in &self.order {
            let joint = joint as usize;
            out[joint] = match self.parents[joint] {
                None => (rotations[joint], rest_joints[joint]),
                Some(parent) => {
                    let (rotation, translation) = &out[parent as usize];
                    let bone = minus(&rest_joints[joint], &rest_joints[parent as usize]);
                    (product(rotation, &rotations[joint]), plus(&apply(rotation, &bone), translation))
                }
            };
        }
        out
    }
}

/// R_j − I of every joint but the first, in rows.
pub(super) fn pose_feature<T: Real>(rotations: &[Matrix<T>]) -> Vec<T> {
    let one = identity::<T>();
    let entries = |r: &Matrix<T>| -> [T; 9] { std::array::from_fn(|k| r[k / 3][k % 3] - one[k / 3][k % 3]) };
    rotations[1..].iter().flat_map(entries).collect()
}

/// Adds identity directions to vertices.
struct AddIdentity<'a, T> {
    body: &'a Body<T>,
    shape: &'a [T],
    vertices: &'a mut [[T; 3]],
}

impl<T: Real> WithSimd for AddIdentity<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for block in 0..blocks_of(self.vertices.len()) {
            let mut sum = load(self.vertices, block);
            self.body.identity.add(block, self.shape, &mut sum);
            store(&sum, self.vertices, block);
        }
    }
}

/// Adds expression, then correctives.
struct Deform<'a, T> {
    body: &'a Body<T>,
    expression: &'a [T],
    feature: &'a [T],
    shaped: &'a mut [[T; 3]],
    corrected: &'a mut [[T; 3]],
}

impl<T: Real> WithSimd for Deform<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for block in 0..blocks_of(self.shaped.len()) {
            let mut sum: [T; LANES] = load(self.shaped, block);
            self.body.expression.add(block, self.expression, &mut sum);
            store(&sum, self.shaped, block);
            self.body.correctives.add(block, self.feature, &mut sum);
            store(&sum, self.corrected, block);
        }
    }
}

/// Blends the transforms of each vertex and applies them.
struct Skinning<'a, T> {
    weights: &'a super::SparseRows<T>,
    transforms: &'a [[[T; 4]; 3]],
    translation: [T; 3],
    from: &'a [[T; 3]],
    to: &'a mut [[T; 3]],
}

impl<T: Real> WithSimd for Skinning<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (vertex, (from, to)) in self.from.iter().zip(self.to).enumerate() {
            let (joints, weights) = self.weights.row(vertex);
            let mut blended = [T::zero(); 12];
            for (joint, weight) in joints.iter().zip(weights) {
                let transform = self.transforms[*joint as usize].as_flattened();
                for k in 0..12 {
                    blended[k] += *weight * transform[k];
                }
            }
            let row = |r: usize| {
                blended[4 * r] * from[0]
                    + blended[4 * r + 1] * from[1]
                    + blended[4 * r + 2] * from[2]
                    + blended[4 * r + 3]
                    + self.translation[r]
            };
            *to = [row(0), row(1), row(2)];
        }
    }
}
