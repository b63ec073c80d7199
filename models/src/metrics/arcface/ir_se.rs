//! IR-SE50 (`model_ir_se50.pth` of TreB1eN's InsightFace_Pytorch): residual units with squeeze and excitation.

use burn::tensor::{
    Tensor,
    activation::{relu, sigmoid},
    backend::Backend,
};
use gav_formats::weights::TensorMap;

use super::{
    Tail,
    iresnet::{conv, conv_norm},
    prelu, slopes,
};
use crate::{
    Result,
    metrics::layers::{Affine, Binder, Bound, Conv, max_pool},
};

/// Units of the four stages, of widths 64, 128, 256, 512; the first of each halves the picture.
const STAGES: [usize; 4] = [3, 4, 14, 3];

#[derive(Debug, Clone)]
struct Unit<B: Backend> {
    norm: Affine<B>,
    first: Conv<B>,
    slopes: Tensor<B, 4>,
    second: Conv<B>,
    /// 1×1 convolutions on the means of the channels.
    squeeze: [Conv<B>; 2],
    stride: usize,
    /// Where the width changes; elsewhere the shortcut takes every `stride`th pixel.
    shortcut: Option<Conv<B>>,
}

/// The network with its weights.
#[derive(Debug, Clone)]
pub struct IrSe50<B: Backend> {
    stem: Conv<B>,
    slopes: Tensor<B, 4>,
    units: Vec<Unit<B>>,
    tail: Tail<B>,
}

impl<B: Backend> IrSe50<B> {
    /// Fills the network.
    ///
    /// # Errors
    /// [`Error::Tensors`](crate::Error::Tensors) with everything that is missing or has another shape.
    pub fn new(weights: &TensorMap<'_>, device: &B::Device) -> Result<Self> {
        Self::bind(weights, device).map(|(network, _)| network)
    }

    pub(crate) fn bind(weights: &TensorMap<'_>, device: &B::Device) -> Result<(Self, Bound)> {
        let mut binder = Binder::new(weights, "input_layer.0.weight");
        let stem = conv_norm(&mut binder, ["input_layer.0", "input_layer.1"], [64, 3, 3, 3], 1, device);
        let stem_slopes = slopes(&mut binder, "input_layer.2", 64, device);
        let mut units = Vec::new();
        let mut inputs = 64;
        for (stage, count) in STAGES.into_iter().enumerate() {
            let outputs = 64 << stage;
            for index in 0..count {
                let number = units.len();
                let layer = |part: &str| format!("body.{number}.res_layer.{part}");
                let stride = if index == 0 { 2 } else { 1 };
                let norm = Affine::new(binder.batch_norm(&layer("0"), inputs), device);
                let first = conv(&mut binder, &layer("1"), [outputs, inputs, 3, 3], device);
                let slopes = slopes(&mut binder, &layer("2"), outputs, device);
                let second = [&layer("3")[..], &layer("4")];
                let second = conv_norm(&mut binder, second, [outputs, outputs, 3, 3], stride, device);
                let narrow = outputs / 16;
                let squeeze = [
                    conv(&mut binder, &layer("5.fc1"), [narrow, outputs, 1, 1], device),
                    conv(&mut binder, &layer("5.fc2"), [outputs, narrow, 1, 1], device),
                ];
                let shortcut = (inputs != outputs).then(|| {
                    let names = ["shortcut_layer.0", "shortcut_layer.1"].map(|part| format!("body.{number}.{part}"));
                    conv_norm(&mut binder, [&names[0], &names[1]], [outputs, inputs, 1, 1], stride, device)
                });
                units.push(Unit { norm, first, slopes, second, squeeze, stride, shortcut });
                inputs = outputs;
            }
        }
        let tail = Tail::new(&mut binder, ["output_layer.0", "output_layer.3", "output_layer.4"], device);
        let bound = binder.finish("IR-SE50")?;
        Ok((Self { stem, slopes: stem_slopes, units, tail }, bound))
    }

    /// Embeddings N×512 of faces N×3×112×112 in −1…1.
    pub fn forward(&self, faces: Tensor<B, 4>) -> Tensor<B, 2> {
        let mut x = prelu(self.stem.forward(faces), &self.slopes);
        for unit in &self.units {
            let y = prelu(unit.first.forward(unit.norm.forward(x.clone())), &unit.slopes);
            let y = unit.second.forward(y);
            let [excite, restore] = &unit.squeeze;
            let means = y.clone().mean_dim(2).mean_dim(3);
            let y = y * sigmoid(restore.forward(relu(excite.forward(means))));
            let shortcut = match &unit.shortcut {
                Some(conv) => conv.forward(x),
                None if unit.stride > 1 => max_pool(x, 1, unit.stride, 0),
                None => x,
            };
            x = y + shortcut;
        }
        self.tail.forward(x)
    }
}
