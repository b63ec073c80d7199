//! The procedural head as a template under FLAME's names.

use gav_formats::synthetic::head::shape::V;
use gav_formats::{
    DType, NamedArray, TemplateFamily,
    npy::{NpyArray, NpyType},
};
use rayon::prelude::*;

use super::{
    face::{EXPRESSIONS, IDENTITIES, JOINTS, identity, regress, weights},
    grid::{Grid, Region},
};
use crate::body::{FLAME_JOINTS, Parts};

/// Offsets below this (cm) are zero.
const SMALLEST: f64 = 1e-4;
/// Metres of a centimetre.
pub(super) const METRES: f64 = 0.01;

/// The arrays of the head in metres: FLAME's five joints, [`IDENTITIES`] and [`EXPRESSIONS`] as shape directions, no pose correctives.
pub(super) fn head(grid: &Grid) -> Parts<f32> {
    let count = grid.vertices.len();
    let mut columns: Vec<Vec<V>> = IDENTITIES.par_iter().map(|field| identity(grid, *field)).collect();
    columns.par_extend(EXPRESSIONS.par_iter().map(|(_, field)| {
        let offset = |(p, tag): (&V, &Region)| match tag {
            // eyeballs and teeth move with their joints and with the jaw alone
            Region::Eye(_) | Region::UpperTeeth => [0.0; 3],
            _ => field(*p, *tag),
        };
        grid.vertices.iter().zip(&grid.tags).map(offset).collect()
    }));
    let mut shapedirs = Vec::with_capacity(3 * count * columns.len());
    for vertex in 0..count {
        for axis in 0..3 {
            shapedirs.extend(columns.iter().map(|column| {
                let value = column[vertex][axis];
                if value.abs() < SMALLEST { 0.0 } else { (METRES * value) as f32 }
            }));
        }
    }
    let rows: Vec<[f64; 5]> = grid.vertices.iter().zip(&grid.tags).map(|(p, tag)| weights(*p, *tag)).collect();
    // joints follow the vertices that they turn most
    let chosen = |joint: usize| -> Vec<usize> {
        match joint {
            3 | 4 => (0..count).filter(|v| grid.tags[*v] == Region::Eye(joint == 3)).collect(),
            _ => {
                (0..count).filter(|v| grid.tags[*v] == Region::Skin && near(grid.vertices[*v], JOINTS[joint])).collect()
            }
        }
    };
    let mut regressor = vec![0.0f32; 5 * count];
    for joint in 0..5 {
        let chosen = chosen(joint);
        for (vertex, weight) in chosen.iter().zip(regress(&grid.vertices, &chosen, JOINTS[joint])) {
            regressor[joint * count + vertex] = weight as f32;
        }
    }
    Parts {
        family: TemplateFamily::Custom,
        name: "procedural head".to_owned(),
        licence: "CC0-1.0".to_owned(),
        vertices: grid.vertices.iter().map(|p| p.map(|v| (METRES * v) as f32)).collect(),
        faces: grid.faces.clone(),
        uvs: grid.uvs.clone(),
        uv_faces: grid.uv_faces.clone(),
        shapedirs,
        identity_columns: IDENTITIES.len(),
        posedirs: Vec::new(),
        extras: Vec::new(),
        regressor,
        weights: rows.iter().flatten().map(|w| *w as f32).collect(),
        parents: vec![None, Some(0), Some(1), Some(1), Some(1)],
        joint_names: FLAME_JOINTS.iter().map(|n| (*n).to_owned()).collect(),
        hands: None,
    }
}

/// Vertices about as high as a joint say where it is.
fn near(p: [f64; 3], joint: [f64; 3]) -> bool {
    (p[1] - joint[1]).abs() < 1.5 && p[1] > -18.0
}

/// The arrays as an archive has them: those of [`Parts::to_arrays`], FLAME's `kintree_table`, and the names of the expressions, one a line.
pub(super) fn archive(parts: &Parts<f32>, expressions: &[String]) -> Vec<(String, NpyArray)> {
    let mut out: Vec<(String, NpyArray)> =
        parts.to_arrays().into_iter().map(|array| (array.name.clone(), to_npy(&array))).collect();
    // FLAME's root has the parent 2^32 − 1
    let parents = parts.parents.iter().map(|p| p.map_or(i64::from(u32::MAX), i64::from));
    let table: Vec<i64> = parents.chain(0..parts.parents.len() as i64).collect();
    out.push(("kintree_table".to_owned(), NpyArray::from_i64(vec![2, parts.parents.len()], &table)));
    let names = expressions.join("\n").into_bytes();
    out.push(("expression_names".to_owned(), NpyArray { dtype: NpyType::U8, shape: vec![names.len()], data: names }));
    out
}

fn to_npy(array: &NamedArray) -> NpyArray {
    let dtype = match array.dtype {
        DType::U8 => NpyType::U8,
        DType::I8 => NpyType::I8,
        DType::U16 => NpyType::U16,
        DType::I16 => NpyType::I16,
        DType::U32 => NpyType::U32,
        DType::I32 => NpyType::I32,
        DType::F16 => NpyType::F16,
        DType::F32 => NpyType::F32,
        DType::F64 => NpyType::F64,
    };
    NpyArray { dtype, shape: array.shape.iter().map(|d| *d as usize).collect(), data: array.data.clone() }
}
