"""A copy's records in its manifest: the plan, the parts done, the pieces of very big files done.

    ["begin", boot id]                      a run starts
    ["plan"]                                parts after it belong to this plan
    ["part", number, units]                 see `plan.Unit`; paths and names are bytes
    ["notes", [(note, path, words), …]]     what else was seen while planning
    ["planned", entries, bytes]             the plan is whole
    ["piece", path, bytes, mtime, from, to, digest]  a piece of a very big file is on disk
    ["anew", path, bytes, mtime]            pieces recorded before are not there
    ["done", number, receipt, links, taken] a part is on disk; files with digests where asked
    ["ended", receipt]                      everything is

Only offsets and numbers are kept in memory: about 100 bytes for each part of 10,000 entries.
"""

import os
import struct
from collections import Counter as Tally
from collections.abc import Iterator
from typing import Any

from backends.tree.copy.manifest import Record, TreeManifest, boot_id
from backends.tree.copy.pieces import Pieces, Span, Taken
from backends.tree.copy.plan import Part, Unit
from backends.tree.copy.receipt import Receipt
from backends.tree.processes import Sorter
from backends.tree.selection import Noted, SkipReason

#: A file's name among those of the same file: device, inode, then the path.
INODE = struct.Struct(">QQ")

#: What one node at a time does; each part is a slot, too.
SLOT_PLAN = 0
SLOT_FINISH = 1
SLOT_OF_PART = 2

#: What identifies a state of a very big file: path, bytes, modification time.
State = tuple[str, int, int]


