//! Teeth that trackers add to FLAME, which has none: strips between the lips, built from the outer lip rings of the template.
//!
//! Upper rows follow the neck and lower ones the jaw; they take the mean identity of the lips and no expression.

use gav_kernels::Real;

use super::Parts;
use crate::{Error, Result};

/// Vertices of a lip ring.
const RING: usize = 15;

/// Which teeth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Teeth {
    /// GaussianAvatars and VHAP ("teethV3"): 120 vertices and 168 faces, 5143 and 10,144 in all.
    GaussianAvatars,
    /// The same as it was before May 2024: one corner of one face in the lower back strip is another vertex.
    GaussianAvatarsBefore2024,
    /// RGBAvatar: 60 vertices and 56 faces, 5083 and 10,032 in all.
    RgbAvatar,
}

/// Vertices of the outer upper and lower lip, from one corner of the mouth to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rings {
    /// Upper lip.
    pub upper: [u32; RING],
    /// Lower lip, opposite to `upper` each.
    pub lower: [u32; RING],
}

impl Rings {
    /// Those of FLAME.
    pub const FLAME: Self = Self {
        upper: [1713, 1715, 1716, 1735, 1696, 1694, 1657, 3543, 2774, 2811, 2813, 2850, 2833, 2832, 2830],
        lower: [1576, 1577, 1773, 1774, 1795, 1802, 1865, 3503, 2948, 2905, 2898, 2881, 2880, 2713, 2712],
    };
}

impl Teeth {
    /// The teeth of a FLAME with so many vertices and faces; `None` when it has none.
    ///
    /// Counts do not tell apart the two versions of GaussianAvatars; the present one is taken.
    pub fn of_counts(vertices: usize, faces: usize) -> Option<Self> {
        match (vertices, faces) {
            (5143, 10_144) => Some(Self::GaussianAvatars),
            (5083, 10_032) => Some(Self::RgbAvatar),
            _ => None,
        }
    }

    /// Rows of 15 vertices: true for those of the upper teeth.
    fn rows(self) -> &'static [bool] {
        match self {
            // root, root, edge, edge, then the same behind: upper root, upper edge, lower root, lower edge
            Self::GaussianAvatars | Self::GaussianAvatarsBefore2024 => {
                &[true, false, true, false, true, true, false, false]
            }
            Self::RgbAvatar => &[true, false, true, false],
        }
    }

    /// Faces in local numbers.
    fn faces(self) -> Vec<[u32; 3]> {
        let p = |a, b| strip(a, b, [[A, B1, B], [A, A1, B1]], [[A, A1, B], [A1, B1, B]]);
        let q = |a, b| strip(a, b, [[A, B, B1], [A, B1, A1]], [[A, B, A1], [A1, B, B1]]);
        let r = |a, b| strip(a, b, [[A, B, A1], [A1, B, B1]], [[A, B, B1], [A, B1, A1]]);
        let s = |a, b| strip(a, b, [[A, A1, B], [A1, B1, B]], [[A, B1, B], [A, A1, B1]]);
        if self == Self::RgbAvatar {
            return [p(0, 30), s(45, 15)].concat();
        }
        let mut lower_back = p(90, 105);
        if self == Self::GaussianAvatarsBefore2024 {
            lower_back[21] = [101, 116, 114];
        }
        [p(0, 30), q(60, 75), r(75, 30), s(45, 15), lower_back, s(105, 45)].concat()
    }

    /// Texture coordinates: u along the strips, v of each row.
    fn uvs(self) -> Vec<[f32; 2]> {
        let between = |from: f64, to: f64, steps: usize, k: usize| from + (to - from) * k as f64 / (steps - 1) as f64;
        let ([from, to], rows): ([f64; 2], Vec<f64>) = match self {
            Self::RgbAvatar => ([0.75, 0.25], vec![0.995, 0.955, 0.975, 0.975]),
            _ => {
                let v = |k| between(1.0 - 0.0083, 1.0 - 0.0425, 7, k);
                ([0.62, 0.38], [3, 2, 0, 1, 3, 4, 6, 5].map(v).to_vec())
            }
        };
        rows.iter().flat_map(|v| (0..RING).map(move |k| [between(from, to, RING, k) as f32, *v as f32])).collect()
    }

    /// Places of the rows at rest, from the lips of the template.
    fn vertices<T: Real>(self, upper: &[[T; 3]], lower: &[[T; 3]]) -> Vec<[T; 3]> {
        let count = T::of(RING as f64);
        let half = T::of(0.5);
        let gap = |(u, l): (&[T; 3], &[T; 3])| (0..3).map(|c| (u[c] - l[c]) * (u[c] - l[c])).sum::<T>().sqrt();
        let d = upper.iter().zip(lower).map(gap).sum::<T>() / count;
        let mut middle: Vec<[T; 3]> =
            upper.iter().zip(lower).map(|(u, l)| std::array::from_fn(|c| (u[c] + l[c]) * half)).collect();
        let height = middle.iter().map(|m| m[1]).sum::<T>() / count;
        let depth = if self == Self::RgbAvatar { T::of(2.0) } else { T::of(1.5) };
        for m in &mut middle {
            m[1] = height;
            m[2] -= depth * d;
        }
        let row = |up: f64, front: f64| {
            let (y, z) = (T::of(up) * d, T::of(front) * d);
            middle.iter().map(|m| [m[0], m[1] + y, m[2] + z]).collect::<Vec<_>>()
        };
        match self {
            Self::RgbAvatar => [row(0.0, 0.0), row(0.0, -0.4), row(-1.0, 0.0), row(1.0, -0.4)].concat(),
            _ => [
                row(2.1, 0.0),
                row(-2.1, -0.4),
                row(0.1, 0.0),
                row(-0.1, -0.4),
                row(2.1, -1.0),
                row(0.1, -1.0),
                row(-2.1, -1.4),
                row(-0.1, -1.4),
            ]
            .concat(),
        }
    }
}

