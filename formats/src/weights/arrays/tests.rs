//! Pickles composed by hand for every class, damaged and hostile ones. Files of the libraries themselves: `formats/tests/weights.rs`.

use super::{Arrays, read_arrays};
use crate::{
    Result,
    npy::{NpyArray, NpyType, write_npy, write_npz},
    weights::Limits,
};

fn read(bytes: &[u8]) -> Result<Arrays> {
    read_arrays(bytes, &Limits::default())
}

fn code(bytes: &[u8]) -> &'static str {
    read(bytes).err().map_or("OK", |e| e.code())
}

/// A pickle of protocol 2 with this body.
fn pickle(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02", body, b"."].concat()
}

/// `numpy.dtype(code)` with the byte order.
fn dtype(code: &str, order: char) -> Vec<u8> {
    let mut out = format!("cnumpy\ndtype\n(V{code}\nI0\nI1\ntR(I3\nV{order}\nNNNI-1\nI-1\nI0\ntb").into_bytes();
    out.retain(|byte| *byte != b'\r');
    out
}

/// An array in the form of protocols 0 to 4, its elements as bytes.
fn array(core: &str, shape: &str, dtype: &[u8], fortran: bool, data: &[u8]) -> Vec<u8> {
    let mut out =
        format!("c{core}.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR(I1\n({shape}t").into_bytes();
    out.extend(dtype);
    out.push(if fortran { 0x88 } else { 0x89 });
    out.extend([b'C', data.len() as u8]);
    out.extend(data);
    out.extend(b"tb");
    out
}

fn bytes<T, const N: usize>(values: &[T], to: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(to).collect()
}

#[test]
fn arrays_of_both_numpys_orders_and_endiannesses_are_equal() {
    let rows = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let columns = [1.0f32, 4.0, 2.0, 5.0, 3.0, 6.0];
    for core in ["numpy.core", "numpy._core"] {
        for (order, fortran, data) in [
            ('<', false, bytes(&rows, |v| v.to_le_bytes())),
            ('>', false, bytes(&rows, |v| v.to_be_bytes())),
            ('<', true, bytes(&columns, |v| v.to_le_bytes())),
            ('>', true, bytes(&columns, |v| v.to_be_bytes())),
        ] {
            let file = pickle(&array(core, "I2\nI3\n", &dtype("f4", order), fortran, &data));
            let found = read(&file).unwrap();
            assert_eq!(found.get("array"), Some(&NpyArray::from_f32(vec![2, 3], &rows)), "{core} {order} {fortran}");
        }
    }
}

#[test]
fn buffers_of_protocol_5_follow_their_order() {
    let file = |order: &str, more: &str| {
        let data = bytes(&[1i16, 2, 3, 4, 5, 6], |v| v.to_le_bytes());
        let head = b"\x80\x05cnumpy._core.numeric\n_frombuffer\n(\x96\x0c\0\0\0\0\0\0\0".to_vec();
        let tail = format!("(I2\nI3\ntV{order}\n{more}tR.").into_bytes();
        [head, data, dtype("i2", '<'), tail].concat()
    };
    let values = |bytes: &[u8]| {
        let array = read(bytes).unwrap().arrays["array"].clone();
        (array.shape.clone(), array.to_i64().unwrap())
    };
    assert_eq!(values(&file("C", "")), (vec![2, 3], vec![1, 2, 3, 4, 5, 6]));
    assert_eq!(values(&file("F", "")), (vec![2, 3], vec![1, 3, 5, 2, 4, 6]));
    assert_eq!(values(&file("K", "(I1\nI0\nt")), (vec![3, 2], vec![1, 4, 2, 5, 3, 6]));
    for (order, more) in [("K", ""), ("K", "(I1\nI1\nt"), ("K", "(I2\nI0\nt"), ("K", "(I0\nt"), ("A", "")] {
        assert_eq!(code(&file(order, more)), "VALUE", "{order} {more}");
    }
}

