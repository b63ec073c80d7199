//! Small bodies by formula.

use gav_formats::TemplateFamily;
use gav_kernels::Real;
use gav_models::body::{Body, Hands, Layout, Parts};

/// Values in −1…1 that never repeat (splitmix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 11) as f64 * 2f64.powi(-52) - 1.0
    }

    pub fn many<T: Real>(&mut self, count: usize, scale: f64) -> Vec<T> {
        (0..count).map(|_| T::of(scale * self.next())).collect()
    }

    pub fn triples<T: Real>(&mut self, count: usize, scale: f64) -> Vec<[T; 3]> {
        self.many(3 * count, scale).as_chunks().0.to_vec()
    }
}

/// 41 vertices, 3 identity and 2 expression columns, eyelids for a head, 4 components for hands. Beyond the families the parents
/// come after their children.
pub fn parts<T: Real>(family: TemplateFamily, joints: usize) -> Parts<T> {
    let (count, layout) = (41, Layout::of(family, joints));
    let mut numbers = Numbers(joints as u64);
    let mut rows = |rows: usize, columns: usize| -> Vec<T> {
        let mut out = Vec::new();
        for _ in 0..rows {
            let row: Vec<f64> = (0..columns).map(|_| numbers.next().max(0.0).powi(2) + 1e-3).collect();
            let sum: f64 = row.iter().sum();
            out.extend(row.iter().map(|v| T::of(v / sum)));
        }
        out
    };
    let (weights, regressor) = (rows(count, joints), rows(joints, count));
    let parent = |j: usize| match layout {
        Layout::Plain if j == joints - 1 => 0,
        Layout::Plain => j + 1,
        _ => j / 2,
    };
    let mut numbers = Numbers(77);
    let hands = (layout == Layout::SmplX).then(|| Hands {
        components: [numbers.many(4 * 45, 0.3), numbers.many(4 * 45, 0.3)],
        means: [numbers.many(45, 0.1), numbers.many(45, 0.1)],
    });
    let extras = match layout {
        Layout::Flame => ["l_eyelid", "r_eyelid"].map(|n| (n.to_owned(), numbers.triples(count, 0.02))).to_vec(),
        _ => Vec::new(),
    };
    Parts {
        family,
        name: String::new(),
        licence: String::new(),
        vertices: numbers.triples(count, 0.3),
        faces: (0..count as u32 - 2).map(|v| [v, v + 1, v + 2]).collect(),
        uvs: Vec::new(),
        uv_faces: Vec::new(),
        shapedirs: numbers.many(3 * count * 5, 0.05),
        identity_columns: 3,
        posedirs: numbers.many(27 * count * (joints - 1), 0.01),
        extras,
        regressor,
        weights,
        parents: (0..joints).map(|j| (j > 0).then(|| parent(j) as u32)).collect(),
        joint_names: layout.joint_names(joints),
        hands,
    }
}

pub fn body<T: Real>(family: TemplateFamily, joints: usize) -> Body<T> {
    Body::new(&parts(family, joints)).unwrap()
}
