"""Fields, streams, integer and float columns (gav.md, sections 5.1 to 5.3)."""

import struct

import numpy as np
import zstandard

from .errors import Refused, require

MAX_WINDOW = 1 << 23


def unzigzag(codes):
    """Signed values of zigzag codes (section 2), as int64."""
    codes = codes.astype(np.int64)
    return np.where(codes & 1, -((codes + 1) >> 1), codes >> 1)


class Block:
    """A cursor over the bytes of one block (or of the parameters of a chunk). `decoded` counts as in section 4.2."""

    def __init__(self, data, at=0):
        self.data, self.at, self.decoded = memoryview(data), at, 0
        self.short = "BLOCK_SHORT"  # the code when bytes are missing

    def take(self, count):
        """The next `count` bytes."""
        require(count <= len(self.data) - self.at, self.short, f"{count} bytes wanted at byte {self.at} of {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def raw_bytes(self, count):
        """A raw field of `count` bytes."""
        self.decoded += count
        return bytes(self.take(count))

    def raw(self, layout):
        """Raw fields by a `struct` layout; a single one comes without a tuple."""
        values = struct.unpack("<" + layout, self.raw_bytes(struct.calcsize("<" + layout)))
        return values[0] if len(values) == 1 else values

    def stream(self, count):
        """A stream of `count` bytes (5.1)."""
        mode, length = struct.unpack("<BI", self.take(5))
        stored = bytes(self.take(length))
        self.decoded += count
        if mode == 0:
            require(length == count, "STREAM_LENGTH", f"{length} bytes for {count}")
            return stored
        if mode == 1:
            return unpack_frame(stored, count)
        require(mode == 2, "STREAM_MODE", f"mode {mode}")
        require(length == 1, "STREAM_LENGTH", f"{length} bytes in a constant stream")
        return stored * count

    def run(self, most=1 << 32):
        """A count and a stream of that many bytes (5.1)."""
        count = self.raw("I")
        require(count <= most, "RUN_LENGTH", f"a run of {count} bytes")
        return self.stream(count)

    def planes(self, count):
        """Four planes, most significant first, as u32 (5.3)."""
        value = np.zeros(count, np.uint32)
        for _ in range(4):
            value = value << np.uint32(8) | np.frombuffer(self.stream(count), np.uint8).astype(np.uint32)
        return value

    def int_column(self, count):
        """An integer column (5.2), as int32."""
        kind, planes, base = self.raw("BBi")
        require(kind <= 1 and planes <= 4, "INT_COLUMN", f"filter {kind}, {planes} planes")
        codes = np.zeros(count, np.uint32)
        for k in range(planes):
            codes |= np.frombuffer(self.stream(count), np.uint8).astype(np.uint32) << np.uint32(8 * k)
        steps = codes.astype(np.int64) if kind == 0 else np.cumsum(unzigzag(codes))
        return (steps + base).astype(np.uint64).astype(np.uint32).view(np.int32)

    def float_columns(self, count, width):
        """Float columns (5.3), as count × width f32."""
        layout = self.raw("B")
        if layout == 1:
            table = self.table(256)
            indices = np.frombuffer(self.stream(count * width), np.uint8)
            return look_up(table, indices).reshape(count, width)
        require(layout == 0, "FLOAT_COLUMN", f"layout {layout}")
        columns = {}
        for _ in range(width):
            number, mode = self.raw("BB")
            require(number < width and number not in columns, "FLOAT_COLUMN", f"column number {number}")
            columns[number] = self.float_column(count, width, mode, columns)
        return np.stack([columns[k] for k in range(width)], axis=1) if width else np.zeros((count, 0), np.float32)

    def float_column(self, count, width, mode, columns):
        """One column of layout 0."""
        if mode == 0:
            return rotate_right(self.planes(count)).view(np.float32)
        if mode == 1:
            return self.linear(count, columns)
        if mode == 2:
            require(width == 4 and len(columns) == 3, "FLOAT_COLUMN", "a unit column without three others")
            return self.unit(count, columns)
        require(mode == 3, "FLOAT_COLUMN", f"mode {mode}")
        table = self.table(65536)
        return look_up(table, self.planes(count))

    def table(self, limit):
        """A table of floats, stored as differences of their bits."""
        count = self.raw("I")
        require(count <= limit, "FLOAT_COLUMN", f"a table of {count} entries")
        return np.cumsum(self.planes(count).astype(np.uint64)).astype(np.uint32).view(np.float32)

    def linear(self, count, columns):
        """Mode 1: prediction from the rows before and from columns already read."""
        count_used = self.raw("B")
        require(count_used <= 4, "FLOAT_COLUMN", f"predicted from {count_used} columns")
        used = list(self.raw_bytes(count_used))
        require(all(k in columns for k in used), "FLOAT_COLUMN", f"predicted from {used}")
        weights = [float(w) for w in np.frombuffer(self.raw_bytes(4 * (3 + 2 * len(used))), "<f4")]
        require(np.isfinite(weights).all(), "FLOAT_COLUMN", "a weight that is not finite")
        residuals = unzigzag(self.planes(count))
        terms = []
        for k, column in enumerate(used):
            safe = safe_values(columns[column])
            terms.append((weights[3 + 2 * k] * safe, weights[4 + 2 * k] * mean_before(safe)))
        if weights[1] == 0 and weights[2] == 0 and not (weights[0] == 0 and np.signbit(weights[0])):
            return correct(predict_rows(weights[0], terms, count), residuals)
        return predict_sequentially(weights, terms, residuals)

    def unit(self, count, columns):
        """Mode 2: the magnitude that makes a quaternion one unit long."""
        residuals = unzigzag(self.planes(count))
        signs = np.unpackbits(np.frombuffer(self.stream((count + 7) // 8), np.uint8), bitorder="little")[:count]
        a, b, c = (safe_values(columns[k]) for k in sorted(columns))
        guess = np.sqrt(np.maximum(0.0, 1.0 - ((a * a + b * b) + c * c))).astype(np.float32)
        magnitude = (guess.view(np.uint32).astype(np.int64) + residuals) & 0x7FFFFFFF
        return (magnitude.astype(np.uint32) | signs.astype(np.uint32) << np.uint32(31)).view(np.float32)

    def finish(self):
        """A block must end with its last field (5.1)."""
        require(self.at == len(self.data), "BLOCK_LONG", f"{len(self.data) - self.at} bytes left over")


def unpack_frame(stored, count):
    """One Zstandard frame of declared size `count` (5.1)."""
    try:
        frame = zstandard.get_frame_parameters(stored)
        require(frame.content_size == count, "STREAM_LENGTH", f"a frame of {frame.content_size} bytes for {count}")
        require(frame.window_size <= max(MAX_WINDOW, count) and frame.dict_id == 0, "ZSTD", f"window {frame.window_size}")
        unpacker = zstandard.ZstdDecompressor(max_window_size=max(MAX_WINDOW, count)).decompressobj()
        out = unpacker.decompress(stored)
    except zstandard.ZstdError as error:
        raise Refused("ZSTD", str(error)) from error
    require(unpacker.eof and not unpacker.unused_data, "ZSTD", "not exactly one frame")
    require(len(out) == count, "STREAM_LENGTH", f"{len(out)} bytes for {count}")
    return out


def rotate_right(bits):
    """Undoes the rotation by one bit of mode 0."""
    return bits >> np.uint32(1) | bits << np.uint32(31)


def look_up(table, indices):
    """Entries of a float table."""
    require(not indices.size or int(indices.max()) < len(table), "FLOAT_COLUMN", "an index outside the table")
    return table[indices] if indices.size else np.zeros(indices.shape, np.float32)


def safe_values(column):
    """`safe` of 5.3: 0 for what is not finite or too large."""
    wide = column.astype(np.float64)
    return np.where(np.isfinite(wide) & (np.abs(wide) < 1e15), wide, 0.0)


def mean_before(safe):
    """`mean₄` of 5.3 for every row; 0 in row 0."""
    rows = np.arange(len(safe))
    lag = [safe[np.maximum(rows - k, 0)] for k in (1, 2, 3, 4)]
    mean = (((lag[0] + lag[1]) + lag[2]) + lag[3]) * 0.25
    mean[:1] = 0.0
    return mean


def to_ordered(bits):
    """M of 5.3: bits of floats as integers in the order of their values."""
    return np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(0x80000000))


def from_ordered(ordered):
    """The inverse of M."""
    return np.where(ordered >> np.uint32(31), ordered & np.uint32(0x7FFFFFFF), ~ordered)


def correct(prediction, residuals):
    """Adds residuals to predictions, in the integer order of floats."""
    with np.errstate(over="ignore"):
        bits = prediction.astype(np.float32).view(np.uint32)
    return from_ordered((to_ordered(bits) + residuals).astype(np.uint64).astype(np.uint32)).view(np.float32)


def predict_rows(constant, terms, count):
    """Predictions that do not depend on the column itself."""
    prediction = np.full(count, constant)
    for own, mean in terms:
        prediction = (prediction + own) + mean
    return prediction


def predict_sequentially(weights, terms, residuals):
    """Predictions from the column's own values, row by row."""
    terms = [list(map(float, part)) for pair in terms for part in pair]
    w0, w1, w2 = weights[:3]
    pack, unpack = struct.Struct("<f").pack, struct.Struct("<f").unpack
    lag1 = lag2 = lag3 = lag4 = 0.0
    out = np.zeros(len(residuals), np.uint32)
    for i, residual in enumerate(residuals.tolist()):
        mean = 0.0 if i == 0 else (((lag1 + lag2) + lag3) + lag4) * 0.25
        p = (w0 + w1 * lag1) + w2 * mean
        for part in terms:
            p += part[i]
        try:
            bits = int.from_bytes(pack(p), "little")
        except OverflowError:  # beyond f32: infinity
            bits = 0x7F800000 if p > 0 else 0xFF800000
        ordered = bits ^ 0xFFFFFFFF if bits >> 31 else bits | 0x80000000
        ordered = (ordered + residual) & 0xFFFFFFFF
        bits = ordered & 0x7FFFFFFF if ordered >> 31 else ordered ^ 0xFFFFFFFF
        out[i] = bits
        (value,) = unpack(bits.to_bytes(4, "little"))
        lag1, lag2, lag3, lag4 = (value if abs(value) < 1e15 else 0.0), lag1, lag2, lag3
        if i == 0:
            lag2 = lag3 = lag4 = lag1
    return out.view(np.float32)
