//! safetensors files as tensor maps.

use crate::{Error, Result};
use safetensors::{Dtype as Stored, SafeTensors};

use super::tensor::{Dtype, Tensor, TensorMap};

/// True when the file starts with the length of a JSON header and its bracket.
pub(super) fn sniff(bytes: &[u8]) -> bool {
    bytes.len() > 9 && bytes[5..8] == [0; 3] && bytes[8] == b'{'
}

/// Reads a safetensors file.
///
/// # Errors
/// `HEADER` for what the format's own crate refuses, `UNSUPPORTED` for element types without a [`Dtype`].
pub(super) fn read(bytes: &[u8]) -> Result<TensorMap<'_>> {
    let bad = |code, message: String| Error::format("safetensors", code, 0, message);
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| bad("HEADER", e.to_string()))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| bad("HEADER", e.to_string()))?;
    let mut map = TensorMap::new("safetensors");
    map.metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    for (name, view) in file.tensors() {
        let dtype = match view.dtype() {
            Stored::BOOL => Dtype::Bool,
            Stored::U8 => Dtype::U8,
            Stored::I8 => Dtype::I8,
            Stored::U16 => Dtype::U16,
            Stored::I16 => Dtype::I16,
            Stored::U32 => Dtype::U32,
            Stored::I32 => Dtype::I32,
            Stored::U64 => Dtype::U64,
            Stored::I64 => Dtype::I64,
            Stored::F16 => Dtype::F16,
            Stored::BF16 => Dtype::Bf16,
            Stored::F32 => Dtype::F32,
            Stored::F64 => Dtype::F64,
            other => return Err(bad("UNSUPPORTED", format!("tensor `{name}` has elements of type {other:?}"))),
        };
        let tensor = Tensor::contiguous(dtype, view.shape().to_vec(), view.data())?;
        map.tensors.insert(name, tensor);
    }
    Ok(map)
}
