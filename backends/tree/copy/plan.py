"""Divide a tree into parts of about the same work, each a list of directories or of names.

A part is what a manifest marks done. Parents come before what is below them, so that reading the
parts backwards meets children first.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

from backends.fs import reason_of
from backends.tree.fast import Loops
from backends.tree.files import Anchor, join
from backends.tree.processes import Backlog, HelperChannel, HelperPool, Message
from backends.tree.selection import SLICE_ENTRIES, EntrySelector, Noted, SkipReason

#: A part ends with the unit that brings it to so many entries, or to so many bytes.
PART_ENTRIES = 10_000
PART_BYTES = 4 * 1024**3
#: The first part is this share of a full one, each further one a bit more: small trees have enough
#: parts to be shared by several nodes.
PART_SHARE_FIRST = 0.004
PART_GROWTH = 1.05
#: Most directories handed out in one batch.
BATCH_DIRECTORIES = 64
#: A helper goes on with what it found below until it has seen so many entries: few while others
#: wait for work.
STRETCH_ENTRIES = 1024
STRETCH_ENTRIES_SHARED = 64

#: A directory, some of its names (None: all of them), how many entries and bytes they are, and the
#: directory's modification time, in nanoseconds, or one of the two below.
Unit = tuple[str, list[str] | None, int, int, int]
#: The directory could not be read.
UNREAD_NS = 0
#: A slice behind the first of its directory, which has the time.
SLICE_NS = -1


@dataclass(frozen=True, slots=True)
class Part:
    """A number, its units, and their sums."""

    number: int
    units: list[Unit]

    @property
    def entries(self) -> int:
        """How many entries it has."""
        return sum(unit[2] for unit in self.units)

    @property
    def size_bytes(self) -> int:
        """How many bytes its files had when planned."""
        return sum(unit[3] for unit in self.units)


def choose_for_plan(chooser: EntrySelector, batch: list[str], channel: HelperChannel) -> Message:
    """Choose among the entries of directories in a helper; what cannot be read is noted."""
    for path in batch:
        try:
            mark = UNREAD_NS
            for choice, mtime_ns in chooser.choose(path):
                mark = SLICE_NS if mark else mtime_ns
                unit = (path, choice.names, len(choice.names), choice.size_bytes, mark)
                channel.reply(([unit], choice.below, choice.notes))
        except OSError as error:
            channel.reply(([], [], [(SkipReason.UNREAD.value, path, reason_of(error))]))
    return [], [], []


class PlanScan:
    """The helper's side: lists directories and, for a stretch of entries, what is below them."""

    def __init__(self, source: Anchor, loops: Loops, channel: HelperChannel) -> None:
        self._source = source
        self._loops = loops
        self._channel = channel
        self._units: list[Unit] = []
        self._todo: list[str] = []

    def run(self, batch: list[str], stretch: int) -> Message:
        """Give the units, each before those below it, and the directories not come to.

        A directory that cannot be read is a unit without entries: copying it will tell why.
        """
        self._todo = batch[::-1]
        seen = 0
        while self._todo and seen < stretch:
            self._channel.tick()
            seen += 1 + self._directory(self._todo.pop())
        return self._reply()

    def _reply(self) -> Message:
        units, todo = self._units, self._todo
        self._units, self._todo = [], []
        return units, todo, []

    def _directory(self, path: str) -> int:
        """List one directory; how many entries its last slice has."""
        try:
            unit = self._scan(path)
        except OSError:
            unit = (path, None, 0, 0, UNREAD_NS)
        self._units.append(unit)
        return unit[2]

    def _scan(self, path: str) -> Unit:
        """Give the last unit of a directory; those before it are sent."""
        names: list[str] = []
        size_bytes = 0
        sliced = False
        fd = self._source.open(path)
        try:
            mark = os.fstat(fd).st_mtime_ns
            for piece in self._loops.scan(fd, names=True):
                if len(names) >= SLICE_ENTRIES:
                    sliced = True
                    self._units.append((path, names, len(names), size_bytes, mark))
                    self._channel.reply(self._reply())
                    names, size_bytes, mark = [], 0, SLICE_NS
                names += piece[9] or ()
                self._todo += [join(path, name) for name in piece[5]]
                size_bytes += piece[0] + sum(inode[2] for inode in piece[6])
        finally:
            os.close(fd)
        return (path, names if sliced else None, len(names), size_bytes, mark)


class CopyPlanner:
    """The parent's side: walks by helpers, gives each part to `emit`, and what else was seen."""

    def __init__(
        self,
        pool: HelperPool,
        size: int,
        emit: Callable[[Part], None],
        note: Callable[[list[Noted]], None],
    ) -> None:
        self._pool = pool
        self._size = size
        self._emit = emit
        self._note = note
        self._pending = Backlog()
        self._units: list[Unit] = []
        self._sums = [0, 0]
        self._number = 0
        self._share = PART_SHARE_FIRST
        self.entries = 0
        self.size_bytes = 0

    def run(self) -> None:
        """Walk the whole tree.

        Raises:
            Interrupted: the control says stop.
        """
        self._pending.push("")
        try:
            self._pool.run(self._take, self._settle)
            if self._units:
                self._cut()
        finally:
            self._pending.close()

    def _take(self) -> Message | None:
        share = min(BATCH_DIRECTORIES, max(1, len(self._pending) // (2 * self._size)))
        batch: list[str] = []
        while len(batch) < share and (path := self._pending.pop()) is not None:
            batch.append(path)
        if not batch:
            return None
        enough = len(self._pending) > 2 * self._size
        return ("scan", batch, STRETCH_ENTRIES if enough else STRETCH_ENTRIES_SHARED)

    def _settle(self, reply: Message) -> None:
        units, below, notes = reply
        if notes:
            self._note(notes)
        for path in below:
            self._pending.push(path)
        for unit in units:
            self._units.append(unit)
            self._sums[0] += unit[2]
            self._sums[1] += unit[3]
            if self._is_full():
                self._cut()

    def _is_full(self) -> bool:
        entries, size_bytes = self._sums
        return entries >= PART_ENTRIES * self._share or size_bytes >= PART_BYTES * self._share

    def _cut(self) -> None:
        self._share = min(1.0, self._share * PART_GROWTH)
        self._emit(Part(self._number, self._units))
        self._number += 1
        self.entries += self._sums[0]
        self.size_bytes += self._sums[1]
        self._units, self._sums = [], [0, 0]
