//! Codec 1 to codec 2 (`spec/gav.md` 5.5, 5.6), whatever the encoder would choose: every stream gets one table, the same for
//! all its contexts, so that the coder need not know them.

use super::{Fields, Pack, PackChunk, pack::u32_at};

/// Puts every attribute of a quantised file into codec 2.
pub fn to_entropy_coding(pack: &mut Pack) {
    let quantizer = pack.chunk(b"QNTZ").parameters.clone();
    let classes = usize::from(quantizer[60]);
    for chunk in pack.chunks.iter_mut().filter(|c| c.codec == 1) {
        let planar = chunk.parameters.first() == Some(&1);
        let contexts = match &chunk.kind {
            b"POSN" if planar => vec![1; 3],
            b"POSN" => vec![8],
            b"OPAC" => vec![1],
            b"SCAL" => vec![classes + 1; 3],
            b"ROTN" => vec![classes + 2, classes + 1, classes + 1],
            b"COLR" => vec![classes + 1; 3],
            b"SHCO" => vec![5; streams_of(chunk)],
            _ => continue,
        };
        let wide = chunk.kind == *b"POSN" && !planar;
        transcode(chunk, &contexts, wide);
    }
}

/// Streams of an SH chunk: its columns, one after the other.
fn streams_of(chunk: &PackChunk) -> usize {
    let mut reader = Reader { bytes: &chunk.blocks[0], at: 0 };
    let rows = chunk.elements.min(chunk.block_elements) as usize;
    std::iter::from_fn(|| (reader.at < reader.bytes.len()).then(|| reader.column(rows))).count()
}

fn transcode(chunk: &mut PackChunk, contexts: &[usize], wide: bool) {
    let mut tables = Fields::default();
    let mut streams = Vec::new();
    let rows = |index: usize| {
        let start = index as u32 * chunk.block_elements;
        (chunk.elements - start).min(chunk.block_elements) as usize
    };
    let mut readers: Vec<Reader> = chunk.blocks.iter().map(|b| Reader { bytes: b, at: 0 }).collect();
    let keys: Vec<Vec<u8>> = readers.iter_mut().map(|r| if wide { r.take(8).to_vec() } else { Vec::new() }).collect();
    for &contexts in contexts {
        let mut blocks = Vec::new();
        for (index, reader) in readers.iter_mut().enumerate() {
            let low = reader.column(rows(index));
            let high = if wide { reader.column(rows(index)) } else { vec![0; low.len()] };
            let values = low.iter().zip(high).map(|(&l, h)| u64::from(l) | u64::from(h) << 32);
            blocks.push(values.map(|v| if wide { wide_token(v) } else { token(v) }).collect::<Vec<_>>());
        }
        let codes = codes_of(blocks.iter().flatten().map(|t| t.0));
        tables = packed_ints(packed_ints(tables, &vec![codes.len() as i32; contexts]), &codes.repeat(contexts));
        let frequencies = expand(&codes);
        streams.push(blocks.iter().map(|b| encode(b, &frequencies)).collect::<Vec<_>>());
    }
    chunk.codec = 2;
    chunk.parameters.extend(tables.bytes);
    let block = |(index, key): (usize, &Vec<u8>)| {
        streams.iter().fold(Fields::default().raw(key), |fields, blocks| fields.raw(&blocks[index]))
    };
    let blocks: Vec<Fields> = keys.iter().enumerate().map(block).collect();
    chunk.decoded = blocks.iter().map(|b| b.decoded).sum();
    chunk.blocks = blocks.into_iter().map(|b| b.bytes).collect();
}

/// An integer column of small values: two planes through zstd.
fn packed_ints(fields: Fields, values: &[i32]) -> Fields {
    (0..2).fold(fields.raw(&[0, 2, 0, 0, 0, 0]), |fields, k| {
        let plane: Vec<u8> = values.iter().map(|v| (v >> (8 * k)) as u8).collect();
        fields.stream_as(1, &zstd::bulk::compress(&plane, 9).expect("zstd"), plane.len())
    })
}

/// Token, raw bits and how many of them there are.
type Token = (usize, u64, u32);

