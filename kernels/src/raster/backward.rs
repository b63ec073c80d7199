//! Drawing with what the way back needs, and the way back.

use gav_formats::{Camera, conventions::sh_rest_count};
use pulp::Arch;
use rayon::prelude::*;

use super::{
    Color, Footprint, Image, Scene, Settings, Shape,
    blend::{BATCH, Blend, Blocks, PIXELS, TileImage},
    blend_backward::{BlendBackward, Received, TileGradient},
    projection::{Drawn, View},
    projection_backward::{ShapeSlot, Slot, backward},
    tiles::{self, HEIGHT, Tiles, WIDTH},
};

/// Splats whose parameters' gradients one task writes.
const CHUNK: usize = 2048;

/// An image and what [`Forward::backward`] needs of how it came about.
pub struct Forward {
    /// The picture.
    pub image: Image,
    pub(super) view: View,
    background: [f32; 3],
    /// Splats that can be seen, in depth order.
    pub(super) splats: Vec<Drawn>,
    /// Their normals in camera coordinates; empty unless asked for.
    normals: Vec<[f32; 3]>,
    pub(super) tiles: Tiles,
    /// Per pixel, one more than the position in its tile's list of the last splat blended.
    pub(super) last: Vec<f32>,
    /// Light that passes each pixel: `1 − alpha`, before rounding takes its digits.
    transmittance: Vec<f32>,
}

/// Gradient of a loss with respect to the image.
#[derive(Debug, Clone, Copy)]
pub struct Upstream<'a> {
    /// With respect to [`Image::rgb`], height × width × 3.
    pub rgb: &'a [f32],
    /// With respect to [`Image::alpha`]; empty means zero.
    pub alpha: &'a [f32],
    /// With respect to [`Image::depth`]; empty means zero.
    pub depth: &'a [f32],
    /// With respect to [`Image::normals`]; empty means zero.
    pub normals: &'a [f32],
}

impl<'a> Upstream<'a> {
    /// Of a loss that depends on the colours alone.
    pub fn rgb(rgb: &'a [f32]) -> Self {
        Self { rgb, alpha: &[], depth: &[], normals: &[] }
    }
}

/// Gradient with respect to the shape, as the scene gave it.
#[derive(Debug, Clone, PartialEq)]
pub enum ShapeGradients {
    /// Of quaternions and log-scales.
    RotationScale(Vec<[f32; 4]>, Vec<[f32; 3]>),
    /// Of the six entries of the covariances; an entry off the diagonal counts for both of its places.
    Covariance(Vec<[f32; 6]>),
}

/// Gradient of a loss with respect to everything drawn. Zero for splats that were not seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// Of the centres, N × 3.
    pub means: Vec<[f32; 3]>,
    /// Of the shapes.
    pub shape: ShapeGradients,
    /// Of the opacity logits, N.
    pub opacity_logits: Vec<f32>,
    /// Of the degree-0 SH coefficients, or of the plain colours, N × 3.
    pub color: Vec<[f32; 3]>,
    /// Of the SH coefficients of degree 1 and up, N × K × 3.
    pub sh_rest: Vec<f32>,
    /// Of the centres on the screen in 1/px, N × 2: what densification looks at.
    pub centers: Vec<[f32; 2]>,
    /// Of the background.
    pub background: [f32; 3],
    /// Of the twelve entries of `camera_from_world`, each taken as free.
    pub camera_from_world: [[f64; 4]; 3],
}

/// As [`render`](super::render), keeping what [`Forward::backward`] needs.
///
/// # Panics
/// When the arrays of `scene` do not belong together, or the image is wider or higher than 65,535 pixels.
pub fn forward(scene: &Scene<'_>, camera: &Camera, settings: &Settings, background: [f32; 3]) -> Forward {
    scene.check();
    let (width, height) = (camera.width as usize, camera.height as usize);
    assert!(width.max(height) <= usize::from(u16::MAX), "image of {width} × {height} pixels");
    let view = View::new(camera, settings);
    let count = if width * height == 0 { 0 } else { scene.len() };
    let parts: Vec<Vec<Drawn>> = (0..count.div_ceil(tiles::PROJECTED))
        .into_par_iter()
        .map(|part| {
            let mut drawn = Vec::with_capacity(tiles::PROJECTED);
            for index in part * tiles::PROJECTED..count.min((part + 1) * tiles::PROJECTED) {
                drawn.extend(view.draw(scene, index));
            }
            drawn
        })
        .collect();
    let splats = tiles::sort(&parts);
    drop(parts);
    let normals = if settings.normals { view.normals(scene, &splats) } else { Vec::new() };
    let tiles = Tiles::new(&splats, width, height);
    let mut forward = Forward {
        image: Image::blank(camera, settings, background),
        view,
        background,
        splats,
        normals,
        tiles,
        last: vec![0.0; width * height],
        transmittance: vec![1.0; width * height],
    };
    match (settings.depth, settings.normals) {
        (false, false) => forward.blend::<3>(),
        (true, false) => forward.blend::<4>(),
        (_, true) => forward.blend::<7>(),
    }
    forward
}

