//! Files of PyTorch before 0.1.10 (the AlexNet of torchvision is one): a TAR with the members `storages`, `tensors` and `pickle`.
//!
//! `storages`: a count; per storage a pickle of (key, location, class), a count of eight bytes and the elements; a list of views.
//! `tensors`: a count; per tensor a pickle of (key, storage key, class), then as little-endian integers the number of dimensions (8 bytes,
//! of which 4 count), sizes, strides and offset. `pickle` refers to tensors by key.

use std::io::Cursor;

use crate::{Error, Result};

use super::{Container, Storages, bad, legacy, storage};
use crate::weights::{
    Limits,
    pickle::{self, Tree},
    tensor::{Storage, Tensor},
    torch::storage::Reference,
};

/// True when the first member's header has the mark of the format, or one of the expected names with a checksum behind it.
pub(super) fn sniff(bytes: &[u8]) -> bool {
    let Some(header) = bytes.get(..512) else { return false };
    let named = ["storages\0", "tensors\0", "pickle\0", "sys_info\0"].iter().any(|n| header.starts_with(n.as_bytes()));
    named && (header[257..262] == *b"ustar" || header[148..156].iter().all(|c| matches!(c, b'0'..=b'7' | b' ' | 0)))
}

/// Takes the archive apart.
pub(super) fn open<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Container<'a>> {
    let mut reader = Parts { bytes: member(bytes, "storages")?, at: 0, limits };
    let mut storages = Storages::default();
    let mut dtypes = std::collections::HashMap::new();
    for _ in 0..reader.count()? {
        let args = reader.pickle()?;
        let [key, _location, class] = args.sequence(args.root()).unwrap_or_default() else {
            return Err(bad("VALUE", "a storage without key, location and class"));
        };
        let (key, class) = (storage::name(&args, *key), args.global(*class));
        let (Some(key), Some((_, class))) = (key, class) else {
            return Err(bad("VALUE", "a storage whose key or class is no name"));
        };
        let count = reader.bytes.get(reader.at..).and_then(|rest| rest.first_chunk::<8>());
        let count = count.and_then(|count| usize::try_from(i64::from_le_bytes(*count)).ok()).unwrap_or(0);
        let reference = Reference { dtype: storage::dtype_of(class)?, key, count, view: None };
        let data = legacy::read_counted(reader.bytes, &mut reader.at, &reference)?;
        dtypes.insert(reference.key.clone(), reference.dtype);
        storages.by_key.insert(reference.key, Storage::Borrowed(data));
    }
    views(&reader.pickle()?, &mut storages, &mut dtypes)?;

    let mut reader = Parts { bytes: member(bytes, "tensors")?, at: 0, limits };
    for _ in 0..reader.count()? {
        let args = reader.pickle()?;
        let names = args.sequence(args.root()).unwrap_or_default();
        let names: Vec<String> = names.iter().take(2).filter_map(|id| storage::name(&args, *id)).collect();
        let [key, of] = &names[..] else { return Err(bad("VALUE", "a tensor without keys")) };
        let dimensions = (reader.word()? & 0xffff_ffff) as usize;
        if dimensions > 16 {
            return Err(bad("VALUE", format!("tensor `{key}` of {dimensions} dimensions")));
        }
        let mut words = |count: usize| (0..count).map(|_| reader.size()).collect::<Result<Vec<usize>>>();
        let (shape, strides, offset) = (words(dimensions)?, words(dimensions)?, words(1)?[0]);
        let missing = || bad("MISSING", format!("there is no storage `{of}`"));
        let storage = storages.by_key.get(of).ok_or_else(missing)?.clone();
        let dtype = dtypes.get(of).copied().flatten().ok_or_else(missing)?;
        storages.tensors.insert(key.clone(), Tensor::new(dtype, shape, strides, offset, storage)?);
    }
    let tree = pickle::read(member(bytes, "pickle")?, &limits.pickle)?;
    Ok(Container { kind: "PyTorch (tar)", tree, storages, constants: None })
}

/// Adds the storages that are parts of others: tuples of (key, key of the whole, offset, elements).
fn views<'a>(
    list: &Tree<'_>,
    storages: &mut Storages<'a>,
    dtypes: &mut std::collections::HashMap<String, Option<crate::weights::Dtype>>,
) -> Result<()> {
    for view in list.sequence(list.root()).unwrap_or_default() {
        let wrong = || bad("VALUE", "a view that cannot be understood");
        let Some([key, whole, offset, count]) = list.sequence(*view) else { return Err(wrong()) };
        let key = storage::name(list, *key).ok_or_else(wrong)?;
        let whole = storage::name(list, *whole).ok_or_else(wrong)?;
        let (offset, count) =
            (list.int::<usize>(*offset).ok_or_else(wrong)?, list.int::<usize>(*count).ok_or_else(wrong)?);
        let (Some(Storage::Borrowed(data)), Some(dtype)) = (storages.by_key.get(&whole), dtypes.get(&whole)) else {
            return Err(bad("MISSING", format!("there is no storage `{whole}`")));
        };
        let element = dtype.map_or(1, crate::weights::Dtype::size);
        let (from, size) = (offset.saturating_mul(element), count.saturating_mul(element));
        let part = data.get(from..from.saturating_add(size));
        let part = part.ok_or_else(|| bad("LAYOUT", format!("view `{key}` leaves its storage `{whole}`")))?;
        let dtype = *dtype;
        storages.by_key.insert(key.clone(), Storage::Borrowed(part));
        dtypes.insert(key, dtype);
    }
    Ok(())
}

/// The bytes of a member.
fn member<'a>(bytes: &'a [u8], wanted: &str) -> Result<&'a [u8]> {
    let damaged = |e: std::io::Error| bad("ARCHIVE", e.to_string());
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        if entry.path_bytes().as_ref() != wanted.as_bytes() {
            continue;
        }
        let (start, size) = (entry.raw_file_position() as usize, entry.size() as usize);
        let data = start.checked_add(size).and_then(|end| bytes.get(start..end));
        return data.ok_or_else(|| {
            let message = format!("member `{wanted}` of {size} bytes ends after the file");
            Error::format("PyTorch", "TRUNCATED", start as u64, message)
        });
    }
    Err(bad("MISSING", format!("there is no member `{wanted}`")))
}

/// A member that mixes pickles and plain integers.
struct Parts<'a, 'l> {
    bytes: &'a [u8],
    at: usize,
    limits: &'l Limits,
}

impl<'a> Parts<'a, '_> {
    fn pickle(&mut self) -> Result<Tree<'a>> {
        let (tree, used) = pickle::read_prefix(&self.bytes[self.at..], &self.limits.pickle)?;
        self.at += used;
        Ok(tree)
    }

    /// A pickled count; each item it counts takes at least one byte.
    fn count(&mut self) -> Result<usize> {
        let tree = self.pickle()?;
        let count = tree.int::<usize>(tree.root()).filter(|count| *count <= self.bytes.len());
        count.ok_or_else(|| bad("VALUE", "an impossible count"))
    }

    fn word(&mut self) -> Result<u64> {
        let word = self.bytes[self.at..].first_chunk::<8>();
        let word = word.ok_or_else(|| Error::format("PyTorch", "TRUNCATED", self.at as u64, "8 bytes expected"))?;
        self.at += 8;
        Ok(u64::from_le_bytes(*word))
    }

    fn size(&mut self) -> Result<usize> {
        let word = self.word()?;
        usize::try_from(word as i64).map_err(|_| bad("LAYOUT", format!("a size or stride of {}", word as i64)))
    }
}
