//! Eyeballs with iris and highlight, lid rims, lashes and brows.

use super::{
    Dab, Part,
    light::irradiance,
    scatter::darts,
    shape::{
        EYE, EYE_RADIUS, LID_RADIUS, V, add, lid_edges, mix, noise, normal, project, scale, skin, smoothstep, unit,
    },
};
use crate::synthetic::Random;

/// Middle and radii of iris and pupil, relative to the eye's middle, x towards the temple. They look at the viewer.
const IRIS_CENTER: [f64; 2] = [-0.06, 0.07];
const IRIS_RADIUS: f64 = 0.585;
const PUPIL_RADIUS: f64 = 0.235;

/// Turns a point given relative to an eye (x towards the temple) into head coordinates.
fn place(side: f64, local: V) -> V {
    [side * (EYE[0] + local[0]), EYE[1] + local[1], EYE[2] + local[2]]
}

fn mirror(side: f64, v: V) -> V {
    [side * v[0], v[1], v[2]]
}

/// The visible caps of both eyeballs, with highlights.
pub fn eyeballs(count: usize, random: &mut Random) -> Vec<Dab> {
    let mut dabs = Vec::with_capacity(count);
    for side in [-1.0, 1.0] {
        let part = if side > 0.0 { Part::EyeRight } else { Part::EyeLeft };
        let each = if side > 0.0 { count - dabs.len() } else { count / 2 };
        let lights = (each / 60).max(2).min(each);
        for (point, spacing) in darts(each.saturating_sub(lights), 0.25, || {
            let (u, v) = (random.range(-1.2, 1.2), random.range(-0.95, 0.95));
            let iris = ((u - IRIS_CENTER[0]).powi(2) + (v - IRIS_CENTER[1]).powi(2)).sqrt();
            // beyond the lids only what a turned eye brings into view, coarsely
            let visible = lid_edges(u).is_some_and(|(upper, lower)| v < upper + 0.1 && v > lower - 0.1);
            let spacing = if iris < IRIS_RADIUS + 0.05 { 0.5 } else { 0.7 };
            (u * u + v * v < 1.35).then_some(([u, v, 0.0], if visible { spacing } else { 1.0 }))
        }) {
            let [u, v, _] = point;
            let local = [u, v, (EYE_RADIUS * EYE_RADIUS - u * u - v * v).max(0.0).sqrt()];
            let n = unit(mirror(side, local));
            let p = place(side, local);
            let light = irradiance(p, n, [0.3, 0.25, 0.2]);
            let albedo = paint(u, v);
            // the upper lid and its lashes keep light away
            let shade = lid_edges(u).map_or(0.35, |(upper, lower)| {
                mix(0.34, 1.0, smoothstep(-0.02, 0.38, upper - v)) * mix(0.7, 1.0, smoothstep(0.0, 0.15, v - lower))
            });
            let color = std::array::from_fn(|c| albedo[c] * light[c] * shade);
            dabs.push(Dab::disc(part, p, n, 0.62 * spacing, color));
        }
        for k in 0..lights {
            // one bright window towards the key light, one faint reflection opposite; not mirrored
            let main = k < lights * 3 / 4;
            let (u, v, size) = if main { (0.19, 0.22, 0.10) } else { (-0.24, -0.2, 0.05) };
            let (u, v) = (u + size * random.range(-1.0, 1.0), v + 0.9 * size * random.range(-1.0, 1.0));
            let x = side * IRIS_CENTER[0] + u;
            let y = IRIS_CENTER[1] + v;
            let local = [x * side, y, ((EYE_RADIUS + 0.025).powi(2) - x * x - y * y).sqrt()];
            let n = unit(mirror(side, local));
            let white = if main { 3.0 } else { 0.9 };
            let mut dab = Dab::disc(part, place(side, local), n, 0.55 * size, [white; 3]);
            dab.opacity = if main { 0.85 } else { 0.12 };
            dabs.push(dab);
        }
    }
    dabs
}

