//! The mesh of the procedural head: a grid of rings around it, cut open between the lips and the lids, with eyeballs and teeth.
//!
//! It lies on the signed distance of [`gav_formats::synthetic::head::shape`], in its coordinates: centimetres, x to the subject's left, y up,
//! z out of the face. About 5,000 vertices: fine enough to bend, far too coarse for what is drawn.

use std::f64::consts::{FRAC_PI_2, PI, TAU};

use gav_formats::synthetic::head::shape::{
    BUST_END, EYE, EYE_RADIUS, MOUTH_HALF_WIDTH, MOUTH_HEIGHT, V, add, lid_edges, mouth_line, scale, skin, smoothstep,
    sub,
};
use rayon::prelude::*;

/// What a vertex or a triangle belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Region {
    /// Outer skin away from the cuts.
    Skin,
    /// Outer skin within a few rings above and below the mouth's cut.
    AboveMouth,
    BelowMouth,
    /// Outer skin that ends at an edge of the lids; side of positive x and of negative x.
    UpperLid(bool),
    LowerLid(bool),
    /// The way from the edge of a lip or a lid inwards.
    UpperInside,
    LowerInside,
    Eye(bool),
    UpperTeeth,
    LowerTeeth,
}

/// A mesh in centimetres.
#[derive(Debug, Clone, Default)]
pub(super) struct Grid {
    pub vertices: Vec<V>,
    /// Of each vertex; those of the cuts are [`Region::UpperLid`] … or, at the mouth, [`Region::UpperInside`] and [`Region::LowerInside`].
    pub tags: Vec<Region>,
    pub faces: Vec<[u32; 3]>,
    /// Of each face.
    pub regions: Vec<Region>,
    pub uvs: Vec<[f32; 2]>,
    pub uv_faces: Vec<[u32; 3]>,
}

/// Angles of the columns on one side, from the front: dense over the face. The corners of mouth (0.28) and eye (0.21, 0.55) are among them.
const ANGLES: [f64; 35] = [
    0.04, 0.08, 0.12, 0.165, 0.21, 0.245, 0.28, 0.315, 0.35, 0.385, 0.42, 0.455, 0.49, 0.52, 0.55, 0.59, 0.64, 0.70,
    0.77, 0.85, 0.94, 1.04, 1.15, 1.27, 1.40, 1.5, 1.6, 1.7, 1.82, 1.96, 2.12, 2.3, 2.5, 2.7, 2.92,
];
/// Angle at which the mouth's cut ends.
const MOUTH_CORNER: f64 = 0.28;
/// Angles at which the cuts of the eyes end.
const EYE_CORNERS: [f64; 2] = [0.21, 0.55];
/// Elevations of the rings over the crown, degrees.
const CROWN: [f64; 11] = [82.0, 73.0, 64.0, 55.0, 46.0, 37.5, 29.0, 21.5, 14.5, 8.5, 3.5];
/// Height at which rings become level.
const LEVEL: f64 = 4.7;
/// Heights of the level rings from forehead to chin.
const FACE: [f64; 36] = [
    4.6,
    4.1,
    3.6,
    3.2,
    2.8,
    2.4,
    2.05,
    1.75,
    1.45,
    1.15,
    EYE[1],
    0.4,
    0.1,
    -0.25,
    -0.65,
    -1.1,
    -1.55,
    -2.0,
    -2.4,
    -2.75,
    -3.1,
    -3.45,
    -3.8,
    -4.2,
    -4.55,
    -4.9,
    -5.2,
    -5.5,
    MOUTH_HEIGHT,
    -6.1,
    -6.35,
    -6.6,
    -6.9,
    -7.2,
    -7.5,
    -7.8,
];
const EYE_RING: usize = 10;
const MOUTH_RING: usize = 28;
/// Rings under the chin: how far they are turned down in front (degrees), and how far they have sunk behind (cm).
const CHIN: [(f64, f64); 10] = [
    (6.0, 0.4),
    (11.0, 0.8),
    (16.0, 1.2),
    (21.0, 1.6),
    (26.0, 2.0),
    (31.0, 2.4),
    (37.0, 2.8),
    (44.0, 3.2),
    (52.0, 3.6),
    (60.0, 4.0),
];
/// Heights of the rings around the neck.
const NECK: [f64; 4] = [-12.3, -13.0, -13.7, -14.3];
/// Rings over the shoulders.
const SHOULDERS: usize = 8;
/// Where the mesh ends.
const END: f64 = BUST_END - 0.6;
/// Heights over and under the eye within which rings make room for it.
const EYE_ROOM: [f64; 2] = [1.9, 1.7];

