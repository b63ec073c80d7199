//! LPIPS v0.1 (Zhang et al. 2018): a weighted squared distance of unit-length deep features, with a VGG16 or an AlexNet trunk.
//!
//! Per layer l: f̂ = f / (√Σ_c f² + 1e-10), d_l = Σ_c w_lc (f̂_a − f̂_b)²_c; the value is Σ_l mean over pixels of d_l.

use burn::tensor::{Tensor, activation::relu, backend::Backend};

use super::layers::{Binder, Bound, Conv, constant, max_pool, prefix_of};
use gav_formats::weights::TensorMap;

use crate::{Error, Result};

/// Which network the features come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trunk {
    /// VGG16 of torchvision, after relu1_2, 2_2, 3_3, 4_3, 5_3.
    Vgg,
    /// AlexNet of torchvision, after its five convolutions.
    Alex,
}

/// One convolution of a trunk.
struct Layer {
    /// Number in torchvision's `features`.
    number: usize,
    /// Slice in the `lpips` package.
    slice: usize,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
    /// Window of the maximum pooling before it, with stride 2.
    pool: Option<usize>,
}

const fn vgg(number: usize, slice: usize, inputs: usize, outputs: usize, pool: Option<usize>) -> Layer {
    Layer { number, slice, channels: [inputs, outputs], kernel: 3, stride: 1, padding: 1, pool }
}

const fn alex(number: usize, channels: [usize; 2], kernel: [usize; 3], pool: Option<usize>) -> Layer {
    let [kernel, stride, padding] = kernel;
    let slice = match number {
        0 => 1,
        3 => 2,
        6 => 3,
        8 => 4,
        _ => 5,
    };
    Layer { number, slice, channels, kernel, stride, padding, pool }
}

const VGG: [Layer; 13] = [
    vgg(0, 1, 3, 64, None),
    vgg(2, 1, 64, 64, None),
    vgg(5, 2, 64, 128, Some(2)),
    vgg(7, 2, 128, 128, None),
    vgg(10, 3, 128, 256, Some(2)),
    vgg(12, 3, 256, 256, None),
    vgg(14, 3, 256, 256, None),
    vgg(17, 4, 256, 512, Some(2)),
    vgg(19, 4, 512, 512, None),
    vgg(21, 4, 512, 512, None),
    vgg(24, 5, 512, 512, Some(2)),
    vgg(26, 5, 512, 512, None),
    vgg(28, 5, 512, 512, None),
];

const ALEX: [Layer; 5] = [
    alex(0, [3, 64], [11, 4, 2], None),
    alex(3, [64, 192], [5, 1, 2], Some(3)),
    alex(6, [192, 384], [3, 1, 1], Some(3)),
    alex(8, [384, 256], [3, 1, 1], None),
    alex(10, [256, 256], [3, 1, 1], None),
];

impl Trunk {
    fn layers(self) -> &'static [Layer] {
        match self {
            Self::Vgg => &VGG,
            Self::Alex => &ALEX,
        }
    }

    /// Channels of the five features.
    pub fn channels(self) -> [usize; 5] {
        match self {
            Self::Vgg => [64, 128, 256, 512, 512],
            Self::Alex => [64, 192, 384, 256, 256],
        }
    }

    /// The smallest side for which every feature has a pixel.
    pub fn smallest_side(self) -> usize {
        match self {
            Self::Vgg => 16,
            Self::Alex => 31,
        }
    }
}

/// Mean and standard deviation that the inputs in −1…1 are brought to, per RGB channel.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];

/// The metric with its weights.
#[derive(Debug, Clone)]
pub struct Lpips<B: Backend> {
    trunk: Trunk,
    convolutions: Vec<Conv<B>>,
    /// Weights of the channels, 1×C×1×1 each.
    heads: Vec<Tensor<B, 4>>,
    /// Input in 0…1 to input of the trunk.
    input: [Tensor<B, 4>; 2],
}

/// The value and what it is made of.
#[derive(Debug, Clone)]
pub struct Terms<B: Backend> {
    /// The metric, per pair.
    pub value: Tensor<B, 1>,
    /// The five terms, N×1×1×1 each.
    pub layers: Vec<Tensor<B, 4>>,
    /// Their pixels before the mean, N×1×h×w each.
    pub maps: Vec<Tensor<B, 4>>,
}

impl<B: Backend> Lpips<B> {
    /// Fills the network from a trunk (names of torchvision or of the `lpips` package) and the heads of version 0.1.
    ///
    /// # Errors
    /// [`Error::Tensors`] with everything that is missing or has another shape.
    pub fn new(trunk: Trunk, trunk_weights: &TensorMap<'_>, heads: &TensorMap<'_>, device: &B::Device) -> Result<Self> {
        let (convolutions, _) = bind_trunk(trunk, trunk_weights, device)?;
        let (heads, _) = bind_heads(trunk, heads, device)?;
        // ((2x − 1) − shift)/scale
        let input = [
            constant(SCALE.map(|scale| 2.0 / scale).to_vec(), [1, 3, 1, 1], device),
            constant((0..3).map(|c| (-1.0 - SHIFT[c]) / SCALE[c]).collect(), [1, 3, 1, 1], device),
        ];
        Ok(Self { trunk, convolutions, heads, input })
    }

    /// Which trunk it has.
    pub fn trunk(&self) -> Trunk {
        self.trunk
    }

