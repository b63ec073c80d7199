//! The splats of the procedural head: those of [`gav_formats::synthetic::head`] with finer skin, a mouth with teeth, and folds.

use gav_formats::synthetic::{
    Random,
    head::{
        Dab, Part, dabs,
        shape::{
            MOUTH_HALF_WIDTH, MOUTH_HEIGHT, V, add, cross, length, mix, mouth_line, noise, scale, smoothstep, sub, unit,
        },
    },
};
use rayon::prelude::*;

use super::{
    bind::{Anchor, Finder, vertex_normals},
    grid::{Grid, Region},
    inside::arch,
    template::METRES,
    truth::{Point, across, axes, on_face},
    wrinkles::{self, FOLDS},
};

/// Cells of the search for triangles, cm.
const CELL: f64 = 0.7;

/// About `count` splats over the mesh of `grid`.
pub(super) fn head(grid: &Grid, count: usize, seed: u64) -> Vec<Point> {
    let normals = vertex_normals(&grid.vertices, &grid.faces);
    let finder = |is: &dyn Fn(Region) -> bool| Finder::new(&grid.vertices, &grid.faces, CELL, |f| is(grid.regions[f]));
    let outer = |r: Region| {
        !matches!(
            r,
            Region::UpperInside | Region::LowerInside | Region::Eye(_) | Region::UpperTeeth | Region::LowerTeeth
        )
    };
    let above = finder(&|r| outer(r) && r != Region::BelowMouth);
    let below = finder(&|r| outer(r) && r != Region::AboveMouth);
    let of = |region: Region| finder(&move |r| r == region);
    let (upper_teeth, lower_teeth) = (of(Region::UpperTeeth), of(Region::LowerTeeth));
    let eyes = [false, true].map(|left| of(Region::Eye(left)));
    let upper_lids = [false, true].map(|left| of(Region::UpperLid(left)));
    let lower_lids = [false, true].map(|left| of(Region::LowerLid(left)));

    let mut all = dabs(count, seed);
    // the mouth is made here; discs of the upper lid are skin folded away, which the mesh draws out instead
    let is_hair = |dab: &Dab| dab.sigma[0] != dab.sigma[1];
    all.retain(|dab| {
        !matches!(dab.part, Part::UpperMouth | Part::LowerMouth) && (dab.part != Part::UpperLid || is_hair(dab))
    });
    all.extend(mouth(count / 25, seed));
    let tints = Tints::new(seed);
    let mut points: Vec<Point> = all
        .par_iter()
        .filter_map(|dab| {
            let p = dab.center;
            let left = usize::from(p[0] > 0.0);
            let at_mouth = p[0].abs() < MOUTH_HALF_WIDTH + 0.2 && p[2] > 5.0;
            let finder = match dab.part {
                Part::EyeRight => &eyes[1],
                Part::EyeLeft => &eyes[0],
                Part::UpperLid => &upper_lids[left],
                Part::LowerLid => &lower_lids[left],
                Part::UpperMouth => &upper_teeth,
                Part::LowerMouth => &lower_teeth,
                Part::Skin if at_mouth && p[1] < mouth_line(p[0].clamp(-MOUTH_HALF_WIDTH, MOUTH_HALF_WIDTH)) => &below,
                _ => &above,
            };
            let anchor = finder.anchor(p, &normals)?;
            Some(point(dab, anchor, &tints))
        })
        .collect();
    points.extend(inside_lips(grid, count / 60, seed));
    points
}

/// What distinguishes the colours of two people, as factors.
pub(super) struct Tints {
    skin: V,
    hair: V,
    shirt: V,
}

impl Tints {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_add(2_718));
        // melanin takes blue before red
        let (skin, hair, red) = (random.range(0.5, 1.08), random.range(0.35, 1.5), random.range(0.85, 1.25));
        Self {
            skin: [skin, skin * (0.25 + 0.75 * skin), skin * (0.4 + 0.6 * skin) * (0.25 + 0.75 * skin)],
            hair: [hair * red, hair, hair],
            shirt: [0; 3].map(|_| random.range(0.4, 2.0)),
        }
    }

    /// Of skin.
    pub(super) fn skin(&self) -> V {
        self.skin
    }
}

pub(super) fn metric(anchor: Anchor) -> Anchor {
    let metres = METRES as f32;
    Anchor { height: anchor.height * metres, rest: anchor.rest.map(|v| v * metres), ..anchor }
}

