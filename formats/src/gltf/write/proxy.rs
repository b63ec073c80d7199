//! The proxy mesh: triangles for viewers that draw no splats, for shadows and for picking, in a scene of its own so that a viewer
//! shows either.

use rayon::prelude::*;
use serde_json::{Value, json};

use super::{
    builder::{ARRAY_BUFFER, Builder, ELEMENT_ARRAY_BUFFER},
    rig::{JointNodes, add_skin},
};
use crate::{Avatar, DType, Error, Frame, Mesh, NamedArray, Result, RigBase, Skeleton, Skin};

const UNSIGNED_INT: u32 = 5125;

/// Refuses what is not there and what may not be passed on.
///
/// # Errors
/// [`Error::Usage`] without a mesh, saying why a template's own is not written, and for faces beyond the vertices.
pub fn check(avatar: &Avatar) -> Result<&Mesh> {
    let mesh = match (&avatar.mesh, &avatar.template) {
        (Some(mesh), Some(template)) if template.embedded && template.licence.is_empty() => {
            return Err(Error::usage(format!(
                "the mesh of this avatar is its template `{}` ({} vertices), and no licence says that it may be passed on: it is not written",
                template.name,
                mesh.positions.len()
            )));
        }
        (Some(mesh), _) => mesh,
        (None, Some(template)) => {
            return Err(Error::usage(format!(
                "this avatar has no proxy mesh; the geometry of its template `{}` ({} vertices) is licensed, is not in the file and is never written",
                template.name, template.vertex_count
            )));
        }
        (None, None) => return Err(Error::usage("this avatar has no proxy mesh")),
    };
    let count = mesh.positions.len();
    if mesh.faces.is_empty() || count == 0 {
        return Err(Error::usage(format!("the proxy mesh has {count} vertices and {} faces", mesh.faces.len())));
    }
    if let Some((face, corners)) = mesh.faces.iter().enumerate().find(|(_, f)| f.iter().any(|v| *v as usize >= count)) {
        return Err(Error::usage(format!("face {face} of the proxy mesh names vertices {corners:?} of {count}")));
    }
    if let Some(vertex) = mesh.positions.iter().position(|p| !p.iter().all(|v| v.is_finite())) {
        return Err(Error::usage(format!("vertex {vertex} of the proxy mesh is at {:?}", mesh.positions[vertex])));
    }
    Ok(mesh)
}

/// Adds the mesh and its scene; `joints` of a skinned avatar, which lies in the axes `to` of the file already, carry it. The mesh
/// itself has the axes and units `from`.
///
/// # Errors
/// Those of [`check`].
pub fn add(
    glb: &mut Builder,
    avatar: &Avatar,
    from: (Frame, f64),
    to: Frame,
    joints: Option<&JointNodes>,
) -> Result<()> {
    let mesh = &placed(check(avatar)?, from, to);
    let position = glb.floats("VEC3", &mesh.positions, true, Some(ARRAY_BUFFER));
    let normal = glb.floats("VEC3", &normals(mesh), false, Some(ARRAY_BUFFER));
    let bytes: Vec<u8> = mesh.faces.as_flattened().iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = glb.view(bytes, Some(ELEMENT_ARRAY_BUFFER));
    let indices = glb.accessor(
        json!({"bufferView": view, "componentType": UNSIGNED_INT, "count": mesh.faces.len() * 3, "type": "SCALAR"}),
    );
    let mut primitive: Value = json!({"attributes": {"POSITION": position, "NORMAL": normal}, "indices": indices});
    let mut node = json!({"name": "proxy", "mesh": glb.meshes.len()});
    let mut roots = vec![glb.nodes.len()];
    if let (RigBase::Skinned { skeleton, skin, .. }, Some(joints)) = (&avatar.rig.base, joints) {
        let weights = vertex_weights(mesh, skeleton).unwrap_or_else(|| nearest_weights(mesh, avatar, skin));
        // what its weights lose is said for the splats already
        node["skin"] = json!(add_skin(glb, skeleton, &weights, joints, &mut primitive, &mut Vec::new())?);
        roots.extend(&joints.roots);
    }
    glb.nodes.push(node);
    glb.meshes.push(json!({"primitives": [primitive]}));
    glb.scenes.push(json!({"name": "proxy", "nodes": roots}));
    Ok(())
}

