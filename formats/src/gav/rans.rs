//! Static range asymmetric numeral systems (Duda 2013) with four interleaved states (`spec/gav.md` 5.6).
//!
//! Probabilities have 12 bits, states 32 bits with lower bound 2¹⁶, renormalised by 16-bit words. Four states in turn hide the
//! latency of each step: a decoder on one core keeps four multiplications in flight.

use super::{
    container::{bad, u32_at},
    ints::{read_ints, write_ints},
    stream::{BlockReader, BlockWriter},
};
use crate::Result;

const PROBABILITY_BITS: u32 = 12;
const ONE: u32 = 1 << PROBABILITY_BITS;
const LOWER_BOUND: u32 = 1 << 16;
const LANES: usize = 4;
/// Direct tokens; larger values carry raw bits.
const DIRECT: u32 = 64;
/// Tokens at most: 64 direct ones and 32 for each bit length from 7 to 32.
pub(crate) const MAX_TOKENS: usize = 64 + 26 * 32;
/// Largest frequency code, `2^((39 − 1) / 2)`.
const MAX_CODE: u32 = 39;

/// Splits a value into a token and raw bits: values below 64 are their own token, above it the token holds the bit length
/// and the five bits after the leading one.
pub(crate) fn token(value: u32) -> (u16, u32, u32) {
    if value < DIRECT {
        return (value as u16, 0, 0);
    }
    let top = 31 - value.leading_zeros();
    let raw_bits = top - 5;
    let token = DIRECT + (top - 6) * 32 + ((value >> raw_bits) & 31);
    (token as u16, raw_bits, value & ((1 << raw_bits) - 1))
}

/// Base value and number of raw bits of a token.
pub(crate) fn untoken(token: u16) -> (u32, u32) {
    let token = u32::from(token);
    if token < DIRECT {
        return (token, 0);
    }
    let raw_bits = (token - DIRECT) / 32 + 1;
    ((32 + (token & 31)) << raw_bits, raw_bits)
}

/// Frequency and start of each token of one context.
type Frequencies = Vec<(u16, u16)>;

/// What a decoder needs of one of the 4096 slots of a context: its token, the token's frequency and the slot's distance from
/// the token's start.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    token: u16,
    frequency: u16,
    bias: u16,
}

/// Frequency tables of one stream, one per context.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    frequencies: Vec<Frequencies>,
    /// 4096 slots per context, filled for decoding.
    slots: Vec<Slot>,
}

/// Codes on a grid of half bits from which encoder and decoder derive the same integer frequencies.
fn codes_of(histogram: &[u32]) -> Vec<i32> {
    let total: u64 = histogram.iter().map(|&h| u64::from(h)).sum();
    let mut codes: Vec<i32> = histogram
        .iter()
        .map(|&h| {
            if h == 0 {
                return 0;
            }
            let share = (f64::from(h) * 16_384.0 / total as f64).max(1.0);
            ((share.log2() * 2.0).round_ties_even() as i32 + 1).clamp(1, MAX_CODE as i32)
        })
        .collect();
    while codes.last() == Some(&0) {
        codes.pop();
    }
    codes
}

/// `round(2^((k − 1) / 2))` for k = 1 … 39, the relative weight of a frequency code.
fn code_weight(code: u32) -> u64 {
    // 2^(1/2) · 2^n rounded, from the integer square root of 2^(2n+1)
    let half_steps = code - 1;
    if half_steps.is_multiple_of(2) {
        return 1 << (half_steps / 2);
    }
    let square = 1u64 << half_steps;
    let root = square.isqrt();
    // (root + ½)² = root² + root + ¼: round up when the square lies above it
    if square > root * root + root { root + 1 } else { root }
}

