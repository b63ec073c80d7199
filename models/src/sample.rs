//! Splats on the surface of a rigged mesh: the quickest way from a character to a splat avatar that moves.

use gav_formats::{
    Avatar, Driver, Error, Frame, Mesh, MorphTarget, Morphs, Result, Rig, RigBase, Skeleton, Skin, Splats,
    conventions::{logit_from_opacity, quaternion_from_matrix, sh0_from_color},
    gltf::RiggedMesh,
    rig::rig_limits,
    synthetic::uniform,
};
use gav_kernels::rig::{skeleton, skin};

/// Standard deviation in the plane, in units of the mean spacing of splats: neighbours overlap to an even surface.
const SPREAD: f64 = 0.6;
/// Standard deviation across the surface, of that in the plane.
const THICKNESS: f64 = 0.15;
const OPACITY: f32 = 0.98;

/// A point of a mesh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SurfacePoint {
    /// Triangle.
    pub face: u32,
    /// Barycentric coordinates.
    pub weights: [f32; 3],
}

/// `count` points of equal share of the mesh's area, in the order of its faces. The same every time.
///
/// # Errors
/// [`Error::Usage`] for a mesh without area.
pub fn points(mesh: &Mesh, count: usize) -> Result<Vec<SurfacePoint>> {
    let mut sums = Vec::with_capacity(mesh.faces.len());
    let mut total = 0.0;
    for face in &mesh.faces {
        total += area(mesh, *face);
        sums.push(total);
    }
    if !(total.is_finite() && total > 0.0) {
        return Err(Error::usage(format!("the mesh has {} faces of total area {total}", mesh.faces.len())));
    }
    let point = |k: usize| {
        let at = (k as f64 + uniform(k as u64, 1)) / count as f64 * total;
        let face = sums.partition_point(|s| *s <= at).min(sums.len() - 1);
        // the fold of the unit square that keeps points even (Turk, "Generating random points in triangles", 1990)
        let (mut u, mut v) = (uniform(k as u64, 2), uniform(k as u64, 3));
        if u + v > 1.0 {
            (u, v) = (1.0 - u, 1.0 - v);
        }
        SurfacePoint { face: face as u32, weights: [(1.0 - u - v) as f32, u as f32, v as f32] }
    };
    Ok((0..count).map(point).collect())
}

/// Flat splats at the points, in the plane of their triangles, coloured by `color` (display sRGB).
pub fn splats(mesh: &Mesh, points: &[SurfacePoint], color: impl Fn(&SurfacePoint, [f64; 3]) -> [f32; 3]) -> Splats {
    let total: f64 = mesh.faces.iter().map(|f| area(mesh, *f)).sum();
    let size = SPREAD * (total / points.len().max(1) as f64).sqrt();
    let ln = [size.ln() as f32, size.ln() as f32, (size * THICKNESS).ln() as f32];
    let mut out = Splats::with_len(points.len(), 0);
    for (i, point) in points.iter().enumerate() {
        let corners = mesh.faces[point.face as usize].map(|v| mesh.positions[v as usize].map(f64::from));
        let edge = |k: usize| -> [f64; 3] { std::array::from_fn(|c| corners[k][c] - corners[0][c]) };
        let x = unit(edge(1), [1.0, 0.0, 0.0]);
        let z = unit(cross(edge(1), edge(2)), [0.0, 0.0, 1.0]);
        let y = cross(z, x);
        out.means[i] = std::array::from_fn(|c| (0..3).map(|k| corners[k][c] as f32 * point.weights[k]).sum());
        out.rotations[i] = quaternion_from_matrix(&std::array::from_fn(|r| [x[r], y[r], z[r]])).map(|v| v as f32);
        out.log_scales[i] = ln;
        out.opacity_logits[i] = logit_from_opacity(OPACITY);
        out.sh0[i] = color(point, z).map(sh0_from_color);
    }
    out
}

