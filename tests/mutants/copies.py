"""Copies of the tree in which mutations are planted and tests run."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutation import ROOT, Mutation

#: Tests that take longer hang, which kills the mutation, too (seconds).
DEADLINE_SECONDS = 900.0
#: What git does not know and the tests need: the compiled modules.
_COMPILED = "*.so"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutation: the first test that failed, or none; and how pytest ended."""

    mutation: Mutation
    failure: str
    summary: str
    seconds: float

    def text(self) -> str:
        """Return a line, and a second one with the test."""
        word = "killed  " if self.failure else "SURVIVED"
        by = f"by {self.failure}" if self.failure else self.summary
        return f"{word} {self.seconds:5.1f} s  {self.mutation.name}\n{' ' * 19}{by}"


def fill(copy: Path) -> None:
    """Copy what git lists, changed or not, and the compiled modules."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
    compiled = (path for room in ("backends", "core") for path in (ROOT / room).rglob(_COMPILED))
    files = [ROOT / name for name in names.decode().split("\0") if name]
    for path in (*files, *compiled):
        if path.is_file():
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def fail_without(mutations: Iterable[Mutation], copies: list[Path]) -> str:
    """Run the tests of all mutations without any; return the first that fails, or nothing."""
    nearest = sorted({test for one in mutations for test in one.tests})
    # A file once, and not also some of its tests.
    nearest = [
        test for test in nearest if "::" not in test or test.partition("::")[0] not in nearest
    ]
    shares = [nearest[number :: len(copies)] for number in range(len(copies))]
    with ThreadPoolExecutor(len(copies)) as pool:
        busy = [(copy, share) for copy, share in zip(copies, shares, strict=True) if share]
        outcomes = pool.map(lambda one: _outcome(*one), busy)
        return next((failure for failure, _ in outcomes if failure), "")


def tried(mutation: Mutation, copy: Path) -> Result:
    """Plant a mutation in a copy, run its tests, and take it out again."""
    began = time.monotonic()
    path = copy / mutation.file
    unchanged = path.read_text("utf-8")
    path.write_text(mutation.applied_to(unchanged), "utf-8")
    try:
        failure, summary = _outcome(copy, mutation.tests)
    finally:
        path.write_text(unchanged, "utf-8")
    return Result(mutation, failure, summary, time.monotonic() - began)


def _outcome(copy: Path, tests: Iterable[str]) -> tuple[str, str]:
    """Return the first test that fails in the copy, or "", and the last line of pytest.

    A hang is a failure.
    """
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
        return f"the deadline of {DEADLINE_SECONDS:.0f} s", ""
    said = done.stdout.decode(errors="replace")
    if done.returncode not in (0, 1):  # the tests did not run at all
        raise RuntimeError(said[-2000:] + done.stderr.decode(errors="replace")[-2000:])
    lines = said.splitlines()
    failed = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return failed[0].partition(" ")[2].partition(" - ")[0] if failed else "", lines[-1]
