//! Names of outputs, and lists of them for messages.

use std::{ffi::OsString, path::Path};

use gav_formats::FORMATS;

use crate::{inputs::Input, text::plural};

/// The input's name without the ending of its format (the longest known one, so `x.compressed.ply` gives `x`).
pub(crate) fn stem(input: &Input) -> OsString {
    let name = input.relative.file_name().unwrap_or_default();
    if input.asset {
        return name.to_owned();
    }
    let text = name.to_string_lossy();
    let lower = text.to_ascii_lowercase();
    let endings = FORMATS.iter().flat_map(|f| f.extensions).map(|e| format!(".{e}"));
    let longest = endings.filter(|e| lower.ends_with(e.as_str()) && lower.len() > e.len()).map(|e| e.len()).max();
    match longest {
        Some(length) => text[..text.len() - length].into(),
        None => input.relative.file_stem().unwrap_or_default().to_owned(),
    }
}

/// Do both paths name the same existing file?
pub(crate) fn same(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// A relative path with `/` on every system.
pub(crate) fn slashes(path: &Path) -> String {
    path.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// `1 file is`, `3 files are`.
pub(crate) fn exists(number: usize) -> String {
    if number == 1 { "1 file is".to_owned() } else { format!("{} are", plural(number, "file")) }
}

/// The first five, and how many more.
pub(crate) fn list(names: &[String]) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown} and {} more", names.len() - 5) } else { shown }
}
