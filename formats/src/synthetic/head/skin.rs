//! Skin, lips, the inside of the mouth, and the shirt.

use rayon::prelude::*;

use super::{
    Dab, Part,
    light::irradiance,
    scatter::{Surface, darts},
    shape::{
        BUST_END, EYE, LID_RADIUS, MOUTH_HALF_WIDTH, MOUTH_HEIGHT, V, add, cloth, ear_bowl, hair_amount, length,
        lid_edges, lip_borders, mix, mouth_line, neckline, noise, normal, scale, smoothstep, sub,
    },
};
use crate::synthetic::Random;

/// How far light creeps around the terminator in skin: most in red.
const SKIN_WRAP: V = [0.38, 0.20, 0.14];

/// Position relative to the eye on the point's own side, x counted towards the temple.
pub fn eye_local(p: V) -> V {
    [p[0].abs() - EYE[0], p[1] - EYE[1], p[2] - EYE[2]]
}

/// True where the lids leave the eyeball free, widened by `margin`.
pub fn in_eye_opening(p: V, margin: f64) -> bool {
    let e = eye_local(p);
    e[2] > 0.3 && lid_edges(e[0]).is_some_and(|(upper, lower)| e[1] < upper + margin && e[1] > lower - margin)
}

/// Splats per area, relative to the scalp.
fn skin_density(p: V) -> f64 {
    if p[1] < neckline(p) - 2.2 || p[1] < BUST_END || in_eye_opening(p, 0.0) {
        return 0.0;
    }
    let front = smoothstep(2.0, 6.0, p[2]) * smoothstep(-12.0, -9.0, p[1]);
    let mut density = mix(2.2, 7.0, front);
    let near = |center: V, inner: f64, outer: f64| {
        1.0 - smoothstep(inner, outer, length(sub([p[0].abs(), p[1], p[2]], center)))
    };
    density = density.max(26.0 * near(EYE, 1.6, 2.4));
    density = density.max(20.0 * near([1.0, MOUTH_HEIGHT, 8.6], 1.3, 2.4));
    density = density.max(14.0 * near([0.4, -2.9, 9.6], 1.3, 2.4));
    density = density.max(10.0 * near([7.6, 0.0, -1.3], 2.2, 3.4));
    mix(density, 1.0, smoothstep(0.4, 1.0, hair_amount(p)) * (1.0 - near([7.6, 0.0, -1.3], 2.0, 3.2)))
}

/// Skin of face, neck, ears and scalp.
pub fn skin(count: usize, random: &mut Random) -> Vec<Dab> {
    let surface = Surface::new(super::shape::skin, skin_density, [-11.0, -20.5, -13.0], [11.0, 13.0, 12.0]);
    let points = surface.scatter(count, random);
    points
        .into_par_iter()
        .map(|(p, spacing)| {
            let n = normal(super::shape::skin, p);
            let (albedo, gloss) = paint(p);
            let light = irradiance(p, n, SKIN_WRAP);
            let scalp = 1.0 - 0.6 * hair_amount(p);
            let color = std::array::from_fn(|c| albedo[c] * light[c] * scalp);
            let brightness = light[1].min(1.4);
            let mut dab = Dab::disc(Part::Skin, p, n, 0.66 * spacing, color);
            dab.gloss = gloss * brightness * scalp;
            dab
        })
        .collect()
}

