//! Which splat of one avatar corresponds to which of another: by index when the orders agree, else one to one by position
//! and appearance.
//!
//! Candidates come from a hash grid over the test avatar; the cheapest pairs are joined first. Splats left over look again
//! in a grid of coarser cells, so that coarse quantisation cannot hide a partner.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use rayon::prelude::*;

use crate::{Splats, conventions::opacity_from_logit};

/// Splats that are probed to see whether the orders agree.
const PROBES: usize = 2048;
/// Share of the probes that must prefer the splat of the same index (or have nothing clearly better).
const SAME_ORDER_SHARE: f64 = 0.9;
/// Candidates kept for each splat.
const CANDIDATES: usize = 6;
/// Rounds of matching, each with cells four times larger.
const ROUNDS: i32 = 4;
/// Splats that share one occupied cell on average in the finest grid.
const CELL_OCCUPANCY: f64 = 4.0;
/// Splats of three cells along z that are looked at; more means duplicates, of which any will do.
const COLUMN_SCAN: usize = 128;

/// The result: partners by index, or a table.
pub enum Matching {
    /// Partners have the same index, for this many splats.
    SameOrder(u32),
    /// Partner of each splat of the reference; `u32::MAX` when it has none.
    Table(Vec<u32>),
}

impl Matching {
    pub fn partner(&self, index: u32) -> Option<u32> {
        match self {
            Self::SameOrder(count) => (index < *count).then_some(index),
            Self::Table(table) => Some(table[index as usize]).filter(|j| *j != u32::MAX),
        }
    }

    pub fn same_order(&self) -> bool {
        matches!(self, Self::SameOrder(_))
    }
}

/// Finds the partners of all splats of `reference` in `test`.
pub fn match_splats(reference: &Splats, test: &Splats) -> Matching {
    let equal_counts = reference.len() == test.len();
    if equal_counts && reference.means == test.means {
        return Matching::SameOrder(reference.len() as u32);
    }
    let Some(cell) = cell_size(test) else {
        return if equal_counts { Matching::SameOrder(reference.len() as u32) } else { empty(reference.len()) };
    };
    let (features_r, features_t) = (features(reference, cell), features(test, cell));
    let all_t: Vec<u32> = (0..test.len() as u32).filter(|&j| features_t[j as usize].is_finite()).collect();
    let all_r: Vec<u32> = (0..reference.len() as u32).filter(|&i| features_r[i as usize].is_finite()).collect();
    let grid = Grid::new(&features_t, &all_t, cell);
    let probes: Vec<u32> = all_r.iter().copied().step_by((all_r.len() / PROBES).max(1)).collect();
    let sigma = position_sigma(&grid, &features_r, &probes, cell);

    if equal_counts {
        let agree = probes
            .par_iter()
            .filter(|&&i| {
                let splat = &features_r[i as usize];
                let own = splat.cost(&features_t[i as usize], sigma);
                let best = grid.candidates(splat, sigma).first().map_or(f32::INFINITY, |c| c.0);
                // a stranger may be a little closer by chance where splats are dense
                own <= best * 4.0 + 1.0
            })
            .count();
        if agree as f64 >= SAME_ORDER_SHARE * probes.len() as f64 {
            return Matching::SameOrder(reference.len() as u32);
        }
    }

    let mut table = vec![u32::MAX; reference.len()];
    let mut taken = vec![false; test.len()];
    let mut open_r = all_r;
    for round in 0..ROUNDS {
        let open_t: Vec<u32> = all_t.iter().copied().filter(|&j| !taken[j as usize]).collect();
        if open_r.is_empty() || open_t.is_empty() {
            break;
        }
        let grid = Grid::new(&features_t, &open_t, cell * 4f32.powi(round));
        let mut pairs: Vec<(f32, u32, u32)> = open_r
            .par_iter()
            .flat_map_iter(|&i| {
                grid.candidates(&features_r[i as usize], sigma).into_iter().map(move |(cost, j)| (cost, i, j))
            })
            .collect();
        pairs.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        for (_, i, j) in pairs {
            if table[i as usize] == u32::MAX && !taken[j as usize] {
                table[i as usize] = j;
                taken[j as usize] = true;
            }
        }
        open_r.retain(|&i| table[i as usize] == u32::MAX);
    }
    Matching::Table(table)
}

