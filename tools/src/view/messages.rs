//! The binary form in which splats go to the page.
//!
//! Little-endian. Eight words: `gvs1`, the number of splats, which parts follow (one bit each), the SH degree, the
//! microseconds it took to pose, the number of driver values, two zeros. Then the parts that are there, in this order:
//!
//! | bit | part | each splat |
//! | --- | --- | --- |
//! | 1 | centres | x y z, f32 |
//! | 2 | rotations, unit length | w x y z, f32 |
//! | 4 | standard deviations along the axes | x y z, f32 |
//! | 8 | colour of degree 0 (not cut at 0) and opacity | r g b α, f32 |
//! | – | values of drivers | f32 |
//! | 16 | harmonics of degree 1 and up | K × r g b, f16 |
//!
//! The page keeps the parts of the splats at rest; a pose has those that differ from them. Splats that the rasteriser would
//! leave out because something is not finite have opacity 0 and zeros here, so that no graphics card meets them.

use std::time::Duration;

use gav_formats::{Splats, conventions::SH_C0};
use half::f16;
use rayon::prelude::*;

const MAGIC: &[u8; 4] = b"gvs1";
const MEANS: u32 = 1;
const ROTATIONS: u32 = 2;
const SCALES: u32 = 4;
const COLORS: u32 = 8;
const HARMONICS: u32 = 16;
/// Log-scales above this have no finite exponential.
const LARGEST_LOG: f32 = 88.72;
/// Rows that a thread encodes at a time.
const ROWS: usize = 4096;

/// All parts of `splats`.
pub(super) fn whole(splats: &Splats) -> Vec<u8> {
    let harmonics = if splats.sh_degree > 0 { HARMONICS } else { 0 };
    encode(splats, MEANS | ROTATIONS | SCALES | COLORS | harmonics, Duration::ZERO, &[])
}

/// The parts of `posed` that differ from `rest`, how long posing took, and the values of drivers (NaN where unknown).
pub(super) fn changes(posed: &Splats, rest: &Splats, took: Duration, drivers: &[f32]) -> Vec<u8> {
    let mut parts = 0;
    let colors = posed.sh0 != rest.sh0 || posed.opacity_logits != rest.opacity_logits;
    for (part, differs) in [
        (MEANS, posed.means != rest.means),
        (ROTATIONS, posed.rotations != rest.rotations),
        (SCALES, posed.log_scales != rest.log_scales),
        (COLORS, colors),
        (HARMONICS, posed.sh_rest != rest.sh_rest),
    ] {
        parts |= if differs { part } else { 0 };
    }
    // a splat that is left out has no opacity, so the colours say which are
    if parts & (MEANS | ROTATIONS | SCALES) != 0 && !all_finite(posed) {
        parts |= COLORS;
    }
    encode(posed, parts, took, drivers)
}

fn all_finite(splats: &Splats) -> bool {
    (0..splats.len()).into_par_iter().with_min_len(ROWS).all(|i| is_drawn(splats, i))
}

/// Is everything about the splat finite? Log-scales of −∞ and infinite logits are legal.
fn is_drawn(splats: &Splats, i: usize) -> bool {
    let mut numbers = splats.means[i].iter().chain(&splats.rotations[i]).chain(&splats.sh0[i]);
    numbers.all(|v| v.is_finite())
        && splats.log_scales[i].iter().all(|v| *v <= LARGEST_LOG)
        && !splats.opacity_logits[i].is_nan()
}

fn encode(splats: &Splats, parts: u32, took: Duration, drivers: &[f32]) -> Vec<u8> {
    let count = splats.len();
    let mut out = Vec::with_capacity(32 + count * 56 + drivers.len() * 4 + splats.sh_rest.len() * 2);
    out.extend_from_slice(MAGIC);
    let micros = took.as_micros().min(u128::from(u32::MAX)) as u32;
    for word in [count as u32, parts, u32::from(splats.sh_degree), micros, drivers.len() as u32, 0, 0] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let finite = |v: f32| if v.is_finite() { v } else { 0.0 };
    if parts & MEANS != 0 {
        put(&mut out, count, |i| splats.means[i].map(finite));
    }
    if parts & ROTATIONS != 0 {
        put(&mut out, count, |i| unit(splats.rotations[i]));
    }
    if parts & SCALES != 0 {
        put(&mut out, count, |i| splats.log_scales[i].map(|v| finite(v.exp())));
    }
    if parts & COLORS != 0 {
        put(&mut out, count, |i| {
            if !is_drawn(splats, i) {
                return [0.0; 4];
            }
            let [r, g, b] = splats.sh0[i].map(|f| 0.5 + SH_C0 as f32 * f);
            [r, g, b, 1.0 / (1.0 + (-splats.opacity_logits[i]).exp())]
        });
    }
    put(&mut out, drivers.len(), |i| [drivers[i]]);
    if parts & HARMONICS != 0 {
        out.extend(splats.sh_rest.iter().flat_map(|v| f16::from_f32(finite(*v)).to_le_bytes()));
    }
    out
}

