//! Where splats begin.

use gav_formats::{Splats, TriangleFrame, conventions::SH_C0};
use gav_kernels::rig::triangle::{self, MeshRef};

use super::Options;
use crate::capture::Point;

/// Splats on every triangle of a mesh: at the points of a barycentric grid, or one in the middle. Returns local splats and their triangles.
///
/// Sizes: in the frame of GaussianAvatars that of the triangle; in metres otherwise, half the side of the square that a splat has on its
/// triangle. (STGA's program takes the distance of local coordinates of all triangles mixed, which is 0.3 mm almost everywhere.)
pub fn on_mesh(vertices: &[[f32; 3]], faces: &[[u32; 3]], options: &Options) -> (Splats, Vec<u32>) {
    let frame = TriangleFrame::from(options.frame);
    let frames = triangle::faces(frame, &MeshRef { vertices, faces, corner_uvs: &[] });
    let grid = grid(options.init_grid_k);
    let count = grid.len() * faces.len();
    let mut splats = blank(count, options);
    let mut triangles = Vec::with_capacity(count);
    for (index, face) in frames.iter().enumerate() {
        let [a, b, c] = face.corners.map(|v| v.map(f64::from));
        let origin: [f64; 3] = std::array::from_fn(|k| (a[k] + b[k] + c[k]) / 3.0);
        let (u, v): ([f64; 3], [f64; 3]) = (std::array::from_fn(|k| b[k] - a[k]), std::array::from_fn(|k| c[k] - a[k]));
        let cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
        let area = 0.5 * cross.iter().map(|v| v * v).sum::<f64>().sqrt();
        let metres = 0.5 * (area / grid.len() as f64).max(1e-12).sqrt();
        let scale = f64::from(face.scale).max(1e-12);
        let size = if frame == TriangleFrame::GaussianAvatars && options.init_grid_k == 0 {
            0.0
        } else {
            (metres / scale).ln()
        };
        for weights in &grid {
            let away: [f64; 3] =
                std::array::from_fn(|k| weights[0] * a[k] + weights[1] * b[k] + weights[2] * c[k] - origin[k]);
            let splat = triangles.len();
            splats.means[splat] = std::array::from_fn(|column| {
                ((0..3).map(|row| f64::from(face.matrix[row][column]) * away[row]).sum::<f64>() / scale) as f32
            });
            splats.log_scales[splat] = [size as f32; 3];
            triangles.push(index as u32);
        }
    }
    (splats, triangles)
}

/// Splats at the points of an STGA capture's `points3d.ply`, of the colours it gives them.
pub fn on_points(points: &[Point], vertices: &[[f32; 3]], faces: &[[u32; 3]], options: &Options) -> (Splats, Vec<u32>) {
    let frame = TriangleFrame::from(options.frame);
    let frames = triangle::faces(frame, &MeshRef { vertices, faces, corner_uvs: &[] });
    let mut each = vec![0u32; faces.len()];
    points.iter().for_each(|p| each[p.face as usize] += 1);
    let mut splats = blank(points.len(), options);
    for (k, point) in points.iter().enumerate() {
        let face = &frames[point.face as usize];
        let [a, b, c] = face.corners.map(|v| v.map(f64::from));
        let (u, v): ([f64; 3], [f64; 3]) = (std::array::from_fn(|k| b[k] - a[k]), std::array::from_fn(|k| c[k] - a[k]));
        let cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
        let area = 0.5 * cross.iter().map(|v| v * v).sum::<f64>().sqrt();
        let metres = 0.5 * (area / f64::from(each[point.face as usize])).max(1e-12).sqrt();
        splats.means[k] = point.local.map(|v| v / face.scale);
        splats.log_scales[k] = [(metres / f64::from(face.scale)).ln() as f32; 3];
        splats.sh0[k] = point.rgb.map(|v| ((f64::from(v) / 255.0 - 0.5) / SH_C0) as f32);
    }
    (splats, points.iter().map(|p| p.face).collect())
}

/// Mid-grey splats of the initial opacity.
fn blank(count: usize, options: &Options) -> Splats {
    let mut splats = Splats::with_len(count, options.sh_degree);
    let opacity = f64::from(options.init_opacity);
    splats.opacity_logits.fill((opacity / (1.0 - opacity)).ln() as f32);
    splats
}

/// Barycentric coordinates of the points of a grid with `k` steps an edge.
fn grid(k: u32) -> Vec<[f64; 3]> {
    if k == 0 {
        return vec![[1.0 / 3.0; 3]];
    }
    let share = |n: u32| f64::from(n) / f64::from(k);
    (0..=k).flat_map(|i| (0..=k - i).map(move |j| [share(i), share(j), share(k - i - j)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stga::Options;
    use gav_kernels::rig::triangle::{BindingRef, bind};

    #[test]
    fn splats_begin_on_corners_and_middles_of_edges() {
        let vertices = [[0.0f32, 0.0, 0.0], [0.02, 0.0, 0.0], [0.0, 0.01, 0.01]];
        let faces = [[0u32, 1, 2]];
        for options in [Options::stga(), Options { init_grid_k: 2, ..Options::gaussian_avatars() }] {
            let (splats, triangles) = on_mesh(&vertices, &faces, &options);
            assert_eq!(triangles, [0; 6]);
            let frame = options.frame.into();
            let frames = triangle::faces(frame, &MeshRef { vertices: &vertices, faces: &faces, corner_uvs: &[] });
            let binding = BindingRef { frame, triangles: &triangles, barycentrics: &[] };
            let world = bind(&binding, &frames, (&splats).into());
            for corner in vertices {
                let near = world.means.iter().any(|m| (0..3).all(|k| (m[k] - corner[k]).abs() < 1e-8));
                assert!(near, "{corner:?} {:?}", world.means);
            }
            // a sixth of 1.41e-4 m² is a square of 4.9 mm
            assert!((world.log_scales[0][0].exp() - 0.5 * (1.414_2e-4f32 / 6.0).sqrt()).abs() < 1e-6);
        }
        let (splats, triangles) = on_mesh(&vertices, &faces, &Options::gaussian_avatars());
        assert_eq!((splats.log_scales[0], triangles.len()), ([0.0; 3], 1));
        assert!(splats.means[0].iter().all(|v| v.abs() < 1e-9));
        assert!((splats.opacity_logits[0] - (0.1f32 / 0.9).ln()).abs() < 1e-6);
    }
}
