//! The canonical ellipsoid: of the 24 rotations that describe the same Gaussian, one that is cheap to store (`spec/gav.md` 7.1).

use std::sync::LazyLock;

use rayon::prelude::*;

use crate::{
    Avatar, RigBase,
    conventions::{IDENTITY_QUATERNION, multiply_quaternions, normalize_quaternion, quaternion_from_matrix},
};

/// The fixed rotation p with `canonical = q ⊗ p` and the order of the axes, largest scale first.
///
/// After it, `w² + x² ≥ ½`, `|w| ≥ |x|` and `w ≥ 0`: the long axis (x) lies in the half space of its own turn, which is what
/// the swing–twist coding of rotations needs.
pub(crate) fn canonical_turn(q: [f64; 4], log_scales: [f32; 3]) -> ([f64; 4], [usize; 3]) {
    static TURNS: LazyLock<[[f64; 4]; 27]> = LazyLock::new(permutation_turns);
    let mut order = [0, 1, 2];
    for (a, b) in [(0, 1), (1, 2), (0, 1)] {
        // strictly larger moves forward, so that equal scales keep their order
        if log_scales[order[b]].total_cmp(&log_scales[order[a]]).is_gt() {
            order.swap(a, b);
        }
    }
    let mut p = TURNS[order[0] * 9 + order[1] * 3 + order[2]];
    let mut turned = multiply_quaternions(q, p);
    for (apply, half_turn) in [
        ((|t: &[f64; 4]| t[0] * t[0] + t[1] * t[1] < 0.5) as fn(&[f64; 4]) -> bool, [0.0, 0.0, 1.0, 0.0]),
        (|t: &[f64; 4]| t[0].abs() < t[1].abs(), [0.0, 1.0, 0.0, 0.0]),
        (|t: &[f64; 4]| t[0] < 0.0, [-1.0, 0.0, 0.0, 0.0]),
    ] {
        if apply(&turned) {
            p = multiply_quaternions(p, half_turn);
            turned = multiply_quaternions(turned, half_turn);
        }
    }
    (p, order)
}

/// Quaternions of the rotations that permute the axes, at index 9 a + 3 b + c for the order a, b, c.
fn permutation_turns() -> [[f64; 4]; 27] {
    let mut turns = [IDENTITY_QUATERNION; 27];
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        // columns of the permutation, the last negated when it would mirror
        let odd = matches!(order, [0, 2, 1] | [1, 0, 2] | [2, 1, 0]);
        let mut permutation = [[0.0; 3]; 3];
        for (column, &axis) in order.iter().enumerate() {
            permutation[axis][column] = if odd && column == 2 { -1.0 } else { 1.0 };
        }
        turns[order[0] * 9 + order[1] * 3 + order[2]] = quaternion_from_matrix(&permutation);
    }
    turns
}

