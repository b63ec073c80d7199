//! Hinges that keep splats near their triangle and small: the regularisers of GaussianAvatars (Qian et al. 2024, section 3.4), which
//! STGA took over.
//!
//! λx · mean relu(|x| − tx) + λs · mean |relu(eˢ − ts)| over some of the splats, x the local centre and s the logarithms of the local
//! sizes. The metric forms take both times the size k of the triangle: |relu(x k − tx)| by component, and |relu(eˢ k − ts)|; k is taken
//! as given. The gradient of a norm at 0 is 0.

use crate::Real;

/// Weights and thresholds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hinges<T> {
    /// λx.
    pub centers: T,
    /// tx, in local units or, for the metric form, in those of the mesh.
    pub centers_threshold: T,
    /// The metric form of the first.
    pub metric_centers: bool,
    /// λs.
    pub sizes: T,
    /// ts, as tx.
    pub sizes_threshold: T,
    /// The metric form of the second.
    pub metric_sizes: bool,
}

impl<T: Real> Default for Hinges<T> {
    /// The weights and thresholds of both systems.
    fn default() -> Self {
        Self {
            centers: T::of(0.01),
            centers_threshold: T::one(),
            metric_centers: false,
            sizes: T::one(),
            sizes_threshold: T::of(0.6),
            metric_sizes: false,
        }
    }
}

/// The two weighted means over `rows`, 0 when there are none. Their gradients are added to those rows of `gradient` (centres and
/// logarithms of sizes, N × 3 each). `sizes` gives the triangle's size of a splat; metric forms alone ask for it.
///
/// # Panics
/// When a row does not exist.
pub fn hinges<T: Real>(
    rules: &Hinges<T>,
    means: &[[T; 3]],
    log_scales: &[[T; 3]],
    size: impl Fn(usize) -> T,
    rows: &[u32],
    mut gradient: Option<(&mut [[T; 3]], &mut [[T; 3]])>,
) -> [f64; 2] {
    let length = |v: [T; 3]| (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt();
    // NaN stays NaN, so that it is seen
    let relu = |v: T| if v <= T::zero() { T::zero() } else { v };
    let over = T::of(1.0 / rows.len().max(1) as f64);
    let mut sums = [0.0; 2];
    for row in rows.iter().map(|row| *row as usize) {
        let (x, s) = (means[row], log_scales[row]);
        let k = if rules.metric_centers || rules.metric_sizes { size(row) } else { T::one() };
        // what the norm is of, and its slope by x
        let (excess, by_center) = if rules.metric_centers {
            let r = x.map(|v| relu(v * k - rules.centers_threshold));
            let excess = length(r);
            (excess, r.map(|v| v * k / excess))
        } else {
            let far = length(x);
            (relu(far - rules.centers_threshold), x.map(|v| v / far))
        };
        // the slope of a norm at 0 counts as 0
        let positive = |v: T| v.is_nan() || v > T::zero();
        let factor = if rules.metric_sizes { k } else { T::one() };
        let sizes = s.map(|v| v.exp() * factor);
        let r = sizes.map(|v| relu(v - rules.sizes_threshold));
        let large = length(r);
        sums[0] += excess.wide();
        sums[1] += large.wide();
        if let Some((by_means, by_log_scales)) = &mut gradient {
            for c in 0..3 {
                if positive(excess) {
                    by_means[row][c] += rules.centers * over * by_center[c];
                }
                if positive(large) {
                    by_log_scales[row][c] += rules.sizes * over * r[c] / large * sizes[c];
                }
            }
        }
    }
    [rules.centers.wide() * sums[0] * over.wide(), rules.sizes.wide() * sums[1] * over.wide()]
}

#[cfg(test)]
mod tests {
    use gav_formats::synthetic::uniform;

    use super::*;

    fn noise(count: u64, seed: u64, size: f64) -> Vec<[f64; 3]> {
        (0..count).map(|i| std::array::from_fn(|c| size * (2.0 * uniform(i * 3 + c as u64, seed) - 1.0))).collect()
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let (means, log_scales) = (noise(20, 1, 2.0), noise(20, 2, 1.0));
        let rows = [0u32, 3, 4, 7, 11, 12, 19];
        let size = |row: usize| 0.5 + 0.1 * row as f64;
        for metric in [[false, false], [true, false], [false, true], [true, true]] {
            let rules = Hinges { metric_centers: metric[0], metric_sizes: metric[1], ..Hinges::default() };
            let total = |means: &[[f64; 3]], log_scales: &[[f64; 3]]| {
                hinges(&rules, means, log_scales, size, &rows, None).iter().sum::<f64>()
            };
            let (mut by_means, mut by_log_scales) = (vec![[0.0; 3]; 20], vec![[0.0; 3]; 20]);
            let values = hinges(&rules, &means, &log_scales, size, &rows, Some((&mut by_means, &mut by_log_scales)));
            assert!(values.iter().all(|v| *v > 0.0), "{values:?}");
            let step = 1e-6;
            for row in 0..20 {
                for c in 0..3 {
                    let difference = |which: usize| {
                        let mut ends = [0.0; 2];
                        for (end, sign) in ends.iter_mut().zip([1.0, -1.0]) {
                            let (mut m, mut s) = (means.clone(), log_scales.clone());
                            [&mut m, &mut s][which][row][c] += sign * step;
                            *end = total(&m, &s);
                        }
                        (ends[0] - ends[1]) / (2.0 * step)
                    };
                    assert!((difference(0) - by_means[row][c]).abs() < 1e-8, "{metric:?} centre {row} {c}");
                    assert!((difference(1) - by_log_scales[row][c]).abs() < 1e-8, "{metric:?} size {row} {c}");
                }
            }
        }
    }

    #[test]
    fn nothing_comes_of_no_rows_and_of_splats_in_their_place() {
        let rules = Hinges::<f32>::default();
        assert_eq!(hinges(&rules, &[], &[], |_| 1.0, &[], None), [0.0; 2]);
        let (mut by_means, mut by_sizes) = ([[0.0f32; 3]], [[0.0f32; 3]]);
        let gradient = Some((&mut by_means[..], &mut by_sizes[..]));
        assert_eq!(hinges(&rules, &[[0.0; 3]], &[[-1.0; 3]], |_| 1.0, &[0], gradient), [0.0; 2]);
        assert_eq!((by_means, by_sizes), ([[0.0; 3]], [[0.0; 3]]));
        let gradient = Some((&mut by_means[..], &mut by_sizes[..]));
        assert!(hinges(&rules, &[[f32::NAN; 3]], &[[-1.0; 3]], |_| 1.0, &[0], gradient)[0].is_nan());
        assert!(by_means[0][1].is_nan());
    }
}
