"""Splat set and splat attributes, plain and quantised (gav.md, sections 6.1, 6.2 and 7)."""

import struct
from types import SimpleNamespace

import numpy as np

from . import entropy
from .errors import require

SH_C0 = 0.28209479177387814
RIG_KINDS = (0, 1, 2, 3, 4, 6, 7)
FLOAT_WIDTHS = {"POSN": 3, "OPAC": 1, "SCAL": 3, "ROTN": 4, "COLR": 3}
NAMES = {"POSN": "position", "OPAC": "opacity", "SCAL": "log_scale", "ROTN": "rotation", "COLR": "sh0", "SHCO": "sh_rest"}
COLOR_BASIS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])


def read_splat_set(file):
    """`SSET` (6.1)."""
    chunk = file.need("SSET")
    cursor = chunk.parameters()
    require(chunk.elements == 0 and chunk.stored == len(cursor.data) >= 72, "SPLAT_SET", f"SSET of {chunk.stored} bytes")
    names = ("count", "degree", "render_model", "color_space", "rig", "blendshapes")
    out = SimpleNamespace(**dict(zip(names, cursor.raw("IBBBBB"))))
    out.frame = cursor.raw_bytes(3)
    layers, out.order, out.metres_per_unit = cursor.raw("HHd")
    out.bounds = cursor.raw("6d")
    require(1 <= layers <= 16 and out.order <= 2, "SPLAT_SET", f"{layers} layers, order {out.order}")
    require(np.isfinite(out.bounds).all(), "SPLAT_SET", f"bounds {out.bounds}")
    require(layers == 1 or file.features & 2, "FEATURE", "several layers without their feature bit")
    require(len(cursor.data) == 72 + 4 * layers, "SPLAT_SET", f"SSET of {len(cursor.data)} bytes")
    out.layers = [cursor.raw("I") for _ in range(layers)]
    lines = sorted("RL UD FB".split().index(pair) for pair in ("RL", "UD", "FB") for letter in out.frame.decode("latin-1") if letter in pair)
    require(lines == [0, 1, 2], "SPLAT_SET", f"{out.frame} is no frame")
    out.frame = out.frame.decode("ascii")
    in_range = out.degree <= 4 and out.render_model <= 2 and out.color_space <= 1 and out.blendshapes <= 1
    require(in_range, "SPLAT_SET", f"degree {out.degree}, render model {out.render_model}, colour space {out.color_space}")
    require(out.rig in RIG_KINDS, "SPLAT_SET", f"rig kind {out.rig}")
    require(np.isfinite(out.metres_per_unit) and out.metres_per_unit > 0, "SPLAT_SET", f"{out.metres_per_unit} metres per unit")
    require(sum(out.layers) == out.count, "SPLAT_SET", f"layers {out.layers} for {out.count} splats")
    require(out.count <= 256 * len(file.data), "LIMIT", f"{out.count} splats in {len(file.data)} bytes")
    return out


def read_quantization(file):
    """`QNTZ` (7.2), or None when the file has float columns."""
    chunk = file.find("QNTZ")
    if chunk is None:
        return None
    cursor = chunk.parameters()
    require(len(cursor.data) == 72, "QUANTIZATION", f"QNTZ parameters of {len(cursor.data)} bytes")
    q = SimpleNamespace()
    q.step, *q.origin, q.rotation_step, q.color_step, q.sh_step = cursor.raw("7d")
    q.levels, q.classes, zeros, length0, length1 = cursor.raw("IB3sII")
    steps = [q.step, q.rotation_step, q.color_step, q.sh_step]
    require(all(np.isfinite(s) and s > 0 for s in steps) and np.isfinite(q.origin).all(), "QUANTIZATION", f"steps {steps}")
    require(max(length0, length1) <= 1 << 20, "QUANTIZATION", f"tables of {length0} and {length1} entries")
    require(1 <= q.levels <= 65535 and q.classes <= 14 and zeros == b"\0\0\0", "QUANTIZATION", f"{q.levels} levels, {q.classes} classes")

    def tables(block, _):
        lengths = (q.levels + 1, q.classes, q.classes + 1, q.classes + 1, length0, length1)
        return [block.int_column(n).astype(np.int64) for n in lengths]

    q.O, q.TO, q.TC, q.Z, L0, L1 = chunk.single(tables)
    q.L = (L0, L1)
    require(all((np.abs(t) <= 65536).all() for t in (q.Z, L0, L1)), "QUANTIZATION", "a ln-scale above 64")
    return q


