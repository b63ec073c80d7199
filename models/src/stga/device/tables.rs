//! Tracked parameters that train: a body that is posed by one row of its tables, and what comes back to that row.

use std::sync::Arc;

use gav_kernels::{
    adam::Adam,
    cuda::{
        Buffer, CudaError, Device,
        rig::{Body, RotationForm},
        train::{RowAdam, RowTensor, Table, Taker},
    },
};

use super::super::{Dataset, Rates, State, Tables, Tensor};

/// Numbers between the rotations of two joints, as [`Body::rotations`] has them.
const ROTATION: usize = 9;

/// Tables of T rows, and the body of one row.
pub(super) struct DeviceTables {
    body: Body,
    taker: Taker,
    /// Expression, pose, translation.
    values: [Buffer<f32>; 3],
    /// Numbers in their rows.
    widths: [usize; 3],
    /// Coefficients of further directions, which do not train, T rows.
    extras: Buffer<f32>,
    extra_count: usize,
    pub adam: RowAdam,
    by_mesh: Buffer<f32>,
}

impl DeviceTables {
    /// Those of a state, when it has some.
    pub fn of(device: &Arc<Device>, state: &State, data: &Dataset) -> Result<Option<Self>, CudaError> {
        let (Some(tables), Some(tracked)) = (&state.tables, &data.motion.tracked) else { return Ok(None) };
        let times = tracked.fixed.len();
        let widths = tables.named().map(|(_, tensor)| tensor.values.len() / times.max(1));
        let first = tracked.fixed.first().cloned().unwrap_or_default();
        let subject = tracked.body.identity(&first.shape, &first.offset);
        let body = tracked.body.on_device(device, &subject, RotationForm::AxisAngle, 1)?;
        let extra_count = tracked.body.extras().len();
        let mut extras = vec![0.0; times * extra_count];
        for (row, fixed) in extras.chunks_exact_mut(extra_count.max(1)).zip(&tracked.fixed) {
            row.iter_mut().zip(&fixed.extras).for_each(|(to, from)| *to = *from);
        }
        let room = |k: usize| Buffer::new(device, times * widths[k]);
        let mut out = Self {
            by_mesh: Buffer::new(device, 3 * body.vertex_count())?,
            taker: Taker::new(device)?,
            values: [room(0)?, room(1)?, room(2)?],
            widths,
            extras: Buffer::from_slice(device, &extras)?,
            extra_count,
            adam: RowAdam::new(device, Adam::default(), times, &widths)?,
            body,
        };
        out.write(tables)?;
        Ok(Some(out))
    }

    pub fn write(&mut self, tables: &Tables) -> Result<(), CudaError> {
        for (((_, tensor), values), [means, squares]) in
            tables.named().into_iter().zip(&mut self.values).zip(&mut self.adam.moments)
        {
            values.write(&tensor.values)?;
            means.write(&tensor.means)?;
            squares.write(&tensor.squares)?;
        }
        Ok(())
    }

    /// Waits, and copies everything.
    pub fn read(&self) -> Result<Tables, CudaError> {
        let tensor = |k: usize| {
            let [means, squares] = &self.adam.moments[k];
            Ok::<_, CudaError>(Tensor {
                values: self.values[k].read()?,
                means: means.read()?,
                squares: squares.read()?,
            })
        };
        Ok(Tables { expression: tensor(0)?, pose: tensor(1)?, translation: tensor(2)? })
    }

    /// Enqueues the mesh of a time step, V × 3.
    pub fn pose(&self, time: usize) -> Result<&Buffer<f32>, CudaError> {
        let [expression, pose, translation] = &self.values;
        let [e, p, t] = self.widths;
        let body = &self.body;
        let table = |from, width, to, first, spread| Table { from, width, to, first, spread };
        self.taker.take(
            time,
            &[
                table(expression, e, &body.expression, 0, 3),
                table(pose, p, &body.rotations, 0, ROTATION),
                table(translation, t, &body.translations, 0, 3),
                table(&self.extras, self.extra_count, &body.expression, e, 3),
            ],
        )?;
        body.forward(1)?;
        Ok(&body.posed)
    }

    /// The posed mesh, and room for its gradient.
    pub fn mesh(&self) -> (&Buffer<f32>, &Buffer<f32>) {
        (&self.body.posed, &self.by_mesh)
    }

    /// Enqueues the way back from the mesh's gradient.
    pub fn backward(&self) -> Result<(), CudaError> {
        self.body.backward(1, &self.by_mesh)
    }

    /// The tables, with the gradient of the row that was posed last.
    pub fn tensors(&self, rates: &Rates) -> [RowTensor<'_>; 3] {
        let gradients = [&self.body.by_expression, &self.body.by_rotations, &self.body.by_translations];
        std::array::from_fn(|k| RowTensor {
            values: &self.values[k],
            gradient: gradients[k],
            columns: self.widths[k],
            spread: if k == 1 { ROTATION } else { 3 },
            rate: rates.tables[k],
        })
    }
}
