use gav_models::weights::{self, Limits};

use crate::golden::{shared, tensors};

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