/// A skinned avatar of splats at points of a rigged mesh: skin, morphs, drivers and clips of the mesh, in glTF's frame.
///
/// Canonical coordinates become those of the bind pose where the rig allows it, so that the splats stand upright without their rig.
///
/// # Errors
/// [`Error::Usage`] when the mesh has no skeleton.
pub fn avatar(mesh: &RiggedMesh, points: &[SurfacePoint], splats: Splats) -> Result<Avatar> {
    if mesh.skeleton.joints.is_empty() {
        return Err(Error::usage("the mesh has no skeleton: there is nothing to move its splats with"));
    }
    let blend = |point: &SurfacePoint| {
        let mut row: Vec<(u16, f32)> = Vec::new();
        for (vertex, share) in mesh.mesh.faces[point.face as usize].iter().zip(point.weights) {
            for (joint, weight) in mesh.skin.row(*vertex as usize) {
                match row.iter_mut().find(|(j, _)| *j == joint) {
                    Some((_, sum)) => *sum += share * weight,
                    None => row.push((joint, share * weight)),
                }
            }
        }
        row.sort_by(|a, b| b.1.total_cmp(&a.1));
        row.truncate(rig_limits::INFLUENCES);
        row
    };
    let skin = Skin::from_rows(points.iter().map(blend));
    let morphs = morphs(&mesh.mesh, &mesh.morphs, points);
    let mut skeleton = mesh.skeleton.clone();
    let mut avatar = Avatar::new(splats, Frame::GLTF);
    let common = upright(&mut avatar.splats, &mut skeleton, &skin);
    avatar.rig = Rig {
        base: RigBase::Skinned {
            skeleton,
            skin,
            morphs: (!morphs.targets.is_empty()).then(|| turned(morphs, &common)),
        },
        blendshapes: None,
    };
    avatar.drivers.clone_from(&mesh.drivers);
    avatar.clips.clone_from(&mesh.clips);
    avatar.validate()?;
    Ok(avatar)
}

/// Moves splats and inverse bind matrices to the coordinates of the bind pose when all joints agree where that is; gives the motion.
fn upright(splats: &mut Splats, skeleton: &mut Skeleton, skin: &Skin) -> [[f32; 4]; 3] {
    let identity = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
    let bind = skeleton::locals::<f64>(skeleton, &gav_formats::Pose::default());
    let transforms = skeleton::skinning(skeleton, &bind);
    let mut used = skin.joints.iter().map(|j| &transforms[*j as usize]);
    let Some(first) = used.next().copied() else { return identity };
    let same = |t: &[[f64; 4]; 3]| t.as_flattened().iter().zip(first.as_flattened()).all(|(a, b)| (a - b).abs() < 1e-4);
    if !used.all(same) {
        return identity;
    }
    let single: Vec<[[f32; 4]; 3]> = vec![first.map(|r| r.map(|v| v as f32)); splats.len()];
    let moved = skin::carry(&single, (&*splats).into());
    // the common motion is rigid but for a scale, which the nodes above the joints may have
    let scale = (0..3).map(|c| first[c][0] * first[c][0]).sum::<f64>().sqrt();
    splats.means = moved.means;
    splats.rotations = moved.rotations;
    splats.log_scales.iter_mut().flatten().for_each(|s| *s += scale.ln() as f32);
    let inverse = inverse(&first);
    for joint in &mut skeleton.joints {
        let b = joint.inverse_bind.map(|r| r.map(f64::from));
        joint.inverse_bind = std::array::from_fn(|r| {
            std::array::from_fn(|c| {
                let sum: f64 = (0..3).map(|k| b[r][k] * inverse[k][c]).sum();
                (if c == 3 { sum + b[r][3] } else { sum }) as f32
            })
        });
    }
    first.map(|r| r.map(|v| v as f32))
}

fn inverse(m: &[[f64; 4]; 3]) -> [[f64; 4]; 3] {
    let rows = [[m[0][0], m[0][1], m[0][2]], [m[1][0], m[1][1], m[1][2]], [m[2][0], m[2][1], m[2][2]]];
    let cofactors = [cross(rows[1], rows[2]), cross(rows[2], rows[0]), cross(rows[0], rows[1])];
    let determinant: f64 = (0..3).map(|c| rows[0][c] * cofactors[0][c]).sum();
    std::array::from_fn(|r| {
        let linear: [f64; 3] = std::array::from_fn(|c| cofactors[c][r] / determinant);
        let translation: f64 = (0..3).map(|c| -linear[c] * m[c][3]).sum();
        [linear[0], linear[1], linear[2], translation]
    })
}

