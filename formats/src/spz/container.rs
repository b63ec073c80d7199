//! Header and compression of SPZ files: one gzip stream (versions 1–3) or a table of zstd streams (version 4).

use std::io::{ErrorKind, Read, Write};

use rayon::prelude::*;

use super::FORMAT;
use crate::{Error, Limits, Result, conventions::sh_rest_count, sink::WriteSeek};

const MAGIC: &[u8; 4] = b"NGSP";
const LEGACY_HEADER: usize = 16;
const HEADER: usize = 32;
/// Bytes of one table entry: compressed and uncompressed size.
const TOC_ENTRY: usize = 16;
/// The level of the reference writer.
const ZSTD_LEVEL: i32 = 12;

/// Gaussians were trained with the antialiasing filter.
pub(super) const FLAG_ANTIALIASED: u8 = 1;
/// Extension records are present.
pub(super) const FLAG_EXTENSIONS: u8 = 2;
/// A tree of levels of detail follows the splats: not part of the specification, written by some viewers.
const FLAG_LOD: u8 = 0x80;

/// Readers keep the count in a signed integer.
pub(super) const MAX_COUNT: u32 = i32::MAX as u32;
/// Binary digits after the point beyond which the reference reader refuses.
pub(super) const MAX_FRACTIONAL_BITS: u8 = 24;

/// The fields that both header layouts share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Header {
    pub version: u32,
    pub count: u32,
    pub sh_degree: u8,
    pub fractional_bits: u8,
    pub flags: u8,
}

impl Header {
    /// Bytes per splat of positions, alphas, colours, scales, rotations and SH.
    pub fn widths(&self) -> [usize; 6] {
        let position = if self.version == 1 { 6 } else { 9 };
        let rotation = if self.version < 3 { 3 } else { 4 };
        [position, 1, 3, 3, rotation, 3 * sh_rest_count(self.sh_degree)]
    }

    /// Lengths in bytes of the six streams.
    pub fn lengths(&self) -> [usize; 6] {
        self.widths().map(|width| width * self.count as usize)
    }

    /// Reads the 16 bytes that both layouts begin with and checks them against the file size and the limits.
    fn parse(bytes: &[u8; LEGACY_HEADER], file_size: usize, limits: &Limits) -> Result<Self> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let fail = |code, offset, message: String| Err(Error::format(FORMAT, code, offset, message));
        if &bytes[..4] != MAGIC {
            return fail("HEADER", 0, format!("begins with {:02x?} instead of `NGSP`", &bytes[..4]));
        }
        let header = Self {
            version: word(4),
            count: word(8),
            sh_degree: bytes[12],
            fractional_bits: bytes[13],
            flags: bytes[14],
        };
        if !(1..=4).contains(&header.version) {
            return fail("UNSUPPORTED", 4, format!("version {} is none of 1 to 4", header.version));
        }
        // a splat takes at least 9 bytes before compression, and nothing real compresses better than 1024 to 1
        let ceiling = (file_size as u64).saturating_mul(1024) / 9;
        if header.count > MAX_COUNT || u64::from(header.count) > ceiling {
            return fail("HEADER", 8, format!("{} splats cannot fit into {file_size} bytes", header.count));
        }
        if header.sh_degree > 4 {
            return fail("HEADER", 12, format!("SH degree {} is above 4", header.sh_degree));
        }
        if header.fractional_bits > MAX_FRACTIONAL_BITS {
            return fail("HEADER", 13, format!("{} fractional bits are above 24", header.fractional_bits));
        }
        if header.flags & FLAG_LOD != 0 {
            return fail("UNSUPPORTED", 14, "holds a tree of levels of detail (flag 0x80)".into());
        }
        let packed: usize = header.widths().iter().sum();
        let decoded = 56 + 12 * sh_rest_count(header.sh_degree);
        limits.check_splats(u64::from(header.count), (packed + decoded) as u64)?;
        Ok(header)
    }

    fn put(&self, fourth: u8) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        bytes.extend([self.sh_degree, self.fractional_bits, self.flags, fourth]);
        bytes
    }
}

