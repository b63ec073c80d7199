//! Symbol streams: the entropy stage between quantised attributes and blocks (`spec/gav.md` 5.5).
//!
//! Codec 1 writes each stream as byte planes through zstd (cheap to encode), codec 2 through static rANS with tables that all
//! blocks of the chunk share. What a symbol means is the same for both.

use super::{
    chunk::SPLAT_BLOCK,
    container::Chunk,
    ints::{read_ints, write_ints},
    rans::{self, LENGTH_CONTEXTS, Tables},
    stream::{BlockReader, BlockWriter},
};
use crate::Result;
use rayon::prelude::*;

/// How symbol streams are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entropy {
    /// Integer columns through zstd at this level (chunk codec 1).
    Planes(i32),
    /// Whichever makes the chunk smaller: static rANS (chunk codec 2), or planes at this level. Captures prefer rANS, avatars
    /// made by formulas repeat themselves, which only zstd sees.
    Smallest(i32),
}

/// One stream of one block.
#[derive(Debug, Clone)]
pub(crate) enum Symbols {
    /// Values with a context each; no contexts means one for all.
    Values { values: Vec<u32>, contexts: Option<Vec<u8>> },
    /// Values of up to 64 bits without a preferred size, such as differences of Morton keys.
    Wide(Vec<u64>),
}

/// What a reader must know of a stream before it reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// [`Symbols::Values`] with this number of contexts.
    Values(usize),
    /// [`Symbols::Wide`].
    Wide,
}

impl StreamKind {
    fn contexts(self) -> usize {
        match self {
            Self::Values(contexts) => contexts,
            Self::Wide => LENGTH_CONTEXTS,
        }
    }
}

/// Builds a chunk from the symbol streams of its blocks. The bytes that `make` returns with the streams are stored before them.
pub(crate) fn symbols_chunk(
    kind: &[u8; 4],
    entropy: Entropy,
    parameters: Vec<u8>,
    elements: usize,
    kinds: &[StreamKind],
    make: impl Fn(std::ops::Range<usize>) -> (Vec<u8>, Vec<Symbols>) + Sync + Send,
) -> Chunk {
    let size = SPLAT_BLOCK as usize;
    let ranges: Vec<_> = (0..elements.div_ceil(size)).map(|b| b * size..((b + 1) * size).min(elements)).collect();
    let streams: Vec<(Vec<u8>, Vec<Symbols>)> = ranges.into_par_iter().map(make).collect();
    let (Entropy::Planes(level) | Entropy::Smallest(level)) = entropy;
    let mut chunk = Chunk {
        kind: *kind,
        codec: 1,
        block_elements: SPLAT_BLOCK,
        elements: elements as u32,
        blocks: planes_blocks(&streams, level),
        parameters,
        ..Chunk::default()
    };
    if matches!(entropy, Entropy::Smallest(_)) {
        let (tables, blocks) = rans_blocks(&streams, kinds);
        let bytes = |blocks: &[(Vec<u8>, u64)]| blocks.iter().map(|(block, _)| block.len()).sum::<usize>();
        if tables.len() + bytes(&blocks) < bytes(&chunk.blocks) {
            chunk.codec = 2;
            chunk.parameters.extend_from_slice(&tables);
            chunk.blocks = blocks;
        }
    }
    chunk
}

/// Blocks of codec 1.
fn planes_blocks(streams: &[(Vec<u8>, Vec<Symbols>)], level: i32) -> Vec<(Vec<u8>, u64)> {
    let encode = |(prefix, streams): &(Vec<u8>, Vec<Symbols>)| {
        let mut writer = BlockWriter::new(level);
        writer.raw(prefix);
        for stream in streams {
            match stream {
                Symbols::Values { values, .. } => {
                    write_ints(&mut writer, &values.iter().map(|&v| v as i32).collect::<Vec<_>>());
                }
                Symbols::Wide(values) => {
                    for shift in [0, 32] {
                        write_ints(&mut writer, &values.iter().map(|&v| (v >> shift) as i32).collect::<Vec<_>>());
                    }
                }
            }
        }
        writer.finish()
    };
    streams.par_iter().map(encode).collect()
}

/// Tables and blocks of codec 2.
fn rans_blocks(streams: &[(Vec<u8>, Vec<Symbols>)], kinds: &[StreamKind]) -> (Vec<u8>, Vec<(Vec<u8>, u64)>) {
    let mut tables_writer = BlockWriter::new(19);
    let tables: Vec<Tables> = kinds
        .par_iter()
        .enumerate()
        .map(|(index, kind)| histograms(streams.iter().map(|(_, streams)| &streams[index]), *kind))
        .collect::<Vec<_>>()
        .iter()
        .map(|histograms| Tables::build(histograms, &mut tables_writer))
        .collect();
    let encode = |(prefix, streams): &(Vec<u8>, Vec<Symbols>)| {
        let mut writer = BlockWriter::new(1);
        writer.raw(prefix);
        for (stream, tables) in streams.iter().zip(&tables) {
            match stream {
                Symbols::Values { values, contexts } => {
                    rans::write_values(&mut writer, tables, values, contexts.as_deref());
                }
                Symbols::Wide(values) => rans::write_lengths(&mut writer, tables, values),
            }
        }
        writer.finish()
    };
    (tables_writer.finish().0, streams.par_iter().map(encode).collect())
}

fn histograms<'a>(streams: impl Iterator<Item = &'a Symbols>, kind: StreamKind) -> Vec<Vec<u32>> {
    let mut histograms = vec![Vec::new(); kind.contexts()];
    for stream in streams {
        match stream {
            Symbols::Values { values, contexts } => rans::count(&mut histograms, values, contexts.as_deref()),
            Symbols::Wide(values) => rans::count_lengths(&mut histograms, values),
        }
    }
    histograms
}

/// Reads symbol streams of a chunk, in the order in which they were written.
#[derive(Debug, Clone)]
pub(crate) struct SymbolReader {
    tables: Option<Vec<Tables>>,
}

impl SymbolReader {
    /// Prepares for a chunk of `codec` whose tables start in `parameters`, which lies at `offset` of the file.
    pub fn new(codec: u16, parameters: &[u8], offset: u64, kinds: &[StreamKind]) -> Result<Self> {
        let mut reader = BlockReader::new(parameters, offset);
        let tables = match codec {
            2 => Some(kinds.iter().map(|k| Tables::read(&mut reader, k.contexts())).collect::<Result<Vec<_>>>()?),
            _ => None,
        };
        reader.finish()?;
        Ok(Self { tables })
    }

    /// The next values; stream `index` of the block.
    pub fn values(
        &self,
        reader: &mut BlockReader<'_>,
        index: usize,
        count: usize,
        contexts: Option<&[u8]>,
    ) -> Result<Vec<u32>> {
        match &self.tables {
            Some(tables) => rans::read_values(reader, &tables[index], count, contexts),
            None => Ok(read_ints(reader, count)?.into_iter().map(|v| v as u32).collect()),
        }
    }

    /// The next wide values; stream `index` of the block.
    pub fn wide(&self, reader: &mut BlockReader<'_>, index: usize, count: usize) -> Result<Vec<u64>> {
        match &self.tables {
            Some(tables) => rans::read_lengths(reader, &tables[index], count),
            None => {
                let low = read_ints(reader, count)?;
                let high = read_ints(reader, count)?;
                Ok(low.into_iter().zip(high).map(|(l, h)| u64::from(l as u32) | u64::from(h as u32) << 32).collect())
            }
        }
    }
}