#[test]
fn plain_values_become_arrays_texts_and_paths() {
    // {'a': {'b': 3, 'n': None}, 'f': 1.5, 'flags': [True, False], 'grid': ((1, 2.5), (3, 4)), 'odd': [1, [2]], 7: 'x', 'set': {5}}
    let file = pickle(
        b"(Va\n(Vb\nI3\nVn\nNdVf\nF1.5\nVflags\n(I01\nI00\nlVgrid\n((I1\nF2.5\nt(I3\nI4\nttVodd\n(I1\n(I2\nllI7\nVx\nVset\n\
          c__builtin__\nset\n((I5\nltRd",
    );
    let found = read(&file).unwrap();
    let shapes: Vec<(&str, NpyType, Vec<usize>, Vec<f64>)> =
        found.arrays.iter().map(|(name, a)| (name.as_str(), a.dtype, a.shape.clone(), a.to_f64())).collect();
    let expected = vec![
        ("a.b", NpyType::I64, vec![], vec![3.0]),
        ("f", NpyType::F64, vec![], vec![1.5]),
        ("flags", NpyType::Bool, vec![2], vec![1.0, 0.0]),
        ("grid", NpyType::F64, vec![2, 2], vec![1.0, 2.5, 3.0, 4.0]),
        ("odd.0", NpyType::I64, vec![], vec![1.0]),
        ("odd.1", NpyType::I64, vec![1], vec![2.0]),
        ("set", NpyType::I64, vec![1], vec![5.0]),
    ];
    assert_eq!(shapes, expected);
    assert_eq!(found.texts["7"], "x");
    assert!(found.skipped.is_empty());
}

#[test]
fn of_equal_keys_the_last_counts_but_two_paths_may_not_collide() {
    let found = read(&pickle(b"(Va\nI1\nVa\nI2\nd")).unwrap();
    assert_eq!(found.arrays["a"].to_f64(), [2.0]);
    assert_eq!(code(&pickle(b"(Va.b\nI1\nVa\n(Vb\nI2\ndd")), "VALUE");
}

#[test]
fn what_is_no_number_is_listed() {
    let text = array("numpy.core", "I1\n", &dtype("U1", '<'), false, b"x\0\0\0");
    let wide = b"\x8a\x11\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01";
    let file = pickle(&[&b"(Vt\n"[..], &text, b"Vw\n", wide, b"Vraw\nC\x01\xff(I1\ntI1\nd"].concat());
    let found = read(&file).unwrap();
    assert!(found.arrays.is_empty(), "{found:?}");
    assert_eq!(found.skipped, ["t", "w", "raw", "(key 3)"]);
}

