//! The PLY payload: every element as a table of little-endian rows, whatever its encoding was.
//!
//! A binary little-endian element without lists is borrowed from the file; everything else is converted once.

use std::borrow::Cow;

use half::f16;

use super::header::{Element, Encoding, Header, PropertyType, bad};
use crate::{DType, Limits, Result};

/// A whole PLY file: header and tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Ply<'a> {
    /// The header.
    pub header: Header,
    /// One table per element of the header, in order.
    pub tables: Vec<Table<'a>>,
}

/// The rows of one element.
#[derive(Debug, Clone, PartialEq)]
pub struct Table<'a> {
    /// Name of the element.
    pub name: String,
    /// Number of rows.
    pub count: usize,
    /// Bytes of a row.
    pub stride: usize,
    /// The scalar properties, in file order.
    pub columns: Vec<Column>,
    /// The list properties, in file order.
    pub lists: Vec<List>,
    /// Offset of the element's payload in the file.
    pub offset: usize,
    /// `count × stride` bytes, scalars only, little-endian and without padding.
    pub rows: Cow<'a, [u8]>,
}

/// A scalar property and its place in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name of the property.
    pub name: String,
    /// Type of the value.
    pub dtype: DType,
    /// Byte offset in the row.
    pub offset: usize,
}

/// A list property: row `i` owns the elements `ends[i - 1]..ends[i]`, the first row those from 0.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// Name of the property.
    pub name: String,
    /// Type of the elements.
    pub dtype: DType,
    /// Where each row's list ends, counted in elements.
    pub ends: Vec<usize>,
    /// All elements, little-endian.
    pub data: Vec<u8>,
}

impl<'a> Ply<'a> {
    /// Parses a PLY file.
    ///
    /// # Errors
    /// Those of [`Header::parse`]; `TRUNCATED` when rows are missing, `TRAILING` when bytes follow the last element,
    /// `VALUE` for numbers that do not fit their type, [`crate::Error::Limit`] when conversion needs too much memory.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self> {
        let (header, mut position) = Header::parse(bytes, limits)?;
        let mut tables = Vec::with_capacity(header.elements.len());
        for element in &header.elements {
            let mut table = Table::new(element, position);
            position = match header.encoding {
                Encoding::Ascii => table.read_ascii(element, bytes, position, limits)?,
                Encoding::LittleEndian if table.lists.is_empty() => {
                    let end = table.end_of_rows(element, bytes, position)?;
                    table.rows = Cow::Borrowed(&bytes[position..end]);
                    end
                }
                Encoding::LittleEndian | Encoding::BigEndian => {
                    table.read_binary(element, bytes, position, header.encoding == Encoding::BigEndian, limits)?
                }
            };
            tables.push(table);
        }
        if header.encoding == Encoding::Ascii {
            position += bytes[position..].iter().take_while(|b| b.is_ascii_whitespace()).count();
        }
        if position != bytes.len() {
            let extra = bytes.len() - position;
            return Err(bad("TRAILING", position, format!("{extra} bytes follow the last element")));
        }
        Ok(Self { header, tables })
    }

    /// The table of the element with this name.
    pub fn table(&self, name: &str) -> Option<&Table<'a>> {
        self.tables.iter().find(|t| t.name == name)
    }
}

impl<'a> Table<'a> {
    fn new(element: &Element, offset: usize) -> Self {
        let (mut columns, mut lists, mut stride) = (Vec::new(), Vec::new(), 0);
        for property in &element.properties {
            let name = property.name.clone();
            match property.kind {
                PropertyType::Scalar(dtype) => {
                    columns.push(Column { name, dtype, offset: stride });
                    stride += dtype.size();
                }
                PropertyType::List(_, dtype) => {
                    lists.push(List { name, dtype, ends: Vec::new(), data: Vec::new() });
                }
            }
        }
        // an element without properties has no bytes, so any count is honest; it is cut to what fits the address space
        let count = usize::try_from(element.count).unwrap_or(usize::MAX);
        Self { name: element.name.clone(), count, stride, columns, lists, offset, rows: Cow::Borrowed(&[]) }
    }

    /// The scalar column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The bytes of row `index`.
    pub fn row(&self, index: usize) -> &[u8] {
        &self.rows[index * self.stride..][..self.stride]
    }

    /// All values of a column as f64.
    pub fn values<'t>(&'t self, column: &'t Column) -> impl Iterator<Item = f64> + 't {
        // an element without scalar columns has stride 0, but then there is no column to ask for
        self.rows.chunks_exact(self.stride.max(1)).map(move |row| column.f64(row))
    }