class Ledger:
    """Reads what all runs and nodes wrote, and writes what this one does."""

    def __init__(self, manifest: TreeManifest, links: Sorter) -> None:
        self._manifest = manifest
        self.links = links
        self._read_to: int | None = None
        self._parts: list[int] = []
        self._notes: list[int] = []
        self.noted: Tally[SkipReason] = Tally()
        self._done: set[int] = set()
        self._mine: set[int] = set()
        self._untold = [0, 0]
        self._done_at: list[int] = []
        self.pieces: dict[State, Pieces] = {}
        self.planned: tuple[int, int] | None = None
        self.finished: Receipt | None = None
        self.receipt = Receipt()
        self.trusted = True
        self.refresh()

    def refresh(self) -> None:
        """Read what was written since the last time, by whomever."""
        last = None
        known = () if self._read_to is None else (self._read_to,)
        for offset, record in self._manifest.records(*known):
            self._read(offset, record)
            last = offset
        if last is not None:
            self._read_to = self._manifest.end_of(last)

    def _read(self, offset: int, record: Record) -> None:
        kind, *rest = record
        if kind == "begin":
            self.trusted = self.trusted and rest[0] == boot_id()
        elif kind == "plan":
            self._parts.clear()
            self._notes.clear()
            self.noted.clear()
        elif kind == "part":
            self._parts.append(offset)
        elif kind == "notes":
            self._notes.append(offset)
            self.noted.update(SkipReason(note) for note, _, _ in rest[0])
        elif kind == "planned":
            self.planned = (rest[0], rest[1])
        elif kind == "piece":
            path, size_bytes, mtime_ns, begin, end, digest = rest
            state = (os.fsdecode(path), size_bytes, mtime_ns)
            self.pieces.setdefault(state, {})[begin, end] = digest
        elif kind == "anew":
            self.pieces.pop((os.fsdecode(rest[0]), rest[1], rest[2]), None)
        elif kind == "done" and rest[0] not in self._done:
            self._done_at.append(offset)
            self._read_done(*rest[:3])
        elif kind == "ended":
            self.finished = Receipt.from_wire(rest[0])

    def _read_done(self, number: int, wire: Any, links: list[tuple[int, int, bytes]]) -> None:  # noqa: ANN401 - as `Receipt.to_wire` gives it
        self._done.add(number)
        receipt = Receipt.from_wire(wire)
        self.receipt.add(receipt)
        if number not in self._mine:
            self._untold[0] += receipt.files + receipt.directories + receipt.links
            self._untold[1] += receipt.size_bytes
        for device, inode, path in links:
            self.links.add(INODE.pack(device, inode) + path)

    def begin(self) -> None:
        """Record that a run starts."""
        self._manifest.append(["begin", boot_id()], sync=True)

    def plan(self) -> None:
        """Record that a plan starts; what an interrupted one left is void."""
        self._manifest.append(["plan"])

    def part(self, part: Part) -> None:
        """Record a part of the plan."""
        units = [
            (os.fsencode(path), _encoded(names), *numbers) for path, names, *numbers in part.units
        ]
        self._manifest.append(["part", part.number, units])

    def note(self, notes: list[Noted]) -> None:
        """Record what was seen of entries that are not copied."""
        self._manifest.append(
            ["notes", [(n, os.fsencode(path), words) for n, path, words in notes]]
        )

    def notes(self, *wanted: SkipReason) -> Iterator[tuple[str, str]]:
        """Read paths and words of some kinds of notes, in the order they were seen."""
        for offset in self._notes:
            for note, path, words in self._manifest.at(offset)[1]:
                if note in wanted:
                    yield os.fsdecode(path), words

    def conflicts(self) -> int:
        """Tell how many entries of the target stand in the way, as far as was written."""
        self.refresh()
        return self.noted[SkipReason.CONFLICT]

    def plan_ended(self, entries: int, size_bytes: int) -> None:
        """Record that the plan is whole, with its sums."""
        self._manifest.append(["planned", entries, size_bytes], sync=True)
        self.refresh()

    def piece(self, state: State, span: Span, digest: bytes | None) -> None:
        """Record that a piece of a very big file is on disk."""
        path, *rest = state
        self.pieces.setdefault(state, {})[span] = digest
        self._manifest.append(["piece", os.fsencode(path), *rest, *span, digest], sync=True)

    def anew(self, state: State) -> None:
        """Record that a very big file begins anew, if there are pieces of it on record."""
        if self.pieces.pop(state, None):
            self._manifest.append(["anew", os.fsencode(state[0]), *state[1:]], sync=True)

    def done(
        self,
        number: int,
        receipt: Receipt,
        links: list[tuple[int, int, str]],
        taken: list[Taken],
    ) -> None:
        """Record that a part is on disk, and give it back; `sync` makes the record lasting."""
        self._mine.add(number)
        encoded = [(device, inode, os.fsencode(name)) for device, inode, name in links]
        files = [(os.fsencode(path), size, digest) for path, size, digest in taken]
        self._manifest.append(["done", number, _escaped(receipt), encoded, files])
        self._manifest.release(SLOT_OF_PART + number)

    def digests(self) -> Iterator[Taken]:
        """Read the copied files of all parts that are done, with the digests taken of them."""
        for offset in self._done_at:
            for files in self._manifest.at(offset)[4:]:
                for path, size_bytes, digest in files:
                    yield os.fsdecode(path), size_bytes, digest

    def by_others(self) -> tuple[int, int]:
        """Tell entries and bytes that other runs and nodes did, since the last time this asked."""
        entries, size_bytes = self._untold
        self._untold = [0, 0]
        return entries, size_bytes

    def ended(self, receipt: Receipt) -> None:
        """Record that the copy is whole and on disk, with the receipt of it all."""
        self._manifest.append(["ended", _escaped(receipt)], sync=True)
        self.refresh()

    def sync(self) -> None:
        """Bring the records to disk."""
        self._manifest.sync()

    def claim(self, slot: int) -> bool:
        """Take what only one node may do at a time; False while another has it."""
        if not self._manifest.claim(slot):
            return False
        self.refresh()
        return True

    def release(self, slot: int) -> None:
        """Give back what `claim` took."""
        self._manifest.release(slot)

    @property
    def all_done(self) -> bool:
        """Whether every planned part is on disk, as far as was read."""
        return self.planned is not None and len(self._done) == len(self._parts)

    def parts(self, *, backwards: bool = False) -> Iterator[Part]:
        """Read the planned parts, the last first if so asked."""
        for offset in reversed(self._parts) if backwards else self._parts:
            _, number, units = self._manifest.at(offset)
            yield Part(number, [_unit(*unit) for unit in units])

    def done_parts(self) -> Iterator[Part]:
        """Read the parts that are on disk."""
        return (part for part in self.parts() if part.number in self._done)

    def free_parts(self) -> Iterator[Part]:
        """Take the parts that are not done and that no other node has, one after another."""
        for part in self.parts():
            if part.number in self._done or not self.claim(SLOT_OF_PART + part.number):
                continue
            if part.number in self._done:
                self.release(SLOT_OF_PART + part.number)
                continue
            yield part


def read_notes(manifest: TreeManifest, *wanted: SkipReason) -> Iterator[tuple[str, str]]:
    """Read from a copy's manifest the paths that were noted, with words, kind by kind as asked."""
    links = Sorter()
    try:
        yield from Ledger(manifest, links).notes(*wanted)
    finally:
        links.close()


def _unit(
    path: bytes, names: list[bytes] | None, entries: int, size_bytes: int, mtime_ns: int
) -> Unit:
    decoded = None if names is None else [os.fsdecode(name) for name in names]
    return os.fsdecode(path), decoded, entries, size_bytes, mtime_ns


def _escaped(receipt: Receipt) -> Any:  # noqa: ANN401 - builtin values for a record
    """Give the receipt with texts that UTF-8 can carry: examples are for people's eyes."""
    sums, losses = receipt.to_wire()
    escaped = []
    for loss, count, examples in losses:
        shown = [(_shown(path), _shown(reason)) for path, reason in examples]
        escaped.append((loss, count, shown))
    return [sums, escaped]


def _shown(text: str) -> str:
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _encoded(names: list[str] | None) -> list[bytes] | None:
    return None if names is None else [os.fsencode(name) for name in names]