/// Integer frequencies that sum to 4096, from codes; `None` for codes out of range.
fn frequencies_of(codes: &[i32]) -> Option<Frequencies> {
    if codes.len() > MAX_TOKENS || codes.iter().any(|&k| !(0..=MAX_CODE as i32).contains(&k)) {
        return None;
    }
    let weights: Vec<u64> = codes.iter().map(|&k| if k == 0 { 0 } else { code_weight(k as u32) }).collect();
    let total: u64 = weights.iter().sum();
    let share = |w: u64| if w == 0 { 0 } else { (w * u64::from(ONE) / total).max(1) as i64 };
    let mut frequencies: Vec<i64> = weights.into_iter().map(share).collect();
    let mut missing = if total == 0 { 0 } else { i64::from(ONE) - frequencies.iter().sum::<i64>() };
    while missing != 0 {
        // the first of the largest takes what is missing, but gives away at most half of itself
        let largest = (0..frequencies.len()).fold(0, |b, k| if frequencies[k] > frequencies[b] { k } else { b });
        let step = if missing > 0 { missing } else { missing.max(-(frequencies[largest] / 2)) };
        frequencies[largest] += step;
        missing -= step;
    }
    let mut start = 0u16;
    let with_start = |f: i64| {
        let entry = (f as u16, start);
        start += f as u16;
        entry
    };
    Some(frequencies.into_iter().map(with_start).collect())
}

impl Tables {
    /// Tables for the given histograms, one per context, and their serialised form.
    pub fn build(histograms: &[Vec<u32>], writer: &mut BlockWriter) -> Self {
        let mut all_codes = Vec::new();
        let mut lengths = Vec::new();
        let mut frequencies = Vec::new();
        for histogram in histograms {
            let codes = codes_of(histogram);
            frequencies.push(frequencies_of(&codes).expect("codes of a histogram are valid"));
            lengths.push(codes.len() as i32);
            all_codes.extend(codes);
        }
        write_ints(writer, &lengths);
        write_ints(writer, &all_codes);
        Self { frequencies, slots: Vec::new() }
    }

    /// Reads what [`Tables::build`] wrote, for `contexts` contexts.
    pub fn read(reader: &mut BlockReader<'_>, contexts: usize) -> Result<Self> {
        let at = reader.offset();
        let wrong = |message: String| bad("FREQUENCIES", at, message);
        let lengths = read_ints(reader, contexts)?;
        if let Some(length) = lengths.iter().find(|l| !(0..=MAX_TOKENS as i32).contains(*l)) {
            return Err(wrong(format!("a table of {length} tokens")));
        }
        let codes = read_ints(reader, lengths.iter().sum::<i32>() as usize)?;
        let mut rest = codes.as_slice();
        let mut frequencies = Vec::with_capacity(contexts);
        let mut slots = vec![Slot::default(); contexts * ONE as usize];
        for (length, slots) in lengths.into_iter().zip(slots.chunks_exact_mut(ONE as usize)) {
            let (own, others) = rest.split_at(length as usize);
            rest = others;
            let table = frequencies_of(own).ok_or_else(|| wrong("a frequency code above 39".into()))?;
            for (token, &(frequency, start)) in table.iter().enumerate() {
                for bias in 0..frequency {
                    slots[usize::from(start + bias)] = Slot { token: token as u16, frequency, bias };
                }
            }
            frequencies.push(table);
        }
        Ok(Self { frequencies, slots })
    }
}

/// Packs raw bits, least significant first.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    word: u64,
    used: u32,
}

impl BitWriter {
    fn push(&mut self, value: u64, bits: u32) {
        for (value, bits) in [(value & 0xFFFF_FFFF, bits.min(32)), (value >> 32, bits.saturating_sub(32))] {
            if bits == 0 {
                continue;
            }
            self.word |= value << self.used;
            self.used += bits;
            while self.used >= 8 {
                self.bytes.push(self.word as u8);
                self.word >>= 8;
                self.used -= 8;
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.used > 0 {
            self.bytes.push(self.word as u8);
        }
        self.bytes
    }
}

/// Takes raw bits off; past the end it yields zeros and remembers.
struct BitReader<'a> {
    bytes: &'a [u8],
    word: u64,
    have: u32,
    taken: u64,
}

impl<'a> BitReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, word: 0, have: 0, taken: 0 }
    }

    fn take(&mut self, bits: u32) -> u64 {
        if bits > 32 {
            return self.take(32) | self.take(bits - 32) << 32;
        }
        self.taken += u64::from(bits);
        while self.have < bits {
            let (byte, rest) = self.bytes.split_first().map_or((0, self.bytes), |(b, r)| (*b, r));
            self.bytes = rest;
            self.word |= u64::from(byte) << self.have;
            self.have += 8;
        }
        let value = self.word & ((1u64 << bits) - 1);
        self.word >>= bits;
        self.have -= bits;
        value
    }
}

