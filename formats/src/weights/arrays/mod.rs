//! Every file in which scientific Python keeps numbers, as arrays with names.

mod chumpy;
mod numpy;
mod objects;
mod sparse;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

pub use write::{Entry, write_arrays};

use super::{
    Limits, TensorMap,
    pickle::{Node, Tree},
    safetensors,
    tensor::{Dtype, Tensor},
    torch::{self, Container},
};
use crate::{
    Error, Result,
    npy::{self, NpyArray, NpyType, read_npy, read_npz},
};

/// What a file holds, by the path that leads to it: keys, indices and attributes joined by dots, such as `camera.R`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Arrays {
    /// What kind of file it was, such as `npz` or `PyTorch (zip)`.
    pub container: &'static str,
    /// Numbers, single ones too (an array without dimensions); lists of numbers are one array. A file of one value calls it `array`.
    pub arrays: BTreeMap<String, NpyArray>,
    /// Texts.
    pub texts: BTreeMap<String, String>,
    /// Names of what is neither: arrays of objects, records and texts, complex numbers, bytes, integers outside of `i64`.
    pub skipped: Vec<String>,
}

impl Arrays {
    /// The array of this name.
    pub fn get(&self, name: &str) -> Option<&NpyArray> {
        self.arrays.get(name)
    }

    fn new(container: &'static str) -> Self {
        Self { container, ..Self::default() }
    }

    /// Copies of tensors; `bfloat16`, which NumPy does not know, becomes float32.
    fn add_tensors(&mut self, map: &TensorMap<'_>, limits: &Limits) -> Result<()> {
        let mut budget = Budget { left: limits.array_bytes, limit: limits.array_bytes };
        for (name, tensor) in &map.tensors {
            self.arrays.insert(name.clone(), array_of(tensor, &mut budget)?);
        }
        Ok(())
    }
}

/// Reads all numbers and texts of a file: `.npy`, `.npz` (stored or deflated), safetensors, a pickle of any protocol, or a file of PyTorch.
///
/// A pickle may hold dictionaries, lists, tuples, sets, texts, numbers, arrays of NumPy (either byte order, either memory order), sparse
/// matrices of SciPy (CSC, CSR, COO; they become dense), chumpy's `Ch` and `Select`, and tensors. Files of networks (TorchScript,
/// StyleGAN's snapshots) give their tensors, as [`super::read`] does. Nothing in the file is executed.
///
/// # Errors
/// `UNKNOWN_FORMAT`; `CLASS` for an object of any other class, with its name; `VALUE` for objects whose content contradicts itself;
/// the errors of the container; limits.
pub fn read_arrays(bytes: &[u8], limits: &Limits) -> Result<Arrays> {
    let npy_limits = crate::Limits { decoded_bytes: limits.array_bytes, ..crate::Limits::default() };
    if bytes.starts_with(npy::MAGIC) {
        let mut out = Arrays::new("npy");
        out.arrays.insert(SINGLE.to_owned(), read_npy(bytes, &npy_limits)?);
        Ok(out)
    } else if safetensors::sniff(bytes) {
        let mut out = Arrays::new("safetensors");
        out.add_tensors(&safetensors::read(bytes)?, limits)?;
        Ok(out)
    } else if bytes.starts_with(b"PK\x03\x04") && !torch::is_zip(bytes) {
        let npz = read_npz(bytes, &npy_limits)?;
        let mut out = Arrays { skipped: npz.skipped, ..Arrays::new("npz") };
        for (name, array) in npz.arrays {
            if out.arrays.insert(name.clone(), array).is_some() {
                return Err(Error::format("npz", "VALUE", 0, format!("two members are called `{name}.npy`")));
            }
        }
        Ok(out)
    } else if torch::sniff(bytes) || is_text_pickle(bytes) {
        let container = torch::open(bytes, limits)?;
        let mut out = Arrays::new(container.kind);
        if is_network(&container) {
            out.add_tensors(&torch::tensors(&container, limits)?, limits)?;
        } else {
            objects::collect(&container, limits, &mut out)?;
        }
        Ok(out)
    } else {
        let message = "neither an array nor a pickle nor a file of PyTorch";
        Err(Error::format("arrays", "UNKNOWN_FORMAT", 0, message))
    }
}

/// What a file of a single value calls it.
const SINGLE: &str = "array";

/// Pickles of protocols 0 and 1 have no mark of their own: these start with what makes an object, and all end with a full stop.
fn is_text_pickle(bytes: &[u8]) -> bool {
    let starts = bytes.first().is_some_and(|byte| matches!(byte, b'(' | b'c' | b'}' | b']' | b')'));
    starts && bytes.trim_ascii_end().last() == Some(&b'.')
}

/// Networks consist of objects of any class, whose tensors alone are data.
fn is_network(container: &Container<'_>) -> bool {
    container.constants.is_some() || holds_persistent_objects(&container.tree)
}

fn holds_persistent_objects(tree: &Tree<'_>) -> bool {
    (0..tree.len() as u32).any(|id| {
        matches!(tree.node(id), Node::Global { module, name }
            if name == "_reconstruct_persistent_obj" && module.ends_with("persistence"))
    })
}

/// What may still be spent on arrays.
struct Budget {
    left: u64,
    limit: u64,
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> Result<()> {
        self.left = self.left.checked_sub(bytes as u64).ok_or(Error::Limit {
            what: "bytes of arrays",
            requested: (self.limit - self.left).saturating_add(bytes as u64),
            limit: self.limit,
        })?;
        Ok(())
    }
}

fn array_of(tensor: &Tensor<'_>, budget: &mut Budget) -> Result<NpyArray> {
    let shape = tensor.shape().to_vec();
    // a bfloat16 takes four bytes afterwards
    budget.spend(tensor.len() * tensor.dtype().size().max(4))?;
    let dtype = match tensor.dtype() {
        Dtype::Bool => NpyType::Bool,
        Dtype::U8 => NpyType::U8,
        Dtype::I8 => NpyType::I8,
        Dtype::U16 => NpyType::U16,
        Dtype::I16 => NpyType::I16,
        Dtype::U32 => NpyType::U32,
        Dtype::I32 => NpyType::I32,
        Dtype::U64 => NpyType::U64,
        Dtype::I64 => NpyType::I64,
        Dtype::F16 => NpyType::F16,
        Dtype::F32 => NpyType::F32,
        Dtype::F64 => NpyType::F64,
        Dtype::Bf16 => return Ok(NpyArray::from_f32(shape, &tensor.to_f32())),
    };
    Ok(NpyArray { dtype, shape, data: tensor.to_bytes().into_owned() })
}
