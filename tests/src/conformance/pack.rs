//! A `.gav` taken apart into chunks and blocks and put together again, with every hash made anew: for files that the
//! encoder would never write.

use gav_formats::gav::{MAGIC, feature};
use xxhash_rust::xxh3::xxh3_64;

/// A file in parts.
#[derive(Debug, Clone, Default)]
pub struct Pack {
    /// Major and minor version.
    pub version: (u16, u16),
    /// Informative flags.
    pub flags: u32,
    /// Required features.
    pub features: u64,
    /// Bytes of one directory entry beyond the 64 that are defined.
    pub extra_entry_bytes: usize,
    /// The chunks in file order.
    pub chunks: Vec<PackChunk>,
}

/// One chunk in parts.
#[derive(Debug, Clone, Default)]
pub struct PackChunk {
    /// Four letters.
    pub kind: [u8; 4],
    /// Layer.
    pub layer: u16,
    /// Codec.
    pub codec: u16,
    /// Elements of a block.
    pub block_elements: u32,
    /// Elements.
    pub elements: u32,
    /// Decoded bytes of all blocks.
    pub decoded: u64,
    /// Parameters.
    pub parameters: Vec<u8>,
    /// Stored bytes of each block.
    pub blocks: Vec<Vec<u8>>,
    /// Priority.
    pub priority: u32,
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

impl Pack {
    /// Takes a good file apart.
    pub fn of(bytes: &[u8]) -> Self {
        let (start, count, size) = (u64_at(bytes, 24) as usize, u32_at(bytes, 32) as usize, u32_at(bytes, 36) as usize);
        Self {
            version: (u16_at(bytes, 8), u16_at(bytes, 10)),
            flags: u32_at(bytes, 12),
            features: u64_at(bytes, 40),
            extra_entry_bytes: size - 64,
            chunks: (0..count).map(|k| PackChunk::of(bytes, &bytes[start + k * size..][..64])).collect(),
        }
    }

    /// The first chunk of a type.
    pub fn chunk(&mut self, kind: &[u8; 4]) -> &mut PackChunk {
        self.chunks.iter_mut().find(|c| c.kind == *kind).expect("the sample has this chunk")
    }

    /// Puts the file together: 64-byte alignment, directory at the end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let align = |out: &mut Vec<u8>| out.resize(out.len().next_multiple_of(64), 0);
        let mut out = vec![0; 64];
        let mut directory = Vec::new();
        for chunk in &self.chunks {
            align(&mut out);
            let (head, offset) = (chunk.head(), out.len() as u64);
            out.extend_from_slice(&head);
            chunk.blocks.iter().for_each(|b| out.extend_from_slice(b));
            let mut row = [0u8; 64];
            put(&mut row, 0, &chunk.kind);
            put(&mut row, 4, &chunk.layer.to_le_bytes());
            put(&mut row, 8, &offset.to_le_bytes());
            put(&mut row, 16, &(out.len() as u64 - offset).to_le_bytes());
            put(&mut row, 24, &chunk.decoded.to_le_bytes());
            put(&mut row, 32, &chunk.codec.to_le_bytes());
            put(&mut row, 36, &chunk.block_elements.to_le_bytes());
            put(&mut row, 40, &chunk.elements.to_le_bytes());
            put(&mut row, 44, &(chunk.parameters.len() as u32).to_le_bytes());
            put(&mut row, 48, &xxh3_64(&head).to_le_bytes());
            put(&mut row, 56, &chunk.priority.to_le_bytes());
            directory.extend_from_slice(&row);
            directory.resize(directory.len() + self.extra_entry_bytes, 0xA5);
        }
        align(&mut out);
        let start = out.len() as u64;
        out.extend_from_slice(&directory);
        put(&mut out, 0, &MAGIC);
        put(&mut out, 8, &self.version.0.to_le_bytes());
        put(&mut out, 10, &self.version.1.to_le_bytes());
        put(&mut out, 12, &self.flags.to_le_bytes());
        put(&mut out, 24, &start.to_le_bytes());
        put(&mut out, 32, &(self.chunks.len() as u32).to_le_bytes());
        put(&mut out, 36, &(64 + self.extra_entry_bytes as u32).to_le_bytes());
        put(&mut out, 40, &self.features.to_le_bytes());
        seal(&mut out);
        out
    }

    /// Puts a chunk in at the end; its type's feature bit is the caller's.
    pub fn with(mut self, chunk: PackChunk) -> Self {
        self.features |= feature::ZSTD;
        self.chunks.push(chunk);
        self
    }
}