pub(super) fn point(dab: &Dab, anchor: Anchor, tints: &Tints) -> Point {
    let disc = dab.sigma[0] == dab.sigma[1] && dab.part != Part::Hair;
    let skin = disc && dab.part == Part::Skin;
    let mut folds = Vec::new();
    if skin {
        for (k, set) in FOLDS.iter().enumerate() {
            if let Some((depth, slope)) = wrinkles::at(set, dab.center, dab.normal) {
                folds.push((k as u8, depth, scale(slope, set.size)));
            }
        }
    }
    let tone = if skin { texture(dab.center) } else { [1.0; 3] };
    let tint = match dab.part {
        Part::Skin if disc => tints.skin,
        Part::Skin | Part::Hair => tints.hair,
        Part::Shirt => tints.shirt,
        Part::UpperLid | Part::LowerLid => tints.skin,
        _ => [1.0; 3],
    };
    Point {
        anchor: metric(anchor),
        axes: axes(dab.along, dab.normal, scale(dab.sigma, METRES)),
        normal: dab.normal,
        color: std::array::from_fn(|c| dab.color[c] * tone[c] * tint[c]),
        opacity: dab.opacity,
        gloss: dab.gloss,
        disc,
        one_sided: disc && dab.part != Part::Shirt,
        folds,
    }
}

/// What fine skin adds to its colour: pores, moles, a shadow of beard.
pub(super) fn texture(p: V) -> V {
    let pores = 1.0 + 0.075 * noise(scale(p, 9.0), 71) + 0.05 * noise(scale(p, 4.2), 72);
    let mut color = [pores; 3];
    // one cell in thirty has a mole somewhere in it
    let cell = p.map(|v| (v / 1.6).floor());
    let draw = |k: u64| 0.5 + 0.5 * noise(add(cell, [0.5, 0.5, 0.5 + 7.0 * k as f64]), 73 + k);
    if draw(0) > 0.66 {
        let center: V = std::array::from_fn(|k| 1.6 * (cell[k] + draw(k as u64 + 1)));
        let mole = smoothstep(0.13, 0.06, length(sub(p, center)));
        color = std::array::from_fn(|c| color[c] * mix(1.0, [0.42, 0.30, 0.26][c], mole));
    }
    // the beard grows around the mouth, on the jaw and the upper throat
    let jaw =
        smoothstep(-3.6, -6.0, p[1] - 0.25 * p[0].abs()) * smoothstep(-13.0, -10.5, p[1]) * smoothstep(-2.0, 1.5, p[2]);
    let lips = length([p[0] / 1.15, 1.5 * (p[1] - MOUTH_HEIGHT), 0.0]);
    let beard = jaw * smoothstep(1.9, 2.5, lips) * (0.75 + 0.5 * noise(scale(p, 0.8), 78));
    let stubble = smoothstep(0.05, 0.55, noise(scale(p, 11.0), 79));
    std::array::from_fn(|c| {
        color[c]
            * mix(1.0, [0.80, 0.83, 0.86][c], beard.clamp(0.0, 1.0))
            * mix(1.0, 0.66, beard.clamp(0.0, 1.0) * stubble)
    })
}

