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
    /// Static rANS (chunk codec 2).
    Rans,
}

impl Entropy {
    pub fn codec(self) -> u16 {
        match self {
            Self::Planes(_) => 1,
            Self::Rans => 2,
        }
    }
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

/// Builds a chunk from the symbol streams of its blocks. `prefix` of a block is stored before its streams.
pub(crate) fn symbols_chunk(
    kind: &[u8; 4],
    entropy: Entropy,
    mut parameters: Vec<u8>,
    elements: usize,
    kinds: &[StreamKind],
    make: impl Fn(std::ops::Range<usize>) -> (Vec<u8>, Vec<Symbols>) + Sync + Send,
) -> Chunk {
    let size = SPLAT_BLOCK as usize;
    let ranges: Vec<_> = (0..elements.div_ceil(size)).map(|b| b * size..((b + 1) * size).min(elements)).collect();
    let blocks: Vec<(Vec<u8>, Vec<Symbols>)> = ranges.into_par_iter().map(make).collect();
    let tables = match entropy {
        Entropy::Planes(_) => Vec::new(),
        Entropy::Rans => {
            let mut writer = BlockWriter::new(19);
            let tables: Vec<Tables> = kinds
                .par_iter()
                .enumerate()
                .map(|(index, kind)| histograms(blocks.iter().map(|(_, streams)| &streams[index]), *kind))
                .collect::<Vec<_>>()
                .iter()
                .map(|histograms| Tables::build(histograms, &mut writer))
                .collect();
            parameters.extend_from_slice(&writer.finish().0);
            tables
        }
    };
    let blocks = blocks
        .into_par_iter()
        .map(|(prefix, streams)| {
            let mut writer = BlockWriter::new(if let Entropy::Planes(level) = entropy { level } else { 1 });
            writer.raw(&prefix);
            for (index, stream) in streams.iter().enumerate() {
                match (entropy, stream) {
                    (Entropy::Planes(_), Symbols::Values { values, .. }) => {
                        write_ints(&mut writer, &values.iter().map(|&v| v as i32).collect::<Vec<_>>());
                    }
                    (Entropy::Planes(_), Symbols::Wide(values)) => {
                        for shift in [0, 32] {
                            write_ints(&mut writer, &values.iter().map(|&v| (v >> shift) as i32).collect::<Vec<_>>());
                        }
                    }
                    (Entropy::Rans, Symbols::Values { values, contexts }) => {
                        rans::write_values(&mut writer, &tables[index], values, contexts.as_deref());
                    }
                    (Entropy::Rans, Symbols::Wide(values)) => {
                        rans::write_lengths(&mut writer, &tables[index], values);
                    }
                }
            }
            writer.finish()
        })
        .collect();
    Chunk {
        kind: *kind,
        codec: entropy.codec(),
        block_elements: SPLAT_BLOCK,
        elements: elements as u32,
        parameters,
        blocks,
        ..Chunk::default()
    }
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