/// Appends `count` rows of numbers.
fn put<const N: usize>(out: &mut Vec<u8>, count: usize, row: impl Fn(usize) -> [f32; N] + Sync) {
    let start = out.len();
    out.resize(start + 4 * N * count, 0);
    out[start..].par_chunks_mut(4 * N * ROWS).enumerate().for_each(|(part, bytes)| {
        for (k, to) in bytes.chunks_exact_mut(4 * N).enumerate() {
            for (to, value) in to.chunks_exact_mut(4).zip(row(part * ROWS + k)) {
                to.copy_from_slice(&value.to_le_bytes());
            }
        }
    });
}

/// The unit quaternion along `q`; no rotation when it has no direction (`spec/conventions.md` 2).
fn unit(q: [f32; 4]) -> [f32; 4] {
    let largest = q.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    if !(largest > 0.0 && largest.is_finite()) {
        return [1.0, 0.0, 0.0, 0.0];
    }
    // as f64, squares of all f32 are ordinary numbers
    let length = q.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    q.map(|v| (f64::from(v) / length) as f32)
}

#[cfg(test)]
mod tests {
    use gav_formats::synthetic;

    use super::*;

    fn word(bytes: &[u8], index: usize) -> u32 {
        u32::from_le_bytes(bytes[4 * index..][..4].try_into().unwrap())
    }

    fn number(bytes: &[u8], offset: usize) -> f32 {
        f32::from_bits(word(&bytes[offset..], 0))
    }

    #[test]
    fn the_splats_at_rest_have_all_parts() {
        let splats = synthetic::random(10, 2, 1).splats;
        let bytes = whole(&splats);
        assert_eq!(&bytes[..4], b"gvs1");
        assert_eq!([word(&bytes, 1), word(&bytes, 2), word(&bytes, 3)], [10, 31, 2]);
        assert_eq!(bytes.len(), 32 + 10 * 56 + 10 * 8 * 3 * 2);
        assert_eq!(number(&bytes, 32 + 12), splats.means[1][0]);
        let q: Vec<f32> = (0..4).map(|k| number(&bytes, 32 + 120 + 4 * k)).collect();
        assert!((q.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(number(&bytes, 32 + 280), splats.log_scales[0][0].exp());
    }

    #[test]
    fn a_pose_has_the_parts_that_differ() {
        let rest = synthetic::random(10, 1, 1).splats;
        let mut posed = rest.clone();
        assert_eq!(word(&changes(&posed, &rest, Duration::ZERO, &[]), 2), 0);
        posed.means[3][1] += 1.0;
        let bytes = changes(&posed, &rest, Duration::from_millis(2), &[0.25, f32::NAN]);
        assert_eq!([word(&bytes, 2), word(&bytes, 4), word(&bytes, 5)], [MEANS, 2000, 2]);
        assert_eq!(bytes.len(), 32 + 120 + 8);
        assert_eq!(number(&bytes, 152), 0.25);
        posed.opacity_logits[0] = 9.0;
        assert_eq!(word(&changes(&posed, &rest, Duration::ZERO, &[]), 2), MEANS | COLORS);
    }

    #[test]
    fn what_is_not_finite_is_invisible_and_zero() {
        let mut splats = synthetic::random(3, 0, 1).splats;
        splats.means[0][1] = f32::NAN;
        splats.log_scales[1] = [f32::INFINITY, 0.0, f32::NEG_INFINITY];
        splats.rotations[2] = [0.0; 4];
        let bytes = whole(&splats);
        let all: Vec<f32> = (0..3 * 14).map(|k| number(&bytes, 32 + 4 * k)).collect();
        assert!(all.iter().all(|v| v.is_finite()));
        let alpha = |i: usize| number(&bytes, 32 + 3 * 40 + 16 * i + 12);
        assert_eq!((alpha(0), alpha(1)), (0.0, 0.0));
        assert!(alpha(2) > 0.0, "a rotation of zero means none");
        let moved = changes(&splats, &synthetic::random(3, 0, 1).splats, Duration::ZERO, &[]);
        assert!(word(&moved, 2) & COLORS != 0, "the opacity of what became invisible is sent");
    }
}
