//! From a pickle's values to named tensors.

use std::collections::BTreeMap;

use super::{Storages, rebuild::Rebuild, storage};
use crate::{
    Error, Result,
    weights::{
        Limits, join,
        pickle::{Call, Id, Node, Tree},
        tensor::Tensor,
    },
};

/// Adds every tensor under the root of `tree` to `out`, named by its path behind `prefix`.
pub(super) fn collect<'a>(
    tree: &Tree<'a>,
    storages: &Storages<'a>,
    prefix: &str,
    limits: &Limits,
    out: &mut BTreeMap<String, Tensor<'a>>,
) -> Result<()> {
    let rebuild = Rebuild::new(tree, storages, prefix, limits);
    let mut walker = Walker { tree, limits, rebuild, out, visits: 0, path: Vec::new() };
    walker.visit(tree.root(), prefix)
}

struct Walker<'t, 'a> {
    tree: &'t Tree<'a>,
    limits: &'t Limits,
    rebuild: Rebuild<'t, 'a>,
    out: &'t mut BTreeMap<String, Tensor<'a>>,
    visits: u32,
    /// The values that lead to the present one, so that cycles end.
    path: Vec<Id>,
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
        if let Some(tensor) = self.rebuild.tensor(id)? {
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
}
