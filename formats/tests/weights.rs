//! Weight files and pickles that other programs wrote, from the reference data.

use std::path::PathBuf;

use gav_formats::{
    npy::NpyType,
    weights::{self, Arrays, Limits, read_arrays},
};

/// A file of the reference data, or `None` with a loud line when the folder is absent.
fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GAV_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there; set GAV_SHARED to the folder of reference data", path.display());
        return None;
    }
    Some(path)
}

/// Reads a weight file that must be good.
fn tensors(file: &[u8]) -> weights::TensorMap<'_> {
    weights::read(file, &Limits::default()).unwrap()
}

#[test]
fn a_training_snapshot_gives_every_expected_tensor() {
    let (Some(snapshot), Some(expected)) = (
        shared("parity/cgs-gan/parity_snapshot_small.pkl"),
        shared("parity/cgs-gan/parity_snapshot_small_expected.safetensors"),
    ) else {
        return;
    };
    let (snapshot, expected) = (std::fs::read(snapshot).unwrap(), std::fs::read(expected).unwrap());
    let found = tensors(&snapshot);
    let expected = tensors(&expected);
    assert_eq!(found.container, "pickle");
    assert!(expected.tensors.len() > 100);
    for (name, tensor) in &expected.tensors {
        let same = found.get(name).unwrap_or_else(|| panic!("`{name}` is missing"));
        assert_eq!((same.shape(), same.to_f32()), (tensor.shape(), tensor.to_f32()), "{name}");
    }
    for network in ["G.", "D.", "G_ema."] {
        let of = |map: &weights::TensorMap<'_>| map.tensors.keys().filter(|name| name.starts_with(network)).count();
        assert_eq!(of(&found), of(&expected), "{network}");
    }
}

#[test]
fn a_cut_snapshot_is_an_error() {
    let Some(snapshot) = shared("parity/cgs-gan/parity_snapshot_small.pkl") else { return };
    let snapshot = std::fs::read(snapshot).unwrap();
    for eighth in 0..8 {
        let cut = &snapshot[..snapshot.len() * eighth / 8 + eighth];
        assert!(weights::read(cut, &Limits::default()).is_err(), "{} bytes", cut.len());
    }
}

#[test]
fn a_real_torchscript_archive_gives_its_tensors() {
    let (Some(archive), Some(expected)) =
        (shared("parity/sigman/tiny_sapiens_torchscript.pt2"), shared("parity/sigman/parity_sapiens_tiny.safetensors"))
    else {
        return;
    };
    let (archive, expected) = (std::fs::read(archive).unwrap(), std::fs::read(expected).unwrap());
    let (found, expected) = (tensors(&archive), tensors(&expected));
    assert_eq!(found.container, "TorchScript");
    let weights = expected.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("w.")?, tensor)));
    let weights: Vec<_> = weights.collect();
    assert_eq!(weights.len(), found.tensors.len());
    for (name, tensor) in weights {
        let same = found.get(name).unwrap_or_else(|| panic!("`{name}` is missing"));
        assert_eq!((same.shape(), same.to_f32()), (tensor.shape(), tensor.to_f32()), "{name}");
    }
}

#[test]
fn pickles_of_python_2_and_3_are_trees() {
    for name in ["py2_proto0_chumpy", "py2_proto2_chumpy", "py3_proto4_numpy"] {
        let Some(path) = shared(&format!("parity/stga/mini_flame_{name}.pkl")) else { return };
        let bytes = std::fs::read(path).unwrap();
        let tree = weights::pickle::read(&bytes, &Default::default()).unwrap();
        for key in ["v_template", "shapedirs", "f", "J_regressor", "kintree_table"] {
            assert!(tree.get(tree.root(), key).is_some(), "{name}: {key}");
        }
    }
}

