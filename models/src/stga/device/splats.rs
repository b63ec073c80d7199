//! The splats of a training in device memory, with their gradients, Adam's memory and statistics.

use std::sync::Arc;

use gav_formats::{TriangleFrame, conventions::sh_rest_count};
use gav_kernels::{
    adam::Adam,
    cuda::{
        Buffer, CudaError, Device,
        raster::{Kind, SplatGradients, Splats},
        rig::{Binding, BindingArrays, GeometryBuffers},
        train::{Density, Gather, RowAdam, RowTensor, Selection},
    },
};

use super::super::{Dataset, NewList, Rates, State, Statistics, Survey, Tensor, widths};

/// N splats.
pub(super) struct DeviceSplats {
    /// What is drawn. Opacities and colours are the parameters themselves.
    pub world: Splats,
    local: [Buffer<f32>; 3],
    pub by_world: SplatGradients,
    by_local: [Buffer<f32>; 3],
    pub adam: RowAdam,
    pub selection: Selection,
    pub density: Density,
    pub binding: Binding,
    pub triangles: Vec<u32>,
    sh_degree: u8,
}

impl DeviceSplats {
    pub fn new(device: &Arc<Device>, state: &State, frame: TriangleFrame, data: &Dataset) -> Result<Self, CudaError> {
        let (count, widths) = (state.len(), widths(state.sh_degree));
        let kind = Kind { covariance: false, sh_degree: Some(state.sh_degree) };
        let on = |k: usize| Buffer::from_slice(device, &state.splats[k].values);
        let room = |width: usize| Buffer::new(device, width * count);
        let mut adam = RowAdam::new(device, Adam::default(), count, &widths)?;
        for ([means, squares], tensor) in adam.moments.iter_mut().zip(&state.splats) {
            means.write(&tensor.means)?;
            squares.write(&tensor.squares)?;
        }
        let mut density = Density::new(device, count)?;
        let whole = |values: &[f32]| values.iter().map(|v| *v as u32).collect::<Vec<_>>();
        density.pulls.write(&state.statistics.gradients)?;
        density.views.write(&whole(&state.statistics.counts))?;
        density.largest.write(&whole(&state.statistics.radii))?;
        Ok(Self {
            world: Splats {
                kind,
                scenes: vec![[0, count]],
                means: room(3)?,
                shape: room(4)?,
                scales: room(3)?,
                logits: on(3)?,
                color: on(4)?,
                rest: on(5)?,
            },
            local: [on(0)?, on(1)?, on(2)?],
            by_world: SplatGradients::new(device, kind, count)?,
            by_local: [room(3)?, room(4)?, room(3)?],
            adam,
            selection: Selection::all(device, count)?,
            density,
            binding: bound(device, &state.triangles, frame, data)?,
            triangles: state.triangles.clone(),
            sh_degree: state.sh_degree,
        })
    }

    /// The splats of a new list, with what Adam remembers of those that are no copies; what was seen is forgotten. Nothing but the new
    /// centres and sizes passes through the host: 2 instead of 64 MB for 90 thousand splats.
    pub fn rebuilt(
        &self,
        device: &Arc<Device>,
        list: &NewList,
        frame: TriangleFrame,
        data: &Dataset,
    ) -> Result<Self, CudaError> {
        let gather = Gather::new(device, self.len(), list.rows.iter().map(|row| (row.from, row.fresh)))?;
        let (count, widths) = (gather.len(), widths(self.sh_degree));
        let triangles: Vec<u32> = list.rows.iter().map(|row| self.triangles[row.from]).collect();
        let mut adam = RowAdam::new(device, Adam::default(), count, &widths)?;
        for ((to, from), width) in adam.moments.iter_mut().zip(&self.adam.moments).zip(widths) {
            *to = [gather.take(&from[0], width, true)?, gather.take(&from[1], width, true)?];
        }
        let kind = self.world.kind;
        let room = |width: usize| Buffer::new(device, width * count);
        let kept = |k: usize| gather.take(self.values()[k], widths[k], false);
        Ok(Self {
            world: Splats {
                kind,
                scenes: vec![[0, count]],
                means: room(3)?,
                shape: room(4)?,
                scales: room(3)?,
                logits: kept(3)?,
                color: kept(4)?,
                rest: kept(5)?,
            },
            local: [Buffer::from_slice(device, &list.means)?, kept(1)?, Buffer::from_slice(device, &list.log_scales)?],
            by_world: SplatGradients::new(device, kind, count)?,
            by_local: [room(3)?, room(4)?, room(3)?],
            adam,
            selection: Selection::all(device, count)?,
            density: Density::new(device, count)?,
            binding: bound(device, &triangles, frame, data)?,
            triangles,
            sh_degree: self.sh_degree,
        })
    }

