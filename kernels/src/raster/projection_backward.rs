//! From what a splat received on the screen to the gradients of its parameters: `projection` read backwards.

use gav_formats::{RenderModel, conventions::sh_rest_count};

use super::{
    Color, Scene, Shape,
    blend_backward::Received,
    projection::{Drawn, Ellipse, Vec3, View, dot, matrix, scaled, sum},
    sh,
};

/// Where the gradients of one splat go.
pub(super) struct Slot<'a> {
    pub mean: &'a mut Vec3,
    /// Quaternion and log-scale, or covariance.
    pub shape: ShapeSlot<'a>,
    pub opacity_logit: &'a mut f32,
    /// SH degree 0, or the plain colour.
    pub color: &'a mut Vec3,
    pub sh_rest: &'a mut [f32],
    pub center: &'a mut [f32; 2],
}

/// See [`Slot::shape`].
pub(super) enum ShapeSlot<'a> {
    RotationScale(&'a mut [f32; 4], &'a mut Vec3),
    Covariance(&'a mut [f32; 6]),
}

/// Writes the gradients of the splat `drawn` and adds its share of the gradient of `camera_from_world`.
pub(super) fn backward<const C: usize>(
    view: &View,
    scene: &Scene<'_>,
    drawn: &Drawn,
    received: &Received<C>,
    slot: Slot<'_>,
    camera: &mut [[f64; 4]; 3],
) {
    let index = drawn.index as usize;
    let Some(ellipse) = view.ellipse(scene, index) else { return };
    let [s0, sx, sy, sxx, sxy, syy] = received.moments;
    let (w, focal) = (&view.rotation, view.focal);

    // opacity: h sums to the gradient of ln o'
    *slot.opacity_logit = s0 * (1.0 - ellipse.opacity[0]);

    // centre and inverse covariance K; d power / d centre = K (dx, dy)
    let [xx, xy, yy] = ellipse.covariance;
    let inverse = 1.0 / ellipse.determinant;
    let (ka, kb, kc) = (yy * inverse, -xy * inverse, xx * inverse);
    let center = [ka * sx + kb * sy, kb * sx + kc * sy];
    *slot.center = center;

    // dΣ' = −K G K = ½ K (Σ h d dᵀ) K
    let (ga, gb, gc) = (0.5 * sxx, 0.5 * sxy, 0.5 * syy);
    let (pa, pb) = (ka * ga + kb * gb, ka * gb + kb * gc);
    let (qa, qb) = (kb * ga + kc * gb, kb * gb + kc * gc);
    let mut d_xx = pa * ka + pb * kb;
    let mut d_xy = (pa * kb + pb * kc) + (qa * ka + qb * kb);
    let mut d_yy = qa * kb + qb * kc;
    // an ellipse seen edge on has no area to differentiate
    if view.settings.model == RenderModel::Antialiased && ellipse.sharp_determinant > f32::MIN_POSITIVE {
        let sharp = 1.0 / ellipse.sharp_determinant;
        let (sharp_xx, sharp_yy) = (xx - view.dilation, yy - view.dilation);
        d_xx += 0.5 * s0 * (sharp_yy * sharp - yy * inverse);
        d_yy += 0.5 * s0 * (sharp_xx * sharp - xx * inverse);
        d_xy += s0 * xy * (inverse - sharp);
    }

    // Σ' = P Pᵀ + dilation, P = M A
    let [p0, p1] = ellipse.screen_axes;
    let d_p: [Vec3; 2] = [sum(scaled(p0, 2.0 * d_xx), scaled(p1, d_xy)), sum(scaled(p1, 2.0 * d_yy), scaled(p0, d_xy))];
    let m = ellipse.screen_from_world;
    let d_m: [Vec3; 2] = d_p.map(|row| ellipse.axes.map(|axis| dot(axis, row)));
    let d_normal: Vec3 = if C == 7 { std::array::from_fn(|k| received.channels[(4 + k).min(C - 1)]) } else { [0.0; 3] };
    let mut d_w = [[0.0f32; 3]; 3];
    match slot.shape {
        ShapeSlot::Covariance(out) => {
            let entry = |i: usize, j: usize| {
                d_xx * m[0][i] * m[0][j]
                    + 0.5 * d_xy * (m[0][i] * m[1][j] + m[1][i] * m[0][j])
                    + d_yy * m[1][i] * m[1][j]
            };
            *out = [entry(0, 0), 2.0 * entry(0, 1), 2.0 * entry(0, 2), entry(1, 1), 2.0 * entry(1, 2), entry(2, 2)];
        }
        ShapeSlot::RotationScale(rotation, log_scale) => {
            let d_axes: [Vec3; 3] = std::array::from_fn(|k| sum(scaled(d_p[0], m[0][k]), scaled(d_p[1], m[1][k])));
            *log_scale = std::array::from_fn(|c| (0..3).map(|k| d_axes[k][c] * ellipse.axes[k][c]).sum());
            let mut d_turn: [Vec3; 3] = d_axes.map(|row| std::array::from_fn(|c| row[c] * ellipse.scale[c]));
            if C == 7
                && let Some((_, shortest, sign)) = view.normal(scene, index, ellipse.t)
            {
                let back: Vec3 = std::array::from_fn(|k| sign * (0..3).map(|r| w[r][k] * d_normal[r]).sum::<f32>());
                if let Some(turn) = turn_of(view, scene, index) {
                    for r in 0..3 {
                        d_w[r] = std::array::from_fn(|k| sign * d_normal[r] * turn[k][shortest]);
                    }
                }
                for k in 0..3 {
                    d_turn[k][shortest] += back[k];
                }
            }
            *rotation = rotation_gradient(view, scene, index, &d_turn);
        }
    }

    // position in camera coordinates, through centre and Jacobian
    let mut d_t = [0.0f32; 3];
    if view.camera.orthographic {
        for k in 0..2 {
            d_t[k] = focal[k] * center[k];
            d_w[k] = sum(d_w[k], scaled(d_m[k], focal[k]));
        }
    } else {
        let inverse_depth = 1.0 / ellipse.t[2];
        for k in 0..2 {
            let along = focal[k] * inverse_depth;
            d_t[k] += along * center[k];
            d_t[2] -= along * ellipse.t[k] * inverse_depth * center[k];
            // M = f/z (Wₖ − slope W_z)
            d_t[2] -= dot(m[k], d_m[k]) * inverse_depth;
            let d_slope = -along * dot(w[2], d_m[k]);
            if ellipse.slope_free[k] {
                d_t[k] += d_slope * inverse_depth;
                d_t[2] -= d_slope * ellipse.slope[k] * inverse_depth;
            }
            d_w[k] = sum(d_w[k], scaled(d_m[k], along));
            d_w[2] = sum(d_w[2], scaled(d_m[k], -along * ellipse.slope[k]));
        }
    }
    if C >= 4 {
        d_t[2] += received.channels[3.min(C - 1)];
    }

    let d_color = [received.channels[0], received.channels[1], received.channels[2]];
    let d_offset = color_gradient(view, scene, drawn, &ellipse, d_color, slot.color, slot.sh_rest, &mut d_w);

    *slot.mean = std::array::from_fn(|k| d_offset[k] + (0..3).map(|r| w[r][k] * d_t[r]).sum::<f32>());
    // t = W μ + τ, and the direction of view is along μ − c with the camera centre c = −W⁻¹ τ
    let mean = scene.means[index];
    let inverse = &view.world_from_camera;
    for r in 0..3 {
        let through_center: f32 = (0..3).map(|k| inverse[k][r] * d_offset[k]).sum();
        for c in 0..3 {
            camera[r][c] += f64::from(d_w[r][c])
                + f64::from(d_t[r]) * f64::from(mean[c])
                + f64::from(through_center) * f64::from(view.center[c]);
        }
        camera[r][3] += f64::from(d_t[r]) + f64::from(through_center);
    }
}