/// Colour of the eyeball at a point of its cap.
fn paint(u: f64, v: f64) -> V {
    let (x, y) = (u - IRIS_CENTER[0], v - IRIS_CENTER[1]);
    let radius = (x * x + y * y).sqrt();
    let corner = smoothstep(0.85, 1.45, u.abs());
    let veins = 0.04 * noise([u * 5.0, v * 9.0, 3.0], 31);
    let white = [0.66 - 0.05 * corner + veins, 0.60 - 0.20 * corner, 0.57 - 0.20 * corner];
    if radius > IRIS_RADIUS + 0.04 {
        return white;
    }
    // fibres: noise along the angle, stretched along the radius
    let (cosine, sine) = (x / radius.max(1e-6), y / radius.max(1e-6));
    let fibre = noise([cosine * 9.0, sine * 9.0, radius * 3.0], 32) * 0.6
        + noise([cosine * 19.0, sine * 19.0, radius * 5.0], 33) * 0.4;
    let t = radius / IRIS_RADIUS;
    let (inner, outer) = ([0.26, 0.15, 0.05], [0.055, 0.125, 0.135]);
    let ring = smoothstep(0.42, 0.72, t + 0.10 * fibre);
    let depth = (1.0 + 0.75 * fibre) * (1.0 - 0.85 * smoothstep(0.80, 1.0, t));
    // light entering from the upper right gathers on the other side of the iris
    let caustic = 1.0 + 0.9 * smoothstep(0.1, 0.5, -(0.4 * x + 0.9 * y)) * (1.0 - smoothstep(0.75, 0.95, t));
    let pupil = smoothstep(PUPIL_RADIUS - 0.03, PUPIL_RADIUS + 0.03, radius);
    let edge = smoothstep(IRIS_RADIUS - 0.02, IRIS_RADIUS + 0.04, radius);
    std::array::from_fn(|c| {
        let iris = (mix(inner[c], outer[c], ring) * depth * caustic).max(0.004);
        mix(mix(0.003, iris, pupil), white[c], edge)
    })
}

/// The lids' thickness along the opening: a rim between eyeball and lid, with a dark line at the upper one.
pub fn lids(count: usize, random: &mut Random) -> Vec<Dab> {
    (0..count)
        .map(|k| {
            let side = if k % 2 == 0 { 1.0 } else { -1.0 };
            let upper = k % 5 < 3;
            let u = random.range(-1.29, 1.33);
            let (top, bottom) = lid_edges(u).unwrap_or((0.0, 0.0));
            let v = if upper { top } else { bottom };
            let radius = mix(EYE_RADIUS - 0.02, LID_RADIUS + 0.02, random.unit());
            let local = [u, v, (radius * radius - u * u - v * v).max(0.01).sqrt()];
            let p = place(side, local);
            let outward = unit(mirror(side, local));
            let light = irradiance(add(p, scale(outward, 0.15)), outward, [0.3, 0.2, 0.15]);
            let ink = if upper { smoothstep(EYE_RADIUS + 0.04, LID_RADIUS, radius) } else { 0.0 };
            let flesh = if upper { [0.30, 0.14, 0.11] } else { [0.52, 0.29, 0.24] };
            let color = std::array::from_fn(|c| mix(flesh[c] * light[c], 0.018, 0.9 * ink));
            let (before, after) = (lid_edges((u - 0.02).max(-1.29)), lid_edges((u + 0.02).min(1.33)));
            let slope = before.zip(after).map_or(0.0, |(a, b)| (if upper { b.0 - a.0 } else { b.1 - a.1 }) / 0.04);
            let along = unit(mirror(side, [1.0, slope, -u / local[2]]));
            let part = if upper { Part::UpperLid } else { Part::LowerLid };
            Dab::hair(part, p, along, [0.06, 0.022], color)
        })
        .collect()
}