    /// End of a binary table without lists.
    fn end_of_rows(&self, element: &Element, bytes: &[u8], position: usize) -> Result<usize> {
        let end = self.count.checked_mul(self.stride).and_then(|size| size.checked_add(position));
        end.filter(|end| *end <= bytes.len()).ok_or_else(|| {
            let message = format!(
                "element `{}`: {} rows of {} bytes, {} bytes left",
                element.name,
                element.count,
                self.stride,
                bytes.len() - position
            );
            bad("TRUNCATED", position, message)
        })
    }

    fn read_binary(
        &mut self,
        element: &Element,
        bytes: &[u8],
        position: usize,
        big_endian: bool,
        limits: &Limits,
    ) -> Result<usize> {
        let mut cursor = Cursor { bytes, position, big_endian };
        if self.lists.is_empty() {
            let end = self.end_of_rows(element, bytes, position)?;
            limits.check_bytes((end - position) as u64)?;
            let mut rows = bytes[position..end].to_vec();
            for row in rows.chunks_exact_mut(self.stride.max(1)) {
                self.columns.iter().for_each(|c| row[c.offset..][..c.dtype.size()].reverse());
            }
            self.rows = Cow::Owned(rows);
            return Ok(end);
        }
        // every row has at least one byte, its shortest list length, so the loop ends with the file
        limits.check_bytes(element.count.saturating_mul(8 * self.lists.len() as u64))?;
        let mut rows = Vec::new();
        for _ in 0..self.count {
            let mut list = 0;
            for property in &element.properties {
                match property.kind {
                    PropertyType::Scalar(dtype) => cursor.copy(dtype, 1, &mut rows)?,
                    PropertyType::List(length, item) => {
                        let count = cursor.length(length)?;
                        cursor.copy(item, count, &mut self.lists[list].data)?;
                        self.lists[list].end_row();
                        list += 1;
                    }
                }
            }
        }
        self.rows = Cow::Owned(rows);
        Ok(cursor.position)
    }

    fn read_ascii(&mut self, element: &Element, bytes: &[u8], position: usize, limits: &Limits) -> Result<usize> {
        let mut words = Words { bytes, position };
        if element.properties.is_empty() {
            return Ok(position);
        }
        // each value takes a digit and a blank at least: refuses absurd counts before anything is allocated
        let least = element.count.saturating_mul(2 * element.properties.len() as u64);
        if least > (bytes.len() - position) as u64 + 1 {
            let message = format!("element `{}`: {} rows do not fit into the file", element.name, element.count);
            return Err(bad("TRUNCATED", position, message));
        }
        limits.check_bytes(element.count.saturating_mul((self.stride + 8 * self.lists.len()) as u64))?;
        let mut rows = Vec::with_capacity(self.count * self.stride);
        for _ in 0..self.count {
            let mut list = 0;
            for property in &element.properties {
                match property.kind {
                    PropertyType::Scalar(dtype) => words.value(dtype, &mut rows)?,
                    PropertyType::List(length, item) => {
                        let mut count = Vec::new();
                        words.value(length, &mut count)?;
                        let count = Cursor { bytes: &count, position: 0, big_endian: false }.length(length)?;
                        for _ in 0..count {
                            words.value(item, &mut self.lists[list].data)?;
                        }
                        self.lists[list].end_row();
                        list += 1;
                    }
                }
            }
        }
        self.rows = Cow::Owned(rows);
        Ok(words.position)
    }
}

impl Column {
    /// The value in a row, as f64 (exact for every type).
    pub fn f64(&self, row: &[u8]) -> f64 {
        let at = &row[self.offset..];
        match self.dtype {
            DType::U8 => f64::from(at[0]),
            DType::I8 => f64::from(at[0] as i8),
            DType::U16 => f64::from(u16::from_le_bytes([at[0], at[1]])),
            DType::I16 => f64::from(i16::from_le_bytes([at[0], at[1]])),
            DType::U32 => f64::from(u32::from_le_bytes([at[0], at[1], at[2], at[3]])),
            DType::I32 => f64::from(i32::from_le_bytes([at[0], at[1], at[2], at[3]])),
            DType::F16 => f16::from_le_bytes([at[0], at[1]]).to_f64(),
            DType::F32 => f64::from(f32::from_le_bytes([at[0], at[1], at[2], at[3]])),
            DType::F64 => f64::from_le_bytes([at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7]]),
        }
    }

    /// The value in a row, as f32: bit for bit for `float`, exact for `half`, rounded for `double` and large integers.
    pub fn f32(&self, row: &[u8]) -> f32 {
        let at = &row[self.offset..];
        match self.dtype {
            DType::F32 => f32::from_le_bytes([at[0], at[1], at[2], at[3]]),
            DType::F16 => f16::from_le_bytes([at[0], at[1]]).to_f32(),
            _ => self.f64(row) as f32,
        }
    }
}

