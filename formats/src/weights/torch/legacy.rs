//! Files of PyTorch 0.1.10 to 1.5, and what `torch.Tensor` writes into foreign pickles to this day: pickles of a magic number, the
//! protocol, the system, the object and the list of storage keys; then every storage as a count of eight bytes and its elements.

use std::collections::BTreeMap;

use crate::{Error, Result};

use super::{Container, Storages, bad, storage};
use crate::weights::{
    Limits,
    pickle::{self, Id, Node, Tree},
    tensor::Storage,
    torch::storage::Reference,
};

/// The first pickle.
pub(super) const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// The second.
const PROTOCOL: i128 = 1001;

/// Takes the file apart; `at` is where the second pickle starts.
pub(super) fn open<'a>(bytes: &'a [u8], mut at: usize, limits: &Limits) -> Result<Container<'a>> {
    let mut next = || -> Result<Tree<'a>> {
        let (tree, used) = pickle::read_prefix(&bytes[at..], &limits.pickle)?;
        at += used;
        Ok(tree)
    };
    let protocol = next()?;
    if protocol.int(protocol.root()) != Some(PROTOCOL) {
        return Err(bad("UNSUPPORTED", "not protocol 1001"));
    }
    let system = next()?;
    let little = system.get(system.root(), "little_endian");
    if little.is_some_and(|id| *system.node(id) == Node::Bool(false)) {
        return Err(bad("UNSUPPORTED", "written on a big-endian machine"));
    }
    let tree = next()?;
    let keys = next()?;
    let storages = read_storages(bytes, at, &references(&tree)?, &keys)?;
    Ok(Container { kind: "PyTorch (legacy)", tree, storages, constants: None })
}

/// Every storage that the object refers to, by key.
fn references(tree: &Tree<'_>) -> Result<BTreeMap<String, Vec<Reference>>> {
    let mut found: BTreeMap<String, Vec<Reference>> = BTreeMap::new();
    for id in 0..tree.len() as Id {
        if let Some(reference) = Reference::of(tree, id)? {
            let of_key = found.entry(reference.key.clone()).or_default();
            if !of_key.contains(&reference) {
                of_key.push(reference);
            }
        }
    }
    Ok(found)
}

fn read_storages<'a>(
    bytes: &'a [u8],
    mut at: usize,
    references: &BTreeMap<String, Vec<Reference>>,
    keys: &Tree<'_>,
) -> Result<Storages<'a>> {
    let mut storages = Storages::default();
    for id in keys.sequence(keys.root()).ok_or_else(|| bad("VALUE", "the storage keys are no list"))? {
        let key = storage::name(keys, *id).ok_or_else(|| bad("VALUE", "a storage key that is no text"))?;
        let of_key = references.get(&key).ok_or_else(|| bad("VALUE", format!("nothing refers to storage `{key}`")))?;
        let data = read_counted(bytes, &mut at, &of_key[0])?;
        for reference in of_key {
            if let Some((view, offset, count)) = &reference.view {
                let (from, size) = (offset.checked_mul(reference.element()), count.checked_mul(reference.element()));
                let part = from.zip(size).and_then(|(from, size)| data.get(from..from.checked_add(size)?));
                let part = part.ok_or_else(|| bad("LAYOUT", format!("view `{view}` leaves its storage `{key}`")))?;
                storages.by_key.insert(view.clone(), Storage::Borrowed(part));
            }
        }
        storages.by_key.insert(key, Storage::Borrowed(data));
    }
    Ok(storages)
}

/// One storage: its count, which must be the promised one, and its elements.
pub(super) fn read_counted<'a>(bytes: &'a [u8], at: &mut usize, reference: &Reference) -> Result<&'a [u8]> {
    let rest = &bytes[*at..];
    let cut = |needed: usize| {
        let message = format!("storage `{}` needs {needed} bytes, {} left", reference.key, rest.len());
        Error::format("PyTorch", "TRUNCATED", *at as u64, message)
    };
    let (count, data) = rest.split_first_chunk::<8>().ok_or_else(|| cut(8))?;
    let count = i64::from_le_bytes(*count);
    if usize::try_from(count) != Ok(reference.count) {
        let message = format!("storage `{}` has {count} elements, {} were promised", reference.key, reference.count);
        return Err(Error::format("PyTorch", "VALUE", *at as u64, message));
    }
    let size = reference.size()?;
    let data = data.get(..size).ok_or_else(|| cut(size))?;
    *at += 8 + size;
    Ok(data)
}