/// Colour that the skin reflects, and the strength of its gloss.
fn paint(p: V) -> (V, f64) {
    let mirrored = [p[0].abs(), p[1], p[2]];
    let near = |center: V, reach: f64| 1.0 - smoothstep(0.25, 1.0, length(sub(mirrored, center)) / reach);
    let tint = |color: V, by: V, amount: f64| -> V { std::array::from_fn(|c| color[c] * mix(1.0, by[c], amount)) };

    let mut color = [0.60, 0.365, 0.265];
    let blotches = 0.6 * noise(scale(p, 0.45), 11) + 0.4 * noise(scale(p, 1.3), 12);
    color = tint(color, [1.06, 1.09, 1.12], 0.5 * blotches);
    let pores = noise(scale(p, 7.0), 13);
    color = tint(color, [1.06; 3], pores);

    // blood near the surface: cheeks, nose, ears, chin
    let blush = (0.75 * near([4.3, -2.3, 6.4], 3.2))
        .max(0.7 * near([0.0, -3.0, 9.9], 1.9))
        .max(0.75 * near([8.2, 0.2, -1.4], 3.4))
        .max(0.35 * near([0.0, -9.4, 7.4], 2.2));
    color = tint(color, [1.06, 0.80, 0.78], blush);
    // freckles across nose and cheeks
    let freckle = smoothstep(0.42, 0.62, noise(scale(p, 3.4), 14)) * near([2.2, -1.6, 8.0], 3.6);
    color = tint(color, [0.78, 0.68, 0.60], 0.65 * freckle);

    let e = eye_local(p);
    if e[2] > -0.5 {
        // thin skin around the eyes, a fold above the upper lid, lids a little darker at their edge
        let around = 1.0 - smoothstep(1.2, 2.3, length([e[0], e[1] * 1.35, 0.0]));
        color = tint(color, [0.90, 0.80, 0.80], 0.8 * around);
        let (upper, lower) = lid_edges(e[0].clamp(-1.28, 1.32)).unwrap_or((0.0, 0.0));
        let fold = e[1] - (upper + 0.34 - 0.05 * e[0]);
        let inside = 1.0 - smoothstep(1.2, 1.6, e[0].abs());
        color = tint(color, [0.52, 0.42, 0.40], 0.85 * inside * (1.0 - smoothstep(0.03, 0.15, fold.abs())));
        let edge = (e[1] - upper).abs().min((e[1] - lower).abs());
        color = tint(color, [0.72, 0.52, 0.50], 0.7 * inside * (1.0 - smoothstep(0.02, 0.2, edge)));
    }

    let mut gloss = 0.07 + 0.07 * near([0.0, -1.5, 9.6], 2.6) + 0.05 * near([0.0, 5.0, 8.0], 3.5);
    if p[2] > 5.5 && p[0].abs() < MOUTH_HALF_WIDTH + 0.3 {
        let (upper, lower) = lip_borders(p[0]);
        let line = mouth_line(p[0]);
        let end = 1.0 - smoothstep(MOUTH_HALF_WIDTH - 0.25, MOUTH_HALF_WIDTH + 0.1, p[0].abs());
        let lip =
            smoothstep(lower - 0.09, lower + 0.09, p[1]) * (1.0 - smoothstep(upper - 0.09, upper + 0.09, p[1])) * end;
        let red = if p[1] > line { [0.46, 0.165, 0.155] } else { [0.54, 0.20, 0.185] };
        let lines = 1.0 + 0.10 * noise([p[0] * 6.0, p[1] * 0.7, 0.0], 15);
        color = std::array::from_fn(|c| mix(color[c], red[c] * lines, 0.9 * lip));
        let seam = (1.0 - smoothstep(0.04, 0.17, (p[1] - line).abs())) * end;
        color = tint(color, [0.30, 0.20, 0.20], 0.95 * seam);
        let corner = near([MOUTH_HALF_WIDTH, mouth_line(MOUTH_HALF_WIDTH), 7.6], 0.6);
        color = tint(color, [0.70, 0.60, 0.60], corner);
        gloss = mix(gloss, 0.22, lip);
    }
    color = tint(color, [0.42, 0.26, 0.22], 0.8 * ear_bowl(p));
    let nostril = near([0.55, -3.75, 9.2], 0.62);
    color = tint(color, [0.35, 0.22, 0.20], nostril);
    (color, gloss)
}

