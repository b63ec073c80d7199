//! Triangles on a signed distance, by surface nets (Gibson, "Constrained Elastic Surface Nets", 1998): a vertex for each cell that the
//! surface crosses, a quadrilateral for each edge.

use std::collections::HashMap;

use gav_formats::synthetic::head::shape::{V, add, length, project, scale, sub};
use rayon::prelude::*;

/// The surface of `field` within a box, with cells of the given size: vertices on it, triangles that look outwards.
pub(super) fn net(field: fn(V) -> f64, low: V, high: V, cell: f64) -> (Vec<V>, Vec<[u32; 3]>) {
    let counts: [usize; 3] = std::array::from_fn(|k| ((high[k] - low[k]) / cell).ceil() as usize + 1);
    let place = |i: [usize; 3]| -> V { std::array::from_fn(|k| low[k] + cell * i[k] as f64) };
    let number = |i: [usize; 3]| (i[2] * counts[1] + i[1]) * counts[0] + i[0];
    let total = counts.iter().product::<usize>();
    let index = |n: usize| [n % counts[0], n / counts[0] % counts[1], n / (counts[0] * counts[1])];
    let values: Vec<f64> = (0..total).into_par_iter().map(|n| field(place(index(n)))).collect();

    let corner = |i: [usize; 3], c: usize| [i[0] + (c & 1), i[1] + (c >> 1 & 1), i[2] + (c >> 2)];
    let made: Vec<(usize, V)> = (0..total)
        .into_par_iter()
        .filter(|n| (0..3).all(|k| index(*n)[k] + 1 < counts[k]))
        .filter_map(|n| {
            let i = index(n);
            let (mut sum, mut crossings) = ([0.0; 3], 0.0);
            for a in 0..8usize {
                for axis in [1, 2, 4].into_iter().filter(|axis| a & axis == 0) {
                    let (p, q) = (corner(i, a), corner(i, a | axis));
                    let (f, g) = (values[number(p)], values[number(q)]);
                    if (f < 0.0) != (g < 0.0) {
                        let (p, q) = (place(p), place(q));
                        sum = add(sum, add(p, scale(sub(q, p), f / (f - g))));
                        crossings += 1.0;
                    }
                }
            }
            let mean = scale(sum, 1.0 / crossings);
            (crossings > 0.0)
                .then(|| (n, project(field, mean).filter(|p| length(sub(*p, mean)) < cell).unwrap_or(mean)))
        })
        .collect();
    let numbers: HashMap<usize, u32> = made.iter().enumerate().map(|(v, (n, _))| (*n, v as u32)).collect();
    let vertices: Vec<V> = made.iter().map(|(_, p)| *p).collect();

    let mut faces = Vec::with_capacity(2 * vertices.len());
    for n in 0..total {
        let i = index(n);
        for axis in 0..3 {
            let (b, c) = ((axis + 1) % 3, (axis + 2) % 3);
            if i[axis] + 1 >= counts[axis] || i[b] == 0 || i[c] == 0 {
                continue;
            }
            let mut next = i;
            next[axis] += 1;
            let inside = [values[n] < 0.0, values[number(next)] < 0.0];
            if inside[0] == inside[1] {
                continue;
            }
            let around = [[1, 1], [0, 1], [0, 0], [1, 0]].map(|[db, dc]| {
                let mut cell = i;
                cell[b] -= db;
                cell[c] -= dc;
                numbers.get(&number(cell)).copied()
            });
            let [Some(p), Some(q), Some(r), Some(s)] = around else { continue };
            let [p, q, r, s] = if inside[0] { [p, q, r, s] } else { [s, r, q, p] };
            let across = |a: u32, b: u32| length(sub(vertices[a as usize], vertices[b as usize]));
            if across(p, r) <= across(q, s) {
                faces.extend([[p, q, r], [p, r, s]]);
            } else {
                faces.extend([[p, q, s], [q, r, s]]);
            }
        }
    }
    (vertices, faces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gav_formats::synthetic::head::shape::{cross, dot};

    #[test]
    fn the_net_of_a_ball_is_closed_and_looks_outwards() {
        let (vertices, faces) = net(|p| length(p) - 1.0, [-1.3; 3], [1.3; 3], 0.2);
        // Euler's formula for a closed surface without holes: V − E + F = 2 with 2 E = 3 F
        assert_eq!(2 * vertices.len(), faces.len() + 4);
        let mut area = 0.0;
        for face in &faces {
            let [a, b, c] = face.map(|v| vertices[v as usize]);
            let n = cross(sub(b, a), sub(c, a));
            assert!(dot(n, a) > 0.0, "{face:?}");
            area += 0.5 * length(n);
        }
        assert!((area / (4.0 * std::f64::consts::PI) - 1.0).abs() < 0.03, "{area}");
        assert!(vertices.iter().all(|v| (length(*v) - 1.0).abs() < 2e-3));
    }
}
