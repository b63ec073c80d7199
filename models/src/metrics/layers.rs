//! The layers that the metric networks share, and the binder that fills them from a weight file.

use burn::tensor::{
    Tensor, TensorData,
    backend::Backend,
    module::{conv2d, max_pool2d},
    ops::ConvOptions,
};
use gav_formats::weights::TensorMap;

use crate::{Error, Result};

/// ε of the batch normalisations of PyTorch.
pub(crate) const EPSILON: f64 = 1e-5;

/// Takes named tensors out of a weight file and notes every one that is missing or has another shape.
pub(crate) struct Binder<'m, 'a> {
    map: &'m TensorMap<'a>,
    prefix: String,
    names: Vec<String>,
    problems: Vec<String>,
}

/// The tensors that a network took from a weight file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    /// What stands before every name in the file.
    pub prefix: String,
    /// Names behind the prefix.
    pub names: Vec<String>,
}

impl<'m, 'a> Binder<'m, 'a> {
    /// Names are looked up behind the prefix that the file puts before `anchor`, such as `module.` or `state_dict.`; the shortest one wins.
    pub(crate) fn new(map: &'m TensorMap<'a>, anchor: &str) -> Self {
        Self { map, prefix: prefix_of(map, anchor).unwrap_or_default(), names: Vec::new(), problems: Vec::new() }
    }

    /// True when the file has a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.get(&format!("{}{name}", self.prefix)).is_some()
    }

    /// The values of a tensor; zeros, and a note, when it does not fit. Packagings may add or drop extents of 1.
    pub(crate) fn values(&mut self, name: &str, shape: &[usize]) -> Vec<f32> {
        self.names.push(name.to_owned());
        let problem = match self.map.get(&format!("{}{name}", self.prefix)) {
            Some(tensor) if same_extents(tensor.shape(), shape) => return tensor.to_f32(),
            Some(tensor) => format!("`{name}` has the shape {:?} instead of {shape:?}", tensor.shape()),
            None => format!("`{name}` is missing"),
        };
        self.problems.push(problem);
        vec![0.0; shape.iter().product()]
    }

    /// Scale and shift of a batch normalisation at inference: y = scale·x + shift, computed in f64.
    pub(crate) fn batch_norm(&mut self, name: &str, channels: usize) -> (Vec<f64>, Vec<f64>) {
        let mut part = |suffix: &str| self.values(&format!("{name}.{suffix}"), &[channels]);
        let gamma = part("weight");
        let (beta, mean, variance) = (part("bias"), part("running_mean"), part("running_var"));
        fold(&gamma, &beta, &mean, &variance, EPSILON)
    }

    /// Says what was taken, or what did not fit.
    ///
    /// # Errors
    /// [`Error::Tensors`] with every problem.
    pub(crate) fn finish(self, network: &str) -> Result<Bound> {
        if self.problems.is_empty() {
            return Ok(Bound { prefix: self.prefix, names: self.names });
        }
        Err(Error::Tensors { network: network.to_owned(), problems: self.problems })
    }
}

/// True when the shapes are equal but for extents of 1.
fn same_extents(a: &[usize], b: &[usize]) -> bool {
    let wide = |shape: &'_ [usize]| shape.iter().copied().filter(|extent| *extent != 1).collect::<Vec<_>>();
    wide(a) == wide(b)
}

/// What stands before `anchor` in the shortest name of `map` that ends with it.
pub(crate) fn prefix_of(map: &TensorMap<'_>, anchor: &str) -> Option<String> {
    let prefixes = map.tensors.keys().filter_map(|name| name.strip_suffix(anchor));
    let prefixes = prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('.'));
    prefixes.min_by_key(|prefix| prefix.len()).map(str::to_owned)
}

/// Scale and shift of γ·(x − μ)/√(σ² + ε) + β.
pub(crate) fn fold(gamma: &[f32], beta: &[f32], mean: &[f32], variance: &[f32], epsilon: f64) -> (Vec<f64>, Vec<f64>) {
    let scale: Vec<f64> =
        gamma.iter().zip(variance).map(|(g, v)| f64::from(*g) / (f64::from(*v) + epsilon).sqrt()).collect();
    let shift = beta.iter().zip(mean).zip(&scale).map(|((b, m), s)| f64::from(*b) - f64::from(*m) * s).collect();
    (scale, shift)
}

/// A tensor of constants.
pub(crate) fn constant<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A convolution, with what follows it linearly folded in.
#[derive(Debug, Clone)]
pub(crate) struct Conv<B: Backend> {
    pub weight: Tensor<B, 4>,
    pub bias: Option<Tensor<B, 1>>,
    pub stride: usize,
    pub padding: [usize; 2],
}

impl<B: Backend> Conv<B> {
    /// A convolution whose weight has the shape O×I×h×w, followed by y = scale·x + shift per output channel.
    pub(crate) fn scaled(
        mut weight: Vec<f32>,
        shape: [usize; 4],
        (scale, shift): (Vec<f64>, Vec<f64>),
        stride: usize,
        padding: [usize; 2],
        device: &B::Device,
    ) -> Self {
        let fan_in = shape[1] * shape[2] * shape[3];
        for (row, scale) in weight.chunks_exact_mut(fan_in).zip(&scale) {
            row.iter_mut().for_each(|w| *w = (f64::from(*w) * scale) as f32);
        }
        let shift = shift.into_iter().map(|s| s as f32).collect();
        let bias = Some(constant(shift, [shape[0]], device));
        Self { weight: constant(weight, shape, device), bias, stride, padding }
    }

    /// N×I×H×W to N×O×H'×W'.
    pub(crate) fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        let options = ConvOptions::new([self.stride; 2], self.padding, [1, 1], 1);
        conv2d(x, self.weight.clone(), self.bias.clone(), options)
    }
}

/// y = scale·x + shift per channel.
#[derive(Debug, Clone)]
pub(crate) struct Affine<B: Backend> {
    scale: Tensor<B, 4>,
    shift: Tensor<B, 4>,
}

impl<B: Backend> Affine<B> {
    pub(crate) fn new((scale, shift): (Vec<f64>, Vec<f64>), device: &B::Device) -> Self {
        let tensor = |values: Vec<f64>| {
            let shape = [1, values.len(), 1, 1];
            constant(values.into_iter().map(|v| v as f32).collect(), shape, device)
        };
        Self { scale: tensor(scale), shift: tensor(shift) }
    }

    pub(crate) fn forward(&self, x: Tensor<B, 4>) -> Tensor<B, 4> {
        x * self.scale.clone() + self.shift.clone()
    }
}

/// Maximum over windows of `size`×`size`; incomplete windows at the far side are left out.
pub(crate) fn max_pool<B: Backend>(x: Tensor<B, 4>, size: usize, stride: usize, padding: usize) -> Tensor<B, 4> {
    max_pool2d(x, [size; 2], [stride; 2], [padding; 2], [1, 1], false)
}
