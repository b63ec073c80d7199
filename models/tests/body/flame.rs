//! FLAME with GaussianAvatars' teeth and as RGBAvatar drives it.

use gav_formats::{Avatar, Pose, RigBase, TemplateFamily, TriangleBinding, TriangleFrame};
use gav_kernels::Real;
use gav_models::{
    body::{Body, Parameters, Parts, Posed, Rings, Rotation, Teeth, Upstream},
    puppet::Puppet,
};

use crate::golden::{Golden, assert_close, to, triple, triples, upper_rows};

/// The vectors came from other code in f64; what differs is the order of sums.
const F64: [f64; 2] = [1e-12, 0.0];
/// As the golden file suggests for f32: positions of a tenth of a metre, 400 summands each.
const F32: [f64; 2] = [2e-6, 0.0];

fn parts<T: Real>(golden: &Golden, teeth: bool) -> Parts<T> {
    let mut parts = Parts::from_arrays(TemplateFamily::Flame2023, &golden.arrays("model.")).unwrap();
    if teeth {
        let ring = |key: &str| std::array::from_fn(|k| golden.get(key)[k] as u32);
        let rings = Rings { upper: ring("model.lip_ring_upper"), lower: ring("model.lip_ring_lower") };
        parts.add_teeth_between(Teeth::GaussianAvatars, &rings).unwrap();
    }
    parts
}

fn frame<T: Real>(golden: &Golden, index: usize, vertices: usize) -> Parameters<T> {
    let turn = |key: &str, first: usize| {
        Rotation::AxisAngle(triple(&golden.row(&format!("param.{key}"), index)[first..first + 3]))
    };
    Parameters {
        shape: to(golden.get("param.shape")),
        expression: to(golden.row("param.expr", index)),
        extras: Vec::new(),
        offset: triples(&golden.get("param.static_offset")[..3 * vertices]),
        rotations: vec![
            turn("rotation", 0),
            turn("neck_pose", 0),
            turn("jaw_pose", 0),
            turn("eyes_pose", 0),
            turn("eyes_pose", 3),
        ],
        translation: triple(golden.row("param.translation", index)),
    }
}

fn compare<T: Real>(golden: &Golden, teeth: bool, tolerance: [f64; 2]) {
    let parts = parts::<T>(golden, teeth);
    let body = Body::new(&parts).unwrap();
    let prefix = if teeth { "teeth" } else { "noteeth" };
    if teeth {
        assert_close("v_template", parts.vertices.as_flattened(), golden.get("teeth.v_template"), tolerance);
        assert_close("weights", &parts.weights, golden.get("teeth.lbs_weights"), tolerance);
        assert_eq!(body.faces().len(), 40 + 168);
    }
    for index in 0..4 {
        let parameters = frame::<T>(golden, index, body.vertex_count());
        body.check(&parameters).unwrap();
        let posed = body.pose(&parameters);
        let row = |key: &str| golden.row(&format!("{prefix}.{key}"), index).to_vec();
        assert_close("v_shaped", posed.shaped.as_flattened(), &row("v_shaped"), tolerance);
        assert_close("J", posed.rest_joints.as_flattened(), &row("J"), tolerance);
        assert_close("verts", posed.vertices.as_flattened(), &row("verts"), tolerance);
        // the golden transforms are without the translation
        let mut transforms = posed.transforms.clone();
        for rows in &mut transforms {
            (0..3).for_each(|r| rows[r][3] -= parameters.translation[r]);
        }
        assert_close("A", transforms.as_flattened().as_flattened(), &upper_rows(&row("A")), tolerance);
        if !teeth {
            let feature: Vec<T> = (posed.rotations[1..].iter())
                .flat_map(|r| (0..9).map(|k| r[k / 3][k % 3] - if k % 4 == 0 { T::one() } else { T::zero() }))
                .collect();
            let offsets: Vec<T> = (posed.corrected.as_flattened().iter())
                .zip(posed.shaped.as_flattened())
                .map(|(corrected, shaped)| *corrected - *shaped)
                .collect();
            let rotations = posed.rotations.as_flattened().as_flattened();
            assert_close("rot_mats", rotations, &row("rot_mats"), tolerance);
            assert_close("pose_feature", &feature, &row("pose_feature"), tolerance);
            assert_close("pose_offsets", &offsets, &row("pose_offsets"), tolerance);
            assert_close("v_posed", posed.corrected.as_flattened(), &row("v_posed"), tolerance);
            assert_close("J_transformed", posed.joints.as_flattened(), &row("J_transformed"), tolerance);
        }
    }
}

