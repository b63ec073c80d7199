//! Adam (Kingma and Ba 2015, algorithm 1) in f32, with masks by rows.

use rayon::prelude::*;

/// Constants of the method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Decay of the mean of the gradient.
    pub beta1: f64,
    /// Decay of the mean of its square.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub epsilon: f64,
}

impl Default for Adam {
    /// The paper's decays with the small ε that 3DGS trains with.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-15 }
    }
}

/// One array of parameters with what Adam remembers of it.
#[derive(Debug)]
pub struct Tensor<'a> {
    /// The parameters.
    pub values: &'a mut [f32],
    /// Mean of the gradient.
    pub means: &'a mut [f32],
    /// Mean of its square.
    pub squares: &'a mut [f32],
    /// The gradient.
    pub gradient: &'a [f32],
    /// Learning rate.
    pub rate: f32,
    /// Rows to change, one number for each; what is 0 stays as it is, its means too. Empty means all rows.
    pub mask: &'a [u32],
}

impl Adam {
    /// Step number `step`, counted from 1.
    ///
    /// # Panics
    /// When the arrays of a tensor differ in length, or the mask does not divide them into rows.
    pub fn step(&self, step: u32, tensors: &mut [Tensor<'_>]) {
        let correction = |beta: f64| 1.0 - beta.powf(f64::from(step));
        let over = (1.0 / correction(self.beta2).sqrt()) as f32;
        let (beta1, beta2, epsilon) = (self.beta1 as f32, self.beta2 as f32, self.epsilon as f32);
        // rounded once: 1 − 0.999 in f32 is 5e-5 too large
        let (rest1, rest2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        for tensor in tensors {
            let count = tensor.values.len();
            assert_eq!(
                (tensor.means.len(), tensor.squares.len(), tensor.gradient.len()),
                (count, count, count),
                "arrays of {count} parameters"
            );
            let rows = tensor.mask.len();
            assert!(rows == 0 || count.is_multiple_of(rows), "{count} parameters in {rows} rows");
            let width = count.checked_div(rows).unwrap_or(0);
            let rate = (f64::from(tensor.rate) / correction(self.beta1)) as f32;
            let mask = tensor.mask;
            let arrays = tensor.values.par_iter_mut().zip(tensor.means.par_iter_mut());
            let arrays =
                arrays.zip(tensor.squares.par_iter_mut()).zip(tensor.gradient).enumerate().with_min_len(1 << 14);
            arrays.for_each(|(i, (((value, mean), square), g))| {
                if rows != 0 && mask[i / width] == 0 {
                    return;
                }
                *mean = beta1 * *mean + rest1 * g;
                *square = beta2 * *square + rest2 * g * g;
                *value -= rate * *mean / (square.sqrt() * over + epsilon);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_the_formula_and_masked_rows_stay() {
        let adam = Adam { epsilon: 1e-8, ..Adam::default() };
        let (mut values, mut means, mut squares) = ([1.0f32; 6], [0.0f32; 6], [0.0f32; 6]);
        let gradient = [0.5f32, -2.0, 3.0, 1e-3, 0.0, 7.0];
        let mask = [1, 0, 1];
        let mut expected = [1.0f64; 6];
        let (mut m, mut v) = ([0.0f64; 6], [0.0f64; 6]);
        for step in 1..=4u32 {
            let tensor = Tensor {
                values: &mut values,
                means: &mut means,
                squares: &mut squares,
                gradient: &gradient,
                rate: 0.01,
                mask: &mask,
            };
            adam.step(step, &mut [tensor]);
            for i in [0, 1, 4, 5] {
                let g = f64::from(gradient[i]);
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (mean, square) =
                    (m[i] / (1.0 - 0.9f64.powi(step as i32)), v[i] / (1.0 - 0.999f64.powi(step as i32)));
                expected[i] -= 0.01 * mean / (square.sqrt() + 1e-8);
            }
        }
        for (value, expected) in values.iter().zip(expected) {
            assert!((f64::from(*value) - expected).abs() < 1e-6, "{value} {expected}");
        }
        assert_eq!(values[2..4], [1.0; 2]);
        assert_eq!(means[2..4], [0.0; 2]);
    }
}
