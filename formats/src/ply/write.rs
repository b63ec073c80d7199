//! Writing a PLY element: columns taken from arrays of any layout, gathered into rows block by block.

use std::{borrow::Cow, io::Write};

use rayon::prelude::*;

use super::header::{Element, Encoding, Header, Property, PropertyType};
use crate::{DType, Error, Result, UserAttribute};

/// Bytes of rows gathered between two writes.
const BLOCK_BYTES: usize = 4 << 20;
/// Rows that one task gathers; a few hundred rows of all columns stay in the second-level cache.
const TASK_ROWS: usize = 256;

/// One property to write: the value of row `i` starts at byte `start + i · step` of `data`, little-endian.
pub(super) struct SourceColumn<'a> {
    pub name: String,
    pub dtype: DType,
    data: Cow<'a, [u8]>,
    start: usize,
    step: usize,
}

impl<'a> SourceColumn<'a> {
    /// A column inside an array of structures or a plane of one.
    pub fn strided(name: impl Into<String>, dtype: DType, data: &'a [u8], start: usize, step: usize) -> Self {
        Self { name: name.into(), dtype, data: Cow::Borrowed(data), start, step }
    }

    /// A float32 column that is zero everywhere.
    pub fn zeros(name: impl Into<String>) -> Self {
        Self { name: name.into(), dtype: DType::F32, data: Cow::Borrowed(&[0; 4]), start: 0, step: 0 }
    }

    /// A column that owns its values.
    pub fn owned<T: bytemuck::NoUninit>(name: impl Into<String>, dtype: DType, values: &[T]) -> Self {
        let data = Cow::Owned(bytemuck::cast_slice(values).to_vec());
        Self { name: name.into(), dtype, data, start: 0, step: dtype.size() }
    }
}

/// The columns of vectors with `names.len()` float32 components, such as means.
pub(super) fn vector_columns<'a, const W: usize>(
    names: [&str; W],
    values: &'a [[f32; W]],
) -> impl Iterator<Item = SourceColumn<'a>> {
    let bytes: &[u8] = bytemuck::cast_slice(values.as_flattened());
    let columns = names.map(str::to_owned).into_iter().enumerate();
    columns.map(move |(k, name)| SourceColumn::strided(name, DType::F32, bytes, 4 * k, 4 * W))
}

/// The columns of a user attribute: its name, or `name_0`, `name_1`, … when it is wider than one.
///
/// Half precision has no type in the original format and is widened to float, which is exact.
pub(super) fn attribute_columns(attribute: &UserAttribute) -> Vec<SourceColumn<'_>> {
    let (width, size) = (attribute.width as usize, attribute.dtype.size());
    let name = |k: usize| match (attribute.name.as_str(), width) {
        ("normal", 3) => ["nx", "ny", "nz"][k].to_owned(),
        (name, 1) => name.to_owned(),
        (name, _) => format!("{name}_{k}"),
    };
    let column = |k: usize| {
        if attribute.dtype == DType::F16 {
            let halves = attribute.data.chunks_exact(2 * width).map(|row| [row[2 * k], row[2 * k + 1]]);
            let values: Vec<f32> = halves.map(|half| half::f16::from_le_bytes(half).to_f32()).collect();
            SourceColumn::owned(name(k), DType::F32, &values)
        } else {
            SourceColumn::strided(name(k), attribute.dtype, &attribute.data, k * size, width * size)
        }
    };
    (0..width).map(column).collect()
}

/// Declares an element with these columns.
///
/// # Errors
/// [`Error::Usage`] when two columns share a name or a name cannot stand in a header.
pub(super) fn element(name: &str, count: usize, columns: &[SourceColumn]) -> Result<Element> {
    let mut properties: Vec<Property> = Vec::with_capacity(columns.len());
    for column in columns {
        let name = &column.name;
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Error::usage(format!("`{name}` cannot be the name of a PLY property: rename the attribute")));
        }
        if properties.iter().any(|p| p.name == *name) {
            return Err(Error::usage(format!("two columns would be called `{name}` in the PLY: rename the attribute")));
        }
        properties.push(Property { name: name.clone(), kind: PropertyType::Scalar(column.dtype) });
    }
    Ok(Element { name: name.to_owned(), count: count as u64, properties })
}

/// Writes a little-endian PLY with one `vertex` element.
pub(super) fn write_vertices(
    sink: &mut dyn Write,
    comments: Vec<String>,
    count: usize,
    columns: &[SourceColumn],
) -> Result<()> {
    let elements = vec![element("vertex", count, columns)?];
    sink.write_all(&Header { encoding: Encoding::LittleEndian, comments, elements }.to_bytes())?;
    write_rows(sink, count, columns)
}

/// Writes `count` rows of the columns.
pub(super) fn write_rows(sink: &mut dyn Write, count: usize, columns: &[SourceColumn]) -> Result<()> {
    let stride: usize = columns.iter().map(|c| c.dtype.size()).sum();
    if stride == 0 {
        return Ok(());
    }
    let block_rows = (BLOCK_BYTES / stride).next_multiple_of(TASK_ROWS).min(count).max(1);
    let mut buffer = vec![0u8; block_rows * stride];
    for first in (0..count).step_by(block_rows) {
        let rows = block_rows.min(count - first);
        let block = &mut buffer[..rows * stride];
        block.par_chunks_mut(TASK_ROWS * stride).enumerate().for_each(|(task, out)| {
            gather(columns, first + task * TASK_ROWS, out, stride);
        });
        sink.write_all(block)?;
    }
    Ok(())
}

/// Fills the rows from `first` on, one column after another.
fn gather(columns: &[SourceColumn], first: usize, out: &mut [u8], stride: usize) {
    let mut offset = 0;
    for column in columns {
        let size = column.dtype.size();
        let mut at = column.start + first * column.step;
        for row in out.chunks_exact_mut(stride) {
            if size == 4 {
                // a constant size compiles to one move; nearly all columns are float32
                row[offset..offset + 4].copy_from_slice(&column.data[at..at + 4]);
            } else {
                row[offset..offset + size].copy_from_slice(&column.data[at..at + size]);
            }
            at += column.step;
        }
        offset += size;
    }
}