#[test]
fn arrays_of_objects_are_lists() {
    let file = [
        &b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR(I1\n(I2\nt"[..],
        &dtype("O8", '|'),
        b"\x89((Va\nI1\ndVtext\nltb",
    ]
    .concat();
    let found = read(&pickle(&file)).unwrap();
    assert_eq!((found.arrays["0.a"].to_f64(), found.texts["1"].as_str()), (vec![1.0], "text"));
}

/// `[[0, 7], [5, 0], [0, 2]]` in every storage; the COO gives its 2 in two halves.
#[test]
fn sparse_matrices_become_dense() {
    let state = |fields: &str| format!("(dV_shape\n(I3\nI2\ntsVdata\n(F5\nF7\nF2\nlsVmaxprint\nI50\ns{fields}b");
    let csc = state("Vindptr\n(I0\nI1\nI3\nlsVindices\n(I1\nI0\nI2\nls");
    let csr = state("Vindptr\n(I0\nI1\nI2\nI3\nlsVindices\n(I1\nI0\nI1\nls").replace("F5\nF7", "F7\nF5");
    let coo = state("Vrow\n(I1\nI0\nI2\nI2\nlsVcol\n(I0\nI1\nI1\nI1\nls").replace("F2", "F1\nF1");
    let coords = state("Vcoords\n((I1\nI0\nI2\nI2\nl(I0\nI1\nI1\nI1\nlts").replace("F2", "F1\nF1");
    for (class, body) in [
        ("scipy.sparse.csc\ncsc_matrix", &csc),
        ("scipy.sparse._csc\ncsc_matrix", &csc),
        ("scipy.sparse._csc\ncsc_array", &csc),
        ("scipy.sparse.csr\ncsr_matrix", &csr),
        ("scipy.sparse._coo\ncoo_matrix", &coo),
        ("scipy.sparse._coo\ncoo_array", &coords),
    ] {
        for made in
            [format!("c{class}\n)\u{81}"), format!("ccopy_reg\n_reconstructor\n(c{class}\nc__builtin__\nobject\nNtR")]
        {
            // NEWOBJ is the byte 0x81, not the character
            let made: Vec<u8> = made.chars().map(|c| c as u8).collect();
            let found = read(&pickle(&[&made, body.as_bytes()].concat())).unwrap_or_else(|e| panic!("{class}: {e}"));
            assert_eq!(
                found.arrays["array"],
                NpyArray::from_f64(vec![3, 2], &[0.0, 7.0, 5.0, 0.0, 0.0, 2.0]),
                "{class}"
            );
        }
    }
    let whole = |body: &str| pickle(&[&b"cscipy.sparse._csc\ncsc_matrix\n)\x81"[..], body.as_bytes()].concat());
    for (from, to) in [
        ("I0\nI1\nI3\n", "I0\nI1\nI9\n"),
        ("I0\nI1\nI3\n", "I0\nI2\nI1\n"),
        ("I0\nI1\nI3\n", "I0\nI0\nI1\nI3\n"),
        ("I0\nI1\nI3\n", "I0\nI1\n"),
        ("I1\nI0\nI2\nls", "I1\nI0\nI3\nls"),
        ("I1\nI0\nI2\nls", "I1\nI-1\nI2\nls"),
        ("F2\n", ""),
        ("I3\nI2\nt", "I3\nt"),
        ("I3\nI2\nt", "I4611686018427387904\nI4611686018427387904\nt"),
        ("Vdata", "Vdate"),
    ] {
        assert_eq!(code(&whole(&csc.replacen(from, to, 1))), "VALUE", "{from:?} to {to:?}");
    }
    assert_eq!(code(&whole(&csc.replace("I3\nI2\nt", "I999999\nI999999\nt"))), "LIMIT");
}

#[test]
fn chumpy_gives_what_is_inside() {
    let inner = "cchumpy.ch\nCh\n)\u{81}(dVx\n(F1\nF2\nF3\nlsV_dirty_vars\nc__builtin__\nset\n((VxltRsb";
    let inner = inner.replace("(VxltR", "(Vx\nltR");
    let select = |indices: &str, shape: &str| {
        let text = format!("cchumpy.reordering\nSelect\n)\u{81}(dVa\n{inner}sVidxs\n({indices}ls{shape}b");
        pickle(&text.chars().map(|c| c as u8).collect::<Vec<u8>>())
    };
    let found = read(&select("I2\nI0\n", "Vpreferred_shape\n(I2\nI1\nts")).unwrap();
    assert_eq!(found.arrays["array"], NpyArray::from_f64(vec![2, 1], &[3.0, 1.0]));
    assert_eq!(read(&select("I1\n", "")).unwrap().arrays["array"].shape, [1]);
    for (indices, shape) in [("I3\n", ""), ("I-1\n", ""), ("I0\n", "Vpreferred_shape\n(I2\nts"), ("F0.5\n", "")] {
        assert_eq!(code(&select(indices, shape)), "VALUE", "{indices} {shape}");
    }
}

#[test]
fn unknown_classes_are_named_and_nothing_runs() {
    for (body, class) in [
        (&b"cos\nsystem\n(Vtouch /tmp/x\ntR"[..], "`os.system`"),
        (b"cos\nsystem\n", "`os.system`"),
        (b"(Va\n(cbuiltins\neval\n(V1\ntRtd", "`a.0` is an object of the class `builtins.eval`"),
        (b"ccollections\nCounter\n)R", "`collections.Counter`"),
        (b"ccopy_reg\n_reconstructor\n(cmine\nThing\nc__builtin__\nobject\nNtR", "`mine.Thing`"),
        (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy.ma.core\nMaskedArray\n(I0\ntC\x01btR",
            "`numpy.ma.core.MaskedArray`",
        ),
        (b"cnumpy\nload\n(Vx\ntR", "`numpy.load`"),
        (b"cchumpy.ch\nadd\n)R", "`chumpy.ch.add`"),
        (b"cchumpy_evil\nCh\n)R", "`chumpy_evil.Ch`"),
        (b"K\x01Q", "outside of the file"),
    ] {
        let error = read(&pickle(body)).unwrap_err();
        assert_eq!(error.code(), "CLASS", "{error}");
        assert!(error.to_string().contains(class), "{error}");
    }
}

#[test]
fn arrays_that_contradict_themselves_are_refused() {
    let good = array("numpy.core", "I2\n", &dtype("f4", '<'), false, &[0; 8]);
    assert_eq!(code(&pickle(&good)), "OK");
    let replaced = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|w| w == from).unwrap();
        pickle(&[&good[..at], to, &good[at + from.len()..]].concat())
    };
    for (from, to) in [
        (&b"(I2\nt"[..], &b"(I3\nt"[..]),
        (b"(I2\nt", b"(I-2\nt"),
        (b"(I2\nt", b"(I4611686018427387905\nI4\nt"),
        (b"V<\n", b"V!\n"),
        (b"cnumpy\ndtype", b"cnumpy\nfinfo"),
        (b"\x89C\x08", b"NC\x08"),
        (b"tb", b"t"),
    ] {
        assert_eq!(code(&replaced(from, to)), "VALUE", "{}", to.escape_ascii());
    }
}

#[test]
fn shared_deep_and_cyclic_values_end() {
    // a list that holds the previous list twice, and so on
    let mut body = b"]".to_vec();
    for _ in 0..50 {
        body.extend(b"q\x00]h\x00ah\x00a");
    }
    assert_eq!(code(&pickle(&body)), "LIMIT");
    assert_eq!(code(&pickle(&[b"]".repeat(100_000), b"a".repeat(99_999)].concat())), "LIMIT");
    assert_eq!(code(&pickle(b"}q\x00U\x01ah\x00s")), "LIMIT");
    // a chumpy value inside of itself
    assert_eq!(code(&pickle(b"cchumpy.ch\nCh\n)\x81q\x00(dVx\nh\x00sb")), "LIMIT");
    // one array a thousand times
    let big = array("numpy.core", "I200\n", &dtype("u1", '|'), false, &[7; 200]);
    let many = [&b"("[..], &big, b"q\x01", &b"h\x01".repeat(999), b"l"].concat();
    let limits = Limits { array_bytes: 100_000, ..Limits::default() };
    assert!(matches!(read_arrays(&pickle(&many), &limits), Err(crate::Error::Limit { limit: 100_000, .. })));
    assert_eq!(read(&pickle(&many)).unwrap().arrays.len(), 1000);
}

#[test]
fn arrays_and_archives_of_numpy_are_read_too() {
    let array = NpyArray::from_f32(vec![2], &[1.0, 2.0]);
    let single = read(&write_npy(&array)).unwrap();
    assert_eq!((single.container, &single.arrays["array"]), ("npy", &array));
    let archive = read(&write_npz(&[("a".to_owned(), array.clone())]).unwrap()).unwrap();
    assert_eq!((archive.container, &archive.arrays["a"]), ("npz", &array));
}

#[test]
fn tensors_keep_their_types() {
    let file = include_bytes!("../../../../fixtures/weights/zip.pth");
    let found = read(file).unwrap();
    assert_eq!(found.container, "PyTorch (zip)");
    let (long, bfloat) = (&found.arrays["state_dict.long"], &found.arrays["state_dict.bfloat"]);
    assert_eq!((long.dtype, long.to_i64().unwrap()), (NpyType::I64, vec![-3]));
    assert_eq!((bfloat.dtype, bfloat.to_f32()), (NpyType::F32, vec![1.0, -2.0]));
    assert_eq!(found.arrays["state_dict.fc.weight"].to_f64(), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
}

#[test]
fn other_files_are_unknown() {
    for bytes in [&b""[..], b"hello", b"(not a pickle", b"{\"a\": 1}", b"\x89PNG\r\n\x1a\n", &[0; 600]] {
        assert_eq!(code(bytes), "UNKNOWN_FORMAT", "{}", bytes.escape_ascii());
    }
}

#[test]
fn every_cut_is_an_error_and_no_flipped_byte_panics() {
    let body = [
        &b"(Va\n"[..],
        &array("numpy._core", "I2\nI1\n", &dtype("f8", '>'), true, &[1; 16]),
        b"Vb\ncscipy.sparse._csc\ncsc_matrix\n)\x81(dVshape\n(I1\nI1\ntsVdata\n(F5\nlsVindptr\n(I0\nI1\nlsVindices\n(I0\nlsbVc\n(I1\nF2\nld",
    ]
    .concat();
    let mut file = pickle(&body);
    assert_eq!(read(&file).unwrap().arrays.len(), 3);
    for length in 0..file.len() {
        assert!(read(&file[..length]).is_err(), "{length} of {} bytes", file.len());
    }
    for at in 0..file.len() {
        for mask in [0x01, 0x02, 0x10, 0x80, 0xff] {
            file[at] ^= mask;
            let _ = read(&file);
            file[at] ^= mask;
        }
    }
}
