//! The container: header, directory, chunks made of a head (parameters and block table) and blocks (`spec/gav.md` 4).

use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, Limits, Result, sink::WriteSeek};

/// First bytes of every file; the line ends reveal a transfer in text mode, as in PNG.
pub const MAGIC: [u8; 8] = [0x89, b'G', b'A', b'V', 0x0D, 0x0A, 0x1A, 0x0A];
/// Version written by this code.
pub const VERSION: (u16, u16) = (1, 0);
pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const ENTRY_BYTES: usize = 64;
pub(crate) const ALIGNMENT: u64 = 64;
/// Blocks of one chunk at most: 2³¹ splats in blocks of 1,024.
const MAX_BLOCKS: u64 = 1 << 21;

/// Bits of the required-feature field (`spec/gav.md` 4.1).
pub mod feature {
    /// Streams compressed by Zstandard.
    pub const ZSTD: u64 = 1 << 0;
    /// More than one layer.
    pub const LAYERS: u64 = 1 << 1;
    /// Skeleton and skin.
    pub const SKINNED: u64 = 1 << 2;
    /// Triangle binding.
    pub const TRIANGLE: u64 = 1 << 3;
    /// Gaussian blendshapes.
    pub const BLENDSHAPES: u64 = 1 << 4;
    /// Blendshape weights from a network.
    pub const MLP: u64 = 1 << 5;
    /// Frame tracks.
    pub const FRAMES: u64 = 1 << 6;
    /// Sparse position morphs.
    pub const MORPHS: u64 = 1 << 7;
    /// Needs a template that is not in the file.
    pub const TEMPLATE: u64 = 1 << 8;
    /// Everything this version knows.
    pub const KNOWN: u64 = (1 << 9) - 1;
}

/// Header flag: splats of layer 0 come first and give a coarse picture.
pub const FLAG_PROGRESSIVE: u32 = 1 << 1;
/// Header flag: all splat attributes are stored without loss.
pub const FLAG_LOSSLESS: u32 = 1 << 2;
const FLAG_DIRECTORY_AT_END: u32 = 1 << 0;

pub(crate) fn bad(code: &'static str, offset: u64, message: impl Into<String>) -> Error {
    Error::format("gav", code, offset, message)
}

/// The fixed first 64 bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// Major and minor version.
    pub version: (u16, u16),
    /// Informative flags.
    pub flags: u32,
    /// Length of the whole file in bytes.
    pub file_bytes: u64,
    /// Where the directory starts.
    pub directory_offset: u64,
    /// Number of chunks.
    pub entry_count: u32,
    /// Bytes of one directory entry; larger than 64 in later minor versions.
    pub entry_bytes: u32,
    /// Required-feature bits; see [`feature`].
    pub features: u64,
    /// XXH3-64 of the directory.
    pub directory_hash: u64,
}

/// One row of the directory.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Entry {
    /// Four letters.
    pub kind: [u8; 4],
    /// Layer of splats this chunk belongs to; 0 for chunks that belong to none.
    pub layer: u16,
    /// Where the chunk starts.
    pub offset: u64,
    /// Bytes in the file.
    pub stored_bytes: u64,
    /// Bytes after entropy decoding, all blocks together, block framing included.
    pub decoded_bytes: u64,
    /// How the payload represents its content.
    pub codec: u16,
    /// Elements of one block; the last may be shorter.
    pub block_elements: u32,
    /// Elements of the chunk.
    pub elements: u32,
    /// Bytes of the parameters at the start of the chunk.
    pub parameter_bytes: u32,
    /// XXH3-64 of the chunk's head: parameters and block table.
    pub head_hash: u64,
    /// Lower numbers are wanted first by a progressive reader.
    pub priority: u32,
}

impl Entry {
    /// Number of blocks, from element count and block size.
    pub fn block_count(&self) -> u64 {
        u64::from(self.elements).div_ceil(u64::from(self.block_elements.max(1)))
    }

    /// Elements in block `index`.
    pub fn block_len(&self, index: u64) -> usize {
        let start = index * u64::from(self.block_elements);
        (u64::from(self.elements).saturating_sub(start)).min(u64::from(self.block_elements)) as usize
    }