/// Encodes tokens with a context each and appends states, words and raw bits to the block.
fn write_tokens(
    writer: &mut BlockWriter,
    tables: &Tables,
    tokens: &[u16],
    context: impl Fn(usize) -> u8,
    raw: BitWriter,
) {
    let mut states = [LOWER_BOUND; LANES];
    let mut words: Vec<u16> = Vec::with_capacity(tokens.len() / 2);
    for index in (0..tokens.len()).rev() {
        let (frequency, start) = tables.frequencies[usize::from(context(index))][usize::from(tokens[index])];
        let (frequency, start) = (u32::from(frequency), u32::from(start));
        let state = &mut states[index % LANES];
        if u64::from(*state) >= u64::from(frequency) << (32 - PROBABILITY_BITS) {
            words.push(*state as u16);
            *state >>= 16;
        }
        *state = ((*state / frequency) << PROBABILITY_BITS) + *state % frequency + start;
    }
    words.reverse();
    let raw = raw.finish();
    writer.raw(&(words.len() as u32).to_le_bytes());
    writer.raw(&(raw.len() as u32).to_le_bytes());
    states.iter().for_each(|s| writer.raw(&s.to_le_bytes()));
    writer.raw(&words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>());
    writer.raw(&raw);
}

struct TokenReader<'a> {
    states: [u32; LANES],
    /// The words, and one zero so that the last step may look one word ahead.
    words: Vec<u16>,
    at: usize,
    raw: BitReader<'a>,
    raw_bits: u64,
    offset: u64,
}

impl<'a> TokenReader<'a> {
    fn new(reader: &mut BlockReader<'a>) -> Result<Self> {
        let offset = reader.offset();
        let head = reader.raw(8 + 4 * LANES)?;
        let (word_count, raw_count) = (u32_at(head, 0) as usize, u32_at(head, 4) as usize);
        let states = std::array::from_fn(|k| u32_at(head, 8 + 4 * k));
        let bytes = reader.raw(word_count.saturating_mul(2))?;
        let mut words: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
        words.push(0);
        let raw = reader.raw(raw_count)?;
        Ok(Self { states, words, at: 0, raw: BitReader::new(raw), raw_bits: raw.len() as u64 * 8, offset })
    }

    /// One step of one state. Past the end of the words it reads zeros, which `finish` notices.
    #[inline(always)]
    fn next(&mut self, lane: usize, slots: &[Slot], context: usize) -> u16 {
        let state = self.states[lane];
        let slot = slots[context << PROBABILITY_BITS | (state & (ONE - 1)) as usize];
        let next = u32::from(slot.frequency) * (state >> PROBABILITY_BITS) + u32::from(slot.bias);
        // no branch: whether a word is needed is unpredictable
        let word = u32::from(self.words[self.at.min(self.words.len() - 1)]);
        let needed = next < LOWER_BOUND;
        self.states[lane] = if needed { next << 16 | word } else { next };
        self.at += usize::from(needed);
        slot.token
    }

    /// The value of a token, with its raw bits.
    #[inline(always)]
    fn value(&mut self, token: u16) -> u32 {
        if u32::from(token) < DIRECT {
            return u32::from(token);
        }
        let (base, bits) = untoken(token);
        base.wrapping_add(self.raw.take(bits) as u32)
    }

    /// The states must be back where the encoder began, with nothing left over and nothing missing.
    fn finish(self) -> Result<()> {
        let raw_used = self.raw.taken.div_ceil(8) * 8;
        if self.states != [LOWER_BOUND; LANES] || self.at + 1 != self.words.len() || raw_used != self.raw_bits {
            return Err(bad("ENTROPY", self.offset, "entropy-coded stream does not end where it should"));
        }
        Ok(())
    }
}

