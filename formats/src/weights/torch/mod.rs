//! PyTorch files of every age: each container is taken apart into one pickle and its storages, which [`walk`] turns into tensors.
//!
//! Source: `torch/serialization.py` and `torch/_utils.py` of PyTorch 2 (what is stored where), read for the formats only.

mod legacy;
mod rebuild;
mod storage;
mod tar;
mod walk;
mod zip;

use std::collections::HashMap;

use super::{
    Limits, TensorMap,
    pickle::{self, Id, Tree},
    tensor::{Storage, Tensor},
};
use crate::{Error, Result};

pub(super) use rebuild::Rebuild;
use storage::Reference;
pub(super) use storage::name;

/// A file taken apart.
pub(super) struct Container<'a> {
    pub kind: &'static str,
    pub tree: Tree<'a>,
    pub storages: Storages<'a>,
    /// Tensors that the pickle holds beside the main one: the constants of TorchScript.
    pub constants: Option<Tree<'a>>,
}

/// What the persistent ids of a pickle refer to.
#[derive(Default)]
pub(super) struct Storages<'a> {
    /// Storages by key.
    by_key: HashMap<String, Storage<'a>>,
    /// Whole tensors by key, in TAR files only.
    tensors: HashMap<String, Tensor<'a>>,
}

fn bad(code: &'static str, message: impl Into<String>) -> Error {
    Error::format("PyTorch", code, 0, message)
}

/// True for what may be a PyTorch file or a pickle.
pub(super) fn sniff(bytes: &[u8]) -> bool {
    zip::sniff(bytes) || tar::sniff(bytes) || (bytes.len() > 1 && bytes[0] == 0x80 && bytes[1] <= 5)
}

/// Reads a PyTorch file or a pickle with PyTorch tensors in it.
pub(super) fn read<'a>(bytes: &'a [u8], limits: &Limits) -> Result<TensorMap<'a>> {
    tensors(&open(bytes, limits)?, limits)
}

/// The tensors of a file taken apart.
pub(super) fn tensors<'a>(container: &Container<'a>, limits: &Limits) -> Result<TensorMap<'a>> {
    let mut map = TensorMap::new(container.kind);
    walk::collect(&container.tree, &container.storages, "", limits, &mut map.tensors)?;
    if let Some(constants) = &container.constants {
        walk::collect(constants, &container.storages, "constants", limits, &mut map.tensors)?;
    }
    Ok(map)
}

/// True for a ZIP with a pickle in it, which a `.npz` never has.
pub(super) fn is_zip(bytes: &[u8]) -> bool {
    zip::sniff(bytes) && zip::holds_pickle(bytes)
}

/// Takes a file apart.
pub(super) fn open<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Container<'a>> {
    if zip::sniff(bytes) {
        return zip::open(bytes, limits);
    }
    if tar::sniff(bytes) {
        return tar::open(bytes, limits);
    }
    let (first, used) = pickle::read_prefix(bytes, &limits.pickle)?;
    if first.int(first.root()) == Some(legacy::MAGIC) {
        return legacy::open(bytes, used, limits);
    }
    Ok(Container { kind: "pickle", tree: first, storages: Storages::default(), constants: None })
}

/// The storage that is the whole content of a PyTorch file: the payload of `torch.storage._load_from_bytes`.
fn single_storage<'a>(bytes: &'a [u8], limits: &Limits) -> Result<(Reference, Storage<'a>)> {
    // nothing compresses inside of a pickle, so nothing is unpacked
    let container = open(bytes, &Limits { unpacked_bytes: 0, ..*limits })?;
    let root: Id = container.tree.root();
    let reference = Reference::of(&container.tree, root)?.ok_or_else(|| bad("VALUE", "a payload without a storage"))?;
    let storage = container.storages.find(&reference)?;
    Ok((reference, storage))
}
