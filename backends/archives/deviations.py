"""How what an archive meets differs from its plan: others work in the folder meanwhile.

A file that grew is sent with its planned length, and its name is kept. A file that cannot be sent
whole ends the archive. In a tolerant archive it is left out instead, or sent with what is there,
and a text at the end of the archive names every such entry.
"""

import os
import tempfile
import threading
from collections.abc import Iterator

from backends.archives.plan import MEMORY_BYTES, ArchiveEntry, Batch, Plan

#: Entries that the log names.
EXAMPLES_MAX = 10
#: The name of the text in a tolerant archive, at its top.
REPORT_NAME = b"archive-report.txt"

GREW = "It grew or was rewritten while the archive was made; it has the length that was planned."
CHANGED = "It changed while the archive was made; the archive has what was met."
SHORTER = "It became shorter while the archive was made; the archive has what was left."
GONE = "It was removed, renamed or replaced before its turn."

_HEAD = "These entries changed while the archive was made, or are not in it.\n\n"


class Deviations:
    """The deviations of one archive, in the order in which they were met. Safe between threads."""

    def __init__(self, *, tolerant: bool = False) -> None:
        self.tolerant = tolerant
        self.count = 0
        self.examples: list[str] = []
        self._lock = threading.Lock()
        #: The lines of the report; only a tolerant archive has one.
        self._lines: tempfile.SpooledTemporaryFile[bytes] | None = None

    def add(self, path: bytes, reason: str) -> None:
        """Keep the path below the top of an entry that is not as planned, with the reason."""
        with self._lock:
            self.count += 1
            if len(self.examples) < EXAMPLES_MAX:
                self.examples.append(os.fsdecode(path))
            if self.tolerant:
                if self._lines is None:
                    self._lines = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - closed by close()
                self._lines.write(path + b": " + reason.encode() + b"\n")

    def report(self) -> Iterator[bytes]:
        """Yield the text that names all of them, in pieces."""
        yield _HEAD.encode()
        if self._lines is None:
            return
        self._lines.seek(0)
        while piece := self._lines.read(MEMORY_BYTES):
            yield piece

    def report_entry(self, plan: Plan) -> ArchiveEntry:
        """Return the entry of the text, with a name that no planned entry has."""
        size = len(_HEAD) + (self._lines.tell() if self._lines else 0)
        name = REPORT_NAME
        while any(_has(batch, name) for batch in plan.batches()):
            name = b"-" + name
        return ArchiveEntry(name, 0o100644, size, plan.made_ns, 0, b"", is_file=True)

    def close(self) -> None:
        """Remove the text's temporary file."""
        if self._lines is not None:
            self._lines.close()


def _has(batch: Batch, name: bytes) -> bool:
    return any(batch.prefix + entry.name == name for entry in batch.entries)
