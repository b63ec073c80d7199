//! From gradients of vertices and joints to those of every parameter.
//!
//! The reverse of the steps in the module's description; children are handled before their parents.

use gav_kernels::Real;
use pulp::{Arch, Simd, WithSimd};

use super::{
    Body, Parameters, Posed,
    basis::{blocks_of, load},
    matrix::{Matrix, add_to, apply_transposed, minus, outer, plus, product, transposed},
};

/// Gradients of a loss with respect to the results of [`Body::pose`]; what is empty counts as zero.
#[derive(Debug, Clone, Copy)]
pub struct Upstream<'a, T> {
    /// Of [`Posed::vertices`].
    pub vertices: &'a [[T; 3]],
    /// Of [`Posed::joints`].
    pub joints: &'a [[T; 3]],
    /// Of [`Posed::transforms`].
    pub transforms: &'a [[[T; 4]; 3]],
    /// Of [`Posed::shaped`].
    pub shaped: &'a [[T; 3]],
}

impl<T> Default for Upstream<'_, T> {
    fn default() -> Self {
        Self { vertices: &[], joints: &[], transforms: &[], shaped: &[] }
    }
}

impl<T: Real> Body<T> {
    /// The gradient with respect to every parameter. Lists of coefficients are as long as those of `parameters` (give zeros for
    /// coefficients that shall learn), `offset` has a row for each vertex, `rotations` one for each joint in the form it was given.
    pub fn backward(&self, parameters: &Parameters<T>, posed: &Posed<T>, upstream: &Upstream<'_, T>) -> Parameters<T> {
        let (count, joints) = (self.vertex_count(), self.joint_count());
        let zero = [T::zero(); 3];
        let chain = self.chain(&posed.rotations, &posed.rest_joints);

        // 6: skinning. `a` is the gradient of rotation and translation of the transforms
        let mut of_a = vec![([zero; 3], zero); joints];
        let mut of_translation = zero;
        let mut of_corrected = vec![zero; count];
        for (vertex, gradient) in upstream.vertices.iter().enumerate().take(count) {
            of_translation = plus(&of_translation, gradient);
            let (at, weights) = self.weights.row(vertex);
            for (joint, weight) in at.iter().zip(weights) {
                let joint = *joint as usize;
                let scaled = gradient.map(|g| g * *weight);
                of_corrected[vertex] = plus(&of_corrected[vertex], &apply_transposed(&chain[joint].0, &scaled));
                let (rotation, translation) = &mut of_a[joint];
                add_to(rotation, &outer(&scaled, &posed.corrected[vertex]), T::one());
                *translation = plus(translation, &scaled);
            }
        }
        for ((rotation, translation), gradient) in of_a.iter_mut().zip(upstream.transforms) {
            for r in 0..3 {
                for c in 0..3 {
                    rotation[r][c] += gradient[r][c];
                }
                translation[r] += gradient[r][3];
                of_translation[r] += gradient[r][3];
            }
        }

        // 5: the chain, children first. A.t = G.t − G.R J
        let mut of_joints = vec![zero; joints];
        let mut of_chain: Vec<(Matrix<T>, [T; 3])> = of_a;
        for (joint, (rotation, translation)) in of_chain.iter_mut().enumerate() {
            add_to(rotation, &outer(translation, &posed.rest_joints[joint]), -T::one());
            of_joints[joint] = apply_transposed(&chain[joint].0, translation).map(|v| -v);
            if let Some(gradient) = upstream.joints.get(joint) {
                *translation = plus(translation, gradient);
                of_translation = plus(&of_translation, gradient);
            }
        }
        let mut of_rotations: Vec<Matrix<T>> = vec![[zero; 3]; joints];
        for &joint in self.order.iter().rev() {
            let joint = joint as usize;
            let (rotation, translation) = of_chain[joint];
            let Some(parent) = self.parents[joint].map(|p| p as usize) else {
                of_rotations[joint] = rotation;
                of_joints[joint] = plus(&of_joints[joint], &translation);
                continue;
            };
            of_rotations[joint] = product(&transposed(&chain[parent].0), &rotation);
            let bone = minus(&posed.rest_joints[joint], &posed.rest_joints[parent]);
            add_to(&mut of_chain[parent].0, &product(&rotation, &transposed(&posed.rotations[joint])), T::one());
            add_to(&mut of_chain[parent].0, &outer(&translation, &bone), T::one());
            of_chain[parent].1 = plus(&of_chain[parent].1, &translation);
            let of_bone = apply_transposed(&chain[parent].0, &translation);
            of_joints[joint] = plus(&of_joints[joint], &of_bone);
            of_joints[parent] = minus(&of_joints[parent], &of_bone);
        }

        // 2: joints are sums of shaped vertices
        let mut of_shaped = of_corrected.clone();
        for (joint, gradient) in of_joints.iter().enumerate() {
            let (columns, values) = self.regressor.row(joint);
            for (column, value) in columns.iter().zip(values) {
                let entry = &mut of_shaped[*column as usize];
                *entry = std::array::from_fn(|c| entry[c] + *value * gradient[c]);
            }
        }
        for (entry, gradient) in of_shaped.iter_mut().zip(upstream.shaped) {
            *entry = plus(entry, gradient);
        }

        // 4 and 1: the directions
        let expression = if parameters.extras.is_empty() {
            parameters.expression.len().min(self.expression_columns)
        } else {
            self.expression.columns()
        };
        let mut of_expression = vec![T::zero(); expression];
        let mut of_shape = vec![T::zero(); parameters.shape.len()];
        let mut of_feature = vec![T::zero(); self.correctives.columns()];
        Arch::new().dispatch(Directions {
            body: self,
            of_corrected: &of_corrected,
            of_shaped: &of_shaped,
            of_feature: &mut of_feature,
            of_shape: &mut of_shape,
            of_expression: &mut of_expression,
        });
        for (rotation, gradient) in of_rotations[1..].iter_mut().zip(of_feature.as_chunks::<9>().0) {
            for k in 0..9 {
                rotation[k / 3][k % 3] += gradient[k];
            }
        }
        let mut extras = of_expression.get(self.expression_columns..).unwrap_or_default().to_vec();
        extras.resize(parameters.extras.len(), T::zero());
        of_expression.truncate(self.expression_columns);
        of_expression.resize(parameters.expression.len(), T::zero());
        let given = |joint: usize| parameters.rotations.get(joint).copied().unwrap_or_default();
        Parameters {
            shape: of_shape,
            expression: of_expression,
            extras,
            offset: of_shaped,
            rotations: of_rotations.iter().enumerate().map(|(j, g)| given(j).gradient(g)).collect(),
            translation: of_translation,
        }
    }
}

/// Dot products of the gradients with every direction.
struct Directions<'a, T> {
    body: &'a Body<T>,
    of_corrected: &'a [[T; 3]],
    of_shaped: &'a [[T; 3]],
    of_feature: &'a mut [T],
    of_shape: &'a mut [T],
    of_expression: &'a mut [T],
}

impl<T: Real> WithSimd for Directions<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for block in 0..blocks_of(self.of_shaped.len()) {
            let corrected = load(self.of_corrected, block);
            let shaped = load(self.of_shaped, block);
            self.body.correctives.add_gradient(block, &corrected, self.of_feature);
            self.body.identity.add_gradient(block, &shaped, self.of_shape);
            self.body.expression.add_gradient(block, &shaped, self.of_expression);
        }
    }
}
