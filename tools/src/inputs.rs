//! From arguments to inputs: files, folders (searched for splat files), quoted patterns, and folders that are one asset.

use std::{
    collections::HashSet,
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result};
use gav_formats::{Source, format_by_path, sink::TEMPORARY_MARKER, sniff};
use walkdir::WalkDir;

use crate::{
    failure::{Failure, refuse},
    reading::asset_folder,
};

/// Entry files that make a folder one asset.
pub(crate) const ENTRIES: [&str; 2] = ["lod-meta.json", "meta.json"];

/// One file or asset folder to read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Input {
    /// What to open.
    pub path: PathBuf,
    /// The argument's folder, from which `relative` counts.
    pub root: PathBuf,
    /// Path below `root`; for assets the folder's.
    pub relative: PathBuf,
    /// True when it was found in a folder or by a pattern, not named.
    pub found: bool,
    /// True for a folder that is one asset.
    pub asset: bool,
}

/// Expands the arguments, each in the order of names. Paths in and below `except` are not searched.
///
/// # Errors
/// A pattern or folder without any splat file, a folder that cannot be listed.
pub(crate) fn expand(arguments: &[PathBuf], except: Option<&Path>) -> Result<Vec<Input>> {
    let except = except.and_then(|p| p.canonicalize().ok());
    let mut inputs = Vec::new();
    for argument in arguments {
        let before = inputs.len();
        if let Some(folder) = asset_folder(argument) {
            inputs.push(named(&folder, true));
        } else if argument.is_dir() {
            search(argument, argument, except.as_deref(), &mut inputs)?;
            if inputs.len() == before {
                let message = format!("{}: no splat file in this folder", argument.display());
                return Err(refuse(message, "`gav formats` lists the file endings that are looked for"));
            }
        } else if argument.exists() || !is_pattern(argument) {
            inputs.push(named(argument, false));
        } else {
            pattern(argument, except.as_deref(), &mut inputs)?;
            if inputs.len() == before {
                let message = format!("{}: no splat file matches this pattern", argument.display());
                return Err(refuse(message, "`**` goes through folders, as in 'captures/**/*.ply'"));
            }
        }
    }
    Ok(inputs)
}

/// A file or asset folder that was named; its name is all that its outputs keep. Whether it exists is seen on reading.
fn named(path: &Path, asset: bool) -> Input {
    // `.` and `..` have no name of their own
    let full = match path.file_name() {
        Some(_) => path.to_path_buf(),
        None => path.canonicalize().unwrap_or_else(|_| path.to_path_buf()),
    };
    let name = full.file_name().unwrap_or(OsStr::new("asset"));
    let root = full.parent().map(Path::to_path_buf).unwrap_or_default();
    Input { path: full.clone(), root, relative: name.into(), found: false, asset }
}

/// Looks for splat files below `folder`, by their endings; hidden files and our own temporaries are left alone.
fn search(folder: &Path, root: &Path, except: Option<&Path>, inputs: &mut Vec<Input>) -> Result<()> {
    let mut walk = WalkDir::new(folder).min_depth(1).follow_links(true).sort_by_file_name().into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // a link that leads nowhere or in a circle is no input
            Err(e)
                if e.loop_ancestor().is_some()
                    || e.io_error().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound) =>
            {
                continue;
            }
            Err(e) => {
                let text = e.io_error().map_or_else(|| e.to_string(), crate::failure::io_text);
                let place = e.path().unwrap_or(folder).display().to_string();
                return Err(Failure { code: "IO", message: format!("{place}: {text}"), hint: None }.into());
            }
        };
        let name = entry.file_name().to_string_lossy();
        let hidden = name.starts_with('.') || name.contains(TEMPORARY_MARKER);
        if entry.file_type().is_dir() {
            let excluded = except.is_some_and(|x| entry.path().canonicalize().is_ok_and(|p| p.starts_with(x)));
            let asset = !hidden && !excluded && asset_folder(entry.path()).is_some();
            if asset {
                inputs.push(found(entry.path(), root, true));
            }
            if hidden || excluded || asset {
                walk.skip_current_dir();
            }
        } else if !hidden && is_splat_name(entry.path()) {
            inputs.push(found(entry.path(), root, false));
        }
    }
    Ok(())
}

fn found(path: &Path, root: &Path, asset: bool) -> Input {
    let relative = path.strip_prefix(root).unwrap_or(path).to_path_buf();
    Input { path: path.to_path_buf(), root: root.to_path_buf(), relative, found: true, asset }
}

/// Endings that mostly belong to other files: these count when the bytes look right, too.
const COMMON_ENDINGS: [&str; 3] = ["zip", "json", "npy"];

/// Does the ending belong to a format that can be read? (`meta.json` counts as part of its folder only.)
fn is_splat_name(path: &Path) -> bool {
    let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let (name, ending) = (text(path.file_name()), text(path.extension()));
    if ENTRIES.contains(&name.as_str()) || format_by_path(path).is_none_or(|f| f.read.is_none()) {
        return false;
    }
    !COMMON_ENDINGS.contains(&ending.as_str()) || Source::open(path).is_ok_and(|source| sniff(&source).is_ok())
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

/// Expands a pattern. Files are taken by their ending, unless the pattern itself says which (`*.bin`).
fn pattern(argument: &Path, except: Option<&Path>, inputs: &mut Vec<Input>) -> Result<()> {
    let fixed = |c: &Component| !is_pattern(Path::new(c));
    let root: PathBuf = argument.components().take_while(fixed).collect();
    let text = argument.to_string_lossy();
    let explicit = text.rsplit(['*', '?', ']']).next().is_some_and(|tail| tail.contains('.'));
    let matches = glob::glob(&text).map_err(|e| {
        refuse(format!("{text}: {} at character {}", e.msg, e.pos + 1), "patterns know *, **, ? and [a-z]")
    })?;
    let before = inputs.len();
    for path in matches {
        let path = path.with_context(|| format!("cannot look for {text}"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let excluded = except.is_some_and(|x| path.canonicalize().is_ok_and(|p| p.starts_with(x)));
        if excluded || name.starts_with('.') || name.contains(TEMPORARY_MARKER) {
            continue;
        }
        if asset_folder(&path).is_some_and(|folder| folder == path) {
            inputs.push(found(&path, &root, true));
        } else if path.is_dir() {
            search(&path, &root, except, inputs)?;
        } else if explicit || is_splat_name(&path) {
            inputs.push(found(&path, &root, false));
        }
    }
    // `**` finds a file by itself and in its folder
    let fresh = inputs.split_off(before);
    let mut seen = HashSet::new();
    inputs.extend(fresh.into_iter().filter(|input| seen.insert(input.path.clone())));
    Ok(())
}