fn empty(count: usize) -> Matching {
    Matching::Table(vec![u32::MAX; count])
}

/// What of a splat decides about its partner. Sizes are sorted: an ellipsoid's axes have no fixed order.
#[derive(Clone, Copy)]
struct Features {
    mean: [f32; 3],
    /// Descending, not below a hundredth of a grid cell, where codecs have their floors.
    log_scales: [f32; 3],
    opacity: f32,
    sh0: [f32; 3],
}

impl Features {
    fn is_finite(&self) -> bool {
        self.mean.iter().chain(&self.log_scales).chain(&self.sh0).all(|v| v.is_finite()) && !self.opacity.is_nan()
    }

    /// Squared difference in units of typical quantisation errors.
    fn cost(&self, other: &Self, sigma: f32) -> f32 {
        let mut cost = 0.0;
        for k in 0..3 {
            let position = (self.mean[k] - other.mean[k]) / sigma;
            let size = (self.log_scales[k] - other.log_scales[k]) / 0.1;
            let color = (self.sh0[k] - other.sh0[k]) / 0.05;
            cost += position * position + size * size + color * color;
        }
        let opacity = (self.opacity - other.opacity) / 0.02;
        cost + opacity * opacity
    }
}

fn features(splats: &Splats, cell: f32) -> Vec<Features> {
    let floor = (0.01 * cell).ln();
    (0..splats.len())
        .into_par_iter()
        .map(|i| {
            // NaN survives the floor, so that the splat is left out
            let mut log_scales = splats.log_scales[i].map(|s| if s < floor { floor } else { s });
            log_scales.sort_unstable_by(|a, b| b.total_cmp(a));
            Features {
                mean: splats.means[i],
                log_scales,
                opacity: opacity_from_logit(splats.opacity_logits[i]),
                sh0: splats.sh0[i],
            }
        })
        .collect()
}

/// Edge of the finest grid's cells: halved from the extent until occupied cells hold few splats. `None` without extent.
fn cell_size(splats: &Splats) -> Option<f32> {
    let finite: Vec<[f32; 3]> = splats.means.iter().copied().filter(|m| m.iter().all(|v| v.is_finite())).collect();
    // percentiles, so that a far outlier does not make the cells coarse
    let mut extent = 0.0f32;
    for axis in 0..3 {
        let mut values: Vec<f32> = finite.iter().step_by((finite.len() / 4096).max(1)).map(|m| m[axis]).collect();
        values.sort_unstable_by(f32::total_cmp);
        if let (Some(low), Some(high)) = (values.get(values.len() / 50), values.get(values.len() * 49 / 50)) {
            extent = extent.max(high - low);
        }
    }
    if !(extent > 0.0 && extent.is_finite()) {
        let (low, high) = splats.bounds()?;
        extent = (0..3).map(|k| high[k] - low[k]).fold(0.0, f32::max);
        if !(extent > 0.0 && extent.is_finite()) {
            return None;
        }
    }
    let mut cell = extent / 4.0;
    for _ in 0..8 {
        let mut keys: Vec<[i32; 3]> = finite.par_iter().map(|m| key(*m, cell)).collect();
        keys.par_sort_unstable();
        keys.dedup();
        if finite.len() as f64 <= CELL_OCCUPANCY * keys.len() as f64 {
            break;
        }
        cell *= 0.5;
    }
    Some(cell)
}

