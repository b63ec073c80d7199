//! Bodies on a CUDA device: the arrays of one subject as [`gav_kernels::cuda::rig::Body`] takes them.

use std::sync::Arc;

use gav_kernels::cuda::{
    CudaError, Device,
    rig::{self, BodyArrays, RotationForm, Rows},
};

use super::{Basis, Body, Identity, Parameters, SparseRows};

impl Body<f32> {
    /// Copies this body with the identity of `subject` to a device and makes room for `poses` poses. Its directions are the expression,
    /// then the extras ([`Body::extras`]); `form` is that of every joint's rotation.
    ///
    /// # Errors
    /// More joints or columns than the kernels take, and what the device fails in.
    pub fn on_device(
        &self,
        device: &Arc<Device>,
        subject: &Identity<f32>,
        form: RotationForm,
        poses: usize,
    ) -> Result<rig::Body, CudaError> {
        let arrays = BodyArrays {
            base: &subject.vertices,
            directions: &by_column(&self.expression, self.vertex_count()),
            correctives: &by_column(&self.correctives, self.vertex_count()),
            regressor: rows(&self.regressor),
            weights: rows(&self.weights),
            parents: &self.parents,
            order: &self.order,
            forms: &vec![form; self.joint_count()],
        };
        rig::Body::new(device, &arrays, poses)
    }
}

impl Body<f32> {
    /// Coefficients of the directions on a device: expression, then extras, each filled up with zeros.
    pub(crate) fn direction_coefficients(&self, parameters: &Parameters<f32>) -> Vec<f32> {
        let mut out = parameters.expression.clone();
        out.resize(self.expression_columns, 0.0);
        out.extend(&parameters.extras);
        out.resize(self.expression.columns(), 0.0);
        out
    }

    /// The rotation of every joint as a matrix.
    pub(crate) fn rotation_matrices(&self, parameters: &Parameters<f32>) -> Vec<[[f32; 3]; 3]> {
        (0..self.joint_count()).map(|j| parameters.rotations.get(j).copied().unwrap_or_default().matrix()).collect()
    }
}

impl Identity<f32> {
    /// Whether these parameters have this identity.
    pub(crate) fn is(&self, parameters: &Parameters<f32>) -> bool {
        self.shape == parameters.shape && self.offset == parameters.offset
    }
}

fn rows(matrix: &SparseRows<f32>) -> Rows<'_> {
    let (starts, columns, values) = matrix.arrays();
    Rows { starts, columns, values }
}

/// Columns × V × 3.
fn by_column(basis: &Basis<f32>, vertices: usize) -> Vec<f32> {
    let (columns, numbers) = (basis.columns(), 3 * vertices);
    let mut dense = vec![0.0; numbers * columns];
    basis.write_dense(vertices, &mut dense, columns, 0);
    (0..columns).flat_map(|k| (0..numbers).map(|i| dense[i * columns + k]).collect::<Vec<_>>()).collect()
}
