//! Byte streams inside a block: each carries its own mode, so that the encoder picks the smallest (`spec/gav.md` 5.1).

use std::cell::RefCell;

use super::container::{bad, u32_at};
use crate::Result;

/// Mode bytes of a stream.
mod mode {
    pub const RAW: u8 = 0;
    pub const ZSTD: u8 = 1;
    pub const CONSTANT: u8 = 2;
}

/// zstd windows above this are refused: blocks are far smaller, and it bounds a decoder's memory.
const MAX_WINDOW_BYTES: u64 = 1 << 23;

/// Appends streams to a block.
pub struct BlockWriter {
    bytes: Vec<u8>,
    decoded: u64,
    level: i32,
}

thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

impl BlockWriter {
    /// A block whose streams are compressed at zstd `level`.
    pub fn new(level: i32) -> Self {
        Self { bytes: Vec::new(), decoded: 0, level }
    }

    /// An empty block with the same settings, to try an encoding in.
    pub fn like(other: &Self) -> Self {
        Self::new(other.level)
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends what another block holds.
    pub fn append(&mut self, other: Self) {
        self.bytes.extend_from_slice(&other.bytes);
        self.decoded += other.decoded;
    }

    /// The finished block and its decoded size.
    pub fn finish(self) -> (Vec<u8>, u64) {
        (self.bytes, self.decoded)
    }

    /// Plain bytes without a stream header, such as a filter number.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.decoded += bytes.len() as u64;
    }

    /// Appends a stream.
    pub fn stream(&mut self, data: &[u8]) {
        self.decoded += data.len() as u64;
        append_stream(&mut self.bytes, data, self.level);
    }
}

fn append_stream(out: &mut Vec<u8>, data: &[u8], level: i32) {
    let header = |mode: u8, length: usize| {
        let [a, b, c, d] = u32::try_from(length).expect("a stream stays below 4 GiB").to_le_bytes();
        [mode, a, b, c, d]
    };
    if data.len() > 1 && data.iter().all(|&b| b == data[0]) {
        out.extend_from_slice(&header(mode::CONSTANT, 1));
        out.push(data[0]);
        return;
    }
    if data.len() > 16 {
        let compressed = COMPRESSOR.with_borrow_mut(|slot| {
            let compressor = slot.get_or_insert_with(|| zstd::bulk::Compressor::new(level).expect("zstd context"));
            compressor.set_compression_level(level).expect("zstd level");
            compressor.compress(data).expect("zstd compresses any input")
        });
        if compressed.len() < data.len() {
            out.extend_from_slice(&header(mode::ZSTD, compressed.len()));
            out.extend_from_slice(&compressed);
            return;
        }
    }
    out.extend_from_slice(&header(mode::RAW, data.len()));
    out.extend_from_slice(data);
}

/// Takes streams off a block in the order in which they were written.
pub struct BlockReader<'a> {
    bytes: &'a [u8],
    at: usize,
    offset: u64,
    decoded: u64,
}

impl<'a> BlockReader<'a> {
    /// Reads the block `bytes` that starts at `offset` of the file.
    pub fn new(bytes: &'a [u8], offset: u64) -> Self {
        Self { bytes, at: 0, offset, decoded: 0 }
    }

    /// Offset in the file of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset + self.at as u64
    }

    /// The next `count` plain bytes.
    pub fn raw(&mut self, count: usize) -> Result<&'a [u8]> {
        self.decoded += count as u64;
        self.take(count)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        if rest.len() < count {
            return Err(bad("BLOCK_SHORT", self.offset(), format!("block ends {} bytes early", count - rest.len())));
        }
        self.at += count;
        Ok(&rest[..count])
    }

    /// Decodes the next stream into `out`, whose length says how many bytes it must hold.
    pub fn stream_into(&mut self, out: &mut [u8]) -> Result<()> {
        let start = self.offset();
        let head = self.take(5)?;
        let stored = self.take(u32_at(head, 1) as usize)?;
        let expected = out.len();
        let wrong =
            |found: usize| bad("STREAM_LENGTH", start, format!("stream holds {found} bytes, {expected} expected"));
        self.decoded += expected as u64;
        match head[0] {
            mode::RAW if stored.len() == out.len() => out.copy_from_slice(stored),
            mode::CONSTANT if stored.len() == 1 => out.fill(stored[0]),
            mode::ZSTD => {
                check_frame(stored, out.len(), start)?;
                let written = DECOMPRESSOR.with_borrow_mut(|slot| {
                    let decompressor =
                        slot.get_or_insert_with(|| zstd::bulk::Decompressor::new().expect("zstd context"));
                    decompressor.decompress_to_buffer(stored, out)
                });
                match written {
                    Ok(count) if count == out.len() => {}
                    Ok(count) => return Err(wrong(count)),
                    Err(error) => return Err(bad("ZSTD", start, format!("zstd: {error}"))),
                }
            }
            mode::RAW | mode::CONSTANT => return Err(wrong(stored.len())),
            other => return Err(bad("STREAM_MODE", start, format!("stream mode {other}"))),
        }
        Ok(())
    }

    /// Decodes the next stream of `count` bytes.
    pub fn stream(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut out = vec![0; count];
        self.stream_into(&mut out)?;
        Ok(out)
    }

    /// Bytes decoded from the block; fails when some are left over.
    pub fn finish(self) -> Result<u64> {
        if self.at == self.bytes.len() {
            return Ok(self.decoded);
        }
        Err(bad("BLOCK_LONG", self.offset(), format!("{} bytes left over in a block", self.bytes.len() - self.at)))
    }
}