/// Morphs of vertices as morphs of points.
fn morphs(mesh: &Mesh, morphs: &Morphs, points: &[SurfacePoint]) -> Morphs {
    let mut dense = vec![[0.0f32; 3]; mesh.positions.len()];
    let target = |target: &MorphTarget| {
        target.splats.iter().zip(&target.deltas).for_each(|(v, d)| dense[*v as usize] = *d);
        let mut out = MorphTarget { driver: target.driver.clone(), ..MorphTarget::default() };
        for (i, point) in points.iter().enumerate() {
            let face = mesh.faces[point.face as usize];
            let delta: [f32; 3] =
                std::array::from_fn(|c| (0..3).map(|k| dense[face[k] as usize][c] * point.weights[k]).sum());
            if delta != [0.0; 3] {
                out.splats.push(i as u32);
                out.deltas.push(delta);
            }
        }
        target.splats.iter().for_each(|v| dense[*v as usize] = [0.0; 3]);
        out
    };
    Morphs { targets: morphs.targets.iter().map(target).collect() }
}

/// Deltas after the linear part of a motion.
fn turned(mut morphs: Morphs, by: &[[f32; 4]; 3]) -> Morphs {
    for delta in morphs.targets.iter_mut().flat_map(|t| &mut t.deltas) {
        *delta = std::array::from_fn(|r| (0..3).map(|c| by[r][c] * delta[c]).sum());
    }
    morphs
}

/// A parametric body as a rigged mesh: its average identity, joints, and one morph for each expression. Pose correctives are left out.
pub fn body_mesh(body: &crate::body::Body<f32>) -> crate::Result<RiggedMesh> {
    let rest = body.pose(&body.parameters(&[], &gav_formats::Pose::default())?);
    let prefix = body.layout().prefix();
    let rows = (0..body.vertex_count()).map(|v| {
        let (joints, weights) = body.weights().row(v);
        let mut row: Vec<(u16, f32)> = joints.iter().zip(weights).map(|(j, w)| (*j as u16, *w)).collect();
        row.sort_by(|a, b| b.1.total_cmp(&a.1));
        row.truncate(rig_limits::INFLUENCES);
        row
    });
    let mut morphs = Morphs::default();
    for k in 0..body.expression_count() {
        let driver = format!("{prefix}expression.{k}");
        let mut pose = gav_formats::Pose::default();
        pose.set(driver.clone(), [1.0]);
        let moved = body.pose(&body.parameters(&[], &pose)?);
        let mut target = MorphTarget { driver, ..MorphTarget::default() };
        for (v, (a, b)) in moved.vertices.iter().zip(&rest.vertices).enumerate() {
            let delta: [f32; 3] = std::array::from_fn(|c| a[c] - b[c]);
            if delta.iter().map(|d| d * d).sum::<f32>() > 1e-10 {
                target.splats.push(v as u32);
                target.deltas.push(delta);
            }
        }
        morphs.targets.push(target);
    }
    let driver = |t: &MorphTarget| Driver { name: t.driver.clone(), min: -3.0, max: 3.0, default: 0.0 };
    let split = body.uv_faces() == body.faces() && body.uvs().len() == body.vertex_count();
    Ok(RiggedMesh {
        mesh: Mesh {
            positions: rest.vertices.clone(),
            faces: body.faces().to_vec(),
            uvs: if split { body.uvs().to_vec() } else { Vec::new() },
            ..Mesh::default()
        },
        skeleton: crate::puppet::skeleton_of(body, &rest.rest_joints),
        skin: Skin::from_rows(rows),
        drivers: morphs.targets.iter().map(driver).collect(),
        morphs,
        clips: Vec::new(),
        base_color: [1.0; 4],
        texture: None,
    })
}

