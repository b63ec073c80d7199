//! Points on a surface with a chosen local spacing: dart throwing with a slowly shrinking radius (blue noise).

use std::collections::HashMap;

use super::shape::{V, length, project, sub};
use crate::synthetic::Random;

/// Crowded throws in a row after which the radius shrinks.
const PATIENCE: u32 = 90;
/// Factor by which it shrinks.
const SHRINK: f64 = 0.96;

/// Throws `count` points from `throw`, which returns a point and its spacing relative to the widest (0 < s ≤ 1).
///
/// Returns points with their final spacing; it starts at `widest` and shrinks until all points have found a place.
pub fn darts(count: usize, widest: f64, mut throw: impl FnMut() -> Option<(V, f64)>) -> Vec<(V, f64)> {
    let mut cells: HashMap<[i32; 3], Vec<u32>> = HashMap::new();
    let mut points: Vec<(V, f64)> = Vec::with_capacity(count);
    let (mut radius, mut refused, mut missed) = (widest, 0, 0);
    let key = |p: V| p.map(|v| (v / widest).floor() as i32);
    // misses end only a surface that is not there
    while points.len() < count && missed < 100_000 {
        let Some((p, spacing)) = throw() else {
            missed += 1;
            continue;
        };
        missed = 0;
        let (home, reach) = (key(p), radius * spacing);
        let crowded = (0..27).any(|n| {
            let cell = [home[0] + n % 3 - 1, home[1] + n / 3 % 3 - 1, home[2] + n / 9 - 1];
            let near = |i: &u32| length(sub(points[*i as usize].0, p)) < reach;
            cells.get(&cell).is_some_and(|list| list.iter().any(near))
        });
        if crowded {
            refused += 1;
            if refused >= PATIENCE {
                (radius, refused) = (SHRINK * radius, 0);
            }
        } else {
            cells.entry(key(p)).or_default().push(points.len() as u32);
            points.push((p, spacing));
            refused = 0;
        }
    }
    points.iter_mut().for_each(|p| p.1 *= radius);
    let widened: Vec<f64> = (0..points.len()).map(|i| local_spacing(&points, i, &cells, widest)).collect();
    points.iter_mut().zip(widened).for_each(|(point, spacing)| point.1 = spacing);
    points
}

/// Mean distance to the nearest neighbours, at least the point's own spacing: where throws left a hole, splats grow.
fn local_spacing(points: &[(V, f64)], index: usize, cells: &HashMap<[i32; 3], Vec<u32>>, cell: f64) -> f64 {
    const NEIGHBOURS: usize = 6;
    let (p, own) = points[index];
    let home = p.map(|v| (v / cell).floor() as i32);
    let mut nearest = [f64::INFINITY; NEIGHBOURS];
    for n in 0..27 {
        let key = [home[0] + n % 3 - 1, home[1] + n / 3 % 3 - 1, home[2] + n / 9 - 1];
        for &other in cells.get(&key).into_iter().flatten().filter(|&&other| other as usize != index) {
            let distance = length(sub(points[other as usize].0, p));
            if distance < nearest[NEIGHBOURS - 1] {
                let at = nearest.partition_point(|d| *d <= distance);
                nearest[at..].rotate_right(1);
                nearest[at] = distance;
            }
        }
    }
    let mean = nearest.iter().sum::<f64>() / NEIGHBOURS as f64;
    // a lone point or an edge must not blow up
    mean.min(2.0 * own).max(own)
}

/// Chooses points on the zero level of a distance function, by density.
pub struct Surface {
    field: fn(V) -> f64,
    density: fn(V) -> f64,
    low: V,
    /// Lower corners of the cells that the surface may pass, with the running sum of their densities.
    cells: Vec<(V, f64)>,
    widest: f64,
}

/// Edge of the cells in centimetres.
const CELL: f64 = 1.0;

impl Surface {
    /// The surface of `field` between the corners; `density` is relative, at least 1, 0 where there is to be nothing.
    pub fn new(field: fn(V) -> f64, density: fn(V) -> f64, low: V, high: V) -> Self {
        let steps = [0, 1, 2].map(|k| ((high[k] - low[k]) / CELL).ceil() as usize);
        let (mut cells, mut sum) = (Vec::new(), 0.0);
        for x in 0..steps[0] {
            for y in 0..steps[1] {
                for z in 0..steps[2] {
                    let corner: V = [low[0] + x as f64 * CELL, low[1] + y as f64 * CELL, low[2] + z as f64 * CELL];
                    let middle = corner.map(|v| v + 0.5 * CELL);
                    // the distance is only approximate, hence more than half a diagonal
                    if field(middle).abs() < 1.2 * CELL {
                        sum += density(middle).max(0.3);
                        cells.push((corner, sum));
                    }
                }
            }
        }
        Self { field, density, low, cells, widest: 0.0 }
    }

    /// `count` points with their spacing.
    pub fn scatter(mut self, count: usize, random: &mut Random) -> Vec<(V, f64)> {
        let Some(total) = self.cells.last().map(|c| c.1) else { return Vec::new() };
        // area of a layer of cells is about half a cell face each; ideal spacing of that many points, with some room
        self.widest = (2.0 * total * CELL * CELL / count.max(1) as f64).sqrt().clamp(1e-3, 3.0);
        darts(count, self.widest, || {
            let at = random.unit() * total;
            let corner = self.cells[self.cells.partition_point(|c| c.1 < at).min(self.cells.len() - 1)].0;
            let p = corner.map(|v| v + CELL * random.unit());
            if (self.field)(p).abs() > 0.35 {
                return None;
            }
            let p = project(self.field, p).filter(|p| p[1] >= self.low[1])?;
            let density = (self.density)(p);
            (density > 0.0).then(|| (p, 1.0 / density.max(1.0).sqrt()))
        })
    }
}
