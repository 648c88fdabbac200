"""The RapidFile Toolkit: Pure's parallel programs for trees, as far as their output is known.

Its documentation is not public. This file follows the published output of versions 1 and 2. `pdu`
counts a tree faster than one client can walk it. `prm` removes one, where the options allow it.
"""

import os
import shutil
import subprocess
from pathlib import Path

from backends.base import TreeUsage
from core.errors import BackendFailed, DeadlineExceeded
from core.process import run_command

#: A count that takes longer is stopped (seconds).
COUNT_SECONDS = 30.0
_VERSION_SECONDS = 5.0
_MARK = "RapidFile"


class RapidFile:
    """The programs in one directory, or on PATH."""

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        self._proved: dict[str, str] = {}

    def found(self) -> bool:
        """Return whether RapidFile's `pdu` is installed; other programs share its name."""
        return self._pdu() is not None

    def count(self, top: Path) -> TreeUsage:
        """Return entries and bytes below a directory; the last record is the directory itself.

        Raises:
            BackendFailed: the program is not installed, or could not read everything.
            DeadlineExceeded: the program takes too long.
        """
        program = self._pdu()
        if program is None:
            raise BackendFailed("RapidFile's program `pdu` is not on this node.")
        records = _run([program, "-0", "-b", "-a", str(top)], COUNT_SECONDS).split("\0")[:-1]
        if not records:
            raise BackendFailed("RapidFile's program `pdu` output nothing.")
        size = records[-1].partition("\t")[0]
        if not size.isdecimal():
            raise BackendFailed("RapidFile's program `pdu` output something that is no size.")
        return TreeUsage(file_count=len(records) - 1, used_bytes=int(size))

    def remove(self, tree: Path, seconds: float) -> bool:
        """Remove a tree by `prm`, which has this long; return whether the program is installed.

        It follows no links, as rm(1). What it leaves, the caller removes.

        Raises:
            BackendFailed: the program could not remove everything.
            DeadlineExceeded: the program takes too long, and was stopped.
        """
        program = self._program("prm")
        if program is not None:
            _run([program, "-r", str(tree)], seconds)
        return program is not None

    def _pdu(self) -> str | None:
        return self._program("pdu")

    def _program(self, name: str) -> str | None:
        """Return the path of a program; its version text tells it from others of the name."""
        if name not in self._proved:
            program = shutil.which(name, path=self._directory)
            if program and _MARK in _run([program, "--version"], _VERSION_SECONDS):
                self._proved[name] = program
        return self._proved.get(name)


def _run(command: list[str], seconds: float) -> str:
    try:
        done = run_command(command, seconds, env={**os.environ, "LC_ALL": "C"})
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded("RapidFile's program did not end in time.") from None
    if done.returncode != 0:
        raise BackendFailed(f"RapidFile's program failed (status {done.returncode}).")
    return done.stdout
