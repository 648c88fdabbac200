"""The batches of a copy: parts of the plan, pieces of big files, further names, seals.

`PartScheduler` also knows when each part is done, and records it.
"""

import itertools
import os
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from backends.tree.copy.copier import KEPT_CHANGING, TRIES_MAX
from backends.tree.copy.ledger import INODE, Ledger, State
from backends.tree.copy.pieces import CopiedFile, Span, covered, digests, missing
from backends.tree.copy.plan import SLICE_NS, Part, Unit
from backends.tree.copy.receipt import Loss, Noted, Receipt
from backends.tree.processes import Message, Sorter
from core.jobs import Control, Counter

#: A batch is full at this number of entries, bytes or units, whichever comes first.
BATCH_ENTRIES = 256
BATCH_BYTES = 32 * 1024**2
BATCH_UNITS = 64
#: Most names of one file linked in one batch.
BATCH_NAMES = 500


@dataclass(slots=True)
class _OpenPart:
    """A part at work."""

    number: int
    outstanding: int = 0
    receipt: Receipt = field(default_factory=Receipt)
    links: list[tuple[int, int, str]] = field(default_factory=list)
    copied: list[CopiedFile] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)


@dataclass(slots=True)
class _SplitFile:
    """A very big file whose pieces are being copied."""

    part: _OpenPart
    missing: int


#: Clones a big file by the storage system; returns the bytes and the time (ns) of its source
#: before, or None where it has to be copied.
BigFileCloner = Callable[[str], tuple[int, int] | None]


class PartScheduler:
    """Supplies a `HelperPool` with the batches of all free parts, and records the parts done."""

    def __init__(
        self,
        ledger: Ledger,
        control: Control,
        *,
        durable: bool,
        checkpoint_seconds: float,
        clone: BigFileCloner = lambda _: None,
    ) -> None:
        self._clone = clone
        self._ledger = ledger
        self._control = control
        self._durable = durable
        self._checkpoint_seconds = checkpoint_seconds
        self._parts: Iterator[Part] = ledger.free_parts()
        self._queue: deque[Message] = deque()
        self._open: dict[int, _OpenPart] = {}
        self._tries: Tally[str] = Tally()
        self._split: dict[State, _SplitFile] = {}
        self._finished: list[_OpenPart] = []
        self._syncing: list[_OpenPart] | None = None
        self._synced = time.monotonic()

    def next_batch(self) -> Message | None:
        """Return the next batch, or None when there is none until a reply brings one."""
        if self._checkpoint_due():
            self._syncing, self._finished = self._finished, []
            return ("sync",)
        if not self._queue:
            self._open_next()
        if not self._queue:
            return None
        return self._queue.popleft()

    def on_reply(self, reply: Message) -> None:
        """Process the reply to a batch."""
        kind, number, *rest = reply
        if kind == "synced":
            self._record(self._syncing or [])
            self._syncing, self._synced = None, time.monotonic()
            return
        part = self._open[number]
        if kind == "copied":
            self._add_copied(part, *rest)
        elif kind == "split":
            self._schedule_pieces(part, (rest[0], rest[1], rest[2]), *rest[3:])
        elif kind == "piece":
            self._add_piece((rest[0], rest[1], rest[2]), *rest[3:])
        elif kind == "stale":
            self._retry(part, rest[0])
        part.outstanding -= 1
        self._close_if_done(part)

    @property
    def unsynced(self) -> bool:
        """Whether parts are done that are not recorded yet."""
        return bool(self._finished)

    def record_finished(self) -> None:
        """Record the parts that were done but not yet synced, after the caller has synced them."""
        self._record(self._finished)
        self._finished = []

    def _checkpoint_due(self) -> bool:
        if not self._durable or not self._finished or self._syncing is not None:
            return False
        return time.monotonic() - self._synced >= self._checkpoint_seconds

    def count_others(self) -> None:
        """Count what other nodes did since the last call."""
        self._control.count(Counter.COPIED, *self._ledger.take_counts_of_others())

    def _open_next(self) -> None:
        part = next(self._parts, None)
        self.count_others()
        if part is None:
            return
        state = self._open[part.number] = _OpenPart(part.number)
        for units in _batches(part.units):
            self._put(state, ("copy", part.number, units))

    def _put(self, part: _OpenPart, message: Message, *, first: bool = False) -> None:
        part.outstanding += 1
        if first:
            self._queue.appendleft(message)
        else:
            self._queue.append(message)

    def _add_copied(self, part: _OpenPart, wire: Message, *reported: Message) -> None:
        links, big, copied, noted = reported
        part.noted += noted
        part.copied += copied
        part.receipt.add(Receipt.from_wire(wire))
        part.links += [(device, inode, path) for device, inode, path in links]
        for path in big:
            self._put_big(part, path)

    def _put_big(self, part: _OpenPart, path: str) -> None:
        """Clone a big file, so that its attributes are left to set, or queue its copy."""
        state = self._clone(path)
        if state is None:
            known = self._states_on_disk(path)
            self._put(part, ("big", part.number, path, known), first=True)
        else:
            self._control.count(Counter.COPIED, 0, state[0])
            self._put(part, ("finish", part.number, path, *state, None), first=True)

    def _states_on_disk(self, path: str) -> list[tuple[int, int]]:
        """Return the states (bytes, time) of a very big file of which pieces are on disk."""
        return [(size, mtime) for name, size, mtime in self._ledger.pieces if name == path]

    def _schedule_pieces(self, part: _OpenPart, state: State, length: int, started: bool) -> None:  # noqa: FBT001 - from a message
        """Queue the pieces of a very big file that are not on disk yet."""
        path, size_bytes, _ = state
        if not started and state in self._ledger.pieces:  # their file is lost; it is made next
            self._ledger.record_restart(state)
            self._put(part, ("big", part.number, path, self._states_on_disk(path)), first=True)
            return
        done = self._ledger.pieces.get(state, {})
        spans = missing(size_bytes, done, length)
        kept = sum(end - begin for begin, end in covered(size_bytes, done))
        self._control.count(Counter.COPIED, 0, kept)
        self._split[state] = _SplitFile(part, len(spans))
        for span in reversed(spans):
            self._put(part, ("piece", part.number, *state, span), first=True)
        if not spans:
            self._put_finish(part, state)

    def _put_finish(self, part: _OpenPart, state: State) -> None:
        known = digests(state[1], self._ledger.pieces.get(state, {}))
        self._put(part, ("finish", part.number, *state, known), first=True)

    def _add_piece(self, state: State, span: Span | None, digest: bytes | None) -> None:
        """Record a piece. Without a span the file has changed, which "finish" will find too."""
        if span is not None:
            self._ledger.record_piece(state, span, digest)
        split = self._split[state]
        split.missing -= 1
        if not split.missing:
            del self._split[state]
            self._put_finish(split.part, state)

    def _retry(self, part: _OpenPart, path: str) -> None:
        """Copy a very big file again that changed meanwhile, or give up after `TRIES_MAX`."""
        self._tries[path] += 1
        if self._tries[path] < TRIES_MAX:
            self._put(part, ("big", part.number, path, []), first=True)
            return
        if self._ledger.since_ns is not None:
            self._put(part, ("met", part.number, path), first=True)
            return
        part.receipt.add_loss(Loss.CHANGED, path)
        self._control.fault(path, KEPT_CHANGING)
        self._control.count(Counter.FAILED, 1)

    def _close_if_done(self, part: _OpenPart) -> None:
        if part.outstanding:
            return
        del self._open[part.number]
        self._finished.append(part)
        if not self._durable:
            self.record_finished()

    def _record(self, parts: list[_OpenPart]) -> None:
        for part in parts:
            self._ledger.record_noted(part.number, part.noted)
            self._ledger.record_done(part.number, part.receipt, part.links, part.copied)


