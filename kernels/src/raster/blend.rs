//! Front-to-back blending of one tile, in vectors of whatever width the processor has.
//!
//! A vector holds a block of pixels, 4 columns wide (4 × 4 with 16 lanes, 4 × 2 with 8): small splats fill blocks better
//! than rows. The pixels of a tile are stored block after block. Per block and splat: 4 multiply-adds for log₂ α, a
//! comparison that skips blocks the splat does not reach, 10 instructions for 2ˣ, one multiply-add per channel.

use pulp::{Simd, WithSimd};

use super::{
    Saturation, Settings,
    projection::Drawn,
    tiles::{HEIGHT, WIDTH},
};

/// Pixels of a tile.
pub(super) const PIXELS: usize = WIDTH * HEIGHT;
/// Splats copied together, so that memory answers many requests at once; between two batches the tile is checked for being
/// finished.
pub(super) const BATCH: usize = 32;

/// Copies the next splats of a list. On a scene in random order this halves the time of blending.
#[inline(always)]
pub(super) fn fetch(splats: &[Drawn], ranks: &[u32], batch: &mut [Drawn; BATCH]) {
    for (to, rank) in batch.iter_mut().zip(ranks) {
        *to = splats[*rank as usize];
    }
}

/// Channels `0..C` of a splat: colour, then depth (when 4 or more), then normal (when 7).
#[inline(always)]
fn channels<const C: usize>(splat: &Drawn, normal: [f32; 3]) -> [f32; C] {
    let mut out = [0.0; C];
    for (k, out) in out.iter_mut().enumerate() {
        *out = match k {
            0..3 => splat.color[k],
            3 => splat.depth,
            _ => normal[k - 4],
        };
    }
    out
}

/// [`channels`], each in every lane.
#[inline(always)]
pub(super) fn splat_channels<S: Simd, const C: usize>(
    simd: S,
    splat: &Drawn,
    normals: &[[f32; 3]],
    rank: usize,
) -> [S::f32s; C] {
    let normal = if C == 7 { normals[rank] } else { [0.0; 3] };
    // loops, here and below: closures handed to library functions would be compiled without the processor's vectors
    let mut out = [simd.splat_f32s(0.0); C];
    for (out, value) in out.iter_mut().zip(channels::<C>(splat, normal)) {
        *out = simd.splat_f32s(value);
    }
    out
}

/// True when no pixel lets `stop` or more light pass.
#[inline(always)]
fn all_below<S: Simd>(simd: S, transmittance: &[S::f32s], stop: S::f32s) -> bool {
    for light in transmittance {
        if any(simd, simd.greater_than_or_equal_f32s(*light, stop)) {
            return false;
        }
    }
    true
}

/// How the pixels of a tile are laid out for vectors of `lanes` numbers.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    pub width: usize,
    pub height: usize,
}

impl Blocks {
    #[inline(always)]
    pub const fn of(lanes: usize) -> Self {
        let width = if lanes < 4 { lanes } else { 4 };
        Self { width, height: lanes / width }
    }

    /// Index of a pixel of the tile.
    #[inline(always)]
    pub const fn index(self, column: usize, row: usize) -> usize {
        let block = row / self.height * (WIDTH / self.width) + column / self.width;
        block * self.width * self.height + row % self.height * self.width + column % self.width
    }
}

/// What blending leaves of one tile, blocks of pixels one after the other.
pub(super) struct TileImage<const C: usize> {
    pub blocks: Blocks,
    /// Light that passes; negative where a splat was dropped at saturation.
    pub transmittance: [f32; PIXELS],
    /// One more than the position in the list of the last splat blended.
    pub last: [f32; PIXELS],
    pub channels: [[f32; PIXELS]; C],
}

/// The part of a tile's work that does not depend on the vector width.
pub(super) struct Blend<'a, const C: usize> {
    pub splats: &'a [Drawn],
    /// As long as `splats`, or empty when `C` is not 7.
    pub normals: &'a [[f32; 3]],
    /// The tile's list.
    pub ranks: &'a [u32],
    /// First column and row of the tile.
    pub origin: [usize; 2],
    pub settings: &'a Settings,
    pub alpha_min: f32,
    pub out: &'a mut TileImage<C>,
}

/// Coordinates of the lanes inside a block.
pub(super) struct Lanes<S: Simd> {
    pub x: S::f32s,
    pub y: S::f32s,
}

