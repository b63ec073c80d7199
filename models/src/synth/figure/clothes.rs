//! The splats of a dressed person: a checked shirt, denim, shoes and hands over the form, and the head of [`gav_formats::synthetic::head`].

use gav_formats::synthetic::{
    Random,
    head::{
        Part, dabs,
        light::{FILL, FILL_COLOR, GROUND, KEY, KEY_COLOR, SKY},
        shape::{V, add, cross, dot, length, mix, noise, normal, project, scale, smoothstep, sub, unit},
    },
};
use rayon::prelude::*;

use super::{
    super::{
        bind::{Finder, vertex_normals},
        paint::{self, Tints, metric},
        template::METRES,
        truth::{Point, across, axes, on_face},
        wrinkles,
    },
    creases::{CREASES, relief},
    form::{
        CUFF, Cover, ELBOW, HEAD, KNEE, SHIRT_HEM, SHOULDER, WRIST, arm_axis, bare, collar, cover, forearm_axis,
        in_hand, mirrored, person,
    },
    net::net,
};

/// Cells of the search for triangles, and of the surface of the hands, cm.
const CELL: f64 = 2.5;
const FINE: f64 = 0.7;
/// Share of the splats that the head takes.
const HEAD_SHARE: f64 = 0.24;
/// Standard deviation of a disc as a multiple of the distance to the next one.
const WIDTH: f64 = 0.74;
/// Reflected colour of skin, as that of the head.
const SKIN: V = [0.60, 0.365, 0.265];

/// About `count` splats over the mesh.
pub(super) fn points(vertices: &[V], faces: &[[u32; 3]], count: usize, seed: u64) -> Vec<Point> {
    let normals = vertex_normals(vertices, faces);
    let tints = Tints::new(seed);
    let wardrobe = Wardrobe::new(seed, tints.skin());
    let of_head = (count as f64 * HEAD_SHARE) as usize;
    let above = |face: usize| faces[face].iter().all(|v| vertices[*v as usize][1] > HEAD[1] - 26.0);
    let finder = Finder::new(vertices, faces, CELL, above);
    let mut points: Vec<Point> = dabs(of_head, seed)
        .par_iter()
        .filter(|dab| dab.part != Part::Shirt)
        .filter_map(|dab| {
            let center = add(dab.center, HEAD);
            // skin goes on a little under the collar
            let shown = dab.part != Part::Skin || bare(add(center, [0.0, 0.8, 0.0]));
            let anchor = finder.anchor(center, &normals).filter(|_| shown)?;
            Some(Point { folds: Vec::new(), ..paint::point(dab, anchor, &tints) })
        })
        .collect();

    let whole = Finder::new(vertices, faces, CELL, |_| true);
    let total: f64 = faces.iter().map(|face| area(vertices, face)).sum();
    let density = (count - of_head) as f64 / total;
    let sigma = WIDTH / density.sqrt();
    let wear = |p: V, hand: bool| wardrobe.point(p, sigma, &whole, &normals, hand);
    points.extend(spread(vertices, faces, density, seed, |p| wear(p, false)));
    // the mesh is too coarse for fingers
    let (low, high) = (sub(WRIST, [8.0, 22.0, 10.0]), add(WRIST, [20.0, 9.0, 10.0]));
    let (mut fine, mut faces) = net(person, low, high, FINE);
    let count = fine.len() as u32;
    fine.extend_from_within(..);
    fine[..count as usize].iter_mut().for_each(|p| p[0] = -p[0]);
    faces.extend(faces.clone().iter().map(|face| face.map(|v| v + count)));
    points.extend(spread(&fine, &faces, density, seed.wrapping_add(71), |p| wear(p, true)));
    points
}

fn area(vertices: &[V], face: &[u32; 3]) -> f64 {
    let [a, b, c] = face.map(|v| vertices[v as usize]);
    0.5 * length(cross(sub(b, a), sub(c, a)))
}