/// The surface along a ray from outside, seen from `from`.
fn hit(from: V, direction: V) -> V {
    let at = |t: f64| add(from, scale(direction, t));
    let (mut t, mut inside) = (26.0f64, 0.0f64);
    while t > 0.0 {
        let d = skin(at(t));
        if d < 0.0 {
            inside = t;
            break;
        }
        // the distance is approximate far away, hence only a part of it
        t -= (0.6 * d).max(0.01);
    }
    let mut outside = inside + 0.8;
    while skin(at(outside)) < 0.0 && outside < 26.0 {
        outside += 0.2;
    }
    for _ in 0..30 {
        let middle = 0.5 * (inside + outside);
        if skin(at(middle)) < 0.0 { inside = middle } else { outside = middle }
    }
    at(0.5 * (inside + outside))
}

fn level(y: f64, z: f64, angle: f64) -> V {
    hit([0.0, y, z], [angle.sin(), 0.0, angle.cos()])
}

fn tilted(from: V, angle: f64, elevation: f64) -> V {
    let (s, c) = elevation.sin_cos();
    hit(from, [c * angle.sin(), s, c * angle.cos()])
}

/// Edges of the lids' opening over the eye's middle, closed at and beyond the corners.
fn lids(u: f64, open: bool) -> (f64, f64) {
    let t = (u - 0.02) / 1.32;
    match lid_edges(u).filter(|_| open) {
        Some(edges) => edges,
        None => {
            let corner = 0.07 * u.clamp(-1.3, 1.34) * (1.0 - smoothstep(1.0, 2.2, t.abs()));
            (corner, corner)
        }
    }
}

/// Height of a ring of the face at `x`: rings follow the mouth's line and make room for the eyes.
fn bent(y: f64, x: f64, open: bool, upper: bool) -> f64 {
    let bow = mouth_line(x.abs().min(MOUTH_HALF_WIDTH)) - MOUTH_HEIGHT;
    let reach = if y > MOUTH_HEIGHT { 1.9 } else { 1.5 };
    let at_mouth = 1.0 - smoothstep(0.0, reach, (y - MOUTH_HEIGHT).abs());
    let ends = 1.0 - smoothstep(MOUTH_HALF_WIDTH, 5.0, x.abs());
    let y = y + bow * at_mouth * ends;
    let above = y - EYE[1];
    let (top, bottom) = lids(x.abs() - EYE[0], open);
    let room = EYE_ROOM;
    if above > 0.0 || (above == 0.0 && upper) {
        if above < room[0] { EYE[1] + top + above * (1.0 - top / room[0]) } else { y }
    } else if above > -room[1] {
        EYE[1] + bottom + above * (1.0 + bottom / room[1])
    } else {
        y
    }
}

fn face_point(ring: usize, angle: f64, upper: bool) -> V {
    let y = FACE[ring];
    let side = angle.abs();
    let open = side > EYE_CORNERS[0] + 1e-6 && side < EYE_CORNERS[1] - 1e-6;
    let mut p = level(y, -1.0, angle);
    if side < 1.3 {
        for _ in 0..4 {
            p = level(bent(y, p[0], open, upper), -1.0, angle);
        }
    }
    p
}

/// Position of a vertex of the grid.
fn place(ring: usize, angle: f64) -> V {
    if let Some(degrees) = CROWN.get(ring) {
        return tilted([0.0, LEVEL, -1.0], angle, degrees.to_radians());
    }
    let ring = ring - CROWN.len();
    if ring < FACE.len() {
        return face_point(ring, angle, true);
    }
    let ring = ring - FACE.len();
    let front = 0.5 + 0.5 * angle.cos();
    if let Some((turned, sunk)) = CHIN.get(ring) {
        let from = [0.0, FACE[FACE.len() - 1] - (1.0 - front) * sunk, -1.0];
        return tilted(from, angle, -turned.to_radians() * front);
    }
    let ring = ring - CHIN.len();
    if let Some(y) = NECK.get(ring) {
        return level(*y, -3.2, angle);
    }
    let ring = ring - NECK.len();
    let from = [0.0, NECK[NECK.len() - 1], -3.4];
    // how far down this side of the shoulders goes
    let (mut low, mut high) = (-FRAC_PI_2 * 0.8, 0.0);
    for _ in 0..24 {
        let middle = 0.5 * (low + high);
        if tilted(from, angle, middle)[1] < END { low = middle } else { high = middle }
    }
    tilted(from, angle, high * (ring + 1) as f64 / SHOULDERS as f64)
}

