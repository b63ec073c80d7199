//! Speed of body models on this machine: milliseconds a pose, for a subject whose identity stays the same.
//!
//! `cargo run --release -p gav-models --example body`

use std::{error::Error, time::Instant};

use gav_formats::TemplateFamily;
use gav_models::body::{Body, Layout, Parameters, Parts, Rotation, Upstream};

/// Values around zero, all different.
fn value(i: usize) -> f32 {
    ((i * 2_654_435_761) % 10_007) as f32 / 1e6 - 0.005
}

/// A body of the size of a family, with 4 weights a vertex and 30 vertices to a joint.
fn body(family: TemplateFamily, count: usize, joints: usize, columns: usize) -> Result<Body<f32>, Box<dyn Error>> {
    let mut weights = vec![0.0; count * joints];
    for (v, row) in weights.chunks_exact_mut(joints).enumerate() {
        (0..4).for_each(|k| row[(v + k) % joints] += 0.25);
    }
    let mut regressor = vec![0.0; count * joints];
    for (j, row) in regressor.chunks_exact_mut(count).enumerate() {
        row[100 * j..][..30].fill(1.0 / 30.0);
    }
    let layout = Layout::of(family, joints);
    Ok(Body::new(&Parts {
        family,
        name: String::new(),
        licence: String::new(),
        vertices: (0..count).map(|v| [value(3 * v), value(3 * v + 1), value(3 * v + 2)]).collect(),
        faces: Vec::new(),
        uvs: Vec::new(),
        uv_faces: Vec::new(),
        shapedirs: (0..3 * count * columns).map(value).collect(),
        identity_columns: layout.identity_columns(columns),
        posedirs: (0..27 * count * (joints - 1)).map(value).collect(),
        extras: Vec::new(),
        regressor,
        weights,
        parents: (0..joints).map(|j| (j > 0).then_some(j as u32 / 2)).collect(),
        joint_names: layout.joint_names(joints),
        hands: None,
    })?)
}

/// Best of ten, in milliseconds.
fn best(mut work: impl FnMut()) -> f64 {
    let time = |work: &mut dyn FnMut()| {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64() * 1e3
    };
    (0..10).map(|_| time(&mut work)).fold(f64::INFINITY, f64::min)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{:<28} {:>10} {:>10} {:>10} {:>10}", "", "identity", "pose", "batch", "backward");
    for (name, family, count, joints, expression) in [
        ("FLAME with teeth", TemplateFamily::Flame2023, 5143, 5, 100),
        ("SMPL-X, 10 expressions", TemplateFamily::SmplX, 10_475, 55, 10),
    ] {
        let body = body(family, count, joints, 400)?;
        let parameters: Vec<Parameters<f32>> = (0..32)
            .map(|k| Parameters {
                shape: (0..300).map(value).collect(),
                expression: (0..expression).map(|i| value(i + 77 * k)).collect(),
                rotations: (0..joints).map(|j| Rotation::AxisAngle([0.1, value(j + k), 0.3])).collect(),
                ..Parameters::default()
            })
            .collect();
        let first = &parameters[0];
        let posed = body.pose(first);
        let fixed = Parameters { shape: Vec::new(), ..first.clone() };
        let upstream = Upstream { vertices: &posed.vertices, ..Upstream::default() };
        let times = [
            best(|| drop(body.identity(&first.shape, &[]))),
            best(|| drop(body.pose(first))),
            best(|| drop(body.pose_all(&parameters))) / parameters.len() as f64,
            best(|| drop(body.backward(&fixed, &posed, &upstream))),
        ];
        let [identity, pose, batch, backward] = times.map(|t| format!("{t:.3} ms"));
        println!("{name:<28} {identity:>10} {pose:>10} {batch:>10} {backward:>10}");
    }
    Ok(())
}
