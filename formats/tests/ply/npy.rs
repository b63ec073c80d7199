//! NumPy arrays and archives.

use gav_formats::{
    Limits,
    npy::{NpyArray, NpyType, read_npy, read_npz, write_npy, write_npz},
};

use crate::support::{code, shared};

/// A version 1.0 file with this header dictionary.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(data);
    bytes
}

fn array(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> gav_formats::Result<NpyArray> {
    let flag = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': '{descr}', 'fortran_order': {flag}, 'shape': {shape}, }}\n");
    read_npy(&file(&header, data), &Limits::default())
}

#[test]
fn every_numeric_type_is_read_in_both_byte_orders() {
    for (descr, little) in [
        ("|b1", vec![1u8]),
        ("|u1", vec![1]),
        ("|i1", vec![1]),
        ("<u2", vec![1, 0]),
        ("<i2", vec![1, 0]),
        ("<u4", vec![1, 0, 0, 0]),
        ("<i4", vec![1, 0, 0, 0]),
        ("<u8", vec![1, 0, 0, 0, 0, 0, 0, 0]),
        ("<i8", vec![1, 0, 0, 0, 0, 0, 0, 0]),
        ("<f2", vec![0, 0x3c]),
        ("<f4", 1f32.to_le_bytes().to_vec()),
        ("<f8", 1f64.to_le_bytes().to_vec()),
    ] {
        let one = array(descr, false, "()", &little).unwrap();
        assert_eq!((one.to_f64(), one.to_f32(), one.to_i64().unwrap()), (vec![1.0], vec![1.0], vec![1]), "{descr}");
        assert_eq!(read_npy(&write_npy(&one), &Limits::default()).unwrap(), one);
        let big: Vec<u8> = little.iter().rev().copied().collect();
        assert_eq!(array(&descr.replace('<', ">"), false, "()", &big).unwrap(), one, "{descr}");
    }
    let half = array("<f4", false, "(1,)", &0.5f32.to_le_bytes()).unwrap();
    assert_eq!(code(half.to_i64()), "VALUE");
    assert_eq!(code(array("<u8", false, "(1,)", &[0xff; 8]).unwrap().to_i64()), "VALUE");
}

#[test]
fn fortran_order_is_turned_around() {
    let data: Vec<u8> = (0..24).collect();
    let c = array("|u1", false, "(2, 3, 4)", &data).unwrap();
    let f = array("|u1", true, "(2, 3, 4L,)", &data).unwrap();
    for (i, j, k) in (0..2).flat_map(|i| (0..3).flat_map(move |j| (0..4).map(move |k| (i, j, k)))) {
        assert_eq!(c.data[(i * 3 + j) * 4 + k], ((i * 3 + j) * 4 + k) as u8);
        assert_eq!(f.data[(i * 3 + j) * 4 + k], (i + 2 * (j + 3 * k)) as u8);
    }
    assert_eq!(array("|u1", true, "(0, 3)", &[]).unwrap().shape, [0, 3]);
}

#[test]
fn what_is_no_number_is_refused_by_name() {
    for descr in ["|O", "<U7", "|S3", "<c8", "<M8[ns]", "", "é", "<f16"] {
        assert_eq!(code(array(descr, false, "(1,)", &[0; 8])), "UNSUPPORTED", "{descr}");
    }
    let record = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}";
    assert_eq!(code(read_npy(&file(record, &[0; 4]), &Limits::default())), "UNSUPPORTED");
    for header in [
        "",
        "{}",
        "{'descr': '<f4'}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': ()}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os'),)}",
        "{'descr': '<f4' 'fortran_order': False, 'shape': ()}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}",
    ] {
        assert_eq!(code(read_npy(&file(header, &[0; 4]), &Limits::default())), "HEADER", "{header}");
    }
    assert_eq!(code(array("<f4", false, "(4294967296, 4294967296)", &[])), "VALUE");
    assert_eq!(code(array("<f4", false, "(0, 4294967296, 4294967295)", &[])), "OK");
    assert_eq!(code(array("<f4", false, "(4294967296,)", &[])), "LIMIT");
    assert_eq!(code(array("<f4", false, "(2,)", &[0; 7])), "TRUNCATED");
    assert_eq!(code(array("<f4", false, "(2,)", &[0; 9])), "TRAILING");
}

