#!/usr/bin/env python3
"""Reads every `.gav` of some folders (`spec/conformance` when none is named) with `reader.py` and compares each with its JSON.

Prints what differs and `N passed, M failed`; exits with 1 when anything failed. Files that the Rust writer makes now, for a
comparison with this reader: `cargo run -p gav-tests --bin make_conformance -- --to FOLDER`, then `check_all.py FOLDER`.
"""

import pathlib
import sys

from reader import check


def main():
    """The command line."""
    folders = [pathlib.Path(p) for p in sys.argv[1:]] or [pathlib.Path(__file__).resolve().parent / "conformance"]
    passed = failed = 0
    for path in sorted(p for folder in folders for p in folder.glob("*.gav")):
        try:
            found = check(path, path.with_suffix(".json"))
        except Exception as error:  # a reader that stumbles has not refused the file
            found = [f"the reader failed: {error!r}"]
        passed, failed = passed + (not found), failed + bool(found)
        for line in found[:8]:
            print(f"{path.name}: {line}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
