//! Tensors inside a weight file: a view of a storage, checked when it is made, copied when it is asked for.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use crate::{Error, Result};
use half::{bf16, f16};

/// Element type of a tensor; the names of safetensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dtype {
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
    Bf16,
    F32,
    F64,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// Bytes of a storage: part of the file, or unpacked and shared by the tensors that view it.
#[derive(Debug, Clone)]
pub(super) enum Storage<'a> {
    Borrowed(&'a [u8]),
    Shared(Arc<[u8]>),
}

impl Storage<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// A tensor of a weight file.
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    /// In elements.
    strides: Vec<usize>,
    /// In elements.
    offset: usize,
    storage: Storage<'a>,
}

/// Elements that a tensor may have beyond those of its storage, by repeating them with a stride of zero.
const REPEATED: usize = 1 << 16;

impl<'a> Tensor<'a> {
    /// A view of little-endian `storage`; strides and offset count elements.
    ///
    /// # Errors
    /// `LAYOUT` when the view leaves the storage, or repeats its elements more than 65,536 times in all.
    pub(super) fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        strides: Vec<usize>,
        offset: usize,
        storage: Storage<'a>,
    ) -> Result<Self> {
        let available = storage.bytes().len() / dtype.size();
        let wrong = |what: &str| {
            let view = format!("shape {shape:?}, strides {strides:?}, offset {offset}");
            Error::format("weights", "LAYOUT", 0, format!("{what}: {view} in a storage of {available} elements"))
        };
        if shape.len() != strides.len() || shape.len() > 16 {
            return Err(wrong("impossible dimensions"));
        }
        let elements = shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent));
        let elements = elements.ok_or_else(|| wrong("too many elements"))?;
        if elements > 0 {
            let reach = shape
                .iter()
                .zip(&strides)
                .try_fold(offset, |at, (extent, stride)| at.checked_add((extent - 1).checked_mul(*stride)?));
            if reach.is_none_or(|last| last >= available) {
                return Err(wrong("outside of the storage"));
            }
            if elements > available.saturating_add(REPEATED) {
                return Err(wrong("too many repeated elements"));
            }
        }
        Ok(Self { dtype, shape, strides, offset, storage })
    }

    /// A tensor in row-major order that fills `bytes`.
    pub(super) fn contiguous(dtype: Dtype, shape: Vec<usize>, bytes: &'a [u8]) -> Result<Self> {
        let mut strides = vec![1usize; shape.len()];
        for axis in (1..shape.len()).rev() {
            // an overflow is found again, and reported, by `new`
            strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
        }
        Self::new(dtype, shape, strides, 0, Storage::Borrowed(bytes))
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Extents, slowest first; empty for a single number.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True when there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements in row-major order, little-endian; borrowed when they lie so in the file.
    pub fn to_bytes(&self) -> Cow<'_, [u8]> {
        let size = self.dtype.size();
        let count = self.len();
        let storage = self.storage.bytes();
        let mut expected = 1;
        let row_major = self.shape.iter().zip(&self.strides).rev().all(|(extent, stride)| {
            let fits = *extent == 1 || *stride == expected;
            expected *= extent;
            fits
        });
        if count == 0 {
            return Cow::Borrowed(&[]);
        }
        if row_major {
            return Cow::Borrowed(&storage[self.offset * size..][..count * size]);
        }
        let mut out = Vec::with_capacity(count * size);
        let mut index = vec![0usize; self.shape.len()];
        for _ in 0..count {
            let at = self.offset + index.iter().zip(&self.strides).map(|(i, s)| i * s).sum::<usize>();
            out.extend_from_slice(&storage[at * size..][..size]);
            for axis in (0..self.shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Cow::Owned(out)
    }

    /// The elements in row-major order as f32: bit for bit for F32, rounded to nearest for wider types.
    pub fn to_f32(&self) -> Vec<f32> {
        let bytes = self.to_bytes();
        fn map<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
        }
        match self.dtype {
            Dtype::Bool | Dtype::U8 => map(&bytes, |[b]| f32::from(b)),
            Dtype::I8 => map(&bytes, |[b]| f32::from(b as i8)),
            Dtype::U16 => map(&bytes, |b| f32::from(u16::from_le_bytes(b))),
            Dtype::I16 => map(&bytes, |b| f32::from(i16::from_le_bytes(b))),
            Dtype::U32 => map(&bytes, |b| u32::from_le_bytes(b) as f32),
            Dtype::I32 => map(&bytes, |b| i32::from_le_bytes(b) as f32),
            Dtype::U64 => map(&bytes, |b| u64::from_le_bytes(b) as f32),
            Dtype::I64 => map(&bytes, |b| i64::from_le_bytes(b) as f32),
            Dtype::F16 => map(&bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::Bf16 => map(&bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F32 => map(&bytes, f32::from_le_bytes),
            Dtype::F64 => map(&bytes, |b| f64::from_le_bytes(b) as f32),
        }
    }
}

/// The tensors of a weight file by name.
#[derive(Debug, Clone)]
pub struct TensorMap<'a> {
    /// What kind of file it was, such as `safetensors` or `PyTorch (zip)`.
    pub container: &'static str,
    /// Tensors by the path that leads to them.
    pub tensors: BTreeMap<String, Tensor<'a>>,
    /// Text metadata, where the container has some.
    pub metadata: BTreeMap<String, String>,
}

impl<'a> TensorMap<'a> {
    pub(super) fn new(container: &'static str) -> Self {
        Self { container, tensors: BTreeMap::new(), metadata: BTreeMap::new() }
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor<'a>> {
        self.tensors.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[usize], strides: &[usize], offset: usize, storage: &[u8]) -> Result<Vec<u8>> {
        let tensor = Tensor::new(Dtype::U8, shape.to_vec(), strides.to_vec(), offset, Storage::Borrowed(storage))?;
        Ok(tensor.to_bytes().into_owned())
    }

    #[test]
    fn views_follow_their_strides() {
        let storage = [0, 1, 2, 3, 4, 5];
        assert_eq!(view(&[2, 3], &[3, 1], 0, &storage).unwrap(), storage);
        assert_eq!(view(&[3, 2], &[1, 3], 0, &storage).unwrap(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(view(&[2], &[2], 1, &storage).unwrap(), [1, 3]);
        assert_eq!(view(&[4], &[0], 5, &storage).unwrap(), [5; 4]);
        assert_eq!(view(&[], &[], 2, &storage).unwrap(), [2]);
        assert_eq!(view(&[0, 9], &[9, 1], 77, &[]).unwrap(), [] as [u8; 0]);
    }

    #[test]
    fn views_outside_of_their_storage_are_refused() {
        let storage = [0; 6];
        for (shape, strides, offset) in [
            (&[2, 3][..], &[3, 1][..], 1),
            (&[2], &[6], 0),
            (&[1], &[1], 6),
            (&[2], &[usize::MAX], 0),
            (&[usize::MAX, 2], &[0, 0], 0),
            (&[1 << 20], &[0], 0),
            (&[2], &[1, 1], 0),
            (&[], &[], usize::MAX),
        ] {
            let error = view(shape, strides, offset, &storage).unwrap_err();
            assert_eq!(error.code(), "LAYOUT", "{shape:?} {strides:?} {offset}");
        }
    }

    #[test]
    fn every_type_becomes_f32() {
        let of = |dtype, bytes: &[u8]| Tensor::contiguous(dtype, vec![1], bytes).unwrap().to_f32()[0];
        assert_eq!(of(Dtype::Bool, &[1]), 1.0);
        assert_eq!(of(Dtype::U8, &[200]), 200.0);
        assert_eq!(of(Dtype::I8, &[0xff]), -1.0);
        assert_eq!(of(Dtype::I16, &(-300i16).to_le_bytes()), -300.0);
        assert_eq!(of(Dtype::U16, &60_000u16.to_le_bytes()), 60_000.0);
        assert_eq!(of(Dtype::U32, &70_000u32.to_le_bytes()), 70_000.0);
        assert_eq!(of(Dtype::U64, &7u64.to_le_bytes()), 7.0);
        assert_eq!(of(Dtype::I32, &70_000i32.to_le_bytes()), 70_000.0);
        assert_eq!(of(Dtype::I64, &(-5i64).to_le_bytes()), -5.0);
        assert_eq!(of(Dtype::F16, &f16::from_f32(0.5).to_le_bytes()), 0.5);
        assert_eq!(of(Dtype::Bf16, &bf16::from_f32(-2.0).to_le_bytes()), -2.0);
        assert_eq!(of(Dtype::F32, &0.1f32.to_le_bytes()), 0.1);
        assert_eq!(of(Dtype::F64, &0.1f64.to_le_bytes()), 0.1);
    }
}
