//! SMPL, SMPL-X and a free body in their layout.

use gav_formats::{
    DType, Limits, NamedArray, TemplateFamily,
    npy::{NpyType, read_npz},
};
use gav_kernels::Real;
use gav_models::body::{Body, Parameters, Rotation, smplx::SmplX};

use crate::golden::{Golden, assert_close, shared, to, triple, triples, upper_rows};

/// As the golden files ask for in f64.
const F64: [f64; 2] = [1e-9, 0.0];
/// As they suggest in f32.
const F32: [f64; 2] = [2e-5, 1e-4];

fn values<T: Real>(golden: &Golden, prefix: &str) -> SmplX<T> {
    let get = |key: &str| golden.get(&format!("{prefix}in.{key}"));
    SmplX {
        betas: to(get("betas")),
        expression: to(get("expression")),
        global_orient: triple(get("global_orient")),
        body_pose: triples(get("body_pose")),
        jaw_pose: triple(get("jaw_pose")),
        leye_pose: triple(get("leye_pose")),
        reye_pose: triple(get("reye_pose")),
        left_hand_pose: to(get("left_hand_pose")),
        right_hand_pose: to(get("right_hand_pose")),
        transl: triple(get("transl")),
        flat_hand_mean: None,
    }
}

fn compare_hands<T: Real>(golden: &Golden, tolerance: [f64; 2]) {
    let body: Body<T> = Body::from_arrays(TemplateFamily::SmplX, &golden.arrays("model.")).unwrap();
    assert_eq!((body.shape_count(), body.expression_count(), body.joint_count()), (10, 10, 55));
    for (mode, flat) in [("pca12", None), ("pca6flat", Some(true)), ("aa45", None), ("aa45mean", Some(false))] {
        let parameters = body.smplx(&SmplX { flat_hand_mean: flat, ..values(golden, &format!("{mode}.")) }).unwrap();
        let posed = body.pose(&parameters);
        let out = |key: &str| golden.get(&format!("{mode}.out.{key}"));
        let full: Vec<T> = (parameters.rotations.iter())
            .flat_map(|r| match r {
                Rotation::AxisAngle(r) => *r,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_close("full_pose", &full, out("full_pose"), tolerance);
        assert_close("rot_mats", posed.rotations.as_flattened().as_flattened(), out("rot_mats"), tolerance);
        assert_close("rest_joints", posed.rest_joints.as_flattened(), out("rest_joints"), tolerance);
        let difference = |a: &[[T; 3]], b: &[[T; 3]]| -> Vec<T> {
            a.as_flattened().iter().zip(b.as_flattened()).map(|(a, b)| *a - *b).collect()
        };
        let shape_offset = difference(&posed.shaped, body.rest_vertices());
        assert_close("shape_offset", &shape_offset, out("shape_offset"), tolerance);
        assert_close("pose_offset", &difference(&posed.corrected, &posed.shaped), out("pose_offset"), tolerance);
        let transforms = posed.transforms.as_flattened().as_flattened();
        assert_close("A", transforms, &upper_rows(out("A")), tolerance);
        assert_close("joints", posed.joints.as_flattened(), out("joints"), tolerance);
        assert_close("vertices", posed.vertices.as_flattened(), out("vertices"), tolerance);
    }
}

#[test]
fn smplx_is_the_golden_one_in_four_modes_of_hands() {
    let Some(golden) = Golden::open("sigman/parity_smplx_lbs") else { return };
    compare_hands::<f64>(&golden, F64);
    compare_hands::<f32>(&golden, F32);
}

/// The arrays of a `.npz`.
fn npz(name: &str) -> Option<Vec<NamedArray>> {
    let bytes = std::fs::read(shared(name)?).unwrap();
    let arrays = read_npz(&bytes, &Limits::default()).unwrap().arrays.into_iter();
    let named = |(name, array): (String, gav_formats::npy::NpyArray)| {
        let shape = array.shape.iter().map(|d| *d as u32).collect();
        let (dtype, data) = match array.dtype {
            NpyType::F32 => (DType::F32, array.data),
            NpyType::U32 => (DType::U32, array.data),
            _ => (DType::F64, array.to_f64().iter().flat_map(|v| v.to_le_bytes()).collect()),
        };
        NamedArray { name, dtype, shape, data }
    };
    Some(arrays.map(named).collect())
}

#[test]
fn archives_of_smplx_are_read_like_their_golden_model() {
    let Some(golden) = Golden::open("sigman/parity_smplx_lbs") else { return };
    let expected: Body<f64> = Body::from_arrays(TemplateFamily::SmplX, &golden.arrays("model.")).unwrap();
    for name in ["stored", "deflate"] {
        let arrays = npz(&format!("parity/sigman/mini_smplx_{name}.npz")).unwrap();
        let found: Body<f64> = Body::from_arrays(TemplateFamily::SmplX, &arrays).unwrap();
        let [a, b] = [&expected, &found].map(|body| {
            let posed = body.pose(&body.smplx(&values(&golden, "pca12.")).unwrap());
            posed.vertices
        });
        // the archive stores some arrays as f32
        for (a, b) in a.as_flattened().iter().zip(b.as_flattened()) {
            assert!((a - b).abs() < 1e-6, "{name}: {a} {b}");
        }
        assert_eq!(found.uvs().len(), 66);
    }
}

fn compare_free_body<T: Real>(golden: &Golden, arrays: &[NamedArray], tolerance: [f64; 2]) {
    let body: Body<T> = Body::from_arrays(TemplateFamily::Custom, arrays).unwrap();
    assert_eq!((body.vertex_count(), body.faces().len(), body.joint_count()), (13_524, 27_036, 55));
    assert_eq!(body.joint_names()[54], "right_thumb3");
    let posed = body.pose(&body.smplx(&values(golden, "")).unwrap());
    assert_close("rest_joints", posed.rest_joints.as_flattened(), golden.get("out.rest_joints"), tolerance);
    assert_close("joints", posed.joints.as_flattened(), golden.get("out.joints"), tolerance);
    let transforms = posed.transforms.as_flattened().as_flattened();
    assert_close("A", transforms, &upper_rows(golden.get("out.A")), tolerance);
    let index = golden.get("out.vertex_index");
    let vertices: Vec<T> = index.iter().flat_map(|v| posed.vertices[*v as usize]).collect();
    assert_close("vertices", &vertices, golden.get("out.vertices"), tolerance);
}

#[test]
fn a_free_body_of_13524_vertices_is_posed_as_its_golden_vectors_say() {
    let Some(golden) = Golden::open("sigman/parity_makehuman_lbs") else { return };
    let Some(arrays) = npz("data/makehuman-body/makehuman_cc0_smplxlike.npz") else { return };
    compare_free_body::<f64>(&golden, &arrays, F64);
    compare_free_body::<f32>(&golden, &arrays, F32);
}

fn compare_smpl<T: Real>(golden: &Golden, tolerance: [f64; 2]) {
    let mut arrays = golden.arrays("");
    arrays.push(NamedArray { name: "f".into(), dtype: DType::U8, shape: vec![1, 3], data: vec![0, 1, 2] });
    let body: Body<T> = Body::from_arrays(TemplateFamily::Smpl, &arrays).unwrap();
    for case in 0..3 {
        let row = |key: &str| golden.row(key, case);
        let out = |key: &str| golden.row(&format!("out.{key}"), case);
        let parameters = Parameters {
            shape: to(row("betas")),
            rotations: triples(row("pose")).into_iter().map(Rotation::AxisAngle).collect(),
            translation: triple(row("transl")),
            ..Parameters::default()
        };
        let mut posed = body.pose(&parameters);
        assert_close("v_shaped", posed.shaped.as_flattened(), out("v_shaped"), tolerance);
        assert_close("v_posed", posed.corrected.as_flattened(), out("v_posed"), tolerance);
        assert_close("rot_mats", posed.rotations.as_flattened().as_flattened(), out("rot_mats"), tolerance);
        assert_close("joints_rest", posed.rest_joints.as_flattened(), out("joints_rest"), tolerance);
        posed.scale_like_ag3d(T::of(row("scale")[0]));
        assert_close("verts", posed.vertices.as_flattened(), out("verts"), tolerance);
        assert_close("joints", posed.joints.as_flattened(), out("joints"), tolerance);
        assert_close("A", posed.transforms.as_flattened().as_flattened(), &upper_rows(out("A")), tolerance);
    }
}

#[test]
fn smpl_is_the_golden_one_with_the_published_scale() {
    let Some(golden) = Golden::open("ag3d/parity_smpl_lbs_f64") else { return };
    compare_smpl::<f64>(&golden, F64);
    compare_smpl::<f32>(&golden, F32);
}
