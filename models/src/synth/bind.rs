//! What is drawn, tied to the triangles of the mesh: each point keeps its place over its triangle, however that moves.

use std::collections::HashMap;

use gav_formats::synthetic::head::shape::{V, add, cross, dot, length, scale, sub, unit};
use rayon::prelude::*;

/// A point over a triangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Anchor {
    pub face: u32,
    /// Barycentric coordinates of the nearest point of the triangle.
    pub weights: [f32; 3],
    /// Height over that point along the mesh's smooth normal, in units of the mesh.
    pub height: f32,
    /// What is left, in rest coordinates; carried like the triangle.
    pub rest: [f32; 3],
}

/// Triangles to be found by position.
pub(super) struct Finder<'a> {
    vertices: &'a [V],
    faces: &'a [[u32; 3]],
    cell: f64,
    cells: HashMap<[i32; 3], Vec<u32>>,
}

/// Cells are looked through up to this many cells away.
const REACH: i32 = 12;

impl<'a> Finder<'a> {
    /// The faces for which `is` holds.
    pub(super) fn new(vertices: &'a [V], faces: &'a [[u32; 3]], cell: f64, is: impl Fn(usize) -> bool) -> Self {
        let mut cells: HashMap<[i32; 3], Vec<u32>> = HashMap::new();
        for (index, face) in faces.iter().enumerate().filter(|(index, _)| is(*index)) {
            let corners = face.map(|v| vertices[v as usize]);
            let low = [0, 1, 2].map(|k| corners.iter().map(|c| c[k]).fold(f64::INFINITY, f64::min));
            let high = [0, 1, 2].map(|k| corners.iter().map(|c| c[k]).fold(f64::NEG_INFINITY, f64::max));
            let (low, high) = (low.map(|v| (v / cell).floor() as i32), high.map(|v| (v / cell).floor() as i32));
            for x in low[0]..=high[0] {
                for y in low[1]..=high[1] {
                    for z in low[2]..=high[2] {
                        cells.entry([x, y, z]).or_default().push(index as u32);
                    }
                }
            }
        }
        Self { vertices, faces, cell, cells }
    }

    /// The nearest triangle with the weights of its nearest point; `None` when there is none within reach.
    pub(super) fn nearest(&self, p: V) -> Option<(u32, V)> {
        let home = p.map(|v| (v / self.cell).floor() as i32);
        let mut best: Option<(f64, u32, V)> = None;
        for ring in 0..=REACH {
            // everything in farther rings is at least this far away
            if best.is_some_and(|(d, ..)| d < f64::from(ring - 1) * self.cell) {
                break;
            }
            for x in -ring..=ring {
                for y in -ring..=ring {
                    let step = if x.abs() == ring || y.abs() == ring { 1 } else { (2 * ring).max(1) };
                    for z in (-ring..=ring).step_by(step as usize) {
                        for &face in self.cells.get(&[home[0] + x, home[1] + y, home[2] + z]).into_iter().flatten() {
                            let corners = self.faces[face as usize].map(|v| self.vertices[v as usize]);
                            let weights = closest(p, corners);
                            let d = length(sub(p, blend(corners, weights)));
                            // ties by number, so that the order of visits does not matter
                            if best.is_none_or(|(least, index, _)| d < least || d == least && face < index) {
                                best = Some((d, face, weights));
                            }
                        }
                    }
                }
            }
        }
        best.map(|(_, face, weights)| (face, weights))
    }

    /// Ties a point to the nearest triangle.
    pub(super) fn anchor(&self, p: V, normals: &[V]) -> Option<Anchor> {
        let (face, weights) = self.nearest(p)?;
        let corners = self.faces[face as usize];
        let foot = blend(corners.map(|v| self.vertices[v as usize]), weights);
        let n = unit(blend(corners.map(|v| normals[v as usize]), weights));
        let offset = sub(p, foot);
        let height = dot(offset, n);
        let rest = sub(offset, scale(n, height));
        let single = |v: V| v.map(|x| x as f32);
        Some(Anchor { face, weights: single(weights), height: height as f32, rest: single(rest) })
    }
}

pub(super) fn blend(corners: [V; 3], weights: V) -> V {
    std::array::from_fn(|k| (0..3).map(|c| corners[c][k] * weights[c]).sum())
}