    /// Logits above `cap` become it; Adam forgets them all.
    pub fn cap_logits(&mut self, cap: f32) -> Result<(), CudaError> {
        let logits: Vec<f32> = self.world.logits.read()?.into_iter().map(|v| v.min(cap)).collect();
        self.world.logits.write(&logits)?;
        self.adam.moments[3].iter_mut().try_for_each(Buffer::clear)
    }

    /// Waits, and copies what density control looks at.
    pub fn survey(&self) -> Result<Survey, CudaError> {
        let [means, rotations, log_scales] = &self.local;
        Ok(Survey {
            triangles: self.triangles.clone(),
            means: means.read()?,
            rotations: rotations.read()?,
            log_scales: log_scales.read()?,
            opacity_logits: self.world.logits.read()?,
            statistics: self.statistics()?,
        })
    }

    fn statistics(&self) -> Result<Statistics, CudaError> {
        let wide = |values: Vec<u32>| values.into_iter().map(|v| v as f32).collect();
        Ok(Statistics {
            gradients: self.density.pulls.read()?,
            counts: wide(self.density.views.read()?),
            radii: wide(self.density.largest.read()?),
        })
    }

    pub fn len(&self) -> usize {
        self.triangles.len()
    }

    pub fn sh_degree(&self) -> u8 {
        self.sh_degree
    }

    /// Trains the splats of the faces that have a flag, or all; how many that are.
    pub fn select(&mut self, faces: Option<&[bool]>) -> Result<usize, CudaError> {
        match faces {
            None if self.selection.is_all() => {}
            None => self.selection.set(&vec![1; self.len()])?,
            Some(faces) => {
                let flags: Vec<u32> = self.triangles.iter().map(|face| faces[*face as usize].into()).collect();
                self.selection.set(&flags)?;
            }
        }
        Ok(self.selection.len())
    }

    pub fn local(&self) -> GeometryBuffers<'_> {
        geometry(&self.local)
    }

    pub fn by_local(&self) -> GeometryBuffers<'_> {
        geometry(&self.by_local)
    }

    pub fn world_geometry(&self) -> GeometryBuffers<'_> {
        let Splats { means, shape, scales, .. } = &self.world;
        GeometryBuffers { means, rotations: shape, log_scales: scales }
    }

    pub fn by_world_geometry(&self) -> GeometryBuffers<'_> {
        let SplatGradients { means, shape, scales, .. } = &self.by_world;
        GeometryBuffers { means, rotations: shape, log_scales: scales }
    }

    /// The tensors in the order of [`super::super::SPLAT_TENSORS`], harmonics up to a degree.
    pub fn tensors(&self, rates: &Rates, sh_degree: u8) -> [RowTensor<'_>; 6] {
        let values = self.values();
        let [means, rotations, log_scales] = &self.by_local;
        let SplatGradients { logits, color, rest, .. } = &self.by_world;
        let gradients = [means, rotations, log_scales, logits, color, rest];
        let mut columns = widths(self.sh_degree);
        columns[5] = 3 * sh_rest_count(sh_degree);
        std::array::from_fn(|k| RowTensor {
            values: values[k],
            gradient: gradients[k],
            columns: columns[k],
            spread: 3,
            rate: rates.splats[k],
        })
    }

    fn values(&self) -> [&Buffer<f32>; 6] {
        let [means, rotations, log_scales] = &self.local;
        [means, rotations, log_scales, &self.world.logits, &self.world.color, &self.world.rest]
    }

    /// Waits, and copies everything.
    pub fn read(&self) -> Result<([Tensor; 6], Statistics), CudaError> {
        let mut tensors: [Tensor; 6] = Default::default();
        for ((tensor, values), [means, squares]) in tensors.iter_mut().zip(self.values()).zip(&self.adam.moments) {
            *tensor = Tensor { values: values.read()?, means: means.read()?, squares: squares.read()? };
        }
        let statistics = self.statistics()?;
        Ok((tensors, statistics))
    }
}

fn bound(device: &Arc<Device>, triangles: &[u32], frame: TriangleFrame, data: &Dataset) -> Result<Binding, CudaError> {
    let arrays = BindingArrays {
        frame,
        vertices: data.motion.vertices.first().map_or(0, Vec::len),
        faces: &data.motion.faces,
        corner_uvs: &[],
        triangles,
        barycentrics: &[],
    };
    Binding::new(device, &arrays, 1)
}

fn geometry([means, rotations, log_scales]: &[Buffer<f32>; 3]) -> GeometryBuffers<'_> {
    GeometryBuffers { means, rotations, log_scales }
}
