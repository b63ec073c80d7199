//! From a pickle's values to named tensors.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use gav_formats::{Error, Result};

use super::{
    Storages, bad, single_storage,
    storage::{self, Reference},
};
use crate::weights::{
    Dtype, Limits,
    pickle::{Call, Id, Node, Tree},
    tensor::{Storage, Tensor},
};

/// Adds every tensor under the root of `tree` to `out`, named by its path behind `prefix`.
pub(super) fn collect<'a>(
    tree: &Tree<'a>,
    storages: &Storages<'a>,
    prefix: &str,
    limits: &Limits,
    out: &mut BTreeMap<String, Tensor<'a>>,
) -> Result<()> {
    let mut walker =
        Walker { tree, storages, prefix, limits, out, visits: 0, path: Vec::new(), loaded: HashMap::new() };
    walker.visit(tree.root(), prefix)
}

struct Walker<'t, 'a> {
    tree: &'t Tree<'a>,
    storages: &'t Storages<'a>,
    prefix: &'t str,
    limits: &'t Limits,
    out: &'t mut BTreeMap<String, Tensor<'a>>,
    visits: u32,
    /// The values that lead to the present one, so that cycles end.
    path: Vec<Id>,
    /// Storages of payloads that were read already.
    loaded: HashMap<Id, (Option<Dtype>, Storage<'a>)>,
}

impl<'a> Walker<'_, 'a> {
    fn visit(&mut self, id: Id, name: &str) -> Result<()> {
        if self.path.contains(&id) {
            return Ok(());
        }
        self.visits += 1;
        for (what, found, limit) in [
            ("pickled values visited", self.visits, self.limits.visits),
            ("depth of pickled values", self.path.len() as u32, self.limits.depth),
            // names of modules have at most about 200 characters
            ("characters of a tensor's name", name.len() as u32, 1024),
        ] {
            if found > limit {
                return Err(Error::Limit { what, requested: found.into(), limit: limit.into() });
            }
        }
        if let Some(tensor) = self.tensor(id)? {
            let name = if name.is_empty() { "tensor" } else { name };
            self.out.insert(name.to_owned(), tensor);
            return Ok(());
        }
        self.path.push(id);
        let tree = self.tree;
        match tree.node(id) {
            Node::List(items) | Node::Tuple(items) => self.items(items, name)?,
            Node::Dict(entries) => self.entries(entries, name)?,
            Node::Call(call) => self.object(call, id, name)?,
            _ => {}
        }
        self.path.pop();
        Ok(())
    }

    fn object(&mut self, call: &Call, id: Id, name: &str) -> Result<()> {
        let tree = self.tree;
        match tree.call(id) {
            // StyleGAN's persistent classes: one dictionary with the source text, which stays unread, and the state
            Some((module, "_reconstruct_persistent_obj", [meta, ..], _)) if module.ends_with("persistence") => {
                if let Some(state) = tree.get(*meta, "state") {
                    self.state(state, name)?;
                }
            }
            // Python 2 writes the pairs of an OrderedDict as an argument
            Some(("collections", "OrderedDict", [pairs], _)) => {
                for pair in tree.sequence(*pairs).unwrap_or_default() {
                    if let Some([key, value]) = tree.sequence(*pair) {
                        self.entries(&[(*key, *value)], name)?;
                    }
                }
            }
            _ => {}
        }
        self.entries(&call.entries, name)?;
        self.items(&call.elements, name)?;
        call.state.map_or(Ok(()), |state| self.state(state, name))
    }

    /// The `__dict__` of an object: of a module only what `state_dict()` would show, of anything else every attribute.
    fn state(&mut self, state: Id, name: &str) -> Result<()> {
        let tree = self.tree;
        let groups = ["_parameters", "_buffers", "_modules"].map(|group| tree.get(state, group));
        if groups.iter().any(Option::is_some) {
            return groups.into_iter().flatten().try_for_each(|group| self.visit(group, name));
        }
        match tree.node(state) {
            // (dictionary, slots)
            Node::Tuple(parts) => parts.iter().try_for_each(|part| self.visit(*part, name)),
            _ => self.visit(state, name),
        }
    }

    fn entries(&mut self, entries: &[(Id, Id)], name: &str) -> Result<()> {
        for (key, value) in entries {
            if let Some(key) = storage::name(self.tree, *key).filter(|key| key != "_metadata") {
                self.visit(*value, &join(name, &key))?;
            }
        }
        Ok(())
    }

    fn items(&mut self, items: &[Id], name: &str) -> Result<()> {
        items.iter().enumerate().try_for_each(|(index, item)| self.visit(*item, &join(name, &index.to_string())))
    }

    /// The tensor that the node is, if it is one.
    fn tensor(&mut self, id: Id) -> Result<Option<Tensor<'a>>> {
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

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}
