//! What of the procedural head's mesh lies inside: the way in from lips and lids, eyeballs, teeth.

use std::f64::consts::{PI, TAU};

use gav_formats::synthetic::head::shape::{EYE, EYE_RADIUS, MOUTH_HEIGHT, V, add, mix, scale};

use super::grid::{Grid, Region};

impl Grid {
    /// Texture coordinates of vertices and faces added since: a patch of the strip along the lower edge.
    fn patch(&mut self, vertices: usize, faces: usize, left: f64, width: f64, flat: impl Fn(V) -> [f64; 2]) {
        let shift = self.uvs.len() as u32;
        let flattened: Vec<[f64; 2]> = self.vertices[vertices..].iter().map(|p| flat(*p)).collect();
        let range = |k: usize| {
            let low = flattened.iter().map(|p| p[k]).fold(f64::INFINITY, f64::min);
            let high = flattened.iter().map(|p| p[k]).fold(f64::NEG_INFINITY, f64::max);
            (low, (high - low).max(1e-9))
        };
        let ((x, w), (y, h)) = (range(0), range(1));
        self.uvs
            .extend(flattened.iter().map(|p| [(left + width * (p[0] - x) / w) as f32, (0.1 * (p[1] - y) / h) as f32]));
        let corner = |v: u32| (v as usize).checked_sub(vertices).map(|k| shift + k as u32);
        // faces that share vertices with the skin take the patch's first point there
        self.uv_faces.extend(self.faces[faces..].iter().map(|f| f.map(|v| corner(v).unwrap_or(shift))));
    }

    /// Strips from a cut inwards, which end in its corners.
    pub(super) fn inwards(&mut self, run: &[u32], lower: bool, steps: &[fn(V) -> V]) {
        let (vertices, faces) = (self.vertices.len(), self.faces.len());
        let tag = if lower { Region::LowerInside } else { Region::UpperInside };
        let mut outer = run.to_vec();
        for step in steps {
            let mut inner = outer.clone();
            for (inner, edge) in inner.iter_mut().zip(run).skip(1).take(run.len() - 2) {
                let p = step(self.vertices[*edge as usize]);
                let like = self.tags[*edge as usize];
                *inner = self.vertex(p, like);
            }
            for k in 0..run.len() - 1 {
                let [a, b, c, d] = [outer[k], outer[k + 1], inner[k], inner[k + 1]];
                for corners in [[a, c, b], [b, c, d]] {
                    // a strip of the lower lip runs the other way round
                    let corners = if lower { [corners[0], corners[2], corners[1]] } else { corners };
                    if corners[0] != corners[1] && corners[1] != corners[2] && corners[2] != corners[0] {
                        self.face(corners, tag);
                    }
                }
            }
            outer = inner;
        }
        self.patch(vertices, faces, 0.0, 0.2, |p| [p[0], p[2]]);
    }

    /// A sphere whose pole looks forwards.
    pub(super) fn eyeball(&mut self, left: bool) {
        const RINGS: usize = 9;
        const AROUND: usize = 16;
        let (vertices, faces) = (self.vertices.len(), self.faces.len());
        let side = if left { 1.0 } else { -1.0 };
        let center = [side * EYE[0], EYE[1], EYE[2]];
        let region = Region::Eye(left);
        let front = self.vertex(add(center, [0.0, 0.0, EYE_RADIUS]), region);
        for ring in 1..=RINGS {
            let (s, c) = (PI * ring as f64 / (RINGS + 1) as f64).sin_cos();
            for k in 0..AROUND {
                let (y, x) = (TAU * k as f64 / AROUND as f64).sin_cos();
                self.vertex(add(center, scale([s * x, s * y, c], EYE_RADIUS)), region);
            }
        }
        let back = self.vertex(add(center, [0.0, 0.0, -EYE_RADIUS]), region);
        let at = |ring: usize, k: usize| front + 1 + (ring * AROUND + k % AROUND) as u32;
        for k in 0..AROUND {
            self.face([front, at(0, k), at(0, k + 1)], region);
            for ring in 0..RINGS - 1 {
                self.face([at(ring, k), at(ring + 1, k), at(ring + 1, k + 1)], region);
                self.face([at(ring, k), at(ring + 1, k + 1), at(ring, k + 1)], region);
            }
            self.face([back, at(RINGS - 1, k + 1), at(RINGS - 1, k)], region);
        }
        let from = if left { 0.3 } else { 0.45 };
        self.patch(vertices, faces, from, 0.14, move |p| {
            [p[0] - 0.4 * (p[2] - center[2]), p[1] - 0.3 * (p[2] - center[2])]
        });
    }

    /// A curved strip of two rows for the front of the teeth, and one over their edge.
    pub(super) fn teeth(&mut self, lower: bool) {
        const CELLS: usize = 14;
        let (vertices, faces) = (self.vertices.len(), self.faces.len());
        let region = if lower { Region::LowerTeeth } else { Region::UpperTeeth };
        let first = self.vertices.len() as u32;
        // rows: gum, middle, edge, behind
        let rows: [[f64; 2]; 4] = [[0.9, -0.05], [0.35, 0.0], [-0.15, -0.05], [-0.05, -0.35]];
        for row in rows {
            for k in 0..=CELLS {
                let p = arch(mix(-1.0, 1.0, k as f64 / CELLS as f64), lower);
                let up = if lower { -row[0] - 0.15 } else { row[0] };
                self.vertex(add(p, [0.0, up, row[1]]), region);
            }
        }
        let at = |row: usize, k: usize| first + (row * (CELLS + 1) + k) as u32;
        for row in 0..rows.len() - 1 {
            for k in 0..CELLS {
                let [a, b, c, d] = [at(row, k), at(row, k + 1), at(row + 1, k), at(row + 1, k + 1)];
                for [p, q, r] in [[a, c, b], [b, c, d]] {
                    self.face(if lower { [p, r, q] } else { [p, q, r] }, region);
                }
            }
        }
        let from = if lower { 0.8 } else { 0.6 };
        self.patch(vertices, faces, from, 0.18, |p| [p[0], p[1] - 0.3 * p[2]]);
    }
}

/// The line along which teeth stand, from −1 (the subject's right) to 1; the lower arch stands behind the upper one.
pub(super) fn arch(t: f64, lower: bool) -> V {
    let width = if lower { 2.15 } else { 2.4 };
    let depth = if lower { 7.45 } else { 7.75 };
    let angle = 1.25 * t;
    [
        width * angle.sin() / 1.25f64.sin(),
        MOUTH_HEIGHT - if lower { 0.2 } else { 0.55 },
        depth - 2.6 * (1.0 - angle.cos()) / (1.0 - 1.25f64.cos()),
    ]
}
