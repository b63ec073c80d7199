//! Named arrays inside chunks, as safetensors (`spec/gav.md` 6.8, 6.10).

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{DType, NamedArray, Result, gav::container::bad};

/// Serialises tensors (name, type, shape, little-endian data) with metadata; the same input gives the same bytes.
pub(crate) fn serialize(tensors: Vec<(&str, DType, Vec<usize>, &[u8])>, metadata: &[(&str, String)]) -> Vec<u8> {
    let views = tensors.into_iter().map(|(name, dtype, shape, data)| {
        (name, TensorView::new(dtype_of(dtype), shape, data).expect("shapes were checked by the avatar"))
    });
    let body = safetensors::serialize(views.collect::<Vec<_>>(), None).expect("valid tensors");
    if metadata.is_empty() {
        return body;
    }
    // the crate keeps metadata in a hash map, whose order changes from run to run, so its entry is composed here
    let header_bytes = u64::from_le_bytes(body[..8].try_into().expect("eight bytes")) as usize;
    let header = std::str::from_utf8(&body[8..8 + header_bytes]).expect("JSON header").trim_end();
    let entries: Vec<String> =
        metadata.iter().map(|(k, v)| format!("{}:{}", serde_json::json!(k), serde_json::json!(v))).collect();
    let separator = if header == "{}" { "" } else { "," };
    let mut text = format!("{{\"__metadata__\":{{{}}}{separator}{}", entries.join(","), &header[1..]);
    while text.len() % 8 != 0 {
        text.push(' ');
    }
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(&body[8 + header_bytes..]);
    out
}

/// Parses tensors of the types that `.gav` knows, sorted by name.
pub(crate) fn parse(bytes: &[u8]) -> Result<(HashMap<String, String>, Vec<NamedArray>)> {
    let wrong = |message: String| bad("TENSORS", 0, message);
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| wrong(e.to_string()))?;
    let tensors = SafeTensors::deserialize(bytes).map_err(|e| wrong(e.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let mut arrays = Vec::new();
    for (name, view) in tensors.iter() {
        let dtype = match view.dtype() {
            Dtype::U8 => DType::U8,
            Dtype::I8 => DType::I8,
            Dtype::U16 => DType::U16,
            Dtype::I16 => DType::I16,
            Dtype::U32 => DType::U32,
            Dtype::I32 => DType::I32,
            Dtype::F16 => DType::F16,
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            other => return Err(wrong(format!("tensor `{name}` has type {other:?}"))),
        };
        let shape = view.shape().iter().map(|&d| u32::try_from(d)).collect::<std::result::Result<_, _>>();
        let shape = shape.map_err(|_| wrong(format!("tensor `{name}` is too large")))?;
        arrays.push(NamedArray { name: name.to_owned(), dtype, shape, data: view.data().to_vec() });
    }
    arrays.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((metadata, arrays))
}

/// The safetensors type of a [`DType`].
fn dtype_of(dtype: DType) -> Dtype {
    match dtype {
        DType::U8 => Dtype::U8,
        DType::I8 => Dtype::I8,
        DType::U16 => Dtype::U16,
        DType::I16 => Dtype::I16,
        DType::U32 => Dtype::U32,
        DType::I32 => Dtype::I32,
        DType::F16 => Dtype::F16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
    }
}