/// Skin folded away under the upper lids: at rest hidden behind them, drawn over the eye by a blink.
pub fn folds(count: usize, random: &mut Random) -> Vec<Dab> {
    let mut dabs = Vec::with_capacity(count);
    for side in [-1.0, 1.0] {
        let each = if side > 0.0 { count - dabs.len() } else { count / 2 };
        for (point, spacing) in darts(each, 0.3, || {
            let (u, share) = (random.range(-1.2, 1.25), random.range(0.05, 1.1));
            let (upper, lower) = lid_edges(u)?;
            Some(([u, upper + share * (upper - lower), 0.0], 1.0))
        }) {
            let [u, v, _] = point;
            let radius = LID_RADIUS - 0.045;
            let local = [u, v, (radius * radius - u * u - v * v).max(0.0).sqrt()];
            let n = unit(mirror(side, local));
            let p = place(side, local);
            let light = irradiance(add(p, scale(n, 0.2)), n, [0.38, 0.20, 0.14]);
            let color = std::array::from_fn(|c| [0.53, 0.29, 0.21][c] * light[c]);
            dabs.push(Dab::disc(Part::UpperLid, p, n, 0.66 * spacing, color));
        }
    }
    dabs
}

/// Lashes: two pieces each, curved outwards and up (down at the lower lid).
pub fn lashes(count: usize, random: &mut Random) -> Vec<Dab> {
    let mut dabs = Vec::with_capacity(count);
    while dabs.len() + 1 < count {
        let side = if random.unit() < 0.5 { 1.0 } else { -1.0 };
        let upper = random.unit() < 0.85;
        let u = random.range(-1.0, 1.3);
        let (top, bottom) = lid_edges(u).unwrap_or((0.0, 0.0));
        let v = if upper { top + 0.01 } else { bottom - 0.02 };
        let root = [u, v, ((LID_RADIUS + 0.03).powi(2) - u * u - v * v).max(0.0).sqrt()];
        let rise = if upper { 0.55 } else { -0.5 };
        let mut direction =
            unit([0.42 * u + random.range(-0.12, 0.12), 0.3 * rise + if upper { 0.0 } else { -0.5 }, 0.9]);
        let length = if upper { random.range(0.26, 0.4) * (0.75 + 0.2 * u) } else { random.range(0.16, 0.24) };
        let mut tip = root;
        for _ in 0..2 {
            let middle = add(tip, scale(direction, 0.25 * length));
            tip = add(tip, scale(direction, 0.5 * length));
            let part = if upper { Part::UpperLid } else { Part::LowerLid };
            let sigma = [0.2 * length, if upper { 0.014 } else { 0.007 }];
            let mut dab = Dab::hair(part, place(side, middle), mirror(side, direction), sigma, [0.016, 0.011, 0.009]);
            dab.opacity = if upper { 0.85 } else { 0.35 };
            dabs.push(dab);
            direction = unit(add(direction, [0.0, 1.1 * rise, 0.0]));
        }
    }
    dabs
}

/// Brows: short hairs along an arch, upright at the nose, lying towards the temple.
pub fn brows(count: usize, random: &mut Random) -> Vec<Dab> {
    (0..count)
        .filter_map(|_| {
            let side = if random.unit() < 0.5 { 1.0 } else { -1.0 };
            let t = random.unit();
            // densest in the middle of the arch, thinning out at both ends
            let spread = 0.27 * (1.0 - 0.75 * smoothstep(0.45, 1.0, t)) * (0.75 + 0.25 * smoothstep(0.0, 0.15, t));
            let x = mix(1.25, 5.05, t);
            let arch = 2.62 + 0.42 * smoothstep(0.0, 0.66, t) - 1.0 * smoothstep(0.6, 1.0, t) * (t - 0.45);
            let y = arch + spread * random.bell() * 0.62;
            let p = project(skin, [side * x, y, mix(8.75, 6.6, t * t)])?;
            let n = normal(skin, p);
            let lean = smoothstep(0.0, 0.3, t);
            let direction =
                [side * mix(0.25, 1.0, lean), mix(1.0, 0.12 - 0.45 * t + random.range(-0.12, 0.12), lean), 0.0];
            let flat = super::shape::sub(direction, scale(n, super::shape::dot(direction, n) - 0.12));
            let light = irradiance(p, n, [0.2; 3]);
            let tone = random.range(0.75, 1.25);
            let color = std::array::from_fn(|c| [0.060, 0.034, 0.021][c] * tone * (0.4 + 0.6 * light[c]));
            let mut dab = Dab::hair(Part::Skin, add(p, scale(n, 0.05)), unit(flat), [0.17, 0.021], color);
            dab.opacity = 0.72;
            Some(dab)
        })
        .collect()
}
