//! Sets of pictures: a file, a folder with what is below it, or a zip archive; named by their path without the ending.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use gav_formats::{Error, Limits, sink::TEMPORARY_MARKER};
use walkdir::WalkDir;
use zip::ZipArchive;

use super::decode::ENDINGS;
use crate::failure::{Failure, io_text, refuse};

/// What `gav render` writes beside a picture; it is no picture of its own.
const EXTRAS: [&str; 3] = [".alpha", ".depth", ".sheet"];

/// An opened zip archive.
pub(crate) struct Archive {
    path: PathBuf,
    zip: Mutex<ZipArchive<BufReader<File>>>,
}

/// Where a picture is.
#[derive(Clone)]
pub(crate) enum Origin {
    File(PathBuf),
    /// A member of an archive.
    Member(Arc<Archive>, usize, String),
}

impl Origin {
    /// What messages call it.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Member(archive, _, name) => archive.path.join(name),
        }
    }

    /// All bytes of the file.
    pub(crate) fn bytes(&self, limits: &Limits) -> Result<Vec<u8>, Failure> {
        let path = self.path();
        let failed = |e: io::Error| Failure::at(&path, &Error::io(&path, e));
        match self {
            Self::File(file) => {
                let length = fs::metadata(file).map_err(failed)?.len();
                limits.check_bytes(length).map_err(|e| Failure::at(&path, &e))?;
                fs::read(file).map_err(failed)
            }
            Self::Member(archive, index, _) => {
                let mut zip = archive.zip.lock().unwrap_or_else(PoisonError::into_inner);
                let broken = |e: &dyn ToString| Failure::at(&path, &Error::format("zip", "CORRUPT", 0, e.to_string()));
                let member = zip.by_index(*index).map_err(|e| broken(&e))?;
                let length = member.size();
                limits.check_bytes(length).map_err(|e| Failure::at(&path, &e))?;
                let mut bytes = Vec::new();
                // the directory may lie about the length
                member.take(length).read_to_end(&mut bytes).map_err(|e| broken(&e))?;
                Ok(bytes)
            }
        }
    }
}

/// Pictures by name, and what could not be listed.
#[derive(Default)]
pub(crate) struct Set {
    /// Path below the folder without the ending, `/` between its parts.
    pub pictures: BTreeMap<String, Origin>,
    pub failures: Vec<Failure>,
}

