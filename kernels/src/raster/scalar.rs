//! The readable rasteriser: forward only, f64, one loop over splats per band of rows. The oracle of the fast ones.

use gav_formats::{
    Camera, RenderModel, Splats,
    conventions::{matrix_from_quaternion, normalize_quaternion, opacity_from_logit, sh_basis},
};
use rayon::prelude::*;

use super::{
    ALPHA_MAX, ALPHA_MIN, DILATION, EIGENVALUE_FLOOR, FOOTPRINT_SIGMAS, FRUSTUM_MARGIN, Image, NEAR, TRANSMITTANCE_STOP,
};

/// Rows that one task blends.
const BAND_ROWS: usize = 16;

/// A splat as the image plane sees it.
struct Projected {
    depth: f32,
    /// Centre in pixels.
    center: [f64; 2],
    /// Inverse of the dilated screen covariance: xx, xy, yy in 1/px².
    conic: [f64; 3],
    opacity: f64,
    color: [f64; 3],
    /// First and last column and row of the footprint inside the image.
    columns: [usize; 2],
    rows: [usize; 2],
}

/// Draws `splats` as `camera` sees them over `background`.
///
/// Splats with an attribute that is not a number, an infinite mean or an infinite size are left out; infinite opacity
/// logits and log-scales of −∞ are legal and mean opaque and flat.
pub fn render(splats: &Splats, camera: &Camera, model: RenderModel, background: [f32; 3]) -> Image {
    let (width, height) = (camera.width as usize, camera.height as usize);
    let mut image = Image {
        width: camera.width,
        height: camera.height,
        rgb: vec![0.0; width * height * 3],
        alpha: vec![0.0; width * height],
    };
    if width == 0 || height == 0 {
        return image;
    }
    let view = View::new(camera);
    let mut projected: Vec<Projected> =
        (0..splats.len()).into_par_iter().filter_map(|i| view.project(splats, i, model)).collect();
    // the sort is stable and the list is in index order, so equal depths stay in index order
    projected.par_sort_by(|a, b| a.depth.total_cmp(&b.depth));

    let bands = height.div_ceil(BAND_ROWS);
    let mut band_lists: Vec<Vec<u32>> = vec![Vec::new(); bands];
    for (index, splat) in projected.iter().enumerate() {
        for list in &mut band_lists[splat.rows[0] / BAND_ROWS..=splat.rows[1] / BAND_ROWS] {
            list.push(index as u32);
        }
    }
    let band_pixels = BAND_ROWS * width;
    image
        .rgb
        .par_chunks_mut(band_pixels * 3)
        .zip(image.alpha.par_chunks_mut(band_pixels))
        .zip(band_lists.par_iter())
        .enumerate()
        .for_each(|(band, ((rgb, alpha), list))| {
            let order = list.iter().map(|&i| &projected[i as usize]);
            blend_band(order, band * BAND_ROWS, width, background, rgb, alpha);
        });
    image
}

