//! The best 256 values for a set of numbers: an optimal one-dimensional quantiser by dynamic programming.

/// Entries of a codebook.
pub(super) const ENTRIES: usize = 256;
/// Histogram bins: finer than any spacing that 256 entries can reach.
const BINS: usize = 8192;
/// The weight of a bin is its count to this power. 1 has the least mean squared error but a worst case that is a third
/// larger for rare scales; 0.5 spends too many entries on the tails.
const WEIGHT_EXPONENT: f64 = 0.75;

/// An ascending codebook for `values` (finite). Up to 256 different values are represented exactly.
pub(super) fn codebook(values: impl Iterator<Item = f32> + Clone) -> [f32; ENTRIES] {
    if let Some(exact) = few_values(values.clone()) {
        return exact;
    }
    let (low, high) = values.clone().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let (low, high) = (f64::from(low), f64::from(high));
    let mut bins = vec![(0u64, 0.0f64); BINS];
    for value in values {
        let position = (f64::from(value) - low) / (high - low) * BINS as f64;
        let bin = &mut bins[(position as usize).min(BINS - 1)];
        bin.0 += 1;
        bin.1 += f64::from(value);
    }
    let points: Vec<(f64, f64)> = bins
        .into_iter()
        .filter(|bin| bin.0 > 0)
        .map(|(count, sum)| (sum / count as f64, (count as f64).powf(WEIGHT_EXPONENT)))
        .collect();
    padded(&optimal(&points, ENTRIES))
}

/// Index of the entry nearest to `value` in an ascending codebook.
pub(super) fn nearest(codebook: &[f32; ENTRIES], value: f32) -> u8 {
    let above = codebook.partition_point(|&entry| entry < value).min(ENTRIES - 1);
    let below = above.saturating_sub(1);
    (if value - codebook[below] < codebook[above] - value { below } else { above }) as u8
}

/// The sorted different values, when there are at most 256.
fn few_values(values: impl Iterator<Item = f32>) -> Option<[f32; ENTRIES]> {
    let mut seen: Vec<f32> = Vec::with_capacity(ENTRIES);
    for value in values {
        if let Err(at) = seen.binary_search_by(|entry| entry.total_cmp(&value)) {
            if seen.len() == ENTRIES {
                return None;
            }
            seen.insert(at, value);
        }
    }
    Some(padded(&seen))
}

fn padded(entries: &[f32]) -> [f32; ENTRIES] {
    let last = entries.last().copied().unwrap_or(0.0);
    std::array::from_fn(|k| entries.get(k).copied().unwrap_or(last))
}

/// Means of the `k` runs of ascending weighted points that minimise the weighted squared error.
///
/// The best start of the last run never decreases with the number of points (Wu 1991), which lets every layer be
/// solved by divide and conquer in n log n.
fn optimal(points: &[(f64, f64)], k: usize) -> Vec<f32> {
    let n = points.len();
    let k = k.min(n);
    let mut sums = vec![[0.0f64; 3]; n + 1];
    // offsets from the middle keep the differences of squares accurate
    let origin = points.get(n / 2).map_or(0.0, |p| p.0);
    for (i, &(x, w)) in points.iter().enumerate() {
        let d = x - origin;
        sums[i + 1] = [sums[i][0] + w, sums[i][1] + w * d, sums[i][2] + w * d * d];
    }
    let run = |from: usize, to: usize| -> [f64; 3] { std::array::from_fn(|m| sums[to][m] - sums[from][m]) };
    let cost = |from: usize, to: usize| {
        let [w, wx, wxx] = run(from, to);
        if w > 0.0 { (wxx - wx * wx / w).max(0.0) } else { 0.0 }
    };
    let mut best: Vec<f64> = (0..=n).map(|to| cost(0, to)).collect();
    let mut starts = vec![0u32; k * (n + 1)];
    for layer in 1..k {
        let mut next = vec![f64::INFINITY; n + 1];
        let row = &mut starts[layer * (n + 1)..][..n + 1];
        // (first, last) number of points to solve, (lowest, highest) start that can be best
        let mut tasks = vec![(layer + 1, n, layer, n - 1)];
        while let Some((first, last, lowest, highest)) = tasks.pop() {
            if first > last {
                continue;
            }
            let middle = (first + last) / 2;
            let mut chosen = lowest;
            for start in lowest..=highest.min(middle - 1) {
                let total = best[start] + cost(start, middle);
                if total < next[middle] {
                    next[middle] = total;
                    chosen = start;
                }
            }
            row[middle] = chosen as u32;
            tasks.push((first, middle - 1, lowest, chosen));
            tasks.push((middle + 1, last, chosen, highest));
        }
        best = next;
    }
    let mut entries = Vec::with_capacity(k);
    let mut to = n;
    for layer in (0..k).rev() {
        let from = starts[layer * (n + 1) + to] as usize;
        let [w, wx, _] = run(from, to);
        entries.push((origin + if w > 0.0 { wx / w } else { 0.0 }) as f32);
        to = from;
    }
    entries.reverse();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_kept_exactly() {
        let values = [3.5f32, -1.0, 3.5, 0.25];
        let book = codebook(values.into_iter());
        assert_eq!(book[..4], [-1.0, 0.25, 3.5, 3.5]);
        for value in values {
            assert_eq!(book[usize::from(nearest(&book, value))], value);
        }
        assert_eq!(codebook(std::iter::empty()), [0.0; 256]);
    }

    #[test]
    fn runs_are_optimal_among_all_partitions() {
        let points: Vec<(f64, f64)> =
            [0.0, 1.0, 1.5, 4.0, 4.1, 9.0, 9.5, 12.0].map(|x: f64| (x, 1.0 + x % 2.0)).to_vec();
        let error = |entries: &[f32]| -> f64 {
            let nearest = |x: f64| entries.iter().map(|&e| (x - f64::from(e)).powi(2)).fold(f64::MAX, f64::min);
            points.iter().map(|&(x, w)| w * nearest(x)).sum()
        };
        let mean = |run: &[(f64, f64)]| {
            (run.iter().map(|p| p.0 * p.1).sum::<f64>() / run.iter().map(|p| p.1).sum::<f64>()) as f32
        };
        let mut least = f64::MAX;
        for a in 1..7 {
            for b in a + 1..8 {
                least = least.min(error(&[mean(&points[..a]), mean(&points[a..b]), mean(&points[b..])]));
            }
        }
        assert!((error(&optimal(&points, 3)) - least).abs() < 1e-6);
    }

    #[test]
    fn many_values_fare_better_than_with_equal_steps() {
        let values = (0..20_000).map(|i| (f64::from(i) * 0.37).sin() as f32 * (i % 7) as f32);
        let book = codebook(values.clone());
        assert!(book.is_sorted());
        let error = |v: f32| f64::from(book[usize::from(nearest(&book, v))] - v).powi(2);
        let mean = values.map(error).sum::<f64>() / 20_000.0;
        let step = 12.0 / 255.0;
        assert!(mean < 0.8 * step * step / 12.0, "{mean}");
    }
}
