//! Which faces of a mesh move with the expression: the ones that STGA trains in a time step.
//!
//! The published method names the files and shows pictures of them; how they are made is our reconstruction: a face is taken when enough
//! of its corners are further from where they are on the neutral face, both without any motion of the head, than a threshold.

use gav_formats::Pose;

use crate::{
    Result,
    body::{Body, Layout, Parameters, Rotation},
};

/// How faces are selected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelectionOptions {
    /// A corner moves when it is further than this from its neutral place, metres.
    pub threshold: f32,
    /// Corners of a face that must move, 1 to 3.
    pub min_vertices: u8,
    /// Takes the place of the threshold: the distance that this share of the vertices stays below, in 0…1. Nothing moves when it is 0.
    pub quantile: Option<f32>,
}

impl Default for SelectionOptions {
    fn default() -> Self {
        Self { threshold: 0.0025, min_vertices: 1, quantile: None }
    }
}

/// Faces that move with the expression, ascending. Both lists of vertices are without the motion of the head: [`pose_free`], or [`align`] where
/// there are only meshes.
///
/// # Panics
/// When the lists differ in length, or a face names a vertex that is not there.
pub fn select_faces(
    neutral: &[[f32; 3]],
    posed: &[[f32; 3]],
    faces: &[[u32; 3]],
    options: &SelectionOptions,
) -> Vec<u32> {
    assert_eq!(neutral.len(), posed.len(), "vertices of one mesh");
    let distances: Vec<f32> = neutral.iter().zip(posed).map(|(a, b)| distance(a, b)).collect();
    let threshold = options.quantile.map_or(options.threshold, |share| quantile(&distances, share));
    let needed = options.min_vertices.clamp(1, 3);
    let moves = |face: &[u32; 3]| face.iter().filter(|v| distances[**v as usize] > threshold).count() >= needed.into();
    (0..faces.len() as u32).filter(|f| moves(&faces[*f as usize])).collect()
}

fn distance(a: &[f32; 3], b: &[f32; 3]) -> f32 {
    (0..3).map(|c| (a[c] - b[c]).powi(2)).sum::<f32>().sqrt()
}

fn quantile(values: &[f32], share: f32) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let at = (share.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f32).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}

/// The vertices of a pose with its shape, offset, expression, jaw and eyes, but without the motion of the head: the rotations of the root
/// and the neck and the translation are zero. Of bodies of other families the first joint and the translation are.
///
/// # Errors
/// Parameters that do not fit the body.
pub fn pose_free(body: &Body<f32>, pose: &Pose) -> Result<Vec<[f32; 3]>> {
    let mut parameters = body.parameters(&[], pose)?;
    let still = if body.layout() == Layout::Flame { 2 } else { 1 };
    parameters.rotations.iter_mut().take(still).for_each(|r| *r = Rotation::default());
    parameters.translation = [0.0; 3];
    Ok(body.pose(&parameters).vertices)
}

/// The vertices of the same subject with a neutral face: shape and offset alone.
///
/// # Errors
/// Parameters that do not fit the body.
pub fn neutral(body: &Body<f32>, pose: &Pose) -> Result<Vec<[f32; 3]>> {
    let Parameters { shape, offset, .. } = body.parameters(&[], pose)?;
    Ok(body.pose(&Parameters { shape, offset, ..Parameters::default() }).vertices)
}

/// The faces of a tracked pose that move with its expression. Eyeballs are left out: they turn, and nothing on them changes.
///
/// # Errors
/// Parameters that do not fit the body.
pub fn expression_faces(body: &Body<f32>, pose: &Pose, options: &SelectionOptions) -> Result<Vec<u32>> {
    let neutral = neutral(body, pose)?;
    let mut posed = pose_free(body, pose)?;
    if body.layout() == Layout::Flame {
        for (vertex, place) in posed.iter_mut().enumerate() {
            let (joints, weights) = body.weights().row(vertex);
            let eyes: f32 = joints.iter().zip(weights).filter(|(j, _)| EYES.contains(j)).map(|(_, w)| *w).sum();
            if eyes > 0.5 {
                *place = neutral[vertex];
            }
        }
    }
    Ok(select_faces(&neutral, &posed, body.faces(), options))
}

/// FLAME's joints of the eyes.
const EYES: [u32; 2] = [3, 4];

/// Rounds of [`align`]; weights of a face that speaks change by less than 1 % after the sixth.
const ROUNDS: usize = 10;

/// `moved` brought to `reference` by the rotation and translation that fit the vertices that hardly move against each other: Kabsch's
/// problem, solved by Horn's quaternion (Horn 1987, section 4), with weights 1 / (1 + (d / m)²)² from the distances d that are left and their median m
/// (a redescending M-estimator, as Geman and McClure's), so that what moves on its own counts for little.
///
/// # Panics
/// When the lists differ in length.
pub fn align(reference: &[[f32; 3]], moved: &[[f32; 3]]) -> Vec<[f32; 3]> {
    assert_eq!(reference.len(), moved.len(), "vertices of one mesh");
    let wide = |list: &[[f32; 3]]| -> Vec<[f64; 3]> { list.iter().map(|v| v.map(f64::from)).collect() };
    let (reference, moved) = (wide(reference), wide(moved));
    let mut weights = vec![1.0; moved.len()];
    let mut out = moved.clone();
    for _ in 0..ROUNDS {
        let (turn, shift) = rigid(&reference, &moved, &weights);
        for (to, from) in out.iter_mut().zip(&moved) {
            *to = std::array::from_fn(|r| (0..3).map(|c| turn[r][c] * from[c]).sum::<f64>() + shift[r]);
        }
        let left = |(a, b): (&[f64; 3], &[f64; 3])| (0..3).map(|c| (a[c] - b[c]).powi(2)).sum::<f64>().sqrt();
        let distances: Vec<f64> = reference.iter().zip(&out).map(left).collect();
        let mut sorted = distances.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        // a micrometre, below what float32 keeps of a head: then everything fits
        let median = sorted.get(sorted.len() / 2).map_or(1.0, |m| m.max(1e-6));
        for (weight, d) in weights.iter_mut().zip(&distances) {
            *weight = 1.0 / (1.0 + (d / median).powi(2)).powi(2);
        }
    }
    out.into_iter().map(|v| v.map(|x| x as f32)).collect()
}

