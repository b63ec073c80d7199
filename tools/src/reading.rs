//! Options of decoders, shared by every command that opens files.

use std::path::{Path, PathBuf};

use clap::Args;
use gav_formats::{Avatar, Format, Frame, Limits, ReadOptions, Source};

use crate::failure::Failure;

/// How input files are read.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Reading")]
pub(crate) struct ReadArguments {
    /// Axes of the input, when it does not say or says wrongly: where +x, +y, +z point, such as RDF, RUB or LUF
    #[arg(long, value_name = "FRAME")]
    pub from_frame: Option<Frame>,
    /// Refuse files that need more memory than this when decoded, such as 500M or 16G [default: 4G]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub max_memory: Option<u64>,
    /// Refuse files with more splats than this [default: 268435456]
    #[arg(long, value_name = "N")]
    pub max_splats: Option<u64>,
    /// Do not check the hashes of .gav files
    #[arg(long)]
    pub no_verify: bool,
    /// Of a GLB written with --embed, read the .gav that it carries
    #[arg(long)]
    pub embedded: bool,
}

impl ReadArguments {
    /// As the library takes them.
    pub(crate) fn options(&self) -> ReadOptions {
        let mut limits = Limits::default();
        limits.decoded_bytes = self.max_memory.unwrap_or(limits.decoded_bytes);
        limits.splats = self.max_splats.unwrap_or(limits.splats);
        ReadOptions { limits, frame: self.from_frame, skip_hashes: self.no_verify, embedded: self.embedded }
    }
}

/// A file that was read.
pub(crate) struct Loaded {
    pub avatar: Avatar,
    pub format: &'static Format,
    /// Bytes on disk, of all files for folder formats.
    pub bytes: u64,
}

/// Reads the file or asset folder at `path`.
pub(crate) fn load(path: &Path, options: &ReadOptions) -> Result<Loaded, Failure> {
    let failed = |error: gav_formats::Error| Failure::at(path, &error);
    let source = Source::open(path).map_err(failed)?;
    let format = gav_formats::sniff(&source).map_err(failed)?;
    let avatar = gav_formats::read(&source, options).map_err(failed)?;
    Ok(Loaded { avatar, format, bytes: disk_bytes(path) })
}

/// The folder that holds an asset of several files, when `path` is that folder or its entry file.
pub(crate) fn asset_folder(path: &Path) -> Option<PathBuf> {
    let entry = |folder: &Path| {
        crate::inputs::ENTRIES
            .iter()
            .map(|name| folder.join(name))
            .find(|p| p.is_file())
            .is_some_and(|p| Source::open(&p).is_ok_and(|source| gav_formats::sniff(&source).is_ok()))
    };
    if path.is_dir() {
        return entry(path).then(|| path.to_path_buf());
    }
    let name = path.file_name()?.to_str()?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (crate::inputs::ENTRIES.contains(&name) && entry(parent)).then(|| parent.to_path_buf())
}

/// Bytes of a file, or of all files in and below an asset's folder; 0 for what cannot be seen.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    let Some(folder) = asset_folder(path) else { return path.metadata().map_or(0, |m| m.len()) };
    files_of(&folder).iter().filter_map(|p| p.metadata().ok()).map(|m| m.len()).sum()
}

/// All files in and below `folder`, in the order of their names.
pub(crate) fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().filter_map(Result::ok);
    entries.filter(|e| e.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is no amount of memory: a number, perhaps followed by K, M, G or T");
    let trimmed = text.trim().trim_end_matches(['b', 'B']).trim_end_matches('i');
    let split = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let factor: u64 = match trimmed[split..].trim().to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(bad()),
    };
    let number: f64 = trimmed[..split].parse().map_err(|_| bad())?;
    Ok((number * factor as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_memory() {
        assert_eq!(parse_bytes("4G"), Ok(4 << 30));
        assert_eq!(parse_bytes("512 MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("1.5k"), Ok(1536));
        assert_eq!(parse_bytes("77"), Ok(77));
        for text in ["", "G", "4X", "-1", "1 2"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
