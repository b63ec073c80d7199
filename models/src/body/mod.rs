//! Parametric meshes: FLAME, SMPL, SMPL-X, and custom templates with the same arrays; posed, with gradients.
//!
//! [`Parts`] are the arrays of a file, [`Body`] is what is posed, [`Parameters`] say how, [`Posed`] is the result. Generic over
//! [`Real`]: f64 is the reference, f32 is what runs.
//!
//! The order of evaluation is that of Li et al., "Learning a model of facial shape and expression from 4D scans" (2017), and Loper et
//! al., "SMPL" (2015), as their published code does it:
//!
//! 1. `v = v_template + Σ eyelids + Σ shape + Σ expression + offset`
//! 2. rest joints `J = J_regressor · v`
//! 3. local rotations `R_j` ([`Rotation`])
//! 4. `w = v + posedirs · (R_1 − I, …)`
//! 5. `G_j = G_parent · [R_j | J_j − J_parent]`, `A_j = [G_j.R | G_j.t − G_j.R J_j]`
//! 6. vertex `= Σ_j weight_j A_j w + translation`, not divided by the sum of the weights

mod backward;
mod basis;
mod device;
mod family;
mod groups;
mod matrix;
mod parts;
mod pose;
mod rotation;
pub mod smpl;
pub mod smplx;
mod sparse;
mod teeth;

use std::sync::{Arc, Mutex};

use gav_formats::{Mesh, NamedArray, Template, TemplateFamily};
use gav_kernels::Real;

use crate::{Result, template};
use basis::Basis;

pub use backward::Upstream;
pub use family::{FLAME_JOINTS, Layout, SMPL_JOINTS, check_official, family_name, official_counts};
pub use parts::Parts;
pub(crate) use parts::{index_triples, texture_coordinates};
pub use pose::{Identity, Parameters, Posed};
pub use rotation::Rotation;
pub use smplx::Hands;
pub use sparse::SparseRows;
pub use teeth::{Rings, Teeth};

/// A parametric mesh that can be posed.
#[derive(Debug)]
pub struct Body<T> {
    family: TemplateFamily,
    name: String,
    licence: String,
    layout: Layout,
    vertices: Vec<[T; 3]>,
    faces: Vec<[u32; 3]>,
    uvs: Vec<[f32; 2]>,
    uv_faces: Vec<[u32; 3]>,
    identity: Basis<T>,
    /// Expression columns, then the extras.
    expression: Basis<T>,
    expression_columns: usize,
    extras: Vec<String>,
    correctives: Basis<T>,
    regressor: SparseRows<T>,
    weights: SparseRows<T>,
    parents: Vec<Option<u32>>,
    /// Every parent before its children.
    order: Vec<u32>,
    joint_names: Vec<String>,
    hands: Option<Hands<T>>,
    /// The identity that was posed last: it rarely changes, and costs more than everything else.
    last: Mutex<Option<Arc<Identity<T>>>>,
}

impl<T: Real> Body<T> {
    /// Makes a body of its arrays.
    ///
    /// # Errors
    /// Those of [`Parts::check`].
    pub fn new(parts: &Parts<T>) -> Result<Self> {
        parts.check()?;
        let order = parts.order()?;
        let (count, joints) = (parts.vertices.len(), parts.parents.len());
        let columns = parts.shape_columns();
        let identity_columns = parts.identity_columns;
        let expression_columns = columns - identity_columns;
        let shape = |i: usize, k: usize| parts.shapedirs[i * columns + k];
        let pose = if parts.posedirs.is_empty() { 0 } else { 9 * (joints - 1) };
        Ok(Self {
            family: parts.family,
            name: parts.name.clone(),
            licence: parts.licence.clone(),
            layout: Layout::of(parts.family, joints),
            vertices: parts.vertices.clone(),
            faces: parts.faces.clone(),
            uvs: parts.uvs.clone(),
            uv_faces: parts.uv_faces.clone(),
            identity: Basis::new(count, identity_columns, shape),
            expression: Basis::new(count, expression_columns + parts.extras.len(), |i, k| {
                match k.checked_sub(expression_columns) {
                    Some(extra) => parts.extras[extra].1[i / 3][i % 3],
                    None => shape(i, identity_columns + k),
                }
            }),
            expression_columns,
            extras: parts.extras.iter().map(|(name, _)| name.clone()).collect(),
            correctives: Basis::new(count, pose, |i, k| parts.posedirs[i * pose + k]),
            regressor: SparseRows::from_dense(&parts.regressor, count),
            weights: SparseRows::from_dense(&parts.weights, joints),
            parents: parts.parents.clone(),
            order,
            joint_names: parts.joint_names.clone(),
            hands: parts.hands.clone(),
            last: Mutex::new(None),
        })
    }

    /// Makes a body of named arrays; see [`Parts::from_arrays`].
    ///
    /// # Errors
    /// As there.
    pub fn from_arrays(family: TemplateFamily, arrays: &[NamedArray]) -> Result<Self> {
        Self::new(&Parts::from_arrays(family, arrays)?)
    }

    /// Makes a body of a mesh that holds its arrays, as an avatar with an embedded template has; see [`Parts::from_mesh`].
    ///
    /// # Errors
    /// As there.
    pub fn from_mesh(family: TemplateFamily, mesh: &Mesh) -> Result<Self> {
        Self::new(&Parts::from_mesh(family, mesh)?)
    }

