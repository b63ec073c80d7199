"""Header, directory and chunks (gav.md, section 4): everything that is checked before any content is decoded."""

import json
import struct

from .blocks import Block
from .errors import Refused, require
from .hashing import xxh3_64

MAGIC = b"\x89GAV\r\n\x1a\n"
KNOWN_FEATURES = 0x1FF
CRITICAL = ["SSET", "QNTZ", "POSN", "OPAC", "SCAL", "ROTN", "COLR", "SHCO"]
CRITICAL += ["SKEL", "SKIN", "MRPH", "TRIB", "GBLS", "MLPW", "FRMS", "TMPL"]
REPEATABLE = {"aNIm", "xATT"}
MAX_ENTRIES, MAX_JSON, MAX_DEPTH, BUDGET = 4096, 4 << 20, 32, 4 << 30


class Chunk:
    """One entry of the directory with its stored bytes."""

    def __init__(self, entry, data):
        kind, self.layer, zero1, self.offset, self.stored, self.decoded, self.codec, zero2 = struct.unpack_from("<4sHHQQQHH", entry)
        self.per_block, self.elements, self.parameter_bytes, self.head_hash, _, zero3 = struct.unpack_from("<IIIQII", entry, 36)
        require(kind.isalpha() and kind[2:3].isupper(), "CHUNK_TYPE", f"{kind!r}")
        self.kind = kind.decode("ascii")
        require(zero1 == zero2 == zero3 == 0, "ENTRY_RESERVED", f"{self.kind}: reserved fields must be zero")
        require(self.offset % 64 == 0 and self.offset >= 64 and self.offset + self.stored <= len(data), "CHUNK_RANGE",
                f"{self.kind}: {self.stored} bytes at {self.offset} of {len(data)}")
        self.data = data[self.offset : self.offset + self.stored]
        require(self.elements == 0 or self.per_block > 0, "CHUNK_BLOCKS", f"{self.kind}: no elements per block")
        self.blocks = -(-self.elements // self.per_block) if self.elements else 0
        head = self.parameter_bytes + 8 * self.blocks
        require(head <= self.stored, "CHUNK_BLOCKS", f"{self.kind}: a head of {head} bytes in {self.stored}")
        self.first_block = head

    def open_head(self):
        """Hash of the head and lengths of the blocks (4.4)."""
        head = self.first_block
        self.table = list(struct.iter_unpack("<II", self.data[self.parameter_bytes : head]))
        require(xxh3_64(self.data[:head]) == self.head_hash, "CHUNK_HASH", f"{self.kind}: damaged head")
        require(head + sum(length for length, _ in self.table) == self.stored, "BLOCK_LENGTH", f"{self.kind}: blocks and chunk differ in length")

    @property
    def critical(self):
        """True when a reader that does not know the chunk must refuse the file (4.3)."""
        return self.kind[0].isupper()

    def check_blocks(self):
        """Hashes of the blocks of a chunk that is carried along undecoded."""
        at = self.first_block
        for number, (length, low_hash) in enumerate(self.table):
            damaged = xxh3_64(self.data[at : at + length]) & 0xFFFFFFFF != low_hash
            require(not damaged, "BLOCK_HASH", f"{self.kind}: block {number} is damaged")
            at += length

    def parameters(self):
        """A cursor over the parameters."""
        cursor = Block(self.data[: self.parameter_bytes])
        cursor.short = "PARAMETERS"
        return cursor

    def fixed_parameters(self, layout):
        """Parameters that consist of nothing but fields."""
        cursor = self.parameters()
        require(struct.calcsize("<" + layout) == len(cursor.data), "PARAMETERS", f"{self.kind}: {len(cursor.data)} bytes of parameters")
        return cursor.raw(layout)

    def read(self, decode):
        """Results of `decode(block, elements in the block)` for every block, with hashes and lengths checked."""
        results, at, decoded = [], self.first_block, 0
        for number, (length, low_hash) in enumerate(self.table):
            stored = self.data[at : at + length]
            require(xxh3_64(stored) & 0xFFFFFFFF == low_hash, "BLOCK_HASH", f"{self.kind}: block {number} is damaged")
            block = Block(stored)
            results.append(decode(block, min(self.per_block, self.elements - number * self.per_block)))
            block.finish()
            at, decoded = at + length, decoded + block.decoded
        require(decoded == self.decoded, "DECODED_BYTES", f"{self.kind}: {decoded} bytes, the directory says {self.decoded}")
        return results

    def single(self, decode):
        """The result of a chunk of one element and one block."""
        require(self.elements == 1 and self.blocks == 1, "ELEMENTS", f"{self.kind}: {self.elements} elements")
        return self.read(decode)[0]

    def json(self):
        """A JSON chunk (6)."""
        return parse_json(self.single(lambda block, _: block.run(MAX_JSON)), self.kind)


def parse_json(text, where):
    """JSON within the limits of section 10."""
    require(len(text) <= MAX_JSON, "LIMIT", f"{where}: {len(text)} bytes of JSON")
    try:
        text = bytes(text).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("JSON", f"{where}: {error}") from error
    require(depth(text) <= MAX_DEPTH, "LIMIT", f"{where}: JSON nested too deep")
    try:
        return json.loads(text, parse_constant=lambda name: require(False, "JSON", f"{where}: {name}"))
    except (ValueError, RecursionError) as error:
        raise Refused("JSON", f"{where}: {error}") from error


def depth(text):
    """How deep arrays and objects of a JSON text are nested."""
    deepest = level = 0
    quoted = escaped = False
    for letter in text:
        if quoted:
            quoted, escaped = escaped or letter != '"', letter == "\\" and not escaped
        elif letter == '"':
            quoted = True
        elif letter in "[{":
            level += 1
            deepest = max(deepest, level)
        elif letter in "]}":
            level -= 1
    return deepest


class File:
    """A `.gav` file whose container has been checked."""

    def __init__(self, data):
        self.data = data
        self.read_header()
        self.read_directory()

    def read_header(self):
        """4.1."""
        data = self.data
        require(len(data) >= 64, "TRUNCATED", f"{len(data)} bytes are no header")
        require(data[:8] == MAGIC, "MAGIC", "not a .gav file")
        self.major, self.minor, self.flags, length, self.directory, self.entries, self.entry_bytes, self.features, directory_hash, header_hash = struct.unpack_from("<HHIQQIIQQQ", data, 8)
        require(xxh3_64(data[:56]) == header_hash, "HEADER_HASH", "damaged header")
        require(self.major == 1, "VERSION", f"version {self.major}.{self.minor}")
        require(self.features & ~KNOWN_FEATURES == 0, "FEATURE", f"feature bits {self.features:#x}")
        require(len(data) >= length, "TRUNCATED", f"{len(data)} of {length} bytes")
        require(len(data) == length, "TRAILING", f"{len(data)} bytes, the header says {length}")
        size = self.entries * self.entry_bytes
        require(self.entry_bytes % 8 == 0 and 64 <= self.entry_bytes <= 4096, "DIRECTORY", f"entries of {self.entry_bytes} bytes")
        require(self.entries <= MAX_ENTRIES, "LIMIT", f"{self.entries} directory entries")
        require(self.directory % 64 == 0 and 64 <= self.directory and self.directory + size <= length, "DIRECTORY", f"directory at {self.directory}")
        require(xxh3_64(data[self.directory : self.directory + size]) == directory_hash, "DIRECTORY_HASH", "damaged directory")

    def read_directory(self):
        """4.2 and 4.3."""
        starts = [self.directory + k * self.entry_bytes for k in range(self.entries)]
        self.chunks = [Chunk(self.data[s : s + 64], self.data) for s in starts]
        ranges = [(c.offset, c.offset + c.stored) for c in self.chunks]
        ranges.append((self.directory, self.directory + self.entries * self.entry_bytes))
        ranges.sort()
        for (_, end), (start, _) in zip(ranges, ranges[1:]):
            require(end <= start, "OVERLAP", f"bytes {start}..{end} belong to two parts")
        require(sum(c.decoded for c in self.chunks) <= BUDGET, "LIMIT", "more decoded bytes than the budget")
        seen = set()
        for chunk in self.chunks:
            require(not chunk.critical or chunk.kind in CRITICAL, "CRITICAL_CHUNK", f"unknown chunk {chunk.kind}")
            repeated = (chunk.kind, chunk.layer) in seen and self.is_known(chunk.kind) and chunk.kind not in REPEATABLE
            require(not repeated, "DUPLICATE_CHUNK", f"{chunk.kind} occurs twice in layer {chunk.layer}")
            seen.add((chunk.kind, chunk.layer))
            chunk.open_head()
            if not self.is_known(chunk.kind):
                chunk.check_blocks()

    @staticmethod
    def is_known(kind):
        """True for chunks of this version."""
        return kind in CRITICAL or kind in {"oRDR", "mESh", "dRVr", "aNIm", "cAMs", "tHMB", "xATT", "rEST", "mETa"}

    def find(self, kind, layer=0):
        """The chunk of a type and layer, or None."""
        return next((c for c in self.chunks if c.kind == kind and c.layer == layer), None)

    def need(self, kind, layer=0):
        """The chunk of a type and layer, which must be there."""
        chunk = self.find(kind, layer)
        require(chunk is not None, "MISSING_CHUNK", f"{kind} of layer {layer} is missing")
        return chunk
