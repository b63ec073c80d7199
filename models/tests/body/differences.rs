//! Gradients against finite differences, for every parameter of every family; and what else holds for all bodies.

use gav_formats::TemplateFamily;
use gav_models::body::{Body, Parameters, Posed, Rotation, Upstream, smplx::SmplX};

use crate::synthetic::{Numbers, body, parts};

/// Upstream gradients of everything that a pose gives.
struct Loss {
    vertices: Vec<[f64; 3]>,
    joints: Vec<[f64; 3]>,
    transforms: Vec<[[f64; 4]; 3]>,
    shaped: Vec<[f64; 3]>,
}

impl Loss {
    fn new(body: &Body<f64>) -> Self {
        let mut numbers = Numbers(5);
        let (v, j) = (body.vertex_count(), body.joint_count());
        let flat: Vec<f64> = numbers.many(12 * j, 1.0);
        Self {
            vertices: numbers.triples(v, 1.0),
            joints: numbers.triples(j, 1.0),
            transforms: flat.as_chunks::<4>().0.as_chunks().0.to_vec(),
            shaped: numbers.triples(v, 1.0),
        }
    }

    fn upstream(&self) -> Upstream<'_, f64> {
        Upstream { vertices: &self.vertices, joints: &self.joints, transforms: &self.transforms, shaped: &self.shaped }
    }

    fn of(&self, posed: &Posed<f64>) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(self.vertices.as_flattened(), posed.vertices.as_flattened())
            + dot(self.joints.as_flattened(), posed.joints.as_flattened())
            + dot(self.transforms.as_flattened().as_flattened(), posed.transforms.as_flattened().as_flattened())
            + dot(self.shaped.as_flattened(), posed.shaped.as_flattened())
    }
}

/// All numbers of the parameters.
fn numbers_of(parameters: &mut Parameters<f64>) -> Vec<&mut f64> {
    let mut out: Vec<&mut f64> = Vec::new();
    out.extend(&mut parameters.shape);
    out.extend(&mut parameters.expression);
    out.extend(&mut parameters.extras);
    out.extend(parameters.offset.as_flattened_mut());
    for rotation in &mut parameters.rotations {
        match rotation {
            Rotation::AxisAngle(r) => out.extend(r),
            Rotation::SixD(r) => out.extend(r),
            Rotation::Matrix(r) => out.extend(r.as_flattened_mut()),
        }
    }
    out.extend(&mut parameters.translation);
    out
}

/// |found − expected| within 10⁻⁶ of the larger of the two and of 1; differences of a loss of about 10 with steps of 10⁻⁵ are good to 10⁻⁹.
fn assert_same(what: &str, found: f64, expected: f64) {
    let scale = found.abs().max(expected.abs()).max(1.0);
    assert!((found - expected).abs() <= 1e-6 * scale, "{what}: {found} and {expected}");
}

const STEP: f64 = 1e-5;

fn random_parameters(body: &Body<f64>, seed: u64) -> Parameters<f64> {
    let mut numbers = Numbers(seed);
    Parameters {
        shape: numbers.many(body.shape_count(), 1.0),
        expression: numbers.many(body.expression_count(), 1.0),
        extras: numbers.many(body.extras().len(), 1.0),
        offset: numbers.triples(body.vertex_count(), 0.01),
        rotations: (0..body.joint_count())
            .map(|j| match j % 4 {
                1 => Rotation::SixD(std::array::from_fn(|k| f64::from(u8::from(k % 4 == 0)) + 0.3 * numbers.next())),
                3 => Rotation::Matrix(std::array::from_fn(|_| std::array::from_fn(|_| numbers.next()))),
                _ => Rotation::AxisAngle(std::array::from_fn(|_| 0.7 * numbers.next())),
            })
            .collect(),
        translation: [0.1, -0.2, 0.3],
    }
}

