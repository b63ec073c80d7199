//! The way back of a batch, of all splats or of some.

use super::{
    super::{
        super::{Buffer, CudaError},
        layout::{BlendBackwardArgs, ProjectBackwardArgs},
        plan::Planes,
        splats::{SplatGradients, Splats},
    },
    BLOCK, Batch,
};

impl Batch {
    /// Enqueues the way back of the last [`Self::forward`], of the same splats.
    ///
    /// # Errors
    /// When arrays do not belong together, or the driver fails.
    pub fn backward(
        &mut self,
        splats: &Splats,
        upstream: Planes<'_>,
        gradients: &mut SplatGradients,
    ) -> Result<(), CudaError> {
        self.backward_with(splats, upstream, None, gradients)
    }

    /// [`Self::backward`] of the splats that have a flag: one number for each row of `splats`, 0 or 1. What is left in the rows
    /// of the others, and in [`Self::centers`] for them, means nothing. The batch was made with [`Options::select`](super::super::Options::select).
    ///
    /// # Errors
    /// As there.
    pub fn backward_of(
        &mut self,
        splats: &Splats,
        upstream: Planes<'_>,
        flags: &Buffer<u32>,
        gradients: &mut SplatGradients,
    ) -> Result<(), CudaError> {
        // the kernel keeps a flag in the highest bit of the number of a record
        if flags.len() < splats.len() || self.reaches.len() / 4 > i32::MAX as usize {
            return Err(CudaError::Usage(format!("{} flags for {} splats", flags.len(), splats.len())));
        }
        self.backward_with(splats, upstream, Some(flags), gradients)
    }

    fn backward_with(
        &mut self,
        splats: &Splats,
        upstream: Planes<'_>,
        flags: Option<&Buffer<u32>>,
        gradients: &mut SplatGradients,
    ) -> Result<(), CudaError> {
        self.check(splats)?;
        let [blend_backward, project_backward] = match (flags, &self.kernels.selected) {
            (None, _) => [&self.kernels.blend_backward, &self.kernels.project_backward],
            (Some(_), Some([blend, project])) => [blend, project],
            (Some(_), None) => {
                return Err(CudaError::Usage("the batch was not made for some of the splats".to_owned()));
            }
        };
        if gradients.rows != self.rows {
            return Err(CudaError::Usage(format!("gradients of {} rows for {}", gradients.rows, self.rows)));
        }
        let pixels = self.alpha.len();
        let address = |name: &str, plane: Option<&Buffer<f32>>, size: usize| match plane {
            None => Ok(0),
            Some(plane) if plane.len() == size => Ok(plane.pointer()),
            Some(plane) => Err(CudaError::Usage(format!("gradient of {name}: {} values for {size}", plane.len()))),
        };
        let blend = BlendBackwardArgs {
            forward: self.blend_args(),
            rgb: address("colours", upstream.rgb, pixels * 3)?,
            alpha: address("coverage", upstream.alpha, pixels)?,
            depth: address("depth", upstream.depth, pixels)?,
            normal: address("normals", upstream.normals, pixels * 3)?,
            sums: self.sums.pointer(),
            extras: self.extras.pointer(),
            background: if self.options.cameras { self.backgrounds.pointer() } else { 0 },
            flags: flags.map_or(0, Buffer::pointer),
        };
        let project = ProjectBackwardArgs {
            scene: splats.pointers(),
            pictures: self.pictures.pointer(),
            groups: self.groups.pointer(),
            members: self.members.pointer(),
            rules: self.rules,
            records: self.records.pointer(),
            sums: self.sums.pointer(),
            extras: self.extras.pointer(),
            means: gradients.means.pointer(),
            shape: gradients.shape.pointer(),
            scales: gradients.scales.pointer(),
            logits: gradients.logits.pointer(),
            color: gradients.color.pointer(),
            rest: gradients.rest.pointer(),
            centers: if self.options.centers { self.centers.pointer() } else { 0 },
            cameras: if self.options.cameras { self.cameras.pointer() } else { 0 },
            flags: flags.map_or(0, Buffer::pointer),
        };
        gradients.poison()?;
        self.centers.poison()?;
        self.sums.clear()?;
        self.extras.clear()?;
        if self.options.cameras {
            self.cameras.clear()?;
            self.backgrounds.clear()?;
        }
        let grid = [self.largest.div_ceil(BLOCK), self.group_count];
        // SAFETY: as in `forward`; `gradients` has the rows that the groups write
        unsafe {
            self.device.launch(blend_backward, [self.tiles, 1], 128, &blend)?;
            self.device.launch(project_backward, grid, BLOCK as u32, &project)
        }
    }
}
