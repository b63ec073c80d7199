//! Splats bound to triangles: kinds 2, 3 and 4 of `spec/gav.md` section 8.
//!
//! A posed mesh gives every triangle a [`Face`]; [`bind`] takes splats from their triangle's frame to the mesh's coordinates.

use gav_formats::TriangleFrame;
use rayon::prelude::*;

use super::{
    algebra::{
        Mat3, Quat, Vec3, add, column, columns, cross, dot, multiply, multiply_backward, normalize, normalize_backward,
        normalize4, normalize4_backward, outer, quaternion, quaternion_backward, scale, sub, transform,
        transform_transposed,
    },
    geometry::{Geometry, GeometryRef},
};
use crate::Real;

/// A triangle mesh whose vertices move.
#[derive(Debug, Clone, Copy)]
pub struct MeshRef<'a, T> {
    /// Posed vertices, V × 3.
    pub vertices: &'a [Vec3<T>],
    /// Vertex indices, F × 3.
    pub faces: &'a [[u32; 3]],
    /// Texture coordinates of the three corners of every face, F × 3 × 2; needed by [`TriangleFrame::RgbAvatar`] only.
    pub corner_uvs: &'a [[[T; 2]; 3]],
}

/// Which triangle each splat belongs to.
#[derive(Debug, Clone, Copy)]
pub struct BindingRef<'a, T> {
    /// The frame's definition.
    pub frame: TriangleFrame,
    /// Triangle of each splat, N.
    pub triangles: &'a [u32],
    /// Barycentric coordinates of each splat's origin, N × 3; empty unless the frame is [`TriangleFrame::RgbAvatar`].
    pub barycentrics: &'a [[T; 3]],
}

/// The frame of one triangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Face<T> {
    /// The three vertices.
    pub corners: [Vec3<T>; 3],
    /// Rows of the matrix that takes local directions to the mesh's coordinates.
    pub matrix: Mat3<T>,
    /// Its quaternion, by the normative formula of `spec/gav.md` section 8.
    pub quaternion: Quat<T>,
    /// What local lengths are multiplied with: k for GaussianAvatars, 1 for the others.
    pub scale: T,
}

/// Gradients by the parts of a [`Face`].
#[derive(Clone, Copy)]
struct FaceGradient<T> {
    corners: [Vec3<T>; 3],
    matrix: Mat3<T>,
    quaternion: Quat<T>,
    scale: T,
}

/// Frames of all triangles of a mesh, F.
///
/// # Panics
/// When a face names a vertex that does not exist, or the frame needs texture coordinates that are not there.
pub fn faces<T: Real>(frame: TriangleFrame, mesh: &MeshRef<'_, T>) -> Vec<Face<T>> {
    if frame == TriangleFrame::RgbAvatar {
        assert_eq!(mesh.corner_uvs.len(), mesh.faces.len(), "texture coordinates of {} faces", mesh.faces.len());
    }
    let face = |(index, face): (usize, &[u32; 3])| {
        let corners = face.map(|v| mesh.vertices[v as usize]);
        let (matrix, scale) = match frame {
            TriangleFrame::GaussianAvatars => edge_frame(&corners),
            TriangleFrame::Stga => (spoke_frame(&corners), T::one()),
            TriangleFrame::RgbAvatar => (tangent_frame(&corners, &mesh.corner_uvs[index]), T::one()),
        };
        Face { corners, matrix, quaternion: quaternion(&matrix), scale }
    };
    mesh.faces.par_iter().enumerate().with_min_len(1024).map(face).collect()
}

/// GaussianAvatars: first edge, normal, in-plane height; the mean of base and height as scale.
fn edge_frame<T: Real>([v0, v1, v2]: &[Vec3<T>; 3]) -> (Mat3<T>, T) {
    let (e1, e2) = (sub(*v1, *v0), sub(*v2, *v0));
    let (a0, _) = normalize(e1);
    let (a1, _) = normalize(cross(a0, e2));
    let a2 = normalize(cross(a1, a0)).0.map(|v| -v);
    let k = (dot(e1, e1).max(T::of(1e-20)).sqrt() + dot(a2, e2).abs()) * T::of(0.5);
    (columns(a0, a1, a2), k)
}