/// Teeth, gums, tongue and the dark behind them.
fn mouth(count: usize, seed: u64) -> Vec<Dab> {
    const TEETH: f64 = 12.0;
    let mut random = Random::new(seed.wrapping_mul(0x9E37_79B9).wrapping_add(501));
    let mut out = Vec::with_capacity(count);
    let disc = |part, center: V, normal: V, sigma: f64, color: V, gloss: f64| Dab {
        part,
        center,
        along: across(normal),
        normal,
        sigma: [sigma, sigma, 0.25 * sigma],
        color,
        opacity: 0.96,
        gloss,
    };
    let each = count / 3;
    // an arch is about 7 cm long and 1.3 cm high with its gums
    let sigma = 0.75 * (7.0f64 * 1.3 / each.max(1) as f64).sqrt();
    for lower in [false, true] {
        let part = if lower { Part::LowerMouth } else { Part::UpperMouth };
        for _ in 0..each {
            let (t, h) = (random.range(-1.0, 1.0), random.unit());
            let base = arch(t, lower);
            let ahead = sub(arch(t + 0.01, lower), base);
            let outward = unit(cross([0.0, 1.0, 0.0], ahead)).map(|v| -v);
            let outward = if outward[2] < 0.0 { scale(outward, -1.0) } else { outward };
            let tooth = (t + 1.0) * 0.5 * TEETH;
            let within = 2.0 * tooth.fract() - 1.0;
            let length = if lower { 0.62 } else { 0.8 }
                * (1.0 - 0.15 * ((tooth.floor() as i64) % 2) as f64 * f64::from(u8::from(!lower)));
            let along = mix(-0.12, 1.1, h);
            // gums reach down between the teeth, edges are rounded
            let gum = length - 0.16 * within.abs().powi(3);
            if along < -0.12 + 0.12 * within.powi(4) {
                continue;
            }
            let bulge = 0.07 * (1.0 - within * within);
            let up = if lower { -along - 0.15 } else { along };
            let center = add(add(base, scale(outward, bulge)), [0.0, up, 0.0]);
            let normal = unit(add(outward, scale(unit(ahead), 0.55 * within)));
            let dim = mix(1.0, 0.35, smoothstep(0.25, 1.0, t.abs()));
            let color = if along > gum {
                scale([0.40, 0.135, 0.125], 0.75 * dim)
            } else {
                let gap = smoothstep(1.0, 0.86, within.abs());
                let tone = 1.0 + 0.06 * noise([tooth.floor(), 3.0, 0.5], 81);
                scale(
                    [0.70, 0.635, 0.52],
                    dim * tone * mix(0.35, 0.92, gap) * mix(1.0, 0.86, smoothstep(0.3, 0.7, along)),
                )
            };
            out.push(disc(part, center, normal, sigma, color, if along > gum { 0.1 } else { 0.22 }));
        }
    }
    // tongue on the jaw, and a dark bag of which palate and floor part when the jaw opens
    let rest = count - 2 * each;
    let (tongue, bag) = (rest / 3, rest - rest / 3);
    for k in 0..tongue {
        let d = spiral(k, tongue);
        let d = [d[0], d[1].abs(), d[2]];
        let center = add([0.0, -7.25, 5.2], [1.75 * d[0], 0.75 * d[1], 1.75 * d[2]]);
        let n = unit([d[0] / 1.75, d[1] / 0.75, d[2] / 1.75]);
        let rough = 1.0 + 0.25 * noise(scale(center, 6.0), 82);
        let color = scale([0.30, 0.095, 0.09], rough * mix(0.35, 1.0, smoothstep(4.0, 6.8, center[2])));
        out.push(disc(Part::LowerMouth, center, n, 0.9 * (14.0 / tongue as f64).sqrt(), color, 0.1));
    }
    let sigma = 0.85 * (100.0 / bag.max(1) as f64).sqrt();
    for k in 0..bag {
        let d = spiral(k, bag);
        let center = add([0.0, -6.2, 4.6], [3.5 * d[0], 2.4 * d[1], 3.7 * d[2]]);
        if center[2] > 7.5 {
            continue;
        }
        let color = scale([0.085, 0.022, 0.02], mix(0.3, 1.0, smoothstep(3.0, 6.5, center[2])));
        // the part on the head must not come out under the lower lip of an open mouth
        for (part, there) in
            [(Part::UpperMouth, center[1] > -7.0 || center[2] < 5.0), (Part::LowerMouth, center[1] < -6.0)]
        {
            if there {
                out.push(disc(part, center, scale(d, -1.0), sigma, color, 0.0));
            }
        }
    }
    out
}

/// Direction `k` of `count` that are spread evenly over the sphere (a Fibonacci lattice).
fn spiral(k: usize, count: usize) -> V {
    let y = 1.0 - 2.0 * (k as f64 + 0.5) / count as f64;
    let (s, c) = (k as f64 * 2.399_963_229_728_653).sin_cos();
    let radius = (1.0 - y * y).sqrt();
    [radius * c, y, radius * s]
}

/// The wet side of the lips, which an open mouth shows.
fn inside_lips(grid: &Grid, count: usize, seed: u64) -> Vec<Point> {
    let mut random = Random::new(seed.wrapping_mul(0x9E37_79B9).wrapping_add(502));
    let inside: Vec<usize> = (0..grid.faces.len())
        .filter(|f| matches!(grid.regions[*f], Region::UpperInside | Region::LowerInside))
        .filter(|f| grid.vertices[grid.faces[*f][0] as usize][1] < -2.0)
        .collect();
    if inside.is_empty() {
        return Vec::new();
    }
    let each = (count / inside.len()).max(2);
    let mut out = Vec::new();
    for face in inside {
        let corners = grid.faces[face];
        let [a, b, c] = corners.map(|v| grid.vertices[v as usize]);
        let n = cross(sub(b, a), sub(c, a));
        let sigma = 0.8 * (0.5 * length(n) / each as f64).sqrt();
        for _ in 0..each {
            let (mut u, mut v) = (random.unit(), random.unit());
            if u + v > 1.0 {
                (u, v) = (1.0 - u, 1.0 - v);
            }
            let weights = [1.0 - u - v, u, v];
            let p = on_face(&grid.vertices, corners, weights);
            let line = mouth_line(p[0].clamp(-MOUTH_HALF_WIDTH, MOUTH_HALF_WIDTH));
            let deep = smoothstep(0.0, 0.7, (p[1] - line).abs());
            let color = scale([0.38, 0.12, 0.115], mix(0.85, 0.22, deep));
            out.push(Point {
                anchor: metric(Anchor {
                    face: face as u32,
                    weights: weights.map(|w| w as f32),
                    height: 0.0,
                    rest: [0.0; 3],
                }),
                axes: axes(across(unit(n)), unit(n), scale([sigma, sigma, 0.2 * sigma], METRES)),
                normal: unit(n),
                color,
                opacity: 0.95,
                gloss: 0.0,
                disc: false,
                one_sided: false,
                folds: Vec::new(),
            });
        }
    }
    out
}