fn arrays(file: &[u8]) -> Arrays {
    read_arrays(file, &Limits::default()).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn numpy_pickles_of_every_protocol_are_equal() {
    for protocol in 0..=5 {
        let path = format!("{}/../fixtures/arrays/protocol{protocol}.pkl", env!("CARGO_MANIFEST_DIR"));
        let found = arrays(&std::fs::read(path).unwrap());
        let cube = |j: usize, k: usize, i: usize| (12 * i + 4 * j + k) as f64;
        let transposed = (0..24).map(|n| cube(n / 8, n / 2 % 4, n % 2)).collect();
        let grid = vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let expected: Vec<(&str, NpyType, &[usize], Vec<f64>)> = vec![
            ("big", NpyType::F64, &[2, 3], grid.clone()),
            ("columns", NpyType::F32, &[2, 3], grid.clone()),
            ("empty", NpyType::F32, &[0, 3], vec![]),
            ("flags", NpyType::Bool, &[2], vec![1.0, 0.0]),
            ("half", NpyType::F16, &[2], vec![0.5, -2.0]),
            ("list", NpyType::F64, &[2], vec![1.0, 2.5]),
            ("nested.a.b", NpyType::I64, &[], vec![-1.0]),
            ("nested.c.0", NpyType::F32, &[3], vec![0.0, 1.0, 2.0]),
            ("number", NpyType::I64, &[], vec![3.0]),
            ("objects.0.k", NpyType::I64, &[], vec![1.0]),
            ("rows", NpyType::F32, &[2, 3], grid),
            ("scalar", NpyType::F64, &[], vec![0.25]),
            ("set", NpyType::I64, &[1], vec![4.0]),
            ("single", NpyType::I32, &[], vec![7.0]),
            ("strided", NpyType::I16, &[2, 2], vec![1.0, 9.0, 13.0, 21.0]),
            ("transposed", NpyType::I16, &[3, 4, 2], transposed),
            ("wide", NpyType::U64, &[1], vec![9_223_372_036_854_775_808.0]),
        ];
        let of_found = found.arrays.iter().map(|(name, a)| (name.as_str(), a.dtype, &a.shape[..], a.to_f64()));
        assert_eq!(of_found.collect::<Vec<_>>(), expected, "protocol {protocol}");
        let texts: Vec<(&str, &str)> = found.texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(texts, [("nested.c.1", "x"), ("objects.2", "y"), ("text", "naïve")], "protocol {protocol}");
        assert_eq!(found.skipped, ["complex", "names", "record"], "protocol {protocol}");
    }
}

#[test]
fn three_generations_of_flame_pickles_hold_the_golden_model() {
    let Some(golden) = shared("parity/stga/parity_flame_lbs.safetensors") else { return };
    let golden = arrays(&std::fs::read(golden).unwrap());
    for name in ["py2_proto0_chumpy", "py2_proto2_chumpy", "py3_proto4_numpy"] {
        let Some(path) = shared(&format!("parity/stga/mini_flame_{name}.pkl")) else { return };
        let found = arrays(&std::fs::read(path).unwrap());
        for key in ["v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f"] {
            let (array, expected) = (found.get(key), golden.get(&format!("model.{key}")).unwrap());
            let array = array.unwrap_or_else(|| panic!("{name}: no `{key}`"));
            let (mut shape, mut values) = (expected.shape.clone(), expected.to_f64());
            if name == "py2_proto0_chumpy" && key == "shapedirs" {
                // this file holds the first eight columns only
                values = values.chunks_exact(shape[2]).flat_map(|row| row[..8].to_vec()).collect();
                shape[2] = 8;
            }
            assert_eq!((&array.shape, array.to_f64()), (&shape, values), "{name}: {key}");
        }
        assert_eq!(found.texts["bs_style"], "lbs", "{name}");
    }
    let Some(masks) = shared("parity/stga/mini_masks_py3_proto2.pkl") else { return };
    let masks = arrays(&std::fs::read(masks).unwrap());
    assert_eq!(masks.arrays.len(), 4);
    assert!(masks.arrays.values().all(|mask| mask.dtype == NpyType::I64 && mask.shape.len() == 1 && !mask.is_empty()));
}

#[test]
fn tracker_frames_of_both_containers_hold_the_expected_values() {
    let Some(folder) = shared("parity/rgbavatar/fixtures") else { return };
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    for (file, frame) in
        [("00000.frame", "00000"), ("00001.frame", "00001"), ("legacy_container.frame", "legacy_container")]
    {
        let found = arrays(&std::fs::read(folder.join(file)).unwrap());
        let Some(expected) = expected.get(frame).or_else(|| expected.get("00001")) else { panic!("{frame}") };
        let mut checked = 0;
        check(&found, expected, "", &mut checked);
        assert!(checked > 15, "{file}: {checked} values");
        assert!(found.skipped.is_empty(), "{file}: {:?}", found.skipped);
    }
}

/// Compares a branch of `expected.json`: texts, numbers, nested lists of them, or a digest of a longer array.
fn check(found: &Arrays, expected: &serde_json::Value, name: &str, checked: &mut usize) {
    use serde_json::Value;
    let array = || found.get(name).unwrap_or_else(|| panic!("no `{name}`"));
    *checked += 1;
    match expected {
        Value::String(text) => assert_eq!(&found.texts[name], text, "{name}"),
        Value::Number(number) => assert_eq!(array().to_f64(), [number.as_f64().unwrap()], "{name}"),
        Value::Array(_) => {
            let mut flat = vec![expected];
            while flat.iter().any(|v| v.is_array()) {
                flat = flat.into_iter().flat_map(|v| v.as_array().unwrap()).collect();
            }
            let values: Vec<f64> = flat.iter().map(|v| v.as_f64().unwrap()).collect();
            assert_eq!(array().to_f64(), values, "{name}");
        }
        Value::Object(fields) if fields.contains_key("first5") => {
            let (values, array) = (array().to_f64(), array());
            let shape: Vec<usize> = serde_json::from_value(fields["shape"].clone()).unwrap();
            let first: Vec<f64> = serde_json::from_value(fields["first5"].clone()).unwrap();
            assert_eq!((&array.shape, &values[..first.len()]), (&shape, &first[..]), "{name}");
            // the digest was summed in another order and in float32
            let sum: f64 = values.iter().sum();
            assert!((sum - fields["sum"].as_f64().unwrap()).abs() < 1e-4, "{name}: {sum}");
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                check(found, value, &name, checked);
            }
        }
        other => panic!("{name}: {other}"),
    }
}