/// STGA: from the centroid to the first vertex, in-plane, normal.
fn spoke_frame<T: Real>(corners: &[Vec3<T>; 3]) -> Mat3<T> {
    let [v0, v1, v2] = *corners;
    let (x, _) = normalize(sub(v0, centroid(corners)));
    let (z, _) = normalize(cross(sub(v1, v0), sub(v2, v0)));
    columns(x, normalize(cross(z, x)).0, z)
}

/// RGBAvatar: tangent, bitangent and normal, each of unit length, in general not orthogonal.
fn tangent_frame<T: Real>([v0, v1, v2]: &[Vec3<T>; 3], uvs: &[[T; 2]; 3]) -> Mat3<T> {
    let (e1, e2) = (sub(*v1, *v0), sub(*v2, *v0));
    let [t1, t2, b1, b2] = tangent_factors(uvs);
    let tangent = add(scale(e1, t1), scale(e2, t2));
    let bitangent = add(scale(e1, b1), scale(e2, b2));
    columns(normalize(tangent).0, normalize(bitangent).0, normalize(cross(e1, e2)).0)
}

/// Factors of both edges in tangent and bitangent; their sign counts, and their size when a face is small.
fn tangent_factors<T: Real>([uv0, uv1, uv2]: &[[T; 2]; 3]) -> [T; 4] {
    let [du1, dv1] = [uv1[0] - uv0[0], uv1[1] - uv0[1]];
    let [du2, dv2] = [uv2[0] - uv0[0], uv2[1] - uv0[1]];
    let f = (du1 * dv2 - du2 * dv1).recip();
    [f * dv2, -f * dv1, -f * du2, f * du1]
}

fn centroid<T: Real>([v0, v1, v2]: &[Vec3<T>; 3]) -> Vec3<T> {
    scale(add(add(*v0, *v1), *v2), T::of(1.0 / 3.0))
}

/// Takes splats from the frames of their triangles to the coordinates of the mesh.
///
/// μ' = k R μ + o, ln s' = ln k + ln s, q' = q(R) ⊗ q/|q|; RGBAvatar's quaternions are not divided by their length.
///
/// # Panics
/// When arrays differ in length or a splat names a triangle that does not exist.
pub fn bind<T: Real>(binding: &BindingRef<'_, T>, faces: &[Face<T>], local: GeometryRef<'_, T>) -> Geometry<T> {
    let count = check(binding, local);
    let mut out = Geometry::zeros(count);
    (&mut out.means, &mut out.rotations, &mut out.log_scales).into_par_iter().enumerate().with_min_len(1024).for_each(
        |(i, (mean, rotation, log_scale))| {
            let face = &faces[binding.triangles[i] as usize];
            let turned = scale(transform(&face.matrix, local.means[i]), face.scale);
            *mean = add(turned, origin(binding, face, i));
            *rotation = multiply(face.quaternion, local_rotation(binding.frame, local.rotations[i]).0);
            let ln = if binding.frame == TriangleFrame::GaussianAvatars { face.scale.ln() } else { T::zero() };
            *log_scale = local.log_scales[i].map(|v| v + ln);
        },
    );
    out
}

