//! The iresnet of insightface's `arcface_torch`, 18 to 100 layers deep.

use burn::tensor::{Tensor, backend::Backend};
use gav_formats::weights::TensorMap;

use super::{Tail, prelu, slopes};
use crate::{
    Error, Result,
    metrics::layers::{Affine, Binder, Bound, Conv, constant, prefix_of},
};

/// Which of the four published depths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Depth {
    R18,
    R34,
    R50,
    R100,
}

impl Depth {
    /// All depths.
    pub const ALL: [Self; 4] = [Self::R18, Self::R34, Self::R50, Self::R100];

    /// Blocks of the four stages.
    pub fn blocks(self) -> [usize; 4] {
        match self {
            Self::R18 => [2, 2, 2, 2],
            Self::R34 => [3, 4, 6, 3],
            Self::R50 => [3, 4, 14, 3],
            Self::R100 => [3, 13, 30, 3],
        }
    }

    /// The depth of the network whose tensors these are; `None` when they are not those of an iresnet.
    pub fn of(weights: &TensorMap<'_>) -> Option<Self> {
        let prefix = prefix_of(weights, "layer1.0.prelu.weight")?;
        let has =
            |stage: usize, block: usize| weights.get(&format!("{prefix}layer{stage}.{block}.prelu.weight")).is_some();
        let blocks = [1, 2, 3, 4].map(|stage| (0..=30).take_while(|block| has(stage, *block)).count());
        Self::ALL.into_iter().find(|depth| depth.blocks() == blocks)
    }
}

/// bn → convolution (the next bn folded in) → PReLU → convolution with stride (the last bn folded in), plus the shortcut.
#[derive(Debug, Clone)]
struct Block<B: Backend> {
    norm: Affine<B>,
    first: Conv<B>,
    slopes: Tensor<B, 4>,
    second: Conv<B>,
    shortcut: Option<Conv<B>>,
}

/// The network with its weights.
#[derive(Debug, Clone)]
pub struct Iresnet<B: Backend> {
    stem: Conv<B>,
    slopes: Tensor<B, 4>,
    blocks: Vec<Block<B>>,
    tail: Tail<B>,
}

impl<B: Backend> Iresnet<B> {
    /// Fills the network; the depth is that of the file.
    ///
    /// # Errors
    /// [`Error::Tensors`] with everything that is missing or has another shape.
    pub fn new(weights: &TensorMap<'_>, device: &B::Device) -> Result<Self> {
        Self::bind(weights, device).map(|(network, _)| network)
    }

    pub(crate) fn bind(weights: &TensorMap<'_>, device: &B::Device) -> Result<(Self, Bound)> {
        let depth = Depth::of(weights).ok_or_else(|| Error::Tensors {
            network: "iresnet".to_owned(),
            problems: vec!["the blocks are not those of r18, r34, r50 or r100".to_owned()],
        })?;
        let mut binder = Binder::new(weights, "layer1.0.prelu.weight");
        let stem = conv_norm(&mut binder, ["conv1", "bn1"], [64, 3, 3, 3], 1, device);
        let stem_slopes = slopes(&mut binder, "prelu", 64, device);
        let mut blocks = Vec::new();
        let mut inputs = 64;
        for (stage, count) in depth.blocks().into_iter().enumerate() {
            let outputs = 64 << stage;
            for index in 0..count {
                let name = |part: &str| format!("layer{}.{index}.{part}", stage + 1);
                let stride = if index == 0 { 2 } else { 1 };
                let norm = Affine::new(binder.batch_norm(&name("bn1"), inputs), device);
                let first = [&name("conv1")[..], &name("bn2")];
                let first = conv_norm(&mut binder, first, [outputs, inputs, 3, 3], 1, device);
                let slopes = slopes(&mut binder, &name("prelu"), outputs, device);
                let second = [&name("conv2")[..], &name("bn3")];
                let second = conv_norm(&mut binder, second, [outputs, outputs, 3, 3], stride, device);
                let shortcut = (index == 0).then(|| {
                    let names = [&name("downsample.0")[..], &name("downsample.1")];
                    conv_norm(&mut binder, names, [outputs, inputs, 1, 1], stride, device)
                });
                blocks.push(Block { norm, first, slopes, second, shortcut });
                inputs = outputs;
            }
        }
        let tail = Tail::new(&mut binder, ["bn2", "fc", "features"], device);
        let bound = binder.finish("iresnet")?;
        Ok((Self { stem, slopes: stem_slopes, blocks, tail }, bound))
    }

    /// Embeddings N×512 of faces N×3×112×112 in −1…1.
    pub fn forward(&self, faces: Tensor<B, 4>) -> Tensor<B, 2> {
        let mut x = prelu(self.stem.forward(faces), &self.slopes);
        for block in &self.blocks {
            let y = prelu(block.first.forward(block.norm.forward(x.clone())), &block.slopes);
            let shortcut = match &block.shortcut {
                Some(conv) => conv.forward(x),
                None => x,
            };
            x = block.second.forward(y) + shortcut;
        }
        self.tail.forward(x)
    }
}

/// A convolution without bias and the batch normalisation after it; padding keeps the size at stride 1.
pub(super) fn conv_norm<B: Backend>(
    binder: &mut Binder<'_, '_>,
    [conv, norm]: [&str; 2],
    shape: [usize; 4],
    stride: usize,
    device: &B::Device,
) -> Conv<B> {
    let weight = binder.values(&format!("{conv}.weight"), &shape);
    let norm = binder.batch_norm(norm, shape[0]);
    Conv::scaled(weight, shape, norm, stride, [shape[2] / 2, shape[3] / 2], device)
}

/// A convolution alone.
pub(super) fn conv<B: Backend>(
    binder: &mut Binder<'_, '_>,
    name: &str,
    shape: [usize; 4],
    device: &B::Device,
) -> Conv<B> {
    let weight = constant(binder.values(&format!("{name}.weight"), &shape), shape, device);
    Conv { weight, bias: None, stride: 1, padding: [shape[2] / 2, shape[3] / 2] }
}
