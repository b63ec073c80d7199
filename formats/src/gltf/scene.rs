//! The node tree of a glTF file: world transforms, and their decomposition into translation, rotation and scale.

use super::{
    container::{Gltf, bad},
    document::Node,
};
use crate::{
    Result,
    conventions::{matrix_from_quaternion, normalize_quaternion, quaternion_from_matrix},
};

/// Largest cosine between two columns of a matrix that still counts as unsheared.
const SHEAR_TOLERANCE: f64 = 1e-4;

/// An affine map p ↦ linear · p + translation (rows), in f64.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    pub linear: [[f64; 3]; 3],
    pub translation: [f64; 3],
}

/// Translation, rotation (w, x, y, z) and positive scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trs {
    pub translation: [f64; 3],
    pub rotation: [f64; 4],
    pub scale: [f64; 3],
}

impl Trs {
    /// The affine map: scale first, then rotation, then translation.
    pub fn affine(&self) -> Affine {
        let mut linear = matrix_from_quaternion(normalize_quaternion(self.rotation));
        linear.iter_mut().for_each(|row| (0..3).for_each(|c| row[c] *= self.scale[c]));
        Affine { linear, translation: self.translation }
    }
}

impl Affine {
    pub const IDENTITY: Self =
        Self { linear: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], translation: [0.0; 3] };

    /// `self` after `inner`.
    pub fn after(&self, inner: &Self) -> Self {
        let column = |c: usize| inner.linear.map(|row| row[c]);
        let turn = |v: [f64; 3]| -> [f64; 3] {
            std::array::from_fn(|r| (0..3).map(|k| self.linear[r][k] * v[k]).sum::<f64>())
        };
        let columns = [turn(column(0)), turn(column(1)), turn(column(2))];
        let moved = turn(inner.translation);
        Self {
            linear: std::array::from_fn(|r| std::array::from_fn(|c| columns[c][r])),
            translation: std::array::from_fn(|r| moved[r] + self.translation[r]),
        }
    }

    /// The inverse map; `None` when there is none.
    pub fn inverse(&self) -> Option<Self> {
        let m = &self.linear;
        let cofactor = |r: usize, c: usize| {
            let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
            m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
        };
        let det: f64 = (0..3).map(|c| m[0][c] * cofactor(0, c)).sum();
        let linear: [[f64; 3]; 3] = std::array::from_fn(|r| std::array::from_fn(|c| cofactor(c, r) / det));
        let translation = std::array::from_fn(|r| -(0..3).map(|c| linear[r][c] * self.translation[c]).sum::<f64>());
        let inverse = Self { linear, translation };
        inverse.linear.iter().flatten().chain(&inverse.translation).all(|v| v.is_finite()).then_some(inverse)
    }

    /// Splits into translation, rotation and positive scale; `None` for shears, mirrors and flat or infinite maps.
    pub fn decompose(&self) -> Option<Trs> {
        let column = |c: usize| self.linear.map(|row| row[c]);
        let dot = |a: [f64; 3], b: [f64; 3]| (0..3).map(|k| a[k] * b[k]).sum::<f64>();
        let scale = [0, 1, 2].map(|c| dot(column(c), column(c)).sqrt());
        if !scale.iter().chain(&self.translation).all(|v| v.is_finite()) || scale.iter().any(|s| *s < f64::MIN_POSITIVE)
        {
            return None;
        }
        let unit: [[f64; 3]; 3] = std::array::from_fn(|c| column(c).map(|v| v / scale[c]));
        let [x, y, z] = unit;
        let cross = [x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]];
        let sheared = [dot(x, y), dot(y, z), dot(z, x)].iter().any(|cosine| cosine.abs() > SHEAR_TOLERANCE);
        if sheared || dot(cross, z) <= 0.0 {
            return None;
        }
        let rotation = quaternion_from_matrix(&std::array::from_fn(|r| unit.map(|axis| axis[r])));
        Some(Trs { translation: self.translation, rotation, scale })
    }
}

impl Node {
    /// The map from this node's coordinates to its parent's.
    pub fn local(&self) -> Affine {
        match self.matrix {
            Some(m) => Affine {
                linear: std::array::from_fn(|r| std::array::from_fn(|c| m[c * 4 + r])),
                translation: [m[12], m[13], m[14]],
            },
            None => self.trs().affine(),
        }
    }