/// Rewrites every splat in canonical form, together with everything that adds to its rotation.
///
/// Rotations become unit; blendshape deltas are divided by the length that was taken out and turned by the same p, so that
/// `normalise(q + Σ ψ Δq)` describes the same ellipsoid as before (right multiplication is linear).
pub(crate) fn canonicalize(avatar: &mut Avatar) {
    let count = avatar.splats.len();
    let splats = &mut avatar.splats;
    let keep_turns = avatar.rig.blendshapes.is_some() || matches!(avatar.rig.base, RigBase::Frames(_));
    let turn = |rotation: &mut [f32; 4], log_scales: &mut [f32; 3]| {
        let raw = rotation.map(f64::from);
        let unit = normalize_quaternion(raw);
        let (p, order) = canonical_turn(unit, *log_scales);
        *rotation = multiply_quaternions(unit, p).map(|v| v as f32);
        *log_scales = order.map(|axis| log_scales[axis]);
        (p, raw)
    };
    let rows = splats.rotations.par_iter_mut().zip(&mut splats.log_scales);
    let turns: Vec<([f64; 4], f64)> = if keep_turns {
        rows.map(|(rotation, log_scales)| {
            let (p, raw) = turn(rotation, log_scales);
            let length = raw.iter().map(|v| v * v).sum::<f64>().sqrt();
            (p, if length > 0.0 { length } else { 1.0 })
        })
        .collect()
    } else {
        rows.for_each(|(rotation, log_scales)| {
            turn(rotation, log_scales);
        });
        Vec::new()
    };
    if let Some(rest) = &mut avatar.rest {
        for (rotation, scales) in rest.rotations.iter_mut().zip(&mut rest.log_scales) {
            let unit = normalize_quaternion(rotation.map(f64::from));
            let (p, order) = canonical_turn(unit, *scales);
            *rotation = multiply_quaternions(unit, p).map(|v| v as f32);
            *scales = order.map(|axis| scales[axis]);
        }
    }
    if let Some(blend) = &mut avatar.rig.blendshapes {
        for (row, delta) in blend.rotations.iter_mut().enumerate() {
            let (p, length) = turns[row % count];
            *delta = multiply_quaternions(delta.map(|v| f64::from(v) / length), p).map(|v| v as f32);
        }
    }
    if let RigBase::Frames(frames) = &mut avatar.rig.base {
        for row in 0..frames.rotations.as_ref().map_or(0, Vec::len) {
            let rotations = frames.rotations.as_mut().expect("counted above");
            let (p, _) = turns[row % count];
            let turned = multiply_quaternions(normalize_quaternion(rotations[row].map(f64::from)), p);
            // the sign that continues the frame before makes small differences
            let before = if row >= count { rotations[row - count] } else { avatar.splats.rotations[row] };
            let sign = if (0..4).map(|k| turned[k] * f64::from(before[k])).sum::<f64>() < 0.0 { -1.0 } else { 1.0 };
            rotations[row] = turned.map(|v| (sign * v) as f32);
        }
    }
}

/// Covariance `R diag(exp(2 s)) Rᵀ` of a splat, for tests.
#[cfg(test)]
pub(crate) fn covariance(q: [f32; 4], log_scales: [f32; 3]) -> [[f64; 3]; 3] {
    let r = crate::conventions::matrix_from_quaternion(normalize_quaternion(q.map(f64::from)));
    let v = log_scales.map(|s| f64::from(s).exp().powi(2));
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| r[i][k] * v[k] * r[j][k]).sum()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Blendshapes, Frame, Splats};

    #[test]
    fn the_ellipsoid_stays_and_blendshapes_follow() {
        let mut splats = Splats::with_len(200, 0);
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        for i in 0..200 {
            splats.rotations[i] = [next(), next(), next(), next()].map(|v| v * 3.0);
            splats.log_scales[i] = [next(), next(), if i % 5 == 0 { 0.5 } else { next() }];
        }
        splats.log_scales[7] = [0.5; 3];
        let mut avatar = Avatar::new(splats, Frame::RUB);
        let deltas: Vec<[f32; 4]> = (0..200).map(|_| [next(), next(), next(), next()].map(|v| v * 0.3)).collect();
        avatar.rig.blendshapes = Some(Blendshapes { bases: 1, rotations: deltas, ..Blendshapes::default() });
        let before = avatar.clone();
        canonicalize(&mut avatar);
        let blended = |a: &Avatar, i: usize, psi: f32| {
            let (q, d) = (a.splats.rotations[i], a.rig.blendshapes.as_ref().unwrap().rotations[i]);
            covariance(std::array::from_fn(|k| q[k] + psi * d[k]), a.splats.log_scales[i])
        };
        for i in 0..200 {
            let [w, x, ..] = avatar.splats.rotations[i];
            assert!(w >= 0.0 && w * w + x * x > 0.499_999 && w >= x.abs());
            let s = avatar.splats.log_scales[i];
            assert!(s[0] >= s[1] && s[1] >= s[2]);
            for psi in [0.0, 1.0, -0.7] {
                let (a, b) = (blended(&before, i, psi), blended(&avatar, i, psi));
                for (u, v) in a.as_flattened().iter().zip(b.as_flattened()) {
                    assert!((u - v).abs() < 1e-4, "splat {i}, psi {psi}: {a:?} {b:?}");
                }
            }
        }
    }
}
