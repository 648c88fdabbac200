"""Stacks and sorters of any size in a bounded amount of memory.

Both keep a limited number of records in memory. They move the rest in blocks to an unlinked file in
the system's temporary directory, so a tree of any size costs the same memory.
"""

import heapq
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, cast

#: Records that one backlog or sorter keeps in memory.
RECORDS_IN_MEMORY = 32768
_LENGTH_BYTES = 4


class Backlog:
    """A stack of texts. Last in, first out: work goes depth first, so the stack stays short."""

    def __init__(self, in_memory: int = RECORDS_IN_MEMORY) -> None:
        self._hot: list[str] = []
        self._half = max(1, in_memory // 2)
        self._file: BinaryIO | None = None
        self._blocks: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._hot) + len(self._blocks) * self._half

    def push(self, text: str) -> None:
        """Put one text on top. It must not contain NUL."""
        self._hot.append(text)
        if len(self._hot) > self._half * 2:
            self._spill()

    def pop(self) -> str | None:
        """Remove and return the top text, or return None when the stack is empty."""
        if not self._hot and self._blocks:
            self._load()
        return self._hot.pop() if self._hot else None

    def close(self) -> None:
        """Delete the temporary file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _spill(self) -> None:
        if self._file is None:
            self._file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - closed by close()
        block = "\0".join(self._hot[: self._half]).encode("utf-8", "surrogateescape")
        offset = sum(self._blocks[-1]) if self._blocks else 0
        self._file.seek(offset)
        self._file.write(block)
        self._blocks.append((offset, len(block)))
        del self._hot[: self._half]

    def _load(self) -> None:
        offset, size = self._blocks.pop()
        file = cast("BinaryIO", self._file)
        file.seek(offset)
        self._hot = file.read(size).decode("utf-8", "surrogateescape").split("\0")


class Sorter:
    """Accepts byte strings in any order and yields them sorted, once."""

    def __init__(self, in_memory: int = RECORDS_IN_MEMORY) -> None:
        self._hot: list[bytes] = []
        self._limit = in_memory
        self._runs: list[BinaryIO] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, record: bytes) -> None:
        """Add one record."""
        self._hot.append(record)
        self._count += 1
        if len(self._hot) >= self._limit:
            self._spill()

    def __iter__(self) -> Iterator[bytes]:
        self._hot.sort()
        return heapq.merge(self._hot, *(_read_run(run) for run in self._runs))

    def close(self) -> None:
        """Delete the temporary files."""
        for run in self._runs:
            run.close()
        self._runs.clear()

    def _spill(self) -> None:
        run = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - closed by close()
        self._hot.sort()
        for record in self._hot:
            run.write(len(record).to_bytes(_LENGTH_BYTES, "big") + record)
        self._runs.append(run)
        self._hot.clear()


def _read_run(run: BinaryIO) -> Iterator[bytes]:
    run.seek(0)
    while head := run.read(_LENGTH_BYTES):
        yield run.read(int.from_bytes(head, "big"))
