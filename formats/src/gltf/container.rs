//! Opens `.glb` and `.gltf` files: the container, the JSON document and its buffers.
//!
//! The GLB chunks are walked here and not by a library, because unknown chunks after the JSON must be passed over (the
//! `gltf` crate refuses them, and its length arithmetic underflows on a header that says less than 12 bytes), and because
//! errors name their byte.

use std::{borrow::Cow, cell::OnceCell};

use base64::Engine;

use super::document::Document;
use crate::{Error, Limits, Result, Source};

const MAGIC: &[u8; 4] = b"glTF";
const CHUNK_JSON: u32 = 0x4E4F_534A;
const CHUNK_BIN: u32 = 0x004E_4942;
/// Strings longer than this are payload (data URIs), not document structure.
const LONG_STRING: usize = 1 << 16;

pub(crate) fn bad(code: &'static str, offset: u64, message: impl Into<String>) -> Error {
    Error::format("gltf", code, offset, message)
}

/// An opened glTF file.
pub struct Gltf<'a> {
    pub document: Document,
    pub limits: &'a Limits,
    source: Option<&'a Source>,
    bin: Option<&'a [u8]>,
    bin_start: u64,
    file_bytes: u64,
    buffers: Vec<OnceCell<Buffer>>,
}

enum Buffer {
    Bin,
    Decoded(Vec<u8>),
    File(Source),
}

impl<'a> Gltf<'a> {
    /// Opens a file, whose buffers may lie beside it.
    pub fn open(source: &'a Source, limits: &'a Limits) -> Result<Self> {
        Self::parse(source, Some(source), limits)
    }

    /// Opens bytes that must hold everything.
    pub fn from_slice(bytes: &'a [u8], limits: &'a Limits) -> Result<Self> {
        Self::parse(bytes, None, limits)
    }

    fn parse(bytes: &'a [u8], source: Option<&'a Source>, limits: &'a Limits) -> Result<Self> {
        let Chunks { json, json_start, bin, bin_start } =
            if bytes.starts_with(MAGIC) { split_chunks(bytes)? } else { Chunks::of_text(bytes) };
        check_json(json, json_start, limits)?;
        let document: Document = serde_json::from_slice(json).map_err(|e| {
            let before: usize =
                json.split_inclusive(|b| *b == b'\n').take(e.line().saturating_sub(1)).map(<[u8]>::len).sum();
            bad(
                "JSON",
                json_start + (before + e.column().saturating_sub(1)) as u64,
                format!("the document is not glTF: {e}"),
            )
        })?;
        if !document.asset.version.starts_with("2.") {
            let version = &document.asset.version;
            return Err(bad("VERSION", json_start, format!("glTF version `{version:.20}`, 2.x expected")));
        }
        let buffers = document.buffers.iter().map(|_| OnceCell::new()).collect();
        Ok(Self { document, limits, source, bin, bin_start, file_bytes: bytes.len() as u64, buffers })
    }

    /// Bytes of the file and of the buffers opened so far: what a plausible splat count is measured against.
    pub fn input_bytes(&self) -> u64 {
        let outside = self.buffers.iter().filter_map(OnceCell::get).map(|b| match b {
            Buffer::Bin => 0,
            Buffer::Decoded(bytes) => bytes.len() as u64,
            Buffer::File(source) => source.len() as u64,
        });
        self.file_bytes.saturating_add(outside.sum())
    }

    /// The bytes of a buffer and the file offset of its first byte (0 for buffers outside the GLB).
    pub fn buffer(&self, index: usize) -> Result<(&[u8], u64)> {
        let (Some(cell), Some(entry)) = (self.buffers.get(index), self.document.buffers.get(index)) else {
            return Err(bad("VALUE", 0, format!("buffer {index} of {}", self.buffers.len())));
        };
        if cell.get().is_none() {
            let opened = self.open_buffer(index, entry.uri.as_deref())?;
            let _ = cell.set(opened);
        }
        let (bytes, start): (&[u8], u64) = match cell.get() {
            Some(Buffer::Decoded(bytes)) => (bytes, 0),
            Some(Buffer::File(source)) => (source, 0),
            Some(Buffer::Bin) | None => (self.bin.unwrap_or_default(), self.bin_start),
        };
        let length = usize::try_from(entry.byte_length).ok().filter(|l| *l <= bytes.len());
        let length = length.ok_or_else(|| {
            let have = bytes.len();
            bad("TRUNCATED", start, format!("buffer {index} says {} bytes, {have} are there", entry.byte_length))
        })?;
        Ok((&bytes[..length], start))
    }

    fn open_buffer(&self, index: usize, uri: Option<&str>) -> Result<Buffer> {
        let Some(uri) = uri else {
            return match self.bin {
                Some(_) if index == 0 => Ok(Buffer::Bin),
                _ => Err(bad("VALUE", 0, format!("buffer {index} has no uri and the file has no binary chunk for it"))),
            };
        };
        if let Some(data) = uri.strip_prefix("data:") {
            let (_, payload) = data
                .split_once(',')
                .filter(|(head, _)| head.ends_with(";base64"))
                .ok_or_else(|| bad("UNSUPPORTED", 0, format!("buffer {index} has a data URI that is not base64")))?;
            self.limits.check_bytes(payload.len() as u64 / 4 * 3)?;
            let decoded = base64::engine::general_purpose::STANDARD
                .decode(payload)
                .map_err(|e| bad("VALUE", 0, format!("buffer {index}: data URI: {e}")))?;
            return Ok(Buffer::Decoded(decoded));
        }
        if uri.contains(':') {
            return Err(bad(
                "UNSUPPORTED",
                0,
                format!("buffer {index} lies at `{uri:.100}`: only files beside this one are read"),
            ));
        }
        let name = percent_decode(uri);
        let file = match self.source {
            Some(source) => source.sibling(&name)?,
            None => None,
        };
        let file =
            file.ok_or_else(|| bad("MISSING", 0, format!("buffer {index} lies in `{name:.100}`, which is not there")))?;
        Ok(Buffer::File(file))
    }
}