/// Writes the gradients of the colour; returns that of the vector from the camera centre to the mean.
#[inline(always)]
fn color_gradient(
    view: &View,
    scene: &Scene<'_>,
    drawn: &Drawn,
    ellipse: &Ellipse,
    mut gradient: Vec3,
    out: &mut Vec3,
    out_rest: &mut [f32],
    d_w: &mut [Vec3; 3],
) -> Vec3 {
    let Color::Sh(_, rest, degree) = scene.color else {
        *out = gradient;
        return [0.0; 3];
    };
    for channel in 0..3 {
        // cut at zero
        if drawn.color[channel] <= 0.0 {
            gradient[channel] = 0.0;
        }
    }
    *out = scaled(gradient, sh::L0);
    if degree == 0 {
        return [0.0; 3];
    }
    let (direction, length) = view.direction(ellipse.offset);
    let basis = sh::basis(direction, degree);
    let count = sh_rest_count(degree);
    let rest = &rest[drawn.index as usize * count * 3..][..count * 3];
    let mut along = [0.0f32; 24];
    for (k, (coefficients, out)) in rest.chunks_exact(3).zip(out_rest.chunks_exact_mut(3)).enumerate() {
        for channel in 0..3 {
            out[channel] = basis[k] * gradient[channel];
        }
        along[k] = coefficients[0] * gradient[0] + coefficients[1] * gradient[1] + coefficients[2] * gradient[2];
    }
    let d_direction = sh::direction_gradient(direction, degree, &along);
    // the direction has unit length
    let across = sum(d_direction, scaled(direction, -dot(direction, d_direction)));
    if view.camera.orthographic {
        d_w[2] = sum(d_w[2], across);
        return [0.0; 3];
    }
    scaled(across, 1.0 / length)
}

