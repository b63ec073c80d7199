//! Which colours the pixels of a photo suggest for the splats that cover them: what RGBAvatar initialises colours with.

use rayon::prelude::*;

use super::{
    Forward,
    tiles::{HEIGHT, WIDTH},
};

/// A pixel belongs to the subject when its matte is above this.
pub const MATTE: f32 = 0.5;
/// Only splats that show at a pixel with more than this weight T α take its colour.
pub const SHOWN: f32 = 0.1;

/// Sums over the pixels of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Σ T α of each splat, N.
    pub weights: Vec<f32>,
    /// Σ T α c of each splat, c the photo's colour, N × 3.
    pub colors: Vec<[f32; 3]>,
}

impl Forward {
    /// What the photo shows at the pixels where each of the `count` splats of the scene shows: sums over pixels whose matte is above
    /// [`MATTE`] and weights above [`SHOWN`]. `photo` is height × width × 3, not multiplied by the matte, `matte` height × width.
    ///
    /// # Panics
    /// When the arrays have not the size of the image.
    pub fn observed(&self, count: usize, photo: &[f32], matte: &[f32]) -> Observed {
        let (width, height, tiles) = (self.image.width as usize, self.image.height as usize, &self.tiles);
        assert_eq!((photo.len(), matte.len()), (3 * width * height, width * height), "a photo of the image's size");
        let mut pairs = vec![[0.0f32; 4]; tiles.ranks.len()];
        let mut rest = pairs.as_mut_slice();
        let mut tasks = Vec::new();
        for tile_row in 0..height.div_ceil(HEIGHT) {
            let first = tiles.starts[tile_row * tiles.columns] as usize;
            let end = tiles.starts[(tile_row + 1) * tiles.columns] as usize;
            let (task, after) = rest.split_at_mut(end - first);
            rest = after;
            tasks.push((tile_row, task));
        }
        tasks.into_par_iter().for_each(|(tile_row, mut out)| {
            for tile_column in 0..tiles.columns {
                let range = tiles.range(tile_row * tiles.columns + tile_column);
                let (tile_out, after) = std::mem::take(&mut out).split_at_mut(range.len());
                out = after;
                let ranks = &tiles.ranks[range];
                for row in tile_row * HEIGHT..height.min((tile_row + 1) * HEIGHT) {
                    for column in tile_column * WIDTH..width.min((tile_column + 1) * WIDTH) {
                        let pixel = row * width + column;
                        if matte[pixel] > MATTE {
                            self.observe(ranks, [column, row], &photo[3 * pixel..][..3], tile_out);
                        }
                    }
                }
            }
        });
        let mut out = Observed { weights: vec![0.0; count], colors: vec![[0.0; 3]; count] };
        for (rank, [weight, r, g, b]) in tiles.ranks.iter().zip(pairs) {
            let splat = self.splats[*rank as usize].index as usize;
            out.weights[splat] += weight;
            out.colors[splat].iter_mut().zip([r, g, b]).for_each(|(sum, v)| *sum += v);
        }
        out
    }

    /// One pixel, front to back, up to the last splat that the way forward blended there.
    fn observe(&self, ranks: &[u32], [column, row]: [usize; 2], color: &[f32], out: &mut [[f32; 4]]) {
        let (settings, threshold) = (&self.view.settings, self.view.alpha_min.log2());
        let last = self.last[row * self.image.width as usize + column] as usize;
        let mut light = 1.0f32;
        for (rank, sum) in ranks[..last].iter().zip(out) {
            let splat = &self.splats[*rank as usize];
            let within = |span: [u16; 2], at: usize| usize::from(span[0]) <= at && at <= usize::from(span[1]);
            if !(within(splat.columns, column) && within(splat.rows, row)) {
                continue;
            }
            let (dx, dy) = (column as f32 + 0.5 - splat.center[0], row as f32 + 0.5 - splat.center[1]);
            let [xx, xy, yy] = splat.falloff;
            let log2_alpha = splat.log2_opacity + xx * dx * dx + xy * dx * dy + yy * dy * dy;
            if log2_alpha < threshold {
                continue;
            }
            let weight = light * log2_alpha.exp2().min(settings.alpha_max as f32);
            light -= weight;
            if weight > SHOWN {
                sum[0] += weight;
                sum[1..].iter_mut().zip(color).for_each(|(s, c)| *s += weight * c);
            }
        }
    }
}