    /// The node's translation, rotation and scale properties with their defaults.
    pub fn trs(&self) -> Trs {
        let [x, y, z, w] = self.rotation.unwrap_or([0.0, 0.0, 0.0, 1.0]);
        Trs {
            translation: self.translation.unwrap_or_default(),
            rotation: [w, x, y, z],
            scale: self.scale.unwrap_or([1.0; 3]),
        }
    }
}

/// A node of the shown scene.
#[derive(Debug, Clone, Copy)]
pub struct Placed {
    /// Index in the document.
    pub node: usize,
    /// Position of the parent in the same list.
    pub parent: Option<usize>,
    /// The map to world coordinates.
    pub world: Affine,
}

impl Gltf<'_> {
    /// All nodes of the default scene (else the first, else all), parents before children.
    ///
    /// # Errors
    /// When the nodes do not form a tree.
    pub fn placed_nodes(&self) -> Result<Vec<Placed>> {
        let document = &self.document;
        let scene = document.scene.unwrap_or(0);
        let roots: Vec<usize> = match document.scenes.get(scene) {
            Some(scene) => scene.nodes.clone(),
            None if document.scene.is_some() => {
                return Err(bad("VALUE", 0, format!("scene {scene} of {}", document.scenes.len())));
            }
            None => {
                let mut is_child = vec![false; document.nodes.len()];
                for child in document.nodes.iter().flat_map(|n| &n.children) {
                    is_child.get_mut(*child).into_iter().for_each(|flag| *flag = true);
                }
                (0..is_child.len()).filter(|i| !is_child[*i]).collect()
            }
        };
        let mut seen = vec![false; document.nodes.len()];
        let mut placed: Vec<Placed> = Vec::new();
        let mut pending: Vec<(usize, Option<usize>)> = roots.iter().rev().map(|root| (*root, None)).collect();
        while let Some((node, parent)) = pending.pop() {
            let entry = document.nodes.get(node);
            let entry = entry.ok_or_else(|| bad("VALUE", 0, format!("node {node} of {}", document.nodes.len())))?;
            if std::mem::replace(&mut seen[node], true) {
                return Err(bad("VALUE", 0, format!("node {node} has two parents")));
            }
            let local = entry.local();
            let world = parent.map_or(local, |p: usize| placed[p].world.after(&local));
            let here = placed.len();
            placed.push(Placed { node, parent, world });
            pending.extend(entry.children.iter().rev().map(|child| (*child, Some(here))));
        }
        Ok(placed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Trs {
        let rotation = normalize_quaternion([0.4, -0.2, 0.7, 0.5]);
        Trs { translation: [1.0, -2.0, 0.5], rotation, scale: [0.5, 2.0, 3.0] }
    }

    #[test]
    fn decomposition_gives_back_what_was_composed() {
        let back = sample().affine().decompose().unwrap();
        let dot: f64 = (0..4).map(|k| back.rotation[k] * sample().rotation[k]).sum();
        assert!((dot.abs() - 1.0).abs() < 1e-12);
        assert!((0..3).all(|k| (back.scale[k] - sample().scale[k]).abs() < 1e-12));
    }

    #[test]
    fn shears_mirrors_and_flat_maps_do_not_decompose() {
        let turned = Trs { scale: [1.0; 3], ..sample() }.affine();
        let stretched = Trs { rotation: [1.0, 0.0, 0.0, 0.0], ..sample() }.affine();
        assert!(stretched.after(&turned).decompose().is_none());
        for scale in [[-1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [f64::NAN, 1.0, 1.0]] {
            assert!(Trs { scale, ..sample() }.affine().decompose().is_none());
        }
    }

    #[test]
    fn inverse_undoes() {
        let a = sample().affine();
        let unit = a.after(&a.inverse().unwrap());
        for r in 0..3 {
            assert!(unit.translation[r].abs() < 1e-12);
            assert!((0..3).all(|c| (unit.linear[r][c] - f64::from(u8::from(r == c))).abs() < 1e-12));
        }
        assert!(Affine { linear: [[0.0; 3]; 3], translation: [0.0; 3] }.inverse().is_none());
    }
}
