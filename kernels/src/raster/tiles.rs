//! Depth order, and which splats each tile of the image sees.
//!
//! Splats are sorted once per view; walking them in that order and appending each to the tiles it touches leaves every
//! tile's list sorted, without a second sort over the many more pairs of tile and splat.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rayon::prelude::*;

use super::projection::Drawn;

/// Columns of a tile. Colour and transmittance of 32 × 16 pixels take 8 KiB and stay in the first-level cache.
pub(super) const WIDTH: usize = 32;
/// Rows of a tile. A row of tiles is one task: 32 tasks for an image of 512².
pub(super) const HEIGHT: usize = 16;
/// Splats that one task counts or appends.
const CHUNK: usize = 16 * 1024;
/// Bits of a radix digit: three passes over 32-bit keys, 2048 counters.
const DIGIT_BITS: u32 = 11;

/// Lists of splats, one per tile, tiles row-major.
pub(super) struct Tiles {
    /// Tiles in a row.
    pub columns: usize,
    /// Where each tile's list starts in `ranks`; one more for the end.
    pub starts: Vec<u32>,
    /// Positions in the depth-sorted splats.
    pub ranks: Vec<u32>,
}

/// Splats that one task projects.
pub(super) const PROJECTED: usize = 4096;

/// Joins what the projection tasks made of [`PROJECTED`] splats each and sorts by depth, nearest first, ties by index.
pub(super) fn sort(parts: &[Vec<Drawn>]) -> Vec<Drawn> {
    let mut keys: Vec<u64> = Vec::with_capacity(parts.iter().map(Vec::len).sum());
    for (number, part) in parts.iter().enumerate() {
        let place = |i: usize| (number * PROJECTED + i) as u64;
        keys.extend(part.iter().enumerate().map(|(i, s)| u64::from(order_bits(s.depth)) << 32 | place(i)));
    }
    let mut other = vec![0u64; keys.len()];
    for pass in 0..32u32.div_ceil(DIGIT_BITS) {
        let digit = |key: u64| (key >> (32 + pass * DIGIT_BITS)) as usize & ((1 << DIGIT_BITS) - 1);
        let mut counts = vec![0usize; 1 << DIGIT_BITS];
        keys.iter().for_each(|key| counts[digit(*key)] += 1);
        if counts.contains(&keys.len()) {
            continue;
        }
        let mut start = 0;
        for count in &mut counts {
            start += std::mem::replace(count, start);
        }
        for key in &keys {
            let slot = &mut counts[digit(*key)];
            other[*slot] = *key;
            *slot += 1;
        }
        std::mem::swap(&mut keys, &mut other);
    }
    let take = |key: &u64| {
        let place = *key as u32 as usize;
        parts[place / PROJECTED][place % PROJECTED]
    };
    keys.par_iter().with_min_len(4096).map(take).collect()
}

/// An integer that orders like the number.
fn order_bits(depth: f32) -> u32 {
    let bits = depth.to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

impl Tiles {
    /// Lists `splats`, which are in depth order, for an image of `width` × `height` pixels.
    pub fn new(splats: &[Drawn], width: usize, height: usize) -> Self {
        let columns = width.div_ceil(WIDTH);
        let count = columns * height.div_ceil(HEIGHT);
        let mut chunk_counts: Vec<Vec<u32>> = splats
            .par_chunks(CHUNK)
            .map(|chunk| {
                let mut counts = vec![0u32; count];
                for splat in chunk {
                    for_each_tile(splat, columns, |tile| counts[tile] += 1);
                }
                counts
            })
            .collect();
        // counts become the position at which each chunk goes on with each tile
        let mut starts = Vec::with_capacity(count + 1);
        let mut start = 0u32;
        for tile in 0..count {
            starts.push(start);
            for counts in &mut chunk_counts {
                start += std::mem::replace(&mut counts[tile], start);
            }
        }
        starts.push(start);
        let ranks: Vec<AtomicU32> = (0..start).map(|_| AtomicU32::new(0)).collect();
        splats.par_chunks(CHUNK).zip(chunk_counts).enumerate().for_each(|(number, (chunk, mut next))| {
            for (i, splat) in chunk.iter().enumerate() {
                for_each_tile(splat, columns, |tile| {
                    // each chunk has its own places; atomics only because the compiler cannot see that
                    ranks[next[tile] as usize].store((number * CHUNK + i) as u32, Relaxed);
                    next[tile] += 1;
                });
            }
        });
        Self { columns, starts, ranks: ranks.into_iter().map(AtomicU32::into_inner).collect() }
    }

    /// Range of a tile's list in `ranks`.
    pub fn range(&self, tile: usize) -> std::ops::Range<usize> {
        self.starts[tile] as usize..self.starts[tile + 1] as usize
    }
}

#[inline(always)]
fn for_each_tile(splat: &Drawn, columns: usize, mut visit: impl FnMut(usize)) {
    let [first, last] = splat.columns.map(|c| usize::from(c) / WIDTH);
    let [top, bottom] = splat.rows.map(|r| usize::from(r) / HEIGHT);
    for row in top..=bottom {
        for column in first..=last {
            visit(row * columns + column);
        }
    }
}
