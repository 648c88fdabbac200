"""The records of a copy in its manifest: the plan, the parts done, the pieces of big files done.

    ["begin", boot id, since]               a run starts; `since`: see `CopyOptions.since_ns`
    ["plan"]                                parts after it belong to this plan
    ["part", number, units]                 see `plan.Unit`; paths and names are bytes
    ["notes", [(reason, path, words), …]]   entries that are not copied, see `selection.Note`
    ["planned", entries, bytes, replaced]   the plan is complete: bytes to copy, and to replace
    ["piece", path, bytes, mtime, from, to, digest]  a piece of a very big file is on disk
    ["anew", path, bytes, mtime]            pieces recorded before are not in the target
    ["done", number, receipt, links, files] a part is on disk; files with digests where configured
    ["noted", number, [(loss, path, words), …]]  changes of the source met in a part
    ["finish"]                              what needs all parts begins; its changes have number -1
    ["ended", receipt]                      everything is on disk

Only offsets and numbers are kept in memory: about 100 bytes for each part of 10,000 entries.
"""

import os
import struct
from collections import Counter as Tally
from collections.abc import Iterator
from typing import Any

from backends.tree.copy.manifest import Record, TreeManifest, boot_id
from backends.tree.copy.pieces import CopiedFile, Pieces, Span
from backends.tree.copy.plan import Part, Unit
from backends.tree.copy.receipt import Noted, Receipt
from backends.tree.processes import Sorter
from backends.tree.selection import Note, SkipReason

#: One of several names of a file: device, inode, then the path.
INODE = struct.Struct(">QQ")

#: The slots of what only one node may do at a time; each part is a slot, too.
SLOT_PLAN = 0
SLOT_FINISH = 1
SLOT_OF_PART = 2

#: The number of what belongs to no part.
NO_PART = -1

#: Identifies a state of a very big file: path, bytes, modification time.
State = tuple[str, int, int]


