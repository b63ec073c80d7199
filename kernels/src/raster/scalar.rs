//! The readable rasteriser: f64 throughout, forward only, one splat after the other in one pixel after the other.
//!
//! The fast rasteriser is tested against its images, and its gradients against differences of these images.

use gav_formats::{
    Camera, RenderModel,
    conventions::{matrix_from_quaternion, sh_basis, sh_rest_count},
};

use super::{
    Color, EIGENVALUE_FLOOR, FOOTPRINT_SIGMAS, Footprint, Saturation, Scene, Settings, Shape, Slopes,
    projection::inverse,
};

/// [`Scene`] in f64, owned.
#[derive(Debug, Clone, PartialEq)]
pub struct Splats64 {
    /// Centres.
    pub means: Vec<[f64; 3]>,
    /// Quaternions w, x, y, z; empty when covariances are given.
    pub rotations: Vec<[f64; 4]>,
    /// Log-scales; empty when covariances are given.
    pub log_scales: Vec<[f64; 3]>,
    /// Covariances xx, xy, xz, yy, yz, zz; empty when rotations and scales are given.
    pub covariances: Vec<[f64; 6]>,
    /// Opacity logits.
    pub opacity_logits: Vec<f64>,
    /// Degree-0 SH coefficients, or plain colours.
    pub color: Vec<[f64; 3]>,
    /// SH coefficients of degree 1 and up, N × K × 3.
    pub sh_rest: Vec<f64>,
    /// SH degree; `None` when `color` holds plain colours.
    pub sh_degree: Option<u8>,
}

impl From<&Scene<'_>> for Splats64 {
    fn from(scene: &Scene<'_>) -> Self {
        let (rotations, log_scales, covariances) = match scene.shape {
            Shape::RotationScale(rotations, scales) => (widen(rotations), widen(scales), Vec::new()),
            Shape::Covariance(covariances) => (Vec::new(), Vec::new(), widen(covariances)),
        };
        let (color, sh_rest, sh_degree) = match scene.color {
            Color::Sh(sh0, rest, degree) => (widen(sh0), rest.iter().map(|v| f64::from(*v)).collect(), Some(degree)),
            Color::Rgb(rgb) => (widen(rgb), Vec::new(), None),
        };
        Self {
            means: widen(scene.means),
            rotations,
            log_scales,
            covariances,
            opacity_logits: scene.opacity_logits.iter().map(|v| f64::from(*v)).collect(),
            color,
            sh_rest,
            sh_degree,
        }
    }
}

fn widen<const N: usize>(values: &[[f32; N]]) -> Vec<[f64; N]> {
    values.iter().map(|v| v.map(f64::from)).collect()
}

/// [`super::Image`] in f64; every plane is filled.
#[derive(Debug, Clone, PartialEq)]
pub struct Image64 {
    /// Colours, height × width × 3.
    pub rgb: Vec<f64>,
    /// Coverage, height × width.
    pub alpha: Vec<f64>,
    /// Blended depth, height × width.
    pub depth: Vec<f64>,
    /// Blended normals, height × width × 3.
    pub normals: Vec<f64>,
}

/// A splat as the image plane sees it.
struct Projected {
    depth: f64,
    /// Centre in pixels.
    center: [f64; 2],
    /// Inverse of the dilated screen covariance: xx, xy, yy in 1/px².
    conic: [f64; 3],
    opacity: f64,
    color: [f64; 3],
    normal: [f64; 3],
    /// First and last column and row of the footprint inside the image.
    columns: [usize; 2],
    rows: [usize; 2],
}

/// Draws `splats` as `camera` sees them over `background`, by the steps in the documentation of [`super`].
pub fn render(splats: &Splats64, camera: &Camera, settings: &Settings, background: [f64; 3]) -> Image64 {
    let (width, height) = (camera.width as usize, camera.height as usize);
    let view = View::new(camera, settings);
    let mut order: Vec<Projected> = (0..splats.means.len()).filter_map(|i| view.project(splats, i)).collect();
    // the sort is stable and the list is in index order, so equal depths stay in index order
    order.sort_by(|a, b| (a.depth as f32).total_cmp(&(b.depth as f32)));

    let mut image = Image64 {
        rgb: vec![0.0; width * height * 3],
        alpha: vec![0.0; width * height],
        depth: vec![0.0; width * height],
        normals: vec![0.0; width * height * 3],
    };
    // the same as pixel by pixel, but splats reach few pixels: each is blended into its rectangle in depth order
    let mut transmittance = vec![1.0f64; width * height];
    let mut finished = vec![false; width * height];
    for splat in &order {
        let [xx, xy, yy] = splat.conic;
        for row in splat.rows[0]..=splat.rows[1] {
            for column in splat.columns[0]..=splat.columns[1] {
                let pixel = row * width + column;
                if finished[pixel] {
                    continue;
                }
                let (dx, dy) = (column as f64 + 0.5 - splat.center[0], row as f64 + 0.5 - splat.center[1]);
                let power = -0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy;
                let alpha = (splat.opacity * power.exp()).min(settings.alpha_max);
                if alpha < settings.alpha_min {
                    continue;
                }
                let next = transmittance[pixel] * (1.0 - alpha);
                finished[pixel] = next < settings.stop;
                if finished[pixel] && settings.saturation == Saturation::Dropped {
                    continue;
                }
                let weight = alpha * transmittance[pixel];
                for k in 0..3 {
                    image.rgb[pixel * 3 + k] += weight * splat.color[k];
                    image.normals[pixel * 3 + k] += weight * splat.normal[k];
                }
                image.depth[pixel] += weight * splat.depth;
                transmittance[pixel] = next;
            }
        }
    }
    for (pixel, light) in transmittance.iter().enumerate() {
        for k in 0..3 {
            image.rgb[pixel * 3 + k] += light * background[k];
        }
        image.alpha[pixel] = 1.0 - light;
    }
    image
}

