//! The Inception network behind FID, KID and Inception Score: Google's graph of 2015-12-05, in any of its packagings.
//!
//! It differs from torchvision's `inception_v3`: average pools leave the padding out of the count, the last block pools by maximum, and the
//! head has 1008 classes. Every unit is a convolution, a batch normalisation with ε = 1e-3 (folded in here) and a ReLU.

mod table;

use burn::tensor::{Tensor, activation::relu, backend::Backend, module::avg_pool2d};

use self::table::UNITS;
use super::layers::{Binder, Bound, Conv, constant, fold, max_pool, prefix_of};
use gav_formats::weights::TensorMap;

use crate::Result;

/// Side of the pictures that go in.
pub const SIDE: usize = 299;
/// Classes of the head; number 0 is unused.
pub const CLASSES: usize = 1008;
/// Length of the four features: after the first and second maximum pool, after block 6e, and at the end.
pub const LENGTHS: [usize; 4] = [64, 192, 768, 2048];
/// Floating point operations per picture.
pub const FLOPS: f64 = 11_422_336_192.0;

/// Names (of pytorch-fid) and shapes of the 94 convolutions, in order of evaluation.
pub fn unit_shapes() -> impl Iterator<Item = (&'static str, [usize; 4])> {
    UNITS.iter().map(|unit| (unit.pytorch, unit.shape))
}

/// The network with its weights.
#[derive(Debug, Clone)]
pub struct Inception<B: Backend> {
    units: Vec<Conv<B>>,
    /// 2048×1008 and the bias, when the file has them.
    head: Option<(Tensor<B, 2>, Tensor<B, 1>)>,
}

impl<B: Backend> Inception<B> {
    /// Fills the network from the file of pytorch-fid, or from a detector of StyleGAN.
    ///
    /// # Errors
    /// [`Error::Tensors`](crate::Error::Tensors) with everything that is missing or has another shape.
    pub fn new(weights: &TensorMap<'_>, device: &B::Device) -> Result<Self> {
        Self::bind(weights, device).map(|(network, _)| network)
    }

    pub(crate) fn bind(weights: &TensorMap<'_>, device: &B::Device) -> Result<(Self, Bound)> {
        let pytorch = prefix_of(weights, "Conv2d_1a_3x3.conv.weight").is_some();
        let mut binder = Binder::new(weights, if pytorch { "Conv2d_1a_3x3.conv.weight" } else { "layers.conv.weight" });
        let units = UNITS.iter().map(|unit| {
            let channels = unit.shape[0];
            let mut of = |pytorch_name: &str, stylegan_name: &str, shape: &[usize]| {
                let name = if pytorch {
                    format!("{}.{pytorch_name}", unit.pytorch)
                } else {
                    format!("{}.{stylegan_name}", unit.stylegan)
                };
                binder.values(&name, shape)
            };
            let weight = of("conv.weight", "weight", &unit.shape);
            let beta = of("bn.bias", "beta", &[channels]);
            let mean = of("bn.running_mean", "mean", &[channels]);
            let variance = of("bn.running_var", "var", &[channels]);
            // the detectors of StyleGAN have no γ, it is 1 in the original graph
            let gamma = if pytorch { of("bn.weight", "", &[channels]) } else { vec![1.0; channels] };
            let folded = fold(&gamma, &beta, &mean, &variance, 1e-3);
            Conv::scaled(weight, unit.shape, folded, unit.stride, unit.padding, device)
        });
        let units = units.collect();
        let name = if pytorch { "fc" } else { "output" };
        let head = binder.has(&format!("{name}.weight")).then(|| {
            let weight = binder.values(&format!("{name}.weight"), &[CLASSES, LENGTHS[3]]);
            let bias = binder.values(&format!("{name}.bias"), &[CLASSES]);
            (constant(weight, [CLASSES, LENGTHS[3]], device).transpose(), constant(bias, [CLASSES], device))
        });
        let bound = binder.finish("FID Inception")?;
        Ok((Self { units, head }, bound))
    }