#[test]
fn gradients_of_every_family_are_those_of_differences() {
    for (family, joints) in [
        (TemplateFamily::Flame2020, 5),
        (TemplateFamily::Smpl, 24),
        (TemplateFamily::SmplX, 55),
        (TemplateFamily::Custom, 7),
    ] {
        let body = body::<f64>(family, joints);
        let loss = Loss::new(&body);
        let mut parameters = random_parameters(&body, 11);
        let mut gradient = body.backward(&parameters, &body.pose(&parameters), &loss.upstream());
        let gradient: Vec<f64> = numbers_of(&mut gradient).into_iter().map(|v| *v).collect();
        for (index, found) in gradient.iter().enumerate() {
            let mut at = |by: f64| {
                *numbers_of(&mut parameters)[index] += by;
                let value = loss.of(&body.pose(&parameters));
                *numbers_of(&mut parameters)[index] -= by;
                value
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            assert_same(&format!("{family:?} number {index}"), *found, expected);
        }
    }
}

#[test]
fn gradients_of_hands_are_those_of_differences() {
    let body = body::<f64>(TemplateFamily::SmplX, 55);
    let loss = Loss::new(&body);
    for (count, flat) in [(4, None), (2, Some(true)), (45, Some(false)), (45, None)] {
        let mut numbers = Numbers(3);
        let values = SmplX {
            betas: numbers.many(3, 1.0),
            expression: numbers.many(2, 1.0),
            body_pose: numbers.triples(21, 0.3),
            jaw_pose: [0.1, 0.0, -0.1],
            left_hand_pose: numbers.many(count, 0.4),
            right_hand_pose: numbers.many(count, 0.4),
            flat_hand_mean: flat,
            ..SmplX::default()
        };
        let value = |v: &SmplX<f64>| loss.of(&body.pose(&body.smplx(v).unwrap()));
        let parameters = body.smplx(&values).unwrap();
        let gradient = body.backward(&parameters, &body.pose(&parameters), &loss.upstream());
        let gradient = body.smplx_gradient(&values, &gradient);
        type Part = fn(&mut SmplX<f64>) -> &mut [f64];
        let parts: [(&str, Part); 8] = [
            ("betas", |v| &mut v.betas),
            ("expression", |v| &mut v.expression),
            ("global_orient", |v| &mut v.global_orient),
            ("body_pose", |v| v.body_pose.as_flattened_mut()),
            ("jaw_pose", |v| &mut v.jaw_pose),
            ("left hand", |v| &mut v.left_hand_pose),
            ("right hand", |v| &mut v.right_hand_pose),
            ("transl", |v| &mut v.transl),
        ];
        for (name, part) in parts {
            let found = part(&mut gradient.clone()).to_vec();
            for (index, found) in found.iter().enumerate() {
                let moved = |by: f64| {
                    let mut v = values.clone();
                    part(&mut v)[index] += by;
                    value(&v)
                };
                let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                assert_same(&format!("{count} numbers, {flat:?}, {name} {index}"), *found, expected);
            }
        }
    }
}

#[test]
fn poses_do_not_depend_on_what_was_posed_before_or_beside_them() {
    let body = body::<f32>(TemplateFamily::Flame2020, 5);
    let mut all = Vec::new();
    for k in 0..40u64 {
        let mut numbers = Numbers(k);
        all.push(Parameters {
            shape: Numbers(k / 20).many(3, 1.0),
            expression: numbers.many(2, 1.0),
            rotations: (0..5).map(|_| Rotation::AxisAngle(std::array::from_fn(|_| numbers.next() as f32))).collect(),
            ..Parameters::default()
        });
    }
    let together = body.pose_all(&all);
    for (parameters, posed) in all.iter().zip(&together).rev() {
        let fresh = crate::synthetic::body::<f32>(TemplateFamily::Flame2020, 5);
        assert_eq!(&fresh.pose(parameters), posed);
        assert_eq!(&body.pose(parameters), posed);
    }
    // nothing given is the template
    let rest = body.pose(&Parameters::default());
    assert_eq!(rest.shaped, body.rest_vertices());
    for (a, b) in rest.vertices.as_flattened().iter().zip(body.rest_vertices().as_flattened()) {
        assert!((a - b).abs() < 1e-6);
    }
}

#[test]
fn bodies_give_back_their_arrays_and_go_through_meshes() {
    for (family, joints) in [(TemplateFamily::Flame2020, 5), (TemplateFamily::SmplX, 55), (TemplateFamily::Custom, 7)] {
        let mut parts = parts::<f32>(family, joints);
        parts.uvs = (0..41).map(|k| [k as f32 / 41.0, 0.5]).collect();
        let body = Body::new(&parts).unwrap();
        assert_eq!(body.parts(), parts);
        let again: Body<f32> = Body::from_mesh(family, &body.to_mesh()).unwrap();
        assert_eq!(again.parts(), parts);
        let template = body.template();
        assert_eq!(template, again.template());
        assert_eq!((template.vertex_count, template.face_count), (41, 39));
        let mut changed = parts.clone();
        changed.posedirs[7] += 0.1;
        assert_ne!(Body::new(&changed).unwrap().template().arrays_hash, template.arrays_hash);
        // eyelids, texture coordinates and names are no part of the hash
        changed = parts.clone();
        changed.extras.clear();
        changed.uvs.clear();
        assert_eq!(Body::new(&changed).unwrap().template().arrays_hash, template.arrays_hash);
    }
}

#[test]
fn arrays_that_do_not_fit_are_refused_with_both_numbers() {
    let good = parts::<f32>(TemplateFamily::Flame2020, 5);
    type Damage = fn(&mut gav_models::body::Parts<f32>);
    let cases: [(Damage, &[&str]); 8] = [
        (|p| p.faces[3][1] = 41, &["face 3", "41"]),
        (|p| p.weights[10] += 0.5, &["vertex 2", "1.5"]),
        (|p| p.parents[2] = Some(9), &["joint 2", "9", "5 joints"]),
        (|p| (p.parents[2], p.parents[3]) = (Some(3), Some(2)), &["circle"]),
        (|p| p.parents[0] = Some(1), &["joint 0"]),
        (|p| p.shapedirs[9] = f32::NAN, &["shapedirs", "number 9"]),
        (|p| p.posedirs.truncate(100), &["posedirs", "100", "4428"]),
        (|p| p.regressor.truncate(200), &["J_regressor", "200", "205"]),
    ];
    for (damage, expected) in cases {
        let mut parts = good.clone();
        damage(&mut parts);
        let text = Body::new(&parts).unwrap_err().to_string();
        assert!(expected.iter().all(|e| text.contains(e)), "{text}");
    }
    let mut arrays = good.to_arrays();
    let text = |arrays: &[_]| Body::<f32>::from_arrays(TemplateFamily::Flame2020, arrays).unwrap_err().to_string();
    let weights = arrays.iter_mut().find(|a| a.name == "weights").unwrap();
    weights.shape[0] = 40;
    assert!(text(&arrays).contains("41"), "{}", text(&arrays));
    arrays.retain(|a| a.name != "weights");
    assert!(text(&arrays).contains("no array `weights`"), "{}", text(&arrays));
}
