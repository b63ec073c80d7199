//! Vector quantisation of SH coefficients: a palette of up to 65,536 entries by k-means, the same for any thread count.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, HashMap},
    f32::consts::FRAC_1_SQRT_2,
};

use rayon::prelude::*;

use super::nearest::{Tree, distance};

/// Rounds of k-means: two are 1 % worse, twenty no better.
const ROUNDS: usize = 8;
/// Leaves of eight entries that one search may visit: 3 % more error than an exact search, in half its time or less.
const LEAVES: usize = 48;
/// Largest palette of the format.
const MAX_ENTRIES: usize = 65_536;

/// Palette entries and the entry of each row.
pub(super) struct Palette {
    /// Entries × dim, in the order of their first use, so that labels compress well.
    pub entries: Vec<f32>,
    /// Entry of each row.
    pub labels: Vec<u16>,
}

/// Entries that other writers use for `rows` splats: the largest power of two that is not above, at most 65,536.
/// Up to 1024 rows get an entry each.
pub(super) fn size_for(rows: usize) -> usize {
    if rows <= 1024 { rows } else { (1usize << rows.ilog2()).min(MAX_ENTRIES) }
}

/// Quantises rows of `dim` values (K coefficients × rgb) to at most `size` entries. As many different rows are exact.
pub(super) fn palette(rows: &[f32], dim: usize, size: usize) -> Palette {
    let count = rows.len() / dim;
    // equal rows are one point with a weight
    let mut seen: HashMap<&[u32], u32> = HashMap::new();
    let bits: &[u32] = bytemuck::cast_slice(rows);
    let mut points = Vec::new();
    let mut weights: Vec<f64> = Vec::new();
    let mut point_of_row = Vec::with_capacity(count);
    for row in 0..count {
        let next = weights.len() as u32;
        let point = *seen.entry(&bits[row * dim..][..dim]).or_insert(next);
        if point == next {
            points.extend_from_slice(&rows[row * dim..][..dim]);
            weights.push(0.0);
        }
        weights[point as usize] += 1.0;
        point_of_row.push(point);
    }
    if weights.len() <= size {
        let labels = point_of_row.into_iter().map(|p| p as u16).collect();
        return Palette { entries: points, labels };
    }
    points.par_chunks_exact_mut(3).for_each(|rgb| rotate_colors(rgb, false));
    let (entries, entry_of_point) = k_means(&points, &weights, dim, size);
    let mut result = in_order_of_use(&entries, dim, point_of_row.iter().map(|&p| entry_of_point[p as usize]));
    result.entries.par_chunks_exact_mut(3).for_each(|rgb| rotate_colors(rgb, true));
    result
}

/// Orthonormal rotation to grey and two colour differences, or back. Distances stay, but grey carries most of the
/// variance, which lets searches stop early.
fn rotate_colors(rgb: &mut [f32], back: bool) {
    const M: [[f32; 3]; 3] = [
        [0.577_350_27, 0.577_350_27, 0.577_350_27],
        [FRAC_1_SQRT_2, 0.0, -FRAC_1_SQRT_2],
        [0.408_248_29, -0.816_496_58, 0.408_248_29],
    ];
    let v = [rgb[0], rgb[1], rgb[2]];
    for k in 0..3 {
        rgb[k] = (0..3).map(|j| v[j] * if back { M[j][k] } else { M[k][j] }).sum();
    }
}

/// Renumbers entries by first use and drops unused ones.
fn in_order_of_use(entries: &[f32], dim: usize, labels: impl Iterator<Item = u32>) -> Palette {
    let mut new = vec![u32::MAX; entries.len() / dim];
    let mut ordered = Vec::with_capacity(entries.len());
    let labels = labels
        .map(|old| {
            let slot = &mut new[old as usize];
            if *slot == u32::MAX {
                *slot = (ordered.len() / dim) as u32;
                ordered.extend_from_slice(&entries[old as usize * dim..][..dim]);
            }
            *slot as u16
        })
        .collect();
    Palette { entries: ordered, labels }
}

/// Entries and the entry of each point.
fn k_means(points: &[f32], weights: &[f64], dim: usize, size: usize) -> (Vec<f32>, Vec<u32>) {
    let mut labels = split_cells(points, weights, dim, size);
    let mut entries = vec![0.0; size * dim];
    move_to_means(points, weights, dim, &labels, &mut entries);
    for _ in 0..ROUNDS {
        let tree = Tree::new(&entries, dim);
        let found: Vec<(u32, f32)> = points
            .par_chunks_exact(dim)
            .zip(&labels)
            .map(|(point, &label)| {
                let start = (label, distance(point, &entries[label as usize * dim..][..dim]));
                tree.nearest(point, start, LEAVES)
            })
            .collect();
        let changed = found.iter().zip(&labels).any(|((label, _), old)| label != old);
        labels.clear();
        labels.extend(found.iter().map(|f| f.0));
        let reseeded = reseed(weights, &found, &mut labels, size);
        if !changed && !reseeded {
            break;
        }
        move_to_means(points, weights, dim, &labels, &mut entries);
    }
    (entries, labels)
}

/// Gives every empty entry the point with the largest error. Points alone in their entry have none to give.
fn reseed(weights: &[f64], found: &[(u32, f32)], labels: &mut [u32], size: usize) -> bool {
    let mut used = vec![false; size];
    found.iter().for_each(|f| used[f.0 as usize] = true);
    let empty: Vec<u32> = (0..size as u32).filter(|&entry| !used[entry as usize]).collect();
    if empty.is_empty() {
        return false;
    }
    let error = |i: usize| weights[i] * f64::from(found[i].1);
    let mut worst: Vec<usize> = (0..found.len()).filter(|&i| found[i].1 > 0.0).collect();
    worst.sort_unstable_by(|&a, &b| error(b).total_cmp(&error(a)).then(a.cmp(&b)));
    empty.iter().zip(&worst).for_each(|(&entry, &point)| labels[point] = entry);
    !worst.is_empty()
}