    /// The four features, N×[`LENGTHS`], of pictures N×3×299×299 in −1…1. `observe` sees the output of every block by its name.
    pub fn forward(&self, pictures: Tensor<B, 4>, observe: &mut dyn FnMut(&str, &Tensor<B, 4>)) -> [Tensor<B, 2>; 4] {
        let mut x = pictures;
        for (index, name) in ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"].into_iter().enumerate() {
            x = self.unit(index, x);
            observe(name, &x);
        }
        x = max_pool(x, 3, 2, 0);
        observe("pool0", &x);
        let first = spatial_mean(x.clone());
        for (index, name) in [(3, "Conv2d_3b_1x1"), (4, "Conv2d_4a_3x3")] {
            x = self.unit(index, x);
            observe(name, &x);
        }
        x = max_pool(x, 3, 2, 0);
        observe("pool1", &x);
        let second = spatial_mean(x.clone());
        for (unit, name) in [(5, "Mixed_5b"), (12, "Mixed_5c"), (19, "Mixed_5d")] {
            x = self.block_a(unit, x);
            observe(name, &x);
        }
        x = self.block_b(26, x);
        observe("Mixed_6a", &x);
        for (unit, name) in [(30, "Mixed_6b"), (40, "Mixed_6c"), (50, "Mixed_6d"), (60, "Mixed_6e")] {
            x = self.block_c(unit, x);
            observe(name, &x);
        }
        let third = spatial_mean(x.clone());
        x = self.block_d(70, x);
        observe("Mixed_7a", &x);
        x = self.block_e(76, x, average_pool);
        observe("Mixed_7b", &x);
        x = self.block_e(85, x, |x| max_pool(x, 3, 1, 1));
        observe("Mixed_7c", &x);
        [first, second, third, spatial_mean(x)]
    }

    /// The logits N×1008 of features N×2048; `None` when the file had no head. The code of StyleGAN leaves the bias out for Inception Score.
    pub fn logits(&self, features: Tensor<B, 2>, bias: bool) -> Option<Tensor<B, 2>> {
        let (weight, offset) = self.head.clone()?;
        let logits = features.matmul(weight);
        Some(if bias { logits + offset.unsqueeze() } else { logits })
    }

    fn unit(&self, index: usize, x: Tensor<B, 4>) -> Tensor<B, 4> {
        relu(self.units[index].forward(x))
    }

    /// Units one after another.
    fn chain<const N: usize>(&self, units: [usize; N], x: Tensor<B, 4>) -> Tensor<B, 4> {
        units.into_iter().fold(x, |x, index| self.unit(index, x))
    }

    fn block_a(&self, k: usize, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let branches = vec![
            self.unit(k, x.clone()),
            self.chain([k + 1, k + 2], x.clone()),
            self.chain([k + 3, k + 4, k + 5], x.clone()),
            self.unit(k + 6, average_pool(x)),
        ];
        Tensor::cat(branches, 1)
    }

    fn block_b(&self, k: usize, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let branches =
            vec![self.unit(k, x.clone()), self.chain([k + 1, k + 2, k + 3], x.clone()), max_pool(x, 3, 2, 0)];
        Tensor::cat(branches, 1)
    }

    fn block_c(&self, k: usize, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let branches = vec![
            self.unit(k, x.clone()),
            self.chain([k + 1, k + 2, k + 3], x.clone()),
            self.chain([k + 4, k + 5, k + 6, k + 7, k + 8], x.clone()),
            self.unit(k + 9, average_pool(x)),
        ];
        Tensor::cat(branches, 1)
    }

    fn block_d(&self, k: usize, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let branches = vec![
            self.chain([k, k + 1], x.clone()),
            self.chain([k + 2, k + 3, k + 4, k + 5], x.clone()),
            max_pool(x, 3, 2, 0),
        ];
        Tensor::cat(branches, 1)
    }

    fn block_e(&self, k: usize, x: Tensor<B, 4>, pool: impl Fn(Tensor<B, 4>) -> Tensor<B, 4>) -> Tensor<B, 4> {
        let wide = self.unit(k + 1, x.clone());
        let deep = self.chain([k + 4, k + 5], x.clone());
        let branches = vec![
            self.unit(k, x.clone()),
            self.unit(k + 2, wide.clone()),
            self.unit(k + 3, wide),
            self.unit(k + 6, deep.clone()),
            self.unit(k + 7, deep),
            self.unit(k + 8, pool(x)),
        ];
        Tensor::cat(branches, 1)
    }
}

/// Average over 3×3 pixels of those that lie inside.
fn average_pool<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    avg_pool2d(x, [3, 3], [1, 1], [1, 1], false, false)
}

/// N×C×H×W to N×C.
fn spatial_mean<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 2> {
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels])
}