#[test]
fn damaged_arrays_and_archives_are_errors_not_panics() {
    let array = NpyArray::from_f32(vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let bytes = write_npy(&array);
    assert_eq!(bytes.len() % 64, 24);
    assert_eq!(bytes.len() - 24, 128);
    let archive = write_npz(&[("a".to_owned(), array.clone()), ("b".to_owned(), array)]).unwrap();
    let limits = Limits::default();
    for length in 0..bytes.len() {
        assert!(read_npy(&bytes[..length], &limits).is_err());
    }
    for length in 0..archive.len() {
        assert!(read_npz(&archive[..length], &limits).is_err());
    }
    for value in [0, 1, 0x7f, 0x80, 0xff] {
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            let _ = read_npy(&damaged, &limits);
        }
        for at in 0..archive.len() {
            let mut damaged = archive.clone();
            damaged[at] = value;
            let _ = read_npz(&damaged, &limits);
        }
    }
}

#[test]
fn archives_may_not_unpack_beyond_the_limits() {
    let zeros = NpyArray { dtype: NpyType::U8, shape: vec![1 << 20], data: vec![0; 1 << 20] };
    let archive = write_npz(&[("a".to_owned(), zeros.clone()), ("b".to_owned(), zeros)]).unwrap();
    assert!(archive.len() < 10_000);
    for (decoded_bytes, expected) in [(3 << 20, "OK"), (3 << 19, "LIMIT"), (1 << 19, "LIMIT")] {
        let limits = Limits { decoded_bytes, ..Limits::default() };
        assert_eq!(code(read_npz(&archive, &limits)), expected);
    }
    assert_eq!(code(read_npz(&archive, &Limits { entries: 1, ..Limits::default() })), "LIMIT");
}

#[test]
fn archives_of_numpy_are_read_stored_and_deflated() {
    let (Some(stored), Some(deflated), Some(parity)) = (
        shared("parity/sigman/mini_smplx_stored.npz"),
        shared("parity/sigman/mini_smplx_deflate.npz"),
        shared("parity/sigman/parity_smplx_lbs.safetensors"),
    ) else {
        return;
    };
    let open = |path| read_npz(&std::fs::read(path).unwrap(), &Limits::default()).unwrap();
    let (stored, deflated) = (open(stored), open(deflated));
    assert_eq!(stored, deflated);
    let mut skipped = stored.skipped.clone();
    skipped.sort();
    assert_eq!(skipped, ["joint2num", "part2num"]);

    let bytes = std::fs::read(parity).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut compared = 0;
    for (name, array) in &stored.arrays {
        let Ok(view) = tensors.tensor(&format!("model.{name}")) else { continue };
        assert_eq!(view.shape(), array.shape, "{name}");
        match view.dtype() {
            safetensors::Dtype::I64 => {
                let expected: Vec<i64> =
                    view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect();
                assert_eq!(array.to_i64().unwrap(), expected, "{name}");
            }
            dtype => {
                let size = dtype.bitsize() / 8;
                let float = |b: &[u8]| match size {
                    8 => f64::from_le_bytes(b.try_into().unwrap()) as f32,
                    _ => f32::from_le_bytes(b.try_into().unwrap()),
                };
                let expected: Vec<f32> = view.data().chunks_exact(size).map(float).collect();
                assert_eq!(array.to_f32(), expected, "{name}");
            }
        }
        compared += 1;
    }
    assert!(compared >= 5, "only {compared} arrays compared");
}
