//! A sequence of meshes as a template with expressions: rigid motion, and principal components of what is left.

use faer::{Mat, Side};
use gav_formats::TemplateFamily;
use rayon::prelude::*;

use crate::{
    Error, Result,
    body::{Body, Parts},
    capture::align,
};

/// Largest distance from a vertex to where the components put it, metres: a tenth of a splat.
const ENOUGH: f64 = 1e-4;
/// Components kept at most.
const MOST: usize = 100;

/// Meshes taken apart.
pub(super) struct MeshBasis {
    neutral: Vec<[f32; 3]>,
    /// Components, K lists of V × 3.
    components: Vec<Vec<[f32; 3]>>,
    /// Number of components.
    pub count: usize,
    /// T × K.
    pub coefficients: Vec<f32>,
    /// Axis-angle about the origin, T.
    pub rotations: Vec<[f32; 3]>,
    /// Metres, T.
    pub translations: Vec<[f32; 3]>,
    /// Largest distance of a vertex from its place, metres.
    pub error: f64,
}

impl MeshBasis {
    /// # Errors
    /// Meshes that are not finite.
    pub fn new(meshes: &[Vec<[f32; 3]>], neutral: usize) -> Result<Self> {
        let reference = &meshes[neutral];
        let aligned: Vec<Vec<[f32; 3]>> = meshes.par_iter().map(|mesh| align(reference, mesh)).collect();
        let motions: Vec<([f32; 3], [f32; 3])> = aligned.iter().zip(meshes).map(|(from, to)| rigid(from, to)).collect();
        let offsets: Vec<Vec<f64>> = aligned
            .par_iter()
            .map(|mesh| {
                let flat = mesh.as_flattened().iter().zip(reference.as_flattened());
                flat.map(|(a, b)| f64::from(*a) - f64::from(*b)).collect()
            })
            .collect();
        let times = meshes.len();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let rows: Vec<Vec<f64>> = offsets.par_iter().map(|a| offsets.iter().map(|b| dot(a, b)).collect()).collect();
        let gram = Mat::from_fn(times, times, |r, c| rows[r][c]);
        let eigen = gram
            .self_adjoint_eigen(Side::Lower)
            .map_err(|_| Error::usage("the principal components of the meshes cannot be found"))?;
        // eigenvalues ascend
        let order: Vec<usize> = (0..times).rev().collect();
        let values: Vec<f64> = eigen.S().column_vector().iter().copied().collect();
        let mut left = offsets.clone();
        let mut out = Self {
            neutral: reference.clone(),
            components: Vec::new(),
            count: 0,
            coefficients: Vec::new(),
            rotations: motions.iter().map(|m| m.0).collect(),
            translations: motions.iter().map(|m| m.1).collect(),
            error: worst(&left),
        };
        let mut columns: Vec<Vec<f64>> = Vec::new();
        for k in order.into_iter().take(MOST) {
            if out.error <= ENOUGH || values[k] <= 0.0 {
                break;
            }
            let vector: Vec<f64> = (0..times).map(|t| eigen.U()[(t, k)]).collect();
            let mut component = vec![0.0f64; offsets[0].len()];
            for (share, offset) in vector.iter().zip(&offsets) {
                component.iter_mut().zip(offset).for_each(|(sum, v)| *sum += share * v);
            }
            // coefficients of about one: the component carries the size
            let size = vector.iter().fold(0.0f64, |a, b| a.max(b.abs())).max(1e-12);
            let component: Vec<f64> = component.into_iter().map(|v| v * size).collect();
            let vector: Vec<f64> = vector.into_iter().map(|v| v / size).collect();
            left.par_iter_mut().zip(&vector).for_each(|(left, share)| {
                left.iter_mut().zip(&component).for_each(|(left, v)| *left -= share * v);
            });
            let flat: Vec<f32> = component.iter().map(|v| *v as f32).collect();
            out.components.push(flat.as_chunks::<3>().0.to_vec());
            columns.push(vector);
            out.error = worst(&left);
        }
        out.count = columns.len();
        out.coefficients = (0..times).flat_map(|t| columns.iter().map(move |c| c[t] as f32)).collect();
        Ok(out)
    }

    /// The template.
    ///
    /// # Errors
    /// Those of [`Body::new`].
    pub fn body(&self, faces: &[[u32; 3]], name: &str) -> Result<Body<f32>> {
        let count = self.neutral.len();
        let shapedirs =
            (0..count).flat_map(|v| (0..3).flat_map(move |c| self.components.iter().map(move |k| k[v][c]))).collect();
        Body::new(&Parts {
            family: TemplateFamily::Custom,
            name: format!("{name}, tracked mesh"),
            licence: String::new(),
            vertices: self.neutral.clone(),
            faces: faces.to_vec(),
            uvs: Vec::new(),
            uv_faces: Vec::new(),
            shapedirs,
            identity_columns: 0,
            posedirs: Vec::new(),
            extras: Vec::new(),
            // the head turns about the origin of the capture
            regressor: vec![0.0; count],
            weights: vec![1.0; count],
            parents: vec![None],
            joint_names: vec!["root".to_owned()],
            hands: None,
        })
    }
}