    /// The dense arrays that [`Body::new`] was given.
    pub fn parts(&self) -> Parts<T> {
        let (count, joints) = (self.vertices.len(), self.parents.len());
        let identity = self.identity.columns();
        let columns = identity + self.expression_columns;
        let mut shapedirs = vec![T::zero(); 3 * count * columns];
        self.identity.write_dense(count, &mut shapedirs, columns, 0);
        let with_extras = self.expression.columns();
        let mut expression = vec![T::zero(); 3 * count * with_extras];
        self.expression.write_dense(count, &mut expression, with_extras, 0);
        for (row, from) in shapedirs.chunks_exact_mut(columns.max(1)).zip(expression.chunks_exact(with_extras.max(1))) {
            row[identity..].copy_from_slice(&from[..self.expression_columns]);
        }
        let extras = self.extras.iter().enumerate().map(|(k, name)| {
            let at = self.expression_columns + k;
            let values = (0..count).map(|v| std::array::from_fn(|c| expression[(3 * v + c) * with_extras + at]));
            (name.clone(), values.collect())
        });
        let extras = extras.collect();
        let pose = self.correctives.columns();
        let mut posedirs = vec![T::zero(); 3 * count * pose];
        self.correctives.write_dense(count, &mut posedirs, pose, 0);
        Parts {
            family: self.family,
            name: self.name.clone(),
            licence: self.licence.clone(),
            vertices: self.vertices.clone(),
            faces: self.faces.clone(),
            uvs: self.uvs.clone(),
            uv_faces: self.uv_faces.clone(),
            shapedirs,
            identity_columns: identity,
            posedirs,
            extras,
            regressor: self.regressor.to_dense(count),
            weights: self.weights.to_dense(joints),
            parents: self.parents.clone(),
            joint_names: self.joint_names.clone(),
            hands: self.hands.clone(),
        }
    }

    /// The body as a mesh with arrays; see [`Parts::to_mesh`]. Only for templates whose licence allows to pass them on.
    pub fn to_mesh(&self) -> Mesh {
        self.parts().to_mesh()
    }

    /// Family.
    pub fn family(&self) -> TemplateFamily {
        self.family
    }

    /// Free name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SPDX expression under which the template may be passed on; empty when it may not.
    pub fn licence(&self) -> &str {
        &self.licence
    }

    /// How its parameters are named.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Number of vertices.
    pub fn vertex_count(&self) -> usize {
        self.vertices.len()
    }

    /// Number of joints.
    pub fn joint_count(&self) -> usize {
        self.parents.len()
    }

    /// Rest vertices of the average identity, metres.
    pub fn rest_vertices(&self) -> &[[T; 3]] {
        &self.vertices
    }

    /// Triangles.
    pub fn faces(&self) -> &[[u32; 3]] {
        &self.faces
    }

    /// Texture coordinates; empty when there are none.
    pub fn uvs(&self) -> &[[f32; 2]] {
        &self.uvs
    }

    /// Triangles in the index space of the texture coordinates; `faces` when the file has none of their own.
    pub fn uv_faces(&self) -> &[[u32; 3]] {
        if self.uv_faces.is_empty() { &self.faces } else { &self.uv_faces }
    }

    /// Parent of each joint; joint 0 is a root.
    pub fn parents(&self) -> &[Option<u32>] {
        &self.parents
    }

    /// Names of the joints.
    pub fn joint_names(&self) -> &[String] {
        &self.joint_names
    }

    /// Skinning weights: a row a vertex, a column a joint.
    pub fn weights(&self) -> &SparseRows<T> {
        &self.weights
    }

    /// Number of identity coefficients.
    pub fn shape_count(&self) -> usize {
        self.identity.columns()
    }

    /// Number of expression coefficients.
    pub fn expression_count(&self) -> usize {
        self.expression_columns
    }

    /// Names of further directions, such as `l_eyelid`, in the order of their coefficients.
    pub fn extras(&self) -> &[String] {
        &self.extras
    }

    /// Principal components of the hands, where the template has them.
    pub fn hands(&self) -> Option<&Hands<T>> {
        self.hands.as_ref()
    }

    /// The reference by which avatars find this body again. Its hashes are computed here, from megabytes.
    pub fn template(&self) -> Template {
        let known = official_counts(self.family).is_some();
        let how_to_obtain = match self.layout {
            Layout::Flame if known => "https://flame.is.tue.mpg.de (registration)",
            Layout::Smpl if known => "https://smpl.is.tue.mpg.de (registration)",
            Layout::SmplX if known => "https://smpl-x.is.tue.mpg.de (registration)",
            _ => "",
        };
        Template {
            family: self.family,
            name: if self.name.is_empty() { family_name(self.family).to_owned() } else { self.name.clone() },
            vertex_count: self.vertices.len() as u32,
            face_count: self.faces.len() as u32,
            faces_hash: template::faces_hash(&self.faces),
            arrays_hash: template::arrays_hash(&self.parts().hashed_arrays()),
            parameters: self.groups().into_iter().map(|(name, length)| (name.to_owned(), length as u32)).collect(),
            how_to_obtain: how_to_obtain.to_owned(),
            licence: self.licence.clone(),
            ..Template::default()
        }
    }
}
