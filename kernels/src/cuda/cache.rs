//! Compiled kernels on disk: one file per kernel, named by what it was made from.
//!
//! A file is `gavcubin`, the BLAKE3 hash of the machine code, and the machine code. One that does not hold together is
//! compiled again; one that cannot be written costs nothing but time.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy;

const MAGIC: &[u8; 8] = b"gavcubin";

/// `GAV_CUDA_CACHE`, or the user's cache folder; `None` when there is neither.
pub(super) fn folder() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("GAV_CUDA_CACHE") {
        return Some(PathBuf::from(given));
    }
    Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("gav").join("cuda"))
}

/// The name of what `source` becomes with `options` for `driver`; the architecture is among the options.
pub(super) fn key(source: &str, options: &[String], driver: i32) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in options.iter().map(String::as_str).chain([driver.to_string().as_str(), source]) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// The machine code under `key`, when it is there whole.
pub(super) fn read(folder: &Path, key: &str) -> Option<Vec<u8>> {
    let bytes = std::fs::read(folder.join(key)).ok()?;
    let (magic, rest) = bytes.split_at_checked(MAGIC.len())?;
    let (hash, code) = rest.split_at_checked(blake3::OUT_LEN)?;
    (magic == MAGIC && blake3::hash(code).as_bytes() == hash).then(|| code.to_vec())
}

/// Keeps machine code under `key`; whole or not at all.
pub(super) fn write(folder: &Path, key: &str, code: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(MAGIC)?;
    file.write_all(blake3::hash(code).as_bytes())?;
    file.write_all(code)?;
    file.persist(folder.join(key))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_again_and_damaged_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let options = ["--a".to_owned()];
        let name = key("source", &options, 13_000);
        assert_eq!(read(folder.path(), &name), None);
        write(folder.path(), &name, b"machine code").unwrap();
        assert_eq!(read(folder.path(), &name).as_deref(), Some(b"machine code".as_slice()));
        for other in [key("Source", &options, 13_000), key("source", &[], 13_000), key("source", &options, 12_000)] {
            assert_eq!(read(folder.path(), &other), None);
        }
        let whole = std::fs::read(folder.path().join(&name)).unwrap();
        for cut in [0, 7, 20, whole.len() - 1] {
            std::fs::write(folder.path().join(&name), &whole[..cut]).unwrap();
            assert_eq!(read(folder.path(), &name), None);
        }
        let mut changed = whole;
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(folder.path().join(&name), changed).unwrap();
        assert_eq!(read(folder.path(), &name), None);
    }
}
