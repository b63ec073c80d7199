//! The small network that turns drivers into blendshape weights: y = activation(W x + b), layer after layer.

use gav_formats::{Activation, Mlp};

use crate::Real;

/// One layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerRef<'a, T> {
    /// Outputs × inputs, row-major.
    pub weight: &'a [T],
    /// One per output.
    pub bias: &'a [T],
    /// Applied to every output.
    pub activation: Activation,
}

/// The layers of a stored network.
pub fn layers(mlp: &Mlp) -> Vec<LayerRef<'_, f32>> {
    mlp.layers.iter().map(|l| LayerRef { weight: &l.weight, bias: &l.bias, activation: l.activation }).collect()
}

/// The input, then the outputs of every layer; the last ones are the result.
pub fn forward<T: Real>(layers: &[LayerRef<'_, T>], input: &[T]) -> Vec<Vec<T>> {
    let mut values = vec![input.to_vec()];
    for layer in layers {
        let x = &values[values.len() - 1];
        assert_eq!(layer.weight.len(), x.len() * layer.bias.len(), "weights of a layer with {} inputs", x.len());
        let rows = layer.weight.chunks_exact(x.len().max(1)).zip(layer.bias);
        let y = rows
            .map(|(row, bias)| activate(layer.activation, row.iter().zip(x).map(|(w, x)| *w * *x).sum::<T>() + *bias));
        let y = y.collect();
        values.push(y);
    }
    values
}

/// Gradients by weights and bias of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerGradients<T> {
    /// Outputs × inputs.
    pub weight: Vec<T>,
    /// One per output.
    pub bias: Vec<T>,
}

/// Gradients by every layer and by the input, from those by the result; `values` are those of [`forward`].
pub fn backward<T: Real>(
    layers: &[LayerRef<'_, T>],
    values: &[Vec<T>],
    upstream: &[T],
) -> (Vec<LayerGradients<T>>, Vec<T>) {
    assert_eq!(values.len(), layers.len() + 1, "values of {} layers", layers.len());
    let mut g = upstream.to_vec();
    let mut out = Vec::with_capacity(layers.len());
    for (layer, (x, y)) in layers.iter().zip(values.iter().zip(&values[1..])).rev() {
        for (g, y) in g.iter_mut().zip(y) {
            *g *= slope(layer.activation, *y);
        }
        let weight = g.iter().flat_map(|g| x.iter().map(move |x| *g * *x)).collect();
        let mut by_input = vec![T::zero(); x.len()];
        for (row, g) in layer.weight.chunks_exact(x.len().max(1)).zip(&g) {
            for (sum, w) in by_input.iter_mut().zip(row) {
                *sum += *w * *g;
            }
        }
        out.push(LayerGradients { weight, bias: std::mem::replace(&mut g, by_input) });
    }
    out.reverse();
    (out, g)
}

fn activate<T: Real>(activation: Activation, x: T) -> T {
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(T::zero()),
        Activation::Sigmoid => ((-x).exp() + T::one()).recip(),
        Activation::Tanh => x.tanh(),
    }
}

/// Derivative of the activation, from its value; that of ReLU at 0 is 0.
fn slope<T: Real>(activation: Activation, y: T) -> T {
    match activation {
        Activation::None => T::one(),
        Activation::Relu if y > T::zero() => T::one(),
        Activation::Relu => T::zero(),
        Activation::Sigmoid => y * (T::one() - y),
        Activation::Tanh => T::one() - y * y,
    }
}