    fn head_bytes(&self) -> u64 {
        u64::from(self.parameter_bytes) + 8 * self.block_count()
    }

    /// The four letters as text.
    pub fn name(&self) -> String {
        self.kind.iter().map(|&b| b as char).collect()
    }

    fn to_bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[0..4].copy_from_slice(&self.kind);
        out[4..6].copy_from_slice(&self.layer.to_le_bytes());
        out[8..16].copy_from_slice(&self.offset.to_le_bytes());
        out[16..24].copy_from_slice(&self.stored_bytes.to_le_bytes());
        out[24..32].copy_from_slice(&self.decoded_bytes.to_le_bytes());
        out[32..34].copy_from_slice(&self.codec.to_le_bytes());
        out[36..40].copy_from_slice(&self.block_elements.to_le_bytes());
        out[40..44].copy_from_slice(&self.elements.to_le_bytes());
        out[44..48].copy_from_slice(&self.parameter_bytes.to_le_bytes());
        out[48..56].copy_from_slice(&self.head_hash.to_le_bytes());
        out[56..60].copy_from_slice(&self.priority.to_le_bytes());
        out
    }

    fn from_bytes(bytes: &[u8], at: u64) -> Result<Self> {
        let reserved = [(6, 2), (34, 2), (60, 4)];
        if reserved.iter().any(|&(start, len)| bytes[start..start + len].iter().any(|&b| b != 0)) {
            return Err(bad("ENTRY_RESERVED", at, "reserved bytes of a directory entry are not zero"));
        }
        Ok(Self {
            kind: bytes[0..4].try_into().expect("four bytes"),
            layer: u16_at(bytes, 4),
            offset: u64_at(bytes, 8),
            stored_bytes: u64_at(bytes, 16),
            decoded_bytes: u64_at(bytes, 24),
            codec: u16_at(bytes, 32),
            block_elements: u32_at(bytes, 36),
            elements: u32_at(bytes, 40),
            parameter_bytes: u32_at(bytes, 44),
            head_hash: u64_at(bytes, 48),
            priority: u32_at(bytes, 56),
        })
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Header and directory of a file whose bytes are at hand.
#[derive(Debug, Clone)]
pub struct Container<'a> {
    bytes: &'a [u8],
    /// The header.
    pub header: Header,
    /// The chunks in directory order.
    pub entries: Vec<Entry>,
    check_hashes: bool,
}

impl<'a> Container<'a> {
    /// Parses and checks header and directory; touches no chunk.
    ///
    /// # Errors
    /// [`Error::Format`] with the codes of `spec/gav.md` section 11, [`Error::Limit`] for a directory above `limits`.
    pub fn parse(bytes: &'a [u8], limits: &Limits, check_hashes: bool) -> Result<Self> {
        let header = parse_header(bytes, limits)?;
        let start = header.directory_offset as usize;
        let size = header.entry_bytes as usize;
        let directory = &bytes[start..start + header.entry_count as usize * size];
        if xxh3_64(directory) != header.directory_hash {
            return Err(bad(
                "DIRECTORY_HASH",
                header.directory_offset,
                "directory is damaged: its hash does not match",
            ));
        }
        let mut entries = Vec::with_capacity(header.entry_count as usize);
        for (index, row) in directory.chunks_exact(size).enumerate() {
            let at = header.directory_offset + (index * size) as u64;
            let entry = Entry::from_bytes(row, at)?;
            check_entry(&entry, at, bytes.len() as u64)?;
            entries.push(entry);
        }
        check_overlap(&entries, &header)?;
        let total = entries.iter().fold(0u64, |sum, e| sum.saturating_add(e.decoded_bytes));
        limits.check_bytes(total)?;
        Ok(Self { bytes, header, entries, check_hashes })
    }