/// What `make` makes of places that are spread evenly over triangles, so many per unit of area.
fn spread(
    vertices: &[V],
    faces: &[[u32; 3]],
    density: f64,
    seed: u64,
    make: impl Fn(V) -> Option<Point> + Sync,
) -> Vec<Point> {
    let made: Vec<Vec<Point>> = faces
        .par_iter()
        .enumerate()
        .map(|(index, face)| {
            let mut random = Random::new(seed.wrapping_mul(0x9E37_79B9).wrapping_add(601 + index as u64));
            let wanted = (density * area(vertices, face) + random.unit()) as usize;
            let (u0, v0) = (random.unit(), random.unit());
            (0..wanted)
                .filter_map(|k| {
                    // evenly spread: the additive recurrence of the plastic number (Roberts 2018)
                    let (mut u, mut v) =
                        ((u0 + 0.754_877_666 * k as f64).fract(), (v0 + 0.569_840_291 * k as f64).fract());
                    if u + v > 1.0 {
                        (u, v) = (1.0 - u, 1.0 - v);
                    }
                    make(on_face(vertices, *face, [1.0 - u - v, u, v]))
                })
                .collect()
        })
        .collect();
    made.into_iter().flatten().collect()
}

/// The form with what cloth adds to it.
fn dressed(p: V) -> f64 {
    match cover(p) {
        Cover::Shirt | Cover::Trousers => person(p) - relief(p),
        _ => person(p),
    }
}

/// Light on a place at rest, with less from where the person is near.
fn light(p: V, n: V) -> V {
    let mut blocked = 0.0;
    for (reach, weight) in [(0.8, 0.35), (2.5, 0.3), (6.0, 0.25), (13.0, 0.2)] {
        blocked += weight * ((reach - person(add(p, scale(n, reach)))) / reach).clamp(0.0, 1.0);
    }
    let open = (1.0 - blocked).clamp(0.1, 1.0);
    let lambert = |towards: V, wrap: f64| ((dot(n, unit(towards)) + wrap) / (1.0 + wrap)).max(0.0);
    std::array::from_fn(|c| {
        let sky = SKY[c] * (0.5 + 0.5 * n[1]) + GROUND[c] * (0.5 - 0.5 * n[1]);
        KEY_COLOR[c] * lambert(KEY, 0.25) * (0.3 + 0.7 * open)
            + FILL_COLOR[c] * lambert(FILL, 0.4) * (0.4 + 0.6 * open)
            + sky * open
    })
}

/// 1 on a line of the given half width.
fn line(off: f64, width: f64) -> f64 {
    smoothstep(width, 0.45 * width, off.abs())
}

fn blended(a: V, b: V, t: f64) -> V {
    std::array::from_fn(|c| mix(a[c], b[c], t))
}

/// Colours of the clothes of a subject.
struct Wardrobe {
    shirt: V,
    checks: [V; 2],
    denim: V,
    shoe: V,
    skin: V,
}

impl Wardrobe {
    fn new(seed: u64, skin: V) -> Self {
        const SHIRTS: [V; 5] =
            [[0.42, 0.055, 0.05], [0.06, 0.16, 0.34], [0.08, 0.24, 0.12], [0.46, 0.36, 0.20], [0.20, 0.09, 0.26]];
        const DENIMS: [V; 3] = [[0.055, 0.085, 0.17], [0.10, 0.15, 0.25], [0.045, 0.047, 0.055]];
        const SHOES: [V; 3] = [[0.62, 0.60, 0.56], [0.05, 0.05, 0.055], [0.40, 0.07, 0.05]];
        let mut random = Random::new(seed.wrapping_add(3_141));
        let mut pick = |count: usize| (random.unit() * count as f64) as usize;
        let (shirt, denim, shoe) = (SHIRTS[pick(5)], DENIMS[pick(3)], SHOES[pick(3)]);
        Self { shirt, checks: [scale(shirt, 0.22), [0.68, 0.64, 0.55]], denim, shoe, skin }
    }

