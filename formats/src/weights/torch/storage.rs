//! Persistent ids: which storage, of which element type.

use crate::Result;

use super::{Storages, bad};
use crate::weights::{
    Dtype,
    pickle::{Id, Node, Tree},
    tensor::Storage,
};

/// `('storage', class, key, location, elements[, (view key, offset, elements)])`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reference {
    /// `None` for storages of bytes, whose tensors say the type.
    pub dtype: Option<Dtype>,
    pub key: String,
    /// In elements (in bytes without a type).
    pub count: usize,
    /// A part of the storage `key` that is known by a key of its own: key, offset, elements.
    pub view: Option<(String, usize, usize)>,
}

impl Reference {
    /// The reference that the node `id` is; `None` when it is none to a storage.
    pub(super) fn of(tree: &Tree<'_>, id: Id) -> Result<Option<Self>> {
        let Node::Persistent(inner) = tree.node(id) else { return Ok(None) };
        let Some([tag, class, key, _location, count, more @ ..]) = tree.sequence(*inner) else { return Ok(None) };
        if tree.text(*tag) != Some("storage") {
            return Ok(None);
        }
        let wrong = || bad("VALUE", "a reference to a storage that cannot be understood");
        let (_, class) = tree.global(*class).ok_or_else(wrong)?;
        let count = tree.int(*count).ok_or_else(wrong)?;
        let view = match more.first().map(|id| (tree.node(*id), tree.sequence(*id))) {
            None | Some((Node::None, _)) => None,
            Some((_, Some([key, offset, count]))) => Some((
                name(tree, *key).ok_or_else(wrong)?,
                tree.int(*offset).ok_or_else(wrong)?,
                tree.int(*count).ok_or_else(wrong)?,
            )),
            Some(_) => return Err(wrong()),
        };
        Ok(Some(Self { dtype: dtype_of(class)?, key: name(tree, *key).ok_or_else(wrong)?, count, view }))
    }

    /// Bytes of one element.
    pub(super) fn element(&self) -> usize {
        self.dtype.map_or(1, Dtype::size)
    }

    /// Bytes of the whole storage.
    pub(super) fn size(&self) -> Result<usize> {
        self.count
            .checked_mul(self.element())
            .ok_or_else(|| bad("VALUE", format!("a storage of {} elements", self.count)))
    }
}

impl<'a> Storages<'a> {
    /// The bytes that `reference` means.
    pub(super) fn find(&self, reference: &Reference) -> Result<Storage<'a>> {
        let key = reference.view.as_ref().map_or(&reference.key, |(key, ..)| key);
        self.by_key.get(key).cloned().ok_or_else(|| bad("MISSING", format!("there is no storage `{key}`")))
    }
}

/// A key: text, or a number in old files.
pub(in crate::weights) fn name(tree: &Tree<'_>, id: Id) -> Option<String> {
    tree.text(id).map(str::to_owned).or_else(|| tree.int::<i128>(id).map(|n| n.to_string()))
}

/// The element type of a storage class, such as `FloatStorage`.
pub(super) fn dtype_of(class: &str) -> Result<Option<Dtype>> {
    Ok(Some(match class {
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::Bf16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::Bool,
        "UInt16Storage" => Dtype::U16,
        "UInt32Storage" => Dtype::U32,
        "UInt64Storage" => Dtype::U64,
        "UntypedStorage" | "_UntypedStorage" => return Ok(None),
        other => return Err(bad("UNSUPPORTED", format!("storages of the class `{other}`"))),
    }))
}

/// The element type of a `torch.dtype`, such as `torch.float32`.
pub(super) fn dtype_named(name: &str) -> Option<Dtype> {
    Some(match name {
        "float32" | "float" => Dtype::F32,
        "float64" | "double" => Dtype::F64,
        "float16" | "half" => Dtype::F16,
        "bfloat16" => Dtype::Bf16,
        "int64" | "long" => Dtype::I64,
        "int32" | "int" => Dtype::I32,
        "int16" | "short" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint8" => Dtype::U8,
        "uint16" => Dtype::U16,
        "uint32" => Dtype::U32,
        "uint64" => Dtype::U64,
        "bool" => Dtype::Bool,
        _ => return None,
    })
}