impl Set {
    /// Lists the pictures at `path`.
    ///
    /// # Errors
    /// A path that is not there, and a folder or archive without any picture.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut set = Self::default();
        let metadata = fs::metadata(path).map_err(|e| Failure::at(path, &Error::io(path, e)))?;
        if metadata.is_dir() {
            set.walk(path);
        } else if is_zip(path) {
            set.archive(path)?;
        } else {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            set.pictures.insert(name, Origin::File(path.to_path_buf()));
        }
        if set.pictures.is_empty() && set.failures.is_empty() {
            let message = format!("{}: no picture in it", path.display());
            return Err(refuse(message, format!("looked for files ending with {}", ENDINGS.join(", "))));
        }
        Ok(set)
    }

    fn walk(&mut self, folder: &Path) {
        let hidden = |name: &str| name.starts_with('.') || name.contains(TEMPORARY_MARKER);
        let walk = WalkDir::new(folder).min_depth(1).follow_links(true).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|e| !hidden(&e.file_name().to_string_lossy())) {
            match entry {
                Ok(entry) if entry.file_type().is_file() => {
                    let below = entry.path().strip_prefix(folder).unwrap_or(entry.path());
                    let parts: Vec<_> = below.components().map(|c| c.as_os_str().to_string_lossy()).collect();
                    self.add(&parts.join("/"), Origin::File(entry.path().to_path_buf()));
                }
                Ok(_) => {}
                Err(e) => {
                    let text = e.io_error().map_or_else(|| e.to_string(), io_text);
                    let place = e.path().unwrap_or(folder).display();
                    self.failures.push(Failure { code: "IO", message: format!("{place}: {text}"), hint: None });
                }
            }
        }
    }

    fn archive(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(|e| Failure::at(path, &Error::io(path, e)))?;
        let broken = |e: zip::result::ZipError| Failure::at(path, &Error::format("zip", "CORRUPT", 0, e.to_string()));
        let zip = ZipArchive::new(BufReader::new(file)).map_err(broken)?;
        let names: Vec<String> = (0..zip.len())
            .map(|i| zip.name_for_index(i).and_then(Result::ok).unwrap_or_default().into_owned())
            .collect();
        let archive = Arc::new(Archive { path: path.to_path_buf(), zip: Mutex::new(zip) });
        for (index, name) in names.into_iter().enumerate().filter(|(_, name)| !name.ends_with('/')) {
            let hidden = name.split('/').any(|part| part.starts_with('.') || part == "__MACOSX");
            if !hidden {
                self.add(&name, Origin::Member(archive.clone(), index, name.clone()));
            }
        }
        Ok(())
    }

    /// Takes a file if its ending is that of a picture.
    fn add(&mut self, name: &str, origin: Origin) {
        let Some((stem, ending)) = name.rsplit_once('.') else { return };
        let known = ENDINGS.contains(&ending.to_ascii_lowercase().as_str());
        if !known || EXTRAS.iter().any(|extra| stem.ends_with(extra)) {
            return;
        }
        if let Some(first) = self.pictures.get(stem) {
            let message = format!("{}: has the same name as {}", origin.path().display(), first.path().display());
            let hint = "keep one of them: pictures are matched by their names without the ending".to_owned();
            return self.failures.push(Failure { code: "DUPLICATE", message, hint: Some(hint) });
        }
        self.pictures.insert(stem.to_owned(), origin);
    }
}

fn is_zip(path: &Path) -> bool {
    let mut start = [0; 4];
    File::open(path).and_then(|mut f| f.read_exact(&mut start)).is_ok() && start == *b"PK\x03\x04"
}

/// Is this a picture, or a folder or archive that holds some?
pub(crate) fn holds_pictures(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if path.is_file() && !is_zip(path) {
        return ENDINGS.contains(&ending.as_str());
    }
    Set::open(path).is_ok_and(|set| !set.pictures.is_empty())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(set: &Set) -> Vec<&str> {
        set.pictures.keys().map(String::as_str).collect()
    }

    #[test]
    fn folders_and_archives_are_listed_alike() {
        let root = tempfile::tempdir().unwrap();
        let files = ["b/2.PNG", "b/1.webp", "a.jpeg", "a.depth.npy", "notes.txt", ".hidden.png", "b/1.alpha.png"];
        let mut zip = zip::ZipWriter::new(File::create(root.path().join("set.zip")).unwrap());
        for name in files {
            let path = root.path().join("set").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name).unwrap();
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        for path in ["set", "set.zip"].map(|name| root.path().join(name)) {
            let set = Set::open(&path).unwrap();
            assert_eq!(names(&set), ["a", "b/1", "b/2"], "{}", path.display());
            assert_eq!(set.pictures["b/2"].bytes(&Limits::default()).unwrap(), b"b/2.PNG");
            assert!(set.pictures["b/2"].path().ends_with("b/2.PNG"));
            assert!(holds_pictures(&path));
        }
        assert_eq!(names(&Set::open(&root.path().join("set/b/2.PNG")).unwrap()), ["2"]);
    }

    #[test]
    fn two_files_of_one_name_and_empty_folders_are_named() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("x.png"), b"").unwrap();
        fs::write(root.path().join("x.jpg"), b"").unwrap();
        let set = Set::open(root.path()).unwrap();
        assert_eq!((set.pictures.len(), set.failures[0].code), (1, "DUPLICATE"));
        let empty = root.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let error = Set::open(&empty).err().unwrap().to_string();
        assert!(error.contains("empty") && error.contains("no picture"), "{error}");
        assert!(Set::open(&root.path().join("nowhere")).is_err());
    }
}
