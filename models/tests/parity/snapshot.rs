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
