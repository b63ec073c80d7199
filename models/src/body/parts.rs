//! The dense arrays of a body as files hold them: read from named arrays, checked, written back.

use gav_formats::{DType, Mesh, NamedArray, TemplateFamily};
use gav_kernels::Real;
use half::f16;

use super::{Hands, Layout};
use crate::{Error, Result};

/// A body in the layout of the official files. [`super::Body::new`] turns it into what can be posed.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts<T> {
    /// Family.
    pub family: TemplateFamily,
    /// Free name.
    pub name: String,
    /// SPDX expression under which the arrays may be passed on; empty when they may not.
    pub licence: String,
    /// Rest vertices, V × 3, metres.
    pub vertices: Vec<[T; 3]>,
    /// Triangles.
    pub faces: Vec<[u32; 3]>,
    /// Texture coordinates; may be empty.
    pub uvs: Vec<[f32; 2]>,
    /// Triangles in the index space of `uvs`, as many as `faces`; empty when they are the same.
    pub uv_faces: Vec<[u32; 3]>,
    /// Shape directions, V × 3 × S: identity columns, then expression columns.
    pub shapedirs: Vec<T>,
    /// How many of the S columns are identity.
    pub identity_columns: usize,
    /// Pose correctives, V × 3 × 9(J − 1); empty when there are none.
    pub posedirs: Vec<T>,
    /// Further directions by name (`l_eyelid`, `r_eyelid`), V × 3 each.
    pub extras: Vec<(String, Vec<[T; 3]>)>,
    /// Joints from vertices, J × V.
    pub regressor: Vec<T>,
    /// Skinning weights, V × J.
    pub weights: Vec<T>,
    /// Parent of each joint; joint 0 is a root.
    pub parents: Vec<Option<u32>>,
    /// Names of the joints.
    pub joint_names: Vec<String>,
    /// Principal components of hand poses.
    pub hands: Option<Hands<T>>,
}

/// Directions that may stand beside the shape directions, in the order of their coefficients.
const EXTRAS: [&str; 2] = ["l_eyelid", "r_eyelid"];
/// Root in a table of parents.
const ROOT: u32 = u32::MAX;

impl<T: Real> Parts<T> {
    /// Finds the arrays of a body under the names of the official files (`v_template`, `f`, `shapedirs`, `posedirs`, `J_regressor`,
    /// `weights`, `kintree_table`, `vt`, `ft`, `hands_componentsl` …) or the other names in use (`faces`, `lbs_weights`, `parents`,
    /// `uvs`, `uv_faces`); others are ignored. `posedirs` may be V × 3 × P or P × 3V.
    ///
    /// # Errors
    /// Names the array that is missing or whose shape does not fit, with both numbers.
    pub fn from_arrays(family: TemplateFamily, arrays: &[NamedArray]) -> Result<Self> {
        let v_template = need(arrays, &["v_template"])?;
        let vertices: Vec<[T; 3]> = triples(v_template)?;
        let count = vertices.len();
        let faces = index_triples(need(arrays, &["f", "faces"])?)?;
        let weights = need(arrays, &["weights", "lbs_weights"])?;
        let joints = match weights.shape[..] {
            [rows, joints] if rows as usize == count && joints > 0 => joints as usize,
            _ => return Err(misfit(weights, &format!("{count} × joints"))),
        };
        let regressor = need(arrays, &["J_regressor"])?;
        expect(regressor, &[joints, count])?;
        let parents = parents(need(arrays, &["parents", "kintree_table"])?, joints)?;
        let layout = Layout::of(family, joints);

        let shapedirs = need(arrays, &["shapedirs"])?;
        let columns = match shapedirs.shape[..] {
            [rows, 3, columns] if rows as usize == count => columns as usize,
            _ => return Err(misfit(shapedirs, &format!("{count} × 3 × columns"))),
        };
        let identity_columns = match find(arrays, &["identity_columns"]) {
            None => layout.identity_columns(columns),
            Some(array) => match numbers::<f64>(array)?[..] {
                [n] if n >= 0.0 && n.fract() == 0.0 && n <= columns as f64 => n as usize,
                _ => return Err(misfit(array, &format!("one number up to {columns}"))),
            },
        };
        let pose = 9 * (joints - 1);
        let posedirs = match find(arrays, &["posedirs"]) {
            None => Vec::new(),
            Some(array) if shape(array) == [count, 3, pose] || shape(array) == [3 * count, pose] => numbers(array)?,
            Some(array) if shape(array) == [pose, 3 * count] => transpose(&numbers(array)?, pose),
            Some(array) => return Err(misfit(array, &format!("{count} × 3 × {pose} for {joints} joints"))),
        };
        let mut extras = Vec::new();
        for name in EXTRAS {
            if let Some(array) = find(arrays, &[name]) {
                expect(array, &[count, 3])?;
                extras.push((name.to_owned(), triples(array)?));
            }
        }
        let uvs = match find(arrays, &["vt", "uvs"]) {
            None => Vec::new(),
            Some(array) => texture_coordinates(array)?,
        };
        let uv_faces = match find(arrays, &["ft", "uv_faces"]) {
            Some(array) if !uvs.is_empty() => index_triples(array)?,
            _ => Vec::new(),
        };
        let joint_names = match find(arrays, &["joint_names"]) {
            Some(array) if array.dtype == DType::U8 => {
                let text = String::from_utf8_lossy(&array.data).into_owned();
                let names: Vec<String> = text.split('\n').map(str::to_owned).collect();
                if names.len() != joints {
                    return Err(Error::usage(format!("{joints} joints, but {} names of joints", names.len())));
                }
                names
            }
            _ => layout.joint_names(joints),
        };
        let parts = Self {
            family,
            name: String::new(),
            licence: String::new(),
            vertices,
            faces,
            uvs,
            uv_faces,
            shapedirs: numbers(shapedirs)?,
            identity_columns,
            posedirs,
            extras,
            regressor: numbers(regressor)?,
            weights: numbers(weights)?,
            parents,
            joint_names,
            hands: hands(arrays, layout)?,
        };
        parts.check()?;
        Ok(parts)
    }