impl Forward {
    /// Pairs of pixel and splat in the rectangles that splats can reach: a measure of the work.
    pub fn pixels_reached(&self) -> u64 {
        let length = |[first, last]: [u16; 2]| u64::from(last - first) + 1;
        self.splats.iter().map(|s| length(s.columns) * length(s.rows)).sum()
    }

    /// Half widths of the square footprints in pixels, N; 0 for splats whose footprint misses the image. A splat too faint
    /// for any pixel has one all the same, as in the original rasteriser, whose densification counts it. Under
    /// [`Footprint::Exact`], which reaches everywhere, the square of [`Footprint::Square`] decides.
    pub fn radii(&self, scene: &Scene<'_>) -> Vec<u32> {
        let rule = match self.view.settings.footprint {
            Footprint::Exact => Footprint::Square,
            other => other,
        };
        (0..scene.len())
            .into_par_iter()
            .with_min_len(1024)
            .map(|index| {
                let ellipse = self.view.ellipse(scene, index);
                ellipse.and_then(|e| self.view.footprint_by(&e, rule)).map_or(0, |(r, _)| r as u32)
            })
            .collect()
    }

    /// Blends all tiles: one task for each row of tiles.
    fn blend<const C: usize>(&mut self) {
        let (width, tiles) = (self.image.width as usize, &self.tiles);
        if width == 0 {
            return;
        }
        let arch = Arch::new();
        let (splats, normals, settings, alpha_min) =
            (&self.splats, &self.normals, &self.view.settings, self.view.alpha_min);
        let rows = HEIGHT * width;
        let background = self.background;
        let mut depth_rows = chunks(&mut self.image.depth, rows);
        let mut normal_rows = chunks(&mut self.image.normals, rows * 3);
        let planes = self.image.rgb.chunks_mut(rows * 3).zip(self.image.alpha.chunks_mut(rows));
        let tasks: Vec<_> = planes
            .zip(self.last.chunks_mut(rows).zip(self.transmittance.chunks_mut(rows)))
            .map(|planes| (planes, depth_rows.next().unwrap_or_default(), normal_rows.next().unwrap_or_default()))
            .collect();
        tasks.into_par_iter().enumerate().for_each(
            |(tile_row, (((rgb, alpha), (last, lights)), depth, normals_out))| {
                let mut out = TileImage::<C> {
                    blocks: Blocks::of(1),
                    transmittance: [1.0; PIXELS],
                    last: [0.0; PIXELS],
                    channels: [[0.0; PIXELS]; C],
                };
                for tile_column in 0..tiles.columns {
                    let ranks = &tiles.ranks[tiles.range(tile_row * tiles.columns + tile_column)];
                    if ranks.is_empty() {
                        continue;
                    }
                    let origin = [tile_column * WIDTH, tile_row * HEIGHT];
                    arch.dispatch(Blend { splats, normals, ranks, origin, settings, alpha_min, out: &mut out });
                    for row in 0..alpha.len() / width {
                        for column in 0..WIDTH.min(width - origin[0]) {
                            let (from, to) = (out.blocks.index(column, row), row * width + origin[0] + column);
                            let light = out.transmittance[from].abs();
                            alpha[to] = 1.0 - light;
                            last[to] = out.last[from];
                            lights[to] = light;
                            for k in 0..3 {
                                rgb[to * 3 + k] = out.channels[k][from] + light * background[k];
                            }
                            if C >= 4 && !depth.is_empty() {
                                depth[to] = out.channels[3.min(C - 1)][from];
                            }
                            if C == 7 {
                                for k in 0..3 {
                                    normals_out[to * 3 + k] = out.channels[(4 + k).min(C - 1)][from];
                                }
                            }
                        }
                    }
                }
            },
        );
    }

