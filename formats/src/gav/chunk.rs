//! Building and reading chunks: the small patterns that the catalogue is made of (`spec/gav.md` 5, 6).

use rayon::prelude::*;
use serde_json::Value;

use super::{
    container::{Block, Chunk, Container, Entry, bad, u32_at},
    stream::{BlockReader, BlockWriter},
};
use crate::{Limits, Result};

/// Splats of one block: small enough for random access and parallel decoding, and it costs 0.4 % against one block.
pub(crate) const SPLAT_BLOCK: u32 = 16_384;

/// A chunk of blocks of `block_elements`, encoded in parallel; the result does not depend on the number of threads.
pub(crate) fn blocked(
    kind: &[u8; 4],
    codec: u16,
    parameters: Vec<u8>,
    elements: usize,
    block_elements: u32,
    level: i32,
    encode: impl Fn(&mut BlockWriter, std::ops::Range<usize>) + Sync,
) -> Chunk {
    let size = block_elements as usize;
    let blocks = (0..elements.div_ceil(size))
        .into_par_iter()
        .map(|index| {
            let mut writer = BlockWriter::new(level);
            encode(&mut writer, index * size..((index + 1) * size).min(elements));
            writer.finish()
        })
        .collect();
    Chunk { kind: *kind, codec, block_elements, elements: elements as u32, parameters, blocks, ..Chunk::default() }
}

/// A chunk of one block that holds one run of bytes.
pub(crate) fn bytes_chunk(kind: &[u8; 4], parameters: Vec<u8>, bytes: &[u8], level: i32) -> Chunk {
    blocked(kind, 0, parameters, 1, 1, level, |writer, _| write_bytes(writer, bytes))
}

/// A chunk of one block that holds a JSON document.
pub(crate) fn json_chunk(kind: &[u8; 4], value: &Value, level: i32) -> Chunk {
    bytes_chunk(kind, Vec::new(), value.to_string().as_bytes(), level)
}

/// Appends a run of bytes with its length.
pub(crate) fn write_bytes(writer: &mut BlockWriter, bytes: &[u8]) {
    writer.raw(&(bytes.len() as u32).to_le_bytes());
    writer.stream(bytes);
}

/// Takes a run of bytes of at most `most`.
pub(crate) fn read_bytes(reader: &mut BlockReader<'_>, most: u64) -> Result<Vec<u8>> {
    let at = reader.offset();
    let count = u64::from(u32_at(reader.raw(4)?, 0));
    if count > most {
        return Err(bad("RUN_LENGTH", at, format!("a run of {count} bytes, at most {most}")));
    }
    reader.stream(count as usize)
}

impl Container<'_> {
    /// Decodes every block of a chunk in parallel and checks the total of decoded bytes.
    pub(crate) fn decode<T: Send>(
        &self,
        entry: &Entry,
        decode: impl Fn(&mut BlockReader<'_>, &Block<'_>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let results: Vec<(T, u64)> = self
            .blocks(entry)?
            .par_iter()
            .map(|block| {
                let mut reader = BlockReader::new(block.bytes()?, block.offset);
                let value = decode(&mut reader, block)?;
                Ok((value, reader.finish()?))
            })
            .collect::<Result<_>>()?;
        let decoded: u64 = results.iter().map(|(_, bytes)| bytes).sum();
        if decoded != entry.decoded_bytes {
            let message = format!("{}: {decoded} bytes decoded, directory says {}", entry.name(), entry.decoded_bytes);
            return Err(bad("DECODED_BYTES", entry.offset, message));
        }
        Ok(results.into_iter().map(|(value, _)| value).collect())
    }

    /// The bytes of a chunk of one block.
    pub(crate) fn bytes_of(&self, entry: &Entry, most: u64) -> Result<Vec<u8>> {
        expect_elements(entry, 1)?;
        let runs = self.decode(entry, |reader, _| read_bytes(reader, most))?;
        Ok(runs.into_iter().next().unwrap_or_default())
    }

    /// The JSON document of a chunk of one block.
    pub(crate) fn json_of(&self, entry: &Entry, limits: &Limits) -> Result<Value> {
        let bytes = self.bytes_of(entry, limits.header_bytes)?;
        parse_json(&bytes, limits, entry)
    }
}

/// Fails unless the chunk has exactly `count` elements.
pub(crate) fn expect_elements(entry: &Entry, count: usize) -> Result<()> {
    if u64::from(entry.elements) == count as u64 {
        return Ok(());
    }
    let message = format!("{}: {} elements, {count} expected", entry.name(), entry.elements);
    Err(bad("ELEMENTS", entry.offset, message))
}

/// Parses JSON after checking its nesting, so that a hostile document cannot exhaust the stack.
pub(crate) fn parse_json(bytes: &[u8], limits: &Limits, entry: &Entry) -> Result<Value> {
    limits.check_json_depth(bytes)?;
    serde_json::from_slice(bytes).map_err(|e| bad("JSON", entry.offset, format!("{}: {e}", entry.name())))
}

/// JSON as the type it should describe.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(value: Value, entry: &Entry) -> Result<T> {
    serde_json::from_value(value).map_err(|e| bad("JSON", entry.offset, format!("{}: {e}", entry.name())))
}

/// Names end up on terminals and in other files: no control characters, at most 64 KiB.
pub(crate) fn check_name(name: &str, entry: &Entry) -> Result<()> {
    if name.len() > 1 << 16 || name.chars().any(char::is_control) {
        return Err(bad(
            "NAME",
            entry.offset,
            format!("{}: a name with control characters or above 64 KiB", entry.name()),
        ));
    }
    Ok(())
}