    /// Number of shape directions.
    pub fn shape_columns(&self) -> usize {
        self.shapedirs.len() / (3 * self.vertices.len()).max(1)
    }

    /// Checks sizes against each other, indices against counts, weights against 1 and every number for being one.
    ///
    /// # Errors
    /// The first thing that is wrong, with the offending index and numbers.
    pub fn check(&self) -> Result<()> {
        let (vertices, joints) = (self.vertices.len(), self.parents.len());
        if vertices == 0 || joints == 0 || joints > usize::from(u16::MAX) {
            return Err(Error::usage(format!("a body of {vertices} vertices and {joints} joints")));
        }
        let columns = self.shape_columns();
        for (what, found, expected) in [
            ("shapedirs", self.shapedirs.len(), 3 * vertices * columns),
            ("J_regressor", self.regressor.len(), joints * vertices),
            ("weights", self.weights.len(), joints * vertices),
            ("joint names", self.joint_names.len(), joints),
        ] {
            if found != expected {
                return Err(Error::usage(format!("`{what}` has {found} numbers, {expected} expected")));
            }
        }
        let pose = 27 * vertices * (joints - 1);
        if !self.posedirs.is_empty() && self.posedirs.len() != pose {
            return Err(Error::usage(format!("`posedirs` has {} numbers, {pose} expected", self.posedirs.len())));
        }
        if self.identity_columns > columns {
            let text = format!("{} identity columns of {columns} in `shapedirs`", self.identity_columns);
            return Err(Error::usage(text));
        }
        check_faces("vertex", &self.faces, vertices)?;
        check_faces("texture coordinate", &self.uv_faces, self.uvs.len())?;
        let uv_faces = self.uv_faces.len();
        if uv_faces != 0 && uv_faces != self.faces.len() {
            return Err(Error::usage(format!(
                "{} faces, but {uv_faces} faces of texture coordinates",
                self.faces.len()
            )));
        }
        if !self.uvs.is_empty() && uv_faces == 0 && self.uvs.len() != vertices {
            return Err(Error::usage(format!("{vertices} vertices, but {} texture coordinates", self.uvs.len())));
        }
        for (name, values) in [
            ("v_template", self.vertices.as_flattened()),
            ("shapedirs", &self.shapedirs),
            ("posedirs", &self.posedirs),
            ("J_regressor", &self.regressor),
            ("weights", &self.weights),
        ] {
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                return Err(Error::usage(format!("`{name}` holds {:?} as number {at}", values[at])));
            }
        }
        for (vertex, row) in self.weights.chunks_exact(joints).enumerate() {
            let sum: f64 = row.iter().map(|v| v.wide()).sum();
            if (sum - 1.0).abs() > 1e-3 {
                return Err(Error::usage(format!("the weights of vertex {vertex} sum to {sum:.4}, not to 1")));
            }
        }
        self.order().map(|_| ())
    }

    /// The joints with every parent before its children.
    ///
    /// # Errors
    /// When joint 0 has a parent, a parent is out of range, or parents run in a circle.
    pub(super) fn order(&self) -> Result<Vec<u32>> {
        let joints = self.parents.len();
        if let Some(parent) = self.parents[0] {
            return Err(Error::usage(format!("joint 0 must be the root, but has the parent {parent}")));
        }
        if let Some((joint, parent)) =
            self.parents.iter().enumerate().find_map(|(j, p)| p.filter(|p| *p as usize >= joints).map(|p| (j, p)))
        {
            return Err(Error::usage(format!("joint {joint} has the parent {parent}, there are {joints} joints")));
        }
        let mut order: Vec<u32> = Vec::with_capacity(joints);
        let mut placed = vec![false; joints];
        while order.len() < joints {
            let before = order.len();
            for joint in 0..joints {
                if !placed[joint] && self.parents[joint].is_none_or(|p| placed[p as usize]) {
                    placed[joint] = true;
                    order.push(joint as u32);
                }
            }
            if order.len() == before {
                let joint = placed.iter().position(|p| !p).unwrap_or(0);
                return Err(Error::usage(format!("the parents of joint {joint} run in a circle")));
            }
        }
        Ok(order)
    }

    /// The arrays by their canonical names, f32 and u32, sorted: what is stored, and what the hash of `spec/gav.md` 9.1 counts (see
    /// [`Parts::hashed_arrays`]). Vertices and faces are `v_template` and `f`.
    pub fn to_arrays(&self) -> Vec<NamedArray> {
        let (count, joints) = (self.vertices.len(), self.parents.len());
        let parents: Vec<u32> = self.parents.iter().map(|p| p.unwrap_or(ROOT)).collect();
        let mut arrays = vec![
            floats("v_template", &[count, 3], self.vertices.as_flattened()),
            words("f", &[self.faces.len(), 3], self.faces.as_flattened()),
            floats("shapedirs", &[count, 3, self.shape_columns()], &self.shapedirs),
            words("identity_columns", &[1], &[self.identity_columns as u32]),
            floats("J_regressor", &[joints, count], &self.regressor),
            floats("weights", &[count, joints], &self.weights),
            words("parents", &[joints], &parents),
        ];
        if !self.posedirs.is_empty() {
            arrays.push(floats("posedirs", &[count, 3, 9 * (joints - 1)], &self.posedirs));
        }
        if !self.uvs.is_empty() {
            arrays.push(floats("vt", &[self.uvs.len(), 2], self.uvs.as_flattened()));
        }
        if !self.uv_faces.is_empty() {
            arrays.push(words("ft", &[self.uv_faces.len(), 3], self.uv_faces.as_flattened()));
        }
        for (name, values) in &self.extras {
            arrays.push(floats(name, &[count, 3], values.as_flattened()));
        }
        if let Some(hands) = &self.hands {
            for (side, components, mean) in
                [("l", &hands.components[0], &hands.means[0]), ("r", &hands.components[1], &hands.means[1])]
            {
                let rows = components.len() / mean.len().max(1);
                arrays.push(floats(&format!("hands_components{side}"), &[rows, mean.len()], components));
                arrays.push(floats(&format!("hands_mean{side}"), &[mean.len()], mean));
            }
        }
        let names = self.joint_names.join("\n").into_bytes();
        let shape = vec![names.len() as u32];
        arrays.push(NamedArray { name: "joint_names".to_owned(), dtype: DType::U8, shape, data: names });
        arrays.sort_by(|a, b| a.name.cmp(&b.name));
        arrays
    }

    /// Those of [`Parts::to_arrays`] that define rest shape and deformation (`spec/gav.md` 9.1).
    pub fn hashed_arrays(&self) -> Vec<NamedArray> {
        let counted = ["J_regressor", "parents", "posedirs", "shapedirs", "v_template", "weights"];
        self.to_arrays().into_iter().filter(|a| counted.contains(&a.name.as_str())).collect()
    }

    /// The body as a mesh with arrays, to be embedded in a file when its licence allows that.
    pub fn to_mesh(&self) -> Mesh {
        let arrays = self.to_arrays().into_iter();
        Mesh {
            positions: self.vertices.iter().map(|v| v.map(|x| x.wide() as f32)).collect(),
            faces: self.faces.clone(),
            uvs: self.uvs.clone(),
            uv_faces: self.uv_faces.clone(),
            arrays: arrays.filter(|a| !["v_template", "f", "vt", "ft"].contains(&a.name.as_str())).collect(),
        }
    }

    /// The body that [`Parts::to_mesh`] put into a mesh.
    ///
    /// # Errors
    /// As [`Parts::from_arrays`].
    pub fn from_mesh(family: TemplateFamily, mesh: &Mesh) -> Result<Self> {
        let mut arrays = mesh.arrays.clone();
        arrays.push(floats("v_template", &[mesh.positions.len(), 3], mesh.positions.as_flattened()));
        arrays.push(words("f", &[mesh.faces.len(), 3], mesh.faces.as_flattened()));
        if !mesh.uvs.is_empty() {
            arrays.push(floats("vt", &[mesh.uvs.len(), 2], mesh.uvs.as_flattened()));
        }
        if !mesh.uv_faces.is_empty() {
            arrays.push(words("ft", &[mesh.uv_faces.len(), 3], mesh.uv_faces.as_flattened()));
        }
        Self::from_arrays(family, &arrays)
    }
}

