//! Light on the head: a warm key light, a cool fill, a rim light and the sky, with shadows from the distance field; and
//! gloss as spherical harmonics.

use super::shape::{V, add, dot, scale, scene, smoothstep, unit};
use crate::conventions::{sh_basis, sh_rest_count};

/// Towards the key light.
pub const KEY: V = [0.50, 0.55, 0.67];
/// Its light, linear.
pub const KEY_COLOR: V = [1.62, 1.50, 1.34];
/// Towards the fill light.
pub const FILL: V = [-0.82, 0.12, 0.56];
/// Its light, linear.
pub const FILL_COLOR: V = [0.27, 0.33, 0.42];
/// Towards the rim light, behind.
const RIM: V = [-0.55, 0.45, -0.70];
const RIM_COLOR: V = [0.55, 0.60, 0.70];
/// Light from above.
pub const SKY: V = [0.40, 0.42, 0.46];
/// Light from below.
pub const GROUND: V = [0.20, 0.17, 0.15];

/// Light that reaches a surface point, per colour channel, linear.
///
/// `wrap` lets light creep around the terminator, per channel: skin does so most in red.
pub fn irradiance(p: V, n: V, wrap: V) -> V {
    let (key, rim) = (unit(KEY), unit(RIM));
    let occlusion = occlusion(p, n);
    let shadow = shadow(p, n, key);
    std::array::from_fn(|c| {
        let lambert = |light: V, w: f64| ((dot(n, light) + w) / (1.0 + w)).max(0.0);
        // shadows get soft edges of the same colour as the terminator
        let key_light = lambert(key, wrap[c]) * (shadow + wrap[c] * shadow * (1.0 - shadow));
        let sky = SKY[c] * (0.5 + 0.5 * n[1]) + GROUND[c] * (0.5 - 0.5 * n[1]);
        let rim_light = lambert(rim, 0.1) * (0.3 + 0.7 * occlusion);
        KEY_COLOR[c] * key_light
            + FILL_COLOR[c] * lambert(unit(FILL), 0.4) * (0.4 + 0.6 * occlusion)
            + RIM_COLOR[c] * rim_light
            + sky * occlusion
    })
}

/// Share of the sky seen from a point: 1 in the open, from a few steps along the normal.
pub fn occlusion(p: V, n: V) -> f64 {
    let mut blocked = 0.0;
    let mut weight = 0.55;
    for step in 1..=4 {
        let reach = 0.45 * f64::from(step * step);
        blocked += weight * (reach - scene(add(p, scale(n, reach)))).max(0.0) / reach;
        weight *= 0.6;
    }
    (1.0 - blocked).clamp(0.05, 1.0)
}

/// Share of a lamp seen from a point; soft by the narrowest passage on the way.
fn shadow(p: V, n: V, light: V) -> f64 {
    let start = add(p, scale(n, 0.12));
    let (mut t, mut open) = (0.15f64, 1.0f64);
    while t < 16.0 {
        let d = scene(add(start, scale(light, t)));
        open = open.min(5.0 * d / t + 0.1);
        if open <= 0.0 {
            return 0.0;
        }
        t += d.clamp(0.15, 1.5);
    }
    smoothstep(0.0, 1.0, open)
}

/// Mirror direction of the key light.
fn mirror(n: V) -> V {
    let key = unit(KEY);
    let twice = 2.0 * dot(n, key);
    std::array::from_fn(|k| twice * n[k] - key[k])
}

/// Highlight of the key light for a viewer in front, 0..1: what gloss looks like without view dependence.
pub fn front_highlight(n: V, sharpness: f64) -> f64 {
    let half = unit(add(unit(KEY), [0.0, 0.1, 1.0]));
    let mut power = dot(n, half).max(0.0);
    // repeated squaring: the sharpness is rounded up to a power of two
    let mut exponent = 1.0;
    while exponent < sharpness {
        power *= power;
        exponent *= 2.0;
    }
    power
}

/// SH coefficients (degree 1 and up) of a lobe of the given height around the mirrored key light, and the degree-0 value
/// that goes with it. A viewer who looks along the mirror direction sees it at its brightest.
pub fn gloss(n: V, height: f64, degree: u8) -> (Vec<f64>, f64) {
    /// Legendre coefficients of a soft lobe of height 1, truncated where the degree ends.
    const LOBE: [f64; 4] = [0.16, 0.32, 0.30, 0.22];
    // the basis is evaluated along camera → splat, the opposite of the way to the viewer
    let basis = sh_basis(scale(mirror(n), -1.0));
    let degree = degree.min(3);
    let mut rest = Vec::with_capacity(sh_rest_count(degree));
    for l in 1..=usize::from(degree) {
        // addition theorem: P_l(a · b) = 4π / (2l + 1) Σ_m Y_lm(a) Y_lm(b)
        let factor = height * LOBE[l] * 2.0 * std::f64::consts::TAU / (2 * l + 1) as f64;
        rest.extend(basis[l * l..(l + 1) * (l + 1)].iter().map(|b| factor * b));
    }
    (rest, height * LOBE[0])
}

/// Brightness of a strand with direction `along` in the key light (Kajiya and Kay 1989): diffuse, highlight for a viewer
/// in front.
pub fn strand(along: V) -> (f64, f64) {
    let key = unit(KEY);
    let sine = |a: f64| (1.0 - a * a).max(0.0).sqrt();
    let (light, view) = (dot(along, key), dot(along, [0.0, 0.1, 0.995]));
    let mut shine = (sine(light) * sine(view) - light * view).max(0.0);
    for _ in 0..5 {
        shine *= shine;
    }
    (sine(light), shine)
}

/// Display value of a linear colour: the sRGB curve by square roots alone, within 0.4 % (the same bits everywhere).
pub fn display(linear: f64) -> f64 {
    // a shoulder keeps highlights from clipping hard
    let x = linear.max(0.0);
    let x = if x > 0.6 { 0.6 + (x - 0.6) / (1.0 + 1.1 * (x - 0.6)) } else { x };
    let s1 = x.sqrt();
    let s2 = s1.sqrt();
    let s3 = s2.sqrt();
    (0.585_122_381 * s1 + 0.783_140_355 * s2 - 0.368_262_736 * s3).clamp(0.0, 1.0)
}
