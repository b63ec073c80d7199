//! The members of a LAM zip, found by name wherever the archive keeps them, decoded within the limits.

use std::io::{Cursor, Read};

use zip::{ZipArchive, result::ZipError};

use super::bad;
use crate::{Error, Limits, Result, Source};

/// The skinned mesh.
pub const SKIN: &str = "skin.glb";
/// The splats, relative to the mesh.
pub const OFFSETS: &str = "offset.ply";
/// Motion.
pub const ANIMATION: &str = "animation.glb";
/// Deflate cannot expand a byte to more than this many.
const DEFLATE_RATIO: u64 = 1032;

/// An opened zip. Nothing is ever extracted to disk: member names serve for comparison only.
pub struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    limits: &'a Limits,
    /// Folder of the avatar inside the zip, with its trailing slash; empty at the top.
    folder: String,
    decoded: u64,
}

impl<'a> Archive<'a> {
    /// Opens the zip and finds the folder that holds the avatar.
    pub fn open(source: &'a Source, limits: &'a Limits) -> Result<Self> {
        let bytes: &[u8] = source;
        let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| zip_error("the archive", e))?;
        limits.check_entries(zip.len() as u64)?;
        let mut folders = Vec::new();
        for index in 0..zip.len() {
            let entry = zip.by_index_raw(index).map_err(|e| zip_error("the archive", e))?;
            let name = entry.name().map_err(|e| zip_error("the archive", e))?;
            if is_member(name.as_bytes(), OFFSETS.as_bytes()) {
                folders.push(name[..name.len() - OFFSETS.len()].to_owned());
            }
        }
        match folders.len() {
            1 => Ok(Self { zip, limits, folder: folders.remove(0), decoded: 0 }),
            0 => Err(bad("MISSING", 0, format!("the archive holds no {OFFSETS}"))),
            n => Err(bad("VALUE", 0, format!("the archive holds {n} avatars ({:.100}): keep one", folders.join(", ")))),
        }
    }

    /// Name of the innermost folder that holds the avatar; empty when it lies at the top.
    pub fn folder(&self) -> &str {
        self.folder.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }

    /// The bytes of a member that must be there.
    pub fn require(&mut self, name: &'static str) -> Result<Vec<u8>> {
        self.get(name)?.ok_or_else(|| bad("MISSING", 0, format!("the archive holds no {}{name}", self.folder)))
    }

    /// The bytes of a member, its checksum verified; `None` when it is not there.
    pub fn get(&mut self, name: &'static str) -> Result<Option<Vec<u8>>> {
        let entry = match self.zip.by_name(&format!("{}{name}", self.folder)) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(zip_error(name, error)),
        };
        let (size, packed) = (entry.size(), entry.compressed_size());
        if size > packed.saturating_mul(DEFLATE_RATIO).saturating_add(64) {
            return Err(bad("VALUE", 0, format!("{name} claims {size} bytes from {packed}")));
        }
        self.decoded = self.decoded.saturating_add(size);
        self.limits.check_bytes(self.decoded)?;
        let start = entry.data_start().unwrap_or(0);
        let mut bytes = Vec::with_capacity(size.min(1 << 26) as usize);
        entry.take(size + 1).read_to_end(&mut bytes).map_err(|e| {
            let code = if e.to_string().to_ascii_lowercase().contains("checksum") { "CHECKSUM" } else { "TRUNCATED" };
            bad(code, start, format!("{name}: {e}"))
        })?;
        if bytes.len() as u64 != size {
            return Err(bad("TRUNCATED", start, format!("{name} decodes to {} bytes, {size} announced", bytes.len())));
        }
        Ok(Some(bytes))
    }
}

/// Is `path` the member `name`, in whatever folder? Resource forks (`__MACOSX/…/._skin.glb`) are not.
pub fn is_member(path: &[u8], name: &[u8]) -> bool {
    let folder = path.strip_suffix(name);
    folder.is_some_and(|f| (f.is_empty() || f.ends_with(b"/")) && !f.starts_with(b"__MACOSX/"))
}

/// Names in the local headers that begin within `head`.
pub fn local_names(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = head.windows(4).enumerate().filter(|(_, w)| *w == b"PK\x03\x04").map(|(at, _)| at);
    starts.filter_map(|at| {
        let length = head.get(at + 26..at + 28)?;
        head.get(at + 30..)?.get(..usize::from(u16::from_le_bytes([length[0], length[1]])))
    })
}

fn zip_error(what: &str, error: ZipError) -> Error {
    let code = match &error {
        ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) | ZipError::InvalidPassword => {
            "UNSUPPORTED"
        }
        ZipError::Io(_) => "TRUNCATED",
        _ => "HEADER",
    };
    bad(code, 0, format!("{what}: {error}"))
}