    /// The splat at a place near the surface, of hands or of anything else below the collar.
    fn point(&self, near: V, sigma: f64, finder: &Finder<'_>, normals: &[V], hand: bool) -> Option<Point> {
        let p = project(dressed, near).filter(|p| length(sub(*p, near)) < 2.5)?;
        let cover = cover(p);
        if cover == Cover::Head || (cover == Cover::Hand) != hand {
            return None;
        }
        let n = normal(dressed, p);
        let (albedo, gloss) = match cover {
            Cover::Shirt => (self.shirt(p), 0.0),
            Cover::Trousers => (self.trousers(p), 0.0),
            Cover::Shoe => (self.shoe(p), 0.08),
            _ => (self.hand(p), 0.05),
        };
        let lit = light(p, n);
        let mut folds = Vec::new();
        if matches!(cover, Cover::Shirt | Cover::Trousers) {
            for (k, set) in CREASES.iter().enumerate() {
                if let Some((depth, slope)) = wrinkles::at(set, p, n) {
                    folds.push((k as u8, depth, scale(slope, set.size)));
                }
            }
        }
        Some(Point {
            anchor: metric(finder.anchor(p, normals)?),
            axes: axes(across(n), n, scale([sigma, sigma, 0.3 * sigma], METRES)),
            normal: n,
            color: std::array::from_fn(|c| albedo[c] * lit[c]),
            opacity: 0.96,
            gloss,
            disc: true,
            one_sided: true,
            folds,
        })
    }

    /// Flannel: checks along and around trunk and sleeves, a row of buttons, seams, a pocket.
    fn shirt(&self, point: V) -> V {
        let p = mirrored(point);
        let on_arm = dot(sub(p, SHOULDER), arm_axis()) > 3.0 && p[0] > 17.5;
        let (along, around) = if on_arm {
            let t = dot(sub(p, SHOULDER), arm_axis());
            (t, 5.2 * p[2].atan2(length([p[0] - SHOULDER[0] - t * 0.68, p[1] - SHOULDER[1] + t * 0.73, 0.0]).max(1e-6)))
        } else {
            (p[1], 15.0 * point[0].atan2(p[2] + 1.5))
        };
        let band = |x: f64| smoothstep(0.28, 0.34, ((x / 8.0).rem_euclid(1.0) - 0.5).abs());
        let thin = |x: f64| line(((x / 8.0).rem_euclid(1.0) - 0.5) * 8.0, 0.38);
        let weave = 1.0 + 0.12 * noise(scale(point, 2.6), 111) + 0.06 * noise(scale(point, 0.5), 112);
        let mut color = blended(self.shirt, self.checks[0], 0.5 * (band(along) + band(around)));
        color = blended(color, self.checks[1], 0.7 * thin(along).max(thin(around)));
        let mut dark = 0.0f64;
        if on_arm {
            let cuff = dot(sub(p, ELBOW), forearm_axis()) - (CUFF - 5.0);
            dark = dark.max(line(cuff, 0.35));
        } else {
            // button band, collar, hem, yoke, pocket on the left
            if p[2] > 0.0 {
                dark = dark.max(line(point[0] - 1.7, 0.28)).max(line(point[0] + 1.7, 0.28));
                let button = length([point[0], (p[1] / 8.5).rem_euclid(1.0) * 8.5 - 4.2, 0.0]);
                color = blended(color, [0.75, 0.72, 0.66], smoothstep(0.75, 0.55, button));
                let (x, y) = ((point[0] - 8.8).abs() - 4.2, (p[1] - 126.5).abs() - 5.0);
                dark = dark.max(line(x.max(y), 0.3)).max(if x < 0.0 { line(p[1] - 129.5, 0.25) } else { 0.0 });
            }
            dark = dark.max(line(p[1] - SHIRT_HEM - 1.6, 0.25)).max(line(collar(point) - p[1] - 4.2, 0.35));
            let seam = dot(sub(p, SHOULDER), arm_axis()) - 2.4;
            dark = dark.max(if p[1] > 128.0 && p[0] > 12.0 { line(seam, 0.35) } else { 0.0 });
        }
        scale(color, weave * mix(1.0, 0.45, dark))
    }