def factor(classes):
    """M(c) of 7.2: 2^(c/2), exactly as written there."""
    whole = np.exp2((classes // 2).astype(np.float64))
    return np.where(classes % 2 == 1, whole * np.sqrt(2.0), whole)


def above(table, value):
    """How many entries of a table are greater than each value."""
    order = np.sort(table)
    return len(order) - np.searchsorted(order, value, side="right")


class Layer:
    """One layer while it is decoded: codes of opacity and scale give the classes of the rest."""

    def __init__(self, file, splats, quantization, layer):
        self.file, self.splats, self.q, self.layer = file, splats, quantization, layer
        self.count = splats.layers[layer]
        kinds = list(FLOAT_WIDTHS) + (["SHCO"] if splats.degree else [])
        self.chunks = {kind: file.need(kind, layer) for kind in kinds}
        require(splats.degree or file.find("SHCO", layer) is None, "INCONSISTENT", "SHCO in a file of degree 0")
        for kind, chunk in self.chunks.items():
            require(chunk.elements == self.count, "ELEMENTS", f"{kind}: {chunk.elements} elements for {self.count} splats")
            require(chunk.codec in ((1, 2) if self.q else (0,)), "CODEC", f"{kind}: codec {chunk.codec}")
        require(len({c.per_block for c in self.chunks.values()}) == 1, "BLOCK_SIZE", "attributes with different blocks")

    def decode(self):
        """Attribute name → count × width f32."""
        if self.q is None:
            return {NAMES[kind]: self.plain(kind) for kind in self.chunks}
        out = {"opacity": self.opacity(), "log_scale": self.scale()}
        self.classify()
        out |= {"position": self.position(), "rotation": self.rotation(), "sh0": self.color()}
        if self.splats.degree:
            out["sh_rest"] = self.harmonics()
        return out

    def plain(self, kind):
        """Codec 0 (6.2)."""
        chunk = self.chunks[kind]
        width = FLOAT_WIDTHS.get(kind) or 3 * ((self.splats.degree + 1) ** 2 - 1)
        chunk.parameters().finish()
        return joined(chunk.read(lambda block, n: block.float_columns(n, width)), (0, width))

    def table_sets(self, kind, cursor, contexts):
        """The table sets after a chunk's own parameters (5.5)."""
        cursor.short = "BLOCK_SHORT"
        sets = [entropy.TableSet(cursor, c) if self.chunks[kind].codec == 2 else None for c in contexts]
        cursor.finish()
        return sets

    def streams(self, kind, contexts, counts):
        """Values of fixed streams with known contexts: one array per stream, over all blocks."""
        chunk, at = self.chunks[kind], 0
        tables = self.table_sets(kind, chunk.parameters(), counts)

        def decode(block, n):
            nonlocal at
            part = [entropy.values(block, chunk.codec, c[at : at + n], t) for c, t in zip(contexts, tables)]
            at += n
            return np.stack(part, axis=1)

        return joined(chunk.read(decode), (0, len(counts))).astype(np.int64)

    def opacity(self):
        """7.4."""
        q, zero = self.q, np.zeros(self.count, np.int64)
        self.o = self.streams("OPAC", [zero], [1])[:, 0]
        require((self.o <= q.levels).all(), "CODE", "an opacity code above the number of levels")
        self.opacity_class = above(q.TO, q.O[self.o]) if self.count else zero
        alpha = np.minimum(np.maximum(self.o, 0.25) / q.levels, 1.0 - 1.0 / 512.0)
        return np.log(alpha / (1.0 - alpha)).astype(np.float32)[:, None]

    def scale(self):
        """7.5."""
        q, ca = self.q, self.opacity_class
        i0, d1, d2 = self.streams("SCAL", [ca] * 3, [q.classes + 1] * 3).T
        self.l = np.stack([self.log_scale_units(i, ca) for i in (i0, i0 - d1, i0 - d1 - d2)], axis=1)
        return (self.l / 1024.0).astype(np.float32)

    def log_scale_units(self, code, ca):
        """ln-scale of scale codes, in units of 1/1024 (7.2)."""
        require((code >= 0).all(), "CODE", "a negative scale code")
        out = self.q.Z[ca]
        for parity in (0, 1):
            rows = np.flatnonzero((code > 0) & (ca % 2 == parity))
            index = code[rows] << (ca[rows] // 2)
            require((index < len(self.q.L[parity])).all(), "CODE", "a scale code without table entry")
            out[rows] = self.q.L[parity][index]
        return out

    def classify(self):
        """Colour, swing and twist classes (7.2)."""
        q, l = self.q, self.l
        t = l[:, 0] + l[:, 1] + (q.O[self.o] if self.count else 0)

        def e(d):
            return 3 * (np.minimum(2 * d, 6144) - 3072) // 4

        self.color_class = above(q.TC[: q.classes], t)
        self.swing_class = above(q.TC[: q.classes], t + e(l[:, 0] - l[:, 2]))
        self.twist_class = above(q.TC, t + e(l[:, 1] - l[:, 2]) - 2458)

    def position(self):
        """7.3."""
        chunk = self.chunks["POSN"]
        cursor = chunk.parameters()
        layout = cursor.raw("B")
        require(layout <= 1, "PARAMETERS", f"POSN layout {layout}")
        tables = self.table_sets("POSN", cursor, [entropy.WIDE_CONTEXTS] if layout == 0 else [1] * 3)

        def morton(block, n):
            first = block.raw("Q")
            deltas = entropy.wide_values(block, chunk.codec, n, tables[0])
            require(first + sum(deltas.tolist()) < 1 << 63, "CODE", "a Morton key above 63 bits")
            keys = np.cumsum(deltas, dtype=np.uint64) + np.uint64(first)
            return np.stack([every_third_bit(keys >> np.uint64(axis)) for axis in range(3)], axis=1)

        def planar(block, n):
            zero = np.zeros(n, np.int64)
            return np.stack([entropy.signed_values(block, chunk.codec, zero, t) for t in tables], axis=1)

        grid = joined(chunk.read(morton if layout == 0 else planar), (0, 3))
        return (np.array(self.q.origin) + grid * self.q.step).astype(np.float32)

    def rotation(self):
        """7.6."""
        q = self.q
        contexts = [self.twist_class, self.swing_class, self.swing_class]
        codes = self.streams("ROTN", contexts, [q.classes + 2, q.classes + 1, q.classes + 1])
        r, a, b = (entropy.unzigzag(c) * (q.rotation_step * factor(k)) for c, k in zip(codes.T, contexts))
        r = np.clip(r, -0.9, 0.9)
        square = a * a + b * b
        shrink = np.where(square > 0.98, np.sqrt(0.98 / np.maximum(square, 0.98)), 1.0)
        a, b = a * shrink, b * shrink
        C, k = np.sqrt(1.0 - r * r), np.sqrt(1.0 - a * a - b * b)
        return np.stack([k * C, k * r, a * C + b * r, b * C - a * r], axis=1).astype(np.float32)

    def color(self):
        """7.7."""
        per_block = max(self.chunks["COLR"].per_block, 1)
        codes = entropy.unzigzag(self.streams("COLR", [self.color_class] * 3, [self.q.classes + 1] * 3))
        steps = (self.q.color_step * factor(self.color_class)).tolist()
        y = np.zeros((self.count, 3))
        for k in range(3):
            out, previous = [], 0.0
            for i, (d, step) in enumerate(zip(codes[:, k].tolist(), steps)):
                if i % per_block == 0:
                    previous = 0.8660254037844386 if k == 0 else 0.0
                value = (d + round(previous / step)) * step
                previous = 0.5 * (previous + value)
                out.append(value)
            y[:, k] = out
        return ((y @ COLOR_BASIS - 0.5) / SH_C0).astype(np.float32)

    def harmonics(self):
        """7.8."""
        chunk, width = self.chunks["SHCO"], 3 * ((self.splats.degree + 1) ** 2 - 1)
        cursor = chunk.parameters()
        cursor.short = "SH_BASIS"
        flag = cursor.raw("B")
        require(flag <= 1, "SH_BASIS", f"SHCO flag {flag}")
        mean, basis = np.zeros(width), np.eye(width)
        if flag:
            mean = np.frombuffer(cursor.raw_bytes(2 * width), "<f2").astype(np.float64)
            basis = np.frombuffer(cursor.raw_bytes(2 * width * width), "<f2").astype(np.float64).reshape(width, width)
            require(np.isfinite(mean).all() and np.isfinite(basis).all(), "SH_BASIS", "a basis that is not finite")
        tables, at = self.table_sets("SHCO", cursor, [5] * width), 0
        steps = self.q.sh_step * factor(np.minimum(self.color_class, 4))

        def decode(block, n):
            nonlocal at
            codes = np.zeros((n, width), np.int64)
            for k in range(width):
                s = np.abs(codes[:, max(0, k - 6) : k]).sum(axis=1)
                context = sum((s >= limit).astype(np.int64) for limit in (1, 3, 6, 10))
                codes[:, k] = entropy.signed_values(block, chunk.codec, context, tables[k])
            y = np.sign(codes) * (np.abs(codes) + 0.05) * steps[at : at + n, None]
            at += n
            return (mean + y @ basis).astype(np.float32)

        return joined(chunk.read(decode), (0, width))


def every_third_bit(keys):
    """Bits 0, 3, 6 … of keys, moved together."""
    out = np.zeros(keys.shape, np.uint64)
    for k in range(21):
        out |= (keys >> np.uint64(3 * k) & np.uint64(1)) << np.uint64(k)
    return out.astype(np.int64)


def joined(parts, empty_shape):
    """Blocks as one array."""
    return np.concatenate(parts) if parts else np.zeros(empty_shape, np.float32)


def read_splats(file, splats):
    """All attributes, layers one after the other."""
    quantization = read_quantization(file)
    layers = [Layer(file, splats, quantization, k).decode() for k in range(len(splats.layers))]
    return {name: np.concatenate([layer[name] for layer in layers]) for name in layers[0]}
