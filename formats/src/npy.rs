//! NumPy `.npy` arrays and `.npz` archives of them, inert: numbers only, no pickled objects.
//!
//! Source: the format description in NumPy's `numpy.lib.format` (versions 1.0, 2.0, 3.0).

use std::io::{Cursor, Read, Write};

use half::f16;

use crate::{Error, Limits, Result};

/// How a `.npy` file starts.
pub(crate) const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Element type of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NpyType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

impl NpyType {
    const ALL: [(Self, &'static str); 12] = [
        (Self::Bool, "b1"),
        (Self::U8, "u1"),
        (Self::I8, "i1"),
        (Self::U16, "u2"),
        (Self::I16, "i2"),
        (Self::U32, "u4"),
        (Self::I32, "i4"),
        (Self::U64, "u8"),
        (Self::I64, "i8"),
        (Self::F16, "f2"),
        (Self::F32, "f4"),
        (Self::F64, "f8"),
    ];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The type with this code (without byte order).
    pub(crate) fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, c)| *c == code).map(|(t, _)| *t)
    }

    /// Bytes of an array of this shape; `None` when that is no number.
    pub(crate) fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        shape.iter().try_fold(self.size(), |n, extent| n.checked_mul(*extent))
    }

    /// The code without byte order, such as `f4`.
    fn code(self) -> &'static str {
        Self::ALL.iter().find(|(t, _)| *t == self).map_or("", |(_, code)| code)
    }
}

/// An array in memory: little-endian, last index fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct NpyArray {
    /// Element type.
    pub dtype: NpyType,
    /// Extent of each dimension; empty for a single number.
    pub shape: Vec<usize>,
    /// `product(shape) · dtype.size()` bytes.
    pub data: Vec<u8>,
}

impl NpyArray {
    /// A float32 array; `values` must fill `shape`.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Self {
        Self { dtype: NpyType::F32, shape, data: bytemuck::cast_slice(values).to_vec() }
    }

    /// A float64 array; `values` must fill `shape`.
    pub fn from_f64(shape: Vec<usize>, values: &[f64]) -> Self {
        Self { dtype: NpyType::F64, shape, data: bytemuck::cast_slice(values).to_vec() }
    }

    /// An int64 array; `values` must fill `shape`.
    pub fn from_i64(shape: Vec<usize>, values: &[i64]) -> Self {
        Self { dtype: NpyType::I64, shape, data: bytemuck::cast_slice(values).to_vec() }
    }

    /// From the elements as NumPy stores them, which must fill the shape.
    pub(crate) fn from_raw(
        dtype: NpyType,
        big_endian: bool,
        fortran_order: bool,
        shape: Vec<usize>,
        mut data: Vec<u8>,
    ) -> Self {
        debug_assert_eq!(dtype.bytes_of(&shape), Some(data.len()));
        if big_endian {
            data.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
        }
        if fortran_order && shape.len() > 1 && !data.is_empty() {
            data = transpose(&data, &shape, dtype.size());
        }
        Self { dtype, shape, data }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    /// True when there is no element.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// All elements as f64; 64-bit integers above 2^53 are rounded.
    pub fn to_f64(&self) -> Vec<f64> {
        self.map(|dtype, b| match dtype {
            NpyType::Bool | NpyType::U8 => f64::from(b[0]),
            NpyType::I8 => f64::from(b[0] as i8),
            NpyType::U16 => f64::from(u16::from_le_bytes([b[0], b[1]])),
            NpyType::I16 => f64::from(i16::from_le_bytes([b[0], b[1]])),
            NpyType::U32 => f64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            NpyType::I32 => f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            NpyType::U64 => u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f64,
            NpyType::I64 => i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f64,
            NpyType::F16 => f16::from_le_bytes([b[0], b[1]]).to_f64(),
            NpyType::F32 => f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            NpyType::F64 => f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
        })
    }

    /// All elements as f32: bit for bit for float32, rounded for wider types.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.dtype {
            NpyType::F32 => self.map(|_, b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            _ => self.to_f64().into_iter().map(|v| v as f32).collect(),
        }
    }

    /// All elements as i64.
    ///
    /// # Errors
    /// `VALUE` for fractions, NaN and numbers outside the range.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        let word = |b: &[u8]| [b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]];
        let wrong = |value: &dyn std::fmt::Display| bad("VALUE", 0, format!("{value} is no 64-bit integer"));
        match self.dtype {
            NpyType::I64 => Ok(self.map(|_, b| i64::from_le_bytes(word(b)))),
            NpyType::U64 => {
                let values = self.map(|_, b| u64::from_le_bytes(word(b)));
                values.into_iter().map(|v| i64::try_from(v).map_err(|_| wrong(&v))).collect()
            }
            _ => {
                let exact = |v: &f64| v.fract() == 0.0 && v.abs() < 9.2e18;
                self.to_f64().into_iter().map(|v| if exact(&v) { Ok(v as i64) } else { Err(wrong(&v)) }).collect()
            }
        }
    }

    fn map<T>(&self, value: impl Fn(NpyType, &[u8]) -> T) -> Vec<T> {
        self.data.chunks_exact(self.dtype.size()).map(|bytes| value(self.dtype, bytes)).collect()
    }
}

