//! The way back through one tile: from the gradient of its pixels to what each splat of its list receives.
//!
//! With T the light before a splat, cᵢ its channels, g the gradient of the pixel's channels and
//! S = Σ_{behind} T α (c·g) + T_end (background · g − g_alpha): dL/dα = T (c·g) − S / (1 − α). The light is found by
//! dividing by 1 − α from the last splat to the first, so nothing but its final value was stored.

use pulp::{Simd, WithSimd};

use super::{
    Settings,
    blend::{BATCH, Blocks, Lanes, PIXELS, Placed, any, exp2, fetch, splat_channels},
    projection::Drawn,
    tiles::WIDTH,
};

/// What a splat receives from one tile, or from all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received<const C: usize> {
    /// Sums of h, h·dx, h·dy, h·dx², h·dx·dy, h·dy² over the pixels: h = α dL/dα, (dx, dy) from the centre to the pixel.
    pub moments: [f32; 6],
    /// Gradient of the channels.
    pub channels: [f32; C],
}

impl<const C: usize> Default for Received<C> {
    fn default() -> Self {
        Self { moments: [0.0; 6], channels: [0.0; C] }
    }
}

impl<const C: usize> Received<C> {
    pub fn add(&mut self, other: &Self) {
        for (a, b) in self.moments.iter_mut().zip(other.moments) {
            *a += b;
        }
        for (a, b) in self.channels.iter_mut().zip(other.channels) {
            *a += b;
        }
    }
}

/// Pixels of one tile on the way back, in blocks like [`super::blend::TileImage`].
pub(super) struct TileGradient<const C: usize> {
    /// Light behind everything blended so far; at the start T_end.
    pub transmittance: [f32; PIXELS],
    /// One more than the position of the last splat blended.
    pub last: [f32; PIXELS],
    /// S above.
    pub behind: [f32; PIXELS],
    /// g above.
    pub channels: [[f32; PIXELS]; C],
}

/// The part of a tile's work that does not depend on the vector width.
pub(super) struct BlendBackward<'a, const C: usize> {
    pub splats: &'a [Drawn],
    /// As long as `splats`, or empty when `C` is not 7.
    pub normals: &'a [[f32; 3]],
    /// The tile's list.
    pub ranks: &'a [u32],
    /// First column and row of the tile.
    pub origin: [usize; 2],
    pub settings: &'a Settings,
    pub alpha_min: f32,
    pub pixels: &'a mut TileGradient<C>,
    /// One entry for each of `ranks`, zero before.
    pub out: &'a mut [Received<C>],
}

impl<const C: usize> WithSimd for BlendBackward<'_, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { splats, normals, ranks, origin, settings, alpha_min, pixels, out } = self;
        let blocks = Blocks::of(S::F32_LANES);
        let blocks_per_row = WIDTH / blocks.width;
        let lanes = Lanes::new(simd);
        let listed = pixels.last.iter().copied().fold(0.0, f32::max) as usize;
        let transmittance = S::as_mut_simd_f32s(&mut pixels.transmittance).0;
        let last = S::as_simd_f32s(&pixels.last).0;
        let behind = S::as_mut_simd_f32s(&mut pixels.behind).0;
        let gradient = pixels.channels.each_ref().map(|channel| S::as_simd_f32s(channel).0);

        let zero = simd.splat_f32s(0.0);
        let one = simd.splat_f32s(1.0);
        let alpha_max = simd.splat_f32s(settings.alpha_max as f32);
        let threshold = simd.splat_f32s(alpha_min.log2());

        let mut batch = [Drawn::default(); BATCH];
        for position in (0..listed).rev() {
            if position % BATCH == BATCH - 1 || position + 1 == listed {
                fetch(splats, &ranks[position - position % BATCH..], &mut batch);
            }
            let splat = &batch[position % BATCH];
            let color = splat_channels::<S, C>(simd, splat, normals, ranks[position] as usize);
            let placed = Placed::new(simd, splat, origin);
            let number = simd.splat_f32s((position + 1) as f32);
            let mut moments = [zero; 6];
            let mut received = [zero; C];
            for block_row in placed.rows[0]..=placed.rows[1] {
                let row = placed.row(simd, &lanes, block_row);
                let dy = row.dy;
                for block_column in placed.columns[0]..=placed.columns[1] {
                    let (dx, log2_alpha, reached) = placed.block(simd, &lanes, &row, block_column, threshold);
                    let index = block_row * blocks_per_row + block_column;
                    let seen = simd.and_m32s(reached, simd.less_than_or_equal_f32s(number, last[index]));
                    if !any(simd, seen) {
                        continue;
                    }
                    let uncut = simd.select_f32s(seen, exp2(simd, log2_alpha), zero);
                    let alpha = simd.min_f32s(uncut, alpha_max);
                    let inverse = simd.div_f32s(one, simd.sub_f32s(one, alpha));
                    let light = simd.mul_f32s(transmittance[index], inverse);
                    let weight = simd.mul_f32s(alpha, light);
                    let mut along = zero;
                    for channel in 0..C {
                        let g = gradient[channel][index];
                        along = simd.mul_add_f32s(color[channel], g, along);
                        received[channel] = simd.mul_add_f32s(weight, g, received[channel]);
                    }
                    let hidden = simd.mul_f32s(behind[index], inverse);
                    let toward = simd.sub_f32s(simd.mul_f32s(light, along), hidden);
                    let mut h = simd.mul_f32s(uncut, toward);
                    if !settings.alpha_max_passes {
                        h = simd.select_f32s(simd.less_than_or_equal_f32s(uncut, alpha_max), h, zero);
                    }
                    behind[index] = simd.mul_add_f32s(weight, along, behind[index]);
                    transmittance[index] = light;
                    let (hx, hy) = (simd.mul_f32s(h, dx), simd.mul_f32s(h, dy));
                    moments[0] = simd.add_f32s(moments[0], h);
                    moments[1] = simd.add_f32s(moments[1], hx);
                    moments[2] = simd.add_f32s(moments[2], hy);
                    moments[3] = simd.mul_add_f32s(hx, dx, moments[3]);
                    moments[4] = simd.mul_add_f32s(hx, dy, moments[4]);
                    moments[5] = simd.mul_add_f32s(hy, dy, moments[5]);
                }
            }
            for k in 0..6 {
                out[position].moments[k] = simd.reduce_sum_f32s(moments[k]);
            }
            for channel in 0..C {
                out[position].channels[channel] = simd.reduce_sum_f32s(received[channel]);
            }
        }
    }
}
