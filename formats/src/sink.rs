//! Atomic output: everything is written under a temporary name and renamed when complete.

use std::{
    fs,
    io::{BufWriter, Seek, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{Error, Result};

/// Where a writer puts its bytes: sequential, but able to go back and patch a header.
pub trait WriteSeek: Write + Seek {}
impl<T: Write + Seek> WriteSeek for T {}

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Marker in the names of unfinished files, so that leftovers of a killed process can be recognised.
pub const TEMPORARY_MARKER: &str = ".gav-tmp-";

fn temporary_path(path: &Path) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}{TEMPORARY_MARKER}{}-{unique}", std::process::id()))
}

/// Calls `write` on a temporary file beside `path`; renames it to `path` when that succeeds, removes it otherwise.
///
/// The data reach the disk before the rename, so `path` never names a half-written file, not even after a power cut.
pub fn write_file_atomically(path: &Path, write: impl FnOnce(&mut dyn WriteSeek) -> Result<()>) -> Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
    }
    let temporary = temporary_path(path);
    let attempt = || -> Result<()> {
        let file = fs::File::create(&temporary).map_err(|e| Error::io(&temporary, e))?;
        let mut buffered = BufWriter::with_capacity(1 << 20, file);
        write(&mut buffered)?;
        let file = buffered.into_inner().map_err(|e| Error::io(path, e.into_error()))?;
        file.sync_data().map_err(|e| Error::io(path, e))?;
        fs::rename(&temporary, path).map_err(|e| Error::io(path, e))
    };
    attempt().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// Writes the named files into a temporary folder beside `folder` and renames it; an existing `folder` is replaced
/// only when it holds nothing but files of the same names.
pub fn write_folder_atomically(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    if let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
    }
    if folder.exists() {
        for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
            let name = entry.map_err(|e| Error::io(folder, e))?.file_name();
            if !files.iter().any(|(file, _)| name == **file) {
                return Err(Error::usage(format!(
                    "{}: will not replace a folder that also holds `{}`",
                    folder.display(),
                    name.to_string_lossy()
                )));
            }
        }
    }
    let temporary = temporary_path(folder);
    let attempt = || -> Result<()> {
        fs::create_dir(&temporary).map_err(|e| Error::io(&temporary, e))?;
        for (name, bytes) in files {
            let path = temporary.join(name);
            let mut file = fs::File::create(&path).map_err(|e| Error::io(&path, e))?;
            file.write_all(bytes).and_then(|()| file.sync_data()).map_err(|e| Error::io(&path, e))?;
        }
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        fs::rename(&temporary, folder).map_err(|e| Error::io(folder, e))
    };
    attempt().inspect_err(|_| {
        let _ = fs::remove_dir_all(&temporary);
    })
}