fn token(value: u64) -> Token {
    if value < 64 {
        return (value as usize, 0, 0);
    }
    let b = value.ilog2();
    let leading = (value >> (b - 5)) as usize & 31;
    (64 + 32 * (b as usize - 6) + leading, value & ((1 << (b - 5)) - 1), b - 5)
}

fn wide_token(value: u64) -> Token {
    let length = 64 - value.leading_zeros();
    let raw = length.saturating_sub(1);
    (length as usize, value & ((1u64 << raw) - 1), raw)
}

/// Frequency codes: half bits of the counts.
fn codes_of(tokens: impl Iterator<Item = usize>) -> Vec<i32> {
    let mut counts: Vec<u64> = Vec::new();
    for token in tokens {
        counts.resize(counts.len().max(token + 1), 0);
        counts[token] += 1;
    }
    // 4^(k/4) by squaring: no logarithm, so the same everywhere
    let code = |count: u64| (1..=39).take_while(|&k| 1u64 << (k - 1) <= count * count).last().unwrap_or(0);
    counts.into_iter().map(code).collect()
}

/// Frequencies that sum to 4096.
fn expand(codes: &[i32]) -> Vec<u64> {
    let weight = |k: i32| if k == 0 { 0 } else { 2f64.powf(f64::from(k - 1) / 2.0).round() as u64 };
    let weights: Vec<u64> = codes.iter().map(|&k| weight(k)).collect();
    let total: u64 = weights.iter().sum::<u64>().max(1);
    let mut f: Vec<i64> = weights.iter().map(|&w| if w == 0 { 0 } else { (w * 4096 / total).max(1) as i64 }).collect();
    loop {
        let missing = 4096 - f.iter().sum::<i64>();
        if missing == 0 || f.is_empty() {
            return f.into_iter().map(|v| v as u64).collect();
        }
        let largest = (0..f.len()).rev().max_by_key(|&k| f[k]).expect("not empty");
        f[largest] += if missing > 0 { missing } else { missing.max(-(f[largest] / 2)) };
    }
}

/// One interleaved stream.
fn encode(tokens: &[Token], frequencies: &[u64]) -> Vec<u8> {
    let mut states = [1u64 << 16; 4];
    let mut words: Vec<u16> = Vec::new();
    for (index, &(token, ..)) in tokens.iter().enumerate().rev() {
        let (f, start) = (frequencies[token], frequencies[..token].iter().sum::<u64>());
        let x = &mut states[index % 4];
        if *x >= f << 20 {
            words.push(*x as u16);
            *x >>= 16;
        }
        *x = ((*x / f) << 12) + *x % f + start;
    }
    let mut raw = Vec::new();
    let mut used = 0;
    for &(_, bits, count) in tokens {
        for k in 0..count {
            if used % 8 == 0 {
                raw.push(0u8);
            }
            *raw.last_mut().expect("just pushed") |= ((bits >> k & 1) as u8) << (used % 8);
            used += 1;
        }
    }
    let mut out = (words.len() as u32).to_le_bytes().to_vec();
    out.extend((raw.len() as u32).to_le_bytes());
    states.iter().for_each(|&x| out.extend((x as u32).to_le_bytes()));
    words.iter().rev().for_each(|w| out.extend(w.to_le_bytes()));
    out.extend(raw);
    out
}

/// Integer columns of a block.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        self.at += count;
        &self.bytes[self.at - count..self.at]
    }

    fn stream(&mut self, count: usize) -> Vec<u8> {
        let head = self.take(5);
        let stored = self.take(u32_at(head, 1) as usize);
        match head[0] {
            0 => stored.to_vec(),
            1 => zstd::bulk::decompress(stored, count).expect("a good frame"),
            _ => vec![stored[0]; count],
        }
    }

    fn column(&mut self, count: usize) -> Vec<u32> {
        let head = self.take(6);
        let mut codes = vec![0u32; count];
        for plane in 0..head[1] {
            let bytes = self.stream(count);
            codes.iter_mut().zip(bytes).for_each(|(c, b)| *c |= u32::from(b) << (8 * plane));
        }
        let mut before = u32_at(head, 2);
        for code in &mut codes {
            if head[0] == 0 {
                *code = code.wrapping_add(before);
            } else {
                before = before.wrapping_add((*code >> 1) ^ (*code & 1).wrapping_neg());
                *code = before;
            }
        }
        codes
    }
}