fn turn_of(view: &View, scene: &Scene<'_>, index: usize) -> Option<[Vec3; 3]> {
    let Shape::RotationScale(rotations, _) = scene.shape else { return None };
    Some(matrix(view.quaternion(rotations[index])?))
}

/// Gradient of the stored quaternion from that of its rotation matrix.
fn rotation_gradient(view: &View, scene: &Scene<'_>, index: usize, d: &[Vec3; 3]) -> [f32; 4] {
    let Shape::RotationScale(rotations, _) = scene.shape else { return [0.0; 4] };
    let Some(q) = view.quaternion(rotations[index]) else { return [0.0; 4] };
    let [w, x, y, z] = q;
    let gradient = [
        2.0 * (z * (d[1][0] - d[0][1]) + y * (d[0][2] - d[2][0]) + x * (d[2][1] - d[1][2])),
        2.0 * (y * (d[0][1] + d[1][0]) + z * (d[0][2] + d[2][0]) + w * (d[2][1] - d[1][2])
            - 2.0 * x * (d[1][1] + d[2][2])),
        2.0 * (x * (d[0][1] + d[1][0]) + z * (d[1][2] + d[2][1]) + w * (d[0][2] - d[2][0])
            - 2.0 * y * (d[0][0] + d[2][2])),
        2.0 * (x * (d[0][2] + d[2][0]) + y * (d[1][2] + d[2][1]) + w * (d[1][0] - d[0][1])
            - 2.0 * z * (d[0][0] + d[1][1])),
    ];
    if !view.settings.normalize_rotations {
        return gradient;
    }
    let length = rotations[index].iter().map(|v| v * v).sum::<f32>().sqrt();
    if length == 0.0 {
        return [0.0; 4];
    }
    let radial: f32 = (0..4).map(|k| q[k] * gradient[k]).sum();
    std::array::from_fn(|k| (gradient[k] - q[k] * radial) / length)
}