/// Positions and faces of a mesh in other axes and in metres; mirrors turn the faces over.
fn placed(mesh: &Mesh, (from, metres_per_unit): (Frame, f64), to: Frame) -> Mesh {
    let m = to.from_frame(from);
    let point = |p: &[f32; 3]| -> [f32; 3] {
        std::array::from_fn(|r| (metres_per_unit * (0..3).map(|c| m[r][c] * f64::from(p[c])).sum::<f64>()) as f32)
    };
    let mirrored = from.is_right_handed() != to.is_right_handed();
    let face = |&[a, b, c]: &[u32; 3]| if mirrored { [a, c, b] } else { [a, b, c] };
    Mesh {
        positions: mesh.positions.iter().map(point).collect(),
        faces: mesh.faces.iter().map(face).collect(),
        arrays: mesh.arrays.clone(),
        ..Mesh::default()
    }
}

/// The array `weights`, V × J, when the mesh brings one for these joints.
fn vertex_weights(mesh: &Mesh, skeleton: &Skeleton) -> Option<Skin> {
    let (vertices, joints) = (mesh.positions.len(), skeleton.joints.len());
    let fits =
        |a: &&NamedArray| a.name == "weights" && a.dtype == DType::F32 && a.shape == [vertices as u32, joints as u32];
    let array = mesh.arrays.iter().find(fits)?;
    let values: Vec<f32> = array.data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let row = |v: &[f32]| -> Vec<(u16, f32)> {
        let mut row: Vec<(u16, f32)> =
            v.iter().enumerate().map(|(j, w)| (j as u16, *w)).filter(|(_, w)| *w > 0.0).collect();
        row.sort_by(|a, b| b.1.total_cmp(&a.1));
        row
    };
    let rows: Vec<Vec<(u16, f32)>> = values.chunks_exact(joints).map(row).collect();
    (rows.len() == vertices && rows.iter().all(|r| !r.is_empty())).then(|| Skin::from_rows(rows))
}

/// For each vertex the weights of the nearest splat.
fn nearest_weights(mesh: &Mesh, avatar: &Avatar, skin: &Skin) -> Skin {
    let means = &avatar.splats.means;
    let distance = |a: &[f32; 3], b: &[f32; 3]| (0..3).map(|k| (a[k] - b[k]).powi(2)).sum::<f32>();
    let nearest = |vertex: &[f32; 3]| {
        let best =
            (0..means.len()).min_by(|i, j| distance(vertex, &means[*i]).total_cmp(&distance(vertex, &means[*j])));
        skin.row(best.unwrap_or(0)).collect()
    };
    let rows: Vec<Vec<(u16, f32)>> = mesh.positions.par_iter().map(nearest).collect();
    Skin::from_rows(rows)
}

/// Unit normals of the vertices, weighted by area; up where no face has any.
fn normals(mesh: &Mesh) -> Vec<[f32; 3]> {
    let mut sums = vec![[0.0f64; 3]; mesh.positions.len()];
    for face in &mesh.faces {
        let [a, b, c] = face.map(|v| mesh.positions[v as usize].map(f64::from));
        let (p, q): ([f64; 3], [f64; 3]) = (std::array::from_fn(|k| b[k] - a[k]), std::array::from_fn(|k| c[k] - a[k]));
        let normal = [p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]];
        face.iter().for_each(|v| (0..3).for_each(|k| sums[*v as usize][k] += normal[k]));
    }
    let unit = |n: [f64; 3]| {
        let length = n.iter().map(|v| v * v).sum::<f64>().sqrt();
        if length > 0.0 && length.is_finite() { n.map(|v| (v / length) as f32) } else { [0.0, 1.0, 0.0] }
    };
    sums.into_iter().map(unit).collect()
}
