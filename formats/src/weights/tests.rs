//! Every container with the same tensors (`fixtures/weights/make.py`), cut at every byte, with every byte flipped; and hostile pickles.

use super::{Dtype, Limits, TensorMap, read};
use crate::Result;

const FIXTURES: [(&str, &str, &[u8]); 9] = [
    ("legacy", "PyTorch (legacy)", include_bytes!("../../../fixtures/weights/legacy.pth")),
    ("zip", "PyTorch (zip)", include_bytes!("../../../fixtures/weights/zip.pth")),
    ("deflated", "PyTorch (zip)", include_bytes!("../../../fixtures/weights/deflated.pth")),
    ("script", "TorchScript", include_bytes!("../../../fixtures/weights/script.pt")),
    ("tar", "PyTorch (tar)", include_bytes!("../../../fixtures/weights/tar.pth")),
    ("persistence2", "pickle", include_bytes!("../../../fixtures/weights/persistence2.pkl")),
    ("persistence3", "pickle", include_bytes!("../../../fixtures/weights/persistence3.pkl")),
    ("persistence4", "pickle", include_bytes!("../../../fixtures/weights/persistence4.pkl")),
    ("persistence5", "pickle", include_bytes!("../../../fixtures/weights/persistence5.pkl")),
];

fn open(bytes: &[u8]) -> Result<TensorMap<'_>> {
    read(bytes, &Limits::default())
}

/// Names, types, shapes and values that every fixture has.
fn expected() -> Vec<(&'static str, Dtype, Vec<usize>, Vec<f32>)> {
    vec![
        ("bfloat", Dtype::Bf16, vec![2], vec![1.0, -2.0]),
        ("byte", Dtype::U8, vec![1], vec![200.0]),
        ("char", Dtype::I8, vec![1], vec![-1.0]),
        ("conv.bias", Dtype::F32, vec![2], vec![5.0, 6.0]),
        ("conv.weight", Dtype::F32, vec![2, 1, 2, 2], vec![-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5]),
        ("double", Dtype::F64, vec![2, 1], vec![0.1, -7.0]),
        ("fc.weight", Dtype::F32, vec![2, 3], vec![0.0, 2.0, 4.0, 1.0, 3.0, 5.0]),
        ("flag", Dtype::Bool, vec![2], vec![1.0, 0.0]),
        ("half", Dtype::F16, vec![3], vec![0.5, -2.0, 1024.0]),
        ("int", Dtype::I32, vec![1], vec![70000.0]),
        ("long", Dtype::I64, vec![], vec![-3.0]),
        ("short", Dtype::I16, vec![1], vec![-300.0]),
    ]
}

#[test]
fn every_container_gives_the_same_tensors() {
    for (name, container, bytes) in FIXTURES {
        let map = open(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(map.container, container, "{name}");
        let prefix = match container {
            "pickle" => "G_ema.",
            "PyTorch (zip)" if name == "zip" => "state_dict.",
            _ => "",
        };
        let extra: &[&str] = match container {
            "TorchScript" => &["constants.0"],
            "PyTorch (tar)" => &["view"],
            _ => &[],
        };
        let expected = expected();
        let names: Vec<String> = expected.iter().map(|(name, ..)| format!("{prefix}{name}")).collect();
        let found: Vec<&String> = map.tensors.keys().filter(|name| !extra.contains(&name.as_str())).collect();
        assert_eq!(found, names.iter().collect::<Vec<_>>(), "{name}");
        for ((key, dtype, shape, values), full) in expected.into_iter().zip(names) {
            let tensor = map.get(&full).unwrap();
            assert_eq!((tensor.dtype(), tensor.shape(), tensor.to_f32()), (dtype, &shape[..], values), "{name}: {key}");
        }
        for name in extra {
            let values = if *name == "view" { vec![2.0, 3.0, 4.0, 5.0] } else { vec![9.0] };
            assert_eq!(map.get(name).unwrap().to_f32(), values);
        }
    }
}

#[test]
fn every_cut_is_an_error() {
    for (name, container, bytes) in FIXTURES {
        // what follows the last member of a TAR is zeros
        let zeros = if container == "PyTorch (tar)" { bytes.iter().rev().take_while(|b| **b == 0).count() } else { 0 };
        let end = bytes.len() - zeros;
        for length in 0..end {
            assert!(open(&bytes[..length]).is_err(), "{name} cut to {length} of {} bytes is read", bytes.len());
        }
    }
}

#[test]
fn no_flipped_byte_makes_the_reader_panic() {
    for (_, _, bytes) in FIXTURES {
        let mut bytes = bytes.to_vec();
        for at in 0..bytes.len() {
            for mask in [0xff, 0x01, 0x80] {
                bytes[at] ^= mask;
                if let Ok(map) = open(&bytes) {
                    map.tensors.values().for_each(|tensor| assert_eq!(tensor.to_f32().len(), tensor.len()));
                }
                bytes[at] ^= mask;
            }
        }
    }
}

/// Random edits: bytes set, runs copied over each other, parts of one file put into another. `GAV_MUTATIONS` raises the number of rounds.
#[test]
fn no_mutation_makes_the_reader_panic() {
    let rounds = std::env::var("GAV_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let limits = Limits { unpacked_bytes: 1 << 20, visits: 10_000, ..Limits::default() };
    for round in 0..rounds {
        let mut bytes = FIXTURES[round % FIXTURES.len()].2.to_vec();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'(', b'h', b'b', b'R', b'.'][random(10)],
                2 => {
                    let length = 1 + random(24.min(bytes.len() - at));
                    let from = random(bytes.len() - length + 1);
                    let to = at.min(bytes.len() - length);
                    bytes.copy_within(from..from + length, to);
                }
                _ => {
                    let other = FIXTURES[random(FIXTURES.len())].2;
                    let from = random(other.len());
                    let length = 1 + random(64.min(other.len() - from));
                    bytes.splice(at..at, other[from..from + length].iter().copied());
                }
            }
        }
        if let Ok(map) = read(&bytes, &limits) {
            map.tensors.values().for_each(|tensor| assert_eq!(tensor.to_f32().len(), tensor.len()));
        }
    }
}

