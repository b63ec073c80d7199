//! From the calls that PyTorch pickles for a tensor to the tensor.

use std::{borrow::Cow, collections::HashMap};

use super::{
    Storages, bad, single_storage,
    storage::{self, Reference},
};
use crate::{
    Result,
    weights::{
        Dtype, Limits,
        pickle::{Id, Node, Tree},
        tensor::{Storage, Tensor},
    },
};

/// Recognises the tensors among the values of a pickle.
pub(in crate::weights) struct Rebuild<'t, 'a> {
    tree: &'t Tree<'a>,
    storages: &'t Storages<'a>,
    /// `constants` for those of a script, whose storages are numbered on their own.
    prefix: &'t str,
    limits: &'t Limits,
    /// Storages of payloads that were read already.
    loaded: HashMap<Id, (Option<Dtype>, Storage<'a>)>,
}

impl<'t, 'a> Rebuild<'t, 'a> {
    pub(in crate::weights) fn new(
        tree: &'t Tree<'a>,
        storages: &'t Storages<'a>,
        prefix: &'t str,
        limits: &'t Limits,
    ) -> Self {
        Self { tree, storages, prefix, limits, loaded: HashMap::new() }
    }

    /// The tensor that the node is, if it is one.
    pub(in crate::weights) fn tensor(&mut self, id: Id) -> Result<Option<Tensor<'a>>> {
        let tree = self.tree;
        let mut id = id;
        // a parameter wraps a tensor; more than a few wrappers are no tensor
        for _ in 0..4 {
            if let Node::Persistent(inner) = tree.node(id) {
                return Ok(storage::name(tree, *inner).and_then(|key| self.storages.tensors.get(&key).cloned()));
            }
            let Some((module, name, arguments, _)) = tree.call(id) else { return Ok(None) };
            match (module, name, arguments) {
                ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state", [data, ..]) => id = *data,
                ("torch._tensor", "_rebuild_from_type_v2", [function, _class, arguments, ..]) => {
                    let function = tree.global(*function).zip(tree.sequence(*arguments));
                    return function
                        .map_or(Ok(None), |((module, name), arguments)| self.rebuild(module, name, arguments));
                }
                _ => return self.rebuild(module, name, arguments),
            }
        }
        Ok(None)
    }

    fn rebuild(&mut self, module: &str, name: &str, arguments: &[Id]) -> Result<Option<Tensor<'a>>> {
        let tree = self.tree;
        let ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") = (module, name) else {
            return Ok(None);
        };
        let wrong = || bad("VALUE", format!("a call of {name} that cannot be understood"));
        let [storage, offset, shape, strides, more @ ..] = arguments else { return Err(wrong()) };
        let (mut dtype, storage) = self.storage(*storage)?.ok_or_else(wrong)?;
        if name == "_rebuild_tensor_v3" {
            // (requires_grad, hooks, dtype)
            dtype = more.get(2).and_then(|id| tree.global(*id)).and_then(|(_, name)| storage::dtype_named(name));
        }
        let dtype = dtype.ok_or_else(|| bad("UNSUPPORTED", "a tensor whose element type is not known"))?;
        let numbers = |id: Id| -> Option<Vec<usize>> { tree.sequence(id)?.iter().map(|n| tree.int(*n)).collect() };
        let (shape, strides) = (numbers(*shape).ok_or_else(wrong)?, numbers(*strides).ok_or_else(wrong)?);
        let offset = tree.int(*offset).ok_or_else(wrong)?;
        Tensor::new(dtype, shape, strides, offset, storage).map(Some)
    }

    fn storage(&mut self, id: Id) -> Result<Option<(Option<Dtype>, Storage<'a>)>> {
        let tree = self.tree;
        if let Some(mut reference) = Reference::of(tree, id)? {
            if self.prefix == "constants" {
                reference.key.insert_str(0, "constants/");
            }
            return Ok(Some((reference.dtype, self.storages.find(&reference)?)));
        }
        let Some(("torch.storage", "_load_from_bytes", [payload], _)) = tree.call(id) else { return Ok(None) };
        if let Some(loaded) = self.loaded.get(payload) {
            return Ok(Some(loaded.clone()));
        }
        let loaded = match tree.node(*payload) {
            Node::Bytes(Cow::Borrowed(bytes)) => {
                let (reference, storage) = single_storage(bytes, self.limits)?;
                (reference.dtype, storage)
            }
            _ => {
                let bytes = tree.bytes(*payload).ok_or_else(|| bad("VALUE", "a payload that is no bytes"))?;
                let (reference, storage) = single_storage(&bytes, self.limits)?;
                (reference.dtype, Storage::Shared(storage.bytes().into()))
            }
        };
        self.loaded.insert(*payload, loaded.clone());
        Ok(Some(loaded))
    }
}