/// Gradients by the local splats (N) and by the vertices of the mesh (V × 3), from those by the result of [`bind`].
pub fn bind_backward<T: Real>(
    binding: &BindingRef<'_, T>,
    mesh: &MeshRef<'_, T>,
    faces: &[Face<T>],
    local: GeometryRef<'_, T>,
    upstream: GeometryRef<'_, T>,
) -> (Geometry<T>, Vec<Vec3<T>>) {
    let count = check(binding, local);
    upstream.check(count);
    let zero = T::zero();
    let nothing = FaceGradient { corners: [[zero; 3]; 3], matrix: [[zero; 3]; 3], quaternion: [zero; 4], scale: zero };
    let mut by_face = vec![nothing; faces.len()];
    let mut out = Geometry::zeros(count);
    for i in 0..count {
        let triangle = binding.triangles[i] as usize;
        let (face, sum) = (&faces[triangle], &mut by_face[triangle]);
        let (mean, g) = (local.means[i], upstream.means[i]);
        out.means[i] = scale(transform_transposed(&face.matrix, g), face.scale);
        let by_matrix = outer(scale(g, face.scale), mean);
        for r in 0..3 {
            sum.matrix[r] = add(sum.matrix[r], by_matrix[r]);
        }
        let weights = binding.barycentrics.get(i).copied().unwrap_or([T::of(1.0 / 3.0); 3]);
        for (corner, weight) in sum.corners.iter_mut().zip(weights) {
            *corner = add(*corner, scale(g, weight));
        }
        let (unit, inverse) = local_rotation(binding.frame, local.rotations[i]);
        let (by_face_quaternion, by_unit) = multiply_backward(face.quaternion, unit, upstream.rotations[i]);
        out.rotations[i] = match inverse {
            Some(inverse) => normalize4_backward(unit, inverse, by_unit),
            None => by_unit,
        };
        for (s, g) in sum.quaternion.iter_mut().zip(by_face_quaternion) {
            *s += g;
        }
        out.log_scales[i] = upstream.log_scales[i];
        if binding.frame == TriangleFrame::GaussianAvatars {
            let ln = upstream.log_scales[i].iter().copied().sum::<T>();
            sum.scale += dot(g, transform(&face.matrix, mean)) + ln / face.scale;
        }
    }
    let by_corners: Vec<[Vec3<T>; 3]> = by_face
        .par_iter()
        .enumerate()
        .with_min_len(1024)
        .map(|(index, g)| {
            let uvs = mesh.corner_uvs.get(index);
            face_backward(binding.frame, &faces[index], uvs, g)
        })
        .collect();
    let mut vertices = vec![[zero; 3]; mesh.vertices.len()];
    for (face, corners) in mesh.faces.iter().zip(by_corners) {
        for (vertex, g) in face.iter().zip(corners) {
            let sum = &mut vertices[*vertex as usize];
            *sum = add(*sum, g);
        }
    }
    (out, vertices)
}

/// Gradients by the corners of a triangle.
fn face_backward<T: Real>(
    frame: TriangleFrame,
    face: &Face<T>,
    uvs: Option<&[[T; 2]; 3]>,
    g: &FaceGradient<T>,
) -> [Vec3<T>; 3] {
    let by_quaternion = quaternion_backward(&face.matrix, g.quaternion);
    let by_matrix: Mat3<T> = std::array::from_fn(|r| add(g.matrix[r], by_quaternion[r]));
    let by_column: [Vec3<T>; 3] = std::array::from_fn(|c| column(&by_matrix, c));
    let corners = &face.corners;
    let own = match (frame, uvs) {
        (TriangleFrame::GaussianAvatars, _) => edge_frame_backward(corners, &by_column, g.scale),
        (TriangleFrame::Stga, _) => spoke_frame_backward(corners, &by_column),
        (TriangleFrame::RgbAvatar, Some(uvs)) => tangent_frame_backward(corners, uvs, &by_column),
        (TriangleFrame::RgbAvatar, None) => unreachable!("faces() checked the texture coordinates"),
    };
    std::array::from_fn(|k| add(own[k], g.corners[k]))
}

