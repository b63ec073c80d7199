//! How fast one core multiplies and adds: the limit that benchmarks compare with.

use std::{hint::black_box, time::Instant};

use pulp::{Arch, Simd, WithSimd};

/// Independent chains: enough to hide the latency of 4 cycles at 2 operations a cycle, few enough for 16 registers.
const CHAINS: usize = 12;
const STEPS: usize = 200_000;

struct Chains;

impl WithSimd for Chains {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> usize {
        let factor = simd.splat_f32s(black_box(0.999_999));
        let mut sums = [factor; CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = simd.mul_add_f32s(*sum, factor, factor);
            }
        }
        for sum in sums {
            black_box(simd.reduce_sum_f32s(sum));
        }
        S::F32_LANES
    }
}

/// Single-precision operations per second of one core, a multiply-add counting two: the best of 20 short runs with the
/// widest vectors in use.
pub fn flops_per_core() -> f64 {
    let arch = Arch::new();
    (0..20).fold(0.0, |best: f64, _| {
        let started = Instant::now();
        let lanes = arch.dispatch(Chains);
        best.max((lanes * CHAINS * STEPS * 2) as f64 / started.elapsed().as_secs_f64())
    })
}
