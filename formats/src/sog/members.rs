//! The files of one SOG: members of a ZIP archive, or neighbours of `meta.json`.

use std::io::{Cursor, Read};

use zip::{ZipArchive, result::ZipError};

use super::FORMAT;
use crate::{Error, Limits, Result, Source};

/// Where members come from.
pub(super) enum Members<'a> {
    /// A bundle: the archive, and the folder inside it that holds `meta.json` (usually empty).
    Zip(Box<ZipArchive<Cursor<&'a [u8]>>>, String),
    /// A folder: its `meta.json`.
    Folder(&'a Source),
}

impl<'a> Members<'a> {
    /// Opens a bundle or the folder around a `meta.json`.
    pub fn open(source: &'a Source, limits: &Limits) -> Result<Self> {
        if !source.starts_with(b"PK") {
            return Ok(Self::Folder(source));
        }
        let archive = ZipArchive::new(Cursor::new(&source[..])).map_err(|e| zip_error("archive", e))?;
        limits.check_entries(archive.len() as u64)?;
        let names: Vec<String> = archive.file_names().filter_map(|name| name.ok().map(|n| n.into_owned())).collect();
        let metas = names.iter().filter(|name| *name == "meta.json" || name.ends_with("/meta.json"));
        let Some(meta) = metas.min_by_key(|name| (name.len(), (*name).clone())) else {
            return Err(Error::format(FORMAT, "HEADER", 0, format!("no meta.json among {} members", names.len())));
        };
        let folder = meta.trim_end_matches("meta.json").to_owned();
        Ok(Self::Zip(Box::new(archive), folder))
    }

    /// The bytes of `meta.json`.
    pub fn meta(&mut self, limits: &Limits) -> Result<Vec<u8>> {
        match self {
            Self::Zip(..) => self.read("meta.json", limits.header_bytes, "header bytes"),
            Self::Folder(source) => {
                limits.check_header(source.len() as u64)?;
                Ok(source.to_vec())
            }
        }
    }

    /// The bytes of an image.
    pub fn image(&mut self, name: &str, limits: &Limits) -> Result<Vec<u8>> {
        self.read(name, limits.decoded_bytes, "decoded bytes")
    }

    fn read(&mut self, name: &str, limit: u64, what: &'static str) -> Result<Vec<u8>> {
        let missing = || Error::format(FORMAT, "MISSING", 0, format!("{name}: named by meta.json but not there"));
        match self {
            Self::Zip(archive, folder) => {
                let mut member = match archive.by_name(&format!("{folder}{name}")) {
                    Ok(member) => member,
                    Err(ZipError::FileNotFound) => return Err(missing()),
                    Err(error) => return Err(zip_error(name, error)),
                };
                let too_much = |requested| Err(Error::Limit { what, requested, limit });
                if member.size() > limit {
                    return too_much(member.size());
                }
                // the size in the directory is only a claim: grow with the data and stop at the limit
                let mut bytes = Vec::new();
                member
                    .by_ref()
                    .take(limit.saturating_add(1))
                    .read_to_end(&mut bytes)
                    .map_err(|e| Error::format(FORMAT, "CORRUPT", 0, format!("{name}: {e}")))?;
                if bytes.len() as u64 > limit {
                    return too_much(bytes.len() as u64);
                }
                Ok(bytes)
            }
            Self::Folder(source) => {
                let sibling = source.sibling(name).map_err(|error| match error {
                    Error::Usage(message) => Error::format(FORMAT, "PATH", 0, message),
                    other => other,
                })?;
                Ok(sibling.ok_or_else(missing)?.to_vec())
            }
        }
    }
}

fn zip_error(what: &str, error: ZipError) -> Error {
    let code = if matches!(error, ZipError::UnsupportedArchive(_)) { "UNSUPPORTED" } else { "CORRUPT" };
    Error::format(FORMAT, code, 0, format!("{what}: {error}"))
}