    /// The parameters of a chunk, after checking its head.
    pub fn parameters(&self, entry: &Entry) -> Result<&'a [u8]> {
        self.check_head(entry)?;
        Ok(&self.bytes[entry.offset as usize..][..entry.parameter_bytes as usize])
    }

    /// The stored bytes of every block, in order, each checked against its hash when it is taken.
    pub fn blocks(&self, entry: &Entry) -> Result<Vec<Block<'a>>> {
        self.check_head(entry)?;
        let table = &self.bytes[entry.offset as usize + entry.parameter_bytes as usize..];
        let mut at = entry.offset + entry.head_bytes();
        let end = entry.offset + entry.stored_bytes;
        let mut blocks = Vec::with_capacity(entry.block_count() as usize);
        for index in 0..entry.block_count() {
            let row = index as usize * 8;
            let (length, hash) = (u64::from(u32_at(table, row)), u32_at(table, row + 4));
            if length > end - at {
                return Err(bad(
                    "BLOCK_LENGTH",
                    at,
                    format!("{}: block {index} of {length} bytes passes its chunk's end", entry.name()),
                ));
            }
            blocks.push(Block {
                bytes: &self.bytes[at as usize..(at + length) as usize],
                offset: at,
                elements: entry.block_len(index),
                hash: self.check_hashes.then_some(hash),
            });
            at += length;
        }
        if at != end {
            return Err(bad("BLOCK_LENGTH", at, format!("{}: {} bytes follow the last block", entry.name(), end - at)));
        }
        Ok(blocks)
    }

    /// All stored bytes of a chunk; for chunks that are carried along without being understood.
    pub fn stored(&self, entry: &Entry) -> &'a [u8] {
        &self.bytes[entry.offset as usize..][..entry.stored_bytes as usize]
    }

    /// The only chunk of this kind in `layer`, if any.
    pub fn find(&self, kind: &[u8; 4], layer: u16) -> Option<&Entry> {
        self.entries.iter().find(|e| &e.kind == kind && e.layer == layer)
    }

    fn check_head(&self, entry: &Entry) -> Result<()> {
        let head = &self.bytes[entry.offset as usize..][..entry.head_bytes() as usize];
        if self.check_hashes && xxh3_64(head) != entry.head_hash {
            return Err(bad(
                "CHUNK_HASH",
                entry.offset,
                format!("{}: head is damaged: its hash does not match", entry.name()),
            ));
        }
        Ok(())
    }
}

/// Stored bytes of one block.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    bytes: &'a [u8],
    /// Where the block starts in the file.
    pub offset: u64,
    /// Elements it decodes to.
    pub elements: usize,
    hash: Option<u32>,
}

impl<'a> Block<'a> {
    /// The stored bytes, after checking their hash.
    pub fn bytes(&self) -> Result<&'a [u8]> {
        match self.hash {
            Some(hash) if xxh3_64(self.bytes) as u32 != hash => {
                Err(bad("BLOCK_HASH", self.offset, "block is damaged: its hash does not match"))
            }
            _ => Ok(self.bytes),
        }
    }
}

fn parse_header(bytes: &[u8], limits: &Limits) -> Result<Header> {
    if bytes.len() < HEADER_BYTES {
        return Err(bad("TRUNCATED", bytes.len() as u64, format!("{} bytes hold no header of 64", bytes.len())));
    }
    if bytes[..8] != MAGIC {
        return Err(bad("MAGIC", 0, "the first eight bytes are not those of a .gav"));
    }
    if xxh3_64(&bytes[..56]) != u64_at(bytes, 56) {
        return Err(bad("HEADER_HASH", 56, "header is damaged: its hash does not match"));
    }
    let header = Header {
        version: (u16_at(bytes, 8), u16_at(bytes, 10)),
        flags: u32_at(bytes, 12),
        file_bytes: u64_at(bytes, 16),
        directory_offset: u64_at(bytes, 24),
        entry_count: u32_at(bytes, 32),
        entry_bytes: u32_at(bytes, 36),
        features: u64_at(bytes, 40),
        directory_hash: u64_at(bytes, 48),
    };
    if header.version.0 != VERSION.0 {
        let (major, minor) = header.version;
        return Err(bad("VERSION", 8, format!("version {major}.{minor} cannot be read, this reader knows 1.x")));
    }
    let unknown = header.features & !feature::KNOWN;
    if unknown != 0 {
        return Err(bad("FEATURE", 40, format!("needs features this reader does not know (bits {unknown:#x})")));
    }
    if header.file_bytes != bytes.len() as u64 {
        let message = format!("header says {} bytes, the file has {}", header.file_bytes, bytes.len());
        return Err(bad(if header.file_bytes > bytes.len() as u64 { "TRUNCATED" } else { "TRAILING" }, 16, message));
    }
    if header.entry_bytes < ENTRY_BYTES as u32 || header.entry_bytes > 4096 || !header.entry_bytes.is_multiple_of(8) {
        return Err(bad("DIRECTORY", 36, format!("directory entries of {} bytes", header.entry_bytes)));
    }
    limits.check_entries(u64::from(header.entry_count))?;
    let directory_bytes = u64::from(header.entry_count) * u64::from(header.entry_bytes);
    let end = header.directory_offset.checked_add(directory_bytes);
    if !header.directory_offset.is_multiple_of(ALIGNMENT)
        || header.directory_offset < HEADER_BYTES as u64
        || end.is_none_or(|end| end > header.file_bytes)
    {
        return Err(bad(
            "DIRECTORY",
            24,
            format!("directory at {} of {directory_bytes} bytes lies outside the file", header.directory_offset),
        ));
    }
    Ok(header)
}

