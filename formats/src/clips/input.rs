//! What a clip is read from: one file, or a folder of one file a frame.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, Result, Source};

/// A file or folder to read motion from.
pub(super) struct Input {
    pub path: PathBuf,
    /// The file; `None` for a folder.
    pub source: Option<Source>,
}

impl Input {
    pub fn open(path: &Path) -> Result<Self> {
        let source = if path.is_dir() { None } else { Some(Source::open(path)?) };
        Ok(Self { path: path.to_path_buf(), source })
    }

    pub fn of(source: Source) -> Self {
        Self { path: source.path().map(Path::to_path_buf).unwrap_or_default(), source: Some(source) }
    }

    /// The file's bytes; none for a folder.
    pub fn bytes(&self) -> &[u8] {
        self.source.as_deref().unwrap_or_default()
    }

    /// Name of the file without its ending, or of the folder; `motion` when it has none.
    pub fn stem(&self) -> String {
        let part = if self.source.is_some() { self.path.file_stem() } else { self.path.file_name() };
        let name: String = part.unwrap_or_default().to_string_lossy().chars().filter(|c| !c.is_control()).collect();
        if name.is_empty() { "motion".to_owned() } else { name }
    }

    /// True for a file with this ending in any case.
    pub fn has_ending(&self, ending: &str) -> bool {
        self.source.is_some() && self.path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
    }

    /// The numbered files (`00017.npz`) with this ending in the folder, or else in its folder `inner`, in ascending order.
    pub fn frames(&self, inner: &str, ending: &str) -> Result<Vec<(u32, PathBuf)>> {
        if self.source.is_some() {
            return Ok(Vec::new());
        }
        for folder in [self.path.clone(), self.path.join(inner)] {
            let mut found = Vec::new();
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io(&folder, e)),
            };
            for entry in entries {
                let path = entry.map_err(|e| Error::io(&folder, e))?.path();
                let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u32>().ok());
                if let Some(number) = number.filter(|_| path.extension().is_some_and(|e| e == ending)) {
                    found.push((number, path));
                }
            }
            if !found.is_empty() {
                found.sort_unstable();
                if let Some(pair) = found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    let [a, b] = [&pair[0].1, &pair[1].1].map(|p| p.display());
                    return Err(Error::usage(format!("{a} and {b} are both frame {}", pair[0].0)));
                }
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }
}

/// Names the file in an error about it.
pub(super) fn within<T>(path: &Path, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::Format { format, code, offset, message } => {
            Error::Format { format, code, offset, message: format!("{}: {message}", path.display()) }
        }
        other => other,
    })
}