/// Largest distance of a vertex from where it should be.
fn worst(left: &[Vec<f64>]) -> f64 {
    let of = |row: &Vec<f64>| {
        let squares = row.as_chunks::<3>().0.iter().map(|v| v.iter().map(|v| v * v).sum::<f64>());
        squares.fold(0.0, f64::max)
    };
    left.par_iter().map(of).reduce(|| 0.0, f64::max).sqrt()
}

/// Axis-angle and translation of the rigid motion that took `from` to `to`: there is one without a rest, so that three vertices far
/// from each other tell it.
fn rigid(from: &[[f32; 3]], to: &[[f32; 3]]) -> ([f32; 3], [f32; 3]) {
    let wide = |v: [f32; 3]| v.map(f64::from);
    let minus = |a: [f64; 3], b: [f64; 3]| -> [f64; 3] { std::array::from_fn(|k| a[k] - b[k]) };
    let dot = |a: [f64; 3], b: [f64; 3]| (0..3).map(|k| a[k] * b[k]).sum::<f64>();
    let cross =
        |a: [f64; 3], b: [f64; 3]| [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    let unit = |a: [f64; 3]| a.map(|v| v / dot(a, a).sqrt().max(1e-30));
    let origin = wide(from[0]);
    let farthest = |measure: &dyn Fn([f64; 3]) -> f64| {
        (0..from.len()).max_by(|a, b| measure(wide(from[*a])).total_cmp(&measure(wide(from[*b])))).unwrap_or(0)
    };
    let second = farthest(&|v| dot(minus(v, origin), minus(v, origin)));
    let axis = minus(wide(from[second]), origin);
    let third = farthest(&|v| {
        let c = cross(axis, minus(v, origin));
        dot(c, c)
    });
    let frame = |mesh: &[[f32; 3]]| -> [[f64; 3]; 3] {
        let x = unit(minus(wide(mesh[second]), wide(mesh[0])));
        let z = unit(cross(x, minus(wide(mesh[third]), wide(mesh[0]))));
        [x, cross(z, x), z]
    };
    let (a, b) = (frame(from), frame(to));
    let matrix: [[f64; 3]; 3] =
        std::array::from_fn(|r| std::array::from_fn(|c| (0..3).map(|k| b[k][r] * a[k][c]).sum()));
    // means, so that rounding of single vertices does not count
    let mean = |mesh: &[[f32; 3]]| -> [f64; 3] {
        std::array::from_fn(|k| mesh.iter().map(|v| f64::from(v[k])).sum::<f64>() / mesh.len().max(1) as f64)
    };
    let (from, to) = (mean(from), mean(to));
    let translation = std::array::from_fn(|r| (to[r] - dot(matrix[r], from)) as f32);
    let axis = [matrix[2][1] - matrix[1][2], matrix[0][2] - matrix[2][0], matrix[1][0] - matrix[0][1]];
    let sine = 0.5 * dot(axis, axis).sqrt();
    let angle = sine.atan2(0.5 * (matrix[0][0] + matrix[1][1] + matrix[2][2] - 1.0));
    let factor = if sine > 1e-9 { 0.5 * angle / sine } else { 0.5 };
    (axis.map(|v| (v * factor) as f32), translation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{Parameters, Rotation};
    use gav_formats::synthetic::uniform;

    #[test]
    fn a_template_made_of_meshes_poses_to_them() {
        let base: Vec<[f32; 3]> =
            (0..400).map(|v| std::array::from_fn(|c| 0.2 * uniform(3 * v + c as u64, 1) as f32 - 0.1)).collect();
        let mesh = |t: usize| -> Vec<[f32; 3]> {
            let turn = Rotation::AxisAngle([0.05 * t as f32, -0.03 * t as f32, 0.01]).matrix();
            base.iter()
                .enumerate()
                .map(|(v, p)| {
                    // a fifth of the vertices moves with the expression
                    let amount = if v % 5 == 0 { 0.004 * (t as f32 * 0.7).sin() } else { 0.0 };
                    let p = [p[0], p[1] + amount, p[2] + 2.0 * amount * p[0]];
                    std::array::from_fn(|r| {
                        (0..3).map(|c| turn[r][c] * p[c]).sum::<f32>() + 0.01 * (t * (r + 1)) as f32
                    })
                })
                .collect()
        };
        let meshes: Vec<Vec<[f32; 3]>> = (0..12).map(mesh).collect();
        let basis = MeshBasis::new(&meshes, 0).unwrap();
        assert!(basis.count <= 4 && basis.error <= ENOUGH, "{} {}", basis.count, basis.error);
        let body = basis.body(&[[0, 1, 2]], "test").unwrap();
        for (t, mesh) in meshes.iter().enumerate() {
            let posed = body.pose(&Parameters {
                expression: basis.coefficients[t * basis.count..][..basis.count].to_vec(),
                rotations: vec![Rotation::AxisAngle(basis.rotations[t])],
                translation: basis.translations[t],
                ..Parameters::default()
            });
            for (a, b) in posed.vertices.iter().zip(mesh) {
                let far = (0..3).map(|k| (a[k] - b[k]).powi(2)).sum::<f32>().sqrt();
                assert!(far < 1.5e-4, "{t}: {far}");
            }
        }
    }
}