def _batches(units: list[Unit]) -> Iterator[list[tuple[str, list[str] | None]]]:
    batch: list[tuple[str, list[str] | None]] = []
    entries = size_bytes = 0
    for path, names, count, size, *_ in units:
        batch.append((path, names))
        entries += count
        size_bytes += size
        if entries >= BATCH_ENTRIES or size_bytes >= BATCH_BYTES or len(batch) >= BATCH_UNITS:
            yield batch
            batch, entries, size_bytes = [], 0, 0
    if batch:
        yield batch


def seals(ledger: Ledger) -> Iterator[Message]:
    """Yield batches of all directories that get their attributes, children before parents."""
    for part in ledger.parts(backwards=True):
        paths = [(unit[0], unit[4]) for unit in part.units if unit[4] != SLICE_NS][::-1]
        for start in range(0, len(paths), BATCH_UNITS):
            yield ("seal", paths[start : start + BATCH_UNITS])


def first_names(links: Sorter) -> Iterator[CopiedFile]:
    """Yield each file that has several names by its first one; it has no digest."""
    for _, records in itertools.groupby(links, key=lambda record: record[: INODE.size]):
        yield os.fsdecode(next(records)[INODE.size :]), 0, None


def link_groups(links: Sorter) -> Iterator[Message]:
    """Yield all names of each file, in batches that each contain its first name.

    The last batch of a file contains its number of names in the tree, the others 0.
    """
    for _, records in itertools.groupby(links, key=lambda record: record[: INODE.size]):
        names = (os.fsdecode(record[INODE.size :]) for record in records)
        first = next(names)
        total = 1
        for number in itertools.count():
            batch = list(itertools.islice(names, BATCH_NAMES))
            total += len(batch)
            last = len(batch) < BATCH_NAMES
            yield ("links", first, batch, number == 0, total if last else 0)
            if last:
                break