class Ledger:
    """Reads what all runs and nodes recorded, and records what this run does."""

    def __init__(self, manifest: TreeManifest, links: Sorter) -> None:
        self._manifest = manifest
        self.links = links
        self._read_to: int | None = None
        self._parts: list[int] = []
        self._notes: list[int] = []
        self._note_counts: Tally[SkipReason] = Tally()
        self._done: set[int] = set()
        self._mine: set[int] = set()
        self._done_by_others = [0, 0]
        self._done_at: list[int] = []
        self.pieces: dict[State, Pieces] = {}
        self.planned: tuple[int, int] | None = None
        #: What files of the target hold that the planned ones replace; 0 in an earlier record.
        self.replaced_bytes = 0
        self.finished: Receipt | None = None
        self.receipt = Receipt()
        self.trusted = True
        self.since_ns: int | None = None
        self._noted: dict[int, int] = {}
        self._noted_last: list[int] = []
        self.refresh()

    def refresh(self) -> None:
        """Read the records that any process wrote since the last time."""
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
            self._read_begin(*rest)
        elif kind == "plan":
            self._parts.clear()
            self._notes.clear()
            self._note_counts.clear()
        elif kind == "part":
            self._parts.append(offset)
        elif kind == "notes":
            self._notes.append(offset)
            self._note_counts.update(SkipReason(note) for note, _, _ in rest[0])
        elif kind == "planned":
            self.planned = (rest[0], rest[1])
            self.replaced_bytes = rest[2] if len(rest) > 2 else 0  # noqa: PLR2004 - as written above
        elif kind == "piece":
            path, size_bytes, mtime_ns, begin, end, digest = rest
            state = (os.fsdecode(path), size_bytes, mtime_ns)
            self.pieces.setdefault(state, {})[begin, end] = digest
        elif kind == "anew":
            self.pieces.pop((os.fsdecode(rest[0]), rest[1], rest[2]), None)
        elif kind == "done" and rest[0] not in self._done:
            self._done_at.append(offset)
            self._read_done(*rest[:3])
        else:
            self._read_end(kind, offset, rest)

    def _read_begin(self, boot: str, since_ns: int | None = None) -> None:
        self.trusted = self.trusted and boot == boot_id()
        if self.since_ns is None:
            self.since_ns = since_ns

    def _read_end(self, kind: str, offset: int, rest: list[Any]) -> None:
        if kind == "finish":
            self._noted_last.clear()
        elif kind == "noted" and rest[0] == NO_PART:
            self._noted_last.append(offset)
        elif kind == "noted":
            self._noted[rest[0]] = offset
        elif kind == "ended":
            self.finished = Receipt.from_wire(rest[0])

    def _read_done(self, number: int, wire: Any, links: list[tuple[int, int, bytes]]) -> None:  # noqa: ANN401 - the values of `Receipt.to_wire`
        self._done.add(number)
        receipt = Receipt.from_wire(wire)
        self.receipt.add(receipt)
        if number not in self._mine:
            self._done_by_others[0] += receipt.files + receipt.directories + receipt.links
            self._done_by_others[1] += receipt.size_bytes
        for device, inode, path in links:
            self.links.add(INODE.pack(device, inode) + path)

    def record_begin(self, since_ns: int | None) -> None:
        """Record that a run starts; the moment of the first run counts for all.

        The record is on disk before the run copies: else its unsynced copies would be trusted.
        """
        self._manifest.append(["begin", boot_id(), since_ns], sync=True)
        self.refresh()

    def record_plan(self) -> None:
        """Record that a plan starts; parts of an interrupted plan become void."""
        self._manifest.append(["plan"])

    def record_part(self, part: Part) -> None:
        """Record a part of the plan."""
        units = [
            (os.fsencode(path), _encoded(names), *numbers) for path, names, *numbers in part.units
        ]
        self._manifest.append(["part", part.number, units])

    def record_notes(self, notes: list[Note]) -> None:
        """Record why entries are not copied."""
        self._manifest.append(
            ["notes", [(n, os.fsencode(path), words) for n, path, words in notes]]
        )

    def notes(self, *reasons: SkipReason) -> Iterator[tuple[SkipReason, str, str]]:
        """Yield reason, path and words of the notes with these reasons, as they were recorded."""
        for offset in self._notes:
            for note, path, words in self._manifest.at(offset)[1]:
                if note in reasons:
                    yield SkipReason(note), os.fsdecode(path), words

    def conflicts(self) -> int:
        """Return the number of conflicts with entries of the target recorded so far."""
        self.refresh()
        return self._note_counts[SkipReason.CONFLICT]

    def record_planned(self, entries: int, size_bytes: int, replaced_bytes: int) -> None:
        """Record that the plan is complete, with its sums."""
        self._manifest.append(["planned", entries, size_bytes, replaced_bytes])
        self.refresh()

    def record_piece(self, state: State, span: Span, digest: bytes | None) -> None:
        """Record that a piece of a very big file is on disk."""
        path, *rest = state
        self.pieces.setdefault(state, {})[span] = digest
        self._manifest.append(["piece", os.fsencode(path), *rest, *span, digest])

    def record_restart(self, state: State) -> None:
        """Void the recorded pieces of a very big file: on disk before the file is made again."""
        if self.pieces.pop(state, None):
            self._manifest.append(["anew", os.fsencode(state[0]), *state[1:]], sync=True)

    def record_done(
        self,
        number: int,
        receipt: Receipt,
        links: list[tuple[int, int, str]],
        copied: list[CopiedFile],
    ) -> None:
        """Record that a part is on disk, and unlock it.

        The record itself comes to disk with the next sync; without it the part is copied again.
        """
        self._mine.add(number)
        encoded = [(device, inode, os.fsencode(name)) for device, inode, name in links]
        files = [(os.fsencode(path), size, digest) for path, size, digest in copied]
        self._manifest.append(["done", number, _escaped(receipt), encoded, files])
        self._manifest.release(SLOT_OF_PART + number)

    def record_finish(self) -> None:
        """Record that a run begins what needs all parts: changes noted there before are void."""
        self._manifest.append(["finish"])

    def record_noted(self, number: int, noted: list[Noted]) -> None:
        """Record changes of the source that were met in a part."""
        if noted:
            encoded = [(loss, os.fsencode(path), words) for loss, path, words in noted]
            self._manifest.append(["noted", number, encoded])

    def noted(self) -> Iterator[Noted]:
        """Yield every change of the source that was met, each once for all runs."""
        for offset in [*self._noted.values(), *self._noted_last]:
            for loss, path, words in self._manifest.at(offset)[2]:
                yield loss, os.fsdecode(path), words

    def inodes(self, paths: set[str]) -> dict[str, int]:
        """Return the inode numbers that planned directories had; 0 where that is not known."""
        units = (unit for part in self.parts() for unit in part.units)
        return {unit[0]: unit[5] for unit in units if unit[0] in paths and unit[5]}

    def copied_files(self) -> Iterator[CopiedFile]:
        """Yield the copied files of all parts that are done, with their digests."""
        for offset in self._done_at:
            for files in self._manifest.at(offset)[4:]:
                for path, size_bytes, digest in files:
                    yield os.fsdecode(path), size_bytes, digest

    def take_counts_of_others(self) -> tuple[int, int]:
        """Return entries and bytes that other runs and nodes did since the last call."""
        entries, size_bytes = self._done_by_others
        self._done_by_others = [0, 0]
        return entries, size_bytes

    def record_end(self, receipt: Receipt) -> None:
        """Record that the copy is complete and on disk, with the receipt of all of it."""
        self._manifest.append(["ended", _escaped(receipt)])
        self.refresh()

    def claim(self, slot: int) -> bool:
        """Lock what only one node may do at a time; return False while another node has it."""
        if not self._manifest.claim(slot):
            return False
        self.refresh()
        return True

    def release(self, slot: int) -> None:
        """Unlock a slot that `claim` locked."""
        self._manifest.release(slot)

    @property
    def all_done(self) -> bool:
        """Whether every planned part is on disk, according to the records read so far."""
        return self.planned is not None and len(self._done) == len(self._parts)

    def parts(self, *, backwards: bool = False) -> Iterator[Part]:
        """Yield the planned parts; with `backwards` the last first."""
        for offset in reversed(self._parts) if backwards else self._parts:
            _, number, units = self._manifest.at(offset)
            yield Part(number, [_unit(*unit) for unit in units])

    def done_parts(self) -> Iterator[Part]:
        """Yield the parts that are on disk."""
        return (part for part in self.parts() if part.number in self._done)

    def free_parts(self) -> Iterator[Part]:
        """Lock and yield, one after another, the parts that are not done and no other node has."""
        for part in self.parts():
            if part.number in self._done or not self.claim(SLOT_OF_PART + part.number):
                continue
            if part.number in self._done:
                self.release(SLOT_OF_PART + part.number)
                continue
            yield part


