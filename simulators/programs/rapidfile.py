#!/usr/bin/env python3
"""A stand-in for RapidFile's `pdu` and `prm`: as versions 1 and 2 were seen, on real trees.

It is the program by whose name it is started.

`RAPIDFILE_VERSION` is 1 or 2 (the default). `RAPIDFILE_FAULT` is `fail` or `garbage`.
"""

import os
import shutil
import sys
from pathlib import Path

VERSIONS = {"1": "{} (RapidFile Toolkit) 1.0.0", "2": "version {} (RapidFile) 2.1.1"}
FLAGS = ["-0", "-b", "-a"]


def main() -> int:
    words = sys.argv[1:]
    program = Path(sys.argv[0]).name
    if words == ["--version"]:
        print(VERSIONS[os.environ.get("RAPIDFILE_VERSION", "2")].format(program))
        return 0
    if program == "prm":
        return remove(words)
    if words[:-1] != FLAGS:
        print("usage: pdu [-0] [-b] [-a] PATH", file=sys.stderr)
        return 2
    fault = os.environ.get("RAPIDFILE_FAULT", "")
    if fault == "fail":
        return 1
    if fault == "garbage":
        print("what?\0", end="")
        return 0
    measure(Path(words[-1]), set())
    return 0


def remove(words: list[str]) -> int:
    """Remove trees; what cannot be removed stays, and the others go."""
    if words[:1] != ["-r"] or len(words) < 2:
        print("usage: prm -r PATH...", file=sys.stderr)
        return 2
    failed = 0
    for word in words[1:]:
        path = Path(word)
        if os.environ.get("RAPIDFILE_FAULT") == "fail" or not path.exists():
            failed = 1
        else:
            shutil.rmtree(path)
    return failed


def measure(path: Path, seen: set[int]) -> int:
    """A record per entry, what is below first; directories add up what they hold."""
    if path.is_dir() and not path.is_symlink():
        size = sum(measure(below, seen) for below in sorted(path.iterdir()))
    else:
        found = path.lstat()
        size = found.st_size if path.is_file() and not path.is_symlink() else 0
        size = 0 if found.st_ino in seen else size
        seen.add(found.st_ino)
    sys.stdout.buffer.write(b"%d\t%s\0" % (size, os.fsencode(path)))
    return size


sys.exit(main())
