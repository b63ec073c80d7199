//! Hair: strands that grow from the scalp and flow away from a parting, over a soft underlayer.

use rayon::prelude::*;

use super::{
    Dab, Part,
    light::{irradiance, strand},
    scatter::Surface,
    shape::{
        PARTING, V, add, dot, hair, hair_amount, hair_thickness, length, mix, noise, normal, scale, scene, skin,
        smoothstep, sub, unit,
    },
};
use crate::synthetic::Random;

/// Pieces of one strand.
const PIECES: usize = 8;

fn density(p: V) -> f64 {
    if hair_amount(p) < 0.25 { 0.0 } else { 1.0 + 1.5 * smoothstep(2.0, 8.0, p[2] + 0.4 * p[1]) }
}

fn surface() -> Surface {
    Surface::new(hair, density, [-11.0, -8.0, -13.0], [11.0, 14.5, 10.5])
}

/// Direction of growth at a point of the hair's surface with normal `n`.
fn flow(p: V, n: V) -> V {
    let side = p[0] - PARTING * (1.0 - smoothstep(3.0, 8.0, -p[2]));
    let away = side / (1.0 + side * side).sqrt();
    let top = smoothstep(5.0, 10.5, p[1]);
    let front = smoothstep(1.5, 6.0, p[2]);
    let back = smoothstep(0.0, 7.0, -p[2]);
    let wave = [noise(scale(p, 0.35), 41), noise(scale(p, 0.35), 42), noise(scale(p, 0.35), 43)];
    let mut d = [
        mix(0.55, 1.0, top) * away * (1.0 - 0.6 * back),
        -mix(1.0, 0.25, top) - 0.4 * back,
        0.55 * front * top - 0.6 * front * (1.0 - top) - 0.5 * top * (1.0 - front) - 0.25 * (1.0 - top),
    ];
    d = add(d, scale(wave, 0.28));
    unit(sub(d, scale(n, dot(d, n))))
}

/// Wide dark splats at half depth, so that no scalp shines through.
pub fn underlayer(count: usize, random: &mut Random) -> Vec<Dab> {
    surface()
        .scatter(count, random)
        .into_par_iter()
        .filter_map(|(p, spacing)| {
            let n = normal(hair, p);
            let sunk = sub(p, scale(n, 0.4 * hair_thickness(p)));
            if skin(sunk) < -0.25 {
                return None;
            }
            let along = flow(p, n);
            let light = irradiance(add(p, scale(n, 0.1)), n, [0.2; 3]);
            let color = std::array::from_fn(|c| [0.050, 0.026, 0.015][c] * (0.25 + 0.6 * light[c]));
            let mut dab = Dab::disc(Part::Hair, sunk, n, 0.8 * spacing, color);
            dab.along = along;
            dab.sigma = [1.0 * spacing, 0.6 * spacing, 0.2 * spacing];
            dab.opacity = 0.93 * smoothstep(0.1, 0.5, hair_amount(p));
            dab.opacity = dab.opacity.max(0.01);
            Some(dab)
        })
        .collect()
}

/// Strands of [`PIECES`] splats each.
pub fn strands(count: usize, random: &mut Random) -> Vec<Dab> {
    let strands = count.div_ceil(PIECES);
    let seed = (random.unit() * 1e15) as u64;
    let roots = surface().scatter(strands, random);
    let mut dabs: Vec<Dab> = roots
        .into_par_iter()
        .enumerate()
        .flat_map_iter(|(index, (root, _))| grow(root, &mut Random::new(seed.wrapping_add(index as u64)), strands))
        .collect();
    dabs.truncate(count);
    dabs
}

/// One strand from a root on the hair's surface; its depth below the surface is drawn at random.
fn grow(root: V, random: &mut Random, strands: usize) -> Vec<Dab> {
    let top = smoothstep(3.0, 9.0, root[1]);
    let full = mix(2.6, 5.6, top) * random.range(0.75, 1.2);
    let depth = random.unit() * random.unit();
    // fewer strands must be wider to cover
    let width = 0.036 * (2250.0 / strands.max(1) as f64).sqrt().clamp(1.0, 6.0) * random.range(0.8, 1.25);
    let tone = random.range(0.7, 1.3);
    // locks share a tone and a wave
    let lock = 1.0 + 0.35 * noise(scale(root, 0.9), 44);
    let curl = scale([noise(scale(root, 0.7), 45), noise(scale(root, 0.7), 46), noise(scale(root, 0.7), 47)], 0.35);
    let step = full / PIECES as f64;
    // strands part softly: their roots must not stand there like a comb
    let at_parting = top / (1.0 + (root[0] - PARTING) * (root[0] - PARTING));
    let mut p = root;
    let mut dabs = Vec::with_capacity(PIECES);
    for piece in 0..PIECES {
        let t = (piece as f64 + 0.5) / PIECES as f64;
        let n = normal(hair, p);
        let bend = scale(curl, smoothstep(0.2, 1.0, t));
        let along = unit(add(flow(p, n), sub(bend, scale(n, dot(bend, n)))));
        let next = add(p, scale(along, step));
        // stay on the surface; below the hairline the strand hangs free
        let d = hair(next);
        let next = if hair_amount(next) > 0.15 { sub(next, scale(normal(hair, next), d)) } else { next };
        let middle = scale(add(p, next), 0.5);
        let direction = unit(sub(next, p));
        let lift = smoothstep(-0.12, 0.1, t) * (1.0 - 0.35 * smoothstep(0.7, 1.0, t));
        let sunk = (depth + (1.0 - depth) * (1.0 - lift) * 0.9) * 0.6 * hair_thickness(middle).max(0.15);
        let center = sub(middle, scale(n, sunk - 0.04));
        // the surface ends abruptly at the hairline: a piece thrown back by the projection ends the strand
        let straight = dot(direction, along) > 0.7;
        if !straight || scene(center) > 1.2 || skin(center) < -0.15 || length(sub(next, p)) < 1e-6 {
            break;
        }
        let light = irradiance(add(middle, scale(n, 0.12)), n, [0.25; 3]);
        let (diffuse, shine) = strand(direction);
        let open = mix(0.38, 1.0, 1.0 - depth) * mix(0.55, 1.0, smoothstep(0.0, 0.4, t));
        let tip = smoothstep(0.35, 1.0, t);
        let color: V = std::array::from_fn(|c| {
            let pigment = mix([0.125, 0.060, 0.028][c], [0.235, 0.118, 0.052][c], 0.7 * tip) * tone * lock;
            let key = light[c] * light[c] / (0.6 + light[c]);
            open * (pigment * (0.35 + 0.65 * diffuse) * light[c]
                + 0.22 * [1.0, 0.80, 0.58][c] * shine * key * (1.0 - depth))
        });
        let taper = 1.0 - 0.45 * smoothstep(0.6, 1.0, t);
        let mut dab = Dab::hair(Part::Hair, center, direction, [0.56 * step, width * taper], color);
        dab.opacity = 0.9 * (1.0 - 0.5 * smoothstep(0.75, 1.0, t)) * (1.0 - 0.8 * at_parting * smoothstep(0.3, 0.0, t));
        dabs.push(dab);
        p = next;
    }
    dabs
}