/// Makes length, directory hash and header hash of a file fit its bytes.
pub fn seal(bytes: &mut [u8]) {
    let length = bytes.len() as u64;
    put(bytes, 16, &length.to_le_bytes());
    let (start, size) = (u64_at(bytes, 24) as usize, (u32_at(bytes, 32) * u32_at(bytes, 36)) as usize);
    if let Some(directory) = bytes.get(start..start + size) {
        let hash = xxh3_64(directory);
        put(bytes, 48, &hash.to_le_bytes());
    }
    seal_header(bytes);
}

/// Makes the header's hash fit.
pub fn seal_header(bytes: &mut [u8]) {
    let hash = xxh3_64(&bytes[..56]);
    put(bytes, 56, &hash.to_le_bytes());
}

impl PackChunk {
    fn of(bytes: &[u8], row: &[u8]) -> Self {
        let (offset, parameters) = (u64_at(row, 8) as usize, u32_at(row, 44) as usize);
        let (elements, block_elements) = (u32_at(row, 40), u32_at(row, 36));
        let blocks = elements.div_ceil(block_elements.max(1)) as usize;
        let table = &bytes[offset + parameters..];
        let mut at = offset + parameters + 8 * blocks;
        let take = |k: usize| {
            let length = u32_at(table, 8 * k) as usize;
            at += length;
            bytes[at - length..at].to_vec()
        };
        Self {
            kind: row[..4].try_into().expect("four bytes"),
            layer: u16_at(row, 4),
            codec: u16_at(row, 32),
            block_elements,
            elements,
            decoded: u64_at(row, 24),
            parameters: bytes[offset..offset + parameters].to_vec(),
            blocks: (0..blocks).map(take).collect(),
            priority: u32_at(row, 56),
        }
    }

    fn head(&self) -> Vec<u8> {
        let mut head = self.parameters.clone();
        for block in &self.blocks {
            head.extend_from_slice(&(block.len() as u32).to_le_bytes());
            head.extend_from_slice(&(xxh3_64(block) as u32).to_le_bytes());
        }
        head
    }

    /// A chunk whose blocks are `blocks`.
    pub fn new(kind: &[u8; 4], elements: u32, block_elements: u32, parameters: Vec<u8>, blocks: Vec<Fields>) -> Self {
        Self {
            kind: *kind,
            elements,
            block_elements,
            decoded: blocks.iter().map(|b| b.decoded).sum(),
            parameters,
            blocks: blocks.into_iter().map(|b| b.bytes).collect(),
            ..Self::default()
        }
    }

    /// Replaces the only block.
    pub fn set(&mut self, fields: Fields) {
        self.decoded = fields.decoded;
        self.blocks = vec![fields.bytes];
    }

    /// Replaces the only block by a run of text, compressed when it is long.
    pub fn set_text(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let count = Fields::default().raw(&(text.len() as u32).to_le_bytes());
        self.set(match text.len() {
            0..4096 => count.stream(text),
            long => count.stream_as(1, &zstd::bulk::compress(text, 3).expect("zstd"), long),
        });
    }
}

/// A block in the making.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    /// Stored bytes.
    pub bytes: Vec<u8>,
    /// Decoded bytes.
    pub decoded: u64,
}

impl Fields {
    /// Raw bytes.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.decoded += bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// A stream as it lies in the file: mode, stored bytes, and how many bytes it stands for.
    pub fn stream_as(mut self, mode: u8, stored: &[u8], decoded: usize) -> Self {
        self.decoded += decoded as u64;
        self.bytes.push(mode);
        self.bytes.extend_from_slice(&(stored.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(stored);
        self
    }

    /// A plain stream.
    pub fn stream(self, data: &[u8]) -> Self {
        self.stream_as(0, data, data.len())
    }

    /// A run: count and plain stream.
    pub fn run(self, data: &[u8]) -> Self {
        self.raw(&(data.len() as u32).to_le_bytes()).stream(data)
    }

    /// An integer column of filter 0 and four planes.
    pub fn ints(self, values: &[i32]) -> Self {
        let codes: Vec<u32> = values.iter().map(|&v| v as u32).collect();
        (0..4).fold(self.raw(&[0, 4, 0, 0, 0, 0]), |fields, k| {
            fields.stream(&codes.iter().map(|c| (c >> (8 * k)) as u8).collect::<Vec<_>>())
        })
    }

    /// Four planes, most significant first.
    pub fn planes(self, codes: &[u32]) -> Self {
        (0..4)
            .rev()
            .fold(self, |fields, k| fields.stream(&codes.iter().map(|c| (c >> (8 * k)) as u8).collect::<Vec<_>>()))
    }
}
