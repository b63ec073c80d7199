//! From splats to the six streams of an SPZ file.

use std::f64::consts::SQRT_2;

use rayon::prelude::*;

use super::{
    container::{Header, MAX_FRACTIONAL_BITS},
    decode::COLOR_SCALE,
};
use crate::{Error, Result, Splats, conventions::normalize_quaternion, conventions::opacity_from_logit};

/// Largest magnitude of a stored position.
const MAX_FIXED: f64 = 8_388_607.0;
/// The reference writer's fractional bits.
const LEAST_BITS: u8 = 12;
/// The smallest log-scale that the format holds.
const LEAST_LOG_SCALE: f32 = -10.0;

/// Binary digits after the point of positions: as `requested`, or else so many that the step is at most a quarter of
/// the 10th percentile of the smallest standard deviations of visible splats (as stored: never below e⁻¹⁰), at least
/// the reference writer's 12, and no more than the bounding box leaves room for.
pub(super) fn fractional_bits(splats: &Splats, requested: Option<u8>) -> Result<u8> {
    let reach = splats.means.iter().flatten().fold(0.0f64, |reach, v| reach.max(f64::from(v.abs())));
    let room = (0..=MAX_FRACTIONAL_BITS).rev().find(|&bits| (reach * f64::from(bits).exp2()).round() <= MAX_FIXED);
    let Some(room) = room else {
        return Err(Error::usage(format!("positions up to {reach} do not fit SPZ, whose limit is ±{MAX_FIXED}")));
    };
    if let Some(bits) = requested {
        if bits > MAX_FRACTIONAL_BITS {
            return Err(Error::usage(format!("{bits} fractional bits are above SPZ's {MAX_FRACTIONAL_BITS}")));
        }
        if bits > room {
            return Err(Error::usage(format!(
                "positions up to {reach} leave room for {room} fractional bits in SPZ, {bits} were asked for"
            )));
        }
        return Ok(bits);
    }
    let visible =
        splats.log_scales.iter().zip(&splats.opacity_logits).filter(|(_, o)| opacity_from_logit(**o) > 1.0 / 255.0);
    let mut smallest: Vec<f32> = visible.map(|(s, _)| s[0].min(s[1]).min(s[2]).max(LEAST_LOG_SCALE)).collect();
    if smallest.is_empty() {
        return Ok(LEAST_BITS.min(room));
    }
    let tenth = smallest.len() / 10;
    let sigma = f64::from(*smallest.select_nth_unstable_by(tenth, f32::total_cmp).1).exp();
    let wanted = (4.0 / sigma).log2().ceil().clamp(f64::from(LEAST_BITS), f64::from(MAX_FRACTIONAL_BITS)) as u8;
    Ok(wanted.min(room))
}

/// Quantises all attributes; `sh_bits` are those of degree 1 and of the higher degrees.
pub(super) fn streams(splats: &Splats, header: &Header, sh_bits: [u8; 2]) -> Vec<u8> {
    let mut bytes = vec![0; header.lengths().iter().sum()];
    let mut rest = &mut bytes[..];
    let [positions, alphas, colors, scales, rotations, sh] = header.lengths().map(|length| {
        let (stream, tail) = std::mem::take(&mut rest).split_at_mut(length);
        rest = tail;
        stream
    });
    let factor = f64::from(header.fractional_bits).exp2();
    positions.par_chunks_exact_mut(9).zip(&splats.means).for_each(|(out, mean)| {
        for axis in 0..3 {
            let fixed = (f64::from(mean[axis]) * factor).round().clamp(-MAX_FIXED - 1.0, MAX_FIXED) as i32;
            out[3 * axis..][..3].copy_from_slice(&fixed.to_le_bytes()[..3]);
        }
    });
    alphas
        .par_iter_mut()
        .zip(&splats.opacity_logits)
        .for_each(|(a, &logit)| *a = byte(opacity_from_logit(logit) * 255.0));
    colors.par_chunks_exact_mut(3).zip(&splats.sh0).for_each(|(out, sh0)| {
        (0..3).for_each(|k| out[k] = byte((sh0[k] * COLOR_SCALE + 0.5) * 255.0));
    });
    scales.par_chunks_exact_mut(3).zip(&splats.log_scales).for_each(|(out, s)| {
        (0..3).for_each(|k| out[k] = byte((s[k] + 10.0) * 16.0));
    });
    if header.version < 3 {
        rotations
            .par_chunks_exact_mut(3)
            .zip(&splats.rotations)
            .for_each(|(out, &q)| out.copy_from_slice(&first_three(q)));
    } else {
        rotations
            .par_chunks_exact_mut(4)
            .zip(&splats.rotations)
            .for_each(|(out, &q)| out.copy_from_slice(&smallest_three(q).to_le_bytes()));
    }
    let width = splats.sh_rest_count() * 3;
    if width > 0 {
        sh.par_chunks_exact_mut(width).zip(splats.sh_rest.par_chunks_exact(width)).for_each(|(out, values)| {
            for (k, (byte, &value)) in out.iter_mut().zip(values).enumerate() {
                *byte = sh_byte(value, sh_bits[usize::from(k >= 9)]);
            }
        });
    }
    bytes
}

/// Rounds to a byte; what is outside is clamped.
fn byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// An SH coefficient in −1..1, rounded to `bits` significant bits so that the stream compresses better.
fn sh_byte(value: f32, bits: u8) -> u8 {
    let step = 1 << (8 - bits);
    let fine = (value * 128.0).round().clamp(-128.0, 255.0) as i32 + 128;
    ((fine + step / 2) / step * step).clamp(0, 255) as u8
}

fn first_three(q: [f32; 4]) -> [u8; 3] {
    let [w, x, y, z] = normalize_quaternion(q.map(f64::from));
    let sign = if w < 0.0 { -127.5 } else { 127.5 };
    [x, y, z].map(|v| byte((v * sign + 127.5) as f32))
}

fn smallest_three(q: [f32; 4]) -> u32 {
    let [w, x, y, z] = normalize_quaternion(q.map(f64::from));
    let xyzw = [x, y, z, w];
    let largest = (1..4).fold(0, |best, k| if xyzw[k].abs() > xyzw[best].abs() { k } else { best });
    let mut word = largest as u32;
    for index in (0..4).filter(|&index| index != largest) {
        let negative = (xyzw[index] < 0.0) != (xyzw[largest] < 0.0);
        let magnitude = (511.0 * xyzw[index].abs() * SQRT_2).round().min(511.0) as u32;
        word = word << 10 | u32::from(negative) << 9 | magnitude;
    }
    word
}