/// Blends splats, nearest first, into the rows from `first_row` on.
fn blend_band<'a>(
    order: impl Iterator<Item = &'a Projected>,
    first_row: usize,
    width: usize,
    background: [f32; 3],
    rgb: &mut [f32],
    alpha_out: &mut [f32],
) {
    let rows = alpha_out.len() / width;
    let mut color = vec![[0.0f64; 3]; alpha_out.len()];
    let mut transmittance = vec![1.0f64; alpha_out.len()];
    for splat in order {
        let [xx, xy, yy] = splat.conic;
        // α ≥ ALPHA_MIN means xᵀ conic x ≤ level; only those columns of a row can be seen
        let level = 2.0 * (splat.opacity / ALPHA_MIN).ln();
        for row in splat.rows[0].max(first_row)..=splat.rows[1].min(first_row + rows - 1) {
            let dy = row as f64 + 0.5 - splat.center[1];
            let discriminant = (xy * dy) * (xy * dy) - xx * (yy * dy * dy - level);
            if discriminant < 0.0 {
                continue;
            }
            let (middle, reach) = (splat.center[0] - xy * dy / xx, discriminant.sqrt() / xx);
            // a column beyond each end, against rounding; the α test below decides
            let first = (middle - reach - 1.5).max(splat.columns[0] as f64) as usize;
            let last = (middle + reach + 0.5).min(splat.columns[1] as f64);
            if last < 0.0 {
                continue;
            }
            for column in first..=last as usize {
                let pixel = (row - first_row) * width + column;
                if transmittance[pixel] < TRANSMITTANCE_STOP {
                    continue;
                }
                let dx = column as f64 + 0.5 - splat.center[0];
                let power = -0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy;
                let alpha = (splat.opacity * power.exp()).min(ALPHA_MAX);
                if alpha < ALPHA_MIN {
                    continue;
                }
                let weight = alpha * transmittance[pixel];
                for channel in 0..3 {
                    color[pixel][channel] += weight * splat.color[channel];
                }
                transmittance[pixel] *= 1.0 - alpha;
            }
        }
    }
    for (pixel, (color, light)) in color.iter().zip(&transmittance).enumerate() {
        for channel in 0..3 {
            rgb[pixel * 3 + channel] = (color[channel] + light * f64::from(background[channel])) as f32;
        }
        alpha_out[pixel] = (1.0 - light) as f32;
    }
}

/// What of a camera is the same for all splats.
struct View<'a> {
    camera: &'a Camera,
    /// Rows of the rotation part of `camera_from_world`.
    rotation: [[f64; 3]; 3],
    /// Camera centre in avatar coordinates.
    center: [f64; 3],
    /// Smallest and largest slopes x/z and y/z that enter the Jacobian.
    slope_min: [f64; 2],
    slope_max: [f64; 2],
}

impl<'a> View<'a> {
    fn new(camera: &'a Camera) -> Self {
        let m = &camera.camera_from_world;
        let rotation: [[f64; 3]; 3] = std::array::from_fn(|r| std::array::from_fn(|c| m[r][c]));
        let center = std::array::from_fn(|c| -(0..3).map(|r| rotation[r][c] * m[r][3]).sum::<f64>());
        let size = [f64::from(camera.width), f64::from(camera.height)];
        let margin: [f64; 2] = std::array::from_fn(|k| FRUSTUM_MARGIN * 0.5 * size[k] / camera.focal[k]);
        Self {
            camera,
            rotation,
            center,
            slope_min: std::array::from_fn(|k| -camera.principal[k] / camera.focal[k] - margin[k]),
            slope_max: std::array::from_fn(|k| (size[k] - camera.principal[k]) / camera.focal[k] + margin[k]),
        }
    }

