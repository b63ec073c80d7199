//! User attributes: any per-splat column that the splat model has no place for.

use crate::{Error, Result};

/// Element type of stored arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum DType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F16 = 6,
    F32 = 7,
    F64 = 8,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The type with this number in the file.
    pub const fn from_id(id: u8) -> Option<Self> {
        Some(match id {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F16,
            7 => Self::F32,
            8 => Self::F64,
            _ => return None,
        })
    }
}

/// A per-splat column: `width` elements of `dtype` for each splat, little-endian.
#[derive(Debug, Clone, PartialEq)]
pub struct UserAttribute {
    /// Name, unique in the avatar, such as the PLY property it came from.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Elements per splat.
    pub width: u32,
    /// N × width elements.
    pub data: Vec<u8>,
}

impl UserAttribute {
    /// A float32 column.
    pub fn from_f32(name: impl Into<String>, width: u32, values: &[f32]) -> Self {
        Self { name: name.into(), dtype: DType::F32, width, data: bytemuck::cast_slice(values).to_vec() }
    }

    /// Bytes of one splat.
    pub fn row_bytes(&self) -> usize {
        self.width as usize * self.dtype.size()
    }

    /// Checks the length against a splat count.
    pub fn validate(&self, count: usize) -> Result<()> {
        if self.width == 0 || self.data.len() != count * self.row_bytes() {
            return Err(Error::usage(format!(
                "attribute `{}` holds {} bytes, {count} splats × {} expected",
                self.name,
                self.data.len(),
                self.row_bytes()
            )));
        }
        Ok(())
    }

    /// The rows at `indices`, in that order.
    pub fn gather(&self, indices: &[u32]) -> Self {
        let row = self.row_bytes();
        let mut data = Vec::with_capacity(indices.len() * row);
        for &i in indices {
            data.extend_from_slice(&self.data[i as usize * row..][..row]);
        }
        Self { name: self.name.clone(), dtype: self.dtype, width: self.width, data }
    }
}