    /// Denim: worn thighs and knees, seams with stitches, pockets.
    fn trousers(&self, point: V) -> V {
        let p = mirrored(point);
        let weave =
            1.0 + 0.22 * noise([2.4 * p[0], 0.9 * p[1], 2.4 * p[2]], 121) + 0.12 * noise(scale(point, 0.35), 122);
        let worn = smoothstep(1.0, 6.0, p[2]) * smoothstep(34.0, 48.0, p[1]) * smoothstep(88.0, 70.0, p[1])
            + 0.5 * smoothstep(12.0, 4.0, length(sub(p, add(KNEE, [0.0, 0.0, 7.0]))));
        let mut color = blended(self.denim, add(scale(self.denim, 1.6), [0.12, 0.13, 0.14]), 0.55 * worn.min(1.0));
        let middle = mix(11.6, 8.8, smoothstep(9.0, 90.0, p[1]));
        let outer = if p[0] > middle { p[2] + 1.0 } else { 9.0 };
        let inner = if p[0] < middle && p[1] < 80.0 { p[2] + 1.0 } else { 9.0 };
        let mut dark = line(outer, 0.3).max(line(inner, 0.3)).max(line(p[1] - 8.6, 0.3));
        let mut stitch = line(outer - 0.8, 0.28);
        if p[2] < -2.0 {
            let (x, y) = ((p[0] - 8.6).abs() - 5.0, (p[1] - 78.5).abs() - 5.5);
            dark = dark.max(line(x.max(y), 0.3));
            stitch = stitch.max(line(x.max(y) + 0.8, 0.28));
        } else if p[0] < 0.6 {
            dark = dark.max(line(p[0], 0.35));
        }
        color = blended(color, [0.42, 0.22, 0.07], 0.8 * stitch * smoothstep(0.2, 0.5, (1.1 * p[1]).rem_euclid(1.0)));
        scale(color, weave * mix(1.0, 0.42, dark))
    }

    /// Trainers: pale soles with grooves, a toe cap, laces.
    fn shoe(&self, point: V) -> V {
        let p = mirrored(point);
        if p[1] < 2.1 {
            let groove = line((p[2] / 1.4).rem_euclid(1.0) - 0.5, 0.2);
            return scale([0.66, 0.65, 0.62], mix(1.0, 0.6, groove * smoothstep(1.6, 1.0, p[1])));
        }
        let mut color = scale(self.shoe, 1.0 + 0.1 * noise(scale(point, 1.8), 131));
        color = blended(color, scale(self.shoe, 0.45), line(p[1] - 2.3, 0.35).max(line(p[2] - 11.5, 0.35)));
        let top = (p[0] - 12.1).abs();
        if (2.0..10.5).contains(&p[2]) && top < 2.3 {
            color = blended(color, [0.8, 0.79, 0.76], line((p[2] / 1.7).rem_euclid(1.0) - 0.5, 0.3));
        }
        let stripe = (p[2] + 0.6 * p[1] - 2.0).abs() - 1.2;
        if top > 2.8 {
            color = blended(color, self.checks[1], smoothstep(0.3, -0.1, stripe));
        }
        color
    }

    /// Skin with the gaps between the fingers, knuckles and nails.
    fn hand(&self, point: V) -> V {
        let p = mirrored(point);
        let [along, across, thick] = in_hand(p);
        let mut tone = 1.0 + 0.07 * noise(scale(point, 2.2), 141) + 0.05 * noise(scale(point, 0.8), 142);
        let fingers = smoothstep(8.4, 9.6, along) * smoothstep(5.6, 4.6, across);
        let gap =
            [-2.0, 0.0, 2.0].iter().map(|at| line(across - at * mix(1.0, 0.8, smoothstep(10.0, 18.0, along)), 0.42));
        tone *= mix(1.0, 0.42, fingers * gap.fold(0.0, f64::max));
        if thick > 0.0 {
            tone *= mix(1.0, 0.86, line(along - 12.2, 0.5).max(line(along - 14.8, 0.4)));
        }
        let mut color: V = std::array::from_fn(|c| SKIN[c] * self.skin[c] * tone);
        // tips are redder
        let red = 0.5 * smoothstep(12.0, 17.0, along);
        color = std::array::from_fn(|c| color[c] * mix(1.0, [1.04, 0.86, 0.84][c], red));
        color
    }
}
