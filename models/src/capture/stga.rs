//! What STGA keeps beside the pictures: a mesh for each time step, and the faces that are trained then.

use std::path::{Path, PathBuf};

use gav_formats::{Limits, Source, npy::read_npy};
use serde::Deserialize;

use crate::{Error, Result};

/// The mesh of a time step: `meshes/mesh_0012.json`.
pub fn mesh_path(folder: &Path, timestep: u32) -> PathBuf {
    folder.join(format!("meshes/mesh_{timestep:04}.json"))
}

/// The faces trained in a time step: `training_faces/0012.npy`.
pub fn training_faces_path(folder: &Path, timestep: u32) -> PathBuf {
    folder.join(format!("training_faces/{timestep:04}.npy"))
}

/// The posed triangles of a time step in world coordinates, metres; the place in the list is the number of the face.
///
/// # Errors
/// Files that cannot be read or hold something else, and coordinates that are not finite, with the number of the face.
pub fn read_mesh(path: &Path, limits: &Limits) -> Result<Vec<[[f32; 3]; 3]>> {
    #[derive(Deserialize)]
    struct Mesh {
        triangles: Vec<Triangle>,
    }
    #[derive(Deserialize)]
    struct Triangle {
        #[serde(rename = "Vertices")]
        vertices: [[f32; 3]; 3],
    }
    let source = Source::open(path)?;
    limits.check_bytes(source.len() as u64)?;
    limits.check_json_depth(&source)?;
    let mesh: Mesh = serde_json::from_slice(&source)
        .map_err(|e| Error::usage(format!("{}: no mesh of STGA: {e}", path.display())))?;
    let triangles: Vec<[[f32; 3]; 3]> = mesh.triangles.into_iter().map(|t| t.vertices).collect();
    match triangles.iter().position(|t| !t.as_flattened().iter().all(|v| v.is_finite())) {
        Some(face) => Err(Error::usage(format!("{}: face {face} has a corner that is not finite", path.display()))),
        None => Ok(triangles),
    }
}

/// The bytes of a mesh file: the corners of each face, as few digits as give back the same float32.
///
/// # Panics
/// When a face names a vertex that is not there.
pub fn mesh_json(vertices: &[[f32; 3]], faces: &[[u32; 3]]) -> Vec<u8> {
    let mut text = String::with_capacity(112 * faces.len());
    text.push_str("{\"triangles\": [");
    for (k, face) in faces.iter().enumerate() {
        let [a, b, c] = face.map(|v| vertices[v as usize]);
        let comma = if k == 0 { "" } else { "," };
        let [a, b, c] = [a, b, c].map(|[x, y, z]| format!("[{x:?},{y:?},{z:?}]"));
        text.push_str(&format!("{comma}\n{{\"Vertices\": [{a},{b},{c}]}}"));
    }
    text.push_str("\n]}\n");
    text.into_bytes()
}

/// The numbers of the faces that are trained in a time step.
///
/// # Errors
/// Files that cannot be read, and numbers that are no faces of a mesh of `faces`.
pub fn read_training_faces(path: &Path, faces: usize, limits: &Limits) -> Result<Vec<u32>> {
    let source = Source::open(path)?;
    let array = read_npy(&source, limits)?;
    let number = |v: f64| {
        let whole = v >= 0.0 && v.fract() == 0.0 && v < faces as f64;
        whole.then_some(v as u32).ok_or_else(|| Error::usage(format!("{}: face {v} of {faces}", path.display())))
    };
    array.to_f64().into_iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meshes_survive_bit_for_bit() {
        let vertices = [[0.1f32, -1e-9, 3.0], [f32::MIN_POSITIVE, 1.0 / 3.0, -0.0], [1e7, 2.5, -7.75e-5]];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mesh.json");
        std::fs::write(&path, mesh_json(&vertices, &[[0, 1, 2], [2, 1, 0]])).unwrap();
        let read = read_mesh(&path, &Limits::default()).unwrap();
        let bits = |t: [[f32; 3]; 3]| t.as_flattened().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!((bits(read[0]), read.len()), (bits(vertices), 2));
        assert_eq!(read[1][0], vertices[2]);
    }
}