    /// The five features (after ReLU) of pictures N×3×H×W in 0…1.
    pub fn features(&self, pictures: Tensor<B, 4>) -> Vec<Tensor<B, 4>> {
        let [scale, shift] = self.input.clone();
        let mut x = pictures * scale + shift;
        let mut features = Vec::with_capacity(5);
        let layers = self.trunk.layers();
        for (index, (layer, convolution)) in layers.iter().zip(&self.convolutions).enumerate() {
            if let Some(size) = layer.pool {
                x = max_pool(x, size, 2, 0);
            }
            x = relu(convolution.forward(x));
            if layers.get(index + 1).is_none_or(|next| next.slice != layer.slice) {
                features.push(x.clone());
            }
        }
        features
    }

    /// Compares features of the two sides; see [`Lpips::features`].
    pub fn compare(&self, a: &[Tensor<B, 4>], b: &[Tensor<B, 4>]) -> Terms<B> {
        let mut maps = Vec::with_capacity(5);
        let mut layers = Vec::with_capacity(5);
        for ((a, b), head) in a.iter().zip(b).zip(&self.heads) {
            let difference = unit_length(a.clone()) - unit_length(b.clone());
            let map = (difference.clone() * difference * head.clone()).sum_dim(1);
            layers.push(map.clone().mean_dim(2).mean_dim(3));
            maps.push(map);
        }
        let [pairs, ..] = layers[0].dims();
        let value = layers.iter().skip(1).fold(layers[0].clone(), |sum, term| sum + term.clone()).reshape([pairs]);
        Terms { value, layers, maps }
    }

    /// The distance of pictures N×3×H×W in 0…1, pair by pair.
    pub fn forward(&self, a: Tensor<B, 4>, b: Tensor<B, 4>) -> Terms<B> {
        let (a, b) = (self.features(a), self.features(b));
        self.compare(&a, &b)
    }

    /// The same weights on a backend around or inside of this one, constant there.
    pub fn map<C: Backend>(
        &self,
        four: impl Fn(Tensor<B, 4>) -> Tensor<C, 4>,
        one: impl Fn(Tensor<B, 1>) -> Tensor<C, 1>,
    ) -> Lpips<C> {
        let convolutions = self.convolutions.iter().map(|conv| Conv {
            weight: four(conv.weight.clone()),
            bias: conv.bias.clone().map(&one),
            stride: conv.stride,
            padding: conv.padding,
        });
        Lpips {
            trunk: self.trunk,
            convolutions: convolutions.collect(),
            heads: self.heads.iter().cloned().map(&four).collect(),
            input: self.input.clone().map(&four),
        }
    }
}

/// The convolutions of a trunk.
pub(crate) fn bind_trunk<B: Backend>(
    trunk: Trunk,
    weights: &TensorMap<'_>,
    device: &B::Device,
) -> Result<(Vec<Conv<B>>, Bound)> {
    let packaged = prefix_of(weights, "slice1.0.weight").is_some();
    let mut binder = Binder::new(weights, if packaged { "slice1.0.weight" } else { "features.0.weight" });
    let convolutions = trunk.layers().iter().map(|layer| {
        let name = if packaged {
            format!("slice{}.{}", layer.slice, layer.number)
        } else {
            format!("features.{}", layer.number)
        };
        let [inputs, outputs] = layer.channels;
        let shape = [outputs, inputs, layer.kernel, layer.kernel];
        let weight = binder.values(&format!("{name}.weight"), &shape);
        let bias = binder.values(&format!("{name}.bias"), &[outputs]);
        Conv {
            weight: constant(weight, shape, device),
            bias: Some(constant(bias, [outputs], device)),
            stride: layer.stride,
            padding: [layer.padding; 2],
        }
    });
    let convolutions = convolutions.collect();
    let name = match trunk {
        Trunk::Vgg => "VGG16",
        Trunk::Alex => "AlexNet",
    };
    Ok((convolutions, binder.finish(name)?))
}

/// The weights of the channels.
pub(crate) fn bind_heads<B: Backend>(
    trunk: Trunk,
    weights: &TensorMap<'_>,
    device: &B::Device,
) -> Result<(Vec<Tensor<B, 4>>, Bound)> {
    let mut binder = Binder::new(weights, "lin0.model.1.weight");
    let heads = trunk.channels().into_iter().enumerate().map(|(index, channels)| {
        let shape = [1, channels, 1, 1];
        constant(binder.values(&format!("lin{index}.model.1.weight"), &shape), shape, device)
    });
    let heads = heads.collect();
    Ok((heads, binder.finish("LPIPS heads")?))
}

/// f / (√Σ_c f² + 1e-10). The derivative of the root at 0 is infinite, so pixels where every channel is 0 take it at 1; ReLU stops that
/// gradient in any case.
fn unit_length<B: Backend>(features: Tensor<B, 4>) -> Tensor<B, 4> {
    let squares = (features.clone() * features.clone()).sum_dim(1);
    let dead = squares.clone().equal_elem(0.0).float();
    features / ((squares + dead).sqrt() + 1e-10)
}

/// Refuses pictures on which a trunk has no pixel left.
///
/// # Errors
/// [`Error::Usage`](gav_formats::Error::Usage) with the size and the smallest side.
pub fn check_size(trunk: Trunk, width: usize, height: usize) -> Result<()> {
    let least = trunk.smallest_side();
    if width.min(height) < least {
        return Err(Error::usage(format!(
            "LPIPS needs pictures of at least {least} pixels a side, this one has {width}×{height}"
        )));
    }
    Ok(())
}
