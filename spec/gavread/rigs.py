"""Rigs, clips and everything else that is not a splat attribute (gav.md, sections 6.3 to 6.18)."""

import json
import struct

import numpy as np

from . import entropy
from .blocks import Block
from .container import parse_json
from .errors import Refused, require
from .splats import joined

INTEGER_TYPES = ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f2", "<f4", "<f8")
INTERPOLATIONS = ("step", "linear", "slerp")
ACTIVATIONS = ("none", "relu", "sigmoid", "tanh")
FAMILIES = ("none", "flame2020", "flame2023", "smplx", "smpl", "custom")


def check_name(name, where):
    """Names are free of control characters and at most 64 KiB (6)."""
    require(isinstance(name, str) and len(name.encode()) <= 65536, "NAME", f"{where}: not a name")
    require(not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in name), "NAME", f"{where}: {name!r} has control characters")


def check_finite(values, code, where):
    """Numbers of rigs are finite (10)."""
    require(np.isfinite(np.asarray(values, np.float64)).all(), code, f"{where}: a number is not finite")


def uniform(block, rows, width, step):
    """`width` columns of a uniform step, or float columns for step 0 (5.4)."""
    if step == 0:
        return block.float_columns(rows, width)
    codes = np.stack([block.int_column(rows) for _ in range(width)], axis=1)
    return (codes.astype(np.float64) * step).astype(np.float32)


def check_steps(steps, where):
    """Steps are finite and not negative."""
    require(all(np.isfinite(s) and s >= 0 for s in steps), "STEP", f"{where}: steps {steps}")


def bitmap(data, count):
    """Row numbers of the set bits."""
    return np.flatnonzero(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[:count])