/// Expected position error: twice the median distance from a probe to its nearest candidate, so that the cost of a true
/// partner is of order one whatever the codec.
fn position_sigma(grid: &Grid, features_r: &[Features], probes: &[u32], cell: f32) -> f32 {
    let mut distances: Vec<f32> =
        probes.iter().filter_map(|&i| grid.nearest_squared(&features_r[i as usize])).map(f32::sqrt).collect();
    distances.sort_unstable_by(f32::total_cmp);
    let median = distances.get(distances.len() / 2).copied().unwrap_or(cell);
    (2.0 * median).max(1e-4 * cell)
}

fn key(point: [f32; 3], cell: f32) -> [i32; 3] {
    // the cast saturates, so points far outside share the outermost cells
    point.map(|v| ((v / cell).floor() as i32).clamp(-(1 << 30), 1 << 30))
}

/// Splats by cell, as columns of cells along z: neighbours along z lie side by side in memory.
struct Grid<'a> {
    features: &'a [Features],
    cell: f32,
    /// Range of `members` of each occupied column, by the cell's x and y.
    columns: HashMap<[i32; 2], (u32, u32), BuildHasherDefault<CellHasher>>,
    /// Cell z and splat, ascending within a column.
    members: Vec<(i32, u32)>,
}

impl<'a> Grid<'a> {
    fn new(features: &'a [Features], which: &[u32], cell: f32) -> Self {
        let mut keyed: Vec<([i32; 3], u32)> =
            which.par_iter().map(|&j| (key(features[j as usize].mean, cell), j)).collect();
        keyed.par_sort_unstable();
        let mut columns = HashMap::default();
        let mut start = 0;
        for run in keyed.chunk_by(|a, b| a.0[..2] == b.0[..2]) {
            columns.insert([run[0].0[0], run[0].0[1]], (start, start + run.len() as u32));
            start += run.len() as u32;
        }
        Self { features, cell, columns, members: keyed.into_iter().map(|(cell, j)| (cell[2], j)).collect() }
    }

    /// Splats in the 27 cells around a point.
    fn around(&self, point: [f32; 3]) -> impl Iterator<Item = u32> + '_ {
        let home = key(point, self.cell);
        (0..9).flat_map(move |n| {
            let column = [home[0] + n % 3 - 1, home[1] + n / 3 - 1];
            let (start, end) = self.columns.get(&column).copied().unwrap_or((0, 0));
            let column = &self.members[start as usize..end as usize];
            let first = column.partition_point(|m| m.0 < home[2] - 1);
            column[first..].iter().take_while(move |m| m.0 <= home[2] + 1).map(|m| m.1).take(COLUMN_SCAN)
        })
    }

    fn nearest_squared(&self, splat: &Features) -> Option<f32> {
        self.around(splat.mean)
            .map(|j| (0..3).map(|k| (splat.mean[k] - self.features[j as usize].mean[k]).powi(2)).sum())
            .min_by(f32::total_cmp)
    }

    /// The cheapest partners with their costs, cheapest first.
    fn candidates(&self, splat: &Features, sigma: f32) -> Vec<(f32, u32)> {
        let mut best: Vec<(f32, u32)> = Vec::with_capacity(CANDIDATES + 1);
        for j in self.around(splat.mean) {
            let cost = splat.cost(&self.features[j as usize], sigma);
            if best.len() < CANDIDATES || cost < best[best.len() - 1].0 {
                let at = best.partition_point(|c| c.0 <= cost);
                best.insert(at, (cost, j));
                best.truncate(CANDIDATES);
            }
        }
        best
    }
}

/// Multiplies and folds: cell numbers need no protection against chosen collisions, only speed.
#[derive(Default)]
struct CellHasher(u64);

impl Hasher for CellHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(4) {
            let mut padded = [0; 4];
            padded[..word.len()].copy_from_slice(word);
            self.write_u32(u32::from_le_bytes(padded));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0.rotate_left(23) ^ u64::from(value)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_i32(&mut self, value: i32) {
        self.write_u32(value as u32);
    }

    fn write_usize(&mut self, _length: usize) {}
}
