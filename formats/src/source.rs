//! `Source`: the bytes of a file, mapped or owned, with access to the files beside it.

use std::{
    fs::File,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{Error, Result};

/// Bytes to read from: a mapped file, the entry file of a folder format, or a buffer.
#[derive(Clone)]
pub struct Source {
    path: Option<PathBuf>,
    bytes: Arc<Bytes>,
}

enum Bytes {
    Mapped(memmap2::Mmap),
    Owned(Vec<u8>),
}

impl Source {
    /// Maps the file at `path`. For a folder, opens its entry file: `meta.json`, `lod-meta.json` or `point_cloud.ply`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let mut path = path.as_ref().to_path_buf();
        if path.is_dir() {
            let entries = ["lod-meta.json", "meta.json", "point_cloud.ply"];
            let entry = entries.iter().map(|name| path.join(name)).find(|p| p.is_file());
            path = entry
                .ok_or_else(|| Error::usage(format!("{}: a folder without {}", path.display(), entries.join(", "))))?;
        }
        let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        let length = file.metadata().map_err(|e| Error::io(&path, e))?.len();
        let bytes = if length == 0 {
            Bytes::Owned(Vec::new())
        } else {
            // SAFETY: the map is only read, and every reader checks lengths before it slices. A file that another process
            // truncates while it is mapped raises SIGBUS, as for any mapped reader; whoever expects that reads the bytes first and
            // uses `from_bytes`.
            Bytes::Mapped(unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(&path, e))?)
        };
        Ok(Self { path: Some(path), bytes: Arc::new(bytes) })
    }

    /// Bytes without a file.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { path: None, bytes: Arc::new(Bytes::Owned(bytes)) }
    }

    /// Bytes that pretend to come from `path`, so that [`Source::sibling`] finds its neighbours.
    pub fn from_bytes_at(bytes: Vec<u8>, path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), bytes: Arc::new(Bytes::Owned(bytes)) }
    }

    /// The file, when there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// File name without folders; empty for buffers.
    pub fn name(&self) -> String {
        self.path.as_ref().and_then(|p| p.file_name()).map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Opens a file named relative to this one. Only plain relative names without `..` are accepted.
    ///
    /// `Ok(None)` when the file does not exist or this source is a buffer.
    pub fn sibling(&self, name: &str) -> Result<Option<Self>> {
        let relative = Path::new(name);
        let plain = relative.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        if name.is_empty() || !plain || name.contains('\\') {
            return Err(Error::usage(format!("refusing to open `{name}` beside the file: not a plain relative name")));
        }
        let Some(folder) = self.path.as_ref().and_then(|p| p.parent()) else { return Ok(None) };
        let path = folder.join(relative);
        if path.is_file() { Self::open(path).map(Some) } else { Ok(None) }
    }
}

impl Deref for Source {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Owned(vec) => vec,
        }
    }
}