/// Counts the tokens of `values` per context.
pub(crate) fn count(histograms: &mut [Vec<u32>], values: &[u32], contexts: Option<&[u8]>) {
    for (index, &value) in values.iter().enumerate() {
        let histogram = &mut histograms[contexts.map_or(0, |c| usize::from(c[index]))];
        let token = usize::from(token(value).0);
        if histogram.len() <= token {
            histogram.resize(token + 1, 0);
        }
        histogram[token] += 1;
    }
}

/// Appends values whose contexts are known in advance (`None`: a single context).
pub(crate) fn write_values(writer: &mut BlockWriter, tables: &Tables, values: &[u32], contexts: Option<&[u8]>) {
    let mut raw = BitWriter::default();
    let tokens: Vec<u16> = values
        .iter()
        .map(|&value| {
            let (token, bits, rest) = token(value);
            raw.push(u64::from(rest), bits);
            token
        })
        .collect();
    write_tokens(writer, tables, &tokens, |i| contexts.map_or(0, |c| c[i]), raw);
}

/// Takes values off a block.
pub(crate) fn read_values(
    reader: &mut BlockReader<'_>,
    tables: &Tables,
    count: usize,
    contexts: Option<&[u8]>,
) -> Result<Vec<u32>> {
    let mut source = TokenReader::new(reader)?;
    let mut out = vec![0u32; count];
    let slots = tables.slots.as_slice();
    // four lanes written out: the compiler keeps their states in registers and overlaps their multiplications
    let mut chunks = out.chunks_exact_mut(LANES);
    let mut first = 0;
    for chunk in &mut chunks {
        let own: [u8; LANES] =
            contexts.map_or([0; LANES], |c| c[first..first + LANES].try_into().expect("four contexts"));
        let tokens: [u16; LANES] = std::array::from_fn(|lane| source.next(lane, slots, usize::from(own[lane])));
        for lane in 0..LANES {
            chunk[lane] = source.value(tokens[lane]);
        }
        first += LANES;
    }
    for (lane, value) in chunks.into_remainder().iter_mut().enumerate() {
        let token = source.next(lane, slots, contexts.map_or(0, |c| usize::from(c[first + lane])));
        *value = source.value(token);
    }
    source.finish()?;
    Ok(out)
}

/// Contexts of bit lengths: the previous length in steps of four.
pub(crate) const LENGTH_CONTEXTS: usize = 8;

fn length_context(previous: u32) -> usize {
    (previous as usize / 4).min(LENGTH_CONTEXTS - 1)
}

/// Counts bit lengths for [`write_lengths`].
pub(crate) fn count_lengths(histograms: &mut [Vec<u32>], values: &[u64]) {
    let mut previous = 0;
    for &value in values {
        let length = 64 - value.leading_zeros();
        let histogram = &mut histograms[length_context(previous)];
        if histogram.len() <= length as usize {
            histogram.resize(length as usize + 1, 0);
        }
        histogram[length as usize] += 1;
        previous = length;
    }
}

/// Appends 64-bit values as their bit length, in the context of the previous one, and the bits below the leading one.
pub(crate) fn write_lengths(writer: &mut BlockWriter, tables: &Tables, values: &[u64]) {
    let mut raw = BitWriter::default();
    let mut previous = 0;
    let mut contexts = Vec::with_capacity(values.len());
    let tokens: Vec<u16> = values
        .iter()
        .map(|&value| {
            let length = 64 - value.leading_zeros();
            if length > 1 {
                raw.push(value & ((1 << (length - 1)) - 1), length - 1);
            }
            contexts.push(length_context(previous) as u8);
            previous = length;
            length as u16
        })
        .collect();
    write_tokens(writer, tables, &tokens, |i| contexts[i], raw);
}