fn check_faces(what: &str, faces: &[[u32; 3]], count: usize) -> Result<()> {
    match faces.iter().enumerate().find(|(_, f)| f.iter().any(|v| *v as usize >= count)) {
        Some((face, corners)) => {
            Err(Error::usage(format!("face {face} names {what} {}, there are {count}", corners.iter().max().unwrap())))
        }
        None => Ok(()),
    }
}

fn find<'a>(arrays: &'a [NamedArray], names: &[&str]) -> Option<&'a NamedArray> {
    names.iter().find_map(|name| arrays.iter().find(|a| a.name == *name))
}

fn need<'a>(arrays: &'a [NamedArray], names: &[&str]) -> Result<&'a NamedArray> {
    find(arrays, names).ok_or_else(|| {
        let found: Vec<&str> = arrays.iter().take(8).map(|a| a.name.as_str()).collect();
        let found = if found.is_empty() { "no arrays at all".to_owned() } else { found.join(", ") };
        Error::usage(format!("no array `{}`; there are {found}", names[0]))
    })
}

fn shape(array: &NamedArray) -> Vec<usize> {
    array.shape.iter().map(|d| *d as usize).collect()
}

fn misfit(array: &NamedArray, expected: &str) -> Error {
    let found = array.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ");
    Error::usage(format!("`{}` is {found}, {expected} expected", array.name))
}

