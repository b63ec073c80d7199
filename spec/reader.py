#!/usr/bin/env python3
"""Reads a `.gav` file of version 1.x: `reader.py FILE [--json OUT]`, or compares it: `reader.py --check FILE EXPECTED.json`.

On refusal prints `CODE: message` (gav.md, section 11) and exits with 1.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from gavread.container import File  # noqa: E402
from gavread.errors import Refused  # noqa: E402
from gavread.hashing import xxh3_64  # noqa: E402
from gavread.rigs import Parts  # noqa: E402
from gavread.splats import read_splat_set, read_splats  # noqa: E402


class Avatar:
    """Everything a file says: `splats` (6.1), `arrays` by name, `documents` (JSON) by chunk type."""

    def __init__(self, data):
        file = File(data)
        self.file, self.splats = file, read_splat_set(file)
        self.arrays = read_splats(file, self.splats)
        parts = Parts(file, self.splats).read()
        self.arrays |= parts.arrays
        self.documents = parts.documents
        self.restore_order()

    def restore_order(self):
        """Puts everything that is per splat back into the order of the source (6.3)."""
        order = self.arrays.pop("order", None)
        if order is None:
            return
        stored = np.argsort(order)
        for name, array in self.arrays.items():
            axis = 1 if name.startswith(("frames/", "blendshape/", "morphs")) and name != "frames/times" else 0
            if axis == 1 or not name.startswith(("clip/", "mesh/", "mlp/", "skin/", "frames/", "thumbnail")):
                self.arrays[name] = np.take(array, stored, axis=axis)
        if "skin/counts" in self.arrays:
            ends = np.cumsum(self.arrays["skin/counts"], dtype=np.int64)
            counts = self.arrays["skin/counts"][stored]
            rows = np.concatenate([np.arange(e - c, e) for e, c in zip(ends[stored], counts)])
            self.arrays["skin/counts"] = counts
            for name in ("skin/joints", "skin/weights"):
                self.arrays[name] = self.arrays[name][rows]


def read(path):
    """Reads a file from disk."""
    return Avatar(pathlib.Path(path).read_bytes())


def splat_set(avatar):
    """The fields of `SSET` that are compared."""
    keys = ("count", "degree", "render_model", "color_space", "rig", "blendshapes", "frame", "layers", "metres_per_unit")
    return {key: getattr(avatar.splats, key) for key in keys}


def picked_rows(count):
    """The rows that a description shows."""
    return sorted({count // 3, count - 1}) if count else []


def describe(array):
    """Shape, type, digest, mean magnitude and a few rows of an array; numbers that are not finite count as 0."""
    rows = array.reshape(len(array), -1) if array.size else np.zeros((0, 1))
    safe = np.nan_to_num(rows.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return {
        "shape": list(array.shape),
        "type": array.dtype.name,
        "xxh3": f"{xxh3_64(np.ascontiguousarray(array).tobytes()):016x}",
        "mean": float(np.abs(safe).mean()) if safe.size else 0.0,
        "rows": [[k, [float(v) for v in safe[k][:6]]] for k in picked_rows(len(rows))],
    }


def summary(avatar):
    """What `--json` writes: the splat set, documents, and a description of every array."""
    unknown = [c.kind for c in avatar.file.chunks if not File.is_known(c.kind)]
    arrays = {name: describe(array) for name, array in avatar.arrays.items()}
    return {"splat_set": splat_set(avatar), "unknown": unknown, "documents": avatar.documents, "arrays": arrays}


def differences(found, expected, where=""):
    """Where two JSON values differ; numbers may differ by 10⁻⁶, parts that are not expected are ignored."""
    if isinstance(expected, dict) and isinstance(found, dict):
        missing = [f"{where}/{key}: missing" for key in expected if key not in found and key != "about"]
        return missing + [d for key in expected if key in found for d in differences(found[key], expected[key], f"{where}/{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        return [d for k, (f, e) in enumerate(zip(found, expected)) for d in differences(f, e, f"{where}/{k}")]
    numbers = all(isinstance(v, (int, float)) for v in (found, expected))
    if found == expected or numbers and abs(found - expected) <= 1e-6 * (1 + abs(expected)):
        return []
    return [f"{where}: {found} instead of {expected}"]


def check(path, expected_path):
    """Differences between what a file holds and what its JSON says; `error` names the code of a refusal."""
    expected = json.loads(pathlib.Path(expected_path).read_text())
    try:
        avatar = read(path)
    except Refused as refusal:
        return [] if refusal.code == expected.get("error") else [f"{refusal}, expected {expected.get('error', 'success')}"]
    if "error" in expected:
        return [f"read, expected {expected['error']}"]
    found = summary(avatar)
    extra = [f"arrays/{name}: not expected" for name in found["arrays"] if name not in expected["arrays"]]
    return extra + differences(found, expected)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("expected", nargs="?")
    parser.add_argument("--json", metavar="OUT", help="write a description as JSON, `-` for the terminal")
    parser.add_argument("--check", action="store_true", help="compare with EXPECTED")
    options = parser.parse_args()
    if options.check:
        found = check(options.file, options.expected or pathlib.Path(options.file).with_suffix(".json"))
        print("\n".join(found) or f"{options.file}: as expected")
        return 1 if found else 0
    try:
        avatar = read(options.file)
    except Refused as refusal:
        print(refusal)
        return 1
    if options.json:
        text = json.dumps(summary(avatar), indent=1, ensure_ascii=False)
        print(text) if options.json == "-" else pathlib.Path(options.json).write_text(text + "\n")
        return 0
    for key, value in splat_set(avatar).items():
        print(f"{key:16} {value}")
    for name, array in avatar.arrays.items():
        print(f"{name:40} {array.dtype.name:8} {' × '.join(map(str, array.shape))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