/// What of a camera is the same for all splats.
struct View<'a> {
    camera: &'a Camera,
    settings: &'a Settings,
    /// Rows of the rotation part of `camera_from_world`.
    rotation: [[f64; 3]; 3],
    /// Smallest and largest slopes x/z and y/z that enter the Jacobian.
    slopes: [[f64; 2]; 2],
}

impl<'a> View<'a> {
    fn new(camera: &'a Camera, settings: &'a Settings) -> Self {
        let m = &camera.camera_from_world;
        Self {
            camera,
            settings,
            rotation: std::array::from_fn(|r| std::array::from_fn(|c| m[r][c])),
            slopes: slope_limits(camera, settings.slopes),
        }
    }

    /// Steps 1 to 4 and 6 of the module description; `None` when the splat cannot be seen.
    fn project(&self, splats: &Splats64, index: usize) -> Option<Projected> {
        let (camera, settings) = (self.camera, self.settings);
        let mean = splats.means[index];
        let opacity = 1.0 / (1.0 + (-splats.opacity_logits[index]).exp());
        let t: [f64; 3] = std::array::from_fn(|r| {
            (0..3).map(|c| self.rotation[r][c] * mean[c]).sum::<f64>() + camera.camera_from_world[r][3]
        });
        // written so that NaN fails every test
        let finite = t.iter().all(|v| v.is_finite());
        if !(finite && t[2] >= settings.near && t[2] <= settings.far && opacity >= settings.alpha_min) {
            return None;
        }
        let (covariance, normal) = self.camera_shape(splats, index, t)?;
        let (center, jacobian) = self.projection(t);
        let product = |a: usize, b: usize| -> f64 {
            (0..3).map(|i| (0..3).map(|j| jacobian[a][i] * covariance[i][j] * jacobian[b][j]).sum::<f64>()).sum()
        };
        let (sharp_xx, xy, sharp_yy) = (product(0, 0), product(0, 1), product(1, 1));
        let (xx, yy) = (sharp_xx + settings.dilation, sharp_yy + settings.dilation);
        let determinant = xx * yy - xy * xy;
        if !(determinant > 0.0 && determinant.is_finite()) {
            return None;
        }
        let opacity = match settings.model {
            RenderModel::Antialiased => opacity * ((sharp_xx * sharp_yy - xy * xy) / determinant).max(0.0).sqrt(),
            RenderModel::Classic | RenderModel::Surfel => opacity,
        };
        let mid = 0.5 * (xx + yy);
        let radius = (FOOTPRINT_SIGMAS * (mid + (mid * mid - determinant).max(EIGENVALUE_FLOOR).sqrt()).sqrt()).ceil();
        let columns = pixel_range(center[0], radius, camera.width, settings.footprint)?;
        let rows = pixel_range(center[1], radius, camera.height, settings.footprint)?;
        let color = self.color(splats, index);
        if opacity < settings.alpha_min || !color.iter().all(|v| v.is_finite()) {
            return None;
        }
        let conic = [yy / determinant, -xy / determinant, xx / determinant];
        Some(Projected { depth: t[2], center, conic, opacity, color, normal, columns, rows })
    }

