//! Where cameras look, and what of a mesh they see.

use gav_formats::Camera;

/// Where a point of the world falls on the picture: pixels from the top left, and depth; `None` behind the camera.
pub(super) fn project(camera: &Camera, point: [f64; 3]) -> Option<[f64; 3]> {
    let m = &camera.camera_from_world;
    let t: [f64; 3] = std::array::from_fn(|r| (0..3).map(|c| m[r][c] * point[c]).sum::<f64>() + m[r][3]);
    let at = |k: usize| camera.focal[k] * t[k] / t[2] + camera.principal[k];
    (t[2] > 0.0).then(|| [at(0), at(1), t[2]])
}

/// Whether a projected point lies on the picture.
pub(super) fn is_inside(camera: &Camera, [x, y, _]: [f64; 3]) -> bool {
    (0.0..f64::from(camera.width)).contains(&x) && (0.0..f64::from(camera.height)).contains(&y)
}

/// Centre of a camera, in world coordinates.
pub(super) fn center(camera: &Camera) -> [f64; 3] {
    let m = &camera.camera_from_world;
    std::array::from_fn(|k| -(0..3).map(|r| m[r][k] * m[r][3]).sum::<f64>())
}

/// The point nearest to all optical axes, least squares: Σ (I − d dᵀ) x = Σ (I − d dᵀ) c. `None` when the axes are (nearly) parallel.
pub(super) fn focus(cameras: &[&Camera]) -> Option<[f64; 3]> {
    let (mut a, mut b) = ([[0.0f64; 3]; 3], [0.0f64; 3]);
    for camera in cameras {
        let (d, c) = (camera.camera_from_world[2], center(camera));
        for r in 0..3 {
            for k in 0..3 {
                let entry = f64::from(u8::from(r == k)) - d[r] * d[k];
                a[r][k] += entry;
                b[r] += entry * c[k];
            }
        }
    }
    let det = |m: &[[f64; 3]; 3]| -> f64 {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let whole = det(&a);
    // for n cameras with angle θ between them the determinant is about n³ sin²θ / 4
    if whole.abs() < 1e-4 * (cameras.len() as f64).powi(3) {
        return None;
    }
    Some(std::array::from_fn(|k| {
        let mut m = a;
        (0..3).for_each(|r| m[r][k] = b[r]);
        det(&m) / whole
    }))
}

/// A picture with the vertices of a mesh marked on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Red, green, blue, row-major.
    pub rgb: Vec<u8>,
    /// Vertices on the picture, of all.
    pub inside: usize,
}

/// Marks every vertex that `camera` sees: near ones red, far ones blue.
///
/// # Panics
/// When `rgb` is not of the camera's size.
pub fn overlay(rgb: &[u8], camera: &Camera, vertices: &[[f32; 3]]) -> Overlay {
    assert_eq!(rgb.len(), 3 * camera.width as usize * camera.height as usize, "a picture of the camera's size");
    let seen: Vec<[f64; 3]> =
        vertices.iter().filter_map(|v| project(camera, v.map(f64::from))).filter(|p| is_inside(camera, *p)).collect();
    let near = seen.iter().map(|p| p[2]).fold(f64::INFINITY, f64::min);
    let far = seen.iter().map(|p| p[2]).fold(f64::NEG_INFINITY, f64::max);
    let mut out = rgb.to_vec();
    for [x, y, depth] in &seen {
        let share = if far > near { (depth - near) / (far - near) } else { 0.0 };
        let at = 3 * (*y as usize * camera.width as usize + *x as usize);
        out[at..at + 3].copy_from_slice(&[255 - (255.0 * share) as u8, 0, (255.0 * share) as u8]);
    }
    Overlay { rgb: out, inside: seen.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gav_formats::synthetic::shell_camera;

    #[test]
    fn cameras_around_a_point_look_at_it() {
        let cameras: Vec<Camera> = (0..5).map(|k| shell_camera(k, 64, 64)).collect();
        let found = focus(&cameras.iter().collect::<Vec<_>>()).unwrap();
        assert!(found.iter().all(|v| v.abs() < 1e-9), "{found:?}");
        let c = center(&cameras[0]);
        assert!((c.iter().map(|v| v * v).sum::<f64>().sqrt() - 1.0).abs() < 1e-9);
        assert_eq!(focus(&[&cameras[0], &cameras[0]]), None);
        let [x, y, depth] = project(&cameras[2], [0.0; 3]).unwrap();
        assert!((x - 32.0).abs() < 1e-9 && (y - 32.0).abs() < 1e-9 && (depth - 1.0).abs() < 1e-9);
        assert_eq!(project(&cameras[2], center(&cameras[2]).map(|v| 3.0 * v)), None);
        let marked = overlay(&[255; 3 * 64 * 64], &cameras[2], &[[0.0; 3], [9.0, 0.0, 0.0]]);
        assert_eq!((marked.inside, &marked.rgb[3 * (32 * 64 + 32)..][..3]), (1, &[255, 0, 0][..]));
    }
}