fn bad(code: &'static str, offset: usize, message: impl Into<String>) -> Error {
    Error::format("npy", code, offset as u64, message)
}

/// Reads a `.npy` file.
///
/// # Errors
/// `UNSUPPORTED` for objects, strings and records; `HEADER`, `TRUNCATED`, `TRAILING`; limits.
pub fn read_npy(bytes: &[u8], limits: &Limits) -> Result<NpyArray> {
    let (header, start) = split_header(bytes, limits)?;
    let Layout { dtype, big_endian, fortran_order, shape } = parse_header(header)?;
    let size = dtype
        .bytes_of(&shape)
        .ok_or_else(|| bad("VALUE", start, format!("an array of the shape {shape:?} has no size")))?;
    limits.check_bytes(size as u64)?;
    let found = bytes.len() - start;
    if found != size {
        let code = if found < size { "TRUNCATED" } else { "TRAILING" };
        return Err(bad(code, start, format!("shape {shape:?} needs {size} bytes, {found} follow")));
    }
    Ok(NpyArray::from_raw(dtype, big_endian, fortran_order, shape, bytes[start..].to_vec()))
}

/// The header text and the offset of the data.
fn split_header<'a>(bytes: &'a [u8], limits: &Limits) -> Result<(&'a str, usize)> {
    if !bytes.starts_with(MAGIC) {
        return Err(bad("HEADER", 0, "not a NumPy array"));
    }
    let truncated = || bad("TRUNCATED", bytes.len(), "the file ends inside the header");
    let (start, length) = match bytes.get(6).ok_or_else(truncated)? {
        1 => (10, bytes.get(8..10).map(|b| u64::from(u16::from_le_bytes([b[0], b[1]])))),
        2 | 3 => (12, bytes.get(8..12).map(|b| u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]])))),
        version => return Err(bad("UNSUPPORTED", 6, format!("version {version}"))),
    };
    let end = start + limits.check_header(length.ok_or_else(truncated)?)?;
    let text = bytes.get(start..end).ok_or_else(truncated)?;
    Ok((std::str::from_utf8(text).map_err(|_| bad("HEADER", start, "the header is not UTF-8"))?, end))
}

struct Layout {
    dtype: NpyType,
    big_endian: bool,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// Parses the Python dictionary `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }` without evaluating it.
fn parse_header(text: &str) -> Result<Layout> {
    let wrong = |what: &str| bad("HEADER", 10, format!("{what} in the header `{}`", text.trim_end()));
    let body = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(|| wrong("no dictionary"))?;
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    let mut rest = body.trim_start();
    while !rest.is_empty() {
        let (key, after) = quoted(rest).ok_or_else(|| wrong("no key"))?;
        let value = after.trim_start().strip_prefix(':').ok_or_else(|| wrong("no colon"))?.trim_start();
        let after = match key {
            "descr" => {
                let Some((code, after)) = quoted(value) else {
                    return Err(bad("UNSUPPORTED", 10, format!("records are not read: `{}`", text.trim_end())));
                };
                descr = Some(code);
                after
            }
            "fortran_order" => {
                let (flag, after) = match (value.strip_prefix("True"), value.strip_prefix("False")) {
                    (Some(after), _) => (true, after),
                    (_, Some(after)) => (false, after),
                    _ => return Err(wrong("no truth value")),
                };
                fortran_order = Some(flag);
                after
            }
            "shape" => {
                let (inside, after) =
                    value.strip_prefix('(').and_then(|v| v.split_once(')')).ok_or_else(|| wrong("no tuple"))?;
                // Python 2 wrote long integers as `3L`
                let extents = inside.split(',').map(|w| w.trim().trim_end_matches('L')).filter(|w| !w.is_empty());
                let extents: Option<Vec<usize>> = extents.map(|w| w.parse().ok()).collect();
                shape = Some(extents.filter(|s| s.len() <= 32).ok_or_else(|| wrong("no shape"))?);
                after
            }
            _ => return Err(wrong("an unknown key")),
        };
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return Err(wrong("no comma")),
        };
    }
    let (Some(descr), Some(fortran_order), Some(shape)) = (descr, fortran_order, shape) else {
        return Err(wrong("a missing key"));
    };
    let (order, code) = descr.split_at_checked(1).unwrap_or(("", ""));
    let dtype = NpyType::from_code(code).filter(|_| matches!(order, "<" | ">" | "|" | "="));
    let dtype = dtype.ok_or_else(|| bad("UNSUPPORTED", 10, format!("elements of the type `{descr}`")))?;
    Ok(Layout { dtype, big_endian: order == ">", fortran_order, shape })
}