impl Grid {
    /// The head.
    pub(super) fn head() -> Self {
        let mut angles: Vec<f64> = ANGLES.iter().rev().map(|a| -a).collect();
        angles.push(0.0);
        angles.extend(ANGLES);
        angles.push(PI);
        let (columns, rings) = (angles.len(), CROWN.len() + FACE.len() + CHIN.len() + NECK.len() + SHOULDERS);
        let mut grid = Self::default();
        let pole = grid.vertex(tilted([0.0, LEVEL, -1.0], 0.0, FRAC_PI_2), Region::Skin);
        let places: Vec<V> =
            (0..rings * columns).into_par_iter().map(|k| place(k / columns, angles[k % columns])).collect();
        let first = grid.vertices.len() as u32;
        places.iter().for_each(|p| {
            grid.vertex(*p, Region::Skin);
        });
        let at = |ring: usize, column: usize| first + (ring * columns + column % columns) as u32;

        // the second copies along the cuts
        let (eye, mouth) = (CROWN.len() + EYE_RING, CROWN.len() + MOUTH_RING);
        let is_eye = |c: usize| (EYE_CORNERS[0] + 1e-6..EYE_CORNERS[1] - 1e-6).contains(&angles[c % columns].abs());
        let is_mouth = |c: usize| angles[c % columns].abs() < MOUTH_CORNER - 1e-6;
        let mut below: Vec<Option<u32>> = vec![None; 2 * columns];
        for column in 0..columns {
            if is_eye(column) {
                let left = angles[column] > 0.0;
                grid.tags[at(eye, column) as usize] = Region::UpperLid(left);
                let p = face_point(EYE_RING, angles[column], false);
                below[column] = Some(grid.vertex(p, Region::LowerLid(left)));
            }
            if is_mouth(column) {
                let upper = at(mouth, column) as usize;
                grid.tags[upper] = Region::UpperInside;
                let p = grid.vertices[upper];
                below[columns + column] = Some(grid.vertex(p, Region::LowerInside));
            }
        }
        let under = |ring: usize, column: usize| {
            let cut = if ring == eye {
                below[column % columns]
            } else if ring == mouth {
                below[columns + column % columns]
            } else {
                None
            };
            cut.unwrap_or(at(ring, column))
        };
        for column in 0..columns {
            grid.face([pole, at(0, column), at(0, column + 1)], Region::Skin);
        }
        for ring in 0..rings - 1 {
            for column in 0..columns {
                let [a, b] = [under(ring, column), under(ring, column + 1)];
                let [c, d] = [at(ring + 1, column), at(ring + 1, column + 1)];
                let (open_eye, left) = (is_eye(column) || is_eye(column + 1), angles[column] > 0.0);
                let region = match ring {
                    _ if open_eye && ring + 1 == eye => Region::UpperLid(left),
                    _ if open_eye && ring == eye => Region::LowerLid(left),
                    _ if !is_mouth(column) && !is_mouth(column + 1) => Region::Skin,
                    _ if (mouth - 4..mouth).contains(&ring) => Region::AboveMouth,
                    _ if (mouth..mouth + 4).contains(&ring) => Region::BelowMouth,
                    _ => Region::Skin,
                };
                // mirrored diagonals keep the mesh symmetric
                if angles[column] < -1e-9 {
                    grid.face([a, c, b], region);
                    grid.face([b, c, d], region);
                } else {
                    grid.face([a, c, d], region);
                    grid.face([a, d, b], region);
                }
            }
        }
        // unrolled around the back for the texture: the last column appears on both sides
        grid.uvs = (0..grid.vertices.len())
            .map(|v| {
                let k = (v as u32).checked_sub(first).map(|k| k as usize).filter(|k| *k < rings * columns);
                let [u, v] = match k {
                    Some(k) => [0.5 + angles[k % columns] / TAU, 1.0 - 0.88 * (k / columns + 1) as f64 / rings as f64],
                    None if v == pole as usize => [0.5, 1.0],
                    None => {
                        let p = grid.vertices[v];
                        [
                            0.5 + p[0].atan2(p[2] + 1.0) / TAU,
                            1.0 - 0.88 * (if p[1] > -2.0 { eye } else { mouth } + 1) as f64 / rings as f64,
                        ]
                    }
                };
                [u as f32, v as f32]
            })
            .collect();
        grid.uv_faces.clone_from(&grid.faces);
        for face in &mut grid.uv_faces {
            let far = face.iter().any(|v| grid.uvs[*v as usize][0] < 0.25)
                && face.iter().any(|v| grid.uvs[*v as usize][0] > 0.99);
            for corner in face.iter_mut().filter(|_| far) {
                if grid.uvs[*corner as usize][0] > 0.99 {
                    let [_, v] = grid.uvs[*corner as usize];
                    grid.uvs.push([0.0, v]);
                    *corner = grid.uvs.len() as u32 - 1;
                }
            }
        }

        let cut = |ring: usize, is: &dyn Fn(usize) -> bool, lower: bool| -> Vec<Vec<u32>> {
            let mut runs: Vec<Vec<u32>> = Vec::new();
            for column in 0..columns {
                if !is(column) {
                    continue;
                }
                if column == 0 || !is(column - 1) {
                    runs.push(vec![at(ring, column - 1)]);
                }
                if let Some(run) = runs.last_mut() {
                    run.push(if lower { under(ring, column) } else { at(ring, column) });
                    if !is(column + 1) {
                        run.push(at(ring, column + 1));
                    }
                }
            }
            runs
        };
        for lower in [false, true] {
            for run in cut(eye, &is_eye, lower) {
                grid.inwards(
                    &run,
                    lower,
                    &[|p| {
                        let e = sub([p[0].abs(), p[1], p[2]], EYE);
                        let e = scale(e, (EYE_RADIUS - 0.03) / (e[0] * e[0] + e[1] * e[1] + e[2] * e[2]).sqrt());
                        [p[0].signum() * (EYE[0] + e[0]), EYE[1] + e[1], EYE[2] + e[2]]
                    }],
                );
            }
            for run in cut(mouth, &is_mouth, lower) {
                let steps: [fn(V) -> V; 2] = if lower {
                    [|p| add(p, [0.0, -0.12, -0.45]), |p| add(p, [0.0, -0.7, -0.8])]
                } else {
                    [|p| add(p, [0.0, 0.12, -0.45]), |p| add(p, [0.0, 0.7, -0.8])]
                };
                grid.inwards(&run, lower, &steps);
            }
        }
        for left in [true, false] {
            grid.eyeball(left);
        }
        for lower in [false, true] {
            grid.teeth(lower);
        }
        grid
    }

