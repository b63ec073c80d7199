//! Face embeddings for identity similarity: the iresnet of insightface (Deng et al. 2019, ArcFace) and the IR-SE50 of TreB1eN.
//!
//! The figure "ID" of view-consistent generators has no published code; as the EG3D literature words it, it is the cosine averaged over
//! 1,024 generated identities, each seen from two random cameras of the data set. Here the five points of each view are projected from the
//! template or detected by the caller, and both views are aligned by [`align`](super::align).
//!
//! Input: aligned faces N×3×112×112, RGB, (x/255 − 0.5)/0.5; output: N×512, not normalised. Two faces are compared by the cosine.

mod ir_se;
mod iresnet;

pub use ir_se::IrSe50;
pub use iresnet::{Depth, Iresnet};

use burn::tensor::{Tensor, activation::relu, backend::Backend};

use super::layers::{Affine, Binder, constant};

/// Side of the faces that go in.
pub const SIDE: usize = 112;
/// Length of an embedding.
pub const LENGTH: usize = 512;
/// Channels and side of what the last stage leaves.
const TAIL: [usize; 2] = [512, 7];

/// x for positive x, slope·x otherwise, with a slope per channel: 1×C×1×1.
fn prelu<B: Backend>(x: Tensor<B, 4>, slope: &Tensor<B, 4>) -> Tensor<B, 4> {
    relu(x.clone()) - relu(-x) * slope.clone()
}

fn slopes<B: Backend>(binder: &mut Binder<'_, '_>, name: &str, channels: usize, device: &B::Device) -> Tensor<B, 4> {
    constant(binder.values(&format!("{name}.weight"), &[channels]), [1, channels, 1, 1], device)
}

/// What both networks end with: batch normalisation, flattening in the order C, H, W, a linear layer, batch normalisation.
#[derive(Debug, Clone)]
struct Tail<B: Backend> {
    before: Affine<B>,
    /// 25088×512, and what is added.
    weight: Tensor<B, 2>,
    bias: Tensor<B, 2>,
}

impl<B: Backend> Tail<B> {
    fn new(binder: &mut Binder<'_, '_>, [before, linear, after]: [&str; 3], device: &B::Device) -> Self {
        let [channels, side] = TAIL;
        let inputs = channels * side * side;
        let norm = binder.batch_norm(before, channels);
        let mut weight = binder.values(&format!("{linear}.weight"), &[LENGTH, inputs]);
        let bias = binder.values(&format!("{linear}.bias"), &[LENGTH]);
        let (scale, shift) = binder.batch_norm(after, LENGTH);
        for (row, scale) in weight.chunks_exact_mut(inputs).zip(&scale) {
            row.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
        }
        let bias = bias.iter().zip(&scale).zip(&shift).map(|((b, s), t)| (f64::from(*b) * s + t) as f32).collect();
        Self {
            before: Affine::new(norm, device),
            weight: constant(weight, [LENGTH, inputs], device).transpose(),
            bias: constant(bias, [1, LENGTH], device),
        }
    }

    fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 2> {
        self.before.forward(x).flatten::<2>(1, 3).matmul(self.weight.clone()) + self.bias.clone()
    }
}