impl<S: Simd> Lanes<S> {
    #[inline(always)]
    pub fn new(simd: S) -> Self {
        let blocks = Blocks::of(S::F32_LANES);
        let (mut x, mut y) = ([0.0f32; 64], [0.0f32; 64]);
        for lane in 0..S::F32_LANES {
            x[lane] = (lane % blocks.width) as f32;
            y[lane] = (lane / blocks.width) as f32;
        }
        Self { x: simd.partial_load_f32s(&x[..S::F32_LANES]), y: simd.partial_load_f32s(&y[..S::F32_LANES]) }
    }
}

/// 2ˣ for −126 ≤ x ≤ 126 to 2·10⁻⁷ relative: 2ⁿ by the exponent bits, n the nearest integer, and a polynomial of degree 5
/// on −½ ≤ x − n ≤ ½, fitted for the smallest relative error (7.5·10⁻⁸ before rounding).
#[inline(always)]
pub(super) fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // adding 1.5 · 2²³ leaves the rounded integer in the low bits
    let magic = simd.splat_f32s(12_582_912.0);
    let shifted = simd.add_f32s(x, magic);
    let f = simd.sub_f32s(x, simd.sub_f32s(shifted, magic));
    let mut y = simd.splat_f32s(0.001_327_647_1);
    for coefficient in [0.009_675_541, 0.055_507_13, 0.240_221_2, 0.693_146_94, 1.000_000_1] {
        y = simd.mul_add_f32s(y, f, simd.splat_f32s(coefficient));
    }
    let exponent = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(y), exponent))
}

#[inline(always)]
pub(super) fn any<S: Simd>(simd: S, mask: S::m32s) -> bool {
    simd.first_true_m32s(mask) < S::F32_LANES
}

/// The lanes of the row and column offsets that lie inside a clipped footprint.
#[inline(always)]
fn within<S: Simd>(simd: S, offset: S::f32s, first: u16, last: u16, center: f32) -> S::m32s {
    // a quarter of a pixel beyond the outermost pixel centres
    let low = simd.splat_f32s(f32::from(first) + 0.25 - center);
    let high = simd.splat_f32s(f32::from(last) + 0.75 - center);
    simd.and_m32s(simd.greater_than_f32s(offset, low), simd.less_than_f32s(offset, high))
}

/// First and last block that a splat touches along one axis of a tile of `size` pixels that starts at `origin`.
#[inline(always)]
fn block_range(span: [u16; 2], origin: usize, size: usize, block: usize) -> [usize; 2] {
    let first = usize::from(span[0]).saturating_sub(origin);
    let last = (usize::from(span[1]) - origin).min(size - 1);
    [first / block, last / block]
}

/// A splat over a tile. Both directions ask it which pixels the splat reaches, and must get the same answer to the bit.
pub(super) struct Placed<'a, S: Simd> {
    splat: &'a Drawn,
    /// First and last column and row of blocks.
    pub columns: [usize; 2],
    pub rows: [usize; 2],
    /// From the centre to the tile's first pixel centre.
    start: [f32; 2],
    falloff: [S::f32s; 3],
    log2_opacity: S::f32s,
}

/// What is the same for the blocks of a row.
pub(super) struct BlockRow<S: Simd> {
    /// Pixels below the splat's centre.
    pub dy: S::f32s,
    slope: S::f32s,
    base: S::f32s,
}

impl<'a, S: Simd> Placed<'a, S> {
    #[inline(always)]
    pub fn new(simd: S, splat: &'a Drawn, origin: [usize; 2]) -> Self {
        let blocks = Blocks::of(S::F32_LANES);
        let [a, b, c] = splat.falloff;
        Self {
            splat,
            columns: block_range(splat.columns, origin[0], WIDTH, blocks.width),
            rows: block_range(splat.rows, origin[1], HEIGHT, blocks.height),
            start: [origin[0] as f32 + 0.5 - splat.center[0], origin[1] as f32 + 0.5 - splat.center[1]],
            falloff: [simd.splat_f32s(a), simd.splat_f32s(b), simd.splat_f32s(c)],
            log2_opacity: simd.splat_f32s(splat.log2_opacity),
        }
    }

    #[inline(always)]
    pub fn row(&self, simd: S, lanes: &Lanes<S>, row: usize) -> BlockRow<S> {
        let first = self.start[1] + (row * Blocks::of(S::F32_LANES).height) as f32;
        let dy = simd.add_f32s(lanes.y, simd.splat_f32s(first));
        let [_, b, c] = self.falloff;
        BlockRow {
            dy,
            slope: simd.mul_f32s(b, dy),
            base: simd.mul_add_f32s(simd.mul_f32s(c, dy), dy, self.log2_opacity),
        }
    }

