"""Divide a tree into parts of about the same work, each a list of directories or of names.

A manifest marks whole parts done. Parents come before the entries below them, so reading the parts
backwards meets children first.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from backends.fs import reason_of
from backends.tree.fast import Loops
from backends.tree.files import GONE, Anchor, join
from backends.tree.processes import Backlog, HelperChannel, HelperPool, Message, Sorter
from backends.tree.selection import SLICE_ENTRIES, EntrySelector, Note, SkipReason

#: A part ends with the unit that reaches this number of entries, or this number of bytes.
PART_ENTRIES = 10_000
PART_BYTES = 4 * 1024**3
#: The first part is this share of a full one, and each further one is larger by the growth. So even
#: small trees have enough parts for several nodes.
PART_SHARE_FIRST = 0.004
PART_GROWTH = 1.05
#: Most directories in one batch.
BATCH_DIRECTORIES = 64
#: A helper continues with the directories it found below until it has seen this many entries. It
#: sees fewer while other helpers wait for work.
STRETCH_ENTRIES = 1024
STRETCH_ENTRIES_SHARED = 64

#: A directory, some of its names (None: all of them), the number of their entries and bytes, the
#: directory's modification time in nanoseconds, or one of the two values below, and its inode
#: number (0 where it is not known).
Unit = tuple[str, list[str] | None, int, int, int, int]
#: The directory could not be read.
UNREAD_NS = 0
#: A further slice of a directory; the unit of the first slice has the time.
SLICE_NS = -1


#: A name of a file that has several: device, inode, bytes held.
_INODE = struct.Struct(">QQQ")


@dataclass(frozen=True, slots=True)
class Part:
    """A number, its units, and their sums."""

    number: int
    units: list[Unit]

    @property
    def entries(self) -> int:
        """The number of its entries."""
        return sum(unit[2] for unit in self.units)

    @property
    def size_bytes(self) -> int:
        """What its files held at the time of the plan, a file of several names once for each."""
        return sum(unit[3] for unit in self.units)


def select_for_plan(selector: EntrySelector, batch: list[str], channel: HelperChannel) -> Message:
    """Select entries of directories in a helper; note the directories that cannot be read."""
    for path in batch:
        try:
            mark = UNREAD_NS
            for selected, status in selector.select(path):
                mark = SLICE_NS if mark else status.st_mtime_ns
                numbers = len(selected.names), selected.size_bytes, mark, status.st_ino
                unit = (path, selected.names, *numbers)
                found = selected.below, selected.notes, selected.inodes, selected.replaced_bytes
                channel.reply(([unit], *found))
        except OSError as error:
            if error.errno in GONE:  # its copy will report that
                channel.reply(([(path, [], 0, 0, UNREAD_NS, 0)], [], [], [], 0))
            else:
                note = SkipReason.UNREAD.value, path, reason_of(error)
                channel.reply(([], [], [note], [], 0))
    return [], [], [], [], 0


class PlanScan:
    """The helper's side: lists directories and, for a stretch of entries, those below them."""

    def __init__(self, source: Anchor, loops: Loops, channel: HelperChannel) -> None:
        self._source = source
        self._loops = loops
        self._channel = channel
        self._units: list[Unit] = []
        self._todo: list[str] = []
        self._inodes: list[tuple[int, ...]] = []

    def run(self, batch: list[str], stretch: int) -> Message:
        """Return the units, each before those below it, and the directories that remain.

        A directory that cannot be read is a unit without entries: its copy will report why.
        """
        self._todo = batch[::-1]
        seen = 0
        while self._todo and seen < stretch:
            self._channel.tick()
            seen += 1 + self._directory(self._todo.pop())
        return self._reply()

    def _reply(self) -> Message:
        reply: Message = (self._units, self._todo, [], self._inodes, 0)
        self._units, self._todo, self._inodes = [], [], []
        return reply

    def _directory(self, path: str) -> int:
        """List one directory and return the number of entries of its last slice."""
        try:
            unit = self._scan(path)
        except OSError:
            unit = (path, None, 0, 0, UNREAD_NS, 0)
        self._units.append(unit)
        return unit[2]

    def _scan(self, path: str) -> Unit:
        """Return the last unit of a directory; send those before it."""
        names: list[str] = []
        size_bytes = 0
        sliced = False
        fd = self._source.open(path)
        try:
            status = os.fstat(fd)
            mark, inode = status.st_mtime_ns, status.st_ino
            for piece in self._loops.scan(fd, names=True):
                if len(names) >= SLICE_ENTRIES:
                    sliced = True
                    self._units.append((path, names, len(names), size_bytes, mark, inode))
                    self._channel.reply(self._reply())
                    names, size_bytes, mark = [], 0, SLICE_NS
                names += piece[9] or ()
                self._todo += [join(path, name) for name in piece[5]]
                size_bytes += piece[0] + sum(inode[2] for inode in piece[6])
                self._inodes += [inode[:3] for inode in piece[6]]
        finally:
            os.close(fd)
        return (path, names if sliced else None, len(names), size_bytes, mark, inode)