    /// Gradients of a loss whose gradient with respect to the image is `upstream`. `scene` is the one that was drawn.
    ///
    /// # Panics
    /// When the arrays of `upstream` have not the size of the image.
    pub fn backward(&self, scene: &Scene<'_>, upstream: &Upstream<'_>) -> Gradients {
        let pixels = self.image.alpha.len();
        assert_eq!(upstream.rgb.len(), pixels * 3, "gradient of the colours");
        for (name, plane, size) in [
            ("coverage", upstream.alpha, pixels),
            ("depth", upstream.depth, pixels),
            ("normals", upstream.normals, pixels * 3),
        ] {
            assert!(plane.is_empty() || plane.len() == size, "gradient of the {name}");
        }
        match (!upstream.depth.is_empty(), !upstream.normals.is_empty()) {
            (false, false) => self.backward_channels::<3>(scene, upstream),
            (true, false) => self.backward_channels::<4>(scene, upstream),
            (_, true) => self.backward_channels::<7>(scene, upstream),
        }
    }

    fn backward_channels<const C: usize>(&self, scene: &Scene<'_>, upstream: &Upstream<'_>) -> Gradients {
        let received = self.sum_tiles(&self.blend_backward::<C>(upstream));
        let mut gradients = self.project_backward(scene, &received);
        for (pixel, g) in upstream.rgb.chunks_exact(3).enumerate() {
            let light = self.transmittance[pixel];
            for k in 0..3 {
                gradients.background[k] += light * g[k];
            }
        }
        gradients
    }

    /// What each pair of tile and splat receives, in the order of the tiles' lists.
    fn blend_backward<const C: usize>(&self, upstream: &Upstream<'_>) -> Vec<Received<C>> {
        let (width, height, tiles) = (self.image.width as usize, self.image.height as usize, &self.tiles);
        let mut received = vec![Received::default(); tiles.ranks.len()];
        let arch = Arch::new();
        let mut rest = received.as_mut_slice();
        let mut tasks = Vec::new();
        for tile_row in 0..height.div_ceil(HEIGHT) {
            let first = tiles.starts[tile_row * tiles.columns] as usize;
            let end = tiles.starts[(tile_row + 1) * tiles.columns] as usize;
            let (task, after) = rest.split_at_mut(end - first);
            rest = after;
            tasks.push((tile_row, task));
        }
        tasks.into_par_iter().for_each(|(tile_row, mut out)| {
            let mut pixels = TileGradient::<C> {
                transmittance: [1.0; PIXELS],
                last: [0.0; PIXELS],
                behind: [0.0; PIXELS],
                channels: [[0.0; PIXELS]; C],
            };
            let blocks = arch.dispatch(LaneBlocks);
            for tile_column in 0..tiles.columns {
                let range = tiles.range(tile_row * tiles.columns + tile_column);
                let (tile_out, after) = std::mem::take(&mut out).split_at_mut(range.len());
                out = after;
                if range.is_empty() {
                    continue;
                }
                let origin = [tile_column * WIDTH, tile_row * HEIGHT];
                pixels.last.fill(0.0);
                for row in 0..HEIGHT.min(height - origin[1]) {
                    for column in 0..WIDTH.min(width - origin[0]) {
                        let (to, from) = (blocks.index(column, row), (origin[1] + row) * width + origin[0] + column);
                        self.load_pixel(upstream, from, to, &mut pixels);
                    }
                }
                arch.dispatch(BlendBackward {
                    splats: &self.splats,
                    normals: &self.normals,
                    ranks: &tiles.ranks[range],
                    origin,
                    settings: &self.view.settings,
                    alpha_min: self.view.alpha_min,
                    pixels: &mut pixels,
                    out: tile_out,
                });
            }
        });
        received
    }

    fn load_pixel<const C: usize>(
        &self,
        upstream: &Upstream<'_>,
        from: usize,
        to: usize,
        pixels: &mut TileGradient<C>,
    ) {
        let light = self.transmittance[from];
        pixels.transmittance[to] = light;
        pixels.last[to] = self.last[from];
        let mut behind = -upstream.alpha.get(from).copied().unwrap_or(0.0);
        for k in 0..3 {
            let g = upstream.rgb[from * 3 + k];
            behind += self.background[k] * g;
            pixels.channels[k][to] = g;
        }
        if C >= 4 {
            pixels.channels[3.min(C - 1)][to] = upstream.depth.get(from).copied().unwrap_or(0.0);
        }
        if C == 7 {
            for k in 0..3 {
                pixels.channels[(4 + k).min(C - 1)][to] = upstream.normals[from * 3 + k];
            }
        }
        pixels.behind[to] = light * behind;
    }

    /// Sums over the tiles, always in their order, per splat in depth order.
    fn sum_tiles<const C: usize>(&self, pairs: &[Received<C>]) -> Vec<Received<C>> {
        let mut sums = vec![Received::default(); self.splats.len()];
        for (rank, pair) in self.tiles.ranks.iter().zip(pairs) {
            sums[*rank as usize].add(pair);
        }
        sums
    }