fn check_entry(entry: &Entry, at: u64, file_bytes: u64) -> Result<()> {
    if !entry.kind.iter().all(u8::is_ascii_alphabetic) || entry.kind[2].is_ascii_lowercase() {
        return Err(bad(
            "CHUNK_TYPE",
            at,
            format!("chunk type {:?} is not four letters with an upper-case third", entry.kind),
        ));
    }
    let name = entry.name();
    let end = entry.offset.checked_add(entry.stored_bytes);
    if !entry.offset.is_multiple_of(ALIGNMENT)
        || entry.offset < HEADER_BYTES as u64
        || end.is_none_or(|end| end > file_bytes)
    {
        return Err(bad(
            "CHUNK_RANGE",
            at,
            format!("{name}: {} bytes at {} lie outside the file", entry.stored_bytes, entry.offset),
        ));
    }
    let blocks = entry.block_count();
    if blocks > MAX_BLOCKS
        || (entry.elements > 0 && entry.block_elements == 0)
        || entry.head_bytes() > entry.stored_bytes
    {
        return Err(bad(
            "CHUNK_BLOCKS",
            at,
            format!("{name}: {blocks} blocks do not fit in {} bytes", entry.stored_bytes),
        ));
    }
    Ok(())
}

fn check_overlap(entries: &[Entry], header: &Header) -> Result<()> {
    let directory_bytes = u64::from(header.entry_count) * u64::from(header.entry_bytes);
    let mut ranges: Vec<(u64, u64, String)> =
        entries.iter().map(|e| (e.offset, e.offset + e.stored_bytes, e.name())).collect();
    ranges.push((header.directory_offset, header.directory_offset + directory_bytes, "directory".to_owned()));
    ranges.sort();
    for pair in ranges.windows(2) {
        if pair[0].1 > pair[1].0 {
            return Err(bad("OVERLAP", pair[1].0, format!("{} and {} overlap", pair[0].2, pair[1].2)));
        }
    }
    Ok(())
}

/// See [`crate::UnknownChunk::new`].
pub(crate) fn opaque_chunk(kind: [u8; 4], payload: &[u8]) -> crate::UnknownChunk {
    let mut data = (payload.len() as u32).to_le_bytes().to_vec();
    data.extend_from_slice(&(xxh3_64(payload) as u32).to_le_bytes());
    let entry = Entry {
        kind,
        decoded_bytes: payload.len() as u64,
        block_elements: 1,
        elements: 1,
        head_hash: xxh3_64(&data),
        stored_bytes: (data.len() + payload.len()) as u64,
        ..Entry::default()
    };
    data.extend_from_slice(payload);
    crate::UnknownChunk { kind, data, entry }
}

/// A chunk ready to be written: its head's parameters and its finished blocks.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    /// Four letters.
    pub kind: [u8; 4],
    /// Layer of splats.
    pub layer: u16,
    /// How the payload represents its content.
    pub codec: u16,
    /// Elements of one block.
    pub block_elements: u32,
    /// Elements of the chunk.
    pub elements: u32,
    /// Stored at the start of the chunk.
    pub parameters: Vec<u8>,
    /// Finished blocks with the sum of their decoded bytes.
    pub blocks: Vec<(Vec<u8>, u64)>,
    /// Reading order hint.
    pub priority: u32,
}