    pub(super) fn vertex(&mut self, p: V, tag: Region) -> u32 {
        self.vertices.push(p);
        self.tags.push(tag);
        self.vertices.len() as u32 - 1
    }

    pub(super) fn face(&mut self, corners: [u32; 3], region: Region) {
        self.faces.push(corners);
        self.regions.push(region);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gav_formats::synthetic::head::shape::{cross, dot, length};

    #[test]
    fn the_mesh_lies_on_the_head_and_looks_outwards() {
        let grid = Grid::head();
        assert!((4500..6500).contains(&grid.vertices.len()), "{} vertices", grid.vertices.len());
        assert!((9000..13_000).contains(&grid.faces.len()), "{} faces", grid.faces.len());
        assert_eq!((grid.faces.len(), grid.vertices.len()), (grid.uv_faces.len(), grid.tags.len()));
        let mut wrong = 0;
        for (face, region) in grid.faces.iter().zip(&grid.regions) {
            let [a, b, c] = face.map(|v| grid.vertices[v as usize]);
            let n = cross(sub(b, a), sub(c, a));
            assert!(length(n) > 1e-7, "{face:?} {region:?} has no area");
            if *region == Region::Skin {
                let out = gav_formats::synthetic::head::shape::normal(skin, scale(add(add(a, b), c), 1.0 / 3.0));
                wrong += usize::from(dot(n, out) < 0.0);
            }
        }
        // behind the ears and in the nostrils triangles span gaps into which rays from outside do not reach
        assert!(wrong * 50 < grid.faces.len(), "{wrong} faces look inwards");
        let off = grid.vertices.iter().zip(&grid.tags).filter(|(_, t)| **t == Region::Skin);
        let far = off.map(|(p, _)| skin(*p).abs()).fold(0.0, f64::max);
        assert!(far < 0.02, "{far} cm");
        // mirrored: every vertex has its twin
        let near = |p: V| grid.vertices.iter().map(|q| length(sub(*q, p))).fold(f64::INFINITY, f64::min);
        for p in grid.vertices.iter().step_by(37) {
            assert!(near([-p[0], p[1], p[2]]) < 0.02, "{p:?}");
        }
    }
}
