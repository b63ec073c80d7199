//! Files of PyTorch since 1.6, and TorchScript archives: a ZIP with `<root>/data.pkl` and one member `<root>/data/<key>` per storage.

use std::io::{self, Cursor, Read};

use crate::{Error, Result};
use zip::{CompressionMethod, ZipArchive};

use super::{Container, Storages, bad};
use crate::weights::{
    Limits,
    pickle::{self, Tree},
    tensor::Storage,
};

/// True when the file starts like a ZIP with at least one member.
pub(super) fn sniff(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// True when a member is called `<root>/data.pkl`.
pub(super) fn holds_pickle(bytes: &[u8]) -> bool {
    let Ok(zip) = ZipArchive::new(Cursor::new(bytes)) else { return false };
    zip.file_names().any(|name| name.is_ok_and(|name| name.ends_with("/data.pkl")))
}

/// Takes the archive apart. Checksums are verified; only stored members are borrowed from `bytes`.
pub(super) fn open<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Container<'a>> {
    let mut archive = Archive::open(bytes, limits.unpacked_bytes)?;
    let names: Vec<String> = archive.zip.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let roots: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix("/data.pkl")).collect();
    let [root] = roots[..] else {
        return Err(bad("ARCHIVE", format!("{} members are named data.pkl, one is expected", roots.len())));
    };
    if names.iter().any(|name| name.strip_prefix(root) == Some("/byteorder")) {
        let order = archive.member(&format!("{root}/byteorder"))?;
        if order.bytes().trim_ascii() != b"little" {
            return Err(bad("UNSUPPORTED", "written on a big-endian machine"));
        }
    }
    let tree = archive.pickle(&format!("{root}/data.pkl"), limits)?;
    let script = names.iter().any(|name| name.strip_prefix(root) == Some("/constants.pkl"));
    let constants = if script { Some(archive.pickle(&format!("{root}/constants.pkl"), limits)?) } else { None };
    let mut storages = Storages::default();
    for name in &names {
        let inside = name.strip_prefix(root).and_then(|rest| rest.strip_prefix('/'));
        // the constants of a script are numbered on their own
        let key = inside.and_then(|rest| match rest.split_once('/')? {
            ("data", key) => Some(key.to_owned()),
            ("constants", key) => Some(format!("constants/{key}")),
            _ => None,
        });
        if let Some(key) = key {
            storages.by_key.insert(key, archive.member(name)?);
        }
    }
    let kind = if script { "TorchScript" } else { "PyTorch (zip)" };
    Ok(Container { kind, tree, storages, constants })
}

struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Bytes that may still be unpacked.
    left: u64,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8], left: u64) -> Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| bad("ARCHIVE", e.to_string()))?;
        Ok(Self { bytes, zip, left })
    }

    fn member(&mut self, name: &str) -> Result<Storage<'a>> {
        let damaged = |e: &dyn std::fmt::Display| bad("ARCHIVE", format!("member `{name}`: {e}"));
        let mut member = self.zip.by_name(name).map_err(|e| damaged(&e))?;
        if member.compression() == CompressionMethod::Stored {
            let start = usize::try_from(member.data_start().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
            let size = usize::try_from(member.size()).unwrap_or(usize::MAX);
            let data = start.checked_add(size).and_then(|end| self.bytes.get(start..end));
            let data = data.ok_or_else(|| damaged(&"outside of the archive"))?;
            io::copy(&mut member, &mut io::sink()).map_err(|e| damaged(&e))?;
            return Ok(Storage::Borrowed(data));
        }
        let mut data = Vec::new();
        let limit = self.left;
        member.take(limit.saturating_add(1)).read_to_end(&mut data).map_err(|e| damaged(&e))?;
        self.left = limit.checked_sub(data.len() as u64).ok_or(Error::Limit {
            what: "unpacked bytes",
            requested: data.len() as u64,
            limit,
        })?;
        Ok(Storage::Shared(data.into()))
    }

    fn pickle(&mut self, name: &str, limits: &Limits) -> Result<Tree<'a>> {
        match self.member(name)? {
            Storage::Borrowed(bytes) => pickle::read(bytes, &limits.pickle),
            Storage::Shared(bytes) => Ok(pickle::read(&bytes, &limits.pickle)?.into_owned()),
        }
    }
}