fn expect(array: &NamedArray, expected: &[usize]) -> Result<()> {
    if shape(array) == expected {
        return Ok(());
    }
    Err(misfit(array, &expected.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ")))
}

/// The elements of an array of any type.
fn numbers<T: Real>(array: &NamedArray) -> Result<Vec<T>> {
    fn map<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
    }
    let bytes = array.shape.iter().try_fold(array.dtype.size(), |n, d| n.checked_mul(*d as usize));
    if bytes != Some(array.data.len()) {
        let text = format!("`{}` of the shape {:?} has {} bytes", array.name, array.shape, array.data.len());
        return Err(Error::usage(text));
    }
    let data = &array.data;
    Ok(match array.dtype {
        DType::U8 => map(data, |[b]| T::of(f64::from(b))),
        DType::I8 => map(data, |[b]| T::of(f64::from(b as i8))),
        DType::U16 => map(data, |b| T::of(f64::from(u16::from_le_bytes(b)))),
        DType::I16 => map(data, |b| T::of(f64::from(i16::from_le_bytes(b)))),
        DType::U32 => map(data, |b| T::of(f64::from(u32::from_le_bytes(b)))),
        DType::I32 => map(data, |b| T::of(f64::from(i32::from_le_bytes(b)))),
        DType::F16 => map(data, |b| T::of(f64::from(f16::from_le_bytes(b).to_f32()))),
        DType::F32 => map(data, |b| T::of(f64::from(f32::from_le_bytes(b)))),
        DType::F64 => map(data, |b| T::of(f64::from_le_bytes(b))),
    })
}

fn triples<T: Real>(array: &NamedArray) -> Result<Vec<[T; 3]>> {
    match shape(array)[..] {
        [_, 3] => Ok(numbers(array)?.as_chunks().0.to_vec()),
        _ => Err(misfit(array, "rows × 3")),
    }
}

/// Rows of 2.
pub(crate) fn texture_coordinates(array: &NamedArray) -> Result<Vec<[f32; 2]>> {
    match shape(array)[..] {
        [_, 2] => Ok(numbers(array)?.as_chunks().0.to_vec()),
        _ => Err(misfit(array, "rows × 2")),
    }
}

/// Rows of 3 whole numbers.
pub(crate) fn index_triples(array: &NamedArray) -> Result<Vec<[u32; 3]>> {
    let bad = |v: f64| v < 0.0 || v.fract() != 0.0 || v > f64::from(u32::MAX);
    let rows: Vec<[f64; 3]> = triples(array)?;
    if let Some((row, values)) = rows.iter().enumerate().find(|(_, r)| r.iter().any(|v| bad(*v))) {
        return Err(Error::usage(format!("`{}` holds {values:?} in row {row}: no indices", array.name)));
    }
    Ok(rows.into_iter().map(|r| r.map(|v| v as u32)).collect())
}

/// Row 0 of a kinematic tree, or parents on their own. Joint 0 is a root whatever the file says, as in the official code.
fn parents(array: &NamedArray, joints: usize) -> Result<Vec<Option<u32>>> {
    if shape(array) != [joints] && shape(array) != [2, joints] {
        return Err(misfit(array, &format!("2 × {joints} or {joints}")));
    }
    let mut out = Vec::with_capacity(joints);
    for (joint, value) in numbers::<f64>(array)?.into_iter().take(joints).enumerate() {
        out.push(match value {
            _ if joint == 0 => None,
            // −1, or its bits as an unsigned number of 32 or 64 bits
            v if v == -1.0 || v == f64::from(ROOT) || v == 2f64.powi(64) => None,
            v if v >= 0.0 && v < f64::from(ROOT) && v.fract() == 0.0 => Some(v as u32),
            v => return Err(Error::usage(format!("joint {joint} has the parent {v}"))),
        });
    }
    Ok(out)
}

fn hands<T: Real>(arrays: &[NamedArray], layout: Layout) -> Result<Option<Hands<T>>> {
    let keys = ["hands_componentsl", "hands_componentsr", "hands_meanl", "hands_meanr"];
    if layout != Layout::SmplX || find(arrays, &keys[..1]).is_none() {
        return Ok(None);
    }
    let [left, right, left_mean, right_mean] = [0, 1, 2, 3].map(|k| need(arrays, &[keys[k]]));
    let (left, right, left_mean, right_mean) = (left?, right?, left_mean?, right_mean?);
    for components in [left, right] {
        if components.shape.len() != 2 || components.shape[1] != 45 {
            return Err(misfit(components, "components × 45"));
        }
    }
    for mean in [left_mean, right_mean] {
        expect(mean, &[45])?;
    }
    Ok(Some(Hands {
        components: [numbers(left)?, numbers(right)?],
        means: [numbers(left_mean)?, numbers(right_mean)?],
    }))
}

fn transpose<T: Copy>(rows: &[T], count: usize) -> Vec<T> {
    let columns = rows.len() / count.max(1);
    (0..columns).flat_map(|c| (0..count).map(move |r| rows[r * columns + c])).collect()
}

fn floats<T: Real>(name: &str, shape: &[usize], values: &[T]) -> NamedArray {
    // −0 is written as 0, so that equal bodies are equal bytes
    let data = values.iter().flat_map(|v| ((v.wide() as f32) + 0.0).to_le_bytes()).collect();
    named(name, DType::F32, shape, data)
}

fn words(name: &str, shape: &[usize], values: &[u32]) -> NamedArray {
    named(name, DType::U32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn named(name: &str, dtype: DType, shape: &[usize], data: Vec<u8>) -> NamedArray {
    NamedArray { name: name.to_owned(), dtype, shape: shape.iter().map(|d| *d as u32).collect(), data }
}