/// Cavity and teeth, hidden while the mouth is closed.
pub fn mouth(count: usize, random: &mut Random) -> Vec<Dab> {
    let teeth = count / 2;
    let mut dabs = Vec::with_capacity(count);
    // dental arches: upper and lower, by angle and height
    for (point, spacing) in darts(teeth, 0.5, || Some(([random.range(-2.0, 2.0), random.range(-1.0, 1.0), 0.0], 1.0))) {
        let (x, upper) = (point[0], point[1] > 0.0);
        let depth = 7.75 - 0.42 * x * x;
        // upper teeth overlap the lower ones a little, in front of them
        let y = MOUTH_HEIGHT + if upper { -0.35 + 0.85 * point[1] } else { -0.2 + 0.75 * point[1] };
        let depth = if upper { depth } else { depth - 0.25 };
        let n = super::shape::unit([0.7 * x, 0.0, 1.0]);
        let gap = (x * 1.45).abs().fract();
        let shade = (0.5 + 0.3 * smoothstep(0.0, 0.2, gap.min(1.0 - gap))) * (1.0 - 0.12 * x * x);
        let part = if upper { Part::UpperMouth } else { Part::LowerMouth };
        dabs.push(Dab::disc(part, [x, y, depth], n, 0.6 * spacing, [0.72 * shade, 0.66 * shade, 0.56 * shade]));
    }
    let cavity = count - teeth;
    for (point, spacing) in darts(cavity, 1.0, || Some(([random.range(-2.8, 2.8), random.range(-1.6, 1.6), 0.0], 1.0)))
    {
        // the palate reaches down behind the tongue, which the jaw carries away
        let palate = point[1] > 0.0;
        let depth = if palate { 5.9 } else { 6.7 } - 0.25 * point[0] * point[0];
        let part = if palate { Part::UpperMouth } else { Part::LowerMouth };
        let height = if palate { 1.7 * point[1] - 2.0 } else { point[1] };
        let center = [point[0], MOUTH_HEIGHT + height, depth];
        let tongue = if palate { 0.0 } else { 1.0 - smoothstep(-1.4, -0.2, point[1]) };
        let color = [mix(0.05, 0.24, tongue), mix(0.012, 0.07, tongue), mix(0.012, 0.065, tongue)];
        dabs.push(Dab::disc(part, center, [0.0, 0.0, 1.0], 0.7 * spacing, color));
    }
    dabs
}

/// A knitted shirt over the shoulders.
pub fn shirt(count: usize, random: &mut Random) -> Vec<Dab> {
    fn density(p: V) -> f64 {
        if p[1] < BUST_END - 1.2 || p[1] > neckline(p) + 1.5 {
            return 0.0;
        }
        1.0 + 2.0 * (1.0 - smoothstep(0.6, 2.0, (p[1] - neckline(p)).abs()))
    }
    let surface = Surface::new(cloth, density, [-19.0, BUST_END - 1.2, -13.0], [19.0, -13.0, 8.0]);
    surface
        .scatter(count, random)
        .into_par_iter()
        .map(|(p, spacing)| {
            let n = normal(cloth, p);
            let light = irradiance(add(p, scale(n, 0.45)), n, [0.1; 3]);
            // rows of stitches run around the body
            let around = p[0].atan2(p[2] + 3.0) * 14.0;
            let stitch = 0.5 + 0.5 * (around * 2.2).sin() * (p[1] * 5.0 + 0.5 * (around * 2.2).cos()).sin();
            let tone = 0.72 + 0.36 * stitch + 0.12 * noise(scale(p, 0.8), 21);
            let color = std::array::from_fn(|c| [0.075, 0.150, 0.185][c] * tone * light[c]);
            let mut dab = Dab::disc(Part::Shirt, p, n, 0.68 * spacing, color);
            dab.opacity = 0.96 * smoothstep(BUST_END - 1.2, BUST_END - 0.2, p[1]);
            dab.opacity = dab.opacity.max(0.01);
            dab
        })
        .collect()
}

/// Used by the rig: distance of a point from the surface of the lids.
pub fn on_lid(p: V) -> f64 {
    (length(eye_local(p)) - LID_RADIUS).abs()
}
