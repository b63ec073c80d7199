//! Hair, brows and lashes of a head from a file.

use gav_formats::synthetic::{
    Random,
    head::{
        light::strand,
        shape::{V, add, cross, dot, hair_amount, length, mix, noise, scale, smoothstep, sub, unit},
    },
};
use rayon::prelude::*;

use super::{
    bind::{Anchor, Finder},
    ict::{Ict, MOUTH_SOCKET, light, procedural},
    paint::metric,
    template::METRES,
    truth::{Point, across, axes, on_face},
};

/// Where hair grows.
pub(super) struct Hairs<'a> {
    pub head: &'a Ict,
    pub finder: &'a Finder<'a>,
    pub normals: &'a [V],
}

/// Pieces of a strand of the scalp.
const PIECES: usize = 7;

impl Hairs<'_> {
    /// A piece of hair from `from` to `to`, tied to the skin below `root`.
    fn piece(&self, root: V, [from, to]: [V; 2], width: f64, color: V, opacity: f64) -> Option<Point> {
        let center = scale(add(from, to), 0.5);
        let (face, weights) = self.finder.nearest(root)?;
        let corners = self.head.parts.faces[face as usize];
        let foot = on_face(&self.head.vertices, corners, weights);
        let n = unit(on_face(self.normals, corners, weights));
        let offset = sub(center, foot);
        let height = dot(offset, n);
        let along = unit(sub(to, from));
        let normal = unit(cross(along, across(along)));
        let anchor = Anchor {
            face,
            weights: weights.map(|w| w as f32),
            height: height as f32,
            rest: sub(offset, scale(n, height)).map(|v| v as f32),
        };
        Some(Point {
            anchor: metric(anchor),
            axes: axes(along, normal, scale([0.5 * length(sub(to, from)), width, width], METRES)),
            normal,
            color,
            opacity,
            gloss: 0.0,
            disc: false,
            one_sided: false,
            folds: Vec::new(),
        })
    }

    /// Short hair that lies backwards and down.
    pub(super) fn scalp(&self, count: usize, seed: u64) -> Vec<Point> {
        let strands = count / PIECES;
        let parts = &self.head.part;
        let roots: Vec<usize> = (0..parts.len())
            .filter(|v| parts[*v] < MOUTH_SOCKET && hair_amount(procedural(self.head.vertices[*v])) > 0.2)
            .collect();
        if roots.is_empty() {
            return Vec::new();
        }
        let grow = |k: usize| {
            let mut random = Random::new(seed.wrapping_mul(0x9E37_79B9).wrapping_add(7 * k as u64 + 1));
            // vertices lie about as densely everywhere on the scalp
            let vertex = roots[(random.unit() * roots.len() as f64) as usize % roots.len()];
            let spread = scale(random.direction(), random.range(0.0, 0.8));
            let start = add(self.head.vertices[vertex], spread);
            let Some((face, weights)) = self.finder.nearest(start) else { return Vec::new() };
            let corners = self.head.parts.faces[face as usize];
            let root = on_face(&self.head.vertices, corners, weights);
            let n = unit(on_face(self.normals, corners, weights));
            let q = procedural(root);
            // ears are beside the skull
            if hair_amount(q) < 0.15 || root[0].abs() > 7.4 && root[1] < 7.0 {
                return Vec::new();
            }
            let tone = random.range(0.65, 1.35) * (1.0 + 0.3 * noise(scale(q, 0.9), 44));
            let wave = scale([noise(scale(q, 0.5), 45), noise(scale(q, 0.5), 46), noise(scale(q, 0.5), 47)], 0.5);
            let top = smoothstep(6.0, 12.0, root[1]);
            let flow = add([0.35 * root[0].signum() * (1.0 - top), -1.0 + 0.9 * top, -0.55 - 0.3 * top], wave);
            let depth = random.unit();
            let full = mix(1.4, 3.0, top) * random.range(0.7, 1.2);
            let (mut at, mut out) = (add(root, scale(n, 0.05)), Vec::new());
            for piece in 0..PIECES {
                let t = (piece as f64 + 0.5) / PIECES as f64;
                let flat = unit(sub(flow, scale(n, dot(flow, n))));
                // up from the skin at first, then along it; the head's curve bends it down
                let rise = mix(0.9, -0.15, smoothstep(0.0, 0.45, t)) * mix(0.6, 1.2, depth);
                let next = add(at, scale(unit(add(flat, scale(n, rise - 0.25 * t))), full / PIECES as f64));
                let (s, shine) = strand(unit(sub(next, at)));
                let outer = mix(0.35, 1.0, depth) * mix(0.5, 1.0, smoothstep(0.0, 0.4, t));
                let lit = light(n);
                let color: V = std::array::from_fn(|c| {
                    let pigment = [0.085, 0.052, 0.034][c] * tone;
                    outer * lit[c] * (pigment * (0.4 + 0.6 * s) + 0.07 * shine * depth)
                });
                let width = 0.034 * mix(1.0, 0.6, t) * (14_000.0 / strands.max(1) as f64).sqrt().clamp(1.0, 6.0);
                out.extend(self.piece(root, [at, next], width, color, 0.9));
                at = next;
            }
            out
        };
        (0..strands).into_par_iter().flat_map_iter(grow).collect()
    }

    /// Brows along the landmarks 17 to 26.
    pub(super) fn brows(&self, count: usize, seed: u64) -> Vec<Point> {
        let mut random = Random::new(seed.wrapping_add(611));
        let hair = |_| {
            let left = random.unit() < 0.5;
            let line: Vec<V> = if left { (22..27).collect::<Vec<_>>() } else { (17..22).rev().collect() }
                .into_iter()
                .map(|k: usize| self.head.landmark(k))
                .collect();
            let (t, spread) = (random.unit(), random.bell());
            let k = ((t * 4.0) as usize).min(3);
            let f = t * 4.0 - k as f64;
            let p: V = std::array::from_fn(|c| mix(line[k][c], line[k + 1][c], f));
            let thin = 0.13 * (1.0 - 0.7 * smoothstep(0.45, 1.0, t));
            let p = add(p, [0.0, thin * spread - 0.05, 0.3]);
            let (face, weights) = self.finder.nearest(p)?;
            let corners = self.head.parts.faces[face as usize];
            let n = unit(on_face(self.normals, corners, weights));
            let root = add(on_face(&self.head.vertices, corners, weights), scale(n, 0.04));
            let side = if left { 1.0 } else { -1.0 };
            let lean = smoothstep(0.0, 0.35, t);
            let direction =
                [side * mix(0.3, 1.0, lean), mix(1.0, 0.1 - 0.4 * t, lean) + random.range(-0.15, 0.15), 0.0];
            let along = unit(add(sub(direction, scale(n, dot(direction, n))), scale(n, 0.18)));
            let color = scale([0.055, 0.034, 0.023], random.range(0.6, 1.3));
            self.piece(root, [root, add(root, scale(along, random.range(0.28, 0.45)))], 0.016, color, 0.7)
        };
        (0..count).filter_map(hair).collect()
    }

    /// Lashes along the upper lids (landmarks 36 to 39 and 42 to 45).
    pub(super) fn lashes(&self, count: usize, seed: u64) -> Vec<Point> {
        let mut random = Random::new(seed.wrapping_add(612));
        let hair = |_| {
            let first = if random.unit() < 0.5 { 36 } else { 42 };
            let t = 3.0 * random.unit();
            let k = (t as usize).min(2);
            let (a, b) = (self.head.landmark(first + k), self.head.landmark(first + k + 1));
            let root: V = std::array::from_fn(|c| mix(a[c], b[c], t - k as f64));
            let out = if first == 36 { -1.0 } else { 1.0 };
            let spread = t / 1.5 - 1.0;
            let along = unit([0.45 * spread + 0.1 * out, 0.35 + random.range(0.0, 0.3), 0.85]);
            let tip = add(root, scale(along, random.range(0.22, 0.4)));
            self.piece(root, [root, tip], 0.009, [0.014, 0.010, 0.008], 0.85)
        };
        (0..count).filter_map(hair).collect()
    }
}