def safetensors(data, code):
    """Arrays and metadata of a safetensors file."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(bytes(data[8 : 8 + length]).decode("utf-8"))
        metadata = header.pop("__metadata__", {})
        types = {"F32": "<f4", "U32": "<u4", "F64": "<f8", "I32": "<i4", "U8": "u1", "F16": "<f2", "U16": "<u2", "I64": "<i8"}
        arrays = {}
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            require(0 <= start <= end <= len(data) - 8 - length, code, f"tensor {name} outside the file")
            arrays[name] = np.frombuffer(data[8 + length + start : 8 + length + end], types[entry["dtype"]]).reshape(entry["shape"])
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(code, f"safetensors: {error!r}") from error
    return arrays, metadata


class Parts:
    """Collects arrays (`self.arrays`) and JSON (`self.documents`) of a file."""

    def __init__(self, file, splats):
        self.file, self.splats, self.n = file, splats, splats.count
        self.arrays, self.documents = {}, {}

    def read(self):
        """Every known chunk that is not part of the splats, then what must be there."""
        self.check_presence()
        readers = {"oRDR": self.order, "SKEL": self.skeleton, "SKIN": self.skin, "MRPH": self.morphs, "TRIB": self.triangles,
                   "GBLS": self.blendshapes, "MLPW": self.network, "FRMS": self.frames, "TMPL": self.template, "mESh": self.mesh,
                   "dRVr": self.drivers, "aNIm": self.clip, "cAMs": self.document, "tHMB": self.thumbnail, "xATT": self.attribute,
                   "rEST": self.rest, "mETa": self.metadata}
        for chunk in self.file.chunks:
            if chunk.kind in readers:
                try:
                    readers[chunk.kind](chunk)
                except (KeyError, TypeError, AttributeError) as error:
                    raise Refused("JSON", f"{chunk.kind}: not the keys and types it should have: {error!r}") from error
        self.check_triangles()
        return self

    def check_presence(self):
        """The chunks must make the rig kind that `SSET` announces (6.1)."""
        skin, morphs, triangles, frames, blendshapes = (self.file.find(k) is not None for k in ("SKIN", "MRPH", "TRIB", "FRMS", "GBLS"))
        require(skin + triangles + frames <= 1, "RIG_KIND", "more than one of SKIN, TRIB and FRMS")
        kinds = (2, 3, 4) if triangles else (7 if morphs else 1,) if skin else (6,) if frames else (0,)
        require(self.splats.rig in kinds, "RIG_KIND", f"SSET announces rig kind {self.splats.rig}, the chunks make {kinds}")
        require(self.splats.blendshapes == blendshapes, "RIG_KIND", "blendshapes that SSET does not announce, or none that it does")

    def per_splat(self, chunk):
        """A chunk with one element per splat."""
        require(chunk.elements == self.n, "ELEMENTS", f"{chunk.kind}: {chunk.elements} elements for {self.n} splats")

    def document(self, chunk):
        """A JSON chunk that is kept as it is."""
        self.documents[chunk.kind] = chunk.json()

    def metadata(self, chunk):
        """6.18."""
        self.document(chunk)
        require(isinstance(self.documents["mETa"], dict), "JSON", "mETa is no object")

    def order(self, chunk):
        """6.3."""
        self.per_splat(chunk)
        order = joined(chunk.read(lambda block, n: block.int_column(n)), (0,)).astype(np.int64)
        require((np.sort(order) == np.arange(self.n)).all(), "ORDER", "not a permutation")
        self.arrays["order"] = order.astype(np.uint32)

    def skeleton(self, chunk):
        """6.4."""
        joints = chunk.json()["joints"]
        require(len(joints) <= 4096, "INCONSISTENT", f"{len(joints)} joints")
        for k, joint in enumerate(joints):
            check_name(joint["name"], "joint")
            parent = joint["parent"]
            require(parent is None or parent >= 0, "JSON", f"joint {k} has parent {parent}")
            require(parent is None or parent < k, "INCONSISTENT", f"joint {k} has parent {parent}")
            for key in ("translation", "rotation", "scale", "inverse_bind"):
                check_finite(joint[key], "INCONSISTENT", f"joint {k}")
        self.documents["SKEL"] = {"joints": joints}

    def skin(self, chunk):
        """6.5."""
        self.per_splat(chunk)
        flags, bits = chunk.fixed_parameters("BB")
        require(flags <= 1 and bits <= 16, "PARAMETERS", f"flags {flags}, {bits} bits")
        joints = len(self.documents["SKEL"]["joints"]) if "SKEL" in self.documents else len(self.file.need("SKEL").json()["joints"])

        def decode(block, n):
            counts = np.frombuffer(block.stream(n), np.uint8)
            require(((counts >= 1) & (counts <= 8)).all(), "SKIN", "an influence count outside 1…8")
            index, weight = np.zeros((n, 8), np.int64), np.zeros((n, 8), np.float32)
            for slot in range(8):
                rows = np.flatnonzero(counts > slot)
                index[rows, slot] = block.int_column(len(rows))
                if bits == 0:
                    weight[rows, slot] = block.float_columns(len(rows), 1)[:, 0]
                elif slot > 0:
                    weight[rows, slot] = block.int_column(len(rows)) / (2**bits - 1)
            if bits:
                weight[:, 0] = 1.0 - weight[:, 1:].astype(np.float64).sum(axis=1)
            return counts, index, weight

        blocks = chunk.read(decode)
        counts, index, weight = (joined([b[k] for b in blocks], (0,) if k == 0 else (0, 8)) for k in range(3))
        require(((index >= 0) & (index < joints)).all(), "INCONSISTENT", "a joint that does not exist")
        check_finite(weight, "INCONSISTENT", "weights")
        require((np.abs(weight.astype(np.float64).sum(axis=1) - 1) <= 1e-3).all(), "INCONSISTENT", "weights do not sum to 1")
        rows = [np.arange(8) < c for c in counts]
        keep = np.stack(rows) if rows else np.zeros((0, 8), bool)
        self.arrays |= {"skin/counts": counts.astype(np.uint8), "skin/joints": index[keep].astype(np.uint32), "skin/weights": weight[keep]}
        self.documents["SKIN"] = {"full_covariance": bool(flags)}

    def morphs(self, chunk):
        """6.6."""
        cursor = chunk.parameters()
        step = cursor.raw("d")
        check_steps([step], "MRPH")
        drivers = self.names(parse_json(cursor.take(len(cursor.data) - 8), "MRPH"), chunk.elements, "ELEMENTS")

        def decode(block, targets):
            row_bytes = (self.n + 7) // 8
            bits = block.stream(targets * row_bytes)
            out = np.zeros((targets, self.n, 3), np.float32)
            rows = [bitmap(bits[k * row_bytes : (k + 1) * row_bytes], self.n) for k in range(targets)]
            values = uniform(block, sum(map(len, rows)), 3, step)
            for target, part in zip(out, np.split(values, np.cumsum([len(r) for r in rows])[:-1])):
                target[rows.pop(0)] = part
            return out

        self.arrays["morphs"] = joined(chunk.read(decode), (0, self.n, 3))
        self.documents["MRPH"] = {"drivers": drivers}

    @staticmethod
    def names(names, count, code="INCONSISTENT"):
        """A JSON array of driver names, one per element."""
        require(isinstance(names, list), "JSON", "no list of names")
        require(len(names) == count, code, f"driver names for {count} elements")
        for name in names:
            check_name(name, "driver")
        return names

    def triangles(self, chunk):
        """6.7."""
        self.per_splat(chunk)
        step, kind = chunk.fixed_parameters("dB")
        check_steps([step], "TRIB")
        require(kind in (2, 3, 4), "PARAMETERS", f"triangle frame {kind}")
        require(kind == self.splats.rig, "RIG_KIND", f"triangle frame {kind} in a rig of kind {self.splats.rig}")

        def decode(block, n):
            triangle = block.int_column(n)
            if kind != 4:
                return triangle, np.zeros((n, 0), np.float32)
            if step == 0:
                return triangle, block.float_columns(n, 3)
            two = uniform(block, n, 2, step)
            third = (1.0 - two[:, 0].astype(np.float64) - two[:, 1]).astype(np.float32)
            return triangle, np.concatenate([two, third[:, None]], axis=1)

        blocks = chunk.read(decode)
        self.arrays["triangle/index"] = joined([b[0] for b in blocks], (0,)).astype(np.uint32)
        if kind == 4:
            barycentric = joined([b[1] for b in blocks], (0, 3))
            check_finite(barycentric, "INCONSISTENT", "barycentric coordinates")
            require((np.abs(barycentric.astype(np.float64).sum(axis=1) - 1) <= 1e-3).all(), "INCONSISTENT", "barycentric coordinates do not sum to 1")
            self.arrays["triangle/barycentric"] = barycentric

    def check_triangles(self):
        """Triangles are those of the template."""
        triangles, template = self.arrays.get("triangle/index"), self.documents.get("TMPL")
        if triangles is not None and template is not None:
            inside = not triangles.size or int(triangles.max()) < template.get("face_count", 0)
            require(inside, "INCONSISTENT", "a triangle that the template does not have")

    def blendshapes(self, chunk):
        """6.8, bases."""
        require(chunk.elements <= 1024, "INCONSISTENT", f"{chunk.elements} blendshape bases")
        require(chunk.per_block == 1 or chunk.elements == 0, "BLOCK_SIZE", "more than one basis in a block")
        cursor = chunk.parameters()
        *steps, present = cursor.raw("3dB")
        check_steps(steps, "GBLS")
        require(present <= 7, "PARAMETERS", f"GBLS bits {present}")
        names = parse_json(cursor.take(len(cursor.data) - cursor.at), "GBLS")
        if names is not None:
            self.names(names, chunk.elements)
        groups = [("position", 3), ("rotation", 4), ("sh0", 3)]

        def decode(block, _):
            out = []
            for k, (_, width) in enumerate(groups):
                if present >> k & 1:
                    rows = bitmap(block.stream((self.n + 7) // 8), self.n)
                    delta = np.zeros((self.n, width), np.float32)
                    delta[rows] = uniform(block, len(rows), width, steps[k])
                    out.append(delta)
            return out

        bases = chunk.read(decode)
        wanted = [(name, width) for k, (name, width) in enumerate(groups) if present >> k & 1]
        for k, (name, width) in enumerate(wanted):
            self.arrays["blendshape/" + name] = joined([b[k][None] for b in bases], (0, self.n, width))
        self.documents["GBLS"] = {"drivers": names}
        require(names is not None or self.file.find("MLPW"), "MISSING_CHUNK", "blendshapes without drivers and without MLPW")

    def network(self, chunk):
        """6.8, network."""
        arrays, metadata = safetensors(chunk.single(lambda block, _: block.run()), "MLP")
        try:
            inputs, activations = json.loads(metadata["inputs"]), json.loads(metadata["activations"])
        except (KeyError, TypeError, ValueError) as error:
            raise Refused("MLP", f"metadata: {error!r}") from error
        self.names(inputs, len(inputs))
        require(1 <= len(activations) and all(a in ACTIVATIONS for a in activations), "MLP", f"activations {activations}")
        require(len(activations) <= 8, "MLP", f"{len(activations)} layers")
        width = len(inputs)
        for k in range(len(activations)):
            weight, bias = arrays.get(f"{k}.weight"), arrays.get(f"{k}.bias")
            require(weight is not None and bias is not None, "MLP", f"layer {k} is missing")
            require(weight.dtype == bias.dtype == np.float32, "MLP", f"layer {k} is not f32")
            require(weight.ndim == 2 and weight.shape[1] == width and bias.shape == weight.shape[:1], "MLP", f"layer {k}: shapes")
            width = weight.shape[0]
            require(width <= 4096, "INCONSISTENT", f"layer {k} has {width} outputs")
            self.arrays |= {f"mlp/{k}.weight": weight, f"mlp/{k}.bias": bias}
        for array in arrays.values():
            check_finite(array, "MLP", "weights")
        bases = self.file.need("GBLS").elements
        require(width == bases, "INCONSISTENT", f"{width} outputs for {bases} bases")
        self.documents["MLPW"] = {"inputs": inputs, "activations": activations}

    def frames(self, chunk):
        """6.9."""
        require(chunk.elements <= 1 << 20 and chunk.per_block <= 4096, "PARAMETERS", f"{chunk.elements} frames")
        ticks, present, *steps = chunk.fixed_parameters("IB4d")
        check_steps(steps, "FRMS")
        require(present <= 15, "PARAMETERS", f"FRMS bits {present}")
        require(ticks > 0, "INCONSISTENT", "no ticks per second")
        groups = [("position", 3, 1), ("rotation", 4, 2), ("sh0", 3, 4), ("opacity", 1, 8)]

        def decode(block, frames):
            out = {"times": block.int_column(frames)}
            for (name, width, bit), step in zip(groups, steps):
                if not present & bit:
                    continue
                if step == 0:
                    columns = [block.float_columns(self.n, width) for _ in range(frames)] if self.n else []
                    out[name] = np.stack(columns) if columns else np.zeros((frames, 0, width), np.float32)
                    continue
                value = np.zeros((frames, self.n, width), np.float32)
                for k in range(width):
                    first = block.int_column(self.n).astype(np.int64)[None]
                    rest = block.int_column((frames - 1) * self.n).astype(np.int64).reshape(frames - 1, self.n)
                    codes = np.cumsum(np.concatenate([first, rest]), axis=0).astype(np.uint64).astype(np.uint32).view(np.int32)
                    value[..., k] = codes * step
                out[name] = value
            return out

        blocks = chunk.read(decode)
        for name in blocks[0] if blocks else ["times"]:
            self.arrays["frames/" + name] = joined([b[name] for b in blocks], (0,))
        self.arrays["frames/times"] = self.arrays["frames/times"].view(np.uint32)
        times = self.arrays["frames/times"].astype(np.int64)
        require((np.diff(times) > 0).all(), "INCONSISTENT", "frame times do not rise")
        self.documents["FRMS"] = {"ticks_per_second": ticks}

    def template(self, chunk):
        """6.10."""
        value = chunk.json()
        require(isinstance(value, dict) and value.get("family", "none") in FAMILIES, "JSON", "TMPL: no known family")
        for key in ("faces_hash", "arrays_hash"):
            text = value.get(key, "0" * 64)
            require(isinstance(text, str) and len(text) == 64 and set(text.lower()) <= set("0123456789abcdef"), "JSON", f"TMPL: {key}")
        if value.get("embedded"):
            require(value.get("licence"), "INCONSISTENT", "an embedded template without a licence")
            require(self.file.find("mESh"), "INCONSISTENT", "an embedded template without mESh")
        self.documents["TMPL"] = value

    def mesh(self, chunk):
        """6.11."""
        arrays, _ = safetensors(chunk.single(lambda block, _: block.run()), "TENSORS")
        positions, faces = arrays.get("positions"), arrays.get("faces")
        require(positions is not None and positions.ndim == 2 and positions.shape[1] == 3, "MESH", "positions")
        require(faces is not None and faces.ndim == 2 and faces.shape[1] == 3, "MESH", "faces")
        require(not faces.size or faces.max() < len(positions), "MESH", "a face index out of range")
        self.arrays |= {"mesh/" + name: array for name, array in arrays.items()}

    def drivers(self, chunk):
        """6.12."""
        value = chunk.json()
        for driver in value["drivers"]:
            check_name(driver["name"], "driver")
        for mapping in value["maps"]:
            inputs, outputs = len(mapping["inputs"]), len(mapping["outputs"])
            require(len(mapping["matrix"]) == inputs * outputs and len(mapping["offset"]) == outputs, "DRIVERS", f"map {mapping['name']}")
        self.documents["dRVr"] = value

    def clip(self, chunk):
        """6.13."""
        require(chunk.codec in (0, 2), "CODEC", f"aNIm: codec {chunk.codec}")

        def decode(block, _):
            header = parse_json(block.run(), "aNIm")
            for track in header["tracks"]:
                require(track["interpolation"] in INTERPOLATIONS, "CLIP", f"interpolation {track['interpolation']}")
                check_name(track["target"], "track")
                require(0 <= track["times"] < len(header["keys"]), "CLIP", f"times {track['times']}")
            lists = [block.int_column(keys).view(np.uint32) for keys in header["keys"]]
            tracks = [(track["target"], lists[track["times"]], track["width"]) for track in header["tracks"]]
            for _, times, _ in tracks:
                require((np.diff(times.astype(np.int64)) > 0).all(), "INCONSISTENT", "key times do not rise")
            if chunk.codec == 0:
                values = [block.float_columns(len(times), width) for _, times, width in tracks]
            else:
                values = clip_codes(block, [(len(times), width) for _, times, width in tracks])
            return header, [(*track[:2], v) for track, v in zip(tracks, values)]

        header, arrays = chunk.single(decode)
        check_name(header["name"], "clip")
        for target, times, values in arrays:
            self.arrays |= {f"clip/{header['name']}/{target}/times": times, f"clip/{header['name']}/{target}/values": values}
        self.documents.setdefault("aNIm", []).append(header)

    def thumbnail(self, chunk):
        """6.15."""
        kind = bytes(chunk.parameters().data).decode("latin-1")
        require(kind in ("image/png", "image/webp"), "THUMBNAIL", f"media type {kind!r}")
        image = chunk.single(lambda block, _: block.run())
        self.arrays["thumbnail"] = np.frombuffer(image, np.uint8)
        self.documents["tHMB"] = {"media_type": kind}

    def attribute(self, chunk):
        """6.16."""
        self.per_splat(chunk)
        cursor = chunk.parameters()
        kind, zero, width = cursor.raw("BBH")
        require(kind <= 8 and zero == 0 and 1 <= width <= 256, "ATTRIBUTE", f"type {kind}, width {width}")
        try:
            name = bytes(cursor.take(len(cursor.data) - 4)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Refused("ATTRIBUTE", f"xATT: {error}") from error
        check_name(name, "attribute")
        dtype = np.dtype(INTEGER_TYPES[kind])

        def decode(block, n):
            if kind == 7:
                return block.float_columns(n, width)
            size = dtype.itemsize * width
            rows = np.stack([np.frombuffer(block.stream(n), np.uint8) for _ in range(size)], axis=1)
            return rows.copy().view(dtype)

        self.arrays["attribute/" + name] = joined(chunk.read(decode), (0, width)).astype(dtype)

    def rest(self, chunk):
        """6.17."""
        self.per_splat(chunk)
        steps = chunk.parameters().raw("3d")
        check_steps(steps, "rEST")
        groups = ("position", 3), ("rotation", 4), ("log_scale", 3)
        blocks = chunk.read(lambda block, n: [uniform(block, n, width, step) for (_, width), step in zip(groups, steps)])
        for k, (name, width) in enumerate(groups):
            self.arrays["rest/" + name] = joined([b[k] for b in blocks], (0, width))


def clip_codes(block, shapes):
    """Values of all tracks of a clip with steps, from (keys, width) of each (6.13)."""
    tracks, moving = [], []
    for keys, width in shapes:
        step = block.raw("d")
        if step == 0:
            first = np.frombuffer(block.raw_bytes(4 * width * min(keys, 1)), "<f4")
            tracks.append(np.broadcast_to(first, (keys, width)) if keys else np.zeros((0, width), np.float32))
            continue
        predictor = block.raw("B")
        require(predictor <= 2 and np.isfinite(step) and step > 0 and keys > 0, "CLIP", f"step {step}, predictor {predictor}")
        moving.append((len(tracks), keys, width, step, predictor))
        tracks.append(None)
    firsts = block.int_column(sum(width for _, _, width, _, _ in moving)).tolist()
    lengths = [keys - 1 for _, keys, width, _, _ in moving for _ in range(width)]
    columns = iter(zip(firsts, clip_residuals(block, lengths)))
    for index, keys, width, step, predictor in moving:
        codes = [restore_codes(*next(columns), predictor) for _ in range(width)]
        values = np.array(codes, np.float64).reshape(width, keys) * step
        tracks[index] = values.T.astype(np.float32)
    return tracks


def clip_residuals(block, lengths):
    """One array of signed residuals for each column of that many."""
    classes = block.raw("B")
    groups = [-(-length // 16) for length in lengths]
    chosen = block.int_column(sum(groups))
    require(classes <= 8 and ((chosen >= 0) & (chosen < classes)).all(), "CLIP", f"{classes} classes")
    sizes = [min(16, length - start) for length in lengths for start in range(0, length, 16)]
    contexts = np.repeat(chosen, sizes) if sizes else np.zeros(0, np.int64)
    tables = entropy.TableSet(block, classes)
    codes = entropy.signed_values(block, 2, contexts, tables)
    return np.split(codes, np.cumsum(lengths)[:-1]) if lengths else []


def restore_codes(first, residuals, predictor):
    """Codes of one component from its first code and residuals; i32 arithmetic wraps."""
    wrap = lambda v: (v + 2**31) % 2**32 - 2**31
    out, before, last = [first], first, first
    for residual in residuals.tolist():
        further = wrap(last - before)
        guess = last + (0, further >> 1, further)[predictor]
        before, last = last, wrap(guess + residual)
        out.append(last)
    return out
