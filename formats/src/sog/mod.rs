//! SOG (PlayCanvas "Spatially Ordered Gaussians"): lossless WebP images beside a `meta.json`, loose or in a ZIP archive.
//!
//! Specification: <https://developer.playcanvas.com/user-manual/gaussian-splatting/formats/sog/>. Versions 1 and 2 and
//! the streamed form (`lod-meta.json`) are read, version 2 is written. The axes are those of the PLY that a file was
//! made from (RDF), since no field records them. On writing, splats are sorted along a Z-order curve, scales and
//! colours go through codebooks of 256 values, and SH coefficients of degree 1 to 3 through a palette of at most 65,536
//! entries; degree 4 is dropped. Values are rounded, and the colour of splats whose opacity rounds to 0 survives.

mod codebook;
mod decode;
mod encode;
mod image;
mod json;
mod lod;
mod members;
mod nearest;
mod palette;
#[cfg(test)]
mod tests;

use std::io::Write;

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::{Avatar, Error, ReadOptions, Result, Source, WriteOptions, sink::WriteSeek};

/// Name of the format in errors.
const FORMAT: &str = "sog";

fn contains(head: &[u8], needle: &str) -> bool {
    head.windows(needle.len()).any(|window| window == needle.as_bytes())
}

fn is_json_object(head: &[u8]) -> bool {
    head.trim_ascii_start().starts_with(b"{")
}

/// A ZIP archive called `.sog`, or one whose first members are those of a SOG.
pub(crate) fn sniff_bundle(name: &str, head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") && (name.ends_with(".sog") || contains(head, "means_l.webp"))
}

/// A `meta.json` by its keys.
pub(crate) fn sniff_folder(_name: &str, head: &[u8]) -> bool {
    is_json_object(head) && ["\"means\"", "\"quats\"", "\"files\""].iter().all(|key| contains(head, key))
}

/// A `lod-meta.json` by its keys.
pub(crate) fn sniff_streamed(name: &str, head: &[u8]) -> bool {
    is_json_object(head)
        && (name == "lod-meta.json" || contains(head, "\"lodLevels\"") && contains(head, "\"filenames\""))
}

/// Reads a bundle, or the folder around a `meta.json`.
///
/// # Errors
/// [`Error::Format`] with `TRUNCATED`, `HEADER`, `VALUE`, `CORRUPT`, `UNSUPPORTED`, `MISSING` (a file that is named but
/// absent) or `PATH` (a name that leads out of the folder); [`Error::Limit`].
pub(crate) fn read(source: &Source, options: &ReadOptions) -> Result<Avatar> {
    decode::avatar(members::Members::open(source, &options.limits)?, options)
}

/// Reads the finest level of a streamed SOG.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_streamed(source: &Source, options: &ReadOptions) -> Result<Avatar> {
    lod::read(source, options)
}

/// Writes the rest pose as a bundle. Members are stored, not deflated, as the reference writer does.
///
/// # Errors
/// [`Error::Usage`] when there is no splat, or more than images of 16383² texels hold.
pub(crate) fn write(avatar: &Avatar, sink: &mut dyn WriteSeek, options: &WriteOptions) -> Result<()> {
    let failed = |error: zip::result::ZipError| match error {
        zip::result::ZipError::Io(error) => Error::from(error),
        other => Error::usage(format!("ZIP writer: {other}")),
    };
    let mut archive = ZipWriter::new(sink);
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in encode::files(avatar, options)? {
        archive.start_file(name, stored).map_err(failed)?;
        archive.write_all(&bytes)?;
    }
    archive.finish().map_err(failed)?;
    Ok(())
}

/// Writes the rest pose as a folder of files.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_folder(avatar: &Avatar, options: &WriteOptions) -> Result<Vec<(String, Vec<u8>)>> {
    encode::files(avatar, options)
}
