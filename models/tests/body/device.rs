//! Bodies on a CUDA device against the CPU in f64, forward and backward, more poses than a thread takes at a time.

use gav_formats::TemplateFamily;
use gav_kernels::cuda::{Buffer, Device, rig::RotationForm};
use gav_models::body::{Body, Parameters, Rotation, Upstream};

use crate::synthetic::{Numbers, parts};

const POSES: usize = 11;

/// Relative L2 distance.
fn relative(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let difference: f64 = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    let size: f64 = expected.iter().map(|v| v * v).sum();
    (difference / size.max(1e-30)).sqrt()
}

#[test]
fn a_batch_on_the_device_equals_the_cpu() {
    let device = match Device::open(0) {
        Ok(device) => device,
        Err(error) => {
            eprintln!("SKIPPED on CUDA: {error}");
            return;
        }
    };
    for (family, joints) in [
        (TemplateFamily::Flame2023, 5),
        (TemplateFamily::Smpl, 24),
        (TemplateFamily::SmplX, 55),
        (TemplateFamily::Custom, 7),
    ] {
        let (body, narrow) =
            (Body::new(&parts::<f64>(family, joints)).unwrap(), Body::new(&parts::<f32>(family, joints)).unwrap());
        let shape = [0.3, -0.2, 0.5];
        let subject = narrow.identity(&shape.map(|v| v as f32), &[]);
        for form in [RotationForm::AxisAngle, RotationForm::SixD, RotationForm::Matrix] {
            let mut on = narrow.on_device(&device, &subject, form, POSES).unwrap();
            let mut numbers = Numbers(9);
            let extras = body.extras().len();
            let poses: Vec<Parameters<f64>> = (0..POSES)
                .map(|pose| Parameters {
                    shape: shape.to_vec(),
                    expression: numbers.many(2, 1.0),
                    extras: numbers.many(extras, 1.0),
                    rotations: (0..joints).map(|j| rotation(form, &mut numbers, pose == 0 && j > 0)).collect(),
                    translation: numbers.triples(1, 1.0)[0],
                    ..Parameters::default()
                })
                .collect();
            let f32s = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v as f32).collect::<Vec<f32>>();
            let coefficients = |p: &Parameters<f64>| [p.expression.as_slice(), &p.extras].concat();
            on.expression.write(&f32s(&mut poses.iter().flat_map(coefficients))).unwrap();
            on.rotations.write(&f32s(&mut poses.iter().flat_map(|p| p.rotations.iter().flat_map(row)))).unwrap();
            on.translations.write(&f32s(&mut poses.iter().flat_map(|p| p.translation))).unwrap();
            let upstream: Vec<[f64; 3]> = numbers.triples(POSES * body.vertex_count(), 1.0);
            let by_posed = Buffer::from_slice(&device, &f32s(&mut upstream.as_flattened().iter().copied())).unwrap();
            on.forward(POSES).unwrap();
            on.backward(POSES, &by_posed).unwrap();

            let mut expected: [Vec<f64>; 5] = Default::default();
            for (p, g) in poses.iter().zip(upstream.chunks(body.vertex_count())) {
                let posed = body.pose(p);
                let by = body.backward(p, &posed, &Upstream { vertices: g, ..Upstream::default() });
                expected[0].extend(posed.vertices.as_flattened());
                expected[1].extend(posed.joints.as_flattened());
                expected[2].extend(coefficients(&by));
                expected[3].extend(by.rotations.iter().flat_map(row));
                expected[4].extend(by.translation);
            }
            let found = [&on.posed, &on.posed_joints, &on.by_expression, &on.by_rotations, &on.by_translations];
            for ((found, expected), what) in found.iter().zip(&expected).zip([
                "vertices",
                "joints",
                "by expression",
                "by rotations",
                "by translation",
            ]) {
                let error = relative(&found.read().unwrap(), expected);
                println!("{family:?} {form:?} {what}: {error:.1e}");
                // f32 against f64: rounding, and sums of it
                assert!(
                    error < if what.starts_with("by") { 2e-5 } else { 2e-6 },
                    "{family:?} {form:?} {what}: {error:e}"
                );
            }
        }
    }
}

fn rotation(form: RotationForm, numbers: &mut Numbers, rest: bool) -> Rotation<f64> {
    let turn = Rotation::AxisAngle(numbers.triples(1, if rest { 0.0 } else { 0.8 })[0]);
    let m = turn.matrix();
    match form {
        RotationForm::AxisAngle => turn,
        // rows of any length, not orthogonal
        RotationForm::SixD => Rotation::SixD(std::array::from_fn(|k| 1.3 * m[k / 3][k % 3] + 0.1 * numbers.next())),
        RotationForm::Matrix => Rotation::Matrix(m),
    }
}

/// The nine numbers of a joint's row on the device.
fn row(rotation: &Rotation<f64>) -> [f64; 9] {
    let mut out = [0.0; 9];
    match rotation {
        Rotation::AxisAngle(r) => out[..3].copy_from_slice(r),
        Rotation::SixD(r) => out[..6].copy_from_slice(r),
        Rotation::Matrix(m) => out.copy_from_slice(m.as_flattened()),
    }
    out
}
