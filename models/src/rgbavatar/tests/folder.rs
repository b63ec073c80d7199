//! Folders of the tracker: control vectors, meshes and cameras against golden vectors, fixtures and what files hold.

use std::{fs, path::Path};

use gav_formats::{DType, NamedArray, TemplateFamily};

use super::{
    Frame, capture, disc,
    parity::{Golden, close, shared},
    sheet,
};
use crate::{
    body::{Body, Parameters, Rotation},
    rgbavatar::{Dataset, DatasetOptions, Options},
};

fn folders(root: &Path) {
    for name in ["checkpoint", "images"] {
        fs::create_dir(root.join(name)).unwrap();
    }
}

/// The miniature FLAME of the vectors with as many columns as the real one, so that checkpoints fit.
fn flame(golden: &Golden) -> Body<f32> {
    let array = |name: &str, shape: &[u32], values: &[f64]| NamedArray {
        name: name.to_owned(),
        dtype: DType::F64,
        shape: shape.to_vec(),
        data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    let words = |name: &str, shape: &[u32], values: &[u32]| NamedArray {
        name: name.to_owned(),
        dtype: DType::U32,
        shape: shape.to_vec(),
        data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    let mut arrays: Vec<NamedArray> =
        ["v_template", "posedirs", "l_eyelid", "r_eyelid", "J_regressor", "lbs_weights", "parents"]
            .map(|name| {
                let (shape, values) = golden.array(&format!("flame.{name}"));
                array(name, &shape.iter().map(|d| *d as u32).collect::<Vec<_>>(), &values)
            })
            .to_vec();
    let mut directions = Vec::new();
    for row in golden.get("flame.shapedirs").chunks_exact(7) {
        let mut wide = vec![0.0; 400];
        wide[..3].copy_from_slice(&row[..3]);
        wide[300..304].copy_from_slice(&row[3..]);
        directions.extend(wide);
    }
    arrays.push(array("shapedirs", &[30, 3, 400], &directions));
    arrays.push(words("f", &[1, 3], &[0, 1, 2]));
    arrays.push(array("vt", &[3, 2], &[0.1, 0.1, 0.9, 0.1, 0.1, 0.9]));
    arrays.push(words("ft", &[1, 3], &[0, 1, 2]));
    Body::from_arrays(TemplateFamily::Flame2020, &arrays).unwrap()
}

#[test]
fn control_vectors_and_meshes_of_a_folder_are_the_golden_ones() {
    let Some(golden) = Golden::open() else { return };
    let folder = tempfile::tempdir().unwrap();
    folders(folder.path());
    let k = golden.get("flame.in.K");
    for index in 0..3 {
        let row = |key: &str| golden.row::<f64>(&format!("flame.in.{key}"), index);
        let frame = Frame {
            expression: row("exp"),
            shape: row("shape"),
            jaw: row("jaw"),
            eyes: row("eyes"),
            eyelids: row("eyelids"),
            rotation: row("opencv_R"),
            translation: row("opencv_t"),
            intrinsics: [k[0], k[4], k[2], k[5]],
            size: [512, 512],
        };
        frame.write(&folder.path().join(format!("checkpoint/{index:05}.frame")), None);
        fs::write(folder.path().join(format!("images/{index:05}.png")), b"").unwrap();
    }
    let data = Dataset::open(folder.path(), flame(&golden), &Options::offline(), 1 << 20).unwrap();
    assert_eq!((data.frames.len(), data.tested, data.warnings.len()), (3, 0, 0));
    for (index, frame) in data.frames.iter().enumerate() {
        let expected = golden.row::<f64>("flame.theta", index);
        // positions of a tenth of a metre and unit vectors, in f32
        close("expression", &data.theta(index)[..4], &expected[..4], 1e-6);
        assert!(data.theta(index)[4..100].iter().all(|v| *v == 0.0));
        close("theta", &data.theta(index)[100..], &expected[4..], 2e-6);
        close("mesh", frame.vertices.as_flattened(), &golden.row::<f64>("flame.mesh_world", index), 2e-6);
    }
    let camera = &data.camera;
    let expected: Vec<f64> = golden.get("camera.w2c")[..12].to_vec();
    close("w2c", camera.camera_from_world.as_flattened(), &expected, 1e-7);
    // the published projection, column 3 of which has the principal point; rows of x and y
    let projection = golden.get("camera.proj");
    let [w, h] = [f64::from(camera.width), f64::from(camera.height)];
    let found = [
        2.0 * camera.focal[0] / w,
        -1.0 + 2.0 * camera.principal[0] / w,
        2.0 * camera.focal[1] / h,
        -1.0 + 2.0 * camera.principal[1] / h,
    ];
    close("projection", &found, &[projection[0], projection[2], projection[5], projection[6]], 1e-7);
}

#[test]
fn checkpoints_of_the_tracker_are_read_with_their_camera() {
    let (Some(golden), Some(fixtures)) = (Golden::open(), shared("fixtures")) else { return };
    let folder = tempfile::tempdir().unwrap();
    folders(folder.path());
    // the third is in the container of older versions
    let names = ["00000.frame", "00001.frame", "legacy_container.frame"];
    for (index, name) in names.iter().enumerate() {
        fs::copy(fixtures.join(name), folder.path().join(format!("checkpoint/{index:05}.frame"))).unwrap();
        fs::write(folder.path().join(format!("images/{index:05}.png")), b"").unwrap();
    }
    let text = fs::read_to_string(fixtures.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let numbers = |value: &serde_json::Value| -> Vec<f64> {
        fn flat(value: &serde_json::Value, out: &mut Vec<f64>) {
            match value {
                serde_json::Value::Array(values) => values.iter().for_each(|v| flat(v, out)),
                other => out.extend(other.as_f64()),
            }
        }
        let mut out = Vec::new();
        flat(value, &mut out);
        out
    };
    let data = Dataset::open(folder.path(), flame(&golden), &Options::offline(), 1 << 20).unwrap();
    let first = &expected["00000"];
    let k = numbers(&first["opencv"]["K"]);
    assert_eq!((data.camera.width, data.camera.height), (512, 512));
    assert_eq!((data.camera.focal, data.camera.principal), ([k[0], k[4]], [k[2], k[5]]));
    let t = numbers(&first["opencv"]["t"]);
    close("t", &[0, 1, 2].map(|r| data.camera.camera_from_world[r][3]), &t, 1e-7);
    for (index, key) in ["00000", "00001"].into_iter().enumerate() {
        let (frame, expected) = (data.theta(index), &expected[key]);
        close("expression", &frame[..5], &numbers(&expected["flame"]["exp"]["first5"]), 0.0);
        let r = numbers(&expected["opencv"]["R"]);
        close("neck", &frame[100..106], &[r[0], r[1], r[2], -r[3], -r[4], -r[5]], 1e-6);
        for (first, count) in [(106, 6), (112, 6), (118, 6)] {
            let [a, b]: [&[f32]; 2] = [&frame[first..first + 3], &frame[first + 3..first + count]];
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            assert!((dot(a, a) - 1.0).abs() < 1e-6 && (dot(b, b) - 1.0).abs() < 1e-6 && dot(a, b).abs() < 1e-6);
        }
    }
}

#[test]
fn without_the_rotation_of_the_neck_the_whole_mesh_turns() {
    let folder = tempfile::tempdir().unwrap();
    let size = [14, 20];
    capture(folder.path(), 2, size, |k| disc(k, size));
    let dataset = DatasetOptions { retarget_neck: false, ..Options::offline().dataset };
    let options = Options { dataset, ..Options::offline() };
    let data = Dataset::open(folder.path(), sheet(), &options, 1 << 20).unwrap();
    let (first, frame) = (Frame::of(0, size), Frame::of(1, size));
    let narrow = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let six = |v: &[f64]| Rotation::SixD(std::array::from_fn(|k| v[k] as f32));
    let straight = Rotation::default();
    let plain = sheet().pose(&Parameters {
        shape: narrow(&frame.shape),
        expression: narrow(&frame.expression),
        extras: narrow(&frame.eyelids),
        rotations: vec![straight, straight, six(&frame.jaw), six(&frame.eyes[..6]), six(&frame.eyes[6..])],
        ..Parameters::default()
    });
    for (v, found) in plain.vertices.iter().zip(&data.frames[1].vertices) {
        for r in 0..3 {
            let sign = if r == 0 { 1.0 } else { -1.0 };
            let place: f64 = (0..3).map(|c| frame.rotation[3 * r + c] * f64::from(v[c])).sum();
            let expected = sign * (place + frame.translation[r] - first.translation[r]);
            assert!((f64::from(found[r]) - expected).abs() < 1e-6, "{found:?} {expected}");
        }
    }
}
