"""Symbol streams: table sets and interleaved rANS (gav.md, sections 5.5 and 5.6)."""

import numpy as np

from .blocks import unzigzag
from .errors import require

SCALE = 4096
MAX_TOKENS = 896
WIDE_CONTEXTS = 8
# weights of the codes 0 … 39; 2^((k−1)/2) rounded, exactly
WEIGHTS = [0] + [round(2 ** ((k - 1) / 2)) for k in range(1, 40)]


class TableSet:
    """Decoding tables of one stream: for each context and slot the token, its frequency and slot − start."""

    def __init__(self, parameters, contexts):
        counts = parameters.int_column(contexts)
        require(((counts >= 0) & (counts <= MAX_TOKENS)).all(), "FREQUENCIES", "a count of tokens out of range")
        codes = parameters.int_column(int(counts.sum()))
        require(((codes >= 0) & (codes <= 39)).all(), "FREQUENCIES", "a frequency code out of range")
        parts = np.split(codes, np.cumsum(counts)[:-1])
        self.used = np.array([part.any() for part in parts])
        tables = [self.slots(part) for part in parts]
        self.token, self.frequency, self.offset = (np.concatenate(t).tolist() for t in zip(*tables))

    @staticmethod
    def slots(codes):
        """The three tables of one context."""
        if not codes.any():
            return (np.zeros(SCALE, np.int64),) * 3
        frequencies = expand(codes)
        starts = np.cumsum(frequencies) - frequencies
        token = np.repeat(np.arange(len(codes)), frequencies)
        return token, frequencies[token], np.arange(SCALE) - starts[token]


def expand(codes):
    """Frequencies that sum to 4096, from the codes of a context."""
    weights = np.array([WEIGHTS[k] for k in codes], np.int64)
    f = np.where(weights > 0, np.maximum(1, weights * SCALE // int(weights.sum())), 0)
    while (d := SCALE - int(f.sum())) != 0:
        largest = int(np.argmax(f))
        f[largest] += d if d > 0 else -min(-d, int(f[largest]) // 2)
    return f


class Coder:
    """One interleaved stream while it is read: words, raw bits and four states."""

    def __init__(self, block):
        words, raw = block.raw("II")
        self.states = list(block.raw("4I"))
        self.words = np.frombuffer(block.raw_bytes(2 * words), "<u2").tolist()
        self.raw = np.frombuffer(block.raw_bytes(raw), np.uint8)

    def tokens(self, contexts, tables):
        """One token per context, contexts being known beforehand."""
        require(tables.used[contexts].all(), "ENTROPY", "a context without tokens is used")
        token, frequency, offset = tables.token, tables.frequency, tables.offset
        states, words, at = self.states, self.words, 0
        out = [0] * len(contexts)
        try:
            for i, base in enumerate((np.asarray(contexts, np.int64) * SCALE).tolist()):
                x = states[i & 3]
                slot = base + (x & 4095)
                out[i] = token[slot]
                x = frequency[slot] * (x >> 12) + offset[slot]
                if x < 65536:
                    x = x << 16 | words[at]
                    at += 1
                states[i & 3] = x
        except IndexError:
            at = -1
        self.ended(at)
        return np.array(out, np.int64)

    def lengths(self, count, tables):
        """Bit lengths of wide values: the context is the length before, divided by four."""
        token, frequency, offset, used = tables.token, tables.frequency, tables.offset, tables.used.tolist()
        states, words, at, context = self.states, self.words, 0, 0
        out = [0] * count
        try:
            for i in range(count):
                require(used[context], "ENTROPY", "a context without tokens is used")
                x = states[i & 3]
                slot = context * SCALE + (x & 4095)
                out[i] = length = token[slot]
                x = frequency[slot] * (x >> 12) + offset[slot]
                if x < 65536:
                    x = x << 16 | words[at]
                    at += 1
                states[i & 3] = x
                context = min(7, length >> 2)
        except IndexError:
            at = -1
        self.ended(at)
        return np.array(out, np.int64)

    def ended(self, at):
        """All words must be used and all states back at 2¹⁶."""
        require(at == len(self.words), "ENTROPY", "words missing or left over")
        require(all(x == 65536 for x in self.states), "ENTROPY", f"states end at {self.states}")

    def raw_bits(self, widths):
        """The raw bits of each symbol; they must be used up to the end of their last byte."""
        ends = np.cumsum(widths)
        total = int(ends[-1]) if len(ends) else 0
        require((total + 7) // 8 == len(self.raw), "ENTROPY", f"{len(self.raw)} raw bytes for {total} bits")
        bits = np.unpackbits(self.raw, bitorder="little")
        out = np.zeros(len(widths), np.uint64)
        for k in range(int(widths.max(initial=0))):
            rows = np.flatnonzero(widths > k)
            out[rows] |= bits[(ends - widths)[rows] + k].astype(np.uint64) << np.uint64(k)
        return out


def values(block, codec, contexts, tables):
    """A stream of values whose contexts are known (5.5), as int64."""
    if codec == 1:
        return block.int_column(len(contexts)).view(np.uint32).astype(np.int64)
    coder = Coder(block)
    tokens = coder.tokens(contexts, tables)
    widths = np.where(tokens < 64, 0, (tokens - 64) // 32 + 1)
    low = coder.raw_bits(widths).astype(np.int64)
    return np.where(tokens < 64, tokens, (32 + (tokens - 64) % 32) << widths | low)


def signed_values(block, codec, contexts, tables):
    """A stream of zigzag codes."""
    return unzigzag(values(block, codec, contexts, tables))


def wide_values(block, codec, count, tables):
    """A stream of u64 values."""
    if codec == 1:
        low, high = (block.int_column(count).view(np.uint32).astype(np.uint64) for _ in range(2))
        return high << np.uint64(32) | low
    coder = Coder(block)
    lengths = coder.lengths(count, tables)
    require((lengths <= 64).all(), "ENTROPY", "a value longer than 64 bits")
    low = coder.raw_bits(np.maximum(lengths - 1, 0))
    leading = np.where(lengths > 0, np.uint64(1) << np.maximum(lengths - 1, 0).astype(np.uint64), np.uint64(0))
    return leading | low
