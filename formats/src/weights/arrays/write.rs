//! Named arrays as a file of PyTorch: what `torch.save` makes of nested dictionaries of NumPy arrays, texts and whole numbers.

use std::io::{Cursor, Write};

use crate::{
    Error, Result,
    npy::{NpyArray, NpyType},
};

/// A value of a dictionary.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// An array of NumPy.
    Array(NpyArray),
    /// A text.
    Text(String),
    /// A whole number.
    Whole(i32),
    /// A dictionary with its keys in order.
    Group(Vec<(String, Entry)>),
}

/// The bytes of a file that holds the dictionary `entries`, in the container that PyTorch has written since 1.6: a ZIP archive of stored
/// members below the folder `stem`, with a pickle of protocol 2. Equal entries give equal bytes.
///
/// # Errors
/// [`Error::Usage`] for 16-bit and 64-bit unsigned integers and for 4 GiB.
pub fn write_arrays(stem: &str, entries: &[(String, Entry)]) -> Result<Vec<u8>> {
    // protocol 2
    let mut pickle = vec![0x80, 2];
    group(&mut pickle, entries)?;
    pickle.push(b'.');
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let failed = |e: zip::result::ZipError| Error::usage(format!("cannot write the archive: {e}"));
    for (name, bytes) in [("data.pkl", &pickle[..]), ("byteorder", b"little"), ("version", b"3\n")] {
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default());
        archive.start_file(format!("{stem}/{name}"), options).map_err(failed)?;
        archive.write_all(bytes)?;
    }
    Ok(archive.finish().map_err(failed)?.into_inner())
}

fn group(out: &mut Vec<u8>, entries: &[(String, Entry)]) -> Result<()> {
    // EMPTY_DICT MARK … SETITEMS
    out.extend(b"}(");
    for (key, entry) in entries {
        text(out, key)?;
        match entry {
            Entry::Array(values) => array(out, values)?,
            Entry::Text(value) => text(out, value)?,
            Entry::Whole(value) => whole(out, *value),
            Entry::Group(entries) => group(out, entries)?,
        }
    }
    out.push(b'u');
    Ok(())
}

/// BINUNICODE.
fn text(out: &mut Vec<u8>, text: &str) -> Result<()> {
    let length = u32::try_from(text.len()).map_err(|_| Error::usage(format!("a text of {} bytes", text.len())))?;
    out.push(b'X');
    out.extend(length.to_le_bytes());
    out.extend(text.as_bytes());
    Ok(())
}

/// BININT.
fn whole(out: &mut Vec<u8>, value: i32) {
    out.push(b'J');
    out.extend(value.to_le_bytes());
}

/// GLOBAL.
fn global(out: &mut Vec<u8>, module: &str, name: &str) {
    out.extend(format!("c{module}\n{name}\n").as_bytes());
}

/// Protocol 2 has no bytes: `_codecs.encode(text, 'latin1')`, each code point one byte.
fn bytes(out: &mut Vec<u8>, data: &[u8]) -> Result<()> {
    global(out, "_codecs", "encode");
    text(out, &data.iter().map(|b| char::from(*b)).collect::<String>())?;
    text(out, "latin1")?;
    // TUPLE2 REDUCE
    out.extend(b"\x86R");
    Ok(())
}

fn array(out: &mut Vec<u8>, array: &NpyArray) -> Result<()> {
    let (code, order) = match array.dtype {
        NpyType::Bool => ("b1", "|"),
        NpyType::U8 => ("u1", "|"),
        NpyType::I8 => ("i1", "|"),
        NpyType::I16 => ("i2", "<"),
        NpyType::I32 => ("i4", "<"),
        NpyType::U32 => ("u4", "<"),
        NpyType::I64 => ("i8", "<"),
        NpyType::F16 => ("f2", "<"),
        NpyType::F32 => ("f4", "<"),
        NpyType::F64 => ("f8", "<"),
        other => return Err(Error::usage(format!("arrays of {other:?} are not written"))),
    };
    // _reconstruct(ndarray, (0,), b'b')
    global(out, "numpy.core.multiarray", "_reconstruct");
    global(out, "numpy", "ndarray");
    whole(out, 0);
    out.push(0x85);
    bytes(out, b"b")?;
    out.extend(b"\x87R");
    // its state: (1, shape, dtype, False, data)
    out.push(b'(');
    whole(out, 1);
    out.push(b'(');
    for extent in &array.shape {
        let extent =
            i32::try_from(*extent).map_err(|_| Error::usage(format!("an array of shape {:?}", array.shape)))?;
        whole(out, extent);
    }
    out.push(b't');
    // dtype(code, False, True), whose state is (3, order, None, None, None, -1, -1, 0)
    global(out, "numpy", "dtype");
    text(out, code)?;
    out.extend(b"\x89\x88\x87R(");
    whole(out, 3);
    text(out, order)?;
    out.extend(b"NNN");
    [-1, -1, 0].iter().for_each(|v| whole(out, *v));
    out.extend(b"tb\x89");
    bytes(out, &array.data)?;
    out.extend(b"tb");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{Limits, read_arrays};

    #[test]
    fn what_is_written_is_read_again() {
        let every: Vec<u8> = (0..=255).collect();
        let bytes = NpyArray { dtype: NpyType::U8, shape: vec![16, 16], data: every };
        let floats = NpyArray::from_f32(vec![1, 2, 3], &[0.5, -1.0, f32::MAX, 1e-30, 0.0, 7.0]);
        let size = NpyArray::from_i64(vec![2], &[512, -1]);
        let single = NpyArray::from_f64(vec![], &[2.5]);
        let named = |name: &str, array: &NpyArray| (name.to_owned(), Entry::Array(array.clone()));
        let entries = [
            ("flame".to_owned(), Entry::Group(vec![named("exp", &floats), named("mask", &bytes)])),
            ("empty".to_owned(), Entry::Group(Vec::new())),
            named("img_size", &size),
            named("single", &single),
            ("frame_id".to_owned(), Entry::Text("00012 ü".to_owned())),
            ("global_step".to_owned(), Entry::Whole(-230)),
        ];
        let file = write_arrays("00012", &entries).unwrap();
        let read = read_arrays(&file, &Limits::default()).unwrap();
        for (name, array) in [("flame.exp", &floats), ("flame.mask", &bytes), ("img_size", &size), ("single", &single)]
        {
            assert_eq!(read.get(name), Some(array), "{name}");
        }
        assert_eq!(read.texts["frame_id"], "00012 ü");
        assert_eq!(read.get("global_step").unwrap().to_i64().unwrap(), [-230]);
        assert!(read.skipped.is_empty(), "{:?}", read.skipped);
        assert_eq!(file, write_arrays("00012", &entries).unwrap());
    }
}
