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
    write_renamed(path, true, write)
}

/// As [`write_file_atomically`], without waiting for the disk: for files that are quickly made again. A killed process leaves no
/// half-written file; a power cut can.
pub fn write_file_renamed(path: &Path, write: impl FnOnce(&mut dyn WriteSeek) -> Result<()>) -> Result<()> {
    write_renamed(path, false, write)
}

fn write_renamed(path: &Path, wait: bool, write: impl FnOnce(&mut dyn WriteSeek) -> Result<()>) -> Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
    }
    let temporary = temporary_path(path);
    let attempt = || -> Result<()> {
        let file = fs::File::create(&temporary).map_err(|e| Error::io(&temporary, e))?;
        let mut buffered = BufWriter::with_capacity(1 << 20, file);
        write(&mut buffered)?;
        let file = buffered.into_inner().map_err(|e| Error::io(path, e.into_error()))?;
        if wait {
            file.sync_data().map_err(|e| Error::io(path, e))?;
        }
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
        // the old folder leaves its name in one step, so that no half-deleted folder is ever seen under it
        let old = temporary_path(folder);
        if folder.exists() {
            fs::rename(folder, &old).map_err(|e| Error::io(folder, e))?;
        }
        fs::rename(&temporary, folder).map_err(|e| {
            let _ = fs::rename(&old, folder);
            Error::io(folder, e)
        })?;
        if old.exists() {
            fs::remove_dir_all(&old).map_err(|e| Error::io(&old, e))?;
        }
        Ok(())
    };
    attempt().inspect_err(|_| {
        let _ = fs::remove_dir_all(&temporary);
    })
}

/// The process that made the temporary file or folder with this name; `None` for any other name.
pub fn temporary_owner(name: &str) -> Option<u32> {
    let (_, tail) = name.strip_prefix('.')?.rsplit_once(TEMPORARY_MARKER)?;
    let (process, serial) = tail.split_once('-')?;
    serial.parse::<u32>().ok()?;
    process.parse().ok()
}

/// Removes what killed processes left behind in `folder` (not in folders below it); returns the removed paths.
///
/// A leftover of this very process id counts as dead, because ids repeat in containers: call this before writing.
/// Where the system does not say which processes live (no `/proc`), leftovers are removed when a day old.
pub fn remove_leftovers(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(removed),
        Err(e) => return Err(Error::io(folder, e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        let Some(process) = temporary_owner(&entry.file_name().to_string_lossy()) else { continue };
        if process != std::process::id() && is_alive(process, &entry) {
            continue;
        }
        let path = entry.path();
        let folder = entry.file_type().map_err(|e| Error::io(&path, e))?.is_dir();
        let result = if folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match result {
            Ok(()) => removed.push(path),
            // another run may be cleaning too
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io(&path, e)),
        }
    }
    Ok(removed)
}

fn is_alive(process: u32, entry: &fs::DirEntry) -> bool {
    if Path::new("/proc/self").exists() {
        return Path::new("/proc").join(process.to_string()).exists();
    }
    let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    age.is_none_or(|age| age.as_secs() < 24 * 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_temporaries_give_their_process() {
        let path = temporary_path(Path::new("out/head.gav"));
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(temporary_owner(&name), Some(std::process::id()));
        for name in
            ["head.gav", ".head.gav.gav-tmp-", ".head.gav.gav-tmp-12", ".head.gav.gav-tmp-x-1", ".gav-convert.json"]
        {
            assert_eq!(temporary_owner(name), None, "{name}");
        }
    }

    #[test]
    fn leftovers_of_the_dead_go_and_those_of_the_living_stay() {
        let folder = tempfile::tempdir().unwrap();
        // process 1 lives as long as the machine; no process has the largest id
        for name in [".a.gav.gav-tmp-1-0", ".b.gav.gav-tmp-4294967295-7", "c.gav"] {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        fs::create_dir(folder.path().join(".d.gav-tmp-4294967295-8")).unwrap();
        let removed = remove_leftovers(folder.path()).unwrap();
        if Path::new("/proc/self").exists() {
            assert_eq!(removed.len(), 2, "{removed:?}");
            assert!(folder.path().join(".a.gav.gav-tmp-1-0").exists());
        }
        assert!(folder.path().join("c.gav").exists());
        assert!(remove_leftovers(&folder.path().join("missing")).unwrap().is_empty());
    }

    #[test]
    fn folders_are_replaced_whole_and_only_when_they_hold_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("asset");
        let files = |text: &str| vec![("meta.json".to_owned(), text.as_bytes().to_vec())];
        write_folder_atomically(&folder, &files("one")).unwrap();
        write_folder_atomically(&folder, &files("two")).unwrap();
        assert_eq!(fs::read(folder.join("meta.json")).unwrap(), b"two");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left beside it");
        fs::write(folder.join("notes.txt"), b"mine").unwrap();
        assert!(write_folder_atomically(&folder, &files("three")).is_err());
        assert_eq!(fs::read(folder.join("meta.json")).unwrap(), b"two");
    }
}