impl List {
    /// The elements of row `index`, little-endian.
    pub fn row(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.data[start * self.dtype.size()..self.ends[index] * self.dtype.size()]
    }

    fn end_row(&mut self) {
        self.ends.push(self.data.len() / self.dtype.size());
    }
}

/// Reads binary values one after another.
struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    big_endian: bool,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8]> {
        let end = self.position.checked_add(size).filter(|end| *end <= self.bytes.len()).ok_or_else(|| {
            bad("TRUNCATED", self.position, format!("{size} bytes wanted, {} left", self.bytes.len() - self.position))
        })?;
        let taken = &self.bytes[self.position..end];
        self.position = end;
        Ok(taken)
    }

    /// Appends `count` values, little-endian.
    fn copy(&mut self, dtype: DType, count: usize, out: &mut Vec<u8>) -> Result<()> {
        let size = count.checked_mul(dtype.size()).ok_or_else(|| bad("VALUE", self.position, "a list too long"))?;
        let taken = self.take(size)?;
        let start = out.len();
        out.extend_from_slice(taken);
        if self.big_endian {
            out[start..].chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
        }
        Ok(())
    }

    fn length(&mut self, dtype: DType) -> Result<usize> {
        let offset = self.position;
        let mut value = Vec::with_capacity(8);
        self.copy(dtype, 1, &mut value)?;
        let length = Column { name: String::new(), dtype, offset: 0 }.f64(&value);
        if length < 0.0 {
            return Err(bad("VALUE", offset, format!("a list of {length} elements")));
        }
        Ok(length as usize)
    }
}

/// Reads the blank-separated words of an ASCII payload; line ends mean nothing.
struct Words<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Words<'_> {
    /// Parses the next word as `dtype` and appends its little-endian bytes.
    fn value(&mut self, dtype: DType, out: &mut Vec<u8>) -> Result<()> {
        let rest = &self.bytes[self.position..];
        let start = self.position + rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let length = self.bytes[start..].iter().take_while(|b| !b.is_ascii_whitespace()).count();
        let word = &self.bytes[start..start + length];
        self.position = start + length;
        if word.is_empty() {
            return Err(bad("TRUNCATED", start, "the file ends where a value is expected"));
        }
        let wrong = || {
            let name = super::header::name_of_dtype(dtype);
            bad("VALUE", start, format!("`{}` is no {name}", String::from_utf8_lossy(&word[..length.min(40)])))
        };
        let text = std::str::from_utf8(word).map_err(|_| wrong())?;
        let integer = |min: i64, max: i64| -> Result<i64> {
            // some writers print integers as `3.0`
            let value = text
                .parse::<i64>()
                .ok()
                .or_else(|| text.parse::<f64>().ok().filter(|v| v.fract() == 0.0 && v.abs() < 1e15).map(|v| v as i64));
            value.filter(|v| (min..=max).contains(v)).ok_or_else(wrong)
        };
        match dtype {
            DType::U8 => out.push(integer(0, 0xff)? as u8),
            DType::I8 => out.push(integer(-0x80, 0x7f)? as u8),
            DType::U16 => out.extend((integer(0, 0xffff)? as u16).to_le_bytes()),
            DType::I16 => out.extend((integer(-0x8000, 0x7fff)? as i16).to_le_bytes()),
            DType::U32 => out.extend((integer(0, 0xffff_ffff)? as u32).to_le_bytes()),
            DType::I32 => out.extend((integer(-0x8000_0000, 0x7fff_ffff)? as i32).to_le_bytes()),
            // parsed at their own precision: a detour through f64 would round twice
            DType::F16 => {
                let value = text.parse::<f64>().ok().or_else(|| special(text)).ok_or_else(wrong)?;
                out.extend(f16::from_f64(value).to_le_bytes());
            }
            DType::F32 => {
                let value = text.parse::<f32>().ok().or_else(|| special(text).map(|v| v as f32));
                out.extend(value.ok_or_else(wrong)?.to_le_bytes());
            }
            DType::F64 => {
                let value = text.parse::<f64>().ok().or_else(|| special(text)).ok_or_else(wrong)?;
                out.extend(value.to_le_bytes());
            }
        }
        Ok(())
    }
}

/// Spellings of infinity and NaN by C libraries that Rust does not parse: `1.#INF`, `-nan(ind)`, `1.#QNAN`.
fn special(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let (sign, body) = lower.strip_prefix('-').map_or((1.0, &lower[..]), |rest| (-1.0, rest));
    if body.starts_with("1.#inf") {
        Some(sign * f64::INFINITY)
    } else if body.starts_with("1.#") || body.starts_with("nan(") {
        Some(f64::NAN.copysign(sign))
    } else {
        None
    }
}