/// The text between quotes at the start of `text`, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// From first index fastest to last index fastest.
fn transpose(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut index = vec![0usize; shape.len()];
    let strides: Vec<usize> = shape
        .iter()
        .scan(size, |stride, extent| {
            let own = *stride;
            *stride *= extent;
            Some(own)
        })
        .collect();
    while out.len() < data.len() {
        let at: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
        out.extend_from_slice(&data[at..at + size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

/// The bytes of a `.npy` file, version 1.0, little-endian, last index fastest.
pub fn write_npy(array: &NpyArray) -> Vec<u8> {
    let extents: String = array.shape.iter().map(|extent| format!("{extent},")).collect();
    let order = if array.dtype.size() == 1 { '|' } else { '<' };
    let mut header =
        format!("{{'descr': '{order}{}', 'fortran_order': False, 'shape': ({extents}), }}", array.dtype.code());
    // magic, version, length and text together fill a multiple of 64 bytes, and the text ends with a line feed
    header.push_str(&" ".repeat((64 - (10 + header.len() + 1) % 64) % 64));
    header.push('\n');
    let mut bytes = Vec::with_capacity(10 + header.len() + array.data.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&array.data);
    bytes
}

/// The arrays of a `.npz` archive.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Npz {
    /// Numeric arrays by name (without `.npy`), in archive order.
    pub arrays: Vec<(String, NpyArray)>,
    /// Members that hold objects, strings or records, or are no arrays.
    pub skipped: Vec<String>,
}

impl Npz {
    /// The array of this name.
    pub fn get(&self, name: &str) -> Option<&NpyArray> {
        self.arrays.iter().find(|(n, _)| n == name).map(|(_, array)| array)
    }
}

/// Reads a `.npz` archive, stored or deflated. Checksums are verified; object arrays are skipped, never unpickled.
///
/// # Errors
/// Those of [`read_npy`]; `ARCHIVE` when the ZIP is damaged; limits on members and on all decoded bytes together.
pub fn read_npz(bytes: &[u8], limits: &Limits) -> Result<Npz> {
    let damaged = |what: String| Error::format("npz", "ARCHIVE", 0, what);
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| damaged(e.to_string()))?;
    limits.check_entries(archive.len() as u64)?;
    let mut npz = Npz::default();
    let mut total = 0u64;
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).map_err(|e| damaged(e.to_string()))?;
        let name = member.name().map_err(|e| damaged(e.to_string()))?.into_owned();
        let Some(stem) = name.strip_suffix(".npy") else {
            npz.skipped.push(name);
            continue;
        };
        // the declared size is a claim: the reader stops where the claim or the limit ends, whichever comes first
        limits.check_bytes(total.saturating_add(member.size()))?;
        let mut data = Vec::new();
        let mut bounded = member.by_ref().take(limits.decoded_bytes.saturating_sub(total).saturating_add(1));
        bounded.read_to_end(&mut data).map_err(|e| damaged(format!("member `{name}`: {e}")))?;
        total = total.saturating_add(data.len() as u64);
        limits.check_bytes(total)?;
        match read_npy(&data, limits) {
            Ok(array) => npz.arrays.push((stem.to_owned(), array)),
            Err(Error::Format { code: "UNSUPPORTED", .. }) => npz.skipped.push(stem.to_owned()),
            Err(Error::Format { code, offset, message, .. }) => {
                return Err(Error::format("npz", code, offset, format!("member `{name}`: {message}")));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(npz)
}

/// The bytes of a deflated `.npz` archive; equal arrays give equal bytes.
pub fn write_npz(arrays: &[(String, NpyArray)]) -> Result<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let failed = |e: zip::result::ZipError| Error::usage(format!("cannot write the archive: {e}"));
    for (name, array) in arrays {
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .last_modified_time(zip::DateTime::default())
            .large_file(array.data.len() as u64 >= 0xffff_0000);
        archive.start_file(format!("{name}.npy"), options).map_err(failed)?;
        archive.write_all(&write_npy(array))?;
    }
    Ok(archive.finish().map_err(failed)?.into_inner())
}
