//! A head of FLAME's counts made by formulas, for tests of the command line.

use gav_formats::npy::{NpyArray, NpyType, write_npz};

pub const VERTICES: usize = 5023;
/// Vertices of a turn of the helix that covers the head: so many that two triangles for each step make FLAME's 9,976.
pub const TURN: usize = 34;

fn vertex(i: usize) -> [f64; 3] {
    let (angle, polar) = (i as f64 / TURN as f64, (i as f64 + 0.5) / VERTICES as f64 * std::f64::consts::PI);
    let angle = angle * std::f64::consts::TAU;
    [0.08 * polar.sin() * angle.cos(), -0.12 * polar.cos(), 0.1 * polar.sin() * angle.sin()]
}

/// FLAME's arrays on a helix: smooth shapes, a jaw that carries what is low and in front.
pub fn head() -> Vec<u8> {
    let words = |name: &str, shape: &[usize], values: Vec<u32>| {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        (name.to_owned(), NpyArray { dtype: NpyType::U32, shape: shape.to_vec(), data })
    };
    let floats =
        |name: &str, shape: &[usize], values: Vec<f32>| (name.to_owned(), NpyArray::from_f32(shape.to_vec(), &values));
    let vertices: Vec<[f64; 3]> = (0..VERTICES).map(vertex).collect();
    let faces = (0..VERTICES - TURN - 1).flat_map(|i| [i, i + 1, i + TURN, i + 1, i + TURN + 1, i + TURN]);
    let wave = |v: &[f64; 3], c: usize, k: usize| {
        let k = k as f64;
        (20.0 * (v[0] * (k * 0.7).sin() + v[1] * (k * 1.3).cos() + v[2]) + k + c as f64).sin()
    };
    let directions = |count: usize, size: f64| -> Vec<f32> {
        let of = |v: &[f64; 3]| -> Vec<f32> {
            (0..3).flat_map(|c| (0..count).map(move |k| (c, k))).map(|(c, k)| (size * wave(v, c, k)) as f32).collect()
        };
        vertices.iter().flat_map(of).collect()
    };
    let jaw = |v: &[f64; 3]| (1.0 / (1.0 + (150.0 * (v[1] + 0.03) - 60.0 * v[2]).exp())) as f32;
    let nearest = |place: [f64; 3]| -> Vec<f32> {
        let far = |v: &[f64; 3]| (0..3).map(|c| (v[c] - place[c]).powi(2)).sum::<f64>();
        let best = (0..VERTICES).min_by(|a, b| far(&vertices[*a]).total_cmp(&far(&vertices[*b]))).unwrap();
        (0..VERTICES).map(|v| f32::from(u8::from(v == best))).collect()
    };
    let joints = [[0.0, -0.12, 0.0], [0.0, -0.1, -0.02], [0.0, -0.02, -0.02], [0.03, 0.03, 0.08], [-0.03, 0.03, 0.08]];
    write_npz(&[
        floats("v_template", &[VERTICES, 3], vertices.iter().flatten().map(|v| *v as f32).collect()),
        words("f", &[9976, 3], faces.map(|i| i as u32).collect()),
        floats("shapedirs", &[VERTICES, 3, 400], directions(400, 0.002)),
        floats("posedirs", &[VERTICES, 3, 36], directions(36, 0.0003)),
        floats("J_regressor", &[5, VERTICES], joints.iter().flat_map(|p| nearest(*p)).collect()),
        floats(
            "weights",
            &[VERTICES, 5],
            vertices.iter().flat_map(|v| [0.0, 1.0 - jaw(v), jaw(v), 0.0, 0.0]).collect(),
        ),
        words("kintree_table", &[2, 5], [u32::MAX, 0, 1, 1, 1].into_iter().chain(0..5).collect()),
    ])
    .unwrap()
}
