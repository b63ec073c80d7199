//! Gaussian blendshapes: kind 5 of `spec/gav.md` section 8, and the sparse position morphs of kind 7.

use gav_formats::{Blendshapes, Morphs};
use rayon::prelude::*;

use super::algebra::{Quat, Vec3, normalize4, normalize4_backward};
use crate::Real;

/// Splats that a task takes: sums of 256 × 10 numbers stay in the first-level cache while all bases pass by.
const CHUNK: usize = 256;

/// K bases over N splats, basis-major; an attribute that no basis changes is empty.
#[derive(Debug, Clone, Copy)]
pub struct BasesRef<'a, T> {
    /// Number of bases K.
    pub count: usize,
    /// Position deltas, K × N × 3.
    pub means: &'a [Vec3<T>],
    /// Quaternion deltas w, x, y, z, K × N × 4.
    pub rotations: &'a [Quat<T>],
    /// Degree-0 colour deltas, K × N × 3.
    pub sh0: &'a [Vec3<T>],
}

impl<'a> From<&'a Blendshapes> for BasesRef<'a, f32> {
    fn from(shapes: &'a Blendshapes) -> Self {
        Self { count: shapes.bases as usize, means: &shapes.means, rotations: &shapes.rotations, sh0: &shapes.sh0 }
    }
}

/// What blendshapes change, as values or gradients: N splats each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Blended<T> {
    /// Centres, N × 3.
    pub means: Vec<Vec3<T>>,
    /// Quaternions w, x, y, z, N × 4.
    pub rotations: Vec<Quat<T>>,
    /// Degree-0 colour coefficients, N × 3.
    pub sh0: Vec<Vec3<T>>,
}

/// The splats that deltas are added to.
#[derive(Debug, Clone, Copy)]
pub struct BaseRef<'a, T> {
    /// Centres, N × 3.
    pub means: &'a [Vec3<T>],
    /// Quaternions of any length, N × 4.
    pub rotations: &'a [Quat<T>],
    /// Degree-0 colour coefficients, N × 3.
    pub sh0: &'a [Vec3<T>],
}

/// Gradients of everything that [`blend`] takes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BlendGradients<T> {
    /// By the base, N each.
    pub base: Blended<T>,
    /// By the deltas, basis-major; empty where the bases are.
    pub deltas: Blended<T>,
    /// By the weights, K.
    pub weights: Vec<T>,
}

/// μ + Σ ψₖ Δμₖ, (q + Σ ψₖ Δqₖ)/|…|, f + Σ ψₖ Δfₖ.
///
/// # Panics
/// When array lengths do not fit together.
pub fn blend<T: Real>(base: BaseRef<'_, T>, bases: &BasesRef<'_, T>, weights: &[T]) -> Blended<T> {
    let count = check(base, bases, weights);
    let mut out = Blended { means: base.means.to_vec(), rotations: base.rotations.to_vec(), sh0: base.sh0.to_vec() };
    let work = |first: usize, means: &mut [Vec3<T>], rotations: &mut [Quat<T>], sh0: &mut [Vec3<T>]| {
        let last = first + means.len();
        for (k, weight) in weights.iter().enumerate().filter(|(_, w)| **w != T::zero()) {
            let rows = k * count + first..k * count + last;
            add_scaled(means.as_flattened_mut(), slice(bases.means, &rows), *weight);
            add_scaled(rotations.as_flattened_mut(), slice(bases.rotations, &rows), *weight);
            add_scaled(sh0.as_flattened_mut(), slice(bases.sh0, &rows), *weight);
        }
        rotations.iter_mut().for_each(|q| *q = normalize4(*q).0);
    };
    (out.means.par_chunks_mut(CHUNK), out.rotations.par_chunks_mut(CHUNK), out.sh0.par_chunks_mut(CHUNK))
        .into_par_iter()
        .enumerate()
        .for_each(|(chunk, (means, rotations, sh0))| {
            pulp::Arch::new().dispatch(|| work(chunk * CHUNK, means, rotations, sh0));
        });
    out
}

/// Rows of one basis as plain numbers; nothing when no basis changes the attribute.
fn slice<'a, T, const N: usize>(deltas: &'a [[T; N]], rows: &std::ops::Range<usize>) -> &'a [T] {
    if deltas.is_empty() { &[] } else { deltas[rows.clone()].as_flattened() }
}

#[inline(always)]
fn add_scaled<T: Real>(sum: &mut [T], deltas: &[T], weight: T) {
    for (s, d) in sum.iter_mut().zip(deltas) {
        *s += weight * *d;
    }
}