fn area(mesh: &Mesh, face: [u32; 3]) -> f64 {
    let corners = face.map(|v| mesh.positions[v as usize].map(f64::from));
    let edge = |k: usize| -> [f64; 3] { std::array::from_fn(|c| corners[k][c] - corners[0][c]) };
    let normal = cross(edge(1), edge(2));
    0.5 * normal.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn unit(v: [f64; 3], otherwise: [f64; 3]) -> [f64; 3] {
    let length = v.iter().map(|v| v * v).sum::<f64>().sqrt();
    if length > 0.0 { v.map(|v| v / length) } else { otherwise }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gav_formats::Joint;

    /// A strip of two squares, one on joint `a`, one on joint `b`, standing in a mesh space that is turned and twice as large.
    fn strip() -> RiggedMesh {
        let joint = |name: &str, parent, translation, rotation: [f32; 4], scale: f32| Joint {
            name: String::from(name),
            parent,
            humanoid: String::new(),
            translation,
            rotation,
            scale: [scale; 3],
            // undoes the translation of `b`; the turn and scale of `root` are above
            inverse_bind: std::array::from_fn(|r| {
                std::array::from_fn(|c| match c {
                    3 => -[0.0, if name == "b" { 1.0 } else { 0.0 }, 0.0][r],
                    _ => f32::from(u8::from(r == c)),
                })
            }),
        };
        let half = std::f32::consts::FRAC_1_SQRT_2;
        let none = [1.0, 0.0, 0.0, 0.0];
        RiggedMesh {
            mesh: Mesh {
                positions: vec![
                    [0.0; 3],
                    [1.0, 0.0, 0.0],
                    [0.0, 1.0, 0.0],
                    [1.0, 1.0, 0.0],
                    [0.0, 2.0, 0.0],
                    [1.0, 2.0, 0.0],
                ],
                faces: vec![[0, 1, 2], [1, 3, 2], [2, 3, 4], [3, 5, 4]],
                ..Mesh::default()
            },
            skeleton: Skeleton {
                joints: vec![
                    joint("root", None, [0.0; 3], [half, 0.0, 0.0, half], 0.5),
                    joint("a", Some(0), [0.0; 3], none, 1.0),
                    joint("b", Some(1), [0.0, 1.0, 0.0], none, 1.0),
                ],
            },
            skin: Skin::from_rows([1, 1, 1, 1, 2, 2].map(|j| vec![(j, 1.0)])),
            morphs: Morphs {
                targets: vec![MorphTarget { driver: "up".into(), splats: vec![5], deltas: vec![[0.0, 1.0, 0.0]] }],
            },
            drivers: vec![Driver { name: "up".into(), min: 0.0, max: 1.0, default: 0.0 }],
            ..RiggedMesh::default()
        }
    }

    #[test]
    fn splats_lie_in_their_triangles_and_stand_where_the_rig_puts_them() {
        let mesh = strip();
        let points = points(&mesh.mesh, 400).unwrap();
        assert_eq!(points.iter().filter(|p| p.face < 2).count(), 200);
        let flat = splats(&mesh.mesh, &points, |_, _| [0.5; 3]);
        assert!(flat.means.iter().all(|m| (0.0..=1.0).contains(&m[0]) && (0.0..=2.0).contains(&m[1]) && m[2] == 0.0));
        let avatar = avatar(&mesh, &points, flat).unwrap();
        // a quarter turn about z and half the size: x from the old y
        let means = &avatar.splats.means;
        assert!(means.iter().all(|m| (-1.0..=1e-6).contains(&m[0]) && (-1e-6..=0.5).contains(&m[1])), "{:?}", means[0]);
        let puppet = crate::puppet::Puppet::new(&avatar, None).unwrap();
        for (rest, stored) in puppet.rest().means.iter().zip(means) {
            assert!((0..3).all(|c| (rest[c] - stored[c]).abs() < 1e-6));
        }
        // the morph of vertex 5 is turned along
        let mut pose = gav_formats::Pose::default();
        pose.set("up", [1.0]);
        let moved = puppet.pose(&pose).unwrap();
        let last = points.iter().position(|p| p.face == 3).unwrap();
        let delta: Vec<f32> = (0..3).map(|c| moved.means[last][c] - means[last][c]).collect();
        assert!((delta[0] + 0.5 * points[last].weights[1]).abs() < 1e-6 && delta[1].abs() < 1e-6, "{delta:?}");
    }

    #[test]
    fn a_mesh_without_area_is_refused() {
        let mut mesh = strip().mesh;
        mesh.positions.iter_mut().for_each(|p| *p = [0.0; 3]);
        assert!(points(&mesh, 10).unwrap_err().to_string().contains("area"));
    }
}