/// A frame must say how long its content is, and say what we expect, before anything is decompressed.
fn check_frame(frame: &[u8], expected: usize, offset: u64) -> Result<()> {
    match zstd::zstd_safe::get_frame_content_size(frame) {
        Ok(Some(size)) if size == expected as u64 => {}
        Ok(size) => {
            let message = format!("zstd frame declares {size:?} bytes, {expected} expected");
            return Err(bad("STREAM_LENGTH", offset, message));
        }
        Err(_) => return Err(bad("ZSTD", offset, "not a zstd frame")),
    }
    if window_bytes(frame).is_none_or(|window| window > MAX_WINDOW_BYTES.max(expected as u64)) {
        return Err(bad("ZSTD", offset, "zstd frame with a window above 8 MiB or with a dictionary"));
    }
    // one frame exactly: a second one behind it would be read by some decoders and not by others
    match zstd::zstd_safe::find_frame_compressed_size(frame) {
        Ok(size) if size == frame.len() => Ok(()),
        _ => Err(bad("ZSTD", offset, "more or less than one zstd frame in a stream")),
    }
}

/// Window of a frame from its header (RFC 8878, 3.1.1.1); `None` when it is cut short or names a dictionary.
fn window_bytes(frame: &[u8]) -> Option<u64> {
    let descriptor = *frame.get(4)?;
    if descriptor & 3 != 0 {
        return None;
    }
    if descriptor & 0x20 != 0 {
        // single segment: the window is the content, whose size was checked
        return Some(0);
    }
    let window = u64::from(*frame.get(5)?);
    let base = 1u64 << (10 + (window >> 3));
    Some(base + base / 8 * (window & 7))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(data: &[u8]) -> usize {
        let mut writer = BlockWriter::new(1);
        writer.stream(data);
        let (block, decoded) = writer.finish();
        assert_eq!(decoded, data.len() as u64);
        let mut reader = BlockReader::new(&block, 0);
        assert_eq!(reader.stream(data.len()).unwrap(), data);
        reader.finish().unwrap();
        for end in 0..block.len() {
            assert!(BlockReader::new(&block[..end], 0).stream(data.len()).is_err());
        }
        block.len()
    }

    #[test]
    fn streams_choose_the_smallest_mode() {
        assert_eq!(round_trip(&[]), 5);
        assert_eq!(round_trip(&[7]), 6);
        assert_eq!(round_trip(&[9; 1000]), 6);
        assert_eq!(round_trip(&[1, 2, 3]), 8);
        let text: Vec<u8> = (0..2000u32).map(|i| (i * i % 7) as u8).collect();
        assert!(round_trip(&text) < 1000);
    }

    #[test]
    fn a_window_above_the_limit_is_refused() {
        let data: Vec<u8> = (0..2000u32).map(|i| (i * i % 7) as u8).collect();
        let mut frame = zstd::bulk::compress(&data, 3).unwrap();
        // a single-segment header, rewritten with a window of 2^(10 + 14) bytes behind the descriptor
        assert_eq!(frame[4] & 0x20, 0x20);
        frame[4] &= !0x20;
        frame.insert(5, 14 << 3);
        let mut block = vec![mode::ZSTD];
        block.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        block.extend_from_slice(&frame);
        assert_eq!(BlockReader::new(&block, 0).stream(data.len()).unwrap_err().code(), "ZSTD");
    }

    #[test]
    fn a_stream_of_another_length_is_refused() {
        let mut writer = BlockWriter::new(1);
        writer.stream(&(0..200).map(|i| i % 5).collect::<Vec<u8>>());
        let (block, _) = writer.finish();
        for wrong in [0, 199, 201, 1 << 20] {
            assert!(BlockReader::new(&block, 0).stream(wrong).is_err());
        }
    }
}
