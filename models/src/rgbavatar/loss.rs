//! What is minimised besides the pictures: how much bases are used, and how alike they are. Generic over [`Real`].

use gav_kernels::Real;

/// Mean |ψ| over all weights of a batch, and its gradient times `factor` for each of them.
pub fn sparsity<T: Real>(weights: &[&[T]], factor: T) -> (T, Vec<Vec<T>>) {
    let count = T::of(weights.iter().map(|w| w.len()).sum::<usize>().max(1) as f64);
    let mean = weights.iter().flat_map(|w| w.iter()).map(|v| v.abs()).sum::<T>() / count;
    let slope = |v: &T| if *v == T::zero() { T::zero() } else { v.signum() * factor / count };
    (mean, weights.iter().map(|w| w.iter().map(slope).collect()).collect())
}

/// How far `bases` bases of equal length, one after the other, are from being orthogonal: with each divided by its length, the Frobenius
/// norm of the part of their Gram matrix above the diagonal. Adds `factor` times its gradient.
///
/// Bases that are zero are orthogonal to all others, and where the norm is 0 it has no slope.
pub fn orthogonality<T: Real>(deltas: &[T], bases: usize, factor: T, gradient: &mut [T]) -> T {
    let width = deltas.len() / bases.max(1);
    if width == 0 {
        return T::zero();
    }
    let dot = |a: &[T], b: &[T]| {
        // in blocks, as sums of f32 over hundreds of thousands of numbers lose their digits
        let block = |(a, b): (&[T], &[T])| a.iter().zip(b).map(|(a, b)| *a * *b).sum::<T>();
        a.chunks(1024).zip(b.chunks(1024)).map(block).sum::<T>()
    };
    let row = |k: usize| &deltas[k * width..(k + 1) * width];
    // the floor of the published normalisation
    let lengths: Vec<T> = (0..bases).map(|k| dot(row(k), row(k)).sqrt().max(T::of(1e-12))).collect();
    let mut gram = vec![T::zero(); bases * bases];
    for i in 0..bases {
        for j in i + 1..bases {
            let value = dot(row(i), row(j)) / (lengths[i] * lengths[j]);
            gram[i * bases + j] = value;
            gram[j * bases + i] = value;
        }
    }
    let norm = (gram.iter().map(|g| *g * *g).sum::<T>() * T::of(0.5)).sqrt();
    if norm == T::zero() || factor == T::zero() {
        return norm;
    }
    for i in 0..bases {
        // Σⱼ Gᵢⱼ/‖G‖ mⱼ, m the bases of length 1, without its part along mᵢ, which is Σⱼ Gᵢⱼ²/‖G‖
        let along = (0..bases).map(|j| gram[i * bases + j] * gram[i * bases + j]).sum::<T>();
        let scale = factor / (norm * lengths[i]);
        let own = &mut gradient[i * width..(i + 1) * width];
        for j in (0..bases).filter(|j| *j != i) {
            let share = scale * gram[i * bases + j] / lengths[j];
            own.iter_mut().zip(row(j)).for_each(|(g, v)| *g += share * *v);
        }
        let share = scale * along / lengths[i];
        own.iter_mut().zip(row(i)).for_each(|(g, v)| *g -= share * *v);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use gav_formats::synthetic::uniform;

    #[test]
    fn slopes_are_those_of_differences() {
        let deltas: Vec<f64> = (0..4 * 9).map(|k| uniform(k, 5) - 0.4).collect();
        let mut gradient = vec![0.0; deltas.len()];
        orthogonality(&deltas, 4, 0.7, &mut gradient);
        for k in 0..deltas.len() {
            let at = |h: f64| {
                let mut moved = deltas.clone();
                moved[k] += h;
                orthogonality(&moved, 4, 0.0, &mut [])
            };
            let expected = 0.7 * (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((gradient[k] - expected).abs() < 1e-8, "{k}: {} {expected}", gradient[k]);
        }
        let (mean, slopes) = sparsity(&[&[0.5f64, -1.5], &[0.0, 2.0]], 8.0);
        assert_eq!((mean, slopes), (1.0, vec![vec![2.0, -2.0], vec![0.0, 2.0]]));
    }

    #[test]
    fn no_bases_and_bases_of_zero_are_orthogonal() {
        let mut gradient = [0.0f32; 6];
        assert_eq!(orthogonality(&[0.0f32; 6], 2, 1.0, &mut gradient), 0.0);
        assert_eq!(orthogonality(&[1.0f32, 0.0, 0.0, 0.0, 2.0, 0.0], 2, 1.0, &mut gradient), 0.0);
        assert_eq!(gradient, [0.0; 6]);
        assert_eq!(orthogonality::<f32>(&[], 0, 1.0, &mut []), 0.0);
    }
}