/// An uncompressed file.
#[derive(Debug)]
pub(super) struct Packed {
    pub header: Header,
    /// The six streams back to back.
    pub bytes: Vec<u8>,
    /// Extension records.
    pub extensions: Vec<u8>,
    /// Where the records begin, in the file (version 4) or in the uncompressed stream.
    pub extensions_offset: u64,
}

impl Packed {
    /// The six streams.
    pub fn streams(&self) -> [&[u8]; 6] {
        let mut rest = &self.bytes[..];
        self.header.lengths().map(|length| {
            let (stream, tail) = rest.split_at(length);
            rest = tail;
            stream
        })
    }
}

fn truncated(offset: usize, what: &str, size: usize) -> Error {
    Error::format(FORMAT, "TRUNCATED", offset as u64, format!("{what}, but the file has {size} bytes"))
}

/// Decompresses a whole file.
pub(super) fn unpack(file: &[u8], limits: &Limits) -> Result<Packed> {
    if file.starts_with(&[0x1f, 0x8b]) {
        return unpack_legacy(flate2::bufread::GzDecoder::new(file), file.len(), limits, |decoder| {
            decoder.into_inner().len()
        });
    }
    let Some(first) = file.first_chunk::<LEGACY_HEADER>() else {
        return Err(truncated(0, "the header takes 16 bytes", file.len()));
    };
    let header = Header::parse(first, file.len(), limits)?;
    if header.version < 4 {
        return unpack_legacy(file, file.len(), limits, |rest| rest.len());
    }
    unpack_streams(file, header)
}

/// Versions 1 to 3: header, streams and records in one run of bytes. `left` counts the bytes of the file behind it.
fn unpack_legacy<R: Read>(mut body: R, size: usize, limits: &Limits, left: impl Fn(R) -> usize) -> Result<Packed> {
    let broken = |offset: usize, error: std::io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => truncated(offset, "the stream ends early", size),
        _ => Error::format(FORMAT, "CORRUPT", offset as u64, format!("gzip stream: {error}")),
    };
    let mut first = [0; LEGACY_HEADER];
    body.read_exact(&mut first).map_err(|e| broken(0, e))?;
    let header = Header::parse(&first, size, limits)?;
    if header.version > 3 {
        return Err(Error::format(FORMAT, "HEADER", 4, "version 4 inside a gzip stream"));
    }
    let length: usize = header.lengths().iter().sum();
    let mut bytes = vec![0; length];
    body.read_exact(&mut bytes).map_err(|e| broken(LEGACY_HEADER, e))?;
    let end = LEGACY_HEADER + length;
    // reading to the end also checks the checksum of the stream
    let mut extensions = Vec::new();
    let most = if header.flags & FLAG_EXTENSIONS != 0 { limits.header_bytes } else { 0 };
    body.by_ref().take(most.saturating_add(1)).read_to_end(&mut extensions).map_err(|e| broken(end, e))?;
    if extensions.len() as u64 > most {
        if most > 0 {
            return Err(Error::Limit { what: "header bytes", requested: extensions.len() as u64, limit: most });
        }
        return Err(Error::format(FORMAT, "VALUE", end as u64, format!("more data than {} splats take", header.count)));
    }
    match left(body) {
        0 => Ok(Packed { header, bytes, extensions, extensions_offset: end as u64 }),
        extra => Err(Error::format(FORMAT, "VALUE", (size - extra) as u64, format!("{extra} bytes after the end"))),
    }
}