#[test]
fn flame_is_the_golden_one_with_and_without_teeth() {
    let Some(golden) = Golden::open("stga/parity_flame_lbs") else { return };
    for teeth in [false, true] {
        compare::<f64>(&golden, teeth, F64);
        compare::<f32>(&golden, teeth, F32);
    }
}

#[test]
fn teeth_have_the_published_triangles() {
    let (Some(golden), Some(file)) =
        (Golden::open("stga/parity_flame_lbs"), crate::golden::shared("parity/stga/teeth_faces.json"))
    else {
        return;
    };
    let published: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let expected: Vec<[u32; 3]> = (["upper", "lower"].iter())
        .flat_map(|part| published[part].as_array().unwrap())
        .map(|face| std::array::from_fn(|k| face[k].as_u64().unwrap() as u32 + 48))
        .collect();
    assert_eq!(expected.len(), 168);
    assert_eq!(parts::<f32>(&golden, true).faces[40..], expected);
}

fn compare_gradients<T: Real>(golden: &Golden, tolerance: [f64; 2]) {
    let body = Body::new(&parts::<T>(golden, true)).unwrap();
    let (mut shape, mut offset) = (vec![T::zero(); 300], vec![[T::zero(); 3]; body.vertex_count()]);
    for index in 0..4 {
        let parameters = frame::<T>(golden, index, body.vertex_count());
        let posed = body.pose(&parameters);
        let vertices: Vec<[T; 3]> = triples(golden.row("grad.upstream_verts", index));
        let gradient = body.backward(&parameters, &posed, &Upstream { vertices: &vertices, ..Upstream::default() });
        let row = |key: &str| golden.row(&format!("grad.{key}"), index);
        assert_close("expr", &gradient.expression, row("expr"), tolerance);
        assert_close("translation", &gradient.translation, row("translation"), tolerance);
        let turns: Vec<T> = (gradient.rotations.iter())
            .flat_map(|r| match r {
                Rotation::AxisAngle(g) => *g,
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [row("rotation"), row("neck_pose"), row("jaw_pose"), row("eyes_pose")].concat();
        assert_close("rotations", &turns, &expected, tolerance);
        shape.iter_mut().zip(&gradient.shape).for_each(|(sum, g)| *sum += *g);
        offset.as_flattened_mut().iter_mut().zip(gradient.offset.as_flattened()).for_each(|(sum, g)| *sum += *g);
    }
    assert_close("shape", &shape, golden.get("grad.shape"), tolerance);
    assert_close("static_offset", offset.as_flattened(), golden.get("grad.static_offset"), tolerance);
}

#[test]
fn gradients_of_flame_are_the_golden_ones() {
    let Some(golden) = Golden::open("stga/parity_flame_lbs") else { return };
    // sums over 504 coordinates with values up to 60
    compare_gradients::<f64>(&golden, [1e-10, 1e-12]);
    compare_gradients::<f32>(&golden, [2e-5, 1e-5]);
}

/// The miniature head of RGBAvatar's golden vectors.
fn rgb_avatar_body<T: Real>(golden: &Golden) -> Body<T> {
    let words = |name: &str, shape: &[u32], values: &[u32]| gav_formats::NamedArray {
        name: name.to_owned(),
        dtype: gav_formats::DType::U32,
        shape: shape.to_vec(),
        data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    let mut arrays = golden.arrays("flame.");
    arrays.push(words("faces", &[1, 3], &[0, 1, 2]));
    arrays.push(words("identity_columns", &[1], &[3]));
    Body::from_arrays(TemplateFamily::Flame2020, &arrays).unwrap()
}

/// As RGBAvatar prepares its data: a head pose that is given for the camera becomes a rotation of the neck.
fn rgb_avatar<T: Real>(golden: &Golden, tolerance: [f64; 2]) {
    let body: Body<T> = rgb_avatar_body(golden);
    assert_eq!((body.shape_count(), body.expression_count()), (3, 4));
    assert_eq!(body.extras(), ["l_eyelid", "r_eyelid"]);
    for index in 0..3 {
        let row = |key: &str| golden.row(&format!("flame.in.{key}"), index);
        // M = E⁻¹ [R | t] with E = [diag(1, −1, −1) | t of frame 0]
        let flip = [1.0, -1.0, -1.0];
        let (r, t, t0) = (row("opencv_R"), row("opencv_t"), golden.row("flame.in.opencv_t", 0));
        let rotation: [[f64; 3]; 3] = std::array::from_fn(|i| std::array::from_fn(|j| flip[i] * r[3 * i + j]));
        let moved: [f64; 3] = std::array::from_fn(|i| flip[i] * (t[i] - t0[i]));
        let neutral = Parameters { shape: to(row("shape")), expression: to(row("exp")), ..Parameters::default() };
        let neck = body.pose(&neutral).rest_joints[1].map(|v| v.wide());
        let translation: [f64; 3] =
            std::array::from_fn(|i| (0..3).map(|j| rotation[i][j] * neck[j]).sum::<f64>() - neck[i] + moved[i]);
        let theta = golden.row("flame.theta", index);
        assert_close("translation", &translation.map(T::of), &theta[30..33], tolerance);
        let six = |values: &[f64]| Rotation::SixD(std::array::from_fn(|k| T::of(values[k])));
        let parameters = Parameters {
            extras: to(row("eyelids")),
            rotations: vec![
                Rotation::default(),
                Rotation::Matrix(rotation.map(|r| r.map(T::of))),
                six(row("jaw")),
                six(&row("eyes")[..6]),
                six(&row("eyes")[6..]),
            ],
            translation: translation.map(T::of),
            ..neutral
        };
        let posed: Posed<T> = body.pose(&parameters);
        let expected = golden.row("flame.mesh_world", index);
        assert_close("mesh_world", posed.vertices.as_flattened(), expected, tolerance);
        // the control vector holds the first two rows of every matrix
        let driven = Parameters {
            expression: to(&theta[..4]),
            rotations: vec![
                Rotation::default(),
                six(&theta[4..10]),
                six(&theta[10..16]),
                six(&theta[16..22]),
                six(&theta[22..28]),
            ],
            extras: to(&theta[28..30]),
            translation: triple(&theta[30..33]),
            ..parameters
        };
        assert_close("driven", body.pose(&driven).vertices.as_flattened(), expected, tolerance);
    }
}

/// The same conversion through a tracked clip and a puppet: the control vector's last three numbers.
#[test]
fn tracked_clips_are_completed_with_the_neck_of_the_template() {
    let Some(golden) = Golden::open("rgbavatar/parity_blendshapes") else { return };
    let body = rgb_avatar_body::<f32>(&golden);
    let mut avatar = Avatar::new(gav_formats::Splats::with_len(1, 0), gav_formats::Frame::RUB);
    avatar.rig.base =
        RigBase::Triangle(TriangleBinding { frame: TriangleFrame::Stga, triangles: vec![0], barycentrics: None });
    avatar.template = Some(gav_formats::Template {
        constants: vec![("shape".to_owned(), to::<f32>(golden.row("flame.in.shape", 0)))],
        ..body.template()
    });
    let track = |target: &str, width: u32, values: Vec<f32>| gav_formats::Track {
        target: target.to_owned(),
        width,
        interpolation: gav_formats::Interpolation::Linear,
        ticks: vec![0, 1, 2],
        values,
    };
    let turns = golden.get("flame.in.opencv_R").chunks_exact(9).flat_map(|m| {
        let rows = std::array::from_fn(|r| std::array::from_fn(|c| m[3 * r + c]));
        gav_formats::conventions::quaternion_from_matrix(&rows).map(|v| v as f32)
    });
    let mut clip = gav_formats::Clip {
        name: "tracked".to_owned(),
        ticks_per_second: 25,
        tracks: vec![
            track("camera.rotation", 4, turns.collect()),
            track("camera.translation", 3, to(golden.get("flame.in.opencv_t"))),
            track("flame.expression", 4, to(golden.get("flame.in.exp"))),
        ],
    };
    // one identity for the whole clip, where the golden frames have three: only the first is compared unless they agree
    let same = |k: usize| golden.row("flame.in.shape", k) == golden.row("flame.in.shape", 0);
    let puppet = Puppet::new(&avatar, Some(body)).unwrap();
    assert!(puppet.complete(&mut clip).unwrap());
    let found = &clip.tracks.last().unwrap().values;
    for k in (0..3).filter(|k| same(*k)) {
        assert_close("translation", &found[3 * k..][..3], &golden.row("flame.theta", k)[30..33], [2e-5, 0.0]);
    }
    assert!(!puppet.complete(&mut clip).unwrap());
}

#[test]
fn rgb_avatars_flame_is_the_golden_one() {
    let Some(golden) = Golden::open("rgbavatar/parity_blendshapes") else { return };
    rgb_avatar::<f64>(&golden, F64);
    // forward tolerance suggested beside the vectors for f32
    rgb_avatar::<f32>(&golden, [2e-5, 0.0]);
}

#[test]
fn names_of_both_systems_drive_the_same_head() {
    let body = crate::synthetic::body::<f32>(TemplateFamily::Flame2020, 5);
    let constants = [("shape".to_owned(), vec![0.5, -0.25]), ("static_offset".to_owned(), vec![0.01; 6])];
    let mut pose = Pose::default();
    pose.set("flame.expression", [0.1, 0.2]);
    pose.set("flame.jaw_pose", [0.2, 0.0, 0.0]);
    pose.set("flame.neck_pose", [0.0, 0.1, 0.0]);
    pose.set("flame.eyes_pose", [0.1, 0.0, 0.0, 0.0, 0.2, 0.0]);
    pose.set("flame.eyelids", [0.3, 0.4]);
    pose.set("flame.translation", [0.0, 0.0, 0.5]);
    let by_angles = body.parameters(&constants, &pose).unwrap();
    assert_eq!((by_angles.shape[1], by_angles.expression[1], by_angles.extras[1]), (-0.25, 0.2, 0.4));
    assert_eq!(by_angles.offset, [[0.01; 3]; 2]);
    let mut drivers = Pose::default();
    for (name, joint) in [("neck_6d", 1), ("jaw_6d", 2), ("left_eye_6d", 3), ("right_eye_6d", 4)] {
        let matrix = by_angles.rotations[joint].matrix();
        for (k, value) in matrix.as_flattened()[..6].iter().enumerate() {
            // what rests may be left away
            if *value != if k % 4 == 0 { 1.0 } else { 0.0 } {
                drivers.set(format!("flame.{name}.{k}"), [*value]);
            }
        }
    }
    for (group, length) in [("expression", 2), ("eyelids", 2), ("translation", 3)] {
        let values = pose.get(&format!("flame.{group}")).unwrap().to_vec();
        (0..length).for_each(|k| drivers.set(format!("flame.{group}.{k}"), [values[k]]));
    }
    let by_rows = body.parameters(&constants, &drivers).unwrap();
    assert!(matches!(by_rows.rotations[1], Rotation::SixD(_)));
    let [a, b] = [&by_angles, &by_rows].map(|p| body.pose(p).vertices);
    for (a, b) in a.as_flattened().iter().zip(b.as_flattened()) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}

#[test]
fn parameters_of_the_wrong_length_name_both_numbers() {
    let body = crate::synthetic::body::<f32>(TemplateFamily::Flame2020, 5);
    let room = body.vertex_count();
    let offset = vec![0.0; 3 * room + 3];
    for (name, values, expected) in [
        ("flame.jaw_pose", vec![0.0; 6], ["6", "3"]),
        ("flame.neck_6d", vec![0.0; 3], ["3", "6"]),
        ("flame.eyes_pose", vec![0.0; 12], ["12", "6"]),
        ("flame.expression", vec![1.0; 50], ["50", "2"]),
        ("flame.static_offset", offset, [&(room + 1).to_string(), &room.to_string()]),
    ] {
        let mut pose = Pose::default();
        pose.set(name, values);
        let text = body.parameters(&[], &pose).unwrap_err().to_string();
        assert!(expected.iter().all(|n| text.contains(n)), "{name}: {text}");
    }
    // trackers give more coefficients than they use
    let mut pose = Pose::default();
    pose.set("flame.expression", vec![0.0; 50]);
    body.parameters(&[], &pose).unwrap();
}