class CopyPlanner:
    """The parent's side: walks with helpers; parts go to `on_part`, notes to `on_notes`."""

    def __init__(
        self,
        pool: HelperPool,
        size: int,
        on_part: Callable[[Part], None],
        on_notes: Callable[[list[Note]], None],
    ) -> None:
        self._pool = pool
        self._size = size
        self._on_part = on_part
        self._on_notes = on_notes
        self._pending = Backlog()
        self._inodes = Sorter()
        self._units: list[Unit] = []
        self._sums = [0, 0]
        self._number = 0
        self._share = PART_SHARE_FIRST
        self.entries = 0
        self.size_bytes = 0
        self.replaced_bytes = 0

    def run(self) -> None:
        """Walk the whole tree.

        Raises:
            Interrupted: the control says stop.
        """
        self._pending.push("")
        try:
            self._pool.run(self._next_batch, self._on_reply)
            if self._units:
                self._end_part()
            self.size_bytes -= self._bytes_of_further_names()
        finally:
            self._pending.close()
            self._inodes.close()

    def _bytes_of_further_names(self) -> int:
        """Return what the parts count again for a file at each of its names but one."""
        further, last = 0, (0, 0)
        for record in self._inodes:
            device, inode, size_bytes = _INODE.unpack(record)
            if (device, inode) == last:
                further += size_bytes
            last = device, inode
        return further

    def _next_batch(self) -> Message | None:
        share = min(BATCH_DIRECTORIES, max(1, len(self._pending) // (2 * self._size)))
        batch: list[str] = []
        while len(batch) < share and (path := self._pending.pop()) is not None:
            batch.append(path)
        if not batch:
            return None
        enough = len(self._pending) > 2 * self._size
        return ("scan", batch, STRETCH_ENTRIES if enough else STRETCH_ENTRIES_SHARED)

    def _on_reply(self, reply: Message) -> None:
        units, below, notes, inodes, replaced_bytes = reply
        self.replaced_bytes += replaced_bytes
        if notes:
            self._on_notes(notes)
        for inode in inodes:
            self._inodes.add(_INODE.pack(*inode))
        for path in below:
            self._pending.push(path)
        for unit in units:
            self._units.append(unit)
            self._sums[0] += unit[2]
            self._sums[1] += unit[3]
            if self._is_full():
                self._end_part()

    def _is_full(self) -> bool:
        entries, size_bytes = self._sums
        return entries >= PART_ENTRIES * self._share or size_bytes >= PART_BYTES * self._share

    def _end_part(self) -> None:
        self._share = min(1.0, self._share * PART_GROWTH)
        self._on_part(Part(self._number, self._units))
        self._number += 1
        self.entries += self._sums[0]
        self.size_bytes += self._sums[1]
        self._units, self._sums = [], [0, 0]