/// Writes a file front to back; only the header is patched at the end.
pub struct ContainerWriter<'a> {
    sink: &'a mut dyn WriteSeek,
    start: u64,
    position: u64,
    entries: Vec<Entry>,
}

impl<'a> ContainerWriter<'a> {
    /// Reserves the header at the sink's current position.
    pub fn new(sink: &'a mut dyn WriteSeek) -> Result<Self> {
        let start = sink.stream_position()?;
        sink.write_all(&[0; HEADER_BYTES])?;
        Ok(Self { sink, start, position: HEADER_BYTES as u64, entries: Vec::new() })
    }

    /// Appends a chunk.
    pub fn push(&mut self, chunk: &Chunk) -> Result<()> {
        let mut head = chunk.parameters.clone();
        for (block, _) in &chunk.blocks {
            let length = u32::try_from(block.len()).map_err(|_| Error::usage("a block of 4 GiB or more"))?;
            head.extend_from_slice(&length.to_le_bytes());
            head.extend_from_slice(&(xxh3_64(block) as u32).to_le_bytes());
        }
        self.align()?;
        let entry = Entry {
            kind: chunk.kind,
            layer: chunk.layer,
            offset: self.position,
            stored_bytes: (head.len() + chunk.blocks.iter().map(|(b, _)| b.len()).sum::<usize>()) as u64,
            decoded_bytes: chunk.blocks.iter().map(|(_, decoded)| decoded).sum(),
            codec: chunk.codec,
            block_elements: chunk.block_elements,
            elements: chunk.elements,
            parameter_bytes: chunk.parameters.len() as u32,
            head_hash: xxh3_64(&head),
            priority: chunk.priority,
        };
        debug_assert_eq!(entry.block_count(), chunk.blocks.len() as u64, "{}", entry.name());
        self.sink.write_all(&head)?;
        for (block, _) in &chunk.blocks {
            self.sink.write_all(block)?;
        }
        self.position += entry.stored_bytes;
        self.entries.push(entry);
        Ok(())
    }

    /// Appends a chunk that is carried along unread: its stored bytes under its old entry's description.
    pub fn push_stored(&mut self, old: &Entry, stored: &[u8]) -> Result<()> {
        self.align()?;
        self.sink.write_all(stored)?;
        self.entries.push(Entry { offset: self.position, stored_bytes: stored.len() as u64, ..old.clone() });
        self.position += stored.len() as u64;
        Ok(())
    }

    /// Writes the directory and the header.
    pub fn finish(mut self, features: u64, flags: u32) -> Result<()> {
        self.align()?;
        let directory: Vec<u8> = self.entries.iter().flat_map(Entry::to_bytes).collect();
        self.sink.write_all(&directory)?;
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..10].copy_from_slice(&VERSION.0.to_le_bytes());
        header[10..12].copy_from_slice(&VERSION.1.to_le_bytes());
        header[12..16].copy_from_slice(&(flags | FLAG_DIRECTORY_AT_END).to_le_bytes());
        header[16..24].copy_from_slice(&(self.position + directory.len() as u64).to_le_bytes());
        header[24..32].copy_from_slice(&self.position.to_le_bytes());
        header[32..36].copy_from_slice(&(self.entries.len() as u32).to_le_bytes());
        header[36..40].copy_from_slice(&(ENTRY_BYTES as u32).to_le_bytes());
        header[40..48].copy_from_slice(&features.to_le_bytes());
        header[48..56].copy_from_slice(&xxh3_64(&directory).to_le_bytes());
        let hash = xxh3_64(&header[..56]);
        header[56..64].copy_from_slice(&hash.to_le_bytes());
        let end = self.sink.stream_position()?;
        self.sink.seek(std::io::SeekFrom::Start(self.start))?;
        self.sink.write_all(&header)?;
        self.sink.seek(std::io::SeekFrom::Start(end))?;
        Ok(())
    }

    fn align(&mut self) -> Result<()> {
        let padding = (ALIGNMENT - self.position % ALIGNMENT) % ALIGNMENT;
        self.sink.write_all(&[0; ALIGNMENT as usize][..padding as usize])?;
        self.position += padding;
        Ok(())
    }
}