/// Version 4: the table says where each stream lies; together they must fill the file exactly.
fn unpack_streams(file: &[u8], header: Header) -> Result<Packed> {
    if file.len() < HEADER {
        return Err(truncated(16, "the header takes 32 bytes", file.len()));
    }
    let toc = u32::from_le_bytes([file[16], file[17], file[18], file[19]]) as usize;
    if toc < HEADER {
        return Err(Error::format(FORMAT, "HEADER", 16, format!("stream table at byte {toc}, inside the header")));
    }
    let lengths = header.lengths();
    let expected = lengths.iter().filter(|&&length| length > 0).count();
    let streams = usize::from(file[15]);
    if streams != expected {
        let message = format!("{streams} streams, {expected} expected for SH degree {}", header.sh_degree);
        return Err(Error::format(FORMAT, "HEADER", 15, message));
    }
    let Some(entries) = file.get(toc..).and_then(|rest| rest.get(..streams * TOC_ENTRY)) else {
        return Err(truncated(toc, "the stream table lies beyond the end", file.len()));
    };
    let mut offset = toc + entries.len();
    let mut bytes = vec![0; lengths.iter().sum()];
    let mut rest = &mut bytes[..];
    let mut jobs = Vec::with_capacity(streams);
    for (index, (entry, length)) in
        entries.chunks_exact(TOC_ENTRY).zip(lengths.into_iter().filter(|&length| length > 0)).enumerate()
    {
        let (compressed, uncompressed) = entry.split_at(8);
        let size = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |value, &b| value << 8 | u64::from(b));
        let at = (toc + index * TOC_ENTRY) as u64;
        if size(uncompressed) != length as u64 {
            let message = format!("stream {index} holds {} bytes, {length} expected", size(uncompressed));
            return Err(Error::format(FORMAT, "VALUE", at + 8, message));
        }
        let available = (file.len() - offset) as u64;
        if size(compressed) > available {
            let message = format!("stream {index} takes {} bytes, {available} are left", size(compressed));
            return Err(Error::format(FORMAT, "TRUNCATED", at, message));
        }
        let data = &file[offset..offset + size(compressed) as usize];
        let (target, tail) = std::mem::take(&mut rest).split_at_mut(length);
        rest = tail;
        jobs.push((offset, data, target));
        offset += data.len();
    }
    if offset != file.len() {
        let message = format!("{} bytes after the last stream", file.len() - offset);
        return Err(Error::format(FORMAT, "VALUE", offset as u64, message));
    }
    jobs.into_par_iter().try_for_each(|(offset, data, target)| {
        let corrupt = |message: String| Error::format(FORMAT, "CORRUPT", offset as u64, message);
        let length = target.len();
        match zstd::bulk::decompress_to_buffer(data, target) {
            Ok(written) if written == length => Ok(()),
            Ok(written) => Err(corrupt(format!("stream decodes to {written} bytes, {length} expected"))),
            Err(error) => Err(corrupt(format!("zstd stream: {error}"))),
        }
    })?;
    let extensions = if header.flags & FLAG_EXTENSIONS != 0 { file[HEADER..toc].to_vec() } else { Vec::new() };
    Ok(Packed { header, bytes, extensions, extensions_offset: HEADER as u64 })
}

/// Compresses and writes a whole file.
pub(super) fn write(packed: &Packed, sink: &mut dyn WriteSeek) -> Result<()> {
    if packed.header.version < 4 {
        let mut gzip = flate2::write::GzEncoder::new(sink, flate2::Compression::best());
        gzip.write_all(&packed.header.put(0))?;
        gzip.write_all(&packed.bytes)?;
        gzip.write_all(&packed.extensions)?;
        gzip.finish()?;
        return Ok(());
    }
    let streams: Vec<&[u8]> = packed.streams().into_iter().filter(|stream| !stream.is_empty()).collect();
    let compressed = streams
        .par_iter()
        .map(|stream| zstd::bulk::compress(stream, ZSTD_LEVEL))
        .collect::<std::io::Result<Vec<Vec<u8>>>>()?;
    let mut head = packed.header.put(streams.len() as u8);
    head.extend(((HEADER + packed.extensions.len()) as u32).to_le_bytes());
    head.resize(HEADER, 0);
    head.extend(&packed.extensions);
    for (stream, data) in streams.iter().zip(&compressed) {
        head.extend((data.len() as u64).to_le_bytes());
        head.extend((stream.len() as u64).to_le_bytes());
    }
    sink.write_all(&head)?;
    for data in &compressed {
        sink.write_all(data)?;
    }
    Ok(())
}