/// Takes 64-bit values off a block.
pub(crate) fn read_lengths(reader: &mut BlockReader<'_>, tables: &Tables, count: usize) -> Result<Vec<u64>> {
    let mut source = TokenReader::new(reader)?;
    let mut previous = 0;
    let mut out = Vec::with_capacity(count);
    for index in 0..count {
        let length = u32::from(source.next(index % LANES, &tables.slots, length_context(previous)));
        if length > 64 {
            return Err(bad("ENTROPY", source.offset, format!("a value of {length} bits")));
        }
        out.push(match length {
            0 => 0,
            1 => 1,
            _ => 1 << (length - 1) | source.raw.take(length - 1),
        });
        previous = length;
    }
    source.finish()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pseudo_random(count: usize) -> impl Iterator<Item = u32> {
        let mut state = 1u64;
        (0..count).map(move |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        })
    }

    #[test]
    fn tokens_are_a_bijection() {
        for value in (0..5000).chain([65_535, 65_536, 1 << 20, u32::MAX - 1, u32::MAX]) {
            let (token, bits, raw) = token(value);
            let (base, bits_back) = untoken(token);
            assert_eq!((base + raw, bits), (value, bits_back));
            assert!(usize::from(token) < MAX_TOKENS);
        }
    }

    #[test]
    fn code_weights_are_rounded_powers_of_root_two() {
        for code in 1..=MAX_CODE {
            assert_eq!(code_weight(code), (f64::from(code - 1) / 2.0).exp2().round() as u64, "code {code}");
        }
    }

    #[test]
    fn values_in_contexts_round_trip_near_their_entropy() {
        let values: Vec<u32> = pseudo_random(20_000).map(|r| (r & 0xFF).min(r >> 8 & 0xFF) / 16).collect();
        let contexts: Vec<u8> = pseudo_random(20_000).map(|r| (r % 3) as u8).collect();
        let mut histograms = vec![Vec::new(); 3];
        count(&mut histograms, &values, Some(&contexts));
        let mut writer = BlockWriter::new(1);
        let tables = Tables::build(&histograms, &mut writer);
        write_values(&mut writer, &tables, &values, Some(&contexts));
        let (block, _) = writer.finish();
        let mut counts = [0f64; 16];
        values.iter().for_each(|&v| counts[v as usize] += 1.0);
        let bits: f64 = counts.iter().filter(|&&c| c > 0.0).map(|c| -c * (c / 20_000.0).log2()).sum();
        assert!((block.len() as f64) < bits / 8.0 * 1.02 + 200.0, "{} bytes for {} bits", block.len(), bits);
        let mut reader = BlockReader::new(&block, 0);
        let tables = Tables::read(&mut reader, 3).unwrap();
        assert_eq!(read_values(&mut reader, &tables, values.len(), Some(&contexts)).unwrap(), values);
        reader.finish().unwrap();
    }

    #[test]
    fn extreme_values_and_lengths_round_trip() {
        for values in [vec![], vec![0], vec![u32::MAX, 0, 64, 63, 65, 1 << 31], vec![7; 100]] {
            let mut histograms = vec![Vec::new()];
            count(&mut histograms, &values, None);
            let wide: Vec<u64> = values.iter().map(|&v| u64::from(v) * u64::from(v)).collect();
            let mut length_histograms = vec![Vec::new(); LENGTH_CONTEXTS];
            count_lengths(&mut length_histograms, &wide);
            let mut writer = BlockWriter::new(1);
            let tables = Tables::build(&histograms, &mut writer);
            let length_tables = Tables::build(&length_histograms, &mut writer);
            write_values(&mut writer, &tables, &values, None);
            write_lengths(&mut writer, &length_tables, &wide);
            let (block, _) = writer.finish();
            let read = |block: &[u8]| -> Result<(Vec<u32>, Vec<u64>)> {
                let mut reader = BlockReader::new(block, 0);
                let tables = Tables::read(&mut reader, 1)?;
                let length_tables = Tables::read(&mut reader, LENGTH_CONTEXTS)?;
                let out = (
                    read_values(&mut reader, &tables, values.len(), None)?,
                    read_lengths(&mut reader, &length_tables, wide.len())?,
                );
                reader.finish()?;
                Ok(out)
            };
            assert_eq!(read(&block).unwrap(), (values.clone(), wide.clone()));
            for end in 0..block.len() {
                assert!(read(&block[..end]).is_err());
            }
        }
    }
}