#[test]
fn safetensors_are_read_too() {
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F16, vec![1, 1], &[0, 0x3c]).unwrap();
    let bytes = safetensors::serialize([("a.b", view)], Some([("k".to_owned(), "v".to_owned())].into())).unwrap();
    let map = open(&bytes).unwrap();
    assert_eq!((map.container, map.get("a.b").unwrap().to_f32()), ("safetensors", vec![1.0]));
    assert_eq!(map.metadata["k"], "v");
    for length in 0..bytes.len() {
        assert!(open(&bytes[..length]).is_err(), "{length}");
    }
}

#[test]
fn other_files_are_named_as_unknown() {
    for bytes in [&b""[..], b"hello", b"\x89PNG\r\n\x1a\n", &[0; 600]] {
        assert_eq!(open(bytes).unwrap_err().code(), "UNKNOWN_FORMAT");
    }
}

#[test]
fn a_call_of_anything_stays_a_name() {
    // cos\nsystem\n(S'touch /tmp/x'\ntR.
    let map = open(b"\x80\x02cos\nsystem\nU\x07touch /\x85R.").unwrap();
    assert!(map.tensors.is_empty());
}

/// A list that holds the previous list twice, and so on: 2^n ways to the innermost value.
#[test]
fn shared_values_cannot_make_the_walk_explode() {
    let mut pickle = b"\x80\x02]".to_vec();
    for _ in 0..50 {
        pickle.extend(b"q\x00]h\x00ah\x00a");
    }
    pickle.push(b'.');
    assert_eq!(open(&pickle).unwrap_err().code(), "LIMIT");
}

#[test]
fn deep_and_cyclic_values_end() {
    let mut deep = b"\x80\x02".to_vec();
    deep.extend(b"]".repeat(100_000));
    deep.extend(b"a".repeat(99_999));
    deep.push(b'.');
    assert_eq!(open(&deep).unwrap_err().code(), "LIMIT");
    // a dictionary that holds itself
    assert!(open(b"\x80\x02}q\x00U\x01ah\x00s.").unwrap().tensors.is_empty());
    // parameters of parameters
    let mut wrapped = b"\x80\x02".to_vec();
    wrapped.extend(b"ctorch._utils\n_rebuild_parameter\n".repeat(50_000));
    wrapped.push(b'N');
    wrapped.extend(b"\x85R".repeat(50_000));
    wrapped.push(b'.');
    assert!(open(&wrapped).unwrap().tensors.is_empty());
    let marks = [&b"\x80\x02"[..], &b"(".repeat(5000)[..], b"."].concat();
    assert_eq!(open(&marks).unwrap_err().code(), "LIMIT");
}

#[test]
fn a_tensor_cannot_claim_more_than_its_storage() {
    // the shape (2, 1, 2, 2) of conv.weight with its strides (4, 4, 2, 1), as small integers
    let (_, _, legacy) = FIXTURES[0];
    let shape = b"(K\x02K\x01K\x02K\x02t";
    let at = legacy.windows(shape.len()).position(|w| w == shape).unwrap();
    for offset in [2, 4, 6, 8] {
        let mut bytes = legacy.to_vec();
        bytes[at + offset] = 200;
        assert_eq!(open(&bytes).unwrap_err().code(), "LAYOUT");
    }
}

#[test]
fn compressed_members_stop_at_the_limit() {
    let (_, _, deflated) = FIXTURES[2];
    let limits = Limits { unpacked_bytes: 100, ..Limits::default() };
    assert_eq!(read(deflated, &limits).unwrap_err().code(), "LIMIT");
}
