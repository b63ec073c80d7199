//! From the six streams of an SPZ file to splats.

use std::f32::consts::FRAC_1_SQRT_2;

use rayon::prelude::*;

use super::container::Packed;
use crate::{Splats, conventions::logit_from_opacity};

/// Colours are stored as `0.5 + 0.15 · sh0`: the factor is this, not the degree-0 basis value.
pub(super) const COLOR_SCALE: f32 = 0.15;

/// Decodes all attributes.
pub(super) fn splats(packed: &Packed) -> Splats {
    let header = &packed.header;
    let [positions, alphas, colors, scales, rotations, sh] = packed.streams();
    let alpha_table: Vec<f32> = (0..=255u8).map(|a| logit_from_opacity(f32::from(a) / 255.0)).collect();
    let triple = |bytes: &[u8], value: fn(u8) -> f32| -> Vec<[f32; 3]> {
        bytes.par_chunks_exact(3).map(|b| [value(b[0]), value(b[1]), value(b[2])]).collect()
    };
    Splats {
        means: if header.version == 1 {
            positions.par_chunks_exact(6).map(half_position).collect()
        } else {
            let step = (-f64::from(header.fractional_bits)).exp2() as f32;
            positions.par_chunks_exact(9).map(|b| fixed_position(b, step)).collect()
        },
        rotations: if header.version < 3 {
            rotations.par_chunks_exact(3).map(first_three).collect()
        } else {
            rotations.par_chunks_exact(4).map(smallest_three).collect()
        },
        log_scales: triple(scales, |b| f32::from(b) / 16.0 - 10.0),
        opacity_logits: alphas.par_iter().map(|&a| alpha_table[usize::from(a)]).collect(),
        sh0: triple(colors, |b| (f32::from(b) / 255.0 - 0.5) / COLOR_SCALE),
        sh_rest: sh.par_iter().map(|&b| (f32::from(b) - 128.0) / 128.0).collect(),
        sh_degree: header.sh_degree,
    }
}

fn half_position(b: &[u8]) -> [f32; 3] {
    std::array::from_fn(|axis| half::f16::from_le_bytes([b[2 * axis], b[2 * axis + 1]]).to_f32())
}

fn fixed_position(b: &[u8], step: f32) -> [f32; 3] {
    // 24 bits with sign: shifted to the top of the word and back, which copies the sign down
    std::array::from_fn(|axis| {
        let fixed = i32::from_le_bytes([0, b[3 * axis], b[3 * axis + 1], b[3 * axis + 2]]) >> 8;
        fixed as f32 * step
    })
}

/// x, y, z of a quaternion whose w is not negative.
fn first_three(b: &[u8]) -> [f32; 4] {
    let [x, y, z] = [0, 1, 2].map(|k| f32::from(b[k]) / 127.5 - 1.0);
    [(1.0 - x * x - y * y - z * z).max(0.0).sqrt(), x, y, z]
}

/// Two bits name the largest of x, y, z, w; the others follow from the high bits down as sign and 9-bit magnitude.
fn smallest_three(b: &[u8]) -> [f32; 4] {
    let word = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let largest = (word >> 30) as usize;
    let mut xyzw = [0.0f32; 4];
    let mut squares = 0.0;
    let mut shift = 20u32;
    for index in (0..4).filter(|&index| index != largest) {
        let field = word >> shift & 0x3ff;
        let magnitude = (field & 0x1ff) as f32 / 511.0 * FRAC_1_SQRT_2;
        xyzw[index] = if field & 0x200 != 0 { -magnitude } else { magnitude };
        squares += magnitude * magnitude;
        shift = shift.saturating_sub(10);
    }
    xyzw[largest] = (1.0 - squares).max(0.0).sqrt();
    [xyzw[3], xyzw[0], xyzw[1], xyzw[2]]
}