#[test]
fn body_model_archives_hold_the_golden_model() {
    let Some(golden) = shared("parity/sigman/parity_smplx_lbs.safetensors") else { return };
    let golden = arrays(&std::fs::read(golden).unwrap());
    for name in ["stored", "deflate"] {
        let Some(path) = shared(&format!("parity/sigman/mini_smplx_{name}.npz")) else { return };
        let found = arrays(&std::fs::read(path).unwrap());
        assert_eq!(found.container, "npz");
        let mut compared = 0;
        for (key, expected) in golden.arrays.iter().filter_map(|(k, a)| Some((k.strip_prefix("model.")?, a))) {
            let Some(array) = found.get(key) else { continue };
            // some members are stored as f32
            assert_eq!((&array.shape, array.to_f32()), (&expected.shape, expected.to_f32()), "{name}: {key}");
            compared += 1;
        }
        assert!(compared >= 8, "{name}: {compared} arrays");
        assert_eq!(found.skipped, ["joint2num", "part2num"], "{name}");
    }
}

#[test]
fn a_training_snapshot_gives_its_tensors_as_arrays() {
    let Some(path) = shared("parity/cgs-gan/parity_snapshot_small.pkl") else { return };
    let bytes = std::fs::read(path).unwrap();
    let (found, expected) = (arrays(&bytes), tensors(&bytes));
    assert_eq!(found.arrays.len(), expected.tensors.len());
    for (name, tensor) in &expected.tensors {
        let array = &found.arrays[name];
        assert_eq!((&array.shape[..], array.to_f32()), (tensor.shape(), tensor.to_f32()), "{name}");
    }
}