    /// Pixels to the right of the splat's centre, log₂ α, and where it is at least `threshold` inside the footprint.
    #[inline(always)]
    pub fn block(
        &self,
        simd: S,
        lanes: &Lanes<S>,
        row: &BlockRow<S>,
        column: usize,
        threshold: S::f32s,
    ) -> (S::f32s, S::f32s, S::m32s) {
        let first = self.start[0] + (column * Blocks::of(S::F32_LANES).width) as f32;
        let dx = simd.add_f32s(lanes.x, simd.splat_f32s(first));
        let log2_alpha = simd.mul_add_f32s(simd.mul_add_f32s(self.falloff[0], dx, row.slope), dx, row.base);
        let mut reached = simd.greater_than_or_equal_f32s(log2_alpha, threshold);
        let splat = self.splat;
        if splat.clipped {
            let inside = simd.and_m32s(
                within(simd, dx, splat.columns[0], splat.columns[1], splat.center[0]),
                within(simd, row.dy, splat.rows[0], splat.rows[1], splat.center[1]),
            );
            reached = simd.and_m32s(reached, inside);
        }
        (dx, log2_alpha, reached)
    }
}

impl<const C: usize> WithSimd for Blend<'_, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { splats, normals, ranks, origin, settings, alpha_min, out } = self;
        let blocks = Blocks::of(S::F32_LANES);
        let blocks_per_row = WIDTH / blocks.width;
        out.blocks = blocks;
        out.transmittance.fill(1.0);
        out.last.fill(0.0);
        out.channels.iter_mut().for_each(|channel| channel.fill(0.0));
        let lanes = Lanes::new(simd);
        let transmittance = S::as_mut_simd_f32s(&mut out.transmittance).0;
        let last = S::as_mut_simd_f32s(&mut out.last).0;
        let planes = out.channels.each_mut().map(|channel| S::as_mut_simd_f32s(channel).0);

        let stop = simd.splat_f32s(settings.stop as f32);
        let alpha_max = simd.splat_f32s(settings.alpha_max as f32);
        let threshold = simd.splat_f32s(alpha_min.log2());
        let zero = simd.splat_f32s(0.0);
        let drop_last = settings.saturation == Saturation::Dropped;

        let mut batch = [Drawn::default(); BATCH];
        for (position, rank) in ranks.iter().enumerate() {
            if position % BATCH == 0 {
                if position > 0 && all_below(simd, transmittance, stop) {
                    break;
                }
                fetch(splats, &ranks[position..], &mut batch);
            }
            let splat = &batch[position % BATCH];
            let color = splat_channels::<S, C>(simd, splat, normals, *rank as usize);
            let placed = Placed::new(simd, splat, origin);
            let number = simd.splat_f32s((position + 1) as f32);
            for block_row in placed.rows[0]..=placed.rows[1] {
                let row = placed.row(simd, &lanes, block_row);
                for block_column in placed.columns[0]..=placed.columns[1] {
                    let (_, log2_alpha, reached) = placed.block(simd, &lanes, &row, block_column, threshold);
                    let index = block_row * blocks_per_row + block_column;
                    let light = transmittance[index];
                    let seen = simd.and_m32s(reached, simd.greater_than_or_equal_f32s(light, stop));
                    if !any(simd, seen) {
                        continue;
                    }
                    let alpha = simd.min_f32s(exp2(simd, log2_alpha), alpha_max);
                    let mut weight = simd.mul_f32s(alpha, light);
                    let mut next = simd.sub_f32s(light, weight);
                    if drop_last {
                        let lasts = simd.less_than_f32s(next, stop);
                        next = simd.select_f32s(lasts, simd.neg_f32s(light), next);
                        weight = simd.select_f32s(lasts, zero, weight);
                        let drawn = simd.and_m32s(seen, simd.greater_than_or_equal_f32s(next, stop));
                        last[index] = simd.select_f32s(drawn, number, last[index]);
                    } else {
                        last[index] = simd.select_f32s(seen, number, last[index]);
                    }
                    weight = simd.select_f32s(seen, weight, zero);
                    transmittance[index] = simd.select_f32s(seen, next, light);
                    for channel in 0..C {
                        planes[channel][index] = simd.mul_add_f32s(weight, color[channel], planes[channel][index]);
                    }
                }
            }
        }
    }
}