    /// Covariance in camera coordinates, and the direction of the shortest axis turned to the camera.
    fn camera_shape(&self, splats: &Splats64, index: usize, t: [f64; 3]) -> Option<([[f64; 3]; 3], [f64; 3])> {
        let mut normal = [0.0; 3];
        let world: [[f64; 3]; 3] = if splats.covariances.is_empty() {
            let quaternion = splats.rotations[index];
            if !quaternion.iter().all(|v| v.is_finite()) {
                return None;
            }
            let length = quaternion.iter().map(|v| v * v).sum::<f64>().sqrt();
            let turn = if !self.settings.normalize_rotations {
                matrix_from_quaternion(quaternion)
            } else if length > 0.0 {
                matrix_from_quaternion(quaternion.map(|v| v / length))
            } else {
                matrix_from_quaternion([1.0, 0.0, 0.0, 0.0])
            };
            let mut scale = splats.log_scales[index].map(f64::exp);
            if self.settings.model == RenderModel::Surfel {
                scale[2] = 0.0;
            }
            let shortest = (0..3).rev().min_by(|a, b| scale[*a].total_cmp(&scale[*b]))?;
            normal = std::array::from_fn(|r| (0..3).map(|k| self.rotation[r][k] * turn[k][shortest]).sum());
            let facing: f64 = if self.camera.orthographic { normal[2] } else { (0..3).map(|k| normal[k] * t[k]).sum() };
            if facing > 0.0 {
                normal = normal.map(|v| -v);
            }
            let axes: [[f64; 3]; 3] = std::array::from_fn(|r| std::array::from_fn(|c| turn[r][c] * scale[c]));
            std::array::from_fn(|r| std::array::from_fn(|c| (0..3).map(|k| axes[r][k] * axes[c][k]).sum()))
        } else {
            let [xx, xy, xz, yy, yz, zz] = splats.covariances[index];
            [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
        };
        let w = &self.rotation;
        let camera = std::array::from_fn(|r| {
            std::array::from_fn(|c| (0..3).map(|i| (0..3).map(|j| w[r][i] * world[i][j] * w[c][j]).sum::<f64>()).sum())
        });
        Some((camera, normal))
    }

    /// Screen position of a point in camera coordinates, and the Jacobian of that map there.
    fn projection(&self, t: [f64; 3]) -> ([f64; 2], [[f64; 3]; 2]) {
        let ([fx, fy], [cx, cy]) = (self.camera.focal, self.camera.principal);
        if self.camera.orthographic {
            return ([fx * t[0] + cx, fy * t[1] + cy], [[fx, 0.0, 0.0], [0.0, fy, 0.0]]);
        }
        let inverse_depth = 1.0 / t[2];
        let slope: [f64; 2] =
            std::array::from_fn(|k| (t[k] * inverse_depth).min(self.slopes[k][1]).max(self.slopes[k][0]));
        (
            [fx * t[0] * inverse_depth + cx, fy * t[1] * inverse_depth + cy],
            [
                [fx * inverse_depth, 0.0, -fx * slope[0] * inverse_depth],
                [0.0, fy * inverse_depth, -fy * slope[1] * inverse_depth],
            ],
        )
    }

    /// Colour of a splat seen from the camera centre, or along the view axis for parallel projection.
    fn color(&self, splats: &Splats64, index: usize) -> [f64; 3] {
        let Some(degree) = splats.sh_degree else { return splats.color[index] };
        let world_from_camera = inverse(&self.camera.camera_from_world);
        let center: [f64; 3] = std::array::from_fn(|r| {
            -(0..3).map(|c| world_from_camera[r][c] * self.camera.camera_from_world[c][3]).sum::<f64>()
        });
        let offset = if self.camera.orthographic {
            self.rotation[2]
        } else {
            std::array::from_fn(|k| splats.means[index][k] - center[k])
        };
        let length = offset.iter().map(|v| v * v).sum::<f64>().sqrt();
        let basis = sh_basis(offset.map(|v| v / length));
        let count = sh_rest_count(degree);
        let rest = &splats.sh_rest[index * count * 3..][..count * 3];
        std::array::from_fn(|channel| {
            let mut value = 0.5 + basis[0] * splats.color[index][channel];
            for k in 0..count {
                value += basis[k + 1] * rest[k * 3 + channel];
            }
            if value < 0.0 { 0.0 } else { value }
        })
    }
}

/// Smallest and largest slope along x and y that enter the Jacobian.
pub(super) fn slope_limits(camera: &Camera, slopes: Slopes) -> [[f64; 2]; 2] {
    std::array::from_fn(|k| {
        let size = f64::from([camera.width, camera.height][k]);
        let (focal, principal) = (camera.focal[k], camera.principal[k]);
        match slopes {
            Slopes::BeyondBorders(share) => {
                [(-share * size - principal) / focal, (size + share * size - principal) / focal]
            }
            Slopes::AroundAxis(factor) => [-factor * 0.5 * size / focal, factor * 0.5 * size / focal],
        }
    })
}

/// First and last pixel that a footprint of half width `radius` reaches inside `0..size`; `None` when it lies outside.
#[inline(always)]
pub(super) fn pixel_range(center: f64, radius: f64, size: u32, footprint: Footprint) -> Option<[usize; 2]> {
    let last = size.checked_sub(1)?;
    let [low, high] = match footprint {
        Footprint::Exact => return Some([0, last as usize]),
        Footprint::Square => [center - radius, center + radius],
        // tiles are counted from pixel centres at integers: trunc((p − r)/16) ≤ tile < trunc((p + r + 15)/16)
        Footprint::SquareTiles => {
            let (p, tiles) = (center - 0.5, f64::from(size.div_ceil(16)));
            let first = ((p - radius) / 16.0).trunc().clamp(0.0, tiles);
            let end = ((p + radius + 15.0) / 16.0).trunc().clamp(0.0, tiles);
            if first >= end {
                return None;
            }
            [first * 16.0, end * 16.0 - 1.0]
        }
    };
    if !(high >= 0.0 && low < f64::from(size)) {
        return None;
    }
    Some([low.max(0.0) as usize, high.min(f64::from(last)) as usize])
}
