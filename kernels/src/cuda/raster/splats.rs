//! Scenes in device memory, and gradients of the same layout.

use std::sync::Arc;

use gav_formats::conventions::sh_rest_count;

use super::{
    super::{Buffer, CudaError, Device},
    layout::ScenePointers,
};
use crate::raster::{Color, Scene, Shape};

/// Which numbers describe a splat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    /// Covariances instead of quaternions and log-scales.
    pub covariance: bool,
    /// SH degree; `None` for plain colours.
    pub sh_degree: Option<u8>,
}

impl Kind {
    /// The kind of a scene.
    pub fn of(scene: &Scene<'_>) -> Self {
        Self {
            covariance: matches!(scene.shape, Shape::Covariance(_)),
            sh_degree: match scene.color {
                Color::Sh(_, _, degree) => Some(degree),
                Color::Rgb(_) => None,
            },
        }
    }

    /// Numbers per splat in each array: means, shape, scales, logits, colour, rest.
    pub(super) fn widths(self) -> [usize; 6] {
        let rest = self.sh_degree.map_or(0, |degree| sh_rest_count(degree) * 3);
        [3, if self.covariance { 6 } else { 4 }, if self.covariance { 0 } else { 3 }, 1, 3, rest]
    }
}

/// One or more scenes of one kind, one after the other, in the layout of [`Scene`].
pub struct Splats {
    /// What the arrays hold.
    pub kind: Kind,
    /// First row and number of rows of each scene.
    pub scenes: Vec<[usize; 2]>,
    /// Centres, N × 3.
    pub means: Buffer<f32>,
    /// Quaternions N × 4, or covariances N × 6.
    pub shape: Buffer<f32>,
    /// Log-scales N × 3; empty for covariances.
    pub scales: Buffer<f32>,
    /// Opacity logits, N.
    pub logits: Buffer<f32>,
    /// SH of degree 0, or plain colours, N × 3.
    pub color: Buffer<f32>,
    /// SH of degree 1 and up, N × K × 3.
    pub rest: Buffer<f32>,
}

impl Splats {
    /// Copies scenes to the device.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when they are not of one kind; [`CudaError::TooLarge`] beyond 2³² − 1 splats.
    ///
    /// # Panics
    /// When the arrays of a scene do not belong together.
    pub fn upload(device: &Arc<Device>, scenes: &[Scene<'_>]) -> Result<Self, CudaError> {
        let kind = scenes.first().map_or(Kind { covariance: false, sh_degree: Some(0) }, Kind::of);
        let mut ranges = Vec::with_capacity(scenes.len());
        let mut rows = 0;
        for scene in scenes {
            scene.check();
            if Kind::of(scene) != kind {
                return Err(CudaError::Usage(format!("scenes of different kinds: {kind:?} and {:?}", Kind::of(scene))));
            }
            ranges.push([rows, scene.len()]);
            rows += scene.len();
        }
        if rows > u32::MAX as usize {
            return Err(CudaError::TooLarge { what: "splats of a batch", size: rows as u64, limit: u32::MAX.into() });
        }
        let gather = |part: &dyn for<'a> Fn(&Scene<'a>) -> &'a [f32]| {
            let values: Vec<f32> = scenes.iter().flat_map(|scene| part(scene).iter().copied()).collect();
            Buffer::from_slice(device, &values)
        };
        Ok(Self {
            kind,
            means: gather(&|s| s.means.as_flattened())?,
            shape: gather(&|s| match s.shape {
                Shape::RotationScale(rotations, _) => rotations.as_flattened(),
                Shape::Covariance(covariances) => covariances.as_flattened(),
            })?,
            scales: gather(&|s| match s.shape {
                Shape::RotationScale(_, scales) => scales.as_flattened(),
                Shape::Covariance(_) => &[],
            })?,
            logits: gather(&|s| s.opacity_logits)?,
            color: gather(&|s| match s.color {
                Color::Sh(sh0, ..) => sh0.as_flattened(),
                Color::Rgb(rgb) => rgb.as_flattened(),
            })?,
            rest: gather(&|s| match s.color {
                Color::Sh(_, rest, _) => rest,
                Color::Rgb(_) => &[],
            })?,
            scenes: ranges,
        })
    }

    /// Splats of all scenes.
    pub fn len(&self) -> usize {
        self.logits.len()
    }

    /// True when there is no splat.
    pub fn is_empty(&self) -> bool {
        self.logits.is_empty()
    }

    pub(in super::super) fn pointers(&self) -> ScenePointers {
        ScenePointers {
            means: self.means.pointer(),
            shape: self.shape.pointer(),
            scales: self.scales.pointer(),
            logits: self.logits.pointer(),
            color: self.color.pointer(),
            rest: self.rest.pointer(),
        }
    }
}

/// Gradients of splats, array by array as in [`Splats`]. Every number is written by each way back, zeros included.
pub struct SplatGradients {
    /// Of centres.
    pub means: Buffer<f32>,
    /// Of quaternions or covariances; an entry off the diagonal counts for both of its places.
    pub shape: Buffer<f32>,
    /// Of log-scales.
    pub scales: Buffer<f32>,
    /// Of opacity logits.
    pub logits: Buffer<f32>,
    /// Of SH degree 0, or of plain colours.
    pub color: Buffer<f32>,
    /// Of SH of degree 1 and up.
    pub rest: Buffer<f32>,
    pub(super) rows: usize,
}

impl SplatGradients {
    /// Room for `rows` rows: [`Batch::gradient_rows`](super::Batch::gradient_rows) says how many.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(device: &Arc<Device>, kind: Kind, rows: usize) -> Result<Self, CudaError> {
        let [means, shape, scales, logits, color, rest] = kind.widths();
        Ok(Self {
            means: Buffer::new(device, rows * means)?,
            shape: Buffer::new(device, rows * shape)?,
            scales: Buffer::new(device, rows * scales)?,
            logits: Buffer::new(device, rows * logits)?,
            color: Buffer::new(device, rows * color)?,
            rest: Buffer::new(device, rows * rest)?,
            rows,
        })
    }

    pub(super) fn poison(&mut self) -> Result<(), CudaError> {
        for buffer in
            [&mut self.means, &mut self.shape, &mut self.scales, &mut self.logits, &mut self.color, &mut self.rest]
        {
            buffer.poison()?;
        }
        Ok(())
    }
}
