//! From a splat to its ellipse on the screen, in f32.
//!
//! Determinants come from cross products (Cauchy–Binet: det(P Pᵀ) = |p₀ × p₁|²), which keeps needles and discs exact to
//! rounding where xx·yy − xy² would cancel.

use gav_formats::{Camera, RenderModel, conventions::sh_rest_count};
use rayon::prelude::*;

use super::{
    Color, EIGENVALUE_FLOOR, FOOTPRINT_SIGMAS, Footprint, Scene, Settings, Shape,
    scalar::{pixel_range, slope_limits},
    sh,
};

pub(super) type Vec3 = [f32; 3];

#[inline(always)]
pub(super) fn dot(a: Vec3, b: Vec3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

#[inline(always)]
pub(super) fn cross(a: Vec3, b: Vec3) -> Vec3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

#[inline(always)]
pub(super) fn scaled(a: Vec3, factor: f32) -> Vec3 {
    [a[0] * factor, a[1] * factor, a[2] * factor]
}

#[inline(always)]
pub(super) fn sum(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// A splat ready for blending.
///
/// One cache line: tiles read these in an order that looks random to memory.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub(super) struct Drawn {
    /// Centre in pixels.
    pub center: [f32; 2],
    /// −½ log₂e times the inverse screen covariance xx, 2·xy, yy: log₂ α = log₂ o + xx dx² + xy dx dy + yy dy².
    pub falloff: [f32; 3],
    /// log₂ of the opacity, the antialiasing factor included.
    pub log2_opacity: f32,
    /// First and last column and first and last row that α can reach and the footprint allows.
    pub columns: [u16; 2],
    /// See `columns`.
    pub rows: [u16; 2],
    /// True when the footprint is smaller than what α reaches, so that `columns` and `rows` must be enforced.
    pub clipped: bool,
    /// Index in the scene.
    pub index: u32,
    pub depth: f32,
    pub color: Vec3,
}

/// What of a camera and the rules is the same for all splats.
pub(super) struct View {
    pub camera: Camera,
    pub settings: Settings,
    /// Rows of the rotation part of `camera_from_world`.
    pub rotation: [Vec3; 3],
    /// Inverse of `rotation`: stored matrices are orthogonal only to their digits.
    pub world_from_camera: [Vec3; 3],
    /// Camera centre.
    pub center: Vec3,
    pub focal: [f32; 2],
    pub slopes: [[f32; 2]; 2],
    pub near: f32,
    pub far: f32,
    pub dilation: f32,
    pub alpha_min: f32,
}

/// The steps between a splat and its ellipse, kept for the way back.
pub(super) struct Ellipse {
    /// Mean in camera coordinates.
    pub t: Vec3,
    /// Camera centre to mean, avatar coordinates.
    pub offset: Vec3,
    /// Clamped slopes, and whether each was inside its limits.
    pub slope: [f32; 2],
    pub slope_free: [bool; 2],
    /// Rows of J W.
    pub screen_from_world: [Vec3; 2],
    /// Rows of J W A, A the square root of the covariance.
    pub screen_axes: [Vec3; 2],
    /// Rows of A: axes times scales, or the Cholesky factor.
    pub axes: [Vec3; 3],
    pub scale: Vec3,
    /// Dilated covariance xx, xy, yy.
    pub covariance: Vec3,
    pub sharp_determinant: f32,
    pub determinant: f32,
    /// Opacity before and after the antialiasing factor.
    pub opacity: [f32; 2],
}

impl View {
    pub fn new(camera: &Camera, settings: &Settings) -> Self {
        let m = &camera.camera_from_world;
        let world_from_camera = inverse(m);
        let center: [f64; 3] = std::array::from_fn(|r| -(0..3).map(|c| world_from_camera[r][c] * m[c][3]).sum::<f64>());
        Self {
            camera: camera.clone(),
            settings: *settings,
            rotation: std::array::from_fn(|r| std::array::from_fn(|c| m[r][c] as f32)),
            center: center.map(|v| v as f32),
            world_from_camera: world_from_camera.map(|row| row.map(|v| v as f32)),
            focal: camera.focal.map(|v| v as f32),
            slopes: slope_limits(camera, settings.slopes).map(|s| s.map(|v| v as f32)),
            near: settings.near as f32,
            far: settings.far as f32,
            dilation: settings.dilation as f32,
            // the smallest normal number stands for "everything", so that its logarithm is finite
            alpha_min: (settings.alpha_min as f32).max(f32::MIN_POSITIVE),
        }
    }

    /// Steps 1 to 3 of the module description; `None` when the splat cannot be seen.
    #[inline(always)]
    pub fn ellipse(&self, scene: &Scene<'_>, index: usize) -> Option<Ellipse> {
        let mean = scene.means[index];
        let opacity = opacity_from_logit(scene.opacity_logits[index]);
        let c = self.center;
        let offset = [mean[0] - c[0], mean[1] - c[1], mean[2] - c[2]];
        let [right, down, front] = self.rotation;
        let t = [dot(right, offset), dot(down, offset), dot(front, offset)];
        // written so that NaN fails every test
        let finite = t[0].is_finite() && t[1].is_finite();
        if !(finite && t[2] >= self.near && t[2] <= self.far) {
            return None;
        }
        let (axes, scale) = self.axes(scene, index)?;
        let mut slope = [0.0; 2];
        let mut slope_free = [true; 2];
        let mut screen_from_world = [right, down];
        let inverse_depth = 1.0 / t[2];
        for k in 0..2 {
            let mut along = self.focal[k];
            if !self.camera.orthographic {
                let [low, high] = self.slopes[k];
                let raw = t[k] * inverse_depth;
                slope[k] = raw.min(high).max(low);
                slope_free[k] = slope[k] == raw;
                screen_from_world[k] = sum(screen_from_world[k], scaled(front, -slope[k]));
                along *= inverse_depth;
            }
            screen_from_world[k] = scaled(screen_from_world[k], along);
        }
        let mut screen_axes = [[0.0f32; 3]; 2];
        for (out, m) in screen_axes.iter_mut().zip(&screen_from_world) {
            for c in 0..3 {
                out[c] = m[0] * axes[0][c] + m[1] * axes[1][c] + m[2] * axes[2][c];
            }
        }
        let area = cross(screen_axes[0], screen_axes[1]);
        let sharp_determinant = dot(area, area);
        let (sharp_xx, sharp_yy) = (dot(screen_axes[0], screen_axes[0]), dot(screen_axes[1], screen_axes[1]));
        let covariance = [sharp_xx + self.dilation, dot(screen_axes[0], screen_axes[1]), sharp_yy + self.dilation];
        let determinant = sharp_determinant + self.dilation * (sharp_xx + sharp_yy + self.dilation);
        if !(determinant > 0.0 && determinant.is_finite()) {
            return None;
        }
        let filtered = match self.settings.model {
            RenderModel::Antialiased => opacity * (sharp_determinant / determinant).sqrt(),
            RenderModel::Classic | RenderModel::Surfel => opacity,
        };
        Some(Ellipse {
            t,
            offset,
            slope,
            slope_free,
            screen_from_world,
            screen_axes,
            axes,
            scale,
            covariance,
            sharp_determinant,
            determinant,
            opacity: [opacity, filtered],
        })
    }

    /// Square root A of the covariance (Σ = A Aᵀ) as rows, and the scales of its columns (1 for Cholesky factors).
    #[inline(always)]
    fn axes(&self, scene: &Scene<'_>, index: usize) -> Option<([Vec3; 3], Vec3)> {
        match scene.shape {
            Shape::RotationScale(rotations, log_scales) => {
                let turn = matrix(self.quaternion(rotations[index])?);
                let [x, y, z] = log_scales[index];
                let flat = self.settings.model == RenderModel::Surfel;
                let scale = [x.exp(), y.exp(), if flat { 0.0 } else { z.exp() }];
                let mut axes = turn;
                for row in &mut axes {
                    for c in 0..3 {
                        row[c] *= scale[c];
                    }
                }
                Some((axes, scale))
            }
            Shape::Covariance(covariances) => Some((cholesky(covariances[index])?, [1.0; 3])),
        }
    }

    /// The quaternion as the rules use it; `None` when it is not finite.
    #[inline(always)]
    pub fn quaternion(&self, q: [f32; 4]) -> Option<[f32; 4]> {
        let [w, x, y, z] = q;
        let squared = w * w + x * x + y * y + z * z;
        if !self.settings.normalize_rotations {
            return squared.is_finite().then_some(q);
        }
        // squares of ordinary numbers neither vanish nor overflow; the rest goes the long way
        if (1e-30..1e30).contains(&squared) {
            let inverse = 1.0 / squared.sqrt();
            return Some([w * inverse, x * inverse, y * inverse, z * inverse]);
        }
        Self::extreme_quaternion(q)
    }

    /// The unit quaternion along one whose squared length f32 cannot hold.
    #[cold]
    fn extreme_quaternion(q: [f32; 4]) -> Option<[f32; 4]> {
        let largest = q.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        if !q.iter().all(|v| v.is_finite()) {
            return None;
        }
        if largest == 0.0 {
            return Some([1.0, 0.0, 0.0, 0.0]);
        }
        let q = q.map(|v| v / largest);
        let inverse = 1.0 / q.iter().map(|v| v * v).sum::<f32>().sqrt();
        Some(q.map(|v| v * inverse))
    }

    /// All steps before blending; `None` when the splat cannot be seen.
    #[inline(always)]
    pub fn draw(&self, scene: &Scene<'_>, index: usize) -> Option<Drawn> {
        let ellipse = self.ellipse(scene, index)?;
        if ellipse.opacity[1].is_nan() || ellipse.opacity[1] < self.alpha_min {
            return None;
        }
        let center = self.center_on_screen(ellipse.t);
        let [xx, xy, yy] = ellipse.covariance;
        // α ≥ alpha_min inside the ellipse xᵀ Σ'⁻¹ x ≤ level, whose half extents are √(level · diagonal)
        let level = 2.0 * (ellipse.opacity[1] / self.alpha_min).ln().max(0.0);
        let reach = [(level * xx).sqrt(), (level * yy).sqrt()];
        let mut spans = [[0u16; 2]; 2];
        let mut clipped = false;
        let (_, footprint) = self.footprint(&ellipse)?;
        for k in 0..2 {
            let size = [self.camera.width, self.camera.height][k];
            let [first, last] = footprint[k];
            // a hundredth of a pixel against rounding
            let low = (center[k] - reach[k] - 0.51).ceil().max(0.0) as usize;
            let high = center[k] + reach[k] - 0.49;
            if high < 0.0 || low > last || (high as usize) < first {
                return None;
            }
            let high = high as usize;
            clipped |= low < first || high.min(size as usize - 1) > last;
            spans[k] = [low.max(first) as u16, high.min(last) as u16];
        }
        let color = self.color(scene, index, ellipse.offset);
        if !(color[0].is_finite() && color[1].is_finite() && color[2].is_finite()) {
            return None;
        }
        let factor = -0.5 * std::f32::consts::LOG2_E / ellipse.determinant;
        Some(Drawn {
            center,
            falloff: [yy * factor, -2.0 * xy * factor, xx * factor],
            log2_opacity: ellipse.opacity[1].log2(),
            columns: spans[0],
            rows: spans[1],
            clipped,
            index: index as u32,
            depth: ellipse.t[2],
            color,
        })
    }

    /// Half width of the square footprint in pixels, and the columns and rows that the footprint allows; `None` when it
    /// misses the image.
    #[inline(always)]
    pub fn footprint(&self, ellipse: &Ellipse) -> Option<(f32, [[usize; 2]; 2])> {
        self.footprint_by(ellipse, self.settings.footprint)
    }

    /// [`Self::footprint`] under another rule.
    #[inline(always)]
    pub fn footprint_by(&self, ellipse: &Ellipse, rule: Footprint) -> Option<(f32, [[usize; 2]; 2])> {
        let [xx, _, yy] = ellipse.covariance;
        let mid = 0.5 * (xx + yy);
        let discriminant = (mid * mid - ellipse.determinant).max(EIGENVALUE_FLOOR as f32);
        let radius = (FOOTPRINT_SIGMAS as f32 * (mid + discriminant.sqrt()).sqrt()).ceil();
        let [x, y] = self.center_on_screen(ellipse.t);
        let (x, y) = (f64::from(x), f64::from(y));
        let wide = f64::from(radius);
        let columns = pixel_range(x, wide, self.camera.width, rule)?;
        let rows = pixel_range(y, wide, self.camera.height, rule)?;
        Some((radius, [columns, rows]))
    }

    #[inline(always)]
    fn center_on_screen(&self, t: Vec3) -> [f32; 2] {
        let over = if self.camera.orthographic { 1.0 } else { 1.0 / t[2] };
        let [cx, cy] = self.camera.principal;
        [self.focal[0] * (t[0] * over) + cx as f32, self.focal[1] * (t[1] * over) + cy as f32]
    }

    /// Unit direction from the camera to a splat, and the distance.
    #[inline(always)]
    pub fn direction(&self, offset: Vec3) -> (Vec3, f32) {
        if self.camera.orthographic {
            return (self.rotation[2], 1.0);
        }
        let length = dot(offset, offset).sqrt();
        (scaled(offset, 1.0 / length), length)
    }

    #[inline(always)]
    fn color(&self, scene: &Scene<'_>, index: usize, offset: Vec3) -> Vec3 {
        match scene.color {
            Color::Rgb(rgb) => rgb[index],
            Color::Sh(sh0, rest, degree) => {
                let [r, g, b] = sh0[index];
                let mut color = [0.5 + sh::L0 * r, 0.5 + sh::L0 * g, 0.5 + sh::L0 * b];
                if degree > 0 {
                    let basis = sh::basis(self.direction(offset).0, degree);
                    let count = sh_rest_count(degree);
                    for (coefficients, weight) in rest[index * count * 3..][..count * 3].chunks_exact(3).zip(basis) {
                        for channel in 0..3 {
                            color[channel] += weight * coefficients[channel];
                        }
                    }
                }
                for value in &mut color {
                    // not `max`, which would turn NaN into 0
                    if *value < 0.0 {
                        *value = 0.0;
                    }
                }
                color
            }
        }
    }

    /// Normals of drawn splats in camera coordinates; zero where an axis is not a number.
    pub fn normals(&self, scene: &Scene<'_>, splats: &[Drawn]) -> Vec<Vec3> {
        let normal = |splat: &Drawn| {
            let mean = scene.means[splat.index as usize];
            let offset: Vec3 = std::array::from_fn(|k| mean[k] - self.center[k]);
            let t = self.rotation.map(|row| dot(row, offset));
            self.normal(scene, splat.index as usize, t).map_or([0.0; 3], |(normal, ..)| normal)
        };
        splats.par_iter().with_min_len(4096).map(normal).collect()
    }

    /// Shortest axis in camera coordinates, turned to the camera, with its number and sign; zero for covariances.
    pub fn normal(&self, scene: &Scene<'_>, index: usize, t: Vec3) -> Option<(Vec3, usize, f32)> {
        let Shape::RotationScale(rotations, log_scales) = scene.shape else { return Some(([0.0; 3], 0, 0.0)) };
        let turn = matrix(self.quaternion(rotations[index])?);
        let scale = log_scales[index];
        let surfel = self.settings.model == RenderModel::Surfel;
        let shortest = if surfel { 2 } else { (0..3).rev().min_by(|a, b| scale[*a].total_cmp(&scale[*b]))? };
        let axis: Vec3 = std::array::from_fn(|r| turn[r][shortest]);
        let normal = self.rotation.map(|row| dot(row, axis));
        let facing = if self.camera.orthographic { normal[2] } else { dot(normal, t) };
        let sign = if facing > 0.0 { -1.0 } else { 1.0 };
        Some((scaled(normal, sign), shortest, sign))
    }
}

/// Inverse of the left 3 × 3 part (rows); its transpose when it is singular and nothing sensible can be seen.
pub(super) fn inverse(m: &[[f64; 4]; 3]) -> [[f64; 3]; 3] {
    let cofactor = |r: usize, c: usize| {
        let (a, b) = ((r + 1) % 3, (r + 2) % 3);
        let (i, j) = ((c + 1) % 3, (c + 2) % 3);
        m[a][i] * m[b][j] - m[a][j] * m[b][i]
    };
    let determinant: f64 = (0..3).map(|c| m[0][c] * cofactor(0, c)).sum();
    if determinant == 0.0 || !determinant.is_finite() {
        return std::array::from_fn(|r| std::array::from_fn(|c| m[c][r]));
    }
    std::array::from_fn(|r| std::array::from_fn(|c| cofactor(c, r) / determinant))
}

#[inline(always)]
pub(super) fn opacity_from_logit(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Rotation matrix (rows) of a unit quaternion w, x, y, z.
#[inline(always)]
pub(super) fn matrix([w, x, y, z]: [f32; 4]) -> [Vec3; 3] {
    [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
        [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
        [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
    ]
}

/// Lower triangular L with L Lᵀ = Σ, in f64 inside; columns of vanished pivots are zero, `None` when not finite.
fn cholesky(covariance: [f32; 6]) -> Option<[Vec3; 3]> {
    if !covariance.iter().all(|v| v.is_finite()) {
        return None;
    }
    let [xx, xy, xz, yy, yz, zz] = covariance.map(f64::from);
    let root = |v: f64| v.max(0.0).sqrt();
    let over = |v: f64, pivot: f64| if pivot > 0.0 { v / pivot } else { 0.0 };
    let a = root(xx);
    let (b, c) = (over(xy, a), over(xz, a));
    let d = root(yy - b * b);
    let e = over(yz - b * c, d);
    let f = root(zz - c * c - e * e);
    Some([[a, 0.0, 0.0], [b, d, 0.0], [c, e, f]].map(|row| row.map(|v| v as f32)))
}
