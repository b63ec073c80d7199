//! Image losses for training: the mean over a picture and its gradient with respect to the first picture.
//!
//! Every function returns its mean and, when given a buffer of the picture's size, adds `weight` times the gradient of that
//! mean to it, so that a weighted sum of losses is a few calls on one buffer. The loss of 3DGS,
//! 0.8 L1 + 0.2 (1 − SSIM), is
//!
//! ```
//! use gav_kernels::{losses::{SsimLoss, l1, ssim}, metrics::ImageView};
//! let (render, photo) = (vec![0.5f32; 16 * 16 * 3], vec![0.4f32; 16 * 16 * 3]);
//! let view = |data| ImageView::new(16, 16, 3, data).unwrap();
//! let mut gradient = vec![0.0; render.len()];
//! let l1 = l1(view(&render), view(&photo), 0.8, Some(&mut gradient)).unwrap();
//! let ssim = ssim(view(&render), view(&photo), SsimLoss::default(), -0.2, Some(&mut gradient)).unwrap();
//! let loss = 0.8 * l1 + 0.2 * (1.0 - ssim);
//! # assert!(loss > 0.0 && gradient[0] > 0.0);
//! ```

mod hinge;
mod ssim;

pub use hinge::{Hinges, hinges};
pub use ssim::{SsimLoss, ssim};

use gav_formats::{Error, Result};
use rayon::prelude::*;

use crate::metrics::{ImageView, ordered_sum, same_shape};

/// Mean |a − b|. The gradient is sign(a − b) / n, 0 where the values are equal (as in PyTorch).
///
/// # Errors
/// [`Error::Usage`] when pictures or gradient differ in size.
pub fn l1(a: ImageView, b: ImageView, weight: f32, gradient: Option<&mut [f32]>) -> Result<f64> {
    let sign = |d: f32| {
        if d > 0.0 {
            1.0
        } else if d < 0.0 {
            -1.0
        } else {
            d
        }
    };
    pointwise(a, b, weight, gradient, |a, b| (a - b).abs(), sign)
}

/// Mean (a − b)². The gradient is 2 (a − b) / n.
///
/// # Errors
/// As [`l1`].
pub fn l2(a: ImageView, b: ImageView, weight: f32, gradient: Option<&mut [f32]>) -> Result<f64> {
    pointwise(a, b, weight, gradient, |a, b| (a - b) * (a - b), |d| 2.0 * d)
}

fn pointwise(
    a: ImageView,
    b: ImageView,
    weight: f32,
    gradient: Option<&mut [f32]>,
    value: impl Fn(f64, f64) -> f64 + Sync,
    slope: impl Fn(f32) -> f32 + Sync,
) -> Result<f64> {
    check(&a, &b, gradient.as_deref())?;
    let count = a.data.len();
    if let Some(gradient) = gradient {
        let scale = weight / count as f32;
        gradient.par_iter_mut().zip(a.data).zip(b.data).with_min_len(1 << 14).for_each(|((g, a), b)| {
            *g += scale * slope(a - b);
        });
    }
    Ok(ordered_sum(a.data, b.data, value) / count as f64)
}

fn check(a: &ImageView, b: &ImageView, gradient: Option<&[f32]>) -> Result<()> {
    same_shape(a, b)?;
    match gradient {
        Some(g) if g.len() != a.data.len() => {
            Err(Error::usage(format!("a gradient of {} values for a picture of {}", g.len(), a.data.len())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_of_l1_and_l2_are_added_with_their_weights() {
        let (a, b) = ([0.5f32, 0.2, 0.7, 0.1], [0.25f32, 0.2, 1.2, 0.0]);
        let view = |data| ImageView::new(2, 2, 1, data).unwrap();
        let mut gradient = [1.0f32; 4];
        let mean = l1(view(&a), view(&b), 4.0, Some(&mut gradient)).unwrap();
        assert!((mean - 0.85 / 4.0).abs() < 1e-7);
        assert_eq!(gradient, [2.0, 1.0, 0.0, 2.0]);
        let mut gradient = [0.0f32; 4];
        let mean = l2(view(&a), view(&b), 2.0, Some(&mut gradient)).unwrap();
        assert!((mean - (0.0625 + 0.25 + 0.01) / 4.0).abs() < 1e-7);
        for (g, expected) in gradient.iter().zip([0.25, 0.0, -0.5, 0.1]) {
            assert!((g - expected).abs() < 1e-7, "{gradient:?}");
        }
        assert!(l1(view(&a), view(&b), 1.0, Some(&mut [0.0; 3])).is_err());
        // an undefined pixel must not look like a perfect one
        let mut gradient = [0.0f32; 4];
        assert!(l1(view(&[f32::NAN; 4]), view(&b), 1.0, Some(&mut gradient)).unwrap().is_nan());
        assert!(gradient.iter().all(|g| g.is_nan()));
    }
}
