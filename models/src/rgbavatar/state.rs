//! What is trained, with Adam's memory of it, and what of it has been seen.

use gav_formats::{Splats, conventions::SH_C0};
use gav_kernels::raster::Observed;

use super::{Seat, Shape, Values, model::TENSORS};
use crate::stga::Tensor;

/// Summed weight from which on a splat counts as seen.
pub const SEEN: f32 = 0.01;
/// Logit of splats that were never seen, when a training is finished.
pub const UNSEEN_LOGIT: f32 = -9999.0;

/// A model in training.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Sizes.
    pub shape: Shape,
    /// Triangle of each splat, N.
    pub triangles: Vec<u32>,
    /// Weights of its corners, N × 3.
    pub barycentrics: Vec<[f32; 3]>,
    /// [`TENSORS`].
    pub tensors: [Tensor; 9],
    /// Splats whose colour has begun at what the pictures show, N.
    pub initialized: Vec<bool>,
    /// Adam's steps so far: of the base, and of bases and network, which begin later.
    pub steps: [u32; 2],
    /// Images trained on so far; what rates depend on.
    pub images: u32,
}

impl State {
    /// A model of which nothing has been learned yet.
    pub fn new(shape: Shape, seats: &[Seat], values: Values<f32>) -> Self {
        assert_eq!(values.each_ref().map(Vec::len), shape.lengths(), "numbers of {TENSORS:?}");
        assert_eq!(seats.len(), shape.splats, "seats of {} splats", shape.splats);
        Self {
            shape,
            triangles: seats.iter().map(|s| s.face).collect(),
            barycentrics: seats.iter().map(|s| s.weights.map(|w| w as f32)).collect(),
            tensors: values.map(Tensor::new),
            initialized: vec![false; shape.splats],
            steps: [0; 2],
            images: 0,
        }
    }

    /// Number of splats.
    pub fn len(&self) -> usize {
        self.shape.splats
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.shape.splats == 0
    }

    /// The parameters.
    pub fn values(&self) -> [&[f32]; 9] {
        self.tensors.each_ref().map(|tensor| &tensor.values[..])
    }

    /// The base as splats, in the frames of their triangles.
    pub fn to_splats(&self) -> Splats {
        let [xyz, opacity, scaling, rotation, color, ..] = self.values();
        Splats {
            means: xyz.as_chunks::<3>().0.to_vec(),
            rotations: rotation.as_chunks::<4>().0.to_vec(),
            log_scales: scaling.as_chunks::<3>().0.to_vec(),
            opacity_logits: opacity.to_vec(),
            sh0: color.as_chunks::<3>().0.to_vec(),
            sh_rest: Vec::new(),
            sh_degree: 0,
        }
    }

    /// Splats that are seen for the first time, by the sums over a batch, begin with the mean colour of their pixels. Adam's memory stays.
    /// Returns how many they are.
    pub fn fast_forward(&mut self, batch: &[Observed]) -> usize {
        let mut count = 0;
        let colors = self.tensors[4].values.as_chunks_mut::<3>().0;
        for (splat, (done, color)) in self.initialized.iter_mut().zip(colors).enumerate() {
            if *done {
                continue;
            }
            let weight: f32 = batch.iter().map(|seen| seen.weights[splat]).sum();
            if weight > SEEN {
                *color = std::array::from_fn(|c| {
                    let sum: f32 = batch.iter().map(|seen| seen.colors[splat][c]).sum();
                    ((f64::from(sum / weight) - 0.5) / SH_C0) as f32
                });
                *done = true;
                count += 1;
            }
        }
        count
    }

    /// What the end of an offline training does: splats that were never seen become invisible ([`UNSEEN_LOGIT`]). Nothing where no splat
    /// was: colours were not initialised then. Returns how many they are.
    pub fn hide_unseen(&mut self) -> usize {
        if !self.initialized.contains(&true) {
            return 0;
        }
        let logits = self.tensors[1].values.iter_mut().zip(&self.initialized);
        logits.filter(|(_, seen)| !**seen).map(|(logit, _)| *logit = UNSEEN_LOGIT).count()
    }
}