/// Weighted means; an entry without points stays where it is. Sums run in the order of the points: deterministic.
fn move_to_means(points: &[f32], weights: &[f64], dim: usize, labels: &[u32], entries: &mut [f32]) {
    let size = entries.len() / dim;
    let mut sums = vec![0.0f64; size * dim];
    let mut totals = vec![0.0f64; size];
    for (i, &label) in labels.iter().enumerate() {
        let sum = &mut sums[label as usize * dim..][..dim];
        sum.iter_mut().zip(&points[i * dim..][..dim]).for_each(|(s, &v)| *s += weights[i] * f64::from(v));
        totals[label as usize] += weights[i];
    }
    for (entry, (sum, &total)) in entries.chunks_exact_mut(dim).zip(sums.chunks_exact(dim).zip(&totals)) {
        if total > 0.0 {
            entry.iter_mut().zip(sum).for_each(|(e, s)| *e = (s / total) as f32);
        }
    }
}

/// A run of points, and how much splitting it promises to gain.
struct Cell {
    error: f64,
    from: usize,
    to: usize,
    axis: usize,
    mean: f32,
}

impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Cell {}
impl PartialOrd for Cell {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Cell {
    fn cmp(&self, other: &Self) -> Ordering {
        self.error.total_cmp(&other.error).then(other.from.cmp(&self.from))
    }
}

/// First guess: splits the cell with the largest squared error along its widest axis at the mean until there are `size`.
fn split_cells(points: &[f32], weights: &[f64], dim: usize, size: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..weights.len() as u32).collect();
    let cell = |order: &[u32], from: usize, to: usize| {
        let mut total = 0.0;
        let mut sums = vec![[0.0f64; 2]; dim];
        for &i in &order[from..to] {
            let w = weights[i as usize];
            total += w;
            for (sum, &v) in sums.iter_mut().zip(&points[i as usize * dim..][..dim]) {
                sum[0] += w * f64::from(v);
                sum[1] += w * f64::from(v) * f64::from(v);
            }
        }
        let variance = |axis: usize| (sums[axis][1] - sums[axis][0] * sums[axis][0] / total).max(0.0);
        let axis = (1..dim).fold(0, |best, axis| if variance(axis) > variance(best) { axis } else { best });
        // a single point cannot be split, whatever rounding leaves of its variance
        let error = if to - from > 1 { (0..dim).map(variance).sum() } else { -1.0 };
        Cell { error, from, to, axis, mean: (sums[axis][0] / total) as f32 }
    };
    let mut heap = BinaryHeap::from([cell(&order, 0, weights.len())]);
    while heap.len() < size {
        let Some(worst) = heap.pop() else { break };
        if worst.error < 0.0 {
            heap.push(worst);
            break;
        }
        let value = |i: u32| points[i as usize * dim + worst.axis];
        let run = &mut order[worst.from..worst.to];
        run.sort_unstable_by(|&a, &b| value(a).total_cmp(&value(b)).then(a.cmp(&b)));
        let middle = run.partition_point(|&i| value(i) <= worst.mean).clamp(1, run.len() - 1) + worst.from;
        heap.push(cell(&order, worst.from, middle));
        heap.push(cell(&order, middle, worst.to));
    }
    let mut labels = vec![0; weights.len()];
    let mut cells = heap.into_vec();
    cells.sort_unstable_by_key(|cell| cell.from);
    for (label, cell) in cells.iter().enumerate() {
        order[cell.from..cell.to].iter().for_each(|&i| labels[i as usize] = label as u32);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Vec<f32> {
        (0..count * 9).map(|i| ((i / 9) as f32 * 0.37).sin() * 0.3 + ((i * i % 1013) as f32) * 1e-4).collect()
    }

    #[test]
    fn few_different_rows_are_exact() {
        let base = rows(7);
        let repeated: Vec<f32> = (0..50).flat_map(|i| base[i * 3 % 7 * 9..][..9].to_vec()).collect();
        let p = palette(&repeated, 9, 8);
        assert_eq!(p.entries.len(), 7 * 9);
        for (row, &label) in repeated.chunks_exact(9).zip(&p.labels) {
            assert_eq!(row, &p.entries[usize::from(label) * 9..][..9]);
        }
        assert_eq!(palette(&vec![0.0; 90], 9, 10).entries, [0.0; 9]);
    }

    #[test]
    fn the_palette_does_not_depend_on_the_number_of_threads() {
        let rows = rows(3000);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let p = pool.install(|| palette(&rows, 9, 256));
            (p.entries, p.labels)
        };
        let one = with(1);
        assert_eq!(one, with(3));
        assert!(one.0.len() <= 256 * 9 && one.0.len() > 250 * 9);
        let error = |entries: &[f32], labels: &[u16]| -> f64 {
            let rows = rows.chunks_exact(9).zip(labels);
            rows.map(|(r, &l)| f64::from(distance(r, &entries[usize::from(l) * 9..][..9]))).sum::<f64>()
        };
        let mean: Vec<f32> = (0..9).map(|k| rows.iter().skip(k).step_by(9).sum::<f32>() / 3000.0).collect();
        assert!(error(&one.0, &one.1) < 0.02 * error(&mean, &vec![0; 3000]));
    }

    #[test]
    fn sizes_follow_the_format() {
        assert_eq!([1, 1000, 1025, 2048, 31_000, 1 << 20].map(size_for), [1, 1000, 1024, 2048, 16_384, 65_536]);
    }
}