fn edge_frame_backward<T: Real>([v0, v1, v2]: &[Vec3<T>; 3], g: &[Vec3<T>; 3], by_scale: T) -> [Vec3<T>; 3] {
    let (e1, e2) = (sub(*v1, *v0), sub(*v2, *v0));
    let (a0, i0) = normalize(e1);
    let (a1, i1) = normalize(cross(a0, e2));
    let (minus_a2, i2) = normalize(cross(a1, a0));
    let a2 = minus_a2.map(|v| -v);
    // k = (|e1| + |a2 · e2|) / 2
    let half = by_scale * T::of(0.5);
    let height = half * dot(a2, e2).signum();
    let by_cross = normalize_backward(minus_a2, i2, add(g[2], scale(e2, height)).map(|v| -v));
    let by_a1 = add(g[1], cross(a0, by_cross));
    let by_normal = normalize_backward(a1, i1, by_a1);
    let by_a0 = add(add(g[0], cross(by_cross, a1)), cross(e2, by_normal));
    let by_e1 = add(normalize_backward(a0, i0, by_a0), scale(a0, half));
    let by_e2 = add(cross(by_normal, a0), scale(a2, height));
    [add(by_e1, by_e2).map(|v| -v), by_e1, by_e2]
}

fn spoke_frame_backward<T: Real>(corners: &[Vec3<T>; 3], g: &[Vec3<T>; 3]) -> [Vec3<T>; 3] {
    let [v0, v1, v2] = *corners;
    let (e1, e2) = (sub(v1, v0), sub(v2, v0));
    let (x, ix) = normalize(sub(v0, centroid(corners)));
    let (z, iz) = normalize(cross(e1, e2));
    let (y, iy) = normalize(cross(z, x));
    let by_cross = normalize_backward(y, iy, g[1]);
    let by_spoke = normalize_backward(x, ix, add(g[0], cross(by_cross, z)));
    let by_normal = normalize_backward(z, iz, add(g[2], cross(x, by_cross)));
    let (by_e1, by_e2) = (cross(e2, by_normal), cross(by_normal, e1));
    // v0 minus the centroid: two thirds of v0, minus a third of the others
    let third = scale(by_spoke, T::of(1.0 / 3.0));
    [sub(sub(by_spoke, third), add(by_e1, by_e2)), sub(by_e1, third), sub(by_e2, third)]
}

fn tangent_frame_backward<T: Real>([v0, v1, v2]: &[Vec3<T>; 3], uvs: &[[T; 2]; 3], g: &[Vec3<T>; 3]) -> [Vec3<T>; 3] {
    let (e1, e2) = (sub(*v1, *v0), sub(*v2, *v0));
    let [t1, t2, b1, b2] = tangent_factors(uvs);
    let (t, it) = normalize(add(scale(e1, t1), scale(e2, t2)));
    let (b, ib) = normalize(add(scale(e1, b1), scale(e2, b2)));
    let (n, i_n) = normalize(cross(e1, e2));
    let (gt, gb) = (normalize_backward(t, it, g[0]), normalize_backward(b, ib, g[1]));
    let gn = normalize_backward(n, i_n, g[2]);
    let by_e1 = add(add(scale(gt, t1), scale(gb, b1)), cross(e2, gn));
    let by_e2 = add(add(scale(gt, t2), scale(gb, b2)), cross(gn, e1));
    [add(by_e1, by_e2).map(|v| -v), by_e1, by_e2]
}

/// The splat's unit rotation and the inverse of its length, or its rotation as it is where the frame takes it so.
fn local_rotation<T: Real>(frame: TriangleFrame, q: Quat<T>) -> (Quat<T>, Option<T>) {
    if frame == TriangleFrame::RgbAvatar {
        return (q, None);
    }
    let (unit, inverse) = normalize4(q);
    (unit, Some(inverse))
}

fn origin<T: Real>(binding: &BindingRef<'_, T>, face: &Face<T>, splat: usize) -> Vec3<T> {
    match binding.barycentrics.get(splat) {
        None => centroid(&face.corners),
        Some(weights) => {
            let [a, b, c] = std::array::from_fn(|k| scale(face.corners[k], weights[k]));
            add(add(a, b), c)
        }
    }
}

fn check<T>(binding: &BindingRef<'_, T>, local: GeometryRef<'_, T>) -> usize {
    let count = binding.triangles.len();
    local.check(count);
    let barycentrics = if binding.frame == TriangleFrame::RgbAvatar { count } else { 0 };
    assert_eq!(binding.barycentrics.len(), barycentrics, "barycentric coordinates of {count} splats");
    count
}