struct Chunks<'a> {
    json: &'a [u8],
    json_start: u64,
    bin: Option<&'a [u8]>,
    bin_start: u64,
}

impl<'a> Chunks<'a> {
    fn of_text(bytes: &'a [u8]) -> Self {
        let json = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        Self { json, json_start: (bytes.len() - json.len()) as u64, bin: None, bin_start: 0 }
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

/// Walks header and chunks of a GLB; bytes beyond the length in the header are not looked at.
fn split_chunks(bytes: &[u8]) -> Result<Chunks<'_>> {
    let (Some(version), Some(length)) = (u32_at(bytes, 4), u32_at(bytes, 8)) else {
        return Err(bad("TRUNCATED", 0, format!("{} bytes, a GLB header has 12", bytes.len())));
    };
    if version != 2 {
        return Err(bad("VERSION", 4, format!("GLB version {version}, 2 expected")));
    }
    let length = length as usize;
    if length < 12 {
        return Err(bad("HEADER", 8, format!("the header says {length} bytes, less than itself")));
    }
    let bytes = bytes
        .get(..length)
        .ok_or_else(|| bad("TRUNCATED", 8, format!("the header says {length} bytes, {} are there", bytes.len())))?;
    let (mut json, mut bin, mut at) = (None, None, 12);
    while at < length {
        let (Some(size), Some(kind)) = (u32_at(bytes, at), u32_at(bytes, at + 4)) else {
            return Err(bad("TRUNCATED", at as u64, format!("{} bytes, a chunk header has 8", length - at)));
        };
        let (start, size) = (at + 8, size as usize);
        let end = start.checked_add(size).filter(|end| *end <= length).ok_or_else(|| {
            bad("TRUNCATED", at as u64, format!("a chunk says {size} bytes, {} are left", length - start))
        })?;
        match kind {
            CHUNK_JSON if json.is_none() => json = Some((&bytes[start..end], start as u64)),
            CHUNK_BIN if bin.is_none() => bin = Some((&bytes[start..end], start as u64)),
            _ if json.is_none() => break,
            _ => {}
        }
        at = end;
    }
    let (json, json_start) = json.ok_or_else(|| bad("HEADER", 12, "the first chunk is not JSON"))?;
    let (bin, bin_start) = bin.map_or((None, 0), |(bytes, start)| (Some(bytes), start));
    Ok(Chunks { json, json_start, bin, bin_start })
}

/// Bounds the nesting and the size of a JSON text before anything is built from it. Payload strings count as decoded bytes.
fn check_json(json: &[u8], start: u64, limits: &Limits) -> Result<()> {
    limits.check_bytes(json.len() as u64)?;
    let (mut depth, mut structure, mut at) = (0u32, 0usize, 0usize);
    while at < json.len() {
        match json[at] {
            b'"' => {
                let open = at;
                at += 1;
                while at < json.len() && json[at] != b'"' {
                    at += if json[at] == b'\\' { 2 } else { 1 };
                }
                let length = at - open;
                structure += if length > LONG_STRING { 0 } else { length };
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > limits.json_depth {
                    return Err(bad("JSON", start + at as u64, format!("nested deeper than {}", limits.json_depth)));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        structure += 1;
        at += 1;
    }
    limits.check_header(structure as u64).map(|_| ())
}

/// Undoes `%20` and the like in a relative file name; malformed escapes stay as they are.
fn percent_decode(uri: &str) -> Cow<'_, str> {
    if !uri.contains('%') {
        return Cow::Borrowed(uri);
    }
    let (bytes, mut out, mut at) = (uri.as_bytes(), Vec::with_capacity(uri.len()), 0);
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).and_then(|d| std::str::from_utf8(d).ok());
        match digits.filter(|_| bytes[at] == b'%').and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_in_file_names_are_undone() {
        assert_eq!(percent_decode("my%20head.bin"), "my head.bin");
        assert_eq!(percent_decode("100%"), "100%");
        assert_eq!(percent_decode("a%zzb"), "a%zzb");
    }

    #[test]
    fn nesting_is_bounded_before_parsing() {
        let limits = Limits::default();
        assert!(check_json(&b"[".repeat(32), 0, &limits).is_ok());
        assert_eq!(check_json(&b"[".repeat(33), 0, &limits).unwrap_err().code(), "JSON");
        assert!(check_json(br#""[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"[[[[[""#, 0, &limits).is_ok());
        let small = Limits { header_bytes: 10, ..Limits::default() };
        assert_eq!(check_json(b"{          }", 0, &small).unwrap_err().code(), "LIMIT");
    }
}