/// Barycentric coordinates of the point of a triangle nearest to `p` (Ericson, "Real-Time Collision Detection", 5.1.5).
fn closest(p: V, [a, b, c]: [V; 3]) -> V {
    let (ab, ac, ap) = (sub(b, a), sub(c, a), sub(p, a));
    let (d1, d2) = (dot(ab, ap), dot(ac, ap));
    if d1 <= 0.0 && d2 <= 0.0 {
        return [1.0, 0.0, 0.0];
    }
    let bp = sub(p, b);
    let (d3, d4) = (dot(ab, bp), dot(ac, bp));
    if d3 >= 0.0 && d4 <= d3 {
        return [0.0, 1.0, 0.0];
    }
    let vc = d1 * d4 - d3 * d2;
    if vc <= 0.0 && d1 >= 0.0 && d3 <= 0.0 {
        let t = d1 / (d1 - d3);
        return [1.0 - t, t, 0.0];
    }
    let cp = sub(p, c);
    let (d5, d6) = (dot(ab, cp), dot(ac, cp));
    if d6 >= 0.0 && d5 <= d6 {
        return [0.0, 0.0, 1.0];
    }
    let vb = d5 * d2 - d1 * d6;
    if vb <= 0.0 && d2 >= 0.0 && d6 <= 0.0 {
        let t = d2 / (d2 - d6);
        return [1.0 - t, 0.0, t];
    }
    let va = d3 * d6 - d5 * d4;
    if va <= 0.0 && d4 - d3 >= 0.0 && d5 - d6 >= 0.0 {
        let t = (d4 - d3) / ((d4 - d3) + (d5 - d6));
        return [0.0, 1.0 - t, t];
    }
    let sum = va + vb + vc;
    [1.0 - (vb + vc) / sum, vb / sum, vc / sum]
}

/// Unit normals of vertices, the mean of those of their triangles by area.
pub(super) fn vertex_normals(vertices: &[V], faces: &[[u32; 3]]) -> Vec<V> {
    let mut sums = vec![[0.0; 3]; vertices.len()];
    for face in faces {
        let [a, b, c] = face.map(|v| vertices[v as usize]);
        let n = cross(sub(b, a), sub(c, a));
        face.iter().for_each(|v| sums[*v as usize] = add(sums[*v as usize], n));
    }
    sums.into_iter().map(unit).collect()
}

/// What carries the neighbourhood of each triangle from `rest` to `posed`: edges onto edges, unit normal onto unit normal. Rows.
pub(super) fn carriers(faces: &[[u32; 3]], rest: &[V], posed: &[V]) -> Vec<[[f32; 3]; 3]> {
    let frame = |vertices: &[V], face: &[u32; 3]| {
        let [a, b, c] = face.map(|v| vertices[v as usize]);
        let (e, f) = (sub(b, a), sub(c, a));
        let n = cross(e, f);
        let area = length(n);
        (e, f, if area > 1e-12 { scale(n, 1.0 / area) } else { [0.0, 0.0, 1.0] }, area)
    };
    faces
        .par_iter()
        .map(|face| {
            let (e, f, n, area) = frame(rest, face);
            if area <= 1e-12 {
                return [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
            }
            // rows of the inverse of (e f n)
            let inverse = [scale(cross(f, n), 1.0 / area), scale(cross(n, e), 1.0 / area), n];
            let (e, f, n, _) = frame(posed, face);
            std::array::from_fn(|r| {
                std::array::from_fn(|c| (e[r] * inverse[0][c] + f[r] * inverse[1][c] + n[r] * inverse[2][c]) as f32)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_follow_their_triangle() {
        let rest = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]];
        let faces = [[0, 1, 2], [1, 3, 2]];
        let normals = vertex_normals(&rest, &faces);
        let finder = Finder::new(&rest, &faces, 0.3, |_| true);
        let anchor = finder.anchor([0.2, 0.3, 0.1], &normals).unwrap();
        assert!(anchor.face == 0 && anchor.rest.iter().all(|v| v.abs() < 1e-12), "{anchor:?}");
        assert!((anchor.height - 0.1).abs() < 1e-6 && (anchor.weights[1] - 0.2).abs() < 1e-6, "{anchor:?}");
        // twice as wide, a quarter turn about x
        let posed = rest.map(|p| [2.0 * p[0], -p[2], p[1]]);
        let carry = carriers(&faces, &rest, &posed);
        let expected = [[2.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]];
        assert!(carry[0].as_flattened().iter().zip(expected.as_flattened()).all(|(a, b)| (a - b).abs() < 1e-6));
        // beside the mesh the rest is what its edge does not reach
        let outside = finder.anchor([-0.5, 0.5, 0.0], &normals).unwrap();
        assert!((outside.rest[0] + 0.5).abs() < 1e-6 && outside.weights[1] == 0.0, "{outside:?}");
        assert_eq!(finder.nearest([90.0, 0.0, 0.0]), None);
    }
}