    /// Steps 1 to 4 and 6 of the module description; `None` when the splat cannot be seen.
    fn project(&self, splats: &Splats, index: usize, model: RenderModel) -> Option<Projected> {
        let camera = self.camera;
        let mean = splats.means[index].map(f64::from);
        let opacity = f64::from(opacity_from_logit(splats.opacity_logits[index]));
        let quaternion = splats.rotations[index].map(f64::from);
        let offset: [f64; 3] = std::array::from_fn(|k| mean[k] - self.center[k]);
        let t: [f64; 3] = std::array::from_fn(|r| {
            (0..3).map(|c| self.rotation[r][c] * mean[c]).sum::<f64>() + camera.camera_from_world[r][3]
        });
        // written so that NaN fails every test
        let finite = t.iter().chain(&quaternion).all(|v| v.is_finite());
        if !(finite && t[2] >= NEAR && opacity >= ALPHA_MIN) {
            return None;
        }

        let mut scale = splats.log_scales[index].map(|s| f64::from(s).exp());
        if model == RenderModel::Surfel {
            scale[2] = 0.0;
        }
        let turn = matrix_from_quaternion(normalize_quaternion(quaternion));
        // W R S: the splat's axes in camera coordinates, as columns
        let axes: [[f64; 3]; 3] = std::array::from_fn(|r| {
            std::array::from_fn(|c| (0..3).map(|k| self.rotation[r][k] * turn[k][c]).sum::<f64>() * scale[c])
        });
        let (center, jacobian) = self.projection(t);
        let screen_axes: [[f64; 3]; 2] =
            std::array::from_fn(|r| std::array::from_fn(|c| (0..3).map(|k| jacobian[r][k] * axes[k][c]).sum()));
        let product = |a: usize, b: usize| (0..3).map(|k| screen_axes[a][k] * screen_axes[b][k]).sum::<f64>();
        let (sharp_xx, xy, sharp_yy) = (product(0, 0), product(0, 1), product(1, 1));
        let (xx, yy) = (sharp_xx + DILATION, sharp_yy + DILATION);
        let determinant = xx * yy - xy * xy;
        if !(determinant > 0.0 && determinant.is_finite()) {
            return None;
        }
        let opacity = match model {
            RenderModel::Antialiased => opacity * ((sharp_xx * sharp_yy - xy * xy) / determinant).max(0.0).sqrt(),
            RenderModel::Classic | RenderModel::Surfel => opacity,
        };
        let mid = 0.5 * (xx + yy);
        let radius = (FOOTPRINT_SIGMAS * (mid + (mid * mid - determinant).max(EIGENVALUE_FLOOR).sqrt()).sqrt()).ceil();
        let columns = pixel_range(center[0], radius, camera.width)?;
        let rows = pixel_range(center[1], radius, camera.height)?;
        let color = self.color(splats, index, offset);
        if opacity < ALPHA_MIN || !color.iter().all(|v| v.is_finite()) {
            return None;
        }
        Some(Projected {
            depth: t[2] as f32,
            center,
            conic: [yy / determinant, -xy / determinant, xx / determinant],
            opacity,
            color,
            columns,
            rows,
        })
    }

    /// Screen position of a point in camera coordinates, and the Jacobian of that map there.
    fn projection(&self, t: [f64; 3]) -> ([f64; 2], [[f64; 3]; 2]) {
        let ([fx, fy], [cx, cy]) = (self.camera.focal, self.camera.principal);
        if self.camera.orthographic {
            return ([fx * t[0] + cx, fy * t[1] + cy], [[fx, 0.0, 0.0], [0.0, fy, 0.0]]);
        }
        let inverse_depth = 1.0 / t[2];
        let slope: [f64; 2] =
            std::array::from_fn(|k| (t[k] * inverse_depth).min(self.slope_max[k]).max(self.slope_min[k]));
        (
            [fx * t[0] * inverse_depth + cx, fy * t[1] * inverse_depth + cy],
            [
                [fx * inverse_depth, 0.0, -fx * slope[0] * inverse_depth],
                [0.0, fy * inverse_depth, -fy * slope[1] * inverse_depth],
            ],
        )
    }

    /// Colour of a splat seen along `offset` (camera centre to mean), or along the view axis for parallel projection.
    fn color(&self, splats: &Splats, index: usize, offset: [f64; 3]) -> [f64; 3] {
        let offset = if self.camera.orthographic { self.rotation[2] } else { offset };
        let length = offset.iter().map(|v| v * v).sum::<f64>().sqrt();
        let basis = sh_basis(offset.map(|v| v / length));
        let count = splats.sh_rest_count();
        let rest = &splats.sh_rest[index * count * 3..][..count * 3];
        std::array::from_fn(|channel| {
            let mut value = 0.5 + basis[0] * f64::from(splats.sh0[index][channel]);
            for k in 0..count {
                value += basis[k + 1] * f64::from(rest[k * 3 + channel]);
            }
            if value < 0.0 { 0.0 } else { value }
        })
    }
}

/// First and last pixel of `center ± radius` inside `0..size`; `None` when it lies outside.
fn pixel_range(center: f64, radius: f64, size: u32) -> Option<[usize; 2]> {
    let (first, last) = (center - radius, center + radius);
    if !(last >= 0.0 && first < f64::from(size)) {
        return None;
    }
    Some([first.max(0.0) as usize, last.min(f64::from(size - 1)) as usize])
}