    fn project_backward<const C: usize>(&self, scene: &Scene<'_>, received: &[Received<C>]) -> Gradients {
        let count = scene.len();
        let rest_size = match scene.color {
            Color::Sh(_, _, degree) => sh_rest_count(degree) * 3,
            Color::Rgb(_) => 0,
        };
        let mut rank_of = vec![u32::MAX; count];
        for (rank, splat) in self.splats.iter().enumerate() {
            rank_of[splat.index as usize] = rank as u32;
        }
        let mut gradients = Gradients {
            means: vec![[0.0; 3]; count],
            shape: match scene.shape {
                Shape::RotationScale(..) => ShapeGradients::RotationScale(vec![[0.0; 4]; count], vec![[0.0; 3]; count]),
                Shape::Covariance(_) => ShapeGradients::Covariance(vec![[0.0; 6]; count]),
            },
            opacity_logits: vec![0.0; count],
            color: vec![[0.0; 3]; count],
            sh_rest: vec![0.0; count * rest_size],
            centers: vec![[0.0; 2]; count],
            background: [0.0; 3],
            camera_from_world: [[0.0; 4]; 3],
        };
        let (mut rotations, mut scales, mut covariances) = match &mut gradients.shape {
            ShapeGradients::RotationScale(r, s) => (chunks(r, CHUNK), chunks(s, CHUNK), chunks(&mut [], CHUNK)),
            ShapeGradients::Covariance(c) => (chunks(&mut [], CHUNK), chunks(&mut [], CHUNK), chunks(c, CHUNK)),
        };
        let mut rest = chunks(&mut gradients.sh_rest, CHUNK * rest_size);
        let planes = gradients.means.chunks_mut(CHUNK).zip(gradients.opacity_logits.chunks_mut(CHUNK));
        let planes = planes.zip(gradients.color.chunks_mut(CHUNK)).zip(gradients.centers.chunks_mut(CHUNK));
        let tasks: Vec<_> = planes
            .map(|planes| {
                let rotations = rotations.next().unwrap_or_default();
                let scales = scales.next().unwrap_or_default();
                let covariances = covariances.next().unwrap_or_default();
                (planes, rotations, scales, covariances, rest.next().unwrap_or_default())
            })
            .collect();
        let cameras: Vec<[[f64; 4]; 3]> = tasks
            .into_par_iter()
            .enumerate()
            .map(|(number, ((((means, opacities), colors), centers), rotations, scales, covariances, rest))| {
                let mut camera = [[0.0; 4]; 3];
                let mut batch = [(Drawn::default(), Received::<C>::default()); BATCH];
                for i in 0..means.len() {
                    let ranks = &rank_of[number * CHUNK..][..means.len()];
                    if i % BATCH == 0 {
                        // all at once, as in `blend::fetch`
                        for (to, rank) in batch.iter_mut().zip(&ranks[i..]) {
                            if *rank != u32::MAX {
                                *to = (self.splats[*rank as usize], received[*rank as usize]);
                            }
                        }
                    }
                    if ranks[i] == u32::MAX {
                        continue;
                    }
                    let slot = Slot {
                        mean: &mut means[i],
                        shape: if covariances.is_empty() {
                            ShapeSlot::RotationScale(&mut rotations[i], &mut scales[i])
                        } else {
                            ShapeSlot::Covariance(&mut covariances[i])
                        },
                        opacity_logit: &mut opacities[i],
                        color: &mut colors[i],
                        sh_rest: &mut rest[i * rest_size..][..rest_size],
                        center: &mut centers[i],
                    };
                    let (drawn, received) = &batch[i % BATCH];
                    backward(&self.view, scene, drawn, received, slot, &mut camera);
                }
                camera
            })
            .collect();
        for camera in cameras {
            for (row, add) in gradients.camera_from_world.iter_mut().zip(camera) {
                row.iter_mut().zip(add).for_each(|(sum, value)| *sum += value);
            }
        }
        gradients
    }
}

/// Mutable chunks of a slice that may be empty, whatever the size.
fn chunks<T>(values: &mut [T], size: usize) -> std::slice::ChunksMut<'_, T> {
    values.chunks_mut(size.max(1))
}

/// The block shape of the vectors that this processor runs.
struct LaneBlocks;

impl pulp::WithSimd for LaneBlocks {
    type Output = Blocks;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Blocks {
        Blocks::of(S::F32_LANES)
    }
}