/// Gradients from those by the result of [`blend`].
pub fn blend_backward<T: Real>(
    base: BaseRef<'_, T>,
    bases: &BasesRef<'_, T>,
    weights: &[T],
    upstream: BaseRef<'_, T>,
) -> BlendGradients<T> {
    let count = check(base, bases, weights);
    assert_eq!(
        (upstream.means.len(), upstream.rotations.len(), upstream.sh0.len()),
        (count, count, count),
        "gradients of {count} splats"
    );
    let mut by_base =
        Blended { means: upstream.means.to_vec(), rotations: vec![[T::zero(); 4]; count], sh0: upstream.sh0.to_vec() };
    by_base.rotations.par_iter_mut().enumerate().with_min_len(1024).for_each(|(i, out)| {
        let mut raw = base.rotations[i];
        if !bases.rotations.is_empty() {
            for (k, weight) in weights.iter().enumerate() {
                let delta = &bases.rotations[k * count + i];
                raw = std::array::from_fn(|c| raw[c] + *weight * delta[c]);
            }
        }
        let (unit, inverse) = normalize4(raw);
        *out = normalize4_backward(unit, inverse, upstream.rotations[i]);
    });
    let (means, rotations, sh0) = (&by_base.means, &by_base.rotations, &by_base.sh0);
    let by_weight = (0..bases.count)
        .into_par_iter()
        .map(|k| {
            let rows = k * count..(k + 1) * count;
            dot(means.as_flattened(), slice(bases.means, &rows))
                + dot(rotations.as_flattened(), slice(bases.rotations, &rows))
                + dot(sh0.as_flattened(), slice(bases.sh0, &rows))
        })
        .collect();
    let deltas = Blended {
        means: scaled(means, bases.means.is_empty(), weights),
        rotations: scaled(rotations, bases.rotations.is_empty(), weights),
        sh0: scaled(sh0, bases.sh0.is_empty(), weights),
    };
    BlendGradients { base: by_base, deltas, weights: by_weight }
}

/// In blocks, so that sums of f32 over hundreds of thousands of numbers keep their digits.
fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let block = |(a, b): (&[T], &[T])| a.iter().zip(b).map(|(a, b)| *a * *b).sum::<T>();
    a.chunks(1024).zip(b.chunks(1024)).map(block).sum()
}

fn scaled<T: Real, const N: usize>(by_base: &[[T; N]], none: bool, weights: &[T]) -> Vec<[T; N]> {
    if none {
        return Vec::new();
    }
    weights.iter().flat_map(|w| by_base.iter().map(|g| g.map(|v| v * *w))).collect()
}

fn check<T>(base: BaseRef<'_, T>, bases: &BasesRef<'_, T>, weights: &[T]) -> usize {
    let count = base.means.len();
    assert_eq!((base.rotations.len(), base.sh0.len()), (count, count), "arrays of {count} splats");
    assert_eq!(weights.len(), bases.count, "weights of {} bases", bases.count);
    for length in [bases.means.len(), bases.rotations.len(), bases.sh0.len()] {
        assert!(
            length == 0 || length == bases.count * count,
            "{length} deltas of {} bases, {count} splats",
            bases.count
        );
    }
    count
}

/// μ += Σ vₖ Δμₖ over the targets' own splats.
///
/// # Panics
/// When `values` does not hold one number per target.
pub fn add_morphs(morphs: &Morphs, values: &[f32], means: &mut [Vec3<f32>]) {
    assert_eq!(values.len(), morphs.targets.len(), "values of {} morph targets", morphs.targets.len());
    for (target, value) in morphs.targets.iter().zip(values).filter(|(_, v)| **v != 0.0) {
        for (splat, delta) in target.splats.iter().zip(&target.deltas) {
            let mean = &mut means[*splat as usize];
            *mean = std::array::from_fn(|c| mean[c] + value * delta[c]);
        }
    }
}

/// Gradients by the values and by the deltas of every target, from those by the means.
pub fn add_morphs_backward(morphs: &Morphs, values: &[f32], upstream: &[Vec3<f32>]) -> (Vec<f32>, Vec<Vec<Vec3<f32>>>) {
    assert_eq!(values.len(), morphs.targets.len(), "values of {} morph targets", morphs.targets.len());
    let of_target = |(target, value): (&gav_formats::MorphTarget, &f32)| {
        let rows = target.splats.iter().map(|s| upstream[*s as usize]);
        let by_value: f32 =
            rows.clone().zip(&target.deltas).map(|(g, d)| (0..3).map(|c| g[c] * d[c]).sum::<f32>()).sum();
        (by_value, rows.map(|g| g.map(|v| v * value)).collect())
    };
    morphs.targets.par_iter().zip(values).map(of_target).unzip()
}
