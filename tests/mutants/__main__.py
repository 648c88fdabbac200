"""Plant one bug at a time in a copy of the tree, and let the tests nearest to it find it.

    python -m tests.mutants [--list] [part of a name …]

Prints each mutation with `killed` or `SURVIVED`, and the share that was killed. Ends with 1 when
the share is too small, and with 2 when the tests fail without a mutation.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.mutants.mutation import ROOT, Mutation
from tests.mutants.table import mutations

KILLED_SHARE_MIN = 0.95
#: Tests that take longer hang, which kills the mutation, too (seconds).
DEADLINE_SECONDS = 900.0
#: What git does not know and the tests need: the compiled modules.
_COMPILED = "*.so"


def main() -> int:
    """Run the mutations whose names fit the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", help="parts of names; all mutations without any")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    options = parser.parse_args()
    chosen = [one for one in mutations() if _fits(one.name, options.parts)]
    if options.list:
        sys.stdout.write("".join(f"{one.name}\n" for one in chosen))
        return 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        return _run(chosen, Path(directory))


def _fits(name: str, parts: list[str]) -> bool:
    return not parts or any(part in name for part in parts)


def _run(chosen: list[Mutation], copy: Path) -> int:
    _fill(copy)
    nearest = sorted({test for one in chosen for test in one.tests})
    if failure := _failure(copy, nearest):
        _say(f"without a mutation fails {failure}")
        return 2
    survived = [one for one in chosen if not _killed(one, copy)]
    share = 1 - len(survived) / len(chosen) if chosen else 1.0
    _say(f"{len(chosen) - len(survived)} of {len(chosen)} killed: {share:.1%}")
    for one in survived:
        _say(f"survived: {one.name}")
    return int(share < KILLED_SHARE_MIN)


def _fill(copy: Path) -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
    compiled = (path for room in ("backends", "core") for path in (ROOT / room).rglob(_COMPILED))
    files = [ROOT / name for name in names.decode().split("\0") if name]
    for path in (*files, *compiled):
        if path.is_file():
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def _killed(mutation: Mutation, copy: Path) -> bool:
    began = time.monotonic()
    path = copy / mutation.file
    unchanged = path.read_text("utf-8")
    path.write_text(mutation.applied_to(unchanged), "utf-8")
    try:
        failure = _failure(copy, mutation.tests)
    finally:
        path.write_text(unchanged, "utf-8")
    word = "killed  " if failure else "SURVIVED"
    by = f"\n                   by {failure}" if failure else ""
    _say(f"{word} {time.monotonic() - began:5.1f} s  {mutation.name}{by}")
    return bool(failure)


def _failure(copy: Path, tests: Iterable[str]) -> str:
    """Return the first test that fails in the copy, or nothing; a hang is a failure."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the deadline of {DEADLINE_SECONDS:.0f} s"
    said = done.stdout.decode(errors="replace")
    if done.returncode not in (0, 1):  # the tests did not run at all
        raise RuntimeError(said[-2000:] + done.stderr.decode(errors="replace")[-2000:])
    failed = [line for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return failed[0].partition(" ")[2].partition(" - ")[0] if failed else ""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