def read_notes(
    manifest: TreeManifest, *reasons: SkipReason
) -> Iterator[tuple[SkipReason, str, str]]:
    """Yield the notes in a copy's manifest that have these reasons; reads all of the manifest."""
    links = Sorter()
    try:
        yield from Ledger(manifest, links).notes(*reasons)
    finally:
        links.close()


def read_noted(manifest: TreeManifest) -> Iterator[Noted]:
    """Yield every change of the source that the copy of this manifest met."""
    links = Sorter()
    try:
        yield from Ledger(manifest, links).noted()
    finally:
        links.close()


def _unit(path: bytes, names: list[bytes] | None, *numbers: int) -> Unit:
    """Return a recorded unit; records of earlier versions have no inode number."""
    decoded = None if names is None else [os.fsdecode(name) for name in names]
    entries, size_bytes, mtime_ns, *inode = numbers
    return os.fsdecode(path), decoded, entries, size_bytes, mtime_ns, inode[0] if inode else 0


def _escaped(receipt: Receipt) -> Any:  # noqa: ANN401 - builtin values for a record
    """Return the receipt with texts that UTF-8 can encode: people read the examples."""
    sums, losses = receipt.to_wire()
    escaped = []
    for loss, count, examples in losses:
        readable = [(_readable(path), _readable(reason)) for path, reason in examples]
        escaped.append((loss, count, readable))
    return [sums, escaped]


def _readable(text: str) -> str:
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _encoded(names: list[str] | None) -> list[bytes] | None:
    return None if names is None else [os.fsencode(name) for name in names]