/// Corners of a cell between two rows: the first row at i and i + 1, the second likewise.
type Corner = (bool, u32);
const A: Corner = (false, 0);
const A1: Corner = (false, 1);
const B: Corner = (true, 0);
const B1: Corner = (true, 1);

/// The 28 triangles between rows that start at vertices `a` and `b`; the diagonal changes in the middle.
fn strip(a: u32, b: u32, first: [[Corner; 3]; 2], second: [[Corner; 3]; 2]) -> Vec<[u32; 3]> {
    let cell = |i: u32| {
        let half = if i < 7 { first } else { second };
        half.map(|corners| corners.map(|(other, by)| if other { b } else { a } + i + by))
    };
    (0..RING as u32 - 1).flat_map(cell).collect()
}

impl<T: Real> Parts<T> {
    /// Adds teeth to FLAME.
    ///
    /// # Errors
    /// When this is no FLAME head of 5023 vertices with 5 joints.
    pub fn add_teeth(&mut self, teeth: Teeth) -> Result<()> {
        if self.vertices.len() != 5023 {
            return Err(Error::usage(format!(
                "teeth need the 5023 vertices of FLAME, here are {}",
                self.vertices.len()
            )));
        }
        self.add_teeth_between(teeth, &Rings::FLAME)
    }

    /// Adds teeth behind any lips.
    ///
    /// # Errors
    /// When a ring names a vertex that is not there, or the joints are not those of FLAME.
    pub fn add_teeth_between(&mut self, teeth: Teeth, rings: &Rings) -> Result<()> {
        let (count, joints, columns) = (self.vertices.len(), self.parents.len(), self.shape_columns());
        if let Some(vertex) = rings.upper.iter().chain(&rings.lower).find(|v| **v as usize >= count) {
            return Err(Error::usage(format!("a lip ring names vertex {vertex}, there are {count}")));
        }
        if joints != 5 {
            return Err(Error::usage(format!("teeth need the 5 joints of FLAME, here are {joints}")));
        }
        let at = |ring: &[u32; RING]| ring.map(|v| self.vertices[v as usize]);
        let added = teeth.vertices(&at(&rings.upper), &at(&rings.lower));
        let half = T::of(0.5);
        for _ in teeth.rows() {
            for (u, l) in rings.upper.iter().zip(&rings.lower) {
                for c in 0..3 {
                    let row = |v: &u32| (3 * *v as usize + c) * columns;
                    let (u, l) = (row(u), row(l));
                    for k in 0..columns {
                        let mean = (self.shapedirs[u + k] + self.shapedirs[l + k]) * half;
                        self.shapedirs.push(if k < self.identity_columns { mean } else { T::zero() });
                    }
                }
            }
        }
        if !self.posedirs.is_empty() {
            self.posedirs.resize((count + added.len()) * 3 * 9 * (joints - 1), T::zero());
        }
        for (_, values) in &mut self.extras {
            values.resize(count + added.len(), [T::zero(); 3]);
        }
        for upper in teeth.rows() {
            let follows = if *upper { 1 } else { 2 };
            for _ in 0..RING {
                self.weights.extend((0..joints).map(|j| if j == follows { T::one() } else { T::zero() }));
            }
        }
        let mut regressor = Vec::with_capacity(joints * (count + added.len()));
        for row in self.regressor.chunks_exact(count) {
            regressor.extend_from_slice(row);
            regressor.extend(added.iter().map(|_| T::zero()));
        }
        self.regressor = regressor;
        let faces = teeth.faces();
        let moved = |by: usize| faces.iter().map(move |f| f.map(|v| v + by as u32));
        if !self.uvs.is_empty() {
            if self.uv_faces.is_empty() {
                self.uv_faces = self.faces.clone();
            }
            self.uv_faces.extend(moved(self.uvs.len()));
            self.uvs.extend(teeth.uvs());
        }
        self.faces.extend(moved(count));
        self.vertices.extend(added);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_have_the_specified_triangles() {
        let faces = Teeth::GaussianAvatars.faces();
        assert_eq!(faces.len(), 168);
        assert_eq!([faces[0], faces[1], faces[14], faces[15]], [[0, 31, 30], [0, 1, 31], [7, 8, 37], [8, 38, 37]]);
        // cell 10 of the lower back strip, the only difference of the older version
        let old = Teeth::GaussianAvatarsBefore2024.faces();
        let differing: Vec<usize> = (0..168).filter(|k| faces[*k] != old[*k]).collect();
        assert_eq!((differing.as_slice(), faces[133], old[133]), ([133].as_slice(), [101, 116, 115], [101, 116, 114]));
        let other = Teeth::RgbAvatar.faces();
        assert_eq!(other.len(), 56);
        assert_eq!([other[0], other[15], other[28], other[43]], [[0, 31, 30], [8, 38, 37], [45, 46, 15], [52, 53, 23]]);
        assert_eq!((Teeth::GaussianAvatars.uvs().len(), Teeth::RgbAvatar.uvs().len()), (120, 60));
        assert_eq!(Teeth::RgbAvatar.uvs()[14], [0.25, 0.995]);
    }

    #[test]
    fn counts_name_the_teeth() {
        assert_eq!(Teeth::of_counts(5143, 10_144), Some(Teeth::GaussianAvatars));
        assert_eq!(Teeth::of_counts(5083, 10_032), Some(Teeth::RgbAvatar));
        assert_eq!(Teeth::of_counts(5023, 9976), None);
    }
}