type Turn = [[f64; 3]; 3];

/// Rotation and translation that bring `from` to `to` with the least Σ w ‖R from + t − to‖².
fn rigid(to: &[[f64; 3]], from: &[[f64; 3]], weights: &[f64]) -> (Turn, [f64; 3]) {
    let total: f64 = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let middle = |list: &[[f64; 3]]| -> [f64; 3] {
        std::array::from_fn(|c| list.iter().zip(weights).map(|(v, w)| w * v[c]).sum::<f64>() / total)
    };
    let (a, b) = (middle(from), middle(to));
    let mut s = [[0.0; 3]; 3];
    for ((f, t), w) in from.iter().zip(to).zip(weights) {
        for r in 0..3 {
            for c in 0..3 {
                s[r][c] += w * (f[r] - a[r]) * (t[c] - b[c]);
            }
        }
    }
    let turn = horn(&s);
    let shift = std::array::from_fn(|r| b[r] - (0..3).map(|c| turn[r][c] * a[c]).sum::<f64>());
    (turn, shift)
}

/// The rotation of the eigenvector of the largest eigenvalue of Horn's 4 × 4 matrix of the sums s.
fn horn(s: &Turn) -> Turn {
    let [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = *s;
    let n = faer::mat![
        [xx + yy + zz, yz - zy, zx - xz, xy - yx],
        [yz - zy, xx - yy - zz, xy + yx, zx + xz],
        [zx - xz, xy + yx, yy - xx - zz, yz + zy],
        [xy - yx, zx + xz, yz + zy, zz - xx - yy]
    ];
    // eigenvalues come ascending; without any (sums that are not finite) nothing is turned
    let q = n
        .self_adjoint_eigen(faer::Side::Lower)
        .map_or([1.0, 0.0, 0.0, 0.0], |e| std::array::from_fn(|k| e.U()[(k, 3)]));
    match Rotation::from_quaternion(q) {
        Rotation::Matrix(m) => m,
        other => other.matrix(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud(count: usize) -> Vec<[f32; 3]> {
        let at =
            |k: usize| [0.08 * (k as f32 * 1.7).sin(), 0.12 * (k as f32 * 0.9).cos(), 0.1 * (k as f32 * 0.37).sin()];
        (0..count).map(at).collect()
    }

    #[test]
    fn faces_are_selected_by_their_moving_corners() {
        let neutral = cloud(6);
        let mut posed = neutral.clone();
        posed[1][0] += 0.003;
        posed[2][1] -= 0.003;
        posed[3][2] += 0.002;
        let faces = [[0, 1, 2], [1, 4, 5], [0, 3, 4], [3, 4, 5]];
        let select = |options| select_faces(&neutral, &posed, &faces, &options);
        let usual = SelectionOptions::default();
        assert_eq!(select(usual), [0, 1]);
        assert_eq!(select(SelectionOptions { min_vertices: 2, ..usual }), [0]);
        assert_eq!(select(SelectionOptions { threshold: 0.0015, ..usual }), [0, 1, 2, 3]);
        // half of the six vertices stay below 2 mm
        assert_eq!(select(SelectionOptions { quantile: Some(0.6), ..usual }), [0, 1]);
        assert_eq!(select(SelectionOptions { quantile: Some(1.0), ..usual }), [0u32; 0]);
        assert!(select_faces(&neutral, &neutral, &faces, &usual).is_empty());
    }

    #[test]
    fn alignment_undoes_the_motion_of_the_head_and_leaves_that_of_the_face() {
        let reference = cloud(400);
        let turn = Rotation::<f64>::AxisAngle([0.4, -0.7, 0.2]).matrix();
        let mut expected = reference.clone();
        // a fifth of the vertices opens a mouth
        expected[..80].iter_mut().for_each(|v| v[1] -= 0.02);
        let carry = |v: &[f32; 3]| -> [f32; 3] {
            std::array::from_fn(|r| {
                ((0..3).map(|c| turn[r][c] * f64::from(v[c])).sum::<f64>() + [0.1, -0.3, 0.05][r]) as f32
            })
        };
        let moved: Vec<[f32; 3]> = expected.iter().map(carry).collect();
        let found = align(&reference, &moved);
        let worst = found.iter().zip(&expected).map(|(a, b)| distance(a, b)).fold(0.0, f32::max);
        // float32 of half a metre; one round alone is off by millimetres
        assert!(worst < 2e-6, "{worst}");
        assert_eq!(align(&reference, &reference).len(), 400);
        // half a turn, where the quaternion's w is 0
        let back: Vec<[f32; 3]> = reference.iter().map(|v| [-v[0], v[1], -v[2]]).collect();
        let worst = align(&reference, &back).iter().zip(&reference).map(|(a, b)| distance(a, b)).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{worst}");
        assert!(align(&[], &[]).is_empty());
    }
}
