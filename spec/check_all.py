#!/usr/bin/env python3
"""Reads every `.gav` of `spec/conformance` with `reader.py` and compares each with its JSON, then larger files that the Rust
encoder writes for the occasion (left out with a note when there is no cargo). Given folders, checks those instead.

Prints what differs and `N passed, M failed`; exits with 1 when anything failed.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

from reader import check

HERE = pathlib.Path(__file__).resolve().parent


def check_folder(folder):
    """Passed and failed files of a folder."""
    passed = failed = 0
    for path in sorted(pathlib.Path(folder).glob("*.gav")):
        try:
            found = check(path, path.with_suffix(".json"))
        except Exception as error:  # a reader that stumbles has not refused the file
            found = [f"the reader failed: {error!r}"]
        passed, failed = passed + (not found), failed + bool(found)
        for line in found[:8]:
            print(f"{path.name}: {line}")
    return passed, failed


def check_fresh():
    """Files of the encoder as it is now."""
    if shutil.which("cargo") is None:
        print("SKIPPED: no cargo, so no files of the current encoder")
        return 0, 0
    with tempfile.TemporaryDirectory() as folder:
        make = ["cargo", "run", "--quiet", "-p", "gav-tests", "--bin", "make_conformance", "--", "--fresh", folder]
        subprocess.run(make, cwd=HERE.parent, check=True)
        return check_folder(folder)


def main():
    """The command line."""
    results = [check_folder(f) for f in sys.argv[1:]] or [check_folder(HERE / "conformance"), check_fresh()]
    passed, failed = (sum(r[k] for r in results) for k in (0, 1))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
